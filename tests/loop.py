"""A repository whose workflows run on this machine: push, open pull requests, run the workflows, look at what is there.

What the tests of the three loops and `benchmarks/pull_request.py` share; see `tests/acting.py` for how it runs.
The first pull request is measured, stored, followed up and merged once, for all of them.
"""

import contextlib
import dataclasses
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acting import Event, Run, Runner, dispatch, pull_request
from tests.github import GitHub, Repository

NAME = "acme/ml-models"
MODEL = "tumour"
WATERMARK = "CML watermark mlops-report"
SUCCESS, FAILURE, SKIPPED = "success", "failure", "skipped"
# One quick test of the repository's own and one of each model, so that the check job has something to run.
NARROW = (
    "-k 'test_a_folder_in_models_is_a_model or test_an_unknown_estimator_is_refused' "
    "-rA --numprocesses 0 --ignore-glob=packages/*"
)
EXTRA = {"PYTEST_ADDOPTS": NARROW}
Edit = Callable[[Path], object]


@dataclasses.dataclass
class Loop:
    """A repository on the loopback GitHub, somebody's clone of it, and what runs its workflows."""

    github: GitHub
    runner: Runner
    clone: Path

    @property
    def repository(self) -> Repository:
        """What GitHub has."""
        return self.github.repositories[NAME]

    def push(self, branch: str, *edits: Edit, to: Repository | None = None) -> str:
        """Change files on a branch (made from the default one where it is new) and push it: the new commit."""
        target = to or self.repository
        start = branch if target.commit(f"refs/heads/{branch}") else "main"
        self._git("fetch", "--quiet", "--force", str(target.path), "+refs/heads/*:refs/remotes/origin/*")
        self._git("checkout", "--quiet", "--force", "-B", branch, f"refs/remotes/origin/{start}")
        for edit in edits:
            edit(self.clone)
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", f"Change {branch}")
        self._git("push", "--quiet", str(target.path), branch)
        return target.git("rev-parse", f"refs/heads/{branch}")

    def _git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.clone, check=True, capture_output=True)

    def propose(self, branch: str, *edits: Edit, author: str = "ann") -> int:
        """Open a pull request with these changes."""
        self.push(branch, *edits)
        return self.github.open(NAME, branch, author=author, title=f"Change {branch}")

    def measure(self, number: int) -> Run:
        """CI on a pull request as it is now."""
        return self.run(pull_request(self.github, NAME, number))

    def run(self, event: Event, *, workflow: str = "ci.yml", whole: bool = False) -> Run:
        """A workflow for an event; it may ask GitHub only for what our GitHub knows, and forces nothing."""
        run = self.runner.run(event, workflow=workflow, whole=whole)
        assert self.github.unknown == [], run.describe()
        assert [push.ref for push in self.github.pushes if push.forced] == []
        return run

    def follow(self, *, whole: bool = False) -> Run:
        """The run that a job of the last one has dispatched."""
        (asked,) = self.repository.dispatches
        self.repository.dispatches.clear()
        assert asked["workflow"] == "ci.yml"
        return self.run(dispatch(self.github, NAME, asked["ref"]), whole=whole)

    def issues(self, label: str) -> list[dict[str, Any]]:
        """The open issues with a label."""
        found = [one for one in self.repository.issues.values() if one["state"] == "open"]
        return [one for one in found if {"name": label} in one["labels"]]

    def reports(self, number: int) -> list[str]:
        """The bodies of all report comments on a pull request."""
        return [comment["body"] for comment in self.repository.on(number) if WATERMARK in comment["body"]]

    def verdict(self, commit: str) -> str:
        """What the required check says on a commit."""
        found = [check for check in self.repository.checks if (check["head_sha"], check["name"]) == (commit, "verdict")]
        return str(found[-1]["conclusion"]) if found else "expected"

    def head(self, number: int) -> str:
        """The commit at which a pull request stands."""
        return self.repository.git("rev-parse", f"refs/heads/{self.repository.pulls[number].head}")

    def stored(self) -> set[str]:
        """Every object in the branch that is the storage."""
        if self.repository.commit("refs/heads/dvc-storage") is None:
            return set()
        listed = self.repository.git("ls-tree", "-r", "--name-only", "refs/heads/dvc-storage").splitlines()
        return {"".join(found.groups()) for path in listed if (found := re.search(r"md5/(..)/(.+)$", path))}

    def locked(self, revision: str, model: str = MODEL) -> set[str]:
        """Every object that a model's lock names and the storage must hold; folders as such, without their files."""
        folder = f"{revision}:models/{model}"
        lock = yaml.safe_load(self.repository.git("show", f"{folder}/dvc.lock"))
        stages = yaml.safe_load(self.repository.git("show", f"{folder}/dvc.yaml"))["stages"].values()
        # What is named with settings, such as `cache: false`, is committed beside the lock.
        cached = {one for stage in stages for one in stage.get("outs", []) if isinstance(one, str)}
        outs = [out for stage in lock["stages"].values() for out in stage["outs"]]
        return {out["md5"] for out in outs if out["path"] in cached}


