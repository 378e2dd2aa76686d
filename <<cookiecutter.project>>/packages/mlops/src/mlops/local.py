"""Which files on this machine does `data.source` name, and did they change since ingest read them?

DVC looks at the files that a pipeline lists, and nobody lists a source that `model.toml` names: a CSV file that was
mended in place would change nothing. So ingest notes what it read, by size and time, in a file that git ignores.
Standard library only: every run asks.
"""

import glob
import json
from pathlib import Path

from mlops.files import write_json
from mlops.workspace import Model


def matches(model: Model, source: str) -> list[Path]:
    """The files of a path or glob, which is relative to the model's folder; sorted."""
    return [
        Path(name) for name in sorted(glob.glob(str(model.folder / source.removeprefix("file://")), recursive=True))
    ]


def look(model: Model, source: str) -> dict[str, list[int]] | None:
    """Size and time of each file that `source` names; None when it names no file on this machine."""
    if not is_local(source):
        return None
    return {str(path): [path.stat().st_size, path.stat().st_mtime_ns] for path in matches(model, source)}


def remember(model: Model, source: str, seen: dict[str, list[int]] | None) -> None:
    """Note what ingest has read; `seen` is the look before it did."""
    if seen is not None:
        write_json(_note(model), {"source": source, "files": seen})


def has_changed(model: Model, source: str) -> bool:
    """Whether ingest last read other files than are there now; False where it never noted any."""
    seen = look(model, source)
    if seen is None:
        return False
    try:
        noted = json.loads(_note(model).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(noted != {"source": source, "files": seen})


def is_local(source: str) -> bool:
    """Whether it is a path or glob, and holds no variable: a secret must not come into a note."""
    return source != "replay" and "${" not in source and "://" not in source.removeprefix("file://")


def _note(model: Model) -> Path:
    return model.root / ".cache" / "sources" / f"{model.name}.json"
