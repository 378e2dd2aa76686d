"""The service as a process: what it serves, what it refuses in two lines, and that it loses no work at its end."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile_requests import GOOD

from serve import cli, server


@contextlib.contextmanager
def process(folder: Path, **settings: str) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """`serve run` on a free port, once it serves."""
    environment = {**os.environ, "SERVE_LISTEN": "127.0.0.1:0", **settings}
    command = [sys.executable, "-m", "serve", "run", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as found:
        try:
            assert found.stdout is not None
            first = found.stdout.readline()
            assert "serves on http://127.0.0.1:" in first, found.stderr.read() if found.stderr else ""
            yield found, int(first.split("http://127.0.0.1:")[1].split(",")[0])
        finally:
            found.kill()


def get(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def test_sigterm_loses_no_request(slow: Path) -> None:
    """Clients on kept connections, asking all the time: every answer is whole, none is an error, and it ends with 0.

    A client that is told to close its connection opens another one; only after the drain delay is there nobody to
    connect to.
    """
    with process(slow, SERVE_DRAIN="1") as (found, port):
        statuses: list[int] = []
        broken: list[str] = []
        asked = threading.Event()

        def client() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            while True:
                try:
                    if connection.sock is None:
                        connection.connect()
                except OSError:
                    return  # The door is closed: a proxy has noticed long ago.
                try:
                    connection.request("POST", "/predict", GOOD, {"Content-Type": "application/json"})
                    response = connection.getresponse()
                    response.read()
                except OSError as error:
                    if found.poll() is None and time.monotonic() < closed_at[0]:
                        broken.append(repr(error))
                    return
                statuses.append(response.status)
                asked.set()

        closed_at = [float("inf")]
        threads = [threading.Thread(target=client) for _ in range(6)]
        for thread in threads:
            thread.start()
        assert asked.wait(30)
        sent = time.monotonic()
        closed_at[0] = sent + 0.9
        found.send_signal(signal.SIGTERM)
        deadline = sent + 20
        while get(port, "/v2/health/ready") != 503:
            assert time.monotonic() < deadline
        before = len(statuses)
        assert get(port, "/v2/health/live") == 200
        for thread in threads:
            thread.join()
        assert found.wait(30) == 0
        assert len(statuses) > before
        assert broken == []
        assert set(statuses) == {200}


def test_a_request_in_flight_is_answered_after_sigterm(toy: Path) -> None:
    """Half a body was sent before the signal; the other half comes after the door was closed."""
    with process(toy, SERVE_DRAIN="0") as (found, port):
        lines = ["POST /predict HTTP/1.1", "Host: x", "Content-Type: application/json", f"Content-Length: {len(GOOD)}"]
        head = "\r\n".join(lines) + "\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(head.encode() + GOOD[:10])
            time.sleep(0.3)
            found.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + 20
            with contextlib.suppress(OSError):
                while time.monotonic() < deadline:
                    socket.create_connection(("127.0.0.1", port), timeout=5).close()
                    time.sleep(0.02)
            connection.sendall(GOOD[10:])
            answer = connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"connection: close" in answer.lower()
        assert found.wait(30) == 0


def test_ctrl_c_ends_it_at_once(toy: Path) -> None:
    with process(toy, SERVE_DRAIN="60") as (found, port):
        assert get(port, "/v2/health/live") == 200
        found.send_signal(signal.SIGINT)
        assert found.wait(30) == 0
        assert found.stderr is not None
        assert found.stderr.read() == ""


def test_a_head_that_does_not_come_is_not_waited_for(toy: Path) -> None:
    """One that never ends neither: it costs no memory."""
    with process(toy) as (_, port):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            received = b""
            with contextlib.suppress(OSError):
                connection.sendall(b"GET / HTTP/1.1\r\n")
                for number in range(5000):
                    connection.sendall(f"Header-{number}: {'x' * 100}\r\n".encode())
            with contextlib.suppress(OSError):
                received = connection.recv(1000)
            # A client that goes on sending may lose the answer; the connection is closed all the same.
            assert received.startswith(b"HTTP/1.1 431 ") or received == b""
        assert get(port, "/v2/health/live") == 200


def test_a_silent_connection_is_closed(toy: Path, monkeypatch: pytest.MonkeyPatch, start) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.2)
    running = start(toy)
    for said in (b"", b"GET / HTTP/1.1\r\n", b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\nGET /"):
        with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
            connection.sendall(said)
            found = b""
            while part := connection.recv(1000):
                found += part
            last = found[found.rindex(b"HTTP/1.1 ") :]
            assert last.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
            assert b"model-version: " in last


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What the command line says when it refuses: one or two lines, and code 2."""
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err
    assert 1 <= len(said.splitlines()) <= 2
    assert said.startswith("serve: ")
    return said


