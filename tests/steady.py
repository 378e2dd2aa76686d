"""Clients that ask at a constant rate, whatever else happens, and remember every answer that is not 200."""

import http.client
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType


@dataclass
class Steady:
    """`rate` requests per second to `path`, over a few connections that stay open; use it as a context."""

    port: int
    path: str
    body: object
    rate: float = 40.0
    clients: int = 4
    sent: int = 0
    failed: list[str] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)

    def __enter__(self) -> "Steady":
        """Begin."""
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(self.clients)]
        for one in self._threads:
            one.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Every request that was sent is answered, or counts as failed."""
        self._end.set()
        for one in self._threads:
            one.join(timeout=60)

    def until(self, count: int) -> None:
        """Wait until so many were sent."""
        while self.sent < count:
            time.sleep(0.05)

    def _ask(self, number: int) -> None:
        body = json.dumps(self.body).encode()
        connection: http.client.HTTPConnection | None = None
        turn = 0
        while not self._end.is_set():
            due = self._began + (number + turn * self.clients) / self.rate
            if self._end.wait(max(0.0, due - time.monotonic())):
                break
            turn += 1
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
                connection.request("POST", self.path, body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                text = answer.read()
                wrong = "" if answer.status == 200 else f"{answer.status} {text[:200]!r}"
                version = answer.headers.get("model-version", "")
                if answer.will_close:
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                wrong, version, connection = repr(error), "", None
            with self._lock:
                self.sent += 1
                self.versions[version] += 1
                if wrong:
                    self.failed.append(f"{time.monotonic() - self._began:.2f} s: {wrong}")
