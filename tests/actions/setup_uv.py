"""astral-sh/setup-uv: puts the uv of this machine on the path and names the Python that was asked for."""

import contextlib
import os
import re
import subprocess
from pathlib import Path

from common import Refused, add_path, flag, set_environment, workspace


def run(inputs: dict[str, str]) -> dict[str, str]:
    """Make uv available. Where the asked Python is not on this machine, the one of the tests takes its place."""
    uv = Path(os.environ["ACTING_UV"])
    if inputs["version"] and re.fullmatch(r"latest|latest-known|[0-9<>=~^][\w.,<>=~^* ]*", inputs["version"]) is None:
        raise Refused(f"No version of uv matches {inputs['version']!r}")
    if inputs["enable-cache"] not in ("true", "false", "auto"):
        raise Refused(f"enable-cache: {inputs['enable-cache']!r} is not true, false or auto")
    add_path(uv.parent)
    set_environment("UV_CACHE_DIR", os.environ["ACTING_UV_CACHE"])
    outputs = {"uv-path": str(uv), "cache-hit": "true" if inputs["enable-cache"] != "false" else "false"}
    if version := inputs["python-version"]:
        find = [str(uv), "python", "find", "--no-project", "--no-python-downloads", version]
        found = subprocess.run(find, capture_output=True, text=True, check=False)
        python = version if found.returncode == 0 else os.environ["ACTING_PYTHON"]
        set_environment("UV_PYTHON", python)
        outputs["python-version"] = version
    if flag(inputs["activate-environment"]):
        venv = Path(inputs["venv-path"] or workspace() / ".venv")
        kept = _kept(inputs["cache-suffix"] or "any")
        if kept is not None and not venv.exists():
            venv.symlink_to(kept)
        if not (venv / "pyvenv.cfg").is_file():
            named = ["--python", python] if version else []
            # Relocatable: a kept environment is found under another path each time.
            make = [str(uv), "venv", "--quiet", "--allow-existing", "--relocatable", *named, str(venv)]
            subprocess.run(make, check=True)
        set_environment("VIRTUAL_ENV", venv)
        add_path(venv / "bin")
        outputs["venv"] = str(venv)
    return outputs


def _kept(kind: str) -> Path | None:
    """An environment that an earlier job of this kind made and no running job has: what takes a minute, once.

    `uv sync` brings it to what the lock says; the runner gives it back when the job's act process has ended.
    """
    store = os.environ.get("ACTING_ENVIRONMENTS")
    if not store:
        return None
    for number in range(100):
        place = Path(store) / f"{kind}-{number}"
        with contextlib.suppress(FileExistsError):
            place.mkdir(parents=True, exist_ok=True)
            # Taken by whoever makes this file first.
            with open(place / "taken", "x", encoding="utf-8") as file:
                file.write(os.environ["ACTING_PROCESS"])
            return place
    return None
