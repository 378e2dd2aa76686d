"""What a connection costs and how long it may wait: one packet for an answer, one alarm for what must come next."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_requests import GOOD
from toys import Running, Start

from serve import server
from serve.measures import TOGETHER, Measures
from serve.service import _timed

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


class Wire:
    """A connection of the event loop that keeps what is written to it."""

    def __init__(self, transport: Any = None) -> None:
        self.transport, self.written, self.closed = transport, [], False  # type: ignore[var-annotated]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def is_closing(self) -> bool:
        return self.closed

    def write(self, data: bytes) -> None:
        self.written.append(data)
        if self.transport:
            self.transport.write(data)

    def close(self) -> None:
        self.closed = True
        if self.transport:
            self.transport.close()


def test_a_head_leaves_with_its_body() -> None:
    wire = Wire()
    joined = server.Joined(wire)
    joined.write(HEAD)
    assert wire.written == []
    joined.write(b"{}")
    joined.write(b"more")
    assert wire.written == [HEAD + b"{}", b"more"]


def test_a_head_that_has_no_body_leaves_too() -> None:
    """At the end of the answer, or of the connection; and one that lets a body come at once."""
    wire = Wire()
    joined = server.Joined(wire)
    joined.write(HEAD)
    joined.flush()
    joined.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    joined.write(HEAD)
    joined.close()
    assert wire.written == [HEAD, b"HTTP/1.1 100 Continue\r\n\r\n", HEAD]
    assert wire.closed


def test_every_answer_is_one_packet(start: Start, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wires: list[Wire] = []

    def joined(transport: Any) -> server.Joined:
        wires.append(Wire(transport))
        return Joined(wires[-1])

    Joined = server.Joined
    monkeypatch.setattr(server, "Joined", joined)
    running = start(toy)
    asked = [("POST", "/predict"), ("GET", "/model"), ("GET", "/nowhere"), ("HEAD", "/model"), ("GET", "/metrics")]
    for method, path in asked:
        body = GOOD if method == "POST" else None
        running.ask(method, path, body, {"Content-Type": "application/json"})
    assert [len(wire.written) for wire in wires] == [1] * len(asked)


def _until_closed(connection: socket.socket) -> bytes:
    found = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            found += part
    return found


REQUEST = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("more", [b"", b"\r\n"], ids=["silence", "a line that begins nothing"])
def test_a_connection_without_a_next_request_is_closed(
    more: bytes, start: Start, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a word: it did nothing wrong."""
    monkeypatch.setattr(server, "HEAD_SECONDS", 1.0)
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.3)
    running = start(toy)
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
        connection.sendall(REQUEST)
        connection.sendall(more)
        found = _until_closed(connection)
    assert found.count(b"HTTP/1.1 ") == found.count(b"HTTP/1.1 200 ") == 1


def test_the_head_of_a_later_request_has_its_own_time(start: Start, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one alarm of a connection rings in time for it, although an idle connection may wait for longer."""
    monkeypatch.setattr(server, "HEAD_SECONDS", 1.0)
    running = start(toy)
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
        connection.sendall(REQUEST)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        time.sleep(1.5)  # The alarm rings once while the connection is idle.
        connection.sendall(b"GET /v2/health/live HTTP/1.1\r\n")
        assert _until_closed(connection).startswith(b"HTTP/1.1 408 ")


def test_a_connection_that_asks_often_stays_open(start: Start, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The alarm rings in between and finds nothing to do."""
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.5)
    running = start(toy)
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
        over = time.monotonic() + 1.7
        while time.monotonic() < over:
            connection.sendall(REQUEST)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_body_comes_after_it_was_asked_for(running: Running) -> None:
    """`Expect: 100-continue`: the head that lets it come does not wait for the answer."""
    lines = ["POST /predict HTTP/1.1", "Host: x", "Content-Type: application/json", "Expect: 100-continue"]
    head = "\r\n".join([*lines, f"Content-Length: {len(GOOD)}", "Connection: close"]) + "\r\n\r\n"
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
        connection.sendall(head.encode())
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(GOOD)
        assert _until_closed(connection).startswith(b"HTTP/1.1 200 ")


async def _steps(*waits: float) -> int:
    for seconds in waits:
        await asyncio.sleep(seconds)
    return len(waits)


def test_work_that_does_not_wait_sets_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(seconds: float) -> None:
        raise AssertionError("a timer was set")

    monkeypatch.setattr(asyncio, "timeout", never)
    assert asyncio.run(_timed(_steps(), 0.1)) == 0


def test_work_that_waits_is_timed_as_a_whole() -> None:
    """However often it waits; what it says or raises comes through, and a cancelled one may still tidy up."""
    tidied = []

    async def tidying() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            tidied.append("yes")
            raise

    async def failing() -> None:
        await asyncio.sleep(0)
        raise KeyError("x")

    async def all_of_them() -> None:
        assert await _timed(_steps(0, 0.01), 60) == 2
        with pytest.raises(KeyError):
            await _timed(failing(), 60)
        late: list[Coroutine[Any, Any, Any]] = [tidying(), _steps(*[0.02] * 3000)]
        for work in late:
            with pytest.raises(TimeoutError):
                await _timed(work, 0.1)
        task = asyncio.create_task(_timed(tidying(), 60))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(all_of_them())
    assert tidied == ["yes", "yes"]


def test_no_prediction_is_left_uncounted(running: Running) -> None:
    """They are counted many at once, and before every scrape: as many, and as much, as one by one."""
    model = running.service.model
    found = np.random.default_rng(3).dirichlet([1, 1], TOGETHER + 40)
    texts = []
    for size in (1, 7, len(found)):
        measures = Measures(model, in_flight=lambda: 0, ready=lambda: True, most_requests=1)
        for at in range(0, len(found), size):
            measures.predicted(found[at : at + size])
        lines = measures.text().decode().splitlines()
        texts.append([line for line in lines if line.startswith(("serve_prediction_b", "serve_prediction_c"))])
        texts[-1] += [line for line in lines if line.startswith("serve_predicted_labels_total")]
    assert texts[0] == texts[1] == texts[2]
    assert any(line.startswith("serve_prediction_count") and line.endswith(f" {len(found)}.0") for line in texts[0])
