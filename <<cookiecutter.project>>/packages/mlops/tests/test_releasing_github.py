"""What is asked of GitHub around a release: the very calls, and what is made of the answers."""

import json
import subprocess
from typing import Any

import pytest

from mlops import github
from mlops.github import Deployment, Failure

COMMIT = "c" * 40
IMAGE = "r.test/a@sha256:" + "a" * 64


class Gh:
    """Stands for the program: what it was given, and what it answers."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], Any]] = []
        self.answers: list[tuple[int, Any, str]] = []

    def __call__(self, command: list[str], given: str | None) -> "subprocess.CompletedProcess[str]":
        """One call."""
        self.calls.append((command, None if given is None else json.loads(given)))
        code, value, said = self.answers.pop(0) if self.answers else (0, {}, "")
        return subprocess.CompletedProcess(command, code, "" if value is None else json.dumps(value), said)

    @property
    def paths(self) -> list[str]:
        """The addresses that were asked for."""
        return [command[2] for command, _ in self.calls]

    @property
    def bodies(self) -> list[Any]:
        """What was sent."""
        return [given for _, given in self.calls]


@pytest.fixture
def gh(monkeypatch: pytest.MonkeyPatch) -> Gh:
    """A `gh` that answers what a test wants."""
    one = Gh()
    monkeypatch.setattr(github, "_run", one)
    monkeypatch.setenv("GITHUB_REPOSITORY", "acme/models")
    monkeypatch.delenv("GITHUB_SERVER_URL", raising=False)
    return one


def run(id: int, **other: Any) -> dict[str, Any]:
    about = {"id": id, "name": "verdict", "conclusion": "success", "app": {"slug": "github-actions"}}
    return {**about, "details_url": f"https://github.com/acme/models/actions/runs/7{id}/job/9", **other}


def test_the_checks_of_a_commit_come_oldest_first_with_their_runs(gh: Gh) -> None:
    pages = [
        {"check_runs": [run(2), run(1, conclusion=None, details_url="https://else.test", app=None)]},
        {"check_runs": [run(3, name="verdict-of-another")]},
    ]
    gh.answers = [(0, pages, "")]
    found = github.checks(COMMIT, "verdict")
    assert [(one.id, one.conclusion, one.app, one.run) for one in found] == [
        (1, "", "", None),
        (2, "success", "github-actions", 72),
    ]
    assert gh.paths == [f"repos/acme/models/commits/{COMMIT}/check-runs?check_name=verdict&per_page=100"]


def test_only_pull_requests_that_were_merged_into_the_branch_count(gh: Gh) -> None:
    def pull(head: str, merged: str | None, into: str) -> dict[str, Any]:
        return {"head": {"sha": head}, "merged_at": merged, "base": {"ref": into}}

    gh.answers = [(0, [[pull("1", "2026-11-01", "main"), pull("2", None, "main")], [pull("3", "2026", "side")]], "")]
    assert github.merged_heads(COMMIT, into="main") == ["1"]


def test_a_run_says_what_started_it(gh: Gh) -> None:
    gh.answers = [(0, {"event": "merge_group"}, "")]
    assert github.event_of(7) == "merge_group"
    assert gh.paths == ["repos/acme/models/actions/runs/7"]


def test_issues_are_no_pull_requests(gh: Gh) -> None:
    one = {"number": 1, "title": "t", "body": None, "user": None}
    gh.answers = [(0, [[one, {**one, "number": 2, "pull_request": {}}]], "")]
    (found,) = github.open_issues("rolled-back")
    assert (found.number, found.author, found.body) == (1, "", "")
    assert "labels=rolled-back" in gh.paths[0]


@pytest.mark.parametrize("payload", [{"version": "1"}, '{"version": "1"}'])
def test_a_payload_comes_as_a_text_or_as_a_table(gh: Gh, payload: Any) -> None:
    gh.answers = [(0, [{"id": 1, "sha": COMMIT, "payload": payload}], "")]
    assert github.deployments("production", task="deploy:a") == [
        Deployment(id=1, commit=COMMIT, payload={"version": "1"})
    ]
    assert gh.paths == ["repos/acme/models/deployments?environment=production&task=deploy%3Aa&per_page=100"]


def test_a_deployment_asks_for_no_check_and_ends_no_other_ones(gh: Gh) -> None:
    """GitHub would otherwise refuse it for a check that is not there, and end the deployments of other models."""
    gh.answers = [(0, {"id": 4, "sha": COMMIT, "payload": {}}, "")]
    github.create_deployment(COMMIT, "staging", task="deploy:a", description="x" * 200, payload={})
    github.set_deployment(4, "success", description="y" * 200, log=None)
    made, status = gh.bodies
    assert (made["required_contexts"], made["auto_merge"], len(made["description"])) == ([], False, 140)
    assert (status["auto_inactive"], len(status["description"]), "log_url" in status) == (False, 140, False)


def test_a_release_note_is_written_once_and_then_replaced(gh: Gh) -> None:
    absent = (1, {"message": "Not Found"}, "gh: Not Found (HTTP 404)")
    gh.answers = [absent, (0, {"html_url": "u"}, ""), (0, {"id": 5}, ""), (0, {"html_url": "u"}, "")]
    for _ in range(2):
        assert github.write_release("a-1", commit=COMMIT, title="a 1", body="x") == "u"
    methods = [command[4] for command, _ in gh.calls]
    assert methods == ["GET", "POST", "GET", "PATCH"]
    assert gh.bodies[1]["target_commitish"] == COMMIT
    assert gh.bodies[1]["make_latest"] == "false"
    assert gh.paths[3] == "repos/acme/models/releases/5"


def test_another_failure_of_a_release_note_is_one(gh: Gh) -> None:
    gh.answers = [(1, {"message": "no"}, "gh: no (HTTP 403)")]
    with pytest.raises(Failure, match="release"):
        github.write_release("a-1", commit=COMMIT, title="a 1", body="x")


def verified(gh: Gh) -> None:
    github.verify_attestation(IMAGE, workflow="attest.yml", branch="main", commit=COMMIT)


def test_an_attestation_must_be_of_this_workflow_branch_and_commit(gh: Gh) -> None:
    gh.answers = [(0, None, "")]
    verified(gh)
    ((command, given),) = gh.calls
    assert given is None
    assert command[:4] == ["gh", "attestation", "verify", f"oci://{IMAGE}"]
    pairs = dict(zip(command[4:-1:2], command[5:-1:2], strict=True))
    assert pairs == {
        "--repo": "acme/models",
        "--signer-workflow": "acme/models/.github/workflows/attest.yml",
        "--source-ref": "refs/heads/main",
        "--source-digest": COMMIT,
    }
    assert command[-1] == "--deny-self-hosted-runners"


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ("Loaded digest\nError: no attestations found\n", "no attestations found"),
        ("error connecting to api", "error connecting"),
        ("", "no reason"),
        ("To get started with GitHub CLI, please run:  gh auth login", "no token"),
    ],
)
def test_an_attestation_that_does_not_verify_is_refused_whatever_gh_says(gh: Gh, said: str, word: str) -> None:
    """The breaker: any code but 0 is a refusal."""
    gh.answers = [(1, None, said)]
    with pytest.raises(Failure, match=word):
        verified(gh)


def test_nobody_is_asked_about_an_unknown_repository(gh: Gh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_REPOSITORY")
    with pytest.raises(Failure, match="not known"):
        verified(gh)
    assert gh.calls == []
