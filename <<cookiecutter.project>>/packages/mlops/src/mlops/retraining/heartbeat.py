"""The verb `heartbeat`: do the schedules still run? GitHub switches them off where nothing happens for sixty days.

Each scheduled workflow looks after the others, so that one that stopped is noticed by one that did not.
"""

import datetime as dt
from pathlib import Path

from mlops import actions, github
from mlops.cli import Outcome
from mlops.errors import counted

SCHEDULED = ("ct.yml", "watch.yml")
SILENT = dt.timedelta(days=3)
"""A daily schedule that has not started anything for so long has stopped."""


def heartbeat(root: Path) -> Outcome:
    """Keep the schedules alive, and say which had stopped; exit 2 for those, once they are switched on again."""
    found = stopped(dt.datetime.now(dt.UTC))
    for workflow in SCHEDULED:
        github.switch_on(workflow)
    for said in found.values():
        actions.annotate("error", said, title="Schedule")
    lines = [*found.values(), f"{counted(len(SCHEDULED), 'schedule')} will live for another sixty days."]
    return Outcome("\n".join(lines), {"stopped": sorted(found)}, 2 if found else 0)


def stopped(now: dt.datetime) -> dict[str, str]:
    """The schedules that do not run any more, with a sentence each; one that never ran may be new."""
    found = {}
    for workflow in SCHEDULED:
        if github.is_off(workflow):
            found[workflow] = f"{workflow} was switched off, so its schedule did not run."
            continue
        last = github.last_scheduled(workflow)
        if last is not None and now - dt.datetime.fromisoformat(last) > SILENT:
            found[workflow] = f"The schedule of {workflow} has started nothing since {last[:10]}."
    return found
