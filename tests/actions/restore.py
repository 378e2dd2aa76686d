"""actions/cache/restore: brings back what `save` kept under a key, or under the newest key with a prefix."""

import json
import os
import shutil
from pathlib import Path

from common import Refused, flag, lines, workspace


def run(inputs: dict[str, str]) -> dict[str, str]:
    """Restore; `cache-hit` is true only for the very key."""
    if not inputs["key"] or not inputs["path"]:
        raise Refused("Input required and not supplied: key and path")
    outputs = {"cache-primary-key": inputs["key"], "cache-hit": "false", "cache-matched-key": ""}
    for wanted, exact in [(inputs["key"], True), *((key, False) for key in lines(inputs["restore-keys"]))]:
        entries = sorted(Path(os.environ["ACTING_CACHE"]).glob("*/cache.json"), key=lambda one: -one.stat().st_mtime_ns)
        for entry in entries:
            value = json.loads(entry.read_text())
            if value["path"] != lines(inputs["path"]):
                continue
            if value["key"] == wanted if exact else value["key"].startswith(wanted):
                if not flag(inputs["lookup-only"]):
                    for number, path in enumerate(value["path"]):
                        shutil.copytree(entry.parent / str(number), workspace() / path, dirs_exist_ok=True)
                hit = value["key"] == inputs["key"]
                return {**outputs, "cache-hit": str(hit).lower(), "cache-matched-key": value["key"]}
    if flag(inputs["fail-on-cache-miss"]):
        raise Refused(f"Failed to restore cache entry (fail-on-cache-miss is set). Input key: {inputs['key']}")
    return outputs
