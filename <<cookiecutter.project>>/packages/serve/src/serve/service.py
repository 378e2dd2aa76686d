"""What a running service knows: its model, who is being served, and whether it may be asked at all."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from pathlib import Path
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from serve import tensors
from serve.errors import Refusal, Refused
from serve.journal import Journal
from serve.loading import ID
from serve.measures import Measures
from serve.model import Model
from serve.prediction import Floats
from serve.rows import Ids, Reader
from serve.runner import Runner
from serve.settings import Settings

TEST_AGAIN = 10.0
"""Seconds for which a self-test is believed."""
LONGEST_CARD = 200_000
T = TypeVar("T")


class Service:
    """The state behind the routes. `draining` is set when the process was asked to end."""

    def __init__(self, model: Model, settings: Settings) -> None:
        """Prepare what requests need; refuses a schema, a card or a log that cannot be used."""
        self.model, self.settings = model, settings
        self.draining = False
        self.in_flight = 0
        self.reader = Reader(model.manifest, most_rows=settings.max_rows)
        self.runner = Runner(model)
        self.measures = Measures(
            model,
            in_flight=lambda: self.in_flight,
            ready=lambda: not self.not_ready,
            most_requests=settings.max_requests,
        )
        self.journal = self._journal() if settings.log else None
        self.card = _card(settings.card)
        self._tested = time.monotonic()

    def _journal(self) -> Journal:
        def dropped(rows: int) -> None:
            self.measures.dropped += rows

        return Journal(
            Path(self.settings.log),
            share=self.settings.log_share,
            most_bytes=self.settings.log_bytes,
            version=self.model.version.name,
            personal=self.model.manifest["personal"],
            named=self.model.manifest.get(ID) is not None,
            dropped=dropped,
        )

    @property
    def not_ready(self) -> str:
        """Why no request should be sent here; empty when it may."""
        return "the service is about to end" if self.draining else self.model.problem

    def self_test(self) -> None:
        """Ask the golden row again, unless that was done just now or requests are waiting."""
        now = time.monotonic()
        if self.runner.idle and now - self._tested > TEST_AGAIN:
            self._tested = now
            self.model.self_test()

    async def work(self, request: Request, ask: Callable[[bytes], Awaitable[T]]) -> T:
        """What `ask` says of a request's body, within a time limit; refuses what must not be worked on."""
        if self.model.problem:
            raise Refused(503, f"The model is not ready: {self.model.problem}.", retry_after="30")
        if self.in_flight >= self.settings.max_requests:
            raise Refused(503, "The service has as much work as it can do.", retry_after="1")
        self.in_flight += 1
        complete = False

        async def asked() -> T:
            nonlocal complete
            body = await read_body(request, self.settings.max_bytes)
            complete = True
            return await ask(body)

        try:
            return await _timed(asked(), self.settings.timeout)
        except TimeoutError:
            if complete:
                raise Refused(503, "The answer took too long.", retry_after="1") from None
            raise Refused(408, "The body of the request took too long.") from None
        finally:
            self.in_flight -= 1

    async def predict(self, rows: list[dict[str, Any]], ids: Ids | None) -> Floats:
        """Ask the model for checked rows, count what it says, and log it."""
        found = await self.runner.predict(self.model.columns.of(rows))
        self.measures.predicted(found)
        if self.journal is not None:
            self.journal.write(rows, found.tolist(), ids, now=time.time())
        return found

    def predictions(self, found: Floats) -> list[dict[str, Any]]:
        """What `/predict` says of each row."""
        if self.model.classes is None:
            return [{"value": value} for value in found.tolist()]
        best = found.argmax(axis=1).tolist()
        return [
            {"label": self.model.classes[place], "probabilities": probabilities}
            for place, probabilities in zip(best, found.tolist(), strict=True)
        ]

    async def infer(self, body: bytes) -> dict[str, Any]:
        """What the Open Inference Protocol answers."""
        request, rows, ids = tensors.read(body, self.model, self.reader, most_rows=self.settings.max_rows)
        given = {"id": request["id"]} if "id" in request else {}
        found = await self.predict(rows, ids)
        return {
            "model_name": self.model.name,
            "model_version": self.model.version.name,
            **given,
            "outputs": tensors.outputs(self.model, found, request),
        }

    def close(self) -> None:
        """End the threads; what waits for the log is written."""
        self.runner.close()
        if self.journal is not None:
            self.journal.close()


async def _timed(work: Coroutine[Any, Any, T], seconds: float) -> T:
    """`asyncio.timeout`, but only for work that really waits: a quick model is asked in little more than that costs."""
    try:
        waits_for = work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    async with asyncio.timeout(seconds):
        found: T = await _Begun(work, waits_for)
    return found


class _Begun:
    """A coroutine that waits for something already, to be awaited from there on."""

    def __init__(self, work: Coroutine[Any, Any, Any], waits_for: Any) -> None:
        self._work, self._waits_for = work, waits_for

    def __await__(self) -> Generator[Any, Any, Any]:
        waits_for = self._waits_for
        while True:
            try:
                try:
                    given = yield waits_for
                except BaseException as error:
                    waits_for = self._work.throw(error)
                else:
                    waits_for = self._work.send(given)
            except StopIteration as done:
                return done.value


async def read_body(request: Request, most: int) -> bytes:
    """The body, refused as soon as it is clear that it is no JSON or too large."""
    # The first of each name counts, which stands last here.
    given = dict(reversed(request.scope["headers"]))
    kind = given.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        raise Refused(415, "Send JSON, with the header `Content-Type: application/json`.")
    if given.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise Refused(415, "Send the body as it is, without Content-Encoding.")
    length = given.get(b"content-length", b"").decode("latin-1")
    too_large = Refused(413, f"The body is larger than {most} bytes.")
    if length.isdecimal() and (len(length) > 15 or int(length) > most):
        raise too_large
    parts: list[bytes] = []
    size = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            raise too_large
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _card(path: str) -> str | None:
    """The card that `/model` shows; a path that was set and cannot be read is refused."""
    if not path:
        return None
    try:
        return Path(path).read_text(encoding="utf-8")[:LONGEST_CARD]
    except (OSError, UnicodeDecodeError):
        raise Refusal("The card that SERVE_CARD names cannot be read.", do="Name a text file.") from None
