"""Where does a model's own code come in? Here: its `build(params)`, imported under a name that no other model has."""

import contextlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from mlops.errors import Refusal
from mlops.workspace import Model

Build = Callable[[dict[str, Any]], Any]


def build_of(model: Model) -> Build:
    """The function `build(params)` of `models/<name>/src/<name>/model.py`; broken code is refused in one line.

    The model's package is put in `sys.modules` under its own name, so that its relative and absolute imports work.
    """
    path = model.source / model.name / "model.py"
    shown = path.relative_to(model.root)
    if not path.is_file():
        raise Refusal(
            f"{model.name}: {shown} does not exist.", do="It defines build(params), which gives an estimator."
        )
    try:
        module = _import(model, path)
    # A module may end with SystemExit; whatever it does, the answer names the model and the line.
    except (Exception, SystemExit) as error:
        raise Refusal(f"{model.name}: {place(error, shown, path)}.", do="Mend that line.") from None
    build = getattr(module, "build", None)
    if not callable(build):
        raise Refusal(f"{model.name}: {shown} has no function build(params).", do="Define it; it gives an estimator.")

    def checked(params: dict[str, Any]) -> Any:
        """What `build` gives, or a refusal with its words."""
        try:
            estimator = build(dict(params))
        except (Exception, SystemExit) as error:
            raise Refusal(
                f"{model.name}: build({_short(params)}) failed: {place(error, shown, path)}.",
                do=f"Mend [train.params] or [tune.space] in models/{model.name}/model.toml, or build itself.",
            ) from None
        if not (hasattr(estimator, "fit") and hasattr(estimator, "predict")):
            raise Refusal(
                f"{model.name}: build gives a {type(estimator).__name__}, which has no fit and predict.",
                do=f"Return a scikit-learn-compatible estimator from {shown}.",
            )
        return estimator

    return checked


def _import(model: Model, path: Path) -> ModuleType:
    """Import the model's package afresh from its own folder, whatever `sys.path` and earlier imports hold."""
    package = model.name
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        del sys.modules[name]
    _load(package, path.parent / "__init__.py", search=path.parent)
    module = _load(f"{package}.model", path, search=None)
    # A worker of a cluster may not have the model's package: its code travels with what is sent.
    for pickler in _picklers():
        pickler.register_pickle_by_value(sys.modules[package])
    return module


def _picklers() -> list[Any]:
    """The cloudpickle that Dask uses, and the one that some versions of joblib bring along, where they are there."""
    found = []
    for name in ("cloudpickle", "joblib.externals.cloudpickle"):
        with contextlib.suppress(ImportError):
            found.append(importlib.import_module(name))
    return found


def _load(name: str, path: Path, *, search: Path | None) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        name, path, submodule_search_locations=None if search is None else [str(search)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{path.name} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def place(error: BaseException, shown: Path, path: Path) -> str:
    """An error in one line, with the line of the model's file at which it happened where that is known."""
    text = " ".join(str(error).split())[:300]
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{shown}, line {error.lineno}, has {type(error).__name__}: {error.msg}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"{shown}, line {lines[-1]}, raised {said}" if lines else f"{shown} raised {said}"


def _short(params: dict[str, Any]) -> str:
    text = repr(params)
    return text if len(text) <= 120 else f"{text[:117]}…"
