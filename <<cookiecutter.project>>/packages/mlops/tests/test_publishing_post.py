"""The verb `post`: the summary always, one comment whatever is there already, none where the token may not write."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hostile import HOSTILE
from hub import BOT, HEAD, NEWER, Hub, payload, pull
from markdown_it import MarkdownIt

from mlops import actions, github
from mlops.cli import main
from mlops.errors import Refusal
from mlops.publishing import cml
from mlops.publishing.post import comment, post

REPORT = "## tumour passed\n\nA table.\n"
OLD = "an older report\n\n<!-- CML finds this comment again by:" + cml.watermark("e" * 40)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a report."""
    root = tmp_path / "project"
    (root / "packages" / "mlops").mkdir(parents=True)
    (root / "models").mkdir()
    (root / "reports").mkdir()
    (root / "reports" / "report.md").write_text(REPORT)
    monkeypatch.chdir(root)
    return root


def ours(hub: Hub) -> list[Any]:
    return [one for one in hub.comments() if one["user"]["login"] == BOT]


def test_the_first_report_is_written_by_cml_with_everything_that_keeps_it_from_telling_others(
    hub: Hub, root: Path
) -> None:
    outcome = post(root)
    assert outcome.value == {"pull_request": 7, "by": "cml", "because": ""}
    assert outcome.code == 0
    (one,) = hub.comments()
    assert one["body"].startswith("## tumour passed")
    assert cml.marked(one["body"]) == HEAD
    (call,) = hub.load()["cml"]
    assert call[:5] == ["comment", "update", "--target=pr/7", "--publish=false", "--watermark-title=mlops-report"]


def test_the_summary_holds_the_whole_report(hub: Hub, root: Path) -> None:
    (root / "reports" / "summary.md").write_text("## the whole\n")
    post(root)
    assert hub.summary == "## the whole\n"
    assert "the whole" not in hub.comments()[0]["body"]


def test_a_summary_that_github_would_drop_is_the_report_instead(hub: Hub, root: Path) -> None:
    (root / "reports" / "summary.md").write_text("ü" * 600_000)
    post(root)
    assert hub.summary == REPORT


def test_a_second_run_updates_the_same_comment(hub: Hub, root: Path) -> None:
    hub.add("looks good", "please wait")
    post(root)
    (first,) = ours(hub)
    (root / "reports" / "report.md").write_text("## tumour failed\n")
    post(root)
    (second,) = ours(hub)
    assert second["id"] == first["id"]
    assert second["body"].startswith("## tumour failed")
    assert len(hub.comments()) == 3


@pytest.mark.parametrize("before", [29, 30, 31, 99, 100, 101, 250])
def test_the_comment_is_found_behind_any_number_of_others(hub: Hub, root: Path, before: int) -> None:
    """CML sees the first 30 only; behind them gh writes the same bytes."""
    hub.add(*(f"comment {n}" for n in range(before)))
    (number,) = hub.add(OLD, author=BOT)
    outcome = post(root)
    assert outcome.value["by"] == ("cml" if before < 30 else "gh")
    (one,) = ours(hub)
    assert one["id"] == number
    assert one["body"] == comment(REPORT, commit=HEAD) + cml.watermark(HEAD)
    assert bool(hub.load()["cml"]) == (before < 30)


def test_a_first_report_behind_many_comments_is_written_by_cml(hub: Hub, root: Path) -> None:
    hub.add(*(f"comment {n}" for n in range(64)))
    assert post(root).value["by"] == "cml"
    assert len(ours(hub)) == 1


