"""How a report becomes a comment by CML, and how CML knows its own: every call to the `cml` program is here.

Facts of CML 0.20.6, its last version: `cml comment update` appends an image to the report that it finds again by its
title, looks at the first 30 comments only, by whomever they are, and changes the last one that holds that image.
Standard library only.
"""

import contextlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlops import github
from mlops.errors import Refusal
from mlops.github import Comment

TITLE = "mlops-report"
"""CML never finds a title with an underscore again."""

SEEN = 30
"""How many comments CML reads."""

SECONDS = 180

_VERSION = re.compile(r"\d{1,4}\.\d{1,4}\.\d{1,4}", re.ASCII)
_ASSETS = {("linux", "x86_64"): "cml-linux-x64", ("linux", "aarch64"): "cml-linux-arm64"}

_ANY = re.compile(rf'!\[\]\(https://cml\.dev/watermark\.png#([0-9a-fA-F]+) "CML watermark {TITLE}"\)')
_LAST = re.compile(_ANY.pattern + r"\s*\Z")


def watermark(commit: str) -> str:
    """What CML appends to a report about `commit`, byte for byte."""
    return f'\n\n![](https://cml.dev/watermark.png#{commit} "CML watermark {TITLE}")'


def marked(body: str) -> str | None:
    """The commit that a comment is about, when it ends with the watermark; None for any other comment."""
    found = _LAST.search(body)
    return found.group(1) if found else None


def choice(comments: Sequence[Comment]) -> int | None:
    """The comment that CML would change, of all comments in their order; None when it would write a new one."""
    return next((one.id for one in reversed(comments[:SEEN]) if _ANY.search(one.body)), None)


@dataclass(frozen=True)
class Program:
    """Where CML is, or why it is nowhere in a few words."""

    path: str | None
    missing: str = ""


@contextlib.contextmanager
def program(version: str | None) -> Iterator[Program]:
    """The `cml` on the PATH; where there is none, that version from CML's own releases, for as long as it is needed."""
    found = shutil.which("cml")
    if found or version is None:
        yield Program(found, "" if found else "CML is not installed")
        return
    if not _VERSION.fullmatch(version):
        raise Refusal(f"{version[:60]!r} is not a version of CML.", do="Write it as 0.20.6.")
    asset = _ASSETS.get((sys.platform, platform.machine()))
    with tempfile.TemporaryDirectory() as folder:
        yield (
            _fetched(version, asset, Path(folder) / "cml")
            if asset
            else Program(None, "CML is not made for this machine")
        )


def _fetched(version: str, asset: str, file: Path) -> Program:
    try:
        github.download("iterative/cml", tag=f"v{version}", asset=asset, to=file)
        file.chmod(0o700)
    except (Refusal, OSError):
        return Program(None, f"CML {version} could not be fetched")
    return Program(str(file))


def update(program: Program, file: Path, *, number: int) -> str:
    """Let CML write `file` under pull request `number`; why it could not, in a few words, empty when it did."""
    token = os.environ.get("GH_TOKEN")
    if program.path is None:
        return program.missing
    if not token:
        return "CML has no token"
    server, repository = os.environ.get("GITHUB_SERVER_URL", ""), os.environ.get("GITHUB_REPOSITORY", "")
    command = [program.path, "comment", "update", f"--target=pr/{number:d}"]
    # Publishing is on by default: it uploads what the report links to, and rewrites its Markdown.
    command += ["--publish=false", f"--watermark-title={TITLE}", str(file)]
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "CML_REPO": f"{server}/{repository}",
            "REPO_TOKEN": token,
            "ITERATIVE_DO_NOT_TRACK": "1",
            # CML writes into the user's git settings; these are thrown away.
            "GIT_CONFIG_GLOBAL": str(Path(folder) / "gitconfig"),
        }
        try:
            done = subprocess.run(
                command,
                env={**os.environ, **settings},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"CML did not end within {SECONDS} seconds"
        except OSError as error:
            return f"CML cannot be run ({error.strerror})"
    return "" if done.returncode == 0 else f"CML ended with {done.returncode}"
