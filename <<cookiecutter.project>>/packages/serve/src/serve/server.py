"""How does the service start, and how does it end without losing a request? uvicorn, with two things made stricter.

On SIGTERM the service says that it is not ready, goes on serving for `SERVE_DRAIN` seconds so that proxies notice, and
then ends when the requests in flight are answered. The head of a request is limited in size and in time.
"""

import asyncio
import contextlib
import gc
import signal
import socket
import sys
import time
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serve import app, loading
from serve.errors import Refusal
from serve.model import Model
from serve.service import Service
from serve.settings import Settings

NEVER = float("inf")
HEAD_BYTES = 65_536
"""Most bytes of a request before its body."""
HEAD_SECONDS = 10.0
"""Most time for them, once a connection is open."""
IDLE_SECONDS = 30.0
"""Most time between an answer and the next request on its connection."""
END_OF_HEAD = b"\r\n\r\n"


class Joined:
    """A connection on which an answer leaves as one packet: uvicorn writes its head, and then its body."""

    def __init__(self, transport: Any) -> None:
        """On the connection as the event loop has it."""
        self._transport, self._head = transport, b""
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send this with the head that waits; a head waits for what comes next, but for one that lets a body come."""
        if data.endswith(END_OF_HEAD) and not data.startswith(b"HTTP/1.1 100 "):
            self._head += data
            return
        self._transport.write(self._head + data if self._head else data)
        self._head = b""

    def flush(self) -> None:
        """Send a head that has no body."""
        if self._head:
            self._transport.write(self._head)
            self._head = b""

    def close(self) -> None:
        """Close it when all is sent."""
        self.flush()
        self._transport.close()


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, with limits on the head of a request, which it reads without any.

    One alarm for each connection, set anew when it rings: a timer for each request would cost more than its routes.
    """

    _alarm: asyncio.TimerHandle | None = None
    _due = NEVER
    _idle = False
    _head = 0
    _in_head = True

    def connection_made(self, transport: Any) -> None:
        """A connection that says nothing is closed like one that says too little."""
        super().connection_made(Joined(transport))  # type: ignore[arg-type]
        self._await(HEAD_SECONDS)

    def data_received(self, data: bytes) -> None:
        """Count what comes before the head is complete."""
        self._head += len(data)
        super().data_received(data)
        if self._in_head and self._head > HEAD_BYTES:
            self._refuse(431)

    def on_message_begin(self) -> None:
        """The next request on a connection."""
        super().on_message_begin()
        self._idle = False
        self._await(HEAD_SECONDS)

    def on_headers_complete(self) -> None:
        """The head is there in time."""
        self._in_head, self._head = False, 0
        self._due = NEVER
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """What comes next is a head again."""
        super().on_message_complete()
        self._in_head, self._head = True, 0

    def on_response_complete(self) -> None:
        """As uvicorn does it, but for the alarm: answer the next request, or wait for one."""
        if self.transport.is_closing():
            return
        self.transport.flush()  # type: ignore[attr-defined]
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._due == NEVER:
            self._idle = True
            self._await(IDLE_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing rings for a connection that is gone."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        super().connection_lost(exc)

    def _await(self, seconds: float) -> None:
        """From now on the client has so many seconds for what it must send."""
        self._due = self.loop.time() + seconds
        if self._alarm is None:
            self._set(seconds)

    def _set(self, seconds: float) -> None:
        # It rings early rather than late: what is awaited next may be due before what is awaited now.
        self._alarm = self.loop.call_later(min(seconds, HEAD_SECONDS), self._ring)

    def _ring(self) -> None:
        self._alarm = None
        left = self._due - self.loop.time()
        if self._due == NEVER:
            return
        if left > 0:
            self._set(left)
        elif self._idle:
            self.transport.close()
        else:
            self._refuse(408)

    def _refuse(self, status: int) -> None:
        if self.transport.is_closing():
            return
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()]
        lines += [name + b": " + value for name, value in self.server_state.default_headers]
        self.transport.write(b"\r\n".join([*lines, b"content-length: 0", b"connection: close", b"", b""]))
        self.transport.close()


