"""How tests get a project: `bake` renders one from answers; `installed` is one with its environment, made once."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engine import base, engine, proxy, registry
from tests.loop import environments, first, loop, seed
from tests.rendering import commit, make, render

# Fixtures that tests ask for by name.
__all__ = ["base", "engine", "environments", "first", "loop", "proxy", "registry", "seed"]

Bake = Callable[..., Path]


@pytest.fixture(scope="session", autouse=True)
def _environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing reads the settings of whoever runs the tests, and git has an author."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COOKIECUTTER_CONFIG", str(home / "cookiecutter.yaml"))
        (home / "cookiecutter.yaml").write_text(f"replay_dir: {home / 'replay'}\n")
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        for role in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{role}_NAME", "Test")
            patch.setenv(f"GIT_{role}_EMAIL", "test@example.com")
        for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MLFLOW_TRACKING_URI", "VIRTUAL_ENV"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture
def bake(tmp_path: Path) -> Bake:
    """Render with these answers into a new folder: `bake(task="regression")`."""
    made = iter(range(1000))

    def _bake(**answers: str) -> Path:
        return render(tmp_path / f"out{next(made)}", answers)

    return _bake


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A default project after `make setup`, its lock committed; tests change it through `project`."""
    root = render(tmp_path_factory.mktemp("installed"), {})
    make(root, "setup")
    commit(root, "Lock")
    subprocess.run(["git", "tag", "installed"], cwd=root, check=True)
    return root


@pytest.fixture
def project(installed: Path) -> Iterator[Path]:
    """The installed project as it was after `make setup`; what a test did to it is undone."""
    yield installed
    for step in (("checkout", "--quiet", "--force", "main"), ("reset", "--quiet", "--hard", "installed")):
        subprocess.run(["git", *step], cwd=installed, check=True)
    listed = ["git", "for-each-ref", "--format=%(refname:short)", "refs/heads"]
    made = set(subprocess.run(listed, cwd=installed, check=True, capture_output=True, text=True).stdout.split())
    for branch in made - {"main"}:
        subprocess.run(["git", "branch", "--quiet", "--delete", "--force", branch], cwd=installed, check=True)
    # What git ignores goes too, but for the environment: a model's data would stay behind as a folder of no model.
    subprocess.run(
        ["git", "clean", "--quiet", "-ffdx", "--exclude=/.venv", "--exclude=/.tools"], cwd=installed, check=True
    )
