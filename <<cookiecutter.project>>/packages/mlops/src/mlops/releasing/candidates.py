"""Which models does a change release, and which cannot be released yet? Two commits in, names with reasons out.

A model is released when the version that its lock names has changed, or the code that serves it: one image holds both.
Values only, no git: the verb that asks is in `command.py`. Standard library only.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mlops.errors import Refusal
from mlops.planning import locks
from mlops.storing import verify

EXPORT = "export"
SERVICE = "packages/serve"
DOCKERFILE = "deploy/Dockerfile"
RESOLVED = "uv.lock"
SERVING = (SERVICE, DOCKERFILE, RESOLVED)
"""What ends in every image, beside the version: the code, how it is built, and what it is built with."""

UNREADABLE = "unreadable"
_NOT_BUILT_IN = re.compile(r"(?:.*/)?(?:tests/.*|[^/]*\.md)")


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """What of one commit can end in images."""

    versions: Mapping[str, str | None]
    """Every model, with the digest of the version that its lock names; None where none was trained."""
    serving: Mapping[str, str]
    """Path to git's name of every file of `SERVING`, but `uv.lock`."""
    resolved: bytes = b""
    """The bytes of `uv.lock`."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One model that is to be released, and why."""

    model: str
    reasons: tuple[str, ...]


def locked(lock: bytes | None) -> str | None:
    """The digest of the version in the bytes of a `dvc.lock`; None where there is none.

    A lock that cannot be read gives a word of its own, so that its model is looked at, and refused, by itself.
    """
    if lock is None:
        return None
    try:
        return next((one.md5 for one in verify.locked(lock) if one.path == EXPORT), None)
    except Refusal:
        return UNREADABLE


def is_built_in(path: str) -> bool:
    """Whether a file of `SERVING` can change an image: tests and pages cannot."""
    return not _NOT_BUILT_IN.fullmatch(path)


def released(before: Shipped | None, after: Shipped) -> tuple[Candidate, ...]:
    """The models of `after` that are to be released, sorted; without a `before` all that have a version."""
    service = () if before is None else _service(before, after)
    found = []
    for model, digest in sorted(after.versions.items()):
        if digest is None:
            continue
        if before is None:
            reasons: tuple[str, ...] = ("nothing is known of an earlier commit",)
        else:
            was = before.versions.get(model)
            new = "first version" if was is None else "other version"
            reasons = (*((new,) if was != digest else ()), *service)
        if reasons:
            found.append(Candidate(model=model, reasons=reasons))
    return tuple(found)


def untrained(after: Shipped) -> tuple[str, ...]:
    """The models without a version, sorted: they cannot be released."""
    return tuple(sorted(model for model, digest in after.versions.items() if digest is None))


def _service(before: Shipped, after: Shipped) -> tuple[str, ...]:
    """What changed for all images at once, as short phrases."""
    paths = {path for path in before.serving.keys() | after.serving.keys() if is_built_in(path)}
    changed = sorted(path for path in paths if before.serving.get(path) != after.serving.get(path))
    found = [f"serving code changed: {_few(changed)}"] if changed else []
    if before.resolved != after.resolved:
        told = locks.Difference(locks.read(before.resolved), locks.read(after.resolved)).of("serve")
        if told:
            found.append(f"locked packages of the service changed: {_few(told)}")
    return tuple(found)


def _few(words: Iterable[str], most: int = 3) -> str:
    words = list(words)
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more