@contextlib.contextmanager
def start(folder: Path, source: Path, environments: Path, *, extra: Mapping[str, str]) -> Iterator[Loop]:
    """A loop over a repository with the branches of `source`; `extra` is added to the environment of every job."""
    with GitHub(folder / "github") as github:
        bare = github.create(NAME, source)
        clone = folder / "clone"
        subprocess.run(["git", "clone", "--quiet", str(bare.path), str(clone)], check=True)
        extra = {"MYPY_CACHE_DIR": str(environments / "mypy"), **extra}
        with Runner(github, NAME, extra=extra, environments=environments) as runner:
            yield Loop(github, runner, clone)


def write(path: str, old: str, new: str) -> Edit:
    """Replace a text that is there."""

    def edit(root: Path) -> None:
        text = (root / path).read_text(encoding="utf-8")
        assert old in text, f"{path} does not have {old!r}"
        (root / path).write_text(text.replace(old, new), encoding="utf-8")

    return edit


def estimator(name: str, *more: str, model: str = MODEL) -> Edit:
    """Fit something else."""
    lines = "\n".join([f'estimator = "{name}"', *more])
    return write(f"models/{model}/model.toml", 'estimator = "linear"', lines)


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python environments that stay from job to job."""
    return tmp_path_factory.mktemp("environments")


@pytest.fixture(scope="session")
def seed(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new repository: nothing is trained, `uv.lock` is committed."""
    folder = tmp_path_factory.mktemp("seed") / "seed"
    subprocess.run(["git", "clone", "--quiet", "--no-local", str(installed), str(folder)], check=True)
    subprocess.run(["git", "checkout", "--quiet", "-B", "main", "installed"], cwd=folder, check=True)
    return folder


@dataclasses.dataclass(frozen=True)
class First:
    """What the first pull request was like, and the repository after it was merged."""

    run: Run
    head: str
    stored_at: str
    comments: tuple[str, ...]
    follow_up: Run
    verdicts: tuple[str, str]
    pushes: tuple[str, ...]
    missing: frozenset[str]
    merged: Path


@pytest.fixture(scope="session")
def first(seed: Path, environments: Path, tmp_path_factory: pytest.TempPathFactory) -> First:
    """The first pull request, measured, stored, followed up in one act process with the file as it is, and merged."""
    folder = tmp_path_factory.mktemp("first")
    with start(folder, seed, environments, extra=EXTRA) as loop:
        number = loop.propose("first", write(f"models/{MODEL}/model.toml", "minutes = 60", "minutes = 45"))
        head = loop.head(number)
        run = loop.measure(number)
        stored_at = loop.head(number)
        comments = tuple(loop.reports(number))
        follow_up = loop.follow(whole=True)
        loop.github.check(NAME, stored_at, "verdict", follow_up.results["verdict"])
        verdicts = (loop.verdict(head), loop.verdict(stored_at))
        missing = frozenset(loop.locked(stored_at) - loop.stored())
        loop.github.merge(NAME, number)
        pushes = tuple(push.ref for push in loop.github.pushes)
        merged = loop.repository.path
    return First(run, head, stored_at, comments, follow_up, verdicts, pushes, missing, merged)


@pytest.fixture
def loop(first: First, environments: Path, tmp_path: Path) -> Iterator[Loop]:
    """The repository as it was after the first pull request was merged: it has a champion."""
    with start(tmp_path, first.merged, environments, extra=EXTRA) as made:
        yield made
