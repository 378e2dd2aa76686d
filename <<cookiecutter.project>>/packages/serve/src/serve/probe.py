"""What does the service in this container say? One question, or one for each line of the input, asked from the inside.

Orchestrators and deployments ask through this (`docker exec … python -m serve probe …`): the image has no other client,
and the service need not be reachable from where the question comes from. Standard library only: it starts at once.
"""

import http.client
import json
import sys
import time
from collections.abc import Iterable
from typing import Any, BinaryIO

from serve.errors import Refusal
from serve.settings import Settings

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses that only mean where to listen, and what they are called from the inside."""


def get(path: str, settings: Settings, out: BinaryIO) -> int:
    """Write the body of the answer to GET `path`; 0 when its status is 2xx, else 1, also when nothing answers."""
    client = _Client(path, settings)
    try:
        status, body = client.ask("GET", None)
    except (OSError, http.client.HTTPException) as error:
        print(f"serve: Nothing answers on {settings.listen}: {_line(error)}.", file=sys.stderr)
        return 1
    out.write(body.rstrip(b"\n") + b"\n" if body else b"")
    return _code(status)


def post_lines(path: str, settings: Settings, lines: Iterable[bytes], out: BinaryIO) -> int:
    """POST every line that is not blank, in turn, and write a line of JSON for each answer; 0 when all are 2xx, else 1.

    An answer is `{"status", "seconds", "body"}`. A body that is no JSON is its text; where no answer came, the status
    is 0 and the body says why. A line that is no JSON is sent as it is: the service refuses it.
    """
    client = _Client(path, settings)
    code = 0
    for line in lines:
        if not line.strip():
            continue
        started = time.perf_counter()
        try:
            status, body = client.ask("POST", line.strip())
            said = _value(body)
        except (OSError, http.client.HTTPException) as error:
            status, said = 0, {"error": _line(error)}
        seconds = round(time.perf_counter() - started, 6)
        answer = json.dumps({"status": status, "seconds": seconds, "body": said}, separators=(",", ":"))
        out.write(answer.encode() + b"\n")
        out.flush()
        code = max(code, _code(status))
    return code


class _Client:
    """Asks one path, on one connection for as long as the service keeps it."""

    def __init__(self, path: str, settings: Settings) -> None:
        if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path:
            raise Refusal(f"{path[:100]!r} is no path of the service.", do="Give one such as /v2/health/ready.")
        host, port = settings.address
        # The service itself gives up earlier, and says so.
        wait = settings.timeout + 1
        self._path = path
        self._connection = http.client.HTTPConnection(EVERYWHERE.get(host, host), port, timeout=wait)
        self._headers = {"Content-Type": "application/json"}
        if settings.token:
            self._headers["Authorization"] = f"Bearer {settings.token}"

    def ask(self, method: str, body: bytes | None) -> tuple[int, bytes]:
        """Status and body of the answer."""
        is_kept = self._connection.sock is not None
        try:
            return self._once(method, body)
        except (ConnectionError, http.client.BadStatusLine):
            # A connection that was kept may have ended since; a new one says whether the service has.
            if not is_kept:
                raise
            return self._once(method, body)

    def _once(self, method: str, body: bytes | None) -> tuple[int, bytes]:
        try:
            self._connection.request(method, self._path, body, self._headers)
            response = self._connection.getresponse()
            return response.status, response.read()
        except BaseException:
            self._connection.close()
            raise


def _value(body: bytes) -> Any:
    text = body.decode("utf-8", "replace")
    try:
        return json.loads(text)
    except ValueError:
        return text


def _code(status: int) -> int:
    return int(not 200 <= status < 300)


def _line(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def main(path: str, settings: Settings, *, lines: bool) -> int:
    """Ask as the command line does: the output is the answer, the code says whether it is a good one."""
    if lines:
        return post_lines(path, settings, sys.stdin.buffer, sys.stdout.buffer)
    return get(path, settings, sys.stdout.buffer)
