"""What retraining says to people: pull requests, issues, the page of a run. Values in, Markdown out.

Reasons come from alarms, from people and from training jobs, and are made harmless.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mlops.reporting import facts, neutral

ALLOW = "Allow it in Settings, Actions, General: Allow GitHub Actions to create and approve pull requests."


SCHEDULES = "<!-- schedules -->"
"""By which the issue about schedules is found; it is not shown."""


def marker(model: str) -> str:
    """By which a later run finds the issue of a model; it is not shown."""
    return f"<!-- retraining: {model} -->"


def marked(body: str) -> str:
    """The model that an issue's text is about; empty for another issue."""
    found = re.search(r"<!-- retraining: ([a-z][a-z0-9_]*) -->", body)
    return found[1] if found else ""


def watched(body: str) -> str:
    """The model that an issue about an alarm is about; empty for another issue."""
    found = re.search(r"<!-- watch: ([a-z][a-z0-9_]*) -->", body)
    return found[1] if found else ""


def alarm(model: str, look: str, run: str | None) -> str:
    """The issue about an alarm: the look as it was written, and what happens next."""
    lines = [look.rstrip(), "", "The next look changes this text, and closes the issue when it is over.", *_run(run)]
    return "\n".join([*lines, f"<!-- watch: {model} -->", ""])


def stopped(sentences: Sequence[str], run: str | None) -> tuple[str, str]:
    """Title and text of the issue about schedules that did not run."""
    lines = [
        *_list("GitHub did not start everything that it should:", sentences),
        "All of them were switched on again.",
    ]
    lines += [
        "The next run changes this text, and closes the issue when they run; `make doctor` looks now.",
        *_run(run),
    ]
    return "A schedule stopped", "\n".join([*lines, SCHEDULES, ""])


def title(model: str, evidence: Mapping[str, Any]) -> str:
    """The pull request's title, with the first metric where champion and challenger have it."""
    compared = facts.table(evidence.get("comparison"))
    metric = compared.get("primary")
    scores = facts.table(facts.table(compared.get("metrics")).get(str(metric)))
    old, new = (facts.number(scores.get(side)) for side in ("champion", "challenger"))
    if not isinstance(metric, str) or old is None or new is None:
        return f"Retrain {model}"
    return f"Retrain {model}: {neutral.visible(metric, limit=40)} {old:.4g} → {new:.4g}"


def body(model: str, reasons: Sequence[str], why: Sequence[str], run: str | None) -> str:
    """The pull request's text: why it is there, what was found, what a person does."""
    return "\n".join(
        [
            f"{neutral.code(model)} was trained anew, and passed its gate.",
            "",
            *_because(reasons),
            *_list("What the gate found:", why),
            "The report comes as a comment, from CI on this branch.",
            "Merging it promotes the version; closing it leaves the champion as it is.",
            *_run(run),
            "",
        ]
    )


def refused_title(model: str) -> str:
    """The issue's title; it stays the same from run to run."""
    return f"Retraining {model} was refused"


def refused(model: str, reasons: Sequence[str], why: Sequence[str], run: str | None) -> str:
    """The issue's text: why no pull request was opened."""
    return "\n".join(
        [
            f"{neutral.code(model)} was trained anew, and is not proposed: the champion stays as it is.",
            "",
            *_list("Why it was refused:", why),
            *_because(reasons),
            "The next run tries again and changes this text; a version that passes closes the issue.",
            *_run(run),
            "",
        ]
    )


def not_allowed_title(model: str) -> str:
    """The issue's title where a person must open the pull request."""
    return f"Retraining {model} waits for a pull request"


def not_allowed(model: str, branch: str, default: str, repository: str | None) -> str:
    """The issue's text where GitHub lets no workflow open pull requests."""
    page = f"{repository}/compare/{default}...{branch}?expand=1" if repository else ""
    return "\n".join(
        [
            f"{neutral.code(model)} was trained anew and passed; {neutral.code(branch)} holds it.",
            "Workflows may not open pull requests in this repository.",
            "",
            f"- Open it: {page}" if page else f"- Open a pull request of {neutral.code(branch)}.",
            f"- {ALLOW}",
            "",
        ]
    )


def summary(lines: Sequence[str]) -> str:
    """What became of each model, for the page of a run."""
    said = [f"- {neutral.text(line, limit=400)}" for line in lines] or ["Nothing was trained."]
    return "\n".join(["### What became of it", "", *said]) + "\n"


def _because(reasons: Sequence[str]) -> list[str]:
    return _list("Why it was trained anew:", reasons)


def _list(head: str, lines: Sequence[str]) -> list[str]:
    return [head, "", *(f"- {neutral.text(line, limit=400)}" for line in lines[:20]), ""] if lines else []


def _run(run: str | None) -> list[str]:
    return [f"Made by {run}."] if run else []
