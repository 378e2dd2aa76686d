"""actions/cache/save: keeps folders under a key; a key is written once."""

import hashlib
import json
import os
import shutil
from pathlib import Path

from common import Refused, lines, workspace


def run(inputs: dict[str, str]) -> None:
    """Save; a key that is there already is left as it is, with a warning."""
    if not inputs["key"] or not inputs["path"]:
        raise Refused("Input required and not supplied: key and path")
    if len(inputs["key"]) > 512 or "," in inputs["key"]:
        raise Refused(f"Key Validation Error: {inputs['key']}")
    place = Path(os.environ["ACTING_CACHE"]) / hashlib.sha256(inputs["key"].encode()).hexdigest()
    paths = lines(inputs["path"])
    if place.exists():
        print(f"::warning::Failed to save: Unable to reserve cache with key {inputs['key']}")
        return
    if not any((workspace() / path).exists() for path in paths):
        print("::warning::Path Validation Error: Path(s) specified in the action for caching do(es) not exist")
        return
    for number, path in enumerate(paths):
        if (workspace() / path).is_dir():
            shutil.copytree(workspace() / path, place / str(number), symlinks=True)
    (place / "cache.json").write_text(json.dumps({"key": inputs["key"], "path": paths}))
