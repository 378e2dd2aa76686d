"""Which bytes are on the branch `dvc-storage`, and how do more get there? The DVC remote that needs no account.

The branch has no history in common with the code. It holds objects in DVC's own layout, `files/md5/<aa>/<rest>`, each
named by its md5, so that two pushes never conflict: the second one adds its objects to what the first one left.
Nothing is taken from the branch, and nothing is put there, whose bytes are not what its name says.
Standard library and git only.
"""

import configparser
import hashlib
import os
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from mlops import git, origin
from mlops.errors import Refusal
from mlops.origin import Origin

NAME = "dvc-storage"
"""The branch, and the DVC remote that is kept on it."""

LARGEST = 95_000_000
"""Bytes of the largest object; GitHub takes no file of more than 100 MiB."""

ATTEMPTS = 12
"""How often a push that somebody else's push has overtaken is made again."""

OBJECT = re.compile(r"[0-9a-f]{32}(?:\.dir)?")
README = """\
# Data and trained models

This branch is written by `mlops push` and by CI, and read by `mlops pull` and `make train`; it is not meant to be
edited, merged or checked out. DVC's locks on the other branches name each file here by its md5.
"""


def is_used(root: Path) -> bool:
    """Whether this clone's DVC remote is kept on the branch: it is the default remote, and there is an origin."""
    return default_remote(root) == NAME and origin.exists(root)


