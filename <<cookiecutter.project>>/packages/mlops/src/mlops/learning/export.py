"""What is a version? A folder with the fitted model, its reference profile, and a manifest that vouches for both.

The model is a skops file. `serve.loading` verifies and loads it, here as in the service: nothing is deserialised before
its digest matches the manifest and every type in it is on that module's list; pickle is used nowhere.
"""

import io
import json
import platform
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import skops.io

import serve.errors
from mlops.errors import Refusal
from mlops.files import dumps, plain
from mlops.learning import frames, parity
from mlops.learning.metrics import Floats
from serve import loading
from serve.loading import FORMAT, GRAPH, MANIFEST, MODEL, PROFILE, SERVING
from serve.loading import digest as _digest
from serve.loading import libraries as _versions
from serve.loading import line as _line
from serve.prediction import predict

if TYPE_CHECKING:
    from mlops.data.contract import Contract

__all__ = ["FORMAT", "MANIFEST", "MODEL", "PROFILE", "Exported", "load", "predict", "read_manifest", "version", "write"]

SEED = 7
"""Of the rows on which another runtime is compared: a version must be the same bytes when it is made again."""


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


def version(folder: Path) -> str:
    """The name of a version: the first 12 hex digits of its manifest's SHA-256."""
    with _refusing():
        return loading.version(folder)


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
    runtime: str = "sklearn",
) -> Exported:
    """Write a fitted estimator as a version, replacing `folder` as a whole, and load it back to prove it.

    `train` is the rows it was fitted on, for the golden row and for the parity of a `runtime` that is `onnx`. Refuses
    an estimator that the list above does not cover, and a runtime that is not installed.
    """
    data = _dump(estimator, model)
    with _refusing():
        trusted = loading.trusted_types(data, model)
    columns = frames.of_contract(contract)
    golden, proof = frames.golden_row(train, columns), frames.proof_rows(train, contract)
    asked = frames.features(_rows([golden, *proof], columns), columns, where=f"{model}: the golden row")
    answers = predict(estimator, asked, task).tolist()
    profile_text = dumps(profile)
    manifest: dict[str, Any] = {
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
        "golden": {"row": golden, "prediction": answers[0]},
        "personal": [column.name for column in contract.features if column.personal],
        "id": contract.id.name if contract.id is not None and not contract.id.personal else None,
        "proof": {"rows": proof, "predictions": answers[1:]},
    }
    rows = frames.features(train, columns, where=f"{model}: the training rows")
    served = parity.runtime(runtime, estimator, rows, manifest=manifest, seed=SEED)
    manifest[SERVING] = served.to_json()
    if served.graph is not None:
        manifest["files"][GRAPH] = _digest(served.graph)
        manifest["libraries"] |= {name: metadata.version(name) for name in ("onnxruntime", "skl2onnx")}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as temporary:
        fresh = Path(temporary) / folder.name
        fresh.mkdir()
        (fresh / MODEL).write_bytes(data)
        (fresh / PROFILE).write_bytes(profile_text.encode())
        if served.graph is not None:
            (fresh / GRAPH).write_bytes(served.graph)
        (fresh / MANIFEST).write_bytes(dumps(manifest).encode())
        load(fresh)
        if folder.exists():
            shutil.rmtree(folder)
        fresh.rename(folder)
    return load(folder)


def load(folder: Path) -> Exported:
    """Verify a version and load it: files, digests, types, then the golden row, in this order; refuse at the first."""
    with _refusing():
        found = loading.load(folder)
    exported = Exported(folder, found.manifest, found.estimator)
    _self_test(exported)
    return exported


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a version, its form verified; the model itself is not touched."""
    with _refusing():
        return loading.read_manifest(folder)


@contextmanager
def _refusing() -> Iterator[None]:
    """What the service refuses, refused in this command line's own way."""
    try:
        yield
    except serve.errors.Refusal as refusal:
        raise Refusal(refusal.what, do=refusal.do) from None


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


def _libraries(types: list[str]) -> dict[str, str]:
    """Versions of what the model needs to be loaded."""
    names = {"sklearn": "scikit-learn", "imblearn": "imbalanced-learn"}
    roots = {name.partition(".")[0] for name in types} | {"sklearn", "skops", "numpy"}
    found = {names.get(root, root): metadata.version(names.get(root, root)) for root in roots}
    return found | {"python": platform.python_version()}


def _rows(rows: list[dict[str, Any]], columns: tuple[frames.Feature, ...]) -> pl.DataFrame:
    """Rows of JSON values as a frame, in the contract's types."""
    kinds = {"int": pl.Int64, "float": pl.Float64, "bool": pl.Boolean, "str": pl.String}
    present = {name for row in rows for name in row}
    return pl.DataFrame(rows, schema={item.name: kinds[item.dtype] for item in columns if item.name in present})


def _self_test(exported: Exported) -> None:
    """Refuse a model that loads and no longer says of the golden row what it said when it was exported."""
    golden, name = exported.manifest["golden"], exported.manifest["model"]
    try:
        found = np.atleast_1d(exported.predict(_rows([golden["row"]], exported.columns))[0]).tolist()
        same = loading.agree(found, np.atleast_1d(np.asarray(golden["prediction"], dtype=np.float64)).tolist())
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
