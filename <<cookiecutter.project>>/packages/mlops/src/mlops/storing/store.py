"""The verb `store`: verified versions go into storage, their locks onto the pull request's branch, and CI looks again.

It runs from the base commit, and takes of the pull request data only. What it writes: objects into the DVC remote, one
commit on exactly the measured one, never by force, and an order to GitHub to run `ci.yml` there. Standard library and
git only, except for pushing to a bucket, which DVC does.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlops import branch as branches
from mlops import git, github, origin
from mlops.branch import Branch
from mlops.cli import Outcome
from mlops.errors import Refusal
from mlops.origin import Entry, Origin, Unreachable
from mlops.storing import verify
from mlops.storing.verify import Packed

WORKFLOW = "ci.yml"
MEASURED, STORED = "Measured-Commit", "Stored-Version"
MOST_FOLDERS = 5_000


@dataclass(kw_only=True)
class _Work:
    """What became of each folder: verified so far, or refused and why; and what the new commit changes."""

    good: dict[str, Packed] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    changes: dict[str, dict[str, str]] = field(default_factory=dict)
    """By model: paths in the repository, and git's names of their new bytes."""

    def drop(self, name: str, refusal: Refusal) -> None:
        """A model that was good until this was found."""
        self.good.pop(name, None)
        self.changes.pop(name, None)
        self.refused.append(f"{name}: {refusal.what}")

    def outcome(self, lines: list[str], commit: str | None = None, *, failed: bool = False) -> Outcome:
        """The end of it; exit 2 when any model was refused."""
        stored = [
            {"model": name, "version": packed.version, "changed": bool(self.changes.get(name))}
            for name, packed in sorted(self.good.items())
        ]
        value = {"commit": commit, "stored": stored, "refused": self.refused}
        return Outcome("\n".join([*lines, *self.refused]), value, 2 if self.refused or failed else 0)


def store(root: Path, folder: str, branch: str, head: str, *, later: bool = False) -> Outcome:
    """Store what `folder` holds: one packed folder, or several beside each other; exit 2 when one was refused.

    `branch` is the pull request's own, `head` the measured commit. A branch that has moved on is left alone: its new
    commit is measured by a run of its own. With `later` CI is not started there: the caller has more to do first.
    """
    _check(root, branch, head)
    work = _Work()
    folders = _folders(Path(folder))
    for one in folders:
        _admit(work, one, head)
    if not work.good:
        return work.outcome([] if folders else ["There is nothing to store: no version was packed."])
    with origin.opened(root) as remote:
        tip = remote.heads().get(branch)
        if branch == remote.default_branch():
            raise Refusal(f"{branch} is the default branch, which only a merge may change.", do=_NAME_IT)
        if tip != head:
            return _left_alone(work, branch, tip, head)
        remote.learn(head)
        _plan(remote, work, head)
        _put_objects(root, remote, work)
        changes = {path: name for files in work.changes.values() for path, name in files.items()}
        if not changes:
            return work.outcome(
                [f"{name} {one.version}: {branch} holds it already." for name, one in work.good.items()]
            )
        commit = remote.commit(changes, _message(work, head), parent=head, identity=origin.BOT)
        if not remote.push(commit, branch):
            return _left_alone(work, branch, remote.heads().get(branch), head)
    lines = [f"{name} {one.version}: stored." for name, one in work.good.items()]
    lines.append(f"{branch} is at {commit[:12]} now.")
    if later:
        return work.outcome(lines, commit)
    if os.environ.get("MLOPS_PUSH_STARTS_CI") == "true":
        return work.outcome([*lines, "The push starts CI there."], commit)
    try:
        github.dispatch(WORKFLOW, branch=branch)
    except Refusal as refusal:
        lines += [f"{WORKFLOW} could not be started there, so it has no verdict: {refusal.what}", refusal.do]
        return work.outcome(lines, commit, failed=True)
    return work.outcome([*lines, f"{WORKFLOW} was started there, so that it gets its verdict."], commit)


_NAME_IT = "Name the branch of the pull request whose head was measured."


def _check(root: Path, branch: str, head: str) -> None:
    """Refuse names that could mean something else to git, and branches that are not a pull request's."""
    if not origin.COMMIT.fullmatch(head):
        raise Refusal(f"{verify.shown(head)} is not the full name of a commit.", do="Name the measured commit.")
    plain = branch.isprintable() and len(branch) <= 250 and not branch.startswith("-")
    if not plain or git.ask(root, "check-ref-format", f"refs/heads/{branch}").code:
        raise Refusal(f"{verify.shown(branch)} is not the name of a branch.", do=_NAME_IT)
    if branch == branches.NAME:
        raise Refusal(f"The branch {branch} is where the storage itself is.", do=_NAME_IT)
    if not origin.exists(root):
        raise Refusal("This clone has no origin to store to.", do="`git remote add origin …` names it.")


def _folders(place: Path) -> list[Path]:
    """The packed folders: `place` itself, or all that lie in it."""
    if not os.path.lexists(place):
        return []
    if place.is_symlink() or not place.is_dir():
        raise Refusal(
            f"{place} is no folder.", do="Name the folder that `mlops pack` wrote, or one that holds several."
        )
    found = sorted(place.iterdir())
    if any(one.name == verify.ABOUT for one in found):
        return [place]
    if len(found) > MOST_FOLDERS:
        raise Refusal(f"{place} holds more than {MOST_FOLDERS:,} folders.", do="Do not use it.")
    return found


