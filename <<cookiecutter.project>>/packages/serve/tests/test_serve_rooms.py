"""The rooms of README.md are the rooms of the code; the reference names every setting, route and metric there is."""

import ast
import dataclasses
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from toys import Running

from serve.settings import BOUNDS, Settings

PACKAGE = Path(__file__).resolve().parents[1]
SOURCE = PACKAGE / "src" / "serve"
REFERENCE = PACKAGE.parents[1] / "docs" / "reference" / "serving.md"

CORE = {"errors", "fitted", "loading", "prediction", "rows", "plans", "onnx", "model"}
ROOMS = {
    "__main__": {"cli"},
    "errors": set(),
    "settings": {"errors"},
    "fitted": set(),
    "loading": {"errors", "fitted"},
    "prediction": set(),
    "rows": {"errors", "prediction"},
    "plans": {"fitted", "prediction", "rows"},
    "onnx": {"errors", "plans", "prediction", "rows"},
    "model": CORE,
    "explaining": CORE,
    "tensors": CORE,
    "runner": CORE,
    "measures": CORE,
    "journal": {"errors"},
    "service": CORE | {"explaining", "tensors", "runner", "measures", "journal", "settings"},
    "app": CORE | {"explaining", "tensors", "measures", "service", "settings"},
    "server": CORE | {"app", "service", "settings"},
    "scoring": {"errors", "loading", "model", "rows"},
    "probe": {"errors", "settings"},
    "cli": {"errors", "probe", "server", "settings", "scoring"},
}
DOORS = {
    "skops": {"loading"},
    "fastapi": {"app"},
    "uvicorn": {"server"},
    "prometheus_client": {"measures"},
    "pydantic_core": {"rows", "tensors", "app"},
    "polars": {"scoring", "rows"},
    "starlette": {"app", "service"},
    # What trains, and what runs code when it loads.
    **{
        name: set() for name in ("mlops", "mlflow", "dvc", "pandas", "scipy", "pickle", "joblib", "cloudpickle", "dill")
    },
    **{name: set() for name in ("marshal", "shelve", "requests", "httpx", "urllib", "subprocess")},
    "sklearn": {"plans", "loading"},
    "onnxruntime": {"onnx"},
}
DISTRIBUTIONS = {"sklearn": "scikit-learn"}
# uvicorn takes it.
COME_ALONG = {"httptools"}


def imports(code: str) -> Iterator[str]:
    """Every module that some code names in an import, wherever it stands."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from [f"serve.{one.name}" for one in node.names] if node.module == "serve" else [node.module]


def trespasses(name: str, code: str) -> list[str]:
    """What the module `name` imports and may not."""
    found = []
    for one in imports(code):
        top, _, rest = one.partition(".")
        inside = top == "serve" and rest.split(".")[0] not in ROOMS[name]
        if inside or name not in DOORS.get(top, {name}):
            found.append(one)
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_a_module_imports_only_what_its_room_may(path: Path) -> None:
    assert trespasses(path.stem, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("app", "import mlops.errors"),
        ("model", "def f():\n    import pickle"),
        ("scoring", "from joblib import load"),
        ("service", "import skops.io"),
        ("rows", "from serve import app"),
        ("journal", "import pandas as pd"),
    ],
)
def test_a_trespass_is_seen(name: str, code: str) -> None:
    """The breaker: each of these crosses a wall."""
    assert len(trespasses(name, code)) == 1


def test_every_room_is_on_the_page() -> None:
    page = (PACKAGE / "README.md").read_text(encoding="utf-8")
    rooms = {path.stem for path in SOURCE.glob("[a-z]*.py")}
    assert rooms <= set(re.findall(r"`([a-z]+)`", page))
    assert rooms | {"__main__"} == set(ROOMS)


def test_every_library_is_declared_and_every_declared_one_is_used() -> None:
    asked = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*asked["dependencies"], *(line for extra in asked["optional-dependencies"].values() for line in extra)]
    declared = {re.match(r"[\w.-]+", line)[0].lower() for line in lines}  # type: ignore[index]
    tops = {one.split(".")[0] for path in SOURCE.glob("*.py") for one in imports(path.read_text(encoding="utf-8"))}
    used = {DISTRIBUTIONS.get(top, top.replace("_", "-")) for top in tops - sys.stdlib_module_names - {"serve"}}
    assert used - declared == set()
    assert declared - used == COME_ALONG


def test_the_reference_names_every_setting_with_its_default() -> None:
    rows = re.findall(r"(?m)^\| `(SERVE_\w+)` \| (?:`([^`]*)`)? ?\| ", REFERENCE.read_text(encoding="utf-8"))
    defaults = {f"SERVE_{field.name.upper()}": str(field.default) for field in dataclasses.fields(Settings)}
    assert dict(rows) == defaults
    numbers = {field.name for field in dataclasses.fields(Settings) if field.type is not str}
    assert set(BOUNDS) == numbers


def test_the_reference_names_every_route_and_every_metric(running: Running) -> None:
    page = REFERENCE.read_text(encoding="utf-8")
    version = running.service.model.version.name
    paths = {path.replace("/toy", "/NAME") for path in running.get("/openapi.json").value["paths"]}
    assert {path for path in paths if version not in path} <= set(re.findall(r"(?:GET|POST) (/[\w/.]*)", page))
    text = running.get("/metrics").body.decode()
    names = set(re.findall(r"(?m)^# TYPE (serve_\w+) ", text))
    assert names == set(re.findall(r"(?m)^\| `(serve_\w+)", page))
