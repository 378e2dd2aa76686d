"""What the doubles share: inputs, outputs, paths and the ways in which GitHub's runner is told things."""

import json
import os
import re
from pathlib import Path


class Refused(Exception):
    """What the real action refuses (or what no workflow of ours may ask of it), in one sentence."""


def inputs() -> dict[str, str | None]:
    """The inputs of this action, defaults filled in."""
    found: dict[str, str | None] = json.loads(os.environ["ACTING_INPUTS"])
    return found


def flag(value: str) -> bool:
    """A boolean input as the actions toolkit reads it."""
    if value.lower() not in ("true", "false"):
        raise Refused(f"Input does not meet YAML 1.2 «Core Schema» specification: {value!r} is not true or false")
    return value.lower() == "true"


def lines(value: str) -> list[str]:
    """The lines of an input that are not empty."""
    return [line.strip() for line in value.splitlines() if line.strip()]


def workspace() -> Path:
    """The folder of the job."""
    return Path(os.environ["ACTING_WORKSPACE"])


def inside(path: str) -> Path:
    """A path of the workspace; one that leaves it is refused."""
    found = (workspace() / path).resolve()
    if not found.is_relative_to(workspace().resolve()):
        raise Refused(f"Repository path {str(found)!r} is not under {str(workspace())!r}")
    return found


def set_output(key: str, value: object) -> None:
    """An output of the step."""
    _tell("GITHUB_OUTPUT", f"{key}<<acting_end\n{value}\nacting_end\n")


def set_environment(key: str, value: object) -> None:
    """A variable of all later steps."""
    _tell("GITHUB_ENV", f"{key}<<acting_end\n{value}\nacting_end\n")


def add_path(folder: Path) -> None:
    """A folder of programs for all later steps."""
    _tell("GITHUB_PATH", f"{folder}\n")


def _tell(name: str, text: str) -> None:
    with open(os.environ[name], "a", encoding="utf-8") as file:
        file.write(text)


def artifact_store(run: str | None = None) -> Path:
    """Where the artifacts of a run (this one, where none is named) lie; each attempt has its own."""
    own = f"{os.environ['GITHUB_RUN_ID']}-{os.environ['GITHUB_RUN_ATTEMPT']}"
    return Path(os.environ["ACTING_ARTIFACTS"]) / (own if run is None else run)


def artifact_name(name: str) -> str:
    """An artifact's name; what the real action refuses is refused."""
    if not name:
        raise Refused("Artifact name is required")
    if found := re.search(r'[":<>|*?\r\n\\/]', name):
        raise Refused(f"The artifact name is not valid: {name}. Contains the following character: {found[0]!r}")
    return name