@pytest.mark.parametrize("how", ["absent", "fails", "lies", "hangs"])
def test_without_cml_the_same_bytes_are_written(hub: Hub, root: Path, how: str, monkeypatch: Any) -> None:
    expected = comment(REPORT, commit=HEAD) + cml.watermark(HEAD)
    if how == "absent":
        hub.install("gh")
    elif how == "hangs":
        place = hub.folder / "bin" / "cml"
        place.write_text("#!/bin/sh\nexec sleep 60\n")
        monkeypatch.setattr(cml, "SECONDS", 0.2)
    else:
        hub.world[{"fails": "cml fails", "lies": "cml says it did"}[how]] = True
        hub.save()
    outcome = post(root)
    assert outcome.value["by"] == "gh"
    assert [one["body"] for one in hub.comments()] == [expected]
    # CML finds next time what gh wrote now.
    hub.world["cml fails"] = hub.world["cml says it did"] = False
    hub.save()
    hub.install("gh", "cml")
    (root / "reports" / "report.md").write_text("## again\n")
    assert post(root).value["by"] == "cml"
    assert len(hub.comments()) == 1


@pytest.mark.parametrize("released", [True, False])
def test_a_named_version_of_cml_is_fetched_where_none_is_installed(hub: Hub, root: Path, released: bool) -> None:
    """What is fetched is used once and taken away; what cannot be fetched is no reason to be silent."""
    hub.install("gh")
    hub.world["released"] = released
    hub.save()
    outcome = post(root, with_cml="0.20.6")
    assert outcome.value["by"] == ("cml" if released else "gh")
    assert [one["body"] for one in hub.comments()] == [comment(REPORT, commit=HEAD) + cml.watermark(HEAD)]
    assert ("CML 0.20.6 could not be fetched" in outcome.text) == (not released)


def test_a_cml_that_is_installed_is_not_fetched(hub: Hub, root: Path) -> None:
    assert post(root, with_cml="0.20.6").value["by"] == "cml"
    assert not any(call[0] == "release" for call in hub.load()["calls"])


@pytest.mark.parametrize("version", ["latest", "0.20", "v0.20.6", "0.20.6 --repo x", "--help", "0.20.6\n", ""])
def test_what_is_no_version_of_cml_is_refused(hub: Hub, root: Path, version: str) -> None:
    hub.install("gh")
    with pytest.raises(Refusal, match="version of CML"):
        post(root, with_cml=version)
    assert hub.comments() == []


def test_on_a_machine_that_cml_is_not_made_for_gh_writes(hub: Hub, root: Path, monkeypatch: Any) -> None:
    hub.install("gh")
    monkeypatch.setattr(cml, "_ASSETS", {})
    assert post(root, with_cml="0.20.6").value["by"] == "gh"


def test_a_comment_of_somebody_else_with_the_watermark_is_never_touched(hub: Hub, root: Path) -> None:
    """CML would change it; so CML is not asked while it would."""
    hub.add(OLD, f"> {OLD}", author="mallory")
    assert post(root).value["by"] == "gh"
    assert hub.load()["cml"] == []
    assert post(root).value["by"] == "cml"
    hub.add(OLD, author="mallory")
    assert post(root).value["by"] == "gh"
    found = [one["body"] for one in hub.comments()]
    assert [found[0], found[1], found[3]] == [OLD, f"> {OLD}", OLD]
    assert len(found) == 4


def test_a_bot_that_quotes_the_watermark_is_not_our_report(hub: Hub, root: Path) -> None:
    hub.add(f"{OLD}\n\nsaid somebody", author=BOT)
    post(root)
    assert hub.comments()[0]["body"].endswith("said somebody")
    assert len(hub.comments()) == 2


@pytest.mark.parametrize("between", [0, 40])
def test_of_two_reports_the_first_is_updated_and_the_second_taken_away(hub: Hub, root: Path, between: int) -> None:
    first = hub.add(OLD, author=BOT)[0]
    hub.add(*(f"comment {n}" for n in range(between)))
    hub.add(OLD, OLD, author=BOT)
    outcome = post(root)
    (one,) = ours(hub)
    assert one["id"] == first
    assert one["body"].startswith("## tumour passed")
    assert "2 more of our comments were there and taken away." in outcome.text