def _admit(work: _Work, folder: Path, head: str) -> None:
    """Verify one folder, and put it to the good or to the refused ones."""
    name = verify.shown(folder.name).removeprefix("outputs-")
    try:
        packed = verify.packed(folder)
        if packed.commit != head:
            verify.refuse(f"it is about the commit {packed.commit[:12]}, and {head[:12]} was measured")
        if packed.model in work.good:
            verify.refuse(f"{packed.model} is packed twice")
        work.good[packed.model] = packed
    except Refusal as refusal:
        work.drop(name, refusal)
    except OSError as error:
        work.drop(name, Refusal(f"what was packed is not stored: it cannot be read: {error.strerror}."))


def _left_alone(work: _Work, branch: str, tip: str | None, head: str) -> Outcome:
    """Nothing more is written: somebody pushed, and what is there now is measured by a run of its own."""
    became = f"is at {tip[:12]} now" if tip else "is gone"
    work.good.clear()
    return work.outcome([f"{branch} {became}, and {head[:12]} was measured: nothing is written to it."])


def _plan(remote: Origin, work: _Work, head: str) -> None:
    """Which files the commit changes, by model; models that may not be stored on that commit are dropped."""
    before = _stored_by(remote.message(head))
    for name, packed in list(work.good.items()):
        try:
            changes = _changes(remote, packed, head)
            if changes and name in before:
                verify.refuse(
                    f"{head[:12]} is the commit that stored it, and its pipeline made something else of the same "
                    "inputs; storing that again would never end"
                )
            work.changes[name] = changes
        except Refusal as refusal:
            work.drop(name, refusal)


def _stored_by(message: str) -> set[str]:
    """The models whose versions a commit of this verb stored; none for every other commit."""
    if not re.search(rf"(?m)^{MEASURED}: ", message):
        return set()
    return set(re.findall(rf"(?m)^{STORED}: (\S+) ", message))


def _changes(remote: Origin, packed: Packed, head: str) -> dict[str, str]:
    """Files that differ from the measured commit, and git's names for the new ones.

    Only outputs change: a file that a person wrote, a link, or a folder in its place is refused.
    """
    home = f"models/{packed.model}/"
    there = remote.entries(head, [home])
    if not _is_plain(there.get(f"{home}model.toml")):
        verify.refuse(f"{head[:12]} has no model {packed.model}")
    outputs = _outputs(remote, there.get(home + verify.LOCK))
    spelled = {verify.fold(path): path for path in there}
    found = {}
    for path, data in packed.files.items():
        place = home + path
        for end in [at for at, char in enumerate(place) if char == "/"][1:]:
            folder = place[:end]
            if folder in there and there[folder].kind != "tree":
                verify.refuse(f"{verify.shown(path)} would lie in a file")
            if spelled.get(verify.fold(folder), folder) != folder:
                verify.refuse(f"{verify.shown(folder)} is spelled otherwise in the measured commit")
        old = there.get(place)
        if old and not _is_plain(old):
            verify.refuse(f"{verify.shown(path)} is no ordinary file in the measured commit")
        if spelled.get(verify.fold(place), place) != place:
            verify.refuse(f"{verify.shown(path)} is spelled otherwise in the measured commit")
        if old and outputs is not None and path not in {*outputs, verify.LOCK, *verify.UNLOCKED}:
            verify.refuse(f"{verify.shown(path)} is in the measured commit, and no output of its lock")
        name = remote.keep(data)
        if old is None or old.name != name:
            found[place] = name
    return found


def _is_plain(entry: Entry | None) -> bool:
    return entry is not None and entry.kind == "blob" and entry.mode == origin.FILE


def _outputs(remote: Origin, lock: Entry | None) -> set[str] | None:
    """The outputs that the measured commit's lock names; None where it has none that can be read."""
    text = remote.text(lock.name, verify.LARGEST_LOCK) if lock is not None and _is_plain(lock) else None
    try:
        return None if text is None else {out.path for out in verify.locked(text.encode())}
    except Refusal:
        return None


def _put_objects(root: Path, remote: Origin, work: _Work) -> None:
    """Put the objects of all good models into the storage; models that it cannot hold as a whole are dropped."""
    storage = Branch(remote) if branches.is_used(root) else _Bucket(root)
    for name, packed in list(work.good.items()):
        try:
            lost = sorted(packed.absent - storage.has(packed.absent))
            if lost:
                verify.refuse(f"{lost[0]} is neither packed nor in the storage")
            storage.examine(packed.objects)
        except Unreachable:
            raise
        except Refusal as refusal:
            work.drop(name, refusal)
    objects = {oid: path for packed in work.good.values() for oid, path in packed.objects.items()}
    if objects:
        storage.push(objects)


class _Bucket:
    """A DVC remote of another kind, moved by DVC; imported when it is needed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def has(self, oids: Iterable[str]) -> set[str]:
        from mlops import storage

        wanted = set(oids)
        return storage.held(self.root, wanted) if wanted else set()

    def examine(self, files: Mapping[str, Path]) -> None:
        """A bucket takes files of any size."""

    def push(self, files: Mapping[str, Path]) -> int:
        from mlops import storage

        return storage.send(self.root, files)


def _message(work: _Work, head: str) -> str:
    """What the commit says: which versions, and for which measured commit."""
    versions = [f"{name} {work.good[name].version}" for name, files in sorted(work.changes.items()) if files]
    subject = versions[0] if len(versions) == 1 else f"{len(versions)} models"
    trailers = [*(f"{STORED}: {one}" for one in versions), f"{MEASURED}: {head}"]
    return "\n".join([f"Store {subject}", "", *trailers, ""])
