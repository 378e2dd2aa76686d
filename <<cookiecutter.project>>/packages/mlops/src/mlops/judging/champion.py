"""Which version is the champion? The one that `dvc.lock` on the default branch locks; its bytes are fetched by digest.

Nothing here guesses: when the champion cannot be known, that is refused, and the gate does not pass.
"""

import json
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops import git, storage
from mlops.errors import Refusal
from mlops.workspace import Model


@dataclass(frozen=True, kw_only=True)
class Promoted:
    """What the default branch says: the digest of the champion's export, and the commit that promoted it."""

    branch: str
    commit: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The version that the default branch holds, verified and on this disk."""

    version: str
    promoted: Promoted
    folder: Path


def locate(model: Model) -> Promoted | None:
    """Where the champion is, or None when the default branch holds no version of this model.

    Raises `Refusal` outside git, and when there is no default branch to look at.
    """
    branch = _branch(model)
    return next(_promotions(model, branch), None) if branch else None


def fetch(model: Model, promoted: Promoted) -> Champion:
    """The champion's export on this disk; raises `Refusal` when its bytes are lost."""
    what = f"The champion of {model.name} (promoted by {promoted.commit[:10]} on {promoted.branch})"
    folder = _fetched(model, promoted.digest, what)
    return Champion(version=_version(folder), promoted=promoted, folder=folder)


def reset_is_spent(model: Model, promoted: Promoted, reason: str) -> bool:
    """Whether the champion itself was promoted under a reset with this very reason.

    A reset counts once: forgotten in `model.toml`, it would switch the comparison off for ever.
    """
    gate = _gate_of(model, promoted)
    return gate.get("champion") == "reset" and gate.get("reason") == reason


def used(model: Model, promoted: Promoted, accept: Mapping[str, str]) -> frozenset[str]:
    """The columns of `accept` that the champion was promoted under with this very reason: these count once, too."""
    before = _gate_of(model, promoted).get("accept")
    return frozenset(name for name, why in accept.items() if isinstance(before, dict) and before.get(name) == why)


def _gate_of(model: Model, promoted: Promoted) -> dict[str, Any]:
    """The section `[gate]` that the champion was promoted under; empty where it cannot be read."""
    text = git.show(model.root, promoted.commit, f"models/{model.name}/model.toml")
    try:
        gate = tomllib.loads(text or "").get("gate", {})
    except tomllib.TOMLDecodeError:
        return {}
    return gate if isinstance(gate, dict) else {}


def previous(model: Model, champion: Champion) -> str | None:
    """The version that the default branch held before the champion; None when there is none, or its bytes are gone."""
    history = _promotions(model, champion.promoted.branch)
    before = next((one.digest for one in history if one.digest != champion.promoted.digest), None)
    if before is None:
        return None
    try:
        return _version(_fetched(model, before, f"The version of {model.name} before the champion"))
    except Refusal:
        # Old versions may be cleaned out of storage; that concerns a rollback and not this verdict.
        return None


def fact(model: Model, champion: Champion, name: str) -> Any:
    """What the default branch says in `models/<name>/<name>.json`, such as `contract`; None when it is not there."""
    text = git.show(model.root, champion.promoted.branch, f"models/{model.name}/{name}.json")
    try:
        return None if text is None else json.loads(text)
    except json.JSONDecodeError:
        return None


def _branch(model: Model) -> str | None:
    """The revision to read the champion's lock from, or None when nothing has been committed at all."""
    root = model.root
    if not git.is_repository(root):
        raise Refusal(
            f"{model.name}: {root} is not a git repository, so the champion is not known.",
            do="The champion is the version on the default branch: run `git init` and commit.",
        )
    branch = git.default_branch(root)
    if branch is None and git.has_commits(root):
        raise Refusal(
            f"{model.name}: git knows no default branch here, so the champion is not known.",
            do="Fetch it: `git fetch origin && git remote set-head origin --auto`; without a remote, name it main.",
        )
    if branch is not None and not git.is_commit(root, branch):
        raise Refusal(
            f"{model.name}: the default branch {branch} has not been fetched, so the champion is not known.",
            do="Fetch it: `git fetch origin`.",
        )
    return branch


def _promotions(model: Model, branch: str) -> Iterator[Promoted]:
    """The versions that the branch held, newest first, each with the commit that brought it."""
    path = f"models/{model.name}/dvc.lock"
    held: Promoted | None = None
    for commit in git.commits(model.root, branch, path):
        text = git.show(model.root, commit, path)
        try:
            digest = storage.locked_export(text) if text is not None else None
        except Refusal as broken:
            if held is None:
                do = f"Mend models/{model.name}/dvc.lock on {branch}."
                raise Refusal(f"{model.name}: {broken.what} It is the one on {branch}.", do=do) from None
            # A lock that was broken once, and mended, hides what came before it and not what came after.
            digest = None
        if held is not None and digest != held.digest:
            yield held
        if digest is None:
            # Removed, or locked before the first training: what came before it is another story.
            return
        held = Promoted(branch=branch, commit=commit, digest=digest)
    if held is not None:
        yield held


def _fetched(model: Model, digest: str, what: str) -> Path:
    """The folder of an export by digest, fetched once and verified each time."""
    folder = model.root / ".cache" / "exports" / digest
    if storage.folder_digest(folder) != digest:
        shutil.rmtree(folder, ignore_errors=True)
        try:
            storage.fetch(model.root, digest, folder)
        except Refusal as lost:
            do = f"{lost.do} If it is lost for good, reset it: docs/how-to/reset-the-champion.md."
            raise Refusal(f"{what} cannot be fetched: {lost.what}", do=do) from None
    return folder


def _version(folder: Path) -> str:
    from mlops.learning import export

    return export.version(folder)