class Server(uvicorn.Server):
    """uvicorn's server, which waits before it closes its door."""

    def __init__(self, service: Service, address: str) -> None:
        """For one service; `address` is shown when it starts."""
        config = uvicorn.Config(
            app.create(service),
            # uvloop accepts nobody while more than a hundred connections are busy: a probe, which comes on a connection
            # of its own, then waits for seconds. It would save a tenth of the time of a request.
            loop="asyncio",
            http=Protocol,
            ws="none",
            lifespan="off",
            access_log=False,
            log_level="critical",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=int(service.settings.timeout) + 1,
            # On every response, also where uvicorn itself answers a request that is no HTTP.
            headers=[("model-name", service.model.name), ("model-version", service.model.version.name)],
        )
        super().__init__(config)
        self.service, self.address = service, address
        self._leave_at = float("inf")
        service.runner.is_alone = lambda: len(self.server_state.connections) <= 1

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say that requests are welcome, once they are."""
        await super().startup(sockets)
        model = self.service.model
        # Whoever read the output may be gone; the service is not for them.
        with contextlib.suppress(OSError):
            print(
                f"{model.name} {model.version.name} serves on http://{self.address}, its fields: /openapi.json",
                flush=True,
            )
            if model.problem:
                print(f"serve: {model.name}: not ready: {model.problem}.", file=sys.stderr, flush=True)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first SIGTERM begins to drain; Ctrl-C, and a second signal, end it now."""
        if sig == signal.SIGTERM and not self.service.draining:
            self.service.draining = True
            self._leave_at = time.monotonic() + self.service.settings.drain
        elif self.should_exit:
            self.force_exit = True
        else:
            self.service.draining = True
            self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: is it time to leave?"""
        if time.monotonic() >= self._leave_at:
            self.should_exit = True
        return await super().on_tick(counter)


def run(folder: Path, settings: Settings) -> int:
    """Serve an exported model until a signal ends it; refuses in a sentence what cannot be served."""
    with bind(settings) as listener:
        model = Model(open_version(folder, settings.version))
        service = Service(model, settings)
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        # What is there now stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        try:
            Server(service, shown).run(sockets=[listener])
        finally:
            service.close()
    return 0


def check(folder: Path, settings: Settings) -> str:
    """Say of an exported model that it would serve here; refuses one that would not, with the reason."""
    model = Model(open_version(folder, settings.version))
    if model.problem:
        raise Refusal(
            f"{model.name} {model.version.name} would not be ready: {model.problem}.",
            do=f"It was written with {loading.libraries(model.manifest)}; install those versions, or train again.",
        )
    service = Service(model, settings)
    app.create(service)
    service.close()
    return f"{model.name} {model.version.name} says what it said at export; its runtime is {model.runtime}."


def open_version(folder: Path, expected: str) -> loading.Version:
    """The verified version in a folder; with `expected`, that version and no other."""
    if not (folder / loading.MANIFEST).is_file():
        raise Refusal(
            f"{folder} holds no exported model: there is no {loading.MANIFEST}.",
            do="Name the folder that `make train` wrote, such as models/<name>/export.",
        )
    if expected and loading.version(folder) != expected:
        raise Refusal(
            f"{folder} holds the version {loading.version(folder)}, and SERVE_VERSION asks for {expected[:100]}.",
            do="Fetch that version, or change the setting.",
        )
    return loading.load_to_serve(folder)


def bind(settings: Settings) -> socket.socket:
    """A socket at the address that is asked for; a taken or foreign one is refused before the model is loaded."""
    host, port = settings.address
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise Refusal(
            f"Cannot listen on {settings.listen}: {error.strerror}.",
            do="Stop the program that has it, or set SERVE_LISTEN to another host:port.",
        ) from None
    return listener
