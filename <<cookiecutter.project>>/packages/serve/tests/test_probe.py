"""The service is asked from its own side: what a health check sees, and what a deployment replays."""

import http.server
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile_requests import GOOD
from toys import Running, Start

from serve import cli, probe
from serve.settings import Settings

TOKEN = "0123456789abcdef0123456789abcdef"


def settings(port: int, **given: Any) -> Settings:
    return Settings(listen=f"0.0.0.0:{port}", **given)


def replayed(running: Running, *lines: bytes, path: str = "/predict", **given: Any) -> tuple[int, list[Any]]:
    """The code, and what each line was answered."""
    out = io.BytesIO()
    code = probe.post_lines(path, settings(running.port, **given), lines, out)
    return code, [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_ready_service_is_seen_to_be_ready(running: Running) -> None:
    """The body is printed; the address to listen on everywhere is asked on the inside."""
    out = io.BytesIO()
    assert probe.get("/v2/health/ready", settings(running.port), out) == 0
    assert json.loads(out.getvalue())


def test_a_service_that_is_not_ready_fails_the_probe(start: Start, toy: Path) -> None:
    """The breaker: it answers, and the answer is no."""

    def drain(service: Any) -> None:
        service.draining = True

    out = io.BytesIO()
    assert probe.get("/v2/health/ready", settings(start(toy, spoil=drain).port), out) == 1
    assert b"about to end" in out.getvalue()


def test_nobody_there_fails_the_probe_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.get("/v2/health/live", settings(9), io.BytesIO()) == 1
    assert capsys.readouterr().err == "serve: Nothing answers on 0.0.0.0:9: Connection refused.\n"


def test_every_line_is_asked_in_turn_on_one_connection(running: Running) -> None:
    """Blank lines are none; each answer has its status, its seconds and its body."""
    code, found = replayed(running, GOOD + b"\n", b"\n", b'{"rows": []}\n', GOOD)
    assert code == 1
    assert [one["status"] for one in found] == [200, 422, 200]
    assert found[0]["body"] == running.post("/predict", GOOD).value
    assert found[0]["body"] == found[2]["body"]
    assert all(0 < one["seconds"] < 30 for one in found)
    assert set(found[1]) == {"status", "seconds", "body"}
    assert replayed(running, GOOD, GOOD)[0] == 0


def test_a_line_that_is_no_json_is_the_services_to_refuse(running: Running) -> None:
    code, (found,) = replayed(running, b"what?")
    assert (code, found["status"]) == (1, 400)


def test_the_token_is_sent(start: Start, toy: Path) -> None:
    running = start(toy, token=TOKEN)
    assert replayed(running, GOOD)[1][0]["status"] == 401
    assert replayed(running, GOOD, token=TOKEN)[1][0]["status"] == 200


class _Fickle(http.server.BaseHTTPRequestHandler):
    """Answers each request of a connection but the second, at which it hangs up without a word."""

    protocol_version = "HTTP/1.1"
    said = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.said:
            self.close_connection = True
            return
        self.said += 1
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"plain")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def fickle() -> Iterator[http.server.ThreadingHTTPServer]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Fickle) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_kept_connection_that_ended_is_opened_again(fickle: http.server.ThreadingHTTPServer) -> None:
    """A body that is no JSON is its text."""
    out = io.BytesIO()
    assert probe.post_lines("/", settings(fickle.server_port), [b"{}"] * 4, out) == 0
    assert [json.loads(line)["body"] for line in out.getvalue().splitlines()] == ["plain"] * 4


def test_no_answer_has_the_status_0_and_says_why() -> None:
    out = io.BytesIO()
    assert probe.post_lines("/predict", settings(9), [GOOD, GOOD], out) == 1
    for line in out.getvalue().splitlines():
        found = json.loads(line)
        assert (found["status"], found["body"]) == (0, {"error": "Connection refused"})


@pytest.mark.parametrize("path", ["v2", "", "/a b", "/\u00fc", "/a\r\nX: y", "http://elsewhere/"])
def test_what_is_no_path_is_refused(
    path: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVE_LISTEN", "127.0.0.1:9")
    assert cli.main(["probe", path]) == 2
    assert "is no path of the service" in capsys.readouterr().err


def asked(running: Running, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """The whole process, as a health check starts it."""
    environment = {**os.environ, "SERVE_LISTEN": f"0.0.0.0:{running.port}"}
    command = [sys.executable, "-m", "serve", "probe", *words]
    return subprocess.run(command, input=given, capture_output=True, env=environment, check=False)


def test_the_command_prints_and_ends_as_the_answer_is(running: Running) -> None:
    done = asked(running, "/v2/health/ready")
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)
    assert asked(running, "/nowhere").returncode == 1
    done = asked(running, "/predict", "--lines", given=GOOD + b"\n" + GOOD)
    assert done.returncode == 0
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == [200, 200]


def test_a_probe_starts_without_any_installed_package() -> None:
    """An engine asks every few seconds, so that what a probe imports is paid for all day."""
    code = "import sys, serve.cli, serve.probe, serve.settings; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout
    roots = {name.split(".")[0] for name in loaded.split()}
    assert roots & {"uvicorn", "fastapi", "numpy", "skops", "sklearn", "pydantic_core", "asyncio"} == set()


def test_without_polars_no_file_is_scored_and_a_sentence_says_so(
    toy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image of a version that needs no frame has none."""
    monkeypatch.setitem(sys.modules, "polars", None)
    monkeypatch.delitem(sys.modules, "serve.scoring", raising=False)
    monkeypatch.delattr("serve.scoring", raising=False)
    assert cli.main(["score", str(toy), "--in", "a.csv", "--out", "b.csv"]) == 2
    assert "polars, which is not installed here" in capsys.readouterr().err


def test_a_version_that_would_serve_is_said_to(
    toy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SERVE_VERSION", raising=False)
    assert cli.main(["check", str(toy)]) == 0
    assert "says what it said at export; its runtime is swift" in capsys.readouterr().out


def test_a_version_that_would_not_be_ready_is_refused(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It loads, and does not say what it said at export."""
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["golden"]["prediction"] = [0.5, 0.5]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert cli.main(["check", str(copy)]) == 2
    assert "would not be ready: the model does not predict its golden row" in capsys.readouterr().err
