"""The verb `doctor`: is this repository set up so that its loops can run, and what is left to do?

It changes nothing. Standard library, git and `gh`; where GitHub cannot be asked, the rest is said all the same.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from mlops.cli import Outcome
from mlops.examining import hosted, local, rules
from mlops.examining.facts import NotAsked
from mlops.examining.rules import Finding

NO_ORIGIN = NotAsked(
    "There is no remote called origin.", "gh repo create --source . --push, or git remote add origin …"
)


def doctor(root: Path) -> Outcome:
    """Examine this machine, this repository and its place on GitHub; exit code 1 when something is broken."""
    now = dt.datetime.now(dt.UTC)
    here = local.project(root)
    machine = list(rules.machine(local.machine(root), here))
    project = list(rules.project(here, today=now.date()))
    there = hosted.ask(root) if here.has_origin else NO_ORIGIN
    if isinstance(there, NotAsked):
        github = [rules.unknown("GitHub", there)]
    else:
        github = list(rules.hosting(there, here, now=now))
    found = {"This machine": machine, "This repository": project, "GitHub": github}
    value = [{"part": part, **asdict(one)} for part, ones in found.items() for one in ones]
    return Outcome(told(found), value, 1 if any(one["outcome"] == "broken" for one in value) else 0)


def told(found: Mapping[str, Iterable[Finding]]) -> str:
    """The findings as a table for a terminal, and how many there are of each kind."""
    width = max(len(one.check) for ones in found.values() for one in ones) + 2
    lines, counts = [], Counter[str]()
    for part, ones in found.items():
        lines += ["", part]
        for one in ones:
            counts[one.outcome] += 1
            lines.append(f"  {one.outcome:<11}{one.check:<{width}}{one.sentence}")
            if one.do:
                lines.append(f"  {'':<11}{'':<{width}}→ {one.do}")
    said = [f"{counts[outcome]} {outcome}" for outcome in ("broken", "to do", "not asked", "ok") if counts[outcome]]
    return "\n".join([*lines[1:], "", f"{', '.join(said)}."])