def test_two_runs_at_once_leave_one_comment(hub: Hub, root: Path) -> None:
    """Both see no comment; whatever the order, one is left, and it is whole."""
    for n in range(3):
        hub.world["comments"]["7"] = []
        hub.save()
        if n:
            hub.install("gh")
        program = [sys.executable, "-m", "mlops", "post"]
        runs = [subprocess.Popen(program, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)]
        for run in runs:
            said = run.communicate(timeout=60)[0]
            assert run.returncode == 0, said
        assert [one["body"] for one in hub.comments()] == [comment(REPORT, commit=HEAD) + cml.watermark(HEAD)]


def forked(**changes: Any) -> dict[str, Any]:
    return {"head": {"ref": "better", "sha": HEAD, "repo": {"full_name": "mallory/models"}}} | changes


@pytest.mark.parametrize(
    ("name", "event", "variables", "says"),
    [
        ("pull_request", payload(**forked()), {}, "comes from a fork"),
        ("pull_request", payload(head={"ref": "x", "sha": HEAD, "repo": None}), {}, "comes from a fork"),
        ("pull_request", payload(user={"login": "dependabot[bot]"}), {}, "is by Dependabot"),
        ("pull_request", payload(), {"GITHUB_ACTOR": "dependabot[bot]"}, "is by Dependabot"),
        ("merge_group", {"merge_group": {"head_sha": HEAD}}, {}, "merge queue"),
        (
            "workflow_dispatch",
            {"repository": {"default_branch": "main"}},
            {"GITHUB_REF": "refs/heads/main"},
            "about no pull request",
        ),
        (
            "workflow_dispatch",
            {"repository": {"default_branch": "main"}},
            {"GITHUB_REF": "refs/heads/other"},
            "No open pull request",
        ),
    ],
)
def test_where_nothing_may_be_written_the_summary_says_why_and_the_job_is_green(
    hub: Hub, root: Path, name: str, event: Any, variables: dict[str, str], says: str, capsys: Any
) -> None:
    hub.run(name, event, **variables)
    assert main(["post"]) == 0
    assert hub.comments() == []
    assert hub.load()["cml"] == []
    assert hub.summary.startswith(REPORT)
    assert says in hub.summary
    said = capsys.readouterr().out
    assert says in said
    assert "::notice title=No comment::" in said


@pytest.mark.parametrize("branch", ["better", "feature/a b#1&head=x"])
def test_a_run_by_hand_finds_the_pull_request_of_its_branch(hub: Hub, root: Path, branch: str) -> None:
    fork = pull(3, branch, repo="mallory/models")
    hub.world["pulls"] = [fork, pull(9, "else"), pull(7, branch)]
    hub.save()
    hub.run("workflow_dispatch", {"repository": {"default_branch": "main"}}, GITHUB_REF=f"refs/heads/{branch}")
    assert post(root).value["pull_request"] == 7
    assert len(hub.comments()) == 1


@pytest.mark.parametrize("shown", ["newer", "older", "none"])
@pytest.mark.parametrize("is_child", [True, False])
def test_an_older_report_never_replaces_a_newer_one(hub: Hub, root: Path, shown: str, is_child: bool) -> None:
    """A commit right on top of the measured one may be the workflow's own: until it has a report, ours is shown."""
    hub.world["pulls"] = [pull(7, "better", head=NEWER)]
    hub.world["parents"] = {NEWER: [HEAD] if is_child else ["d" * 40]}
    hub.save()
    if shown != "none":
        about = NEWER if shown == "newer" else "e" * 40
        hub.add("report\n\n<!-- x" + cml.watermark(about), author=BOT)
    before = hub.comments()
    outcome = post(root)
    assert outcome.code == 0
    if is_child and shown != "newer":
        assert cml.marked(hub.comments()[0]["body"]) == HEAD
    else:
        assert hub.comments() == before
        assert "has moved on from aaaaaaaaaaaa to bbbbbbbbbbbb" in outcome.text
        assert outcome.text in hub.summary


