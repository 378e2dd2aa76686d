"""The fixture `hub`: a GitHub that lives in a file, `gh` and `cml` on the PATH, and the event of a workflow run."""

import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_github
import pytest

HEAD = "a" * 40
NEWER = "b" * 40
BOT = "github-actions[bot]"


class Hub:
    """One GitHub with the repository acme/models and its pull request 7 from the branch `better`."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, patch
        self.path = folder / "github.json"
        self.summary_file = folder / "summary.md"
        self.world: dict[str, Any] = {
            "viewer": BOT,
            "comments": {"7": []},
            "pulls": [pull(7, "better")],
            "parents": {},
            "rulesets": [],
            "owners": [],
            "settings": {},
            "dispatched": [],
            "fail": {},
            "calls": [],
            "cml": [],
            "wrong": [],
            "last": 1000,
        }
        self.save()

    def save(self) -> None:
        """Write what a test changed in `world`."""
        self.path.write_text(json.dumps(self.world), encoding="utf-8")

    def load(self) -> dict[str, Any]:
        """Read what the programs did."""
        self.world = json.loads(self.path.read_text(encoding="utf-8"))
        return self.world

    def install(self, *names: str) -> None:
        """Put these programs on the PATH, and no other `gh` or `cml`."""
        places = self.folder / "bin"
        places.mkdir(exist_ok=True)
        for name in ("gh", "cml"):
            (places / name).unlink(missing_ok=True)
        for name in names:
            code = Path(fake_github.__file__).read_text(encoding="utf-8")
            (places / name).write_text(f"#!{sys.executable}\n{code}", encoding="utf-8")
            (places / name).chmod(0o755 | stat.S_IXUSR)
        self.patch.setenv("PATH", os.pathsep.join([str(places), "/usr/bin", "/bin"]))

    def run(self, name: str, payload: dict[str, Any], **variables: str) -> None:
        """Start a workflow run by that event."""
        (self.folder / "event.json").write_text(json.dumps(payload), encoding="utf-8")
        self.summary_file.write_text("")
        settings = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_NAME": name,
            "GITHUB_EVENT_PATH": str(self.folder / "event.json"),
            "GITHUB_REPOSITORY": "acme/models",
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_STEP_SUMMARY": str(self.summary_file),
            "GITHUB_SHA": HEAD,
            "GITHUB_REF": "refs/pull/7/merge",
            "GITHUB_ACTOR": "ada",
            "GITHUB_RUN_ID": "42",
            "GH_TOKEN": "token-of-the-run",
        }
        for key, value in (settings | variables).items():
            self.patch.setenv(key, value)

    @property
    def summary(self) -> str:
        """What the page of the run shows."""
        return self.summary_file.read_text(encoding="utf-8")

    def comments(self) -> list[Any]:
        """The comments of pull request 7."""
        found: list[Any] = self.load()["comments"]["7"]
        return found

    def add(self, *bodies: str, author: str = "ada") -> list[int]:
        """Somebody comments on pull request 7; the ids."""
        ids = []
        for body in bodies:
            self.world["last"] += 1
            ids.append(self.world["last"])
            self.world["comments"]["7"].append({"id": ids[-1], "user": {"login": author}, "body": body})
        self.save()
        return ids


def pull(number: int, branch: str, *, head: str = HEAD, repo: str = "acme/models") -> dict[str, Any]:
    """A pull request as GitHub's API shows it."""
    return {
        "number": number,
        "state": "open",
        "user": {"login": "ada"},
        "head": {"ref": branch, "sha": head, "repo": {"full_name": repo}},
        "base": {"ref": "main", "sha": "c" * 40, "repo": {"full_name": "acme/models"}},
    }


def payload(**changes: Any) -> dict[str, Any]:
    """The event of pull request 7."""
    return {"pull_request": pull(7, "better") | changes, "repository": {"default_branch": "main"}}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A GitHub, both programs, and a run of pull request 7; a call that the real ones would not take fails the test."""
    folder = tmp_path / "hub"
    folder.mkdir()
    for key in list(os.environ):
        if key.startswith(("GITHUB_", "GH_", "CML_")):
            monkeypatch.delenv(key)
    one = Hub(folder, monkeypatch)
    monkeypatch.setenv(fake_github.STATE, str(one.path))
    one.install("gh", "cml")
    one.run("pull_request", payload())
    yield one
    assert one.load()["wrong"] == []
