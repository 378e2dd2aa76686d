"""The looks at what serves really run: who hears of an alarm, what is trained because of it, and when is it over?

act runs the rendered `watch.yml`, and `ct.yml` where it asks for it, on the log that the repository's own service
wrote; the looks fetch it from another machine, with a secret.
"""

import base64
import contextlib
import datetime as dt
import http.server
import json
import os
import re
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.acting import Event, Run, dispatch, repository_dispatch, schedule
from tests.loop import FAILURE, MODEL, NAME, SKIPPED, SUCCESS, First, Loop, write

pytestmark = pytest.mark.slow

TOKEN = "logs-token-of-the-test"
MORNING = "47 3 * * *"
ROWS = """
import datetime as dt, json, sys
sys.path.insert(0, "models/{model}/src")
from {model}.ingest import read
rows = read(dt.date(2026, 7, 1))
print(rows.drop("biopsy", "examined_on", "malignant").write_json())
"""


@dataclass
class Elsewhere:
    """Another machine: it hands out the prediction log to who has the token, and is a chat that hears of alarms."""

    log: bytes = b""
    heard: list[str] = field(default_factory=list)
    address: str = ""


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    one = Elsewhere()
    known = "Basic " + base64.b64encode(f"watch:{TOKEN}".encode()).decode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_known = self.headers.get("Authorization") == known
            self.send_response(200 if is_known else 401)
            self.send_header("Content-Length", str(len(one.log) if is_known else 0))
            self.end_headers()
            if is_known and self.command == "GET":
                self.wfile.write(one.log)

        do_HEAD = do_GET

        def do_POST(self) -> None:
            one.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    one.address = f"127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield one
    server.shutdown()
    server.server_close()


@dataclass(frozen=True)
class Logs:
    """What the service logged: rows like those that the version knows, and rows whose areas are half as large again."""

    steady: bytes
    moved: bytes


