"""The one door to GitHub: `gh` is called as it must be, and what it refuses is said in two lines."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hub import BOT, Hub, pull

from mlops import github
from mlops.github import Failure


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(github, "PAUSES", (0.0, 0.0))


def script(hub: Hub, text: str) -> None:
    """Replace `gh` by these lines of shell."""
    place = hub.folder / "bin" / "gh"
    place.write_text(f"#!/bin/sh\n{text}\n")
    place.chmod(0o755)


@pytest.mark.parametrize("count", [0, 1, 100, 101, 345])
def test_all_pages_are_read_in_order(hub: Hub, count: int) -> None:
    ids = hub.add(*(f"comment {n}" for n in range(count)))
    assert [one.id for one in github.comments(7)] == ids


def test_a_comment_is_written_changed_and_taken_away(hub: Hub) -> None:
    body = 'a "b" \\ \n --method DELETE @file $(x) `y` <!-- 😀 \u2028'
    made = github.create_comment(7, "first")
    github.update_comment(made.id, body)
    assert [(one.author, one.body) for one in github.comments(7)] == [(BOT, body)]
    github.delete_comment(made.id)
    github.delete_comment(made.id)
    assert github.comments(7) == []


def test_the_comment_of_a_deleted_account_is_nobodys(hub: Hub) -> None:
    hub.world["comments"]["7"] = [{"id": 1, "user": None, "body": None}]
    hub.save()
    assert github.comments(7) == [github.Comment(1, "", "")]


def test_the_pull_request_of_a_branch_is_the_oldest_open_one_of_this_repository(hub: Hub) -> None:
    closed = pull(2, "better") | {"state": "closed"}
    gone = pull(1, "better") | {"head": {"ref": "better", "sha": "d" * 40, "repo": None}}
    hub.world["pulls"] = [pull(9, "better"), pull(8, "better"), closed, gone, pull(3, "better", repo="mallory/models")]
    hub.save()
    found = github.pull_request_of("better")
    assert found is not None
    assert found.number == 8
    assert github.pull_request_of("worse") is None


def test_a_workflow_is_started_on_a_branch(hub: Hub) -> None:
    github.dispatch("ci.yml", branch="feature/a b", inputs={"reason": "stored"})
    github.dispatch("ci.yml", branch="better")
    assert hub.load()["dispatched"] == [["ci.yml", "feature/a b", {"reason": "stored"}], ["ci.yml", "better", {}]]


def test_rulesets_are_read_and_written(hub: Hub) -> None:
    value = {"name": "one", "target": "branch", "enforcement": "active", "rules": [], "conditions": {}}
    github.write_ruleset(value)
    github.write_ruleset(value | {"enforcement": "disabled"}, number=github.rulesets()["one"])
    assert list(github.rulesets()) == ["one"]
    assert github.ruleset(github.rulesets()["one"])["enforcement"] == "disabled"


def test_whose_token_it_is_falls_back_to_the_workflows_own(hub: Hub) -> None:
    hub.world["viewer"] = "our-app[bot]"
    hub.save()
    assert github.viewer() == "our-app[bot]"
    hub.world["fail"] = {"POST graphql": 403}
    hub.save()
    assert github.viewer() == BOT


@pytest.mark.parametrize(
    ("stderr", "stdout", "code", "says"),
    [
        ("gh: Resource not accessible by integration (HTTP 403)", "", 1, "`pull-requests: read`"),
        ("gh: API rate limit exceeded for installation ID 1. (HTTP 403)", "", 1, "in an hour"),
        ("gh: You have exceeded a secondary rate limit (HTTP 429)", "", 1, "in an hour"),
        ("gh: Not Found (HTTP 404)", "{}", 1, "may not see it"),
        ("gh: Bad credentials (HTTP 401)", "{}", 1, "does not accept the token"),
        ("gh: Validation Failed (HTTP 422)", '{"errors":[{"message":"body is too long"}]}', 1, "body is too long"),
        ("gh: Validation Failed (HTTP 422)", '{"errors":["no such branch"]}', 1, "no such branch"),
        ("gh: Server Error (HTTP 502)", "<html>", 1, "Server Error (502)"),
        ("error connecting to api.example.com", "", 1, "could not be reached"),
        ("dial tcp 127.0.0.1:1: connect: connection refused", "", 1, "could not be reached"),
        ("To get started with GitHub CLI, please run:  gh auth login", "", 4, "no token"),
        (
            "gh: To use GitHub CLI in a workflow, set the GH_TOKEN environment variable.",
            "",
            4,
            "no token",
        ),
        ("none of the git remotes configured point to a known GitHub host", "", 1, "known GitHub host"),
        ("", "", 1, "gh ended with 1"),
        ("\x1b[31m::error::x\x1b[0m (HTTP 500)", "", 1, "(500)"),
        ("gh: " + "x" * 100_000 + " (HTTP 422)", "[" * 10_000, 1, "xxx"),
    ],
)
def test_every_refusal_is_two_lines_that_say_what_to_do(
    hub: Hub, stderr: str, stdout: str, code: int, says: str
) -> None:
    for name, text in (("err", stderr), ("out", stdout)):
        (hub.folder / name).write_text(text)
    script(hub, f"cat {hub.folder}/err >&2; cat {hub.folder}/out; exit {code}")
    with pytest.raises(Failure) as refused:
        github.comments(7)
    said = str(refused.value)
    assert says in said
    assert len(said.splitlines()) <= 2
    assert len(said) < 700
    assert "\x1b" not in said
    assert not any(line.lstrip().startswith("::") for line in said.splitlines())


@pytest.mark.parametrize("answer", ["<html>", '{"a": ', "[" * 100_000])
def test_an_answer_that_is_no_json_is_refused(hub: Hub, answer: str) -> None:
    (hub.folder / "out").write_text(answer)
    script(hub, f"cat {hub.folder}/out")
    with pytest.raises(Failure, match="no JSON"):
        github.comments(7)


def test_without_gh_one_sentence_says_so(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(Failure, match="`gh` is not installed"):
        github.comments(7)


def test_a_github_that_hangs_is_given_up(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    script(hub, "exec sleep 30")
    monkeypatch.setattr(github, "SECONDS", 0.2)
    with pytest.raises(Failure, match="did not answer"):
        github.comments(7)


@pytest.mark.parametrize(("order", "calls"), [(False, 3), (True, 1)])
def test_a_question_is_asked_again_and_an_order_is_not(hub: Hub, order: bool, calls: int) -> None:
    """An order whose answer was lost may have been carried out."""
    log = hub.folder / "log"
    script(hub, f"echo x >> {log}; echo 'gh: Bad gateway (HTTP 502)' >&2; exit 1")
    with pytest.raises(Failure):
        github.create_comment(7, "x") if order else github.comments(7)
    assert log.read_text().count("x") == calls


def test_a_permission_that_is_missing_is_not_asked_for_twice(hub: Hub) -> None:
    hub.world["fail"] = {"GET .*": 403}
    hub.save()
    with pytest.raises(Failure) as refused:
        github.comments(7)
    assert refused.value.status == 403
    assert len(hub.load()["calls"]) == 1


@pytest.mark.parametrize("server", ["https://github.com", "https://github.example.com", "https://localhost:8443"])
def test_a_server_of_ones_own_gets_its_name_and_its_token(
    hub: Hub, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gh sends GH_TOKEN to github.com only, and takes a port in GH_HOST alone."""
    monkeypatch.setenv("GITHUB_SERVER_URL", server)
    monkeypatch.setenv("GH_DEBUG", "api")
    script(hub, f"env > {hub.folder}/env; echo '[[]]'")
    github.comments(7)
    given = dict(line.split("=", 1) for line in (hub.folder / "env").read_text().splitlines() if "=" in line)
    host = server.removeprefix("https://")
    assert given.get("GH_HOST") == (None if host == "github.com" else host)
    assert given.get("GH_ENTERPRISE_TOKEN") == (None if host == "github.com" else "token-of-the-run")
    assert "GH_DEBUG" not in given


def test_on_a_laptop_gh_finds_the_repository(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_REPOSITORY")
    script(hub, f'printf "%s\\n" "$@" > {hub.folder}/args; echo "[[]]"')
    github.comments(7)
    github.pull_request_of("x")
    told = (hub.folder / "args").read_text().splitlines()
    assert told[1] == "repos/{owner}/{repo}/pulls?state=open&head={owner}:x&per_page=100"


@pytest.mark.parametrize("name", ["../../user", "a/b/c", "a b/c", "acme/models?x=", "-x"])
def test_a_repository_that_is_no_name_is_not_asked_for(hub: Hub, name: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("GITHUB_REPOSITORY", name)
    script(hub, f'printf "%s\\n" "$@" > {hub.folder}/args; echo "[[]]"')
    github.comments(7)
    assert (hub.folder / "args").read_text().splitlines()[1].startswith("repos/{owner}/{repo}/")


def test_the_token_is_never_an_argument(hub: Hub) -> None:
    github.create_comment(7, "x")
    assert "token-of-the-run" not in json.dumps(hub.load()["calls"])
    assert os.environ["GH_TOKEN"] == "token-of-the-run"
