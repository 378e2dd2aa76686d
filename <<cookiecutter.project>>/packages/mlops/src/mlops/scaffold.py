"""Adding a model: which names it may have, and its files from `.scaffold/model`, the small inner cookiecutter.

The template's hooks run this file by itself, before a repository exists, so that the first model and every later one
come from the same code. It therefore imports nothing of this package at its top, and Jinja only to render.
"""

import json
import keyword
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops.cli import Outcome

LONGEST = 50

# Folders and packages of this repository, now or later.
OURS = """
mlops serve workspace models model packages package data export plots reports scaffold deploy monitoring docs src
tests test code behaviour performance contract ingest conftest
"""
# What this repository asks for, and what comes with it under an ordinary word: a workspace member of the same name
# would stand in its place. `new_model` also refuses whatever else is installed.
INSTALLED = """
arrow attr attrs blinker celery click codecarbon cookiecutter cpuinfo cycler dask databricks decorator deprecated
distributed docker duckdb duckdb_engine dvc dvc_data dvc_objects fairlearn fastapi filelock flask flatbuffers fs
fsspec git google graphene hatchling httptools hydra hypothesis iterative jinja2 joblib jsonschema mako markdown
markdown_it_py matplotlib ml_dtypes mlflow msgpack mypy numpy onnx onnxruntime packaging pandas pandas_stubs pandera
pillow pip polars prometheus_client propcache psutil public pyarrow pydantic pydantic_core pynvml pytest pytest_xdist
pyyaml questionary rapidfuzz requests rich ruamel ruamel_yaml ruff schemathesis scikit_learn scipy setuptools shap six
skinny skl2onnx sklearn skops sqlalchemy starlette threadpoolctl tornado typer types_pyyaml uv uvicorn validate vine
wheel yaml
"""
TAKEN = frozenset((OURS + INSTALLED).split())

# Windows keeps these for devices, whatever the extension.
DEVICES = frozenset(
    ["con", "prn", "aux", "nul", *(f"com{digit}" for digit in range(10)), *(f"lpt{digit}" for digit in range(10))]
)


def problem(name: str) -> str:
    """Why `name` cannot name a model, as the end of a sentence; empty when it can."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name, re.ASCII):
        return "must be snake_case: lowercase letters, digits and single underscores, a letter first"
    if len(name) > LONGEST:
        return f"is {len(name)} characters long; at most {LONGEST} are possible"
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        return "is a word of the Python language"
    if name in sys.stdlib_module_names:
        return "is a module of Python's standard library"
    if name in DEVICES:
        return "is a device name on Windows"
    if name in TAKEN:
        return "is the name of a folder or a package that this repository uses"
    return ""


def rendered(scaffold: Path, answers: Mapping[str, str]) -> dict[str, str]:
    """The files of a model, by path below `models/`: what cookiecutter would make of `scaffold` with these answers.

    `answers` are keys of the scaffold's `cookiecutter.json`; what is not given keeps its default.
    """
    from jinja2 import Environment, StrictUndefined

    settings = json.loads((scaffold / "cookiecutter.json").read_text(encoding="utf-8"))
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, **settings["_jinja2_env_vars"])
    # The first entry of a list of choices is its default.
    chosen = {key: value[0] if isinstance(value, list) else value for key, value in settings.items()} | dict(answers)
    for key in chosen.keys() - answers.keys():
        if isinstance(chosen[key], str):
            chosen[key] = environment.from_string(chosen[key]).render(cookiecutter=chosen)
    context = {"cookiecutter": chosen}
    files = {}
    for folder, _, names in os.walk(scaffold / "{{cookiecutter.name}}"):
        if os.path.basename(folder) == "__pycache__":
            continue
        for name in names:
            path = Path(folder, name)
            place = environment.from_string(path.relative_to(scaffold).as_posix()).render(context)
            files[place] = environment.from_string(path.read_text(encoding="utf-8")).render(context)
    return dict(sorted(files.items()))


def write(models: Path, files: Mapping[str, str]) -> None:
    """Write the files of `rendered` below the folder `models`."""
    for place, text in files.items():
        path = models / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")


def render(root: Path, **answers: str) -> None:
    """Add `models/<name>` to the repository `root`; a name that cannot be is refused before anything is written."""
    from mlops.errors import Refusal

    name = answers["name"]
    do = "Choose another one, such as a word for what is predicted."
    if why := problem(name):
        raise Refusal(
            f"{ascii(name) if len(name) <= 60 else ascii(name[:57] + '...')} cannot name a model: it {why}.", do=do
        )
    if (root / "models" / name).exists():
        raise Refusal(f"The model {name!r} exists already.", do=do)
    write(root / "models", rendered(root / ".scaffold" / "model", answers))


def new_model(root: Path, name: str, task: str) -> "Outcome":
    """The verb: add a model whose name no installed package has."""
    import importlib.util

    from mlops.cli import Outcome
    from mlops.errors import Refusal

    if not problem(name) and not (root / "models" / name).exists() and importlib.util.find_spec(name) is not None:
        raise Refusal(f"{name!r} cannot name a model: an installed package has that name.", do="Choose another one.")
    render(root, name=name, task=task)
    say = f"models/{name} is ready. Type `make verdict MODEL={name}` to train and judge it."
    return Outcome(say, {"model": name, "task": task})
