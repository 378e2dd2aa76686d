"""The rooms of README.md are the rooms of the code: who may import whom, and which library has one door."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1]
SOURCE = PACKAGE / "src" / "mlops"

BASE = {"errors", "files", "privacy", "git"}
NAMES = BASE | {"config", "workspace"}
SHELL = NAMES | {"cli"}
ROOMS = {
    **dict.fromkeys(BASE, BASE),
    "config": BASE,
    "workspace": BASE | {"config"},
    "__main__": {"cli"},
    "cli": NAMES,
    "actions": NAMES,
    "github": BASE,
    "local": NAMES,
    "origin": BASE,
    "branch": BASE | {"origin"},
    "storage": NAMES | {"local", "branch", "origin"},
    "storing": SHELL | {"branch", "github", "origin", "planning", "storage"},
    "data": SHELL | {"local", "reporting"},
    "learning": SHELL | {"data", "tracking"},
    "tracking": NAMES | {"learning"},
    "judging": SHELL | {"data", "learning", "reporting", "storage", "tracking", "watching"},
    "reporting": SHELL | {"actions", "data"},
    "publishing": SHELL | {"actions", "github", "reporting"},
    "planning": SHELL | {"actions", "reporting", "scaffold"},
    "deploying": SHELL | {"actions", "packaging"},
    "releasing": SHELL
    | {"actions", "deploying", "github", "origin", "planning", "reporting", "storage", "storing", "tracking"},
    "watching": SHELL | {"actions", "data", "learning", "planning", "reporting", "scaffold"},
    "retraining": SHELL | {"actions", "github", "origin", "planning", "reporting", "scaffold", "storing", "watching"},
    "examining": SHELL
    | {"branch", "deploying", "github", "origin", "publishing", "releasing", "retraining", "storage"},
    "pipeline": SHELL | {"reporting", "storage"},
    "scaffold": SHELL,
    "serving": SHELL,
    "packaging": SHELL | {"actions", "planning", "serving", "storage", "storing"},
}
DOORS = {
    "dvc": {"storage"},
    "dvc_data": {"storage"},
    "dvc_objects": {"storage"},
    "mlflow": {"tracking"},
    "pandera": {"data.compile"},
    "matplotlib": {"reporting.figures"},
    "codecarbon": {"learning.spending"},
    "fairlearn": {"learning.evaluate"},
    "serve": {"learning.conversion", "learning.export", "learning.parity", "serving"},
    "skl2onnx": {"learning.conversion"},
    "onnx": {"learning.conversion"},
    "onnxruntime": {"learning.parity"},
    "skops": {"learning.export", "tracking"},
    "dask": {"learning.engine"},
    "distributed": {"learning.engine"},
    "shap": {"learning.explain"},
    "fsspec": {"data.sources"},
    "sqlalchemy": {"data.sources"},
    "jinja2": {"scaffold"},
}
DISTRIBUTIONS = {"sklearn": "scikit-learn", "ruamel": "ruamel.yaml"}
# polars hands frames to pandas through pyarrow; joblib's Dask backend is in dask.
COME_ALONG = {"pyarrow", "dask"}
BARE = ["cli", "config", "errors", "files", "git", "local", "pipeline", "scaffold", "workspace"]
BARE += ["actions", "planning.command", "planning.affected", "planning.plainyaml"]
BARE += ["branch", "origin", "storing.store", "storing.verify"]
BARE += ["github", "publishing.harden", "publishing.post", "publishing.verdict"]
BARE += [f"deploying.{name}" for name in ("audit", "environments", "freeze", "judge", "observe", "prove")]
BARE += ["releasing.access", "releasing.command", "releasing.history"]
BARE += ["packaging.command", "packaging.image"]
BARE += ["deploying.command", "deploying.host", "deploying.namespace"]
BARE += [f"retraining.{name}" for name in ("heartbeat", "history", "looks", "propose", "retrain", "start", "tell")]
BARE += [f"examining.{name}" for name in ("command", "hosted", "local", "rules", "settings")]
BARE += ["watching.due", "watching.planned", "watching.shown"]
BARE += ["reporting.command", "reporting.card", "reporting.markdown", "reporting.neutral"]


def module(path: Path) -> str:
    """The name of a module below `mlops`."""
    return path.relative_to(SOURCE).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")


def imports(code: str) -> Iterator[str]:
    """Every module that some code names in an import, wherever it stands."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from [f"mlops.{one.name}" for one in node.names] if node.module == "mlops" else [node.module]


def trespasses(name: str, code: str) -> list[str]:
    """What the module `name` imports and may not."""
    room, found = name.split(".")[0], []
    for one in imports(code):
        top, _, rest = one.partition(".")
        other = rest.split(".")[0]
        inside = top == "mlops" and other not in {room, "", "__version__"} and other not in ROOMS[room]
        if inside or name not in DOORS.get(top, {name}):
            found.append(one)
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=module)
def test_a_module_imports_only_what_its_room_may(path: Path) -> None:
    name = module(path)
    if name in ("mlops", "__init__", "."):
        assert list(imports(path.read_text(encoding="utf-8"))) == []
        return
    assert trespasses(name, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("judging.gate", "import dvc.api"),
        ("learning.fit", "def f():\n    from mlflow import log_metric"),
        ("reporting.markdown", "from mlops import storage"),
        ("data.split", "from mlops.learning.metrics import METRICS"),
        ("files", "from mlops import config"),
        ("pipeline", "import mlops.judging.gate"),
    ],
)
def test_a_trespass_is_seen(name: str, code: str) -> None:
    """The breaker: each of these crosses a wall."""
    assert len(trespasses(name, code)) == 1


def test_every_room_is_on_the_page() -> None:
    page = (PACKAGE / "README.md").read_text(encoding="utf-8")
    shown = {name.rstrip("/") for name in re.findall(r"`([a-z_]+/?)`", page)}
    rooms = {module(path).split(".")[0] for path in SOURCE.rglob("*.py")} - {"mlops", "__init__", "__main__", "."}
    assert rooms <= shown
    assert rooms <= set(ROOMS)


def test_every_library_is_declared_and_every_declared_one_is_used() -> None:
    """What only comes along with another package may go with its next release."""
    asked = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*asked["dependencies"], *(line for extra in asked["optional-dependencies"].values() for line in extra)]
    declared = {re.match(r"[\w.-]+", line)[0].lower() for line in lines}  # type: ignore[index]
    tops = {one.split(".")[0] for path in SOURCE.rglob("*.py") for one in imports(path.read_text(encoding="utf-8"))}
    used = {DISTRIBUTIONS.get(top, top.replace("_", "-")) for top in tops - sys.stdlib_module_names - {"mlops"}}
    assert used - declared == set()
    assert declared - used == COME_ALONG


@pytest.mark.parametrize("name", BARE)
def test_a_fast_module_imports_on_a_bare_python(name: str) -> None:
    """`-I -S`: no installed package can be found at all."""
    code = f"import sys; sys.path.insert(0, {os.fspath(SOURCE.parent)!r}); import mlops.{name}"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
