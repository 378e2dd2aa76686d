"""What is a version? A folder with the fitted model, its reference profile, and a manifest that vouches for both.

The model is a skops file. Nothing is deserialised before its digest matches the manifest and every type in it is on
the list below; pickle is used nowhere.
"""

import hashlib
import importlib
import io
import json
import math
import platform
import re
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import skops.io

from mlops.errors import Refusal
from mlops.files import dumps, plain
from mlops.learning import frames
from mlops.learning.metrics import Floats

if TYPE_CHECKING:
    from mlops.data.contract import Contract

FORMAT = 1
MODEL, PROFILE, MANIFEST = "model.skops", "profile.json", "manifest.json"
# A skops file may name any class, and loading it may call that class. Only classes that these packages define
# themselves are accepted, beyond the few that skops trusts. numpy is left out on purpose: `numpy.memmap` writes files.
TRUSTED = ("sklearn", "scipy.sparse", "scipy.interpolate", "scipy.spatial", "xgboost", "lightgbm", "imblearn")
TRUSTED_NAMES = {"numpy.dtype"}
FORBIDDEN_PARTS = {"tests", "testing", "conftest", "externals", "datasets"}
KEYS = {
    "format",
    "model",
    "task",
    "features",
    "target",
    "classes",
    "input_schema",
    "files",
    "split",
    "lineage",
    "libraries",
    "golden",
}
# Another processor may round the last bits otherwise; a model that changed differs by far more.
GOLDEN_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Exported:
    """A version that was verified and loaded."""

    folder: Path
    manifest: dict[str, Any]
    estimator: Any

    @property
    def classes(self) -> list[Any] | None:
        """The labels in the order of the probabilities, or None for regression."""
        return self.manifest["classes"]  # type: ignore[no-any-return]

    @property
    def columns(self) -> tuple[frames.Feature, ...]:
        """The features that the model takes, in its order."""
        required = self.manifest["input_schema"]["required"]
        return tuple(
            frames.Feature(item["name"], item["dtype"], item["name"] in required) for item in self.manifest["features"]
        )

    def features(self, frame: pl.DataFrame) -> pd.DataFrame:
        """The (n, features) pandas frame that the estimator takes; a missing column is refused, others are ignored."""
        return frames.features(frame, self.columns, where=f"{self.manifest['model']}: the input")

    def predict(self, frame: pl.DataFrame) -> Floats:
        """Probabilities (n, k) in the order of `classes`, or values (n,) for regression."""
        return self.answer(self.features(frame))

    def answer(self, rows: pd.DataFrame) -> Floats:
        """What `predict` gives, for rows that `features` made; an estimator that fails on them is refused."""
        name = self.manifest["model"]
        if rows.empty:
            raise Refusal(f"{name}: there are no rows to predict.", do="Give at least one row.")
        try:
            return predict(self.estimator, rows, self.manifest["task"])
        except Exception as error:
            raise Refusal(
                f"{name}: the model cannot predict these rows: {_line(error)}",
                do="Mend the rows, or let build() in model.py take such values.",
            ) from None


