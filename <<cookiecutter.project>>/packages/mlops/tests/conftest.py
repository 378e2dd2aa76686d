"""A small repository in a temporary folder: the scaffold's models, git and DVC, and nothing of this one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub import hub

from mlops import scaffold
from mlops.workspace import Model

__all__ = ["hub"]

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session", autouse=True)
def _environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The commands of this interpreter come first; git has an author; nothing reads the user's settings."""
    patch = pytest.MonkeyPatch()
    patch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    patch.setenv("DVC_NO_ANALYTICS", "1")
    for role in ("AUTHOR", "COMMITTER"):
        patch.setenv(f"GIT_{role}_NAME", "Test")
        patch.setenv(f"GIT_{role}_EMAIL", "test@example.com")
    patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    patch.delenv("MLFLOW_TRACKING_URI", raising=False)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committed repository with `tumour` (classification) and `diabetes` (regression), nothing trained."""
    root = tmp_path_factory.mktemp("fresh") / "project"
    (root / "packages" / "mlops").mkdir(parents=True)
    (root / "models").mkdir()
    shutil.copytree(ROOT / ".scaffold", root / ".scaffold")
    scaffold.render(root, name="tumour", task="classification", owner="@acme/care", description="Is a mass malignant?")
    scaffold.render(root, name="diabetes", task="regression", owner="@acme/care", description="How will it progress?")
    for name in (".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, root / name)
    for command in (
        "git init -q -b main",
        "dvc init -q",
        "git add -A",
        "git commit -q -m first",
    ):
        subprocess.run(command.split(), cwd=root, check=True)
    return root


@pytest.fixture
def project(fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `fresh` to change, as the working folder."""
    root = tmp_path / "project"
    shutil.copytree(fresh, root)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def tumour(project: Path) -> Model:
    """The classification model of `project`."""
    return Model(project, "tumour")


@pytest.fixture
def diabetes(project: Path) -> Model:
    """The regression model of `project`."""
    return Model(project, "diabetes")
