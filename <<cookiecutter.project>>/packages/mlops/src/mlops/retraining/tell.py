"""The verb `tell`: who hears of an alarm? An issue that is kept up to date and closes by itself, CT, and a webhook.

It runs trusted code and takes what the looks found as data. Standard library only.
"""

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlops import actions, github
from mlops.cli import Outcome
from mlops.errors import Refusal
from mlops.reporting import neutral, planned
from mlops.retraining import words
from mlops.retraining.start import read

LABEL = "watch"
RETRAIN = "retrain"
"""The kind of `repository_dispatch` that `ct.yml` answers to."""
WEBHOOK = "WEBHOOK_URL"
"""The variable with the address of a chat's incoming webhook; it is told in the form that Slack made common."""
LARGEST = 5_000_000
LONGEST = 50_000
PATIENCE = 15.0
OUTCOMES = ("quiet", "alarm", "not evaluated")


def tell(root: Path, plan: str, artifacts: str) -> Outcome:
    """Tell of every look of `plan` (what `looks --into` wrote) whose `watch.json` is in `artifacts`.

    Exit 2 when a look left nothing, or when an alarm could not be told; a webhook that does not answer is a warning.
    """
    _, asked = read(Path(plan))
    there = {words.watched(one.body): one for one in github.open_issues(LABEL)}
    lines, failed = [], False
    for one in asked:
        model = str(one["model"])
        try:
            lines.append(_tell(model, Path(artifacts) / f"watch-{model}", there.get(model)))
        except Refusal as refusal:
            failed = True
            lines.append(f"{model}: {refusal.what}")
            actions.annotate("error", f"{model}: {refusal.what}", title="Watch")
    actions.summary("\n".join(["### Who was told", "", *(f"- {neutral.text(line, limit=400)}" for line in lines), ""]))
    return Outcome("\n".join(lines) or "No model is watched.", {"told": lines}, 2 if failed else 0)


def _tell(model: str, folder: Path, issue: github.Issue | None) -> str:
    look = _look(model, folder)
    return " ".join(filter(None, (_people(model, look, folder, issue), _ask(model, look))))


def _people(model: str, look: Mapping[str, Any], folder: Path, issue: github.Issue | None) -> str:
    """Open, change or close the issue of a model, and tell the webhook of what begins and ends."""
    if look["outcome"] == "quiet":
        if issue is None:
            return f"{model}: quiet."
        github.comment_on_issue(issue.number, "It is over: the newest look is quiet.")
        github.close_issue(issue.number, done=True)
        return f"{model}: quiet again, issue {issue.number} is closed. {_ring(f'{model}: quiet again.')}".strip()
    if look["outcome"] == "not evaluated":
        return f"{model}: not evaluated, so nothing is told: {_sentences(look)[0]}"
    body = words.alarm(model, _text(folder), actions.run_url())
    title = f"{model}: alarm"
    if issue is None:
        number, rung = github.create_issue(title, body, label=LABEL).number, _ring(f"{title}. {_sentences(look)[0]}")
    else:
        number, rung = issue.number, ""
        github.update_issue(number, title=title, body=body)
    return f"{model}: alarm, issue {number} says why. {rung}".strip()


def _ask(model: str, look: Mapping[str, Any]) -> str:
    """Ask CT about the first alarm, else about the new rows that ask for a version; a sentence where it was asked."""
    alarms = [one for one in look["findings"] if one["outcome"] == "alarm"]
    first = next(iter(alarms or [one for one in look["findings"] if one["asks"]]), None)
    if first is None:
        return ""
    about = {"model": model, "kind": str(first["kind"]), "sentence": neutral.visible(first["sentence"], limit=300)}
    github.ask_for(RETRAIN, about)
    return "CT was asked whether it is due."


def _look(model: str, folder: Path) -> dict[str, Any]:
    """What a look found, checked as far as it is used."""
    again = "Look at the job that watched it."
    try:
        value = json.loads(planned.text_of(folder / "watch.json", most=LARGEST))
        findings = [
            {**{key: str(one[key]) for key in ("kind", "outcome", "sentence")}, "asks": one.get("asks") is True}
            for one in value["findings"]
        ]
        if value["model"] != model or value["outcome"] not in OUTCOMES or not findings:
            raise ValueError("it is about something else")
    except FileNotFoundError:
        raise Refusal("the look left nothing.", do=again) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise Refusal(f"its watch.json is not one: {neutral.visible(error, limit=100)}.", do=again) from None
    return {"outcome": value["outcome"], "findings": findings}


def _text(folder: Path) -> str:
    """The look in words; names in it were made harmless when it was written, and what is too long is cut."""
    try:
        return planned.text_of(folder / "watch.md", most=LARGEST)[:LONGEST]
    except (OSError, ValueError):
        return "The look left no text: see the run."


def _sentences(look: Mapping[str, Any]) -> list[str]:
    worst = [one["sentence"] for one in look["findings"] if one["outcome"] == look["outcome"]]
    return worst or [one["sentence"] for one in look["findings"]]


def _ring(text: str) -> str:
    """Tell the webhook, where there is one; what went wrong in a sentence, which never holds the address."""
    address = os.environ.get(WEBHOOK, "")
    if not address:
        return ""
    parts = urllib.parse.urlsplit(address)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost"):
        return f"The webhook was not told: {WEBHOOK} is no https address."
    link = actions.run_url()
    value = {"text": neutral.visible(text, limit=500) + (f" {link}" if link else "")}
    request = urllib.request.Request(
        address, data=json.dumps(value).encode(), headers={"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE):
            return "The webhook was told."
    except urllib.error.HTTPError as error:
        return f"The webhook was not told: it answers {error.code}."
    except (OSError, ValueError) as error:
        return f"The webhook was not told: {type(error).__name__}."
