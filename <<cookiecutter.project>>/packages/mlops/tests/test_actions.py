"""What GitHub Actions is asked and told: events of every kind, and text that never becomes a command."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hostile import HOSTILE
from hub import HEAD, Hub, payload, pull

from mlops import actions
from mlops.errors import Refusal


def test_on_a_laptop_there_is_no_event_and_nothing_is_told(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for key in ("ACTIONS", "EVENT_NAME", "EVENT_PATH", "STEP_SUMMARY", "OUTPUT", "SHA", "REF", "ACTOR", "RUN_ID"):
        monkeypatch.delenv(f"GITHUB_{key}", raising=False)
    assert actions.event() == actions.Event()
    assert not actions.writable(actions.event())
    told = (actions.summary("x"), actions.output({"a": "b"}), actions.annotate("error", "x"), actions.run_url())
    assert told == (False, False, False, None)
    assert capsys.readouterr().out == ""


def test_a_pull_request_is_measured_at_its_own_head(hub: Hub) -> None:
    """GITHUB_SHA is a merge commit that nobody wrote."""
    hub.run("pull_request", payload(), GITHUB_SHA="f" * 40)
    found = actions.event()
    assert (found.number, found.head, found.branch, found.default_branch) == (7, HEAD, "better", "main")
    assert (found.is_fork, found.author, found.actor) == (False, "ada", "ada")


def test_a_merge_group_is_measured_at_what_will_be_merged(hub: Hub) -> None:
    group = {"merge_group": {"head_sha": "d" * 40, "base_sha": "e" * 40}}
    hub.run("merge_group", group, GITHUB_REF="refs/heads/gh-readonly-queue/main/pr-7")
    assert (actions.event().head, actions.event().number) == ("d" * 40, None)


def test_a_run_by_hand_is_about_its_branch(hub: Hub) -> None:
    hub.run("workflow_dispatch", {"repository": {"default_branch": "main"}}, GITHUB_REF="refs/heads/feature/a")
    assert (actions.event().branch, actions.event().head) == ("feature/a", HEAD)


DEFAULT = {"repository": {"default_branch": "main"}}


@pytest.mark.parametrize(
    ("name", "event", "variables", "writable"),
    [
        ("pull_request", payload(), {}, True),
        ("pull_request", payload(head=pull(7, "x", repo="mallory/models")["head"]), {}, False),
        ("pull_request", payload(head={"ref": "x", "sha": HEAD, "repo": None}), {}, False),
        ("pull_request", payload(user={"login": "dependabot[bot]"}), {}, False),
        ("pull_request", payload(), {"GITHUB_ACTOR": "dependabot[bot]"}, False),
        ("pull_request", payload(user=None), {}, True),
        ("pull_request_target", payload(), {}, False),
        ("merge_group", {"merge_group": {"head_sha": HEAD}}, {}, False),
        ("push", DEFAULT, {"GITHUB_REF": "refs/heads/better"}, False),
        ("schedule", DEFAULT, {"GITHUB_REF": "refs/heads/main"}, False),
        ("workflow_dispatch", DEFAULT, {"GITHUB_REF": "refs/heads/better"}, True),
        ("workflow_dispatch", DEFAULT, {"GITHUB_REF": "refs/heads/main"}, False),
        ("workflow_dispatch", DEFAULT, {"GITHUB_REF": "refs/tags/v1"}, False),
        ("workflow_dispatch", {}, {"GITHUB_REF": "refs/heads/better"}, False),
    ],
)
def test_only_an_own_branch_that_is_not_the_default_one_is_written_to(
    hub: Hub, name: str, event: Any, variables: dict[str, str], writable: bool
) -> None:
    hub.run(name, event, **variables)
    assert actions.writable(actions.event()) is writable


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\udcff"])
def test_a_broken_event_is_refused(hub: Hub, text: str) -> None:
    (hub.folder / "event.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(Refusal, match="event"):
        actions.event()


@pytest.mark.parametrize(
    "value", [[], None, 3, "x", {"pull_request": {}}, {"pull_request": {"number": True, "head": 3}}]
)
def test_an_event_of_another_shape_allows_nothing(hub: Hub, value: Any) -> None:
    hub.run("pull_request", value)
    found = actions.event()
    assert (found.number, found.head) == (
        None,
        HEAD if not isinstance(value, dict) or not value["pull_request"] else "",
    )


@pytest.mark.parametrize("hostile", HOSTILE)
def test_an_annotation_is_one_line_and_one_command(hub: Hub, hostile: str, capsys: Any) -> None:
    """The text ends neither the line nor the command, wherever it stands."""
    assert actions.annotate("error", hostile, title=hostile)
    said = capsys.readouterr().out
    assert said.endswith("\n")
    assert "\r" not in said
    assert said.count("\n") == 1
    found = re.match(r"::error title=([^:,]*)::|::error::", said)
    assert found


@pytest.mark.parametrize(
    "hostile", [*HOSTILE, "::error::x", "  ::set-output name=a::b", "x\r::add-mask::y", "##[error]z"]
)
def test_a_quiet_text_holds_no_command(hostile: str) -> None:
    lines = actions.quiet(hostile).splitlines()
    assert not any(line.lstrip().startswith("::") or "##[" in line for line in lines)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_an_output_cannot_set_another_one(hub: Hub, hostile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = hub.folder / "output"
    monkeypatch.setenv("GITHUB_OUTPUT", str(path))
    assert actions.output({"shards": f"{hostile}\nwritable=true", "other": "x"})
    found = re.findall(r"(?m)^(\w+)\x3c\x3c(end-[0-9a-f]{32})\n", path.read_text(encoding="utf-8"))
    assert [name for name, _ in found] == ["shards", "other"]
    assert all(path.read_text(encoding="utf-8").count(f"\n{end}\n") == 1 for _, end in found)


def test_a_summary_that_github_would_drop_is_refused(hub: Hub) -> None:
    assert actions.summary("one\n")
    assert actions.summary("two\n")
    with pytest.raises(Refusal, match="too long"):
        actions.summary("ü" * 600_000)
    assert hub.summary == "one\ntwo\n"
    assert Path(hub.summary_file).is_file()


def test_the_address_of_the_run(hub: Hub) -> None:
    assert actions.run_url() == f"{'https://github.com'}/acme/models/actions/runs/42"
    assert json.loads((hub.folder / "event.json").read_text())["pull_request"]["number"] == 7
