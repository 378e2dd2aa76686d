"""actions/upload-artifact: copies what the paths name into the run's folder of artifacts."""

import glob
import hashlib
import json
import os
import re
import shutil
import uuid
import zlib
from pathlib import Path

from common import Refused, artifact_name, artifact_store, flag, lines, workspace


def run(inputs: dict[str, str]) -> dict[str, str]:
    """Upload; gives id, address and digest. The same name twice in one run is refused unless `overwrite` is set."""
    name = artifact_name(inputs["name"])
    patterns = lines(inputs["path"])
    if not patterns:
        raise Refused("Input required and not supplied: path")
    if inputs["if-no-files-found"] not in ("warn", "error", "ignore"):
        raise Refused(f"Unrecognized if-no-files-found input: {inputs['if-no-files-found']}")
    files, root = find(patterns, hidden=flag(inputs["include-hidden-files"]))
    if not files:
        sentence = f"No files were found with the provided path: {inputs['path']}. No artifacts will be uploaded."
        if inputs["if-no-files-found"] == "error":
            raise Refused(sentence)
        if inputs["if-no-files-found"] == "warn":
            print(f"::warning::{sentence}")
        return {}
    store = artifact_store()
    store.mkdir(parents=True, exist_ok=True)
    staged = store / f".{uuid.uuid4().hex}"
    digest = hashlib.sha256()
    for file in files:
        inner = file.relative_to(root)
        if found := re.search(r'[":<>|*?\r\n]', str(inner)):
            raise Refused(f"The path for one of the files in artifact is not valid: /{inner}. Contains {found[0]!r}")
        target = staged / "files" / inner
        target.parent.mkdir(parents=True, exist_ok=True)
        # What a link points to is uploaded, as a plain file without its mode.
        target.write_bytes(file.read_bytes())
        digest.update(f"{inner}\0".encode() + target.read_bytes())
    number = zlib.crc32(f"{store}/{name}".encode())
    (staged / "artifact.json").write_text(json.dumps({"id": number, "name": name}))
    place = store / name
    if flag(inputs["overwrite"]):
        shutil.rmtree(place, ignore_errors=True)
    try:
        staged.rename(place)
    except OSError:
        shutil.rmtree(staged)
        raise Refused(
            "Failed to CreateArtifact: Received non-retryable error: Failed request: (409) Conflict: "
            f"an artifact with this name already exists on the workflow run: {name}"
        ) from None
    run_url = f"{os.environ['GITHUB_SERVER_URL']}/{os.environ['GITHUB_REPOSITORY']}/actions/runs"
    return {
        "artifact-id": str(number),
        "artifact-url": f"{run_url}/{os.environ['GITHUB_RUN_ID']}/artifacts/{number}",
        "artifact-digest": digest.hexdigest(),
    }


def find(patterns: list[str], *, hidden: bool) -> tuple[list[Path], Path]:
    """The files that patterns name (`!` leaves out), and the folder their names are relative to."""
    wanted: dict[Path, None] = {}
    roots = []
    for pattern in patterns:
        text = str(workspace() / pattern.lstrip("!"))
        found = [Path(one) for one in sorted(glob.glob(text, recursive=True, include_hidden=True))]
        below = {file for path in found for file in _files(path, hidden=hidden)}
        if pattern.startswith("!"):
            wanted = {file: None for file in wanted if file not in below}
            continue
        wanted.update(dict.fromkeys(sorted(below)))
        start = Path(re.split(r"[*?\[]", text)[0] + "x").parent if glob.has_magic(text) else Path(text)
        roots.append(start)
    if len(roots) == 1 and not (roots[0].is_file() and not glob.has_magic(patterns[0])):
        return list(wanted), roots[0]
    folders = [str(root if root.is_dir() else root.parent) for root in roots]
    return list(wanted), Path(os.path.commonpath(folders))


def _files(path: Path, *, hidden: bool) -> list[Path]:
    if path.name.startswith(".") and not hidden:
        return []
    if path.is_file():
        return [path]
    return [file for one in sorted(path.iterdir()) for file in _files(one, hidden=hidden)] if path.is_dir() else []
