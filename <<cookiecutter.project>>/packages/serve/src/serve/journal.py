"""What was predicted, for `watch` to compare with the reference window: one line of JSON for each row.

Off unless a file is named. Personal columns, and ids that are personal, are never written. A sample of the requests is,
by a thread of its own: a slow or full disk costs lines, which are counted, and never an answer. Files rotate by size,
the newest five are kept.
"""

import contextlib
import datetime as dt
import json
import os
import queue
import random
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

from serve.errors import Refusal

KEPT = 5
"""Files that exist at most: the one that is written, and four older ones."""
STAMP = "%Y%m%d%H%M%S%f"
"""When an older file was full, after its name: it never changes again, so that it is copied elsewhere once."""
WAITING = 1000
"""Requests that may wait to be written."""
Ids = Sequence[str | int]
_Taken = tuple[float, Sequence[Mapping[str, Any]], list[Any], Ids | None]


class Journal:
    """Writes predictions to `path`; `dropped` is told how many rows it could not take."""

    def __init__(
        self,
        path: Path,
        *,
        share: float,
        most_bytes: int,
        version: str,
        personal: Sequence[str],
        named: bool,
        dropped: Callable[[int], None],
    ) -> None:
        """Open the file, or refuse in a sentence; the ids of rows are written where they may be `named`."""
        self._path, self._share, self._most = path, share, most_bytes
        self._version, self._personal = version, frozenset(personal)
        self._named, self._dropped = named, dropped
        self._warned = False
        self._queue: queue.Queue[_Taken | None] = queue.Queue(WAITING)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self._open()
        except OSError as error:
            raise Refusal(
                f"The prediction log cannot be written: {error.strerror}.",
                do="Let SERVE_LOG name a file in a folder that this user may write, or leave it unset.",
            ) from None
        self._thread = threading.Thread(target=self._write_all, name="journal", daemon=True)
        self._thread.start()

    def write(
        self, rows: Sequence[Mapping[str, Any]], predictions: list[Any], ids: Ids | None = None, *, now: float
    ) -> None:
        """Take a request's rows and what was predicted, or leave it out of the sample; never waits."""
        if random.random() >= self._share:
            return
        try:
            self._queue.put_nowait((now, rows, predictions, ids if self._named else None))
        except queue.Full:
            self._dropped(len(rows))

    def close(self) -> None:
        """Write what waits, and close the file."""
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=5)
            self._thread.join(timeout=5)

    def _open(self) -> Any:
        return self._path.open("ab")

    def _write_all(self) -> None:
        while (taken := self._queue.get()) is not None:
            try:
                self._stream.write(self._lines(*taken))
                self._stream.flush()
                if self._stream.tell() >= self._most:
                    self._rotate()
            except (OSError, ValueError) as error:
                self._fail(error, len(taken[1]))
        with contextlib.suppress(OSError, ValueError):
            self._stream.close()

    def _lines(self, now: float, rows: Sequence[Mapping[str, Any]], predictions: list[Any], ids: Ids | None) -> bytes:
        at = dt.datetime.fromtimestamp(now, tz=dt.UTC).isoformat(timespec="milliseconds")
        lines = []
        for row, prediction, one in zip(rows, predictions, ids or repeat(None, len(rows)), strict=True):
            features = {name: value for name, value in row.items() if name not in self._personal}
            line = {"at": at, "version": self._version, "features": features, "prediction": prediction}
            if one is not None:
                line["id"] = str(one)
            lines.append(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")
        return "".join(lines).encode()

    def _rotate(self) -> None:
        self._stream.close()
        os.replace(self._path, self._path.with_name(f"{self._path.name}.{dt.datetime.now(dt.UTC):{STAMP}}"))
        older = sorted(one for one in self._path.parent.glob(f"{self._path.name}.*") if one.suffix[1:].isdigit())
        for one in older[: -(KEPT - 1)]:
            one.unlink(missing_ok=True)
        self._stream = self._open()

    def _fail(self, error: Exception, rows: int) -> None:
        self._dropped(rows)
        if not self._warned:
            self._warned = True
            print(f"serve: the prediction log cannot be written: {error}; rows are left out of it.", file=sys.stderr)
        # A file that broke in the middle of a line is opened anew for the next one.
        with contextlib.suppress(OSError, ValueError):
            self._stream.close()
        with contextlib.suppress(OSError):
            self._stream = self._open()
