"""What the tests and the demo share: rendering the template, and typing commands in what comes of it."""

import atexit
import functools
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from cookiecutter.main import cookiecutter

from hooks.post_gen_project import DEBRIS

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ROOT / "<<cookiecutter.project>>"
SETTINGS = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
PROMPTS = [key for key in SETTINGS if not key.startswith("_")]


@functools.cache
def template() -> Path:
    """The template as a fresh clone of it lies: without what tools leave in a work tree."""
    copy = Path(tempfile.mkdtemp(prefix="template"))
    atexit.register(shutil.rmtree, copy)
    ignored = shutil.ignore_patterns(".git", ".tools", "build", *DEBRIS)
    return Path(shutil.copytree(ROOT, copy / "template", ignore=ignored, symlinks=True))


def render(folder: Path, answers: Mapping[str, str], *, hooks: bool = True) -> Path:
    """Render the template into `folder`; an option that the template does not have is an error, not a no-op."""
    if unknown := set(answers) - set(PROMPTS):
        raise ValueError(f"cookiecutter would ignore {sorted(unknown)}; known are {PROMPTS}")
    project = cookiecutter(
        str(template()), no_input=True, extra_context=dict(answers), output_dir=str(folder), accept_hooks=hooks
    )
    return Path(project)


def command(*arguments: str, cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; what it said is text, whatever the code."""
    return subprocess.run(
        arguments, cwd=cwd, env={**os.environ, **settings}, capture_output=True, text=True, check=False
    )


def make(project: Path, *arguments: str, accept: tuple[int, ...] = (0,), **settings: str) -> str:
    """What `make` said in a project; a code that is not in `accept` fails the test with all of it."""
    done = command("make", *arguments, cwd=project, **settings)
    assert done.returncode in accept, f"make {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def called(name: str) -> Callable[[Path], None]:
    """Give a project another name, so that nothing on an engine is mistaken for that of a person's project."""

    def rename(project: Path) -> None:
        path = project / ".template.json"
        value = json.loads(path.read_text(encoding="utf-8"))
        value["answers"]["project"] = name
        path.write_text(json.dumps(value), encoding="utf-8")

    return rename


def stages(said: str) -> list[str]:
    """The stages that ran, from what `make train` or a training job said."""
    return re.findall(r"(?m)^\w+: (\w+) \(\d+ of \d+\)", said)


def files(project: Path) -> list[str]:
    """Every file that git knows in a project, sorted."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=project, capture_output=True, text=True, check=True)
    return sorted(filter(None, listed.stdout.split("\0")))


def commit(root: Path, message: str) -> None:
    """Commit everything."""
    subprocess.run(["git", "add", "--all"], cwd=root, check=True)
    subprocess.run(["git", "commit", "--quiet", "--allow-empty", "--message", message], cwd=root, check=True)
