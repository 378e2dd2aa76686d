"""Who did what to an environment, and was that list changed since? Lines of JSON, each with the digest of the last.

Pure: lines in, a line or a place out; the target appends it to a file. What the chain shows: an edit, a removal, an
insertion or a new order of lines. What no chain shows by itself: that lines are missing at the end, or that everything
was written anew by somebody who may write the file. For both, keep `head` where that person cannot write: the state has
it for accidents, and the record of each deployment on GitHub for the rest.
"""

import datetime as dt
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

What = Literal["deploy", "promote", "rollback", "automatic rollback", "override"]
FIRST = "sha256:" + "0" * 64
"""What the first line names as the digest of the line before."""
LONGEST = 2_000
"""Characters of one text in an entry."""
_KEYS = ("time", "who", "what", "environment", "model", "from", "to", "reason", "run", "before", "digest")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing that was done. Versions are twelve digits; empty where there is none."""

    time: dt.datetime
    who: str
    """The login on GitHub, or the user of the machine."""
    what: What
    environment: str
    model: str
    origin: str = ""
    """The version that served before; `from` in the line."""
    to: str = ""
    reason: str = ""
    run: str = ""
    """The address of the workflow run; empty for a laptop."""


def append(lines: Sequence[str], entry: Entry) -> str:
    """The line to write after `lines` (without line ends): the last of them is enough.

    Works on a log that is broken, because the next deployment must be on record too; `verify` still finds the break.
    """
    if entry.time.tzinfo is None:
        raise ValueError("a moment without a time zone")
    value = {
        "time": entry.time.astimezone(dt.UTC).isoformat(timespec="seconds"),
        "who": _plain(entry.who),
        "what": entry.what,
        "environment": _plain(entry.environment),
        "model": _plain(entry.model),
        "from": _plain(entry.origin),
        "to": _plain(entry.to),
        "reason": _plain(entry.reason),
        "run": _plain(entry.run),
        "before": head(lines),
    }
    return _dumps({**value, "digest": _digest(_dumps(value))})


def head(lines: Sequence[str]) -> str:
    """The digest of the last line: who keeps it elsewhere notices that lines were cut off, or all were replaced."""
    return _digest(lines[-1]) if lines else FIRST


def verify(lines: Sequence[str], *, known_head: str | None = None) -> int | None:
    """The place (from 0) of the first line that was not written here as it stands, or None when all were.

    `known_head` is a digest that was kept elsewhere: where no line has it, lines are missing at the end, and the place
    is the one after the last.
    """
    before, seen = FIRST, known_head in (None, FIRST)
    for place, line in enumerate(lines):
        value = _read(line)
        if value is None or value["before"] != before:
            return place
        before = _digest(line)
        seen = seen or before == known_head
    return None if seen else len(lines)


def _read(line: str) -> dict[str, Any] | None:
    """A line's value when it has the form, spelling and digest that `append` gives it."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or tuple(value) != _KEYS or not all(isinstance(one, str) for one in value.values()):
        return None
    rest = {key: one for key, one in value.items() if key != "digest"}
    return value if value["digest"] == _digest(_dumps(rest)) and _dumps(value) == line else None


def entries(lines: Sequence[str]) -> list[dict[str, str]]:
    """What the lines say, for `mlops status`; a line that cannot be read is left out (`verify` names it)."""
    return [value for line in lines if (value := _read(line))]


def _plain(text: str) -> str:
    """A text of bounded length that any terminal and any encoding can show."""
    return "".join(sign if sign.isprintable() else " " for sign in text[:LONGEST]).strip()


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"
