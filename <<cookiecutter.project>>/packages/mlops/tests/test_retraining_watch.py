"""From a look to the people who must know: issues that open, change and close, CT that is asked, living schedules."""

import datetime as dt
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import stored
from pages import TOML
from stored import git

from mlops import files, github
from mlops.retraining import heartbeat, tell, words
from mlops.retraining.looks import looks
from mlops.retraining.tell import tell as told
from mlops.watching.planned import unplanned
from mlops.workspace import Model


@dataclass
class Desk:
    """What GitHub was asked to write."""

    issues: dict[int, dict[str, Any]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def create(self, title: str, body: str, *, label: str) -> github.Issue:
        number = len(self.issues) + 1
        self.issues[number] = {"title": title, "body": body, "label": label, "open": True, "comments": []}
        return github.Issue(number=number, author="bot", title=title, body=body, updated="")

    def listed(self, label: str) -> list[github.Issue]:
        return [
            github.Issue(number=number, author="bot", title=one["title"], body=one["body"], updated="")
            for number, one in self.issues.items()
            if one["open"] and one["label"] == label
        ]


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    one = Desk()
    for name, function in {
        "create_issue": one.create,
        "open_issues": one.listed,
        "update_issue": lambda number, *, title, body: one.issues[number].update(title=title, body=body),
        "close_issue": lambda number, *, done: one.issues[number].update(open=False),
        "comment_on_issue": lambda number, body: one.issues[number]["comments"].append(body),
        "ask_for": lambda kind, payload: one.asked.append((kind, payload)),
    }.items():
        monkeypatch.setattr(github, name, function)
    monkeypatch.delenv(tell.WEBHOOK, raising=False)
    return one


def look(folder: Path, outcome: str, sentence: str = "Drift: mean_area moved.", *, model: str = "alpha") -> None:
    """What `watch` wrote of a model."""
    finding = {"kind": "drift", "outcome": outcome, "sentence": sentence}
    value = {"model": model, "version": "0" * 12, "outcome": outcome, "findings": [finding]}
    files.write_json(folder / f"watch-{model}" / "watch.json", value)
    (folder / f"watch-{model}" / "watch.md").write_text(f"### {model}: {outcome}\n\n{sentence}\n")


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """One run of the workflow's last job over what the looks left."""
    plan = tmp_path / "looks.json"
    files.write_json(plan, {"head": "a" * 40, "models": [{"model": "alpha", "reasons": []}]})

    def once(outcome: str | None = None, sentence: str = "Drift: mean_area moved.") -> Any:
        folder = tmp_path / "artifacts"
        folder.mkdir(exist_ok=True)
        if outcome:
            look(folder, outcome, sentence)
        return told(tmp_path, str(plan), str(folder))

    return once


def test_an_alarm_is_one_issue_until_it_is_over_and_asks_ct_each_time(run: Any, desk: Desk) -> None:
    assert run("alarm").code == 0
    run("alarm", "Drift: mean_texture moved too.")
    (issue,) = desk.issues.values()
    assert issue["title"] == "alpha: alarm"
    assert "mean_texture moved too" in issue["body"]
    about = {"model": "alpha", "kind": "drift", "sentence": "Drift: mean_area moved."}
    assert [kind for kind, _ in desk.asked] == ["retrain", "retrain"]
    assert desk.asked[0][1] == about
    run("not evaluated")
    assert issue["open"]
    run("quiet")
    assert not issue["open"]
    assert issue["comments"] == ["It is over: the newest look is quiet."]
    run("quiet")
    assert len(desk.issues) == 1
    # The next alarm is a new one.
    run("alarm")
    assert [one["open"] for one in desk.issues.values()] == [False, True]


def test_new_data_asks_ct_and_alarms_nobody(run: Any, desk: Desk, tmp_path: Path) -> None:
    run("quiet")
    path = tmp_path / "artifacts" / "watch-alpha" / "watch.json"
    value = json.loads(path.read_text())
    asks = {"kind": "data", "outcome": "quiet", "sentence": "300 rows are newer.", "asks": True}
    path.write_text(json.dumps({**value, "findings": [*value["findings"], asks]}))
    assert run().text == "alpha: quiet. CT was asked whether it is due."
    assert desk.issues == {}
    assert desk.asked == [("retrain", {"model": "alpha", "kind": "data", "sentence": "300 rows are newer."})]
    # An alarm says more than that there are new rows.
    run("alarm")
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, "findings": [asks, *value["findings"]]}))
    run()
    assert desk.asked[-1][1]["kind"] == "drift"