def test_a_missing_permission_is_red_and_named(hub: Hub, root: Path, capsys: Any) -> None:
    hub.world["fail"] = {"(POST|PATCH) repos.*": 403}
    hub.world["cml fails"] = True
    hub.save()
    assert main(["post"]) == 2
    said = capsys.readouterr().err
    assert "`pull-requests: write`" in said
    assert len(said.strip().splitlines()) == 2
    assert hub.summary == REPORT


def test_the_summary_is_there_even_when_github_cannot_be_reached(hub: Hub, root: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(github, "PAUSES", ())
    hub.world["down"] = True
    hub.save()
    with pytest.raises(Refusal, match="could not be reached"):
        post(root)
    assert hub.summary == REPORT


def test_no_report_is_refused(hub: Hub, root: Path) -> None:
    (root / "reports" / "report.md").unlink()
    with pytest.raises(Refusal, match="no report"):
        post(root)


def test_on_a_laptop_nothing_is_posted(root: Path, monkeypatch: Any) -> None:
    for key in ("GITHUB_EVENT_NAME", "GITHUB_EVENT_PATH", "GITHUB_STEP_SUMMARY", "GITHUB_ACTIONS"):
        monkeypatch.delenv(key, raising=False)
    outcome = post(root)
    assert outcome.code == 0
    assert "no workflow run" in outcome.text


@pytest.mark.parametrize("size", [0, 100, 59_000, 59_800, 60_000, 70_000, 900_000])
def test_a_comment_never_has_more_than_60000_characters(hub: Hub, root: Path, size: int) -> None:
    (root / "reports" / "report.md").write_text("😀" * size)
    post(root)
    (one,) = hub.comments()
    assert len(one["body"]) <= 60_000
    assert ("too long" in one["body"]) == (size > 59_800)


@pytest.mark.parametrize("commit", [HEAD, "0" * 64])
def test_the_watermark_is_neither_shown_nor_fetched(commit: str) -> None:
    """CML's watermark is an image of a third party; it stands in a comment that nothing closes."""
    body = comment(REPORT, commit=commit) + cml.watermark(commit)
    html = MarkdownIt("commonmark", {"html": True}).render(body)
    shown, _, hidden = html.partition("<!--")
    assert "<img" not in html
    assert "cml.dev" not in shown
    assert "-->" not in hidden
    assert re.search(r"!\[\]\(https://cml\.dev/watermark\.png#[0-9a-fA-F]+ \"CML watermark mlops-report\"\)", body)


@pytest.mark.parametrize("hostile", [text for text in HOSTILE if len(text) < 2000])
def test_nothing_in_an_event_comes_alive(hub: Hub, root: Path, hostile: str, capsys: Any) -> None:
    """A branch, a title, a login may be anything; none becomes a command, an argument or a part of the comment."""
    head = {"ref": hostile, "sha": hostile, "repo": {"full_name": "acme/models"}}
    hub.run("pull_request", payload(title=hostile, body=hostile, user={"login": hostile}, head=head))
    # This is not the commit at which the pull request stands, or none at all.
    assert main(["post"]) in (0, 2)
    assert hub.comments() == []
    hub.run("pull_request", payload(title=hostile, user={"login": hostile}, number=7))
    assert main(["post"]) == 0
    said = capsys.readouterr()
    assert not re.search(r"(?m)^\s*::(?!notice title=No comment::)", said.out + said.err)
    assert [one["body"] for one in hub.comments()] == [comment(REPORT, commit=HEAD) + cml.watermark(HEAD)]


def test_what_ours_are_is_decided_by_author_and_place() -> None:
    assert cml.marked(OLD) == "e" * 40
    assert cml.marked(OLD + "\n") == "e" * 40
    assert cml.marked(OLD + " x") is None
    assert cml.marked(OLD.replace("mlops-report", "mlops-report-2")) is None
    assert actions.MOST_SUMMARY < 1024**2
