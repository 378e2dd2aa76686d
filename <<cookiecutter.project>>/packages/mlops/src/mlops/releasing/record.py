"""What is on record about a release: the words in the deployment, the release note, the issue, the pull request.

Values in, texts out; `command.py` hands them to GitHub. Whatever a target or a person said is made harmless first.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mlops.errors import Refusal
from mlops.releasing import admission
from mlops.reporting import neutral

ENVIRONMENTS = ("staging", "production")
"""Where a release goes, in this order."""

State = Literal["success", "failure"]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a deployment or a rollback ended, as its verb noted it; without a note only that its job failed is known."""

    environment: str
    outcome: str
    """`deployed`, `rolled back`, `unchanged`, or `failed` where nothing was noted."""
    sentence: str
    version: str = ""
    """What serves now; empty where nobody knows."""
    image: str = ""
    commit: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> State:
        """As GitHub names it."""
        return "success" if self.outcome in ("deployed", "unchanged") else "failure"


def read_ended(path: Path, environment: str) -> Ended | None:
    """The note of a deployment or a rollback; None where there is none, `Refusal` for one that cannot be."""
    try:
        value: Any = json.loads(path.read_text(encoding="utf-8")[:200_000])
        release = value["release"] or {}
        return Ended(
            environment=environment,
            outcome=str(value["outcome"]),
            sentence=str(value["sentence"]),
            **{key: str(release.get(key, "")) for key in ("version", "image", "commit")},
            facts=dict(value.get("facts") or {}),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError):
        raise Refusal(f"{path} is not what a deployment notes.", do="Look at the job that deployed.") from None


def lost(environment: str, result: str) -> Ended:
    """What is known of a job that ended without a note."""
    sentence = f"The job that deploys to {environment} ended with {result} and noted nothing: see its log."
    return Ended(environment=environment, outcome="failed", sentence=sentence)


def task(model: str) -> str:
    """Under which name GitHub keeps the deployments of one model apart from those of others."""
    return f"deploy:{model}"


def description(model: str, one: Ended) -> str:
    """One line for GitHub's list of deployments."""
    return neutral.visible(f"{model} {one.version or '(unknown)'}: {one.sentence}", limit=140)


def payload(model: str, one: Ended) -> dict[str, Any]:
    """What GitHub keeps with a deployment."""
    return {"model": model, "version": one.version, "image": one.image, "outcome": one.outcome}


@dataclass(frozen=True, kw_only=True)
class Note:
    """All that a release note says."""

    model: str
    version: str
    image: str
    commit: str
    previous: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    ended: tuple[Ended, ...] = ()
    run: str = ""


def tag(model: str, version: str) -> str:
    """The tag of a release; no model has a hyphen in its name."""
    return f"{model}-{version}"


def release_note(note: Note) -> str:
    """What was released, as Markdown."""
    rows = [
        ("Version", neutral.code(note.version)),
        # `admission.read_image` lets nothing through that could be more than a name.
        ("Image", f"`{note.image}`"),
        ("Commit", note.commit),
        ("Before it", neutral.code(note.previous) if note.previous else "nothing"),
    ]
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    scores = [(name, value) for name, value in sorted(note.metrics.items()) if isinstance(value, float)]
    if scores:
        lines += [
            "",
            "Scores on the holdout, as measured before it was merged:",
            "",
            "| Metric | Score |",
            "|---|---:|",
        ]
        lines += [f"| {neutral.code(name)} | {value:,.4g} |" for name, value in scores[:50]]
    lines += ["", *(f"- {one.environment}: {neutral.text(one.sentence, limit=500)}" for one in note.ended)]
    lines += ["", f"The model's card is `models/{note.model}/CARD.md` at that commit."]
    lines += [f"Deployed by {note.run}."] if note.run else []
    return "\n".join(lines) + "\n"


def issue_title(model: str, version: str, environment: str) -> str:
    """What an issue about a version that was taken back is called; the version may be unknown."""
    return f"{' '.join(filter(None, (model, version)))} was rolled back from {environment}"


def issue(*, model: str, version: str, one: Ended, why: str, run: str | None, pull: str = "") -> str:
    """Why a version was taken back, what serves now, and what a person does next; it holds the version back."""
    serves = f"{neutral.code(one.version)} serves again." if one.version else "Look at what serves now: `mlops status`."
    lines = [
        f"**{neutral.text(why, limit=800)}**",
        "",
        f"- Model: {neutral.code(model)}",
        f"- Version that was taken back: {neutral.code(version) if version else 'not known'}",
        f"- {one.environment.capitalize()}: {serves}",
        *([f"- Run: {run}"] if run else []),
        "",
        pull or "The default branch still names the version that was taken back.",
    ]
    if version:
        lines += [
            "",
            "While this issue is open, that version is not released again; any other version is. "
            "Close it when the cause is gone and the same version may go out once more.",
            "",
            admission.marker(model, version, one.environment),
        ]
    return "\n".join(lines)


def again(one: Ended, why: str, run: str | None) -> str:
    """What is added to an issue that is open already."""
    return f"It happened again. {neutral.text(why, limit=800)}" + (f"\n\nRun: {run}" if run else "")


def revert_title(model: str, version: str) -> str:
    """What the pull request is called that takes a model back."""
    return f"Go back to {model} {version}"


def revert_text(*, model: str, version: str, commit: str, environment: str, why: str) -> str:
    """What that pull request says."""
    return "\n".join(
        [
            f"{environment.capitalize()} was rolled back to {neutral.code(version)}: {neutral.text(why, limit=800)}",
            "",
            f"This takes `models/{model}/` (its lock, code and settings) back to {commit}, from where that version was "
            "released. Until it is merged, the default branch names a version that does not serve.",
            "",
            "CI measures it like any other change. Where the gate prefers the version that was taken back, it has not "
            "seen what production saw: raise what it asks for, or follow docs/how-to/reset-the-champion.md.",
            "",
        ]
    )
