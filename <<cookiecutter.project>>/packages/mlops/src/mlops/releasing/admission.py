"""May this version be packaged, and may this image be deployed? Facts in, a sentence for every reason against it out.

Nothing is decided here by silence: what is not known is a reason. Values only; `command.py` asks git, DVC and GitHub.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops.errors import Refusal
from mlops.storing import verify

VERDICT = "verdict"
"""The check that the default branch requires."""
ACTIONS_APP = "github-actions"
MEASURES = frozenset({"pull_request", "merge_group"})
"""What starts a run that compares a commit with one before; a run by hand on the default branch compares nothing."""
HOLD = "rolled-back"
"""The label of the issues that hold a version back."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HELD = re.compile(r"<!-- mlops rolled back ([a-z][a-z0-9_]*) ([0-9a-f]{12}) ([a-z][a-z0-9-]*) -->")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One check `verdict` on one commit: how it ended (empty while it runs), by which app, and what started its run."""

    commit: str
    conclusion: str
    app: str
    event: str


@dataclass(frozen=True, kw_only=True)
class Image:
    """What `mlops package` says that it made."""

    model: str
    version: str
    image: str
    """`name@sha256:…` in a registry, or `sha256:…` in the engine at hand."""
    digest: str
    commit: str


def unmatched(model: str, outdated: Sequence[str]) -> str:
    """Why a lock does not say what its inputs would make; empty when it does."""
    if not outdated:
        return ""
    return (
        f"{model}: dvc.lock does not match its inputs (stages that would run again: {', '.join(outdated)}). "
        f"Open a pull request that changes models/{model}/, or type `make train MODEL={model}` and propose the lock: "
        "CI measures it."
    )


def unmeasured(what: str, change: str, checks: Sequence[Measured]) -> str:
    """Why nobody has measured `what`, which the commit `change` brought; empty when a verdict is there and passed.

    `checks` are the verdicts on that commit and on the pull requests that it came by, the newest of each commit last.
    Those on the commit itself count only where its run compared it with something.
    """
    ours = [one for one in checks if one.app == ACTIONS_APP and (one.commit != change or one.event in MEASURES)]
    newest = {one.commit: one for one in ours}
    if any(one.conclusion == "success" for one in newest.values()):
        return ""
    do = "Propose it in a pull request: only what CI has measured is released."
    if not newest:
        return f"{what} came with {change[:12]}, which has no verdict: it was not measured. {do}"
    said = ", ".join(sorted({one.conclusion or "not finished" for one in newest.values()}))
    return f"{what} came with {change[:12]}, whose verdict is not passed ({said}). {do}"


def marker(model: str, version: str, environment: str) -> str:
    """What an issue holds so that a version is held back; it is not shown."""
    return f"<!-- mlops rolled back {model} {version} {environment} -->"


def held(model: str, version: str, bodies: Mapping[int, str]) -> str:
    """Why a version is held back, by the open issues' numbers and texts; empty when none of them is about it."""
    for number, body in sorted(bodies.items()):
        for about in _HELD.findall(body):
            if about[:2] == (model, version):
                return (
                    f"{model} {version} was rolled back from {about[2]}, and issue {number} about it is open. "
                    "Merge what takes it back, or close that issue to release this version again."
                )
    return ""


def overtaken(model: str, ours: str | None, theirs: str | None, branch: str) -> str:
    """Why this version is no longer the one to deploy: the default branch names another; empty when it is."""
    if ours is not None and ours == theirs:
        return ""
    names = "no version any more" if theirs is None else "another version by now"
    return f"{model}: {branch} names {names}, so this one is not deployed. A run of its own releases what it names."


def read_image(path: Path) -> Image:
    """Read what `mlops package` left; refuses what it would not write."""
    try:
        value: Any = json.loads(path.read_text(encoding="utf-8")[:100_000])
    except FileNotFoundError:
        raise Refusal(f"{path} does not exist, so nothing was packaged.", do="Look at the job Build.") from None
    except (ValueError, RecursionError, OSError):
        raise Refusal(f"{path} cannot be read.", do="Look at the job Build, and run the release again.") from None
    table = value if isinstance(value, dict) else {}
    texts = {key: table.get(key) for key in ("model", "version", "image", "digest", "commit")}
    fits = {
        "model": verify.MODEL,
        "version": verify.VERSION,
        "image": re.compile(r"[\w./:-]{0,400}@?sha256:[0-9a-f]{64}", re.ASCII),
        "digest": _DIGEST,
        "commit": _COMMIT,
    }
    for key, pattern in fits.items():
        if not (isinstance(texts[key], str) and pattern.fullmatch(str(texts[key]))):
            raise Refusal(f"{path} has no {key} that could be one.", do="Run the release again.")
    return Image(**{key: str(text) for key, text in texts.items()})


def strange(image: Image, *, model: str, digest: str, commit: str) -> str:
    """Why an image is not the one that was packaged: of which model, by which digest, from which commit; else empty."""
    if image.model != model:
        return f"The image is of {image.model}, and {model} is deployed."
    if digest and image.digest != digest:
        return f"{model}: the image has the digest {image.digest[:19]}…, and {digest[:19]}… was packaged."
    if not image.image.endswith(image.digest):
        return f"{model}: {image.image[-80:]} is not named by its digest {image.digest[:19]}…."
    if image.commit != commit:
        return f"{model}: the image was made from {image.commit[:12]}, and this run is about {commit[:12]}."
    return ""