@pytest.fixture(scope="module")
def logs(first: First, installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Logs:
    """The service of the first version, asked over HTTP."""
    root = tmp_path_factory.mktemp("served") / "clone"
    subprocess.run(["git", "clone", "--quiet", str(first.merged), str(root)], check=True)
    programs = installed / ".venv" / "bin"
    subprocess.run([str(programs / "mlops"), "pull", MODEL], cwd=root, check=True, capture_output=True)
    asked = [str(programs / "python"), "-c", ROWS.format(model=MODEL)]
    rows = json.loads(subprocess.run(asked, cwd=root, check=True, capture_output=True).stdout)
    moved = [{**row, "mean_area": row["mean_area"] * 1.5} for row in rows]
    log = root / "predictions.jsonl"
    with serving(programs / "serve", root, log) as address:
        for one in (rows, moved):
            body = json.dumps({"rows": one}).encode()
            request = urllib.request.Request(f"http://{address}/predict", body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert len(json.load(answer)["predictions"]) == len(one)
    lines = log.read_bytes().splitlines(keepends=True)
    assert len(lines) == 2 * len(rows)
    return Logs(b"".join(lines[: len(rows)]), b"".join(lines[len(rows) :]))


@contextlib.contextmanager
def serving(program: Path, root: Path, log: Path) -> Iterator[str]:
    """The service of the model in a clone, at this address; its log is whole when it has ended."""
    settings = {"SERVE_LISTEN": "127.0.0.1:0", "SERVE_LOG": str(log), "SERVE_DRAIN": "0"}
    command = [str(program), "run", f"models/{MODEL}/export"]
    with subprocess.Popen(command, cwd=root, env={**os.environ, **settings}, stdout=subprocess.PIPE, text=True) as done:
        assert done.stdout is not None
        said = done.stdout.readline()
        found = re.search(r"http://(\S+),", said)
        assert found, said
        yield found[1]
        done.terminate()


def watched(loop: Loop, elsewhere: Elsewhere) -> None:
    """The repository as its people set it up: where the log is, and the two secrets."""
    place = f'log = "http://watch:${{WATCH_TOKEN}}@{elsewhere.address}/{MODEL}.jsonl"'
    loop.push("main", write(f"models/{MODEL}/model.toml", 'log = ""', place))
    secrets = {"WATCH_TOKEN": TOKEN, "WEBHOOK_URL": f"http://{elsewhere.address}/services/chat"}
    loop.runner.secrets.update(secrets)


def look(loop: Loop, event: Event | None = None) -> Run:
    """The morning's run, or another one; what the secrets hold is nowhere in what it says."""
    run = loop.run(event or schedule(loop.github, NAME, MORNING), workflow="watch.yml")
    assert TOKEN not in run.describe() + "".join(one["body"] for one in loop.repository.issues.values())
    return run


def asked_for(loop: Loop) -> Run:
    """The run of CT that the last look has asked for."""
    (asked,) = loop.repository.asked
    loop.repository.asked.clear()
    event = repository_dispatch(loop.github, NAME, asked["kind"], asked["payload"])
    return loop.run(event, workflow="ct.yml")


def ran(run: Run) -> dict[str, str]:
    """Job to result, of the jobs for which there was a reason."""
    return {name: result for name, result in run.results.items() if result != SKIPPED}


LOOKED = dict.fromkeys(("heartbeat", "looks", "watch", "tell"), SUCCESS)


def test_without_a_log_nothing_is_watched_and_schedules_that_stopped_are_noticed(loop: Loop) -> None:
    """One was switched off, the other has not started anything for weeks; the next run finds both alive."""
    loop.repository.off.add("ct.yml")
    loop.repository.scheduled["watch.yml"] = "2026-09-01T03:47:00Z"
    by_hand = dispatch(loop.github, NAME, "main", actor="ann", workflow="watch.yml")
    run = look(loop, by_hand)
    assert ran(run) == {"heartbeat": FAILURE, "looks": SUCCESS}, run.describe()
    said = " ".join(run["heartbeat"].annotations)
    assert "ct.yml was switched off" in said
    assert "watch.yml has started nothing since 2026-09-01" in said
    assert "0 models of 1 watched" in run["looks"].summary
    assert "`watch.log` in model.toml names a prediction log" in run["looks"].summary
    (issue,) = loop.issues("watch")
    assert issue["title"] == "A schedule stopped"
    assert "ct.yml was switched off" in issue["body"]

    run = look(loop)
    assert ran(run) == {"heartbeat": SUCCESS, "looks": SUCCESS}, run.describe()
    assert loop.repository.off == set()
    assert loop.issues("watch") == []
    assert loop.repository.on(issue["number"])[-1]["body"] == "It is over: all schedules run again."


def test_an_alarm_is_told_trains_the_model_once_and_is_over_by_itself(
    loop: Loop, logs: Logs, elsewhere: Elsewhere
) -> None:
    """From a quiet morning through drift, a pull request and its cooldown to the next quiet morning."""
    watched(loop, elsewhere)
    elsewhere.log = logs.steady
    run = look(loop)
    assert ran(run) == LOOKED, run.describe()
    assert (loop.repository.issues, loop.repository.asked, elsewhere.heard) == ({}, [], [])

    elsewhere.log = logs.moved
    run = look(loop)
    assert ran(run) == {**LOOKED, "watch": FAILURE}, run.describe()
    (issue,) = loop.issues("watch")
    assert issue["title"] == f"{MODEL}: alarm"
    assert "mean_area moved" in issue["body"]
    assert re.search(r"(?m)^mean_area .*█+.* > .*▁.*moved$", issue["body"]), issue["body"]
    (heard,) = elsewhere.heard
    assert heard.startswith(f"{MODEL}: alarm. 1 column of ")

    trained = asked_for(loop)
    assert set(ran(trained).values()) == {SUCCESS}, trained.describe()
    assert trained["propose"].result == SUCCESS
    (pull,) = loop.repository.pulls_of(f"ct/{MODEL}")
    assert "drift: " in pull.body
    assert "mean_area" in pull.body

    tomorrow = f"{dt.datetime.now(dt.UTC) + dt.timedelta(days=1):%Y-%m-%d}"
    inputs = {"today": tomorrow}
    run = look(loop, dispatch(loop.github, NAME, "main", actor="ann", inputs=inputs, workflow="watch.yml"))
    assert ran(run) == {**LOOKED, "watch": FAILURE}, run.describe()
    assert loop.issues("watch") == [issue]
    assert f"to {tomorrow}" in issue["body"]
    assert len(elsewhere.heard) == 1
    held = asked_for(loop)
    assert held.results["start"] == SKIPPED, held.describe()
    assert "a retraining pull request is open" in held["due"].summary

    # Nobody wanted that version: the alarm waits for the cooldown all the same.
    pull.state = "closed"
    look(loop)
    held = asked_for(loop)
    assert held.results["start"] == SKIPPED, held.describe()
    assert "cooldown" in held["due"].summary

    elsewhere.log = logs.steady
    run = look(loop)
    assert ran(run) == LOOKED, run.describe()
    assert loop.issues("watch") == []
    assert loop.repository.on(issue["number"])[-1]["body"] == "It is over: the newest look is quiet."
    assert elsewhere.heard[1:] == [elsewhere.heard[-1]]
    assert elsewhere.heard[-1].startswith(f"{MODEL}: quiet again.")


def test_a_log_out_of_reach_is_red_and_no_alarm(loop: Loop, elsewhere: Elsewhere) -> None:
    """A look in the dark is not quiet; the run says what was not there, and no issue says what is not known."""
    watched(loop, elsewhere)
    loop.runner.secrets["WATCH_TOKEN"] = f"{TOKEN}-of-last-year"
    run = look(loop)
    assert ran(run) == {**LOOKED, "watch": FAILURE}, run.describe()
    assert "the prediction log cannot be read" in run["watch"].log
    assert "not evaluated, so nothing is told" in run["tell"].summary
    assert (loop.repository.issues, loop.repository.asked, elsewhere.heard) == ({}, [], [])