def predict(estimator: Any, rows: pd.DataFrame, task: str) -> Floats:
    """What a fitted estimator says of `rows`: (n, k) probabilities for classification, (n,) values for regression.

    A classifier without `predict_proba` gives its decision function squeezed into probabilities, which keeps its
    ranking and its decisions; one that has neither gives 0 and 1.
    """
    if task == "regression":
        return np.asarray(estimator.predict(rows), dtype=np.float64).reshape(len(rows))
    if hasattr(estimator, "predict_proba"):
        return np.asarray(estimator.predict_proba(rows), dtype=np.float64)
    if hasattr(estimator, "decision_function"):
        raw = np.asarray(estimator.decision_function(rows), dtype=np.float64)
        raw = np.column_stack([np.zeros(len(rows)), raw]) if raw.ndim == 1 else raw
        powers = np.exp(raw - raw.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
    labels = np.asarray(estimator.predict(rows))
    return np.asarray(labels[:, None] == np.asarray(estimator.classes_)[None, :], dtype=np.float64)


def version(folder: Path) -> str:
    """The name of a version: the first 12 hex digits of its manifest's SHA-256."""
    return hashlib.sha256(_bytes(folder, MANIFEST)).hexdigest()[:12]


def write(
    folder: Path,
    *,
    model: str,
    task: str,
    estimator: Any,
    contract: "Contract",
    train: pl.DataFrame,
    split: Mapping[str, Any],
    profile: Mapping[str, Any],
    lineage: Mapping[str, Any],
) -> Exported:
    """Write a fitted estimator as a version, replacing `folder` as a whole, and load it back to prove it.

    `train` is the rows it was fitted on, for the golden row. Refuses an estimator that the list above does not cover.
    """
    data = _dump(estimator, model)
    trusted = _trusted(data, model)
    columns = frames.of_contract(contract)
    golden = frames.golden_row(train, columns)
    row = frames.features(_one_row(golden, columns), columns, where=f"{model}: the golden row")
    profile_text = dumps(profile)
    manifest = {
        "format": FORMAT,
        "model": model,
        "task": task,
        "features": [{"name": column.name, "dtype": column.dtype} for column in columns],
        "target": frames.target_name(contract, where=model),
        "classes": plain(list(estimator.classes_)) if task == "classification" else None,
        "input_schema": contract.request_schema(),
        "files": {MODEL: _digest(data), PROFILE: _digest(profile_text.encode())},
        "split": dict(split),
        "lineage": dict(lineage),
        "libraries": _libraries(trusted),
        "golden": {"row": golden, "prediction": predict(estimator, row, task)[0].tolist()},
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as temporary:
        fresh = Path(temporary) / folder.name
        fresh.mkdir()
        (fresh / MODEL).write_bytes(data)
        (fresh / PROFILE).write_bytes(profile_text.encode())
        (fresh / MANIFEST).write_bytes(dumps(manifest).encode())
        load(fresh)
        if folder.exists():
            shutil.rmtree(folder)
        fresh.rename(folder)
    return load(folder)


def load(folder: Path) -> Exported:
    """Verify a version and load it: files, digests, types, then the golden row, in this order; refuse at the first."""
    manifest = read_manifest(folder)
    name = manifest["model"]
    contents = {file: _bytes(folder, file) for file in manifest["files"]}
    for file, data in contents.items():
        if _digest(data) != manifest["files"][file]:
            raise Refusal(
                f"{name}: {folder / file} is not the file that its manifest names; it was changed after the export.",
                do=f"Fetch or train the version again: `dvc repro` in models/{name}.",
            )
    trusted = _trusted(contents[MODEL], name)
    try:
        estimator = skops.io.loads(contents[MODEL], trusted=trusted)
    except Exception as error:
        raise Refusal(
            f"{name}: {folder / MODEL} cannot be loaded: {_line(error)}",
            do=f"It was written with {_versions(manifest)}; install those versions, or train again.",
        ) from None
    exported = Exported(folder, manifest, estimator)
    _self_test(exported)
    return exported


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a version, its form verified; the model itself is not touched."""
    path = folder / MANIFEST
    again = "Fetch or train the version again; do not edit an export."
    try:
        manifest = json.loads(_bytes(folder, MANIFEST))
    except (ValueError, RecursionError):
        raise Refusal(f"{path} is not valid JSON.", do=again) from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise Refusal(f"{path} has a format that this mlops does not know.", do=again)
    files = manifest.get("files")
    well_formed = (
        set(manifest) == KEYS
        and isinstance(files, dict)
        and set(files) == {MODEL, PROFILE}
        and all(isinstance(item, str) and re.fullmatch(r"sha256:[0-9a-f]{64}", item) for item in files.values())
        and manifest["task"] in ("classification", "regression")
        and isinstance(manifest["classes"], list) == (manifest["task"] == "classification")
        and isinstance(manifest["features"], list)
        and all(isinstance(item, dict) and set(item) == {"name", "dtype"} for item in manifest["features"])
        and isinstance(manifest["input_schema"], dict)
        and isinstance(manifest["input_schema"].get("required"), list)
        and isinstance(manifest["golden"], dict)
        and set(manifest["golden"]) == {"row", "prediction"}
        and isinstance(manifest["golden"]["row"], dict)
        and isinstance(manifest["libraries"], dict)
        and isinstance(manifest["model"], str)
    )
    if not well_formed:
        raise Refusal(f"{path} does not have the form of a manifest.", do=again)
    return manifest


def _bytes(folder: Path, file: str) -> bytes:
    """A regular file's bytes; a link may point at anything, so it is refused."""
    path = folder / file
    if path.is_symlink() or folder.is_symlink():
        raise Refusal(f"{path} is a symbolic link.", do="An export holds plain files only; fetch or train it again.")
    try:
        return path.read_bytes()
    except OSError:
        raise Refusal(f"{path} cannot be read.", do="Fetch or train the version again.") from None


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _dump(estimator: Any, model: str) -> bytes:
    try:
        return _canonical(skops.io.dumps(estimator))
    except Exception as error:
        raise Refusal(
            f"{model}: the fitted estimator cannot be exported: {_line(error)}",
            do="Build it from classes that skops can write; pickle is not used because loading it runs code.",
        ) from None


def _canonical(data: bytes) -> bytes:
    """The same skops file with memory addresses, random names and times taken out: equal models are equal bytes."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        schema = json.loads(archive.read("schema.json"))
        parts = {name: archive.read(name) for name in archive.namelist() if name != "schema.json"}
    numbers: dict[int, int] = {}
    names: dict[str, str] = {}

    def renumber(node: Any) -> Any:
        if isinstance(node, list):
            return [renumber(item) for item in node]
        if not isinstance(node, dict):
            return node
        node = {key: renumber(value) for key, value in node.items()}
        if isinstance(node.get("__id__"), int):
            node["__id__"] = numbers.setdefault(node["__id__"], len(numbers) + 1)
        if node.get("file") in parts:
            node["file"] = names.setdefault(node["file"], f"{len(names) + 1}{Path(node['file']).suffix}")
        return node

    parts["schema.json"] = json.dumps(renumber(schema), indent=1).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(parts, key=lambda name: names.get(name, name)):
            archive.writestr(zipfile.ZipInfo(names.get(name, name)), parts[name], zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _trusted(data: bytes, model: str) -> list[str]:
    """The types in a skops file beyond those that skops trusts, all on our list; refuse any other."""
    try:
        types = skops.io.get_untrusted_types(data=data)
    except Exception as error:
        raise Refusal(
            f"{model}: the model file is not a skops file: {_line(error)}", do="Fetch or train the version again."
        ) from None
    for name in types:
        if not _is_trusted(name):
            raise Refusal(
                f"{model}: the model uses {name}, which is not a class of {', '.join(TRUSTED)}.",
                do="Loading a version must not run unknown code: build the estimator from those packages; "
                "do your own steps in ingest.py, before the data contract.",
            )
    return list(types)


def _is_trusted(name: str) -> bool:
    """Whether a dotted name is a class that a package on the list defines itself (not one that it imports)."""
    if name in TRUSTED_NAMES:
        return True
    module, _, attribute = name.rpartition(".")
    if not _in_trusted_package(module) or FORBIDDEN_PARTS & set(name.split(".")):
        return False
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError):
        return False
    return isinstance(found, type) and _in_trusted_package(found.__module__)


def _in_trusted_package(module: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in TRUSTED)


def _libraries(types: list[str]) -> dict[str, str]:
    """Versions of what the model needs to be loaded."""
    names = {"sklearn": "scikit-learn", "imblearn": "imbalanced-learn"}
    roots = {name.partition(".")[0] for name in types} | {"sklearn", "skops", "numpy"}
    found = {names.get(root, root): metadata.version(names.get(root, root)) for root in roots}
    return found | {"python": platform.python_version()}


def _versions(manifest: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(manifest["libraries"].items()))


def _one_row(row: Mapping[str, Any], columns: tuple[frames.Feature, ...]) -> pl.DataFrame:
    """A row of JSON values as a frame of one row, in the contract's types."""
    kinds = {"int": pl.Int64, "float": pl.Float64, "bool": pl.Boolean, "str": pl.String}
    return pl.DataFrame([dict(row)], schema={item.name: kinds[item.dtype] for item in columns if item.name in row})


def _self_test(exported: Exported) -> None:
    """Refuse a model that loads and no longer says of the golden row what it said when it was exported."""
    golden, name = exported.manifest["golden"], exported.manifest["model"]
    try:
        found = np.atleast_1d(exported.predict(_one_row(golden["row"], exported.columns))[0])
        expected = np.atleast_1d(np.asarray(golden["prediction"], dtype=np.float64))
        same = found.shape == expected.shape and all(
            math.isclose(a, b, rel_tol=GOLDEN_TOLERANCE, abs_tol=GOLDEN_TOLERANCE)
            for a, b in zip(found, expected, strict=True)
        )
    except Exception as error:
        raise Refusal(
            f"{name}: the loaded model cannot predict the golden row: {_line(error)}",
            do=f"It was written with {_versions(exported.manifest)}; install those versions, or train again.",
        ) from None
    if not same:
        raise Refusal(
            f"{name}: the loaded model does not predict the golden row as it did when it was exported.",
            do=f"It was written with {_versions(exported.manifest)}; install those versions, or train again.",
        )


def _line(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
