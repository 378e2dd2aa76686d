"""Questions to git, and nothing else: every call to the `git` program is here. Standard library only.

When `GH_TOKEN` is set, git may ask for it: a credential helper reads it from the environment, so that the token stands
in no command line and in no file, and goes to GitHub's own host only.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mlops.errors import Refusal

PIECE = 2**20
"""Bytes of an object that are held in memory at once."""


def run(root: Path, *arguments: str) -> str:
    """Standard output of one git command in `root`; a failure is a `Refusal` with git's own words."""
    done = _call(root, *arguments)
    if done.returncode != 0:
        # The first line says what is wrong; hints and usage may follow it.
        said = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise Refusal(f"git {arguments[0]} failed: {said[0]}", do=f"It ran in {root}.")
    return done.stdout


def _call(root: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(_command(root, arguments), capture_output=True, text=True, encoding="utf-8", check=False)
    except FileNotFoundError:
        raise _not_installed() from None


def _not_installed() -> Refusal:
    return Refusal("git is not installed.", do="Install git: the champion and the lineage are read from it.")


# `get` is asked for; what git tells the helper on `store` and `erase` is none of its business.
_HELPER = '!f() { test "$1" = get && printf "username=x-access-token\\npassword=%s\\n" "$GH_TOKEN"; }; f'


def _command(root: Path, arguments: Iterable[str]) -> list[str]:
    """The words of a git command; with a `GH_TOKEN`, git's only credential for GitHub is that one."""
    words = ["git", "-C", str(root)]
    if os.environ.get("GH_TOKEN"):
        key = f"credential.{os.environ.get('GITHUB_SERVER_URL') or 'https://github.com'}.helper"
        words += ["-c", f"{key}=", "-c", f"{key}={_HELPER}"]
    return [*words, *arguments]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a git command said: its exit code, the bytes on standard output, and why it failed, in one line."""

    code: int
    out: bytes
    said: str


def ask(
    root: Path,
    *arguments: str,
    given: bytes = b"",
    environment: Mapping[str, str] | None = None,
    seconds: float | None = None,
) -> Answer:
    """One git command with bytes in and out; the caller judges the exit code.

    `environment` is added to this process's own. Raises `TimeoutError` when git takes longer than `seconds`.
    """
    try:
        done = subprocess.run(
            _command(root, arguments),
            input=given,
            capture_output=True,
            env={**os.environ, "LC_ALL": "C", **(environment or {})},
            timeout=seconds,
            check=False,
        )
    except FileNotFoundError:
        raise _not_installed() from None
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"git {arguments[0]} took longer than {seconds:g} seconds") from None
    return Answer(code=done.returncode, out=done.stdout, said=_why(done.stderr))


def _why(stderr: bytes) -> str:
    """The line in which git says what is wrong; hints, progress and usage stand around it."""
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    for sign in ("remote: error:", "fatal:", "error:", ""):
        for line in lines:
            if line.startswith(sign):
                return line.removeprefix("remote: ").removeprefix("fatal: ").removeprefix("error: ")[:300]
    return "git gave no reason"


@contextmanager
def objects(
    root: Path, *options: str, names: Iterable[str], environment: Mapping[str, str] | None = None
) -> Iterator[Iterator[tuple[str, Iterator[bytes] | None]]]:
    """The objects of these names, in their order, each with its bytes in pieces; None where git has no such object.

    Nothing is held in memory: the pieces of one object are read before the next one is taken, and the rest is skipped.
    """
    with tempfile.TemporaryFile() as asked:
        asked.write("".join(f"{name}\n" for name in names).encode())
        asked.seek(0)
        try:
            process = subprocess.Popen(
                _command(root, [*options, "cat-file", "--batch"]),
                stdin=asked,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **(environment or {})},
            )
        except FileNotFoundError:
            raise _not_installed() from None
    assert process.stdout is not None
    try:
        yield _batch(process.stdout)
    finally:
        process.stdout.close()
        process.kill()
        process.wait()


def _batch(stream: IO[bytes]) -> Iterator[tuple[str, Iterator[bytes] | None]]:
    while head := stream.readline():
        name, *rest = head.decode("utf-8", "replace").split()
        if len(rest) != 2:
            yield name, None
            continue
        pieces = _pieces(stream, int(rest[1]))
        yield name, pieces
        for _ in pieces:
            pass
        stream.read(1)


def _pieces(stream: IO[bytes], size: int) -> Iterator[bytes]:
    while size > 0:
        piece = stream.read(min(size, PIECE))
        if not piece:
            raise Refusal("git ended in the middle of an object.", do="Run it again.")
        size -= len(piece)
        yield piece


def has(root: Path, *arguments: str) -> bool:
    """Whether a git command succeeds; no git at all is no answer, and refused."""
    return _call(root, *arguments).returncode == 0


def is_repository(root: Path) -> bool:
    """Whether `root` lies in a git work tree."""
    return has(root, "rev-parse", "--is-inside-work-tree")


def head(root: Path) -> str | None:
    """The full commit of HEAD, or None before the first commit."""
    return run(root, "rev-parse", "HEAD").strip() if has(root, "rev-parse", "--verify", "HEAD") else None


def is_modified(root: Path, *paths: str) -> bool:
    """Whether tracked files below `paths` differ from HEAD."""
    return bool(run(root, "status", "--porcelain", "--untracked-files=no", "--", *paths).strip())


def changed(folder: Path) -> list[str]:
    """Files below `folder` that differ from HEAD, new ones too and ignored ones not; relative to `folder`."""
    listed = ["ls-files", "-z", "--others", "--exclude-standard"]
    against = ["diff", "-z", "--name-only", "--relative", "--no-renames", "HEAD", "--", "."]
    texts = [run(folder, *listed), run(folder, *against) if head(folder) else run(folder, "ls-files", "-z")]
    return sorted({path for text in texts for path in text.split("\0") if path})


def default_branch(root: Path) -> str | None:
    """The revision whose locks name the champions: the remote's default branch, else local main or master."""
    if has(root, "symbolic-ref", "--quiet", "refs/remotes/origin/HEAD"):
        return run(root, "symbolic-ref", "--short", "refs/remotes/origin/HEAD").strip()
    for name in ("origin/main", "main", "origin/master", "master"):
        if has(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"):
            return name
    return None


def has_commits(root: Path) -> bool:
    """Whether anything was ever committed, on any branch."""
    return bool(run(root, "rev-list", "--all", "--max-count=1").strip()) or head(root) is not None


def is_commit(root: Path, revision: str) -> bool:
    """Whether `revision` names a commit that is on this machine."""
    return has(root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")


def show(root: Path, revision: str, path: str) -> str | None:
    """The text of `path` (relative to `root`) at `revision`, or None where it is absent."""
    if not has(root, "cat-file", "-e", f"{revision}:./{path}"):
        return None
    return run(root, "show", f"{revision}:./{path}")


def commits(root: Path, revision: str, path: str) -> list[str]:
    """Commits up to `revision` that changed `path`, newest first."""
    return run(root, "log", "--format=%H", revision, "--", path).split()


def last_change(root: Path, revision: str, *paths: str) -> str | None:
    """The last commit up to `revision` that brought other content to one of `paths`; None where nothing ever did.

    Of a merge it is the merge: what is asked for is when the branch itself changed.
    """
    found = must(root, "log", "-1", "--first-parent", "--format=%H", revision, "--", *paths).decode().split()
    return found[0] if found else None


def must(root: Path, *arguments: str, given: bytes = b"") -> bytes:
    """Standard output of one git command as bytes; a failure is a `Refusal` with git's own words."""
    answer = ask(root, *arguments, given=given)
    if answer.code != 0:
        raise Refusal(f"git failed: {answer.said}", do=f"It ran in {root}.")
    return answer.out


def commit(root: Path, revision: str) -> str | None:
    """The full id of the commit that `revision` names, or None where it names none on this machine."""
    if revision.startswith("-"):
        return None
    answer = ask(root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    return answer.out.decode().strip() if answer.code == 0 else None


def merge_base(root: Path, one: str, other: str) -> str | None:
    """The commit from which two commits have gone apart, or None where git sees none."""
    answer = ask(root, "merge-base", one, other)
    return answer.out.decode().strip() if answer.code == 0 else None


def is_shallow(root: Path) -> bool:
    """Whether the clone ends before the first commit."""
    return run(root, "rev-parse", "--is-shallow-repository").strip() == "true"


def changed_between(root: Path, base: str, head: str) -> list[str]:
    """Paths that differ between two commits; a rename is two of them. Names that are no UTF-8 hold surrogates."""
    out = must(root, "diff-tree", "-r", "-z", "--no-renames", "--name-status", base, head)
    return [os.fsdecode(path) for path in out.split(b"\0")[1::2]]


def promisor(root: Path) -> str | None:
    """The remote that a partial clone fetches from when it needs what it left there; None for a whole clone."""
    found = ask(root, "config", "--get-regexp", r"^remote\..*\.promisor$").out.decode(errors="replace").split()
    return found[0].removeprefix("remote.").removesuffix(".promisor") if found else None


def bring(root: Path, remote: str, names: Iterable[str]) -> None:
    """Fetch what a partial clone left at its remote, all at once: git alone would fetch one object after the other."""
    wanted = "".join(f"{name}\n" for name in names).encode()
    if ask(root, "rev-list", "--objects", "--no-walk", "--missing=print", "--stdin", given=wanted).code == 0:
        return
    quiet = ("--quiet", "--no-tags", "--no-write-fetch-head", "--recurse-submodules=no", "--filter=blob:none")
    must(root, "-c", "fetch.negotiationAlgorithm=noop", "fetch", *quiet, "--stdin", remote, given=wanted)