def test_a_look_that_left_nothing_is_red(run: Any, desk: Desk) -> None:
    outcome = run()
    assert outcome.code == 2
    assert outcome.text == "alpha: the look left nothing."
    assert desk.issues == {}


@pytest.mark.parametrize(
    "value",
    [
        [],
        {"model": "beta", "outcome": "alarm", "findings": [{"kind": "drift", "outcome": "alarm", "sentence": "x"}]},
        {"model": "alpha", "outcome": "fine", "findings": [{"kind": "drift", "outcome": "alarm", "sentence": "x"}]},
        {"model": "alpha", "outcome": "alarm", "findings": []},
        {"model": "alpha", "outcome": "alarm"},
    ],
)
def test_a_file_that_is_no_look_is_red_and_tells_nobody(run: Any, desk: Desk, tmp_path: Path, value: Any) -> None:
    files.write_json(tmp_path / "artifacts" / "watch-alpha" / "watch.json", value)
    assert run().code == 2
    assert (desk.issues, desk.asked) == ({}, [])


def test_a_link_in_an_artifact_is_not_followed(run: Any, desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("token")
    look(tmp_path / "artifacts", "alarm")
    text = tmp_path / "artifacts" / "watch-alpha" / "watch.md"
    text.unlink()
    text.symlink_to(tmp_path / "secret")
    run()
    assert "token" not in desk.issues[1]["body"]


@pytest.fixture
def webhook(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """A chat's incoming webhook on this machine: what it was told."""
    heard: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200 if len(heard) < 3 else 500)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv(tell.WEBHOOK, f"http://127.0.0.1:{server.server_address[1]}/services/secret")
    yield heard
    server.shutdown()
    server.server_close()


def test_a_webhook_hears_when_an_alarm_begins_and_when_it_is_over(
    run: Any, desk: Desk, webhook: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once each; one that fails, or has no safe address, costs a sentence and never shows the address."""
    for outcome in ("alarm", "alarm", "quiet"):
        assert run(outcome).code == 0
    assert [one["text"] for one in webhook] == ["alpha: alarm. Drift: mean_area moved.", "alpha: quiet again."]
    failed = run("alarm")
    assert failed.code == 0
    assert "The webhook was not told: it answers 500." in failed.text
    run("quiet")
    monkeypatch.setenv(tell.WEBHOOK, "http://chat.example.com/services/secret")
    said = run("alarm").text
    assert "no https address" in said
    assert "services/secret" not in said


# Which models.


def test_models_with_a_log_and_a_version_are_watched(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, toml, lock in (
        ("alpha", TOML + '[watch]\nlog = "log/*.jsonl"\n', True),
        ("beta", TOML + '[watch]\nlog = "log/*.jsonl"\n', False),
        ("gamma", TOML, True),
        ("delta", TOML + "[retrain]\nnew_rows = 100\n", True),
    ):
        model: Model = stored.add(project, name)
        model.toml.write_text(toml)
        if lock:
            (model.folder / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    stored.commit(project)
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    outcome = looks(project, into=str(tmp_path / "looks.json"))
    assert outcome.value == {"models": ["alpha", "delta"], "broken": []}
    value = json.loads((tmp_path / "looks.json").read_text())
    assert value["head"] == git(project, "rev-parse", "HEAD")
    job = {"model": "alpha", "runner": "ubuntu-24.04", "minutes": 60, "also": ""}
    assert json.loads((tmp_path / "output").read_text().splitlines()[4]) == [[job, {**job, "model": "delta"}]]


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        (TOML + "[watch]\nlog = 7\n", "models/beta/model.toml: watch.log is 7."),
        (TOML + '[watch]\nlog = "log"\n[budget]\nminutes = 0\n', "models/beta/model.toml: budget.minutes is 0."),
        (TOML + "[watch\n", "models/beta/model.toml is not valid TOML"),
    ],
)
def test_a_broken_model_is_said_and_the_others_are_watched(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toml: str, said: str
) -> None:
    for name, text in (("alpha", TOML + '[watch]\nlog = "log/*.jsonl"\n'), ("beta", toml)):
        model: Model = stored.add(project, name)
        model.toml.write_text(text)
        (model.folder / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    stored.commit(project)
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    outcome = looks(project, into=str(tmp_path / "looks.json"))
    assert outcome.code == 2
    assert outcome.value["models"] == ["alpha"]
    assert outcome.value["broken"][0].startswith(said)
    assert (tmp_path / "output").read_text().splitlines()[1] == "1"
    assert looks(project, keep_going=True).code == 0
    left = unplanned(project, str(tmp_path / "looks.json"))
    assert left.code == 2
    assert said in left.text


def test_without_a_log_nothing_is_watched_and_the_page_says_what_to_do(project: Path) -> None:
    outcome = looks(project)
    assert outcome.value == {"models": [], "broken": []}
    assert "`watch.log` in model.toml" in outcome.text


# Schedules.

NOW = dt.datetime(2026, 11, 21, 4, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("off", "last", "said"),
    [
        (False, "2026-11-20T04:23:00Z", ""),
        (False, None, ""),
        (False, "2026-11-10T04:23:00Z", "has started nothing since 2026-11-10"),
        (True, "2026-11-20T04:23:00Z", "was switched off"),
    ],
)
def test_a_schedule_that_stopped_is_noticed_by_the_other(
    monkeypatch: pytest.MonkeyPatch, off: bool, last: str | None, said: str
) -> None:
    fine = "2026-11-20T04:23:00Z"
    monkeypatch.setattr(github, "is_off", lambda workflow: off and workflow == "ct.yml")
    monkeypatch.setattr(github, "last_scheduled", lambda workflow: last if workflow == "ct.yml" else fine)
    found = heartbeat.stopped(NOW)
    assert list(found) == (["ct.yml"] if said else [])
    assert said in "".join(found.values())


def test_the_heartbeat_switches_every_schedule_on_and_tells_of_one_that_had_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, desk: Desk
) -> None:
    """The run is red, and one issue says why until all run again; no model is taken for the cause."""
    on: list[str] = []
    monkeypatch.setattr(github, "switch_on", on.append)
    monkeypatch.setattr(heartbeat, "stopped", lambda now: {"ct.yml": "It stopped."})
    outcome = heartbeat.heartbeat(tmp_path)
    assert (outcome.code, on) == (2, ["ct.yml", "watch.yml"])
    (issue,) = desk.issues.values()
    assert issue["label"] == tell.LABEL
    assert "It stopped." in issue["body"]
    assert words.watched(issue["body"]) == words.marked(issue["body"]) == ""
    monkeypatch.setattr(heartbeat, "stopped", lambda now: {"ct.yml": "It stopped.", "watch.yml": "So did it."})
    assert heartbeat.heartbeat(tmp_path).text.splitlines()[2] == "Issue 1 says so."
    assert "So did it." in issue["body"]
    monkeypatch.setattr(heartbeat, "stopped", lambda now: {})
    assert heartbeat.heartbeat(tmp_path).code == 0
    assert (issue["open"], issue["comments"]) == (False, ["It is over: all schedules run again."])
    assert heartbeat.heartbeat(tmp_path).code == 0
    assert len(desk.issues) == 1


def test_the_schedules_are_those_of_the_workflows() -> None:
    """A scheduled workflow that nobody looks after would end unseen."""
    folder = Path(__file__).resolve().parents[3] / ".github" / "workflows"
    scheduled = {path.name for path in folder.glob("*.yml") if "\n  schedule:\n" in path.read_text(encoding="utf-8")}
    assert scheduled == set(heartbeat.SCHEDULED)