def test_a_wrong_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "holds no exported model" in refused(["run", str(tmp_path)], capsys)
    assert "holds no exported model" in refused(["run", str(tmp_path / "nowhere")], capsys)


def test_a_tampered_model_is_refused(
    copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVE_LISTEN", "127.0.0.1:0")
    with (copy / "model.skops").open("ab") as stream:
        stream.write(b"\0")
    assert "was changed after the export" in refused(["run", str(copy)], capsys)


def test_a_taken_port_is_refused(
    toy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("SERVE_LISTEN", address)
        assert f"Cannot listen on {address}: Address already in use" in refused(["run", str(toy)], capsys)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("SERVE_LISTEN", "8080", "SERVE_LISTEN is no address"),
        ("SERVE_LISTEN", "localhost:http", "SERVE_LISTEN is no address"),
        ("SERVE_LISTEN", "127.0.0.1:99999", "SERVE_LISTEN is no address"),
        ("SERVE_LISTEN", "no.such.host.invalid:80", "Cannot listen on"),
        ("SERVE_MAX_ROWS", "many", "SERVE_MAX_ROWS is 'many'"),
        ("SERVE_MAX_ROWS", "0", "SERVE_MAX_ROWS is '0'"),
        ("SERVE_MAX_ROWS", "1.5", "SERVE_MAX_ROWS is '1.5'"),
        ("SERVE_TIMEOUT", "nan", "SERVE_TIMEOUT is 'nan'"),
        ("SERVE_LOG_SHARE", "2", "SERVE_LOG_SHARE is '2'"),
        ("SERVE_TOKEN", "short", "The token is not one"),
        ("SERVE_TOKEN", "with a space in its middle", "The token is not one"),
        ("SERVE_TOKEN_FILE", "/no/such/file", "cannot be read"),
        ("SERVE_MAX_ROW", "5", "There is no setting SERVE_MAX_ROW"),
        ("SERVE_CARD", "/no/such/file", "The card that SERVE_CARD names cannot be read"),
        ("SERVE_VERSION", "000000000000", "SERVE_VERSION asks for 000000000000"),
    ],
)
def test_a_wrong_setting_is_refused(
    name: str,
    value: str,
    says: str,
    toy: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SERVE_LISTEN", "127.0.0.1:0")
    monkeypatch.setenv(name, value)
    said = refused(["run", str(toy)], capsys)
    assert says in said
    if name == "SERVE_TOKEN":
        assert value not in said


def test_variables_of_kubernetes_are_no_settings() -> None:
    """A Service called `serve` puts them into every container."""
    from serve.settings import Settings, from_environment

    given = {"SERVE_PORT": "tcp://10.0.0.1:80", "SERVE_SERVICE_HOST": "10.0.0.1", "SERVE_PORT_80_TCP": "x"}
    assert from_environment(given) == Settings()


def test_wrong_words_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["run"], ["fly", "x"], ["score", "x"], ["run", "x", "--port", "1"]):
        refused(words, capsys)