def default_remote(root: Path) -> str | None:
    """The name of DVC's default remote, as `.dvc/config` and `.dvc/config.local` say."""
    settings = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        settings.read([root / ".dvc" / "config", root / ".dvc" / "config.local"], encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        raise Refusal(f"{root / '.dvc' / 'config'} is not valid.", do="`git diff .dvc` shows what changed.") from None
    return settings.get("core", "remote", fallback=None)


@contextmanager
def opened(root: Path) -> Iterator["Branch"]:
    """The branch as `origin` has it; nothing is asked before the first question."""
    with origin.opened(root) as remote:
        yield Branch(remote)


class Branch:
    """What the branch held when it was first asked; a push looks again."""

    def __init__(self, remote: Origin) -> None:
        self.remote = remote

    @cached_property
    def _tip(self) -> str | None:
        return self._look()

    def _look(self) -> str | None:
        """The tip of the branch now, with its folders; None while there is no such branch."""
        heads = self.remote.heads()
        tip = heads.get(NAME)
        if tip:
            self.remote.learn(tip)
        elif not heads:
            # The first branch that a server sees becomes its default branch.
            self._is_empty = True
        return tip

    _is_empty = False

    def has(self, oids: Iterable[str]) -> set[str]:
        """Which of these objects the branch holds. Raises `Unreachable`."""
        return set(self._found(self._tip, oids))

    def _found(self, tip: str | None, oids: Iterable[str]) -> dict[str, str]:
        """Objects on the branch at `tip`, and git's names for them."""
        wanted = {_path(oid): oid for oid in oids}
        if tip is None or not wanted:
            return {}
        entries = self.remote.entries(tip, {path.rpartition("/")[0] + "/" for path in wanted})
        return {oid: entries[path].name for path, oid in wanted.items() if _is_file(entries.get(path))}

    def fetch(self, oids: Iterable[str], place: Callable[[str], Path]) -> set[str]:
        """Put objects where `place` says, verified, in one transfer; return those that the branch does not hold.

        A file appears as a whole, read-only as DVC keeps it, or not at all.
        """
        asked = set(oids)
        found = self._found(self._tip, asked)
        owners: dict[str, list[str]] = {}
        for oid, name in found.items():
            owners.setdefault(name, []).append(oid)

        def receive(name: str, pieces: Iterator[bytes]) -> None:
            digest = hashlib.md5(usedforsecurity=False)
            # In the temporary folder, so that a killed process leaves nothing where DVC looks.
            handle, temporary = tempfile.mkstemp(dir=self.remote.folder)
            with os.fdopen(handle, "wb") as stream:
                for piece in pieces:
                    digest.update(piece)
                    stream.write(piece)
            os.chmod(temporary, 0o444)
            for oid in owners[name]:
                if digest.hexdigest() != oid.removesuffix(".dir"):
                    do = "Do not use it: whoever wrote it to that branch wrote something else."
                    raise Refusal(f"{_path(oid)} on the branch {NAME} has not the bytes of its name.", do=do)
                target = place(oid)
                target.parent.mkdir(parents=True, exist_ok=True)
                # One file can be named twice: as itself, and as the listing of a folder.
                copied = f"{temporary}.copy"
                os.link(temporary, copied)
                os.replace(copied, target)
            os.unlink(temporary)

        self.remote.take(owners, receive)
        return asked - set(found)

    def examine(self, files: Mapping[str, Path]) -> None:
        """Refuse files that are too large for the branch."""
        for oid, path in sorted(files.items()):
            if path.stat().st_size > LARGEST:
                raise Refusal(
                    f"{path.name} ({oid}) has {path.stat().st_size / 1e6:.0f} MB; the branch {NAME} takes files up to "
                    f"{LARGEST / 1e6:.0f} MB.",
                    do="Larger ones need a bucket (s3, gs or azure): docs/how-to/change-storage.md.",
                )

    def push(self, files: Mapping[str, Path]) -> int:
        """Add objects (md5 to file) to the branch; how many it did not have yet.

        Each file is read and compared with its name first, and nothing is pushed when one differs or is too large.
        Raises `Unreachable`; then the branch is as it was.
        """
        self.examine(files)
        kept: dict[str, str] = {}
        tip = self._tip
        for attempt in range(ATTEMPTS):
            if tip is None and self._is_empty:
                do = (
                    "Push your code first, such as `git push -u origin main`: the first branch becomes the default one."
                )
                raise Refusal("origin has no branch yet.", do=do)
            lacking = sorted(files.keys() - self._found(tip, files).keys())
            if not lacking:
                return len(kept)
            for oid in lacking:
                if oid not in kept:
                    kept[oid] = self._keep(oid, files[oid])
            new = {_path(oid): kept[oid] for oid in lacking}
            if tip is None:
                new["README.md"] = self.remote.keep(README.encode())
            what = "1 object" if len(lacking) == 1 else f"{len(lacking)} objects"
            commit = self.remote.commit(new, f"Store {what}\n", parent=tip)
            if self.remote.push(commit, NAME):
                # What is asked after this is asked about the new tip.
                self._tip = commit
                return len(lacking)
            time.sleep(random.uniform(0.1, 0.3) * (attempt + 1))
            tip = self._look()
        raise Refusal(
            f"The branch {NAME} moved on {ATTEMPTS} times while this was pushed.", do="Run it again; nothing is lost."
        )

    def _keep(self, oid: str, path: Path) -> str:
        """Git's name for a file that is kept for a push, when the bytes that git kept are those of its digest."""
        digest, name = hashlib.md5(usedforsecurity=False), self.remote.name_of(path.stat().st_size)
        with path.open("rb") as stream:
            while piece := stream.read(git.PIECE):
                digest.update(piece)
                name.update(piece)
        if digest.hexdigest() != oid.removesuffix(".dir") or self.remote.keep_file(path) != name.hexdigest():
            raise Refusal(f"{path} has not the bytes of its name.", do="It is damaged; `make train` makes it again.")
        return name.hexdigest()


def _path(oid: str) -> str:
    """Where an object is on the branch; refuses what is no digest."""
    if not OBJECT.fullmatch(oid):
        raise Refusal(f"{oid[:100]!r} is not the digest of an object.", do="DVC writes them as md5.")
    return f"files/md5/{oid[:2]}/{oid[2:]}"


def _is_file(entry: origin.Entry | None) -> bool:
    return entry is not None and entry.kind == "blob" and entry.mode == origin.FILE
