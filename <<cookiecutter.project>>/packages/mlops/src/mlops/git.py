"""Questions to git, and nothing else: every call to the `git` program is here. Standard library only."""

import subprocess
from pathlib import Path

from mlops.errors import Refusal


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
        return subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, encoding="utf-8", check=False
        )
    except FileNotFoundError:
        raise Refusal(
            "git is not installed.", do="Install git: the champion and the lineage are read from it."
        ) from None


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
