"""actions/download-artifact: copies artifacts of this run (or, with a token, of another) out of their folder."""

import fnmatch
import json
import os
import shutil
from pathlib import Path

from common import Refused, artifact_store, flag, workspace


def run(inputs: dict[str, str]) -> dict[str, str]:
    """Download one artifact by name into `path`, or all that match into a folder each (one for all when merged)."""
    if inputs["artifact-ids"]:
        raise Refused("the double of actions/download-artifact does not know artifact-ids")
    target = workspace() / os.path.expanduser(inputs["path"] or ".")
    target.mkdir(parents=True, exist_ok=True)
    store = artifact_store()
    if inputs["run-id"] != os.environ["GITHUB_RUN_ID"]:
        if not inputs["github-token"]:
            raise Refused("Artifacts of another run need a github-token")
        attempts = sorted(store.parent.glob(f"{inputs['run-id']}-*"))
        store = attempts[-1] if attempts else store.parent / inputs["run-id"]
    found = {path.parent.name: path.parent for path in sorted(store.glob("*/artifact.json"))}
    if name := inputs["name"]:
        if name not in found:
            raise Refused(f"Unable to download artifact(s): Artifact not found for name: {name}")
        _copy(found[name], target)
        return {"download-path": str(target)}
    matching = [one for one in found if fnmatch.fnmatchcase(one, inputs["pattern"] or "*")]
    print(f"Found {len(matching)} artifact(s)")
    for one in matching:
        _copy(found[one], target if flag(inputs["merge-multiple"]) else target / one)
    return {"download-path": str(target)}


def _copy(artifact: Path, target: Path) -> None:
    # Whether a hostile artifact holds links or strange names is the server's affair: they arrive as they lie there.
    assert json.loads((artifact / "artifact.json").read_text())["name"] == artifact.name
    shutil.copytree(artifact / "files", target, symlinks=True, dirs_exist_ok=True)
