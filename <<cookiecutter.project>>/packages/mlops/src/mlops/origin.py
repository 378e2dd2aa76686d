"""What has `origin`, and how is a commit put there without touching this clone? Standard library and git only.

All happens in a temporary repository that reads this clone's settings (address, credentials, proxies) and goes away:
the clone gets no objects, no references, no shallow borders and no filter, and an interruption leaves nothing in it.
Only what is asked for is transferred: a tip's folders without its files, then the files that are named.
"""

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mlops import git
from mlops.errors import Refusal

PATIENCE = 20.0
"""Seconds in which origin must say what its branches are; transfers that move take as long as they take."""

ABANDONED = 24 * 3600.0
"""Seconds after which what a killed process left is removed."""

FILE = "100644"
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

# Only what moves the bytes: no hooks, no housekeeping, no submodules, and a stalled transfer ends.
_PLAIN = {
    "core.hooksPath": os.devnull,
    "core.sparseCheckout": "false",
    "core.fsmonitor": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "fetch.negotiationAlgorithm": "noop",
    "fetch.recurseSubmodules": "false",
    "push.recurseSubmodules": "no",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "30",
}
_FETCH = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--refmap=", "--filter=blob:none")


class Unreachable(Refusal):
    """Origin did not answer, or did not let us in."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One name in a commit: git's mode (`100644` is an ordinary file), type and object name."""

    mode: str
    kind: str
    name: str


def exists(root: Path) -> bool:
    """Whether this clone has a remote called origin."""
    return git.has(root, "remote", "get-url", "origin")


@contextmanager
def opened(root: Path) -> Iterator["Origin"]:
    """Origin as this clone sees it; nothing is asked before the first question."""
    with tempfile.TemporaryDirectory(prefix="origin.", dir=_waiting_room(root), ignore_cleanup_errors=True) as folder:
        # What git is told is absolute: it runs in the root.
        yield Origin(root, Path(folder).absolute())


def _waiting_room(root: Path) -> Path:
    """The folder for temporary repositories, which DVC and git ignore; what killed processes left there is removed."""
    place = root / ".dvc" / "tmp"
    place.mkdir(parents=True, exist_ok=True)
    for folder in place.glob("origin.*"):
        try:
            if folder.stat().st_mtime < time.time() - ABANDONED:
                shutil.rmtree(folder, ignore_errors=True)
        except FileNotFoundError:
            continue
    return place


