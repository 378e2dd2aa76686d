"""Small files, read and written in one way: JSON that is byte-stable, writes that are atomic, digests.

Standard library only: the fast verbs import this module.
"""

import hashlib
import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

from mlops.errors import Refusal


def digest(path: Path, algorithm: str = "sha256") -> str:
    """Hex digest of a file's bytes, read in blocks so that size is not memory."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def write_text(path: Path, text: str) -> None:
    """Replace a file as a whole: a reader, or a run after a crash, never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        _replace(path, text.encode("utf-8"))
    except OSError as error:
        # The reader knows the file, not the temporary one beside it; a full disk names none at all.
        error.filename, error.filename2 = str(path), None
        raise


def _replace(path: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:50]}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        # mkstemp makes files private; what a stage writes is as readable as any other file.
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def plain(value: Any) -> Any:
    """The same value in JSON's types: NaN and infinities become None, tuples lists, numpy scalars numbers."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, str | bytes):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def conflict(text: str) -> int | None:
    """The line (from 1) of the first conflict marker that git left in a text; None when there is none."""
    marks = tuple(sign * 7 + " " for sign in "<>")
    return next((n for n, line in enumerate(text.split("\n"), start=1) if line.startswith(marks)), None)


def dumps(value: Any) -> str:
    """JSON with sorted keys and one trailing newline, so that equal values are equal bytes."""
    return json.dumps(plain(value), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, atomically (see `dumps` for the form)."""
    write_text(path, dumps(value))


def read_json(path: Path, *, do: str) -> Any:
    """Read a JSON file; a missing or broken one is refused with the sentence `do`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Refusal(f"{path} does not exist.", do=do) from None
    except (ValueError, RecursionError) as error:
        raise Refusal(f"{path} is not valid JSON: {str(error)[:200]}.", do=do) from None
