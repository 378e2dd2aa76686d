"""The verb `heartbeat`: do the schedules still run? GitHub switches them off where nothing happens for sixty days.

Each scheduled workflow looks after all of them, so that one that stopped is noticed by one that did not. An issue says
so, and closes by itself.
"""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path

from mlops import actions, github
from mlops.cli import Outcome
from mlops.errors import counted
from mlops.retraining import words
from mlops.retraining.tell import LABEL

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
    lines = [*found.values(), *_tell(found), f"{counted(len(SCHEDULED), 'schedule')} will live for another sixty days."]
    return Outcome("\n".join(lines), {"stopped": sorted(found)}, 2 if found else 0)


def _tell(found: Mapping[str, str]) -> list[str]:
    """Keep the one issue about schedules as it must be: the line that says what was done with it."""
    issue = next((one for one in github.open_issues(LABEL) if words.SCHEDULES in one.body), None)
    if found:
        title, body = words.stopped(list(found.values()), actions.run_url())
        if issue is None:
            issue = github.create_issue(title, body, label=LABEL)
        else:
            github.update_issue(issue.number, title=title, body=body)
        return [f"Issue {issue.number} says so."]
    if issue is None:
        return []
    github.comment_on_issue(issue.number, "It is over: all schedules run again.")
    github.close_issue(issue.number, done=True)
    return [f"All schedules run again, issue {issue.number} is closed."]


def stopped(now: dt.datetime) -> dict[str, str]:
    """The schedules that do not run any more, with a sentence each; one that never ran may be new."""
    found = {}
    for workflow in SCHEDULED:
        if github.is_off(workflow):
            found[workflow] = f"{workflow} was switched off, so its schedule did not run."
            continue
        last = github.last_scheduled(workflow)
        if last is not None and is_silent(last, now):
            found[workflow] = f"The schedule of {workflow} has started nothing since {last[:10]}."
    return found


def is_silent(last: str, now: dt.datetime) -> bool:
    """Whether a schedule that last started something then has stopped."""
    return now - dt.datetime.fromisoformat(last) > SILENT