class Origin:
    """The remote `origin` of one clone, through a temporary repository in `folder`."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root
        self.folder = folder
        self._known: set[str] = set()

    @cached_property
    def _repository(self) -> str:
        """The temporary repository, made when it is first needed."""
        place = self.folder / "git"
        kind = f"--object-format={self.object_format}"
        self._must(git.ask(self.root, "init", "--bare", "--quiet", "--template=", kind, str(place)), "be prepared")
        settings = git.run(self.root, "rev-parse", "--path-format=absolute", "--git-common-dir").strip()
        written = git.ask(
            self.root, "config", "--file", str(place / "config"), "include.path", os.path.join(settings, "config")
        )
        self._must(written, "be prepared")
        return str(place)

    @cached_property
    def object_format(self) -> str:
        """The hash that names git's objects here: `sha1` or `sha256`."""
        return git.run(self.root, "rev-parse", "--show-object-format").strip()

    @cached_property
    def _environment(self) -> dict[str, str]:
        """No question is put to a person: whoever waits for a run may not be there."""
        found = {"GIT_TERMINAL_PROMPT": "0", "GIT_INDEX_FILE": str(self.folder / "index")}
        if "GIT_SSH_COMMAND" not in os.environ and not git.has(self.root, "config", "core.sshCommand"):
            found["GIT_SSH_COMMAND"] = "ssh -o BatchMode=yes -o ConnectTimeout=15"
        return found

    @property
    def _options(self) -> list[str]:
        return [f"--git-dir={self._repository}", *(word for pair in _PLAIN.items() for word in ("-c", "=".join(pair)))]

    def _ask(self, *words: str, given: bytes = b"", **variables: str) -> git.Answer:
        return git.ask(self.root, *self._options, *words, given=given, environment=self._environment | variables)

    def _must(self, answer: git.Answer, what: str) -> bytes:
        if answer.code:
            raise Unreachable(f"origin could not {what}: {answer.said}.", do="Check the network and your access to it.")
        return answer.out

    def heads(self) -> dict[str, str]:
        """The branches of origin now, and their commits.

        Raises `Unreachable`, after `PATIENCE` seconds at the latest.
        """
        try:
            answer = git.ask(
                self.root,
                *self._options,
                *("ls-remote", "--heads", "origin"),
                environment=self._environment,
                seconds=PATIENCE,
            )
        except TimeoutError:
            do = "Check the network and your access to it."
            raise Unreachable(f"origin did not answer within {PATIENCE:g} seconds.", do=do) from None
        lines = [line.split("\t") for line in self._must(answer, "be asked").decode("utf-8", "replace").splitlines()]
        return {name.removeprefix("refs/heads/"): commit for commit, name in lines}

    def default_branch(self) -> str | None:
        """The branch that origin's HEAD names; None where it names none."""
        said = self._must(self._ask("ls-remote", "--symref", "origin", "HEAD"), "be asked").decode("utf-8", "replace")
        found = re.match(r"ref: refs/heads/(\S+)\tHEAD\n", said)
        return found[1] if found else None

    def learn(self, commit: str) -> None:
        """Fetch one commit with its folders, and neither its history nor its files."""
        if commit not in self._known:
            self._must(self._ask(*_FETCH, "--depth=1", "origin", commit), "be read")
            self._known.add(commit)

    def message(self, commit: str) -> str:
        """The message of a commit that was learnt."""
        return self._must(self._ask("log", "-1", "--format=%B", commit), "be read").decode("utf-8", "replace")

    def entries(self, commit: str, paths: Iterable[str]) -> dict[str, Entry]:
        """What a learnt commit has at and below these paths, by path; folders and all that they hold."""
        wanted = sorted(set(paths))
        found: dict[str, Entry] = {}
        for start in range(0, len(wanted), 500):
            some = wanted[start : start + 500]
            out = self._must(self._ask("ls-tree", "-z", "-r", "-t", "--full-tree", commit, "--", *some), "be read")
            for line in out.split(b"\0")[:-1]:
                about, _, path = line.partition(b"\t")
                mode, kind, name = about.decode().split()
                found[path.decode("utf-8", "surrogateescape")] = Entry(mode=mode, kind=kind, name=name)
        return found

    def take(self, names: Iterable[str], receive: Callable[[str, Iterator[bytes]], None]) -> None:
        """Fetch files by git's names for them, in one go, and hand each to `receive` in pieces."""
        wanted = sorted(set(names))
        if not wanted:
            return
        # What the tip brought along, from a server that leaves out nothing, is not transferred again.
        self._must(self._ask(*_FETCH, "origin", "--stdin", given="\n".join(wanted).encode() + b"\n"), "be read")
        with git.objects(self.root, *self._options, names=wanted, environment=self._environment) as found:
            for name, pieces in found:
                if pieces is None:
                    raise Unreachable(f"origin does not give the object {name}.", do="Run it again.")
                receive(name, pieces)

    def text(self, name: str, most: int) -> str | None:
        """A small file as text; None when it is larger than `most` bytes or no UTF-8."""
        kept: list[bytes] = []

        def receive(_: str, pieces: Iterator[bytes]) -> None:
            for piece in pieces:
                if sum(map(len, kept)) <= most:
                    kept.append(piece)

        self.take([name], receive)
        data = b"".join(kept)
        try:
            return data.decode("utf-8") if len(data) <= most else None
        except UnicodeDecodeError:
            return None

    def keep(self, data: bytes) -> str:
        """Write a file for a commit to come; git's name for it."""
        answer = self._ask("hash-object", "-w", "--stdin", given=data)
        return self._must(answer, "be prepared").decode().strip()

    def keep_file(self, path: Path) -> str:
        """The same for a file on this disk, which is read as it is, in pieces."""
        answer = self._ask("hash-object", "-w", "--no-filters", "--", str(path.absolute()))
        return self._must(answer, "be prepared").decode().strip()

    def name_of(self, size: int) -> "hashlib._Hash":
        """A digest that becomes git's name for a file of that size, once the file's bytes are put in."""
        return hashlib.new(self.object_format, f"blob {size}\0".encode(), usedforsecurity=False)

    def commit(
        self,
        files: Mapping[str, str | None],
        message: str,
        *,
        parent: str | None,
        identity: Mapping[str, str] | None = None,
    ) -> str:
        """A commit that adds files (path to git's name) to its parent, or stands alone; it is not pushed yet.

        A path without a name is taken away.
        """
        index = self.folder / "index"
        index.unlink(missing_ok=True)
        if parent:
            self._must(self._ask("read-tree", parent), "be prepared")
        gone = "0" * 40 if self.object_format == "sha1" else "0" * 64
        lines = "".join(
            f"{FILE} {name}\t{path}\0" if name else f"0 {gone}\t{path}\0" for path, name in sorted(files.items())
        )
        self._must(self._ask("update-index", "-z", "--index-info", given=lines.encode()), "be prepared")
        tree = self._must(self._ask("write-tree", "--missing-ok"), "be prepared").decode().strip()
        words = ["commit-tree", tree, *(["-p", parent] if parent else []), "-F", "-"]
        who = self._identity if identity is None else identity
        signed = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in who.items()}
        made = self._ask(*words, given=message.encode(), **signed)
        return self._must(made, "be prepared").decode().strip()

    def join(self, commit: str, branch: str) -> str:
        """A commit with exactly the files of `commit`, after it and after the commit `branch` that others may have."""
        words = ("commit-tree", f"{commit}^{{tree}}", "-p", branch, "-p", commit, "-F", "-")
        signed = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in BOT.items()}
        self.learn(branch)
        message = self.message(commit).encode()
        return self._must(self._ask(*words, given=message, **signed), "be prepared").decode().strip()

    @cached_property
    def _identity(self) -> dict[str, str]:
        """Who commits: the person whose clone this is; in a workflow, and for nobody, the bot of GitHub Actions."""
        known = git.ask(self.root, "-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT").code == 0
        if known and os.environ.get("GITHUB_ACTIONS") != "true":
            return {}
        return BOT

    def push(self, commit: str, branch: str) -> bool:
        """Put a commit at the tip of a branch; False when the branch has moved on, so that it would be lost.

        Never forces. Raises `Unreachable` when origin does not take it for another reason.
        """
        words = ["push", "--porcelain", "--no-verify", "--no-follow-tags", "--no-signed"]
        answer = self._ask(*words, "origin", f"{commit}:refs/heads/{branch}")
        if answer.code == 0:
            return True
        told = answer.out.decode("utf-8", "replace")
        if any(line.startswith("!\t") and _MOVED.search(line) for line in told.splitlines()):
            return False
        refused = next((line.split("\t")[-1] for line in told.splitlines() if line.startswith("!\t")), "")
        why = f"{refused}; {answer.said}" if refused and refused not in answer.said else answer.said
        raise Unreachable(
            f"origin did not take the branch {branch}: {why}.",
            do="Check that you, or in a workflow the token (`contents: write`), may push this branch.",
        )

    def delete(self, branch: str, *, at: str) -> None:
        """Take away a branch that stands at this commit; one that has moved on stays, and is refused as `Unreachable`.

        A branch that is gone already is no failure.
        """
        if branch not in self.heads():
            return
        lease = f"--force-with-lease=refs/heads/{branch}:{at}"
        answer = self._ask("push", "--porcelain", "--no-verify", lease, "origin", f":refs/heads/{branch}")
        self._must(answer, f"take away the branch {branch}")


BOT = {"NAME": "github-actions[bot]", "EMAIL": "41898282+github-actions[bot]@users.noreply.github.com"}
# Somebody else was faster: seen by us, or by the server when both came at once.
_MOVED = re.compile(
    r"fetch first|non-fast-forward|stale info|cannot lock ref|failed to update ref|reference already exists"
    r"|unable to create .*lock|incorrect old value|failed to lock"
)
