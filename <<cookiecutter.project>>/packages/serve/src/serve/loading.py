"""May this folder be loaded? The manifest's form, every digest and every type are verified first, in this order.

This is the only place that deserialises a model. `mlops` reads versions through it too, so that what was measured and
what serves pass the same door. A model is a skops file; pickle is used nowhere. A version that serves by ONNX Runtime
has a graph beside it, which was proven to say the same; then the service does not even import skops. Nor does it where
the file is plain data of scikit-learn's own classes: then its numbers are read, and nothing is deserialised at all.
"""

import dataclasses
import functools
import hashlib
import importlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve import fitted
from serve.errors import Refusal
from serve.fitted import Fitted

FORMAT = 1
MODEL, PROFILE, MANIFEST, GRAPH = "model.skops", "profile.json", "manifest.json", "model.onnx"
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
    "personal",
    "proof",
}
# Said since there is a choice; a version that does not say serves by scikit-learn.
SERVING = "serving"
# Said since rows may be named: the contract's id where a log may hold it; null, or not said, where none may.
ID = "id"
RUNTIMES = ("sklearn", "onnx")
# Another processor may round the last bits otherwise; a model that changed differs by far more.
TOLERANCE = 1e-9
PARITY = 1e-5
"""How far ONNX Runtime may be from scikit-learn: absolute, or relative where values are larger than 1."""
AGAIN = "Fetch or train the version again; do not edit an export."


@dataclass(frozen=True)
class Version:
    """A version whose every byte was verified; `name` is the first 12 hex digits of its manifest's SHA-256.

    `estimator` is None when `graph` is there, for ONNX Runtime, or `fitted`, for a plan that needs no scikit-learn.
    """

    folder: Path
    name: str
    manifest: dict[str, Any]
    profile: dict[str, Any]
    estimator: Any
    graph: bytes | None = None
    fitted: Fitted | None = None


def version(folder: Path) -> str:
    """The name of a version: the first 12 hex digits of its manifest's SHA-256."""
    return _name(read(folder, MANIFEST))


def load(folder: Path) -> Version:
    """Verify a version and load its estimator: links, manifest, digests, then types; refuse at the first wrong one."""
    found, contents = _verified(folder)
    return dataclasses.replace(found, estimator=_estimator(folder, contents[MODEL], found.manifest))


def load_to_serve(folder: Path) -> Version:
    """Verify a version in the same way and load what serves it: the graph where its parity is on record, else what was
    fitted as plain data, else the estimator."""
    found, contents = _verified(folder)
    if runtime(found.manifest) == "onnx":
        return dataclasses.replace(found, graph=contents[GRAPH])
    if (plain := fitted.read(contents[MODEL])) is not None:
        return dataclasses.replace(found, fitted=plain)
    return dataclasses.replace(found, estimator=_estimator(folder, contents[MODEL], found.manifest))


def deserialised(found: Version) -> Version:
    """The same version with its estimator, for a plan that plain data does not suffice for."""
    if found.estimator is not None:
        return found
    again = load(found.folder)
    if again.name != found.name:
        raise Refusal(f"{found.folder} was changed while {found.manifest['model']} was loaded.", do="Start it again.")
    return again


def runtime(manifest: Mapping[str, Any]) -> str:
    """What serves a version: `sklearn`, or `onnx` where that was proven when it was exported."""
    return str(manifest[SERVING]["runtime"]) if SERVING in manifest else "sklearn"


def _verified(folder: Path) -> tuple[Version, dict[str, bytes]]:
    """A version of which nothing was deserialised yet, and the bytes of its files."""
    data = read(folder, MANIFEST)
    manifest = _parsed(folder / MANIFEST, data)
    model = manifest["model"]
    contents = {file: read(folder, file) for file in manifest["files"]}
    for file, content in contents.items():
        if digest(content) != manifest["files"][file]:
            raise Refusal(
                f"{model}: {folder / file} is not the file that its manifest names; it was changed after the export.",
                do=f"Fetch or train the version again: `dvc repro` in models/{model}.",
            )
    profile = _object(folder / PROFILE, contents[PROFILE])
    return Version(folder, _name(data), manifest, profile, None), contents


def _estimator(folder: Path, data: bytes, manifest: Mapping[str, Any]) -> Any:
    trusted = trusted_types(data, manifest["model"])
    try:
        return _skops().loads(data, trusted=trusted)
    except Exception as error:
        raise Refusal(
            f"{manifest['model']}: {folder / MODEL} cannot be loaded: {line(error)}",
            do=f"It was written with {libraries(manifest)}; install those versions, or train again.",
        ) from None


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a version, its form verified; the model itself is not touched."""
    return _parsed(folder / MANIFEST, read(folder, MANIFEST))


def read(folder: Path, file: str) -> bytes:
    """A regular file's bytes; a link may point at anything, so it is refused."""
    path = folder / file
    if path.is_symlink() or folder.is_symlink():
        raise Refusal(f"{path} is a symbolic link.", do="An export holds plain files only; fetch or train it again.")
    try:
        return path.read_bytes()
    except OSError:
        raise Refusal(f"{path} cannot be read.", do="Fetch or train the version again.") from None


def digest(data: bytes) -> str:
    """`sha256:` and the hex digest of some bytes, as a manifest names them."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def trusted_types(data: bytes, model: str) -> list[str]:
    """The types in a skops file beyond those that skops trusts, all on our list; refuse any other."""
    try:
        types = _skops().get_untrusted_types(data=data)
    except Exception as error:
        raise Refusal(
            f"{model}: the model file is not a skops file: {line(error)}", do="Fetch or train the version again."
        ) from None
    for name in types:
        if not _is_trusted(name):
            raise Refusal(
                f"{model}: the model uses {name}, which is not a class of {', '.join(TRUSTED)}.",
                do="Loading a version must not run unknown code: build the estimator from those packages; "
                "do your own steps in ingest.py, before the data contract.",
            )
    return list(types)


@functools.cache
def _skops() -> Any:
    """skops, without its list of estimators to trust, for which it imports all of scikit-learn.

    Without that list skops trusts less by itself; every class that a model names is then held against the list above.
    """
    import sklearn.utils

    every = sklearn.utils.all_estimators
    sklearn.utils.all_estimators = lambda: []
    try:
        import skops.io
    finally:
        sklearn.utils.all_estimators = every
    return skops.io


def libraries(manifest: Mapping[str, Any]) -> str:
    """What a version was written with, for a sentence."""
    return ", ".join(f"{name} {number}" for name, number in sorted(manifest["libraries"].items()))


def agree(found: Sequence[float], expected: Sequence[float], *, tolerance: float = TOLERANCE) -> bool:
    """Whether two predictions are the same numbers, but for the rounding of another processor or runtime."""
    return len(found) == len(expected) and all(
        math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance) for a, b in zip(found, expected, strict=True)
    )


def line(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def _name(manifest: bytes) -> str:
    return hashlib.sha256(manifest).hexdigest()[:12]


def _object(path: Path, data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise Refusal(f"{path} is not valid JSON.", do=AGAIN) from None
    return value if isinstance(value, dict) else {}


def _parsed(path: Path, data: bytes) -> dict[str, Any]:
    manifest = _object(path, data)
    if manifest.get("format") != FORMAT:
        raise Refusal(f"{path} has a format that this version of the repository does not know.", do=AGAIN)
    if not _is_well_formed(manifest):
        raise Refusal(f"{path} does not have the form of a manifest.", do=AGAIN)
    return manifest


def _is_well_formed(manifest: dict[str, Any]) -> bool:
    files = manifest.get("files")
    return (
        set(manifest) - {SERVING, ID} == KEYS
        and isinstance(manifest.get(ID), str | None)
        and _is_served(manifest.get(SERVING, {"runtime": "sklearn", "says": "", "parity": None}))
        and isinstance(files, dict)
        and set(files) == {MODEL, PROFILE} | ({GRAPH} if runtime(manifest) == "onnx" else set())
        and all(isinstance(item, str) and re.fullmatch(r"sha256:[0-9a-f]{64}", item) for item in files.values())
        and manifest["task"] in ("classification", "regression")
        and isinstance(manifest["classes"], list) == (manifest["task"] == "classification")
        and isinstance(manifest["features"], list)
        and all(isinstance(item, dict) and set(item) == {"name", "dtype"} for item in manifest["features"])
        and isinstance(manifest["input_schema"], dict)
        and isinstance(manifest["input_schema"].get("required"), list)
        and _is_asked(manifest["golden"], "row", "prediction", dict)
        and _is_asked(manifest["proof"], "rows", "predictions", list)
        and isinstance(manifest["libraries"], dict)
        and isinstance(manifest["lineage"], dict)
        and isinstance(manifest["personal"], list)
        and isinstance(manifest["model"], str)
        and re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", manifest["model"]) is not None
    )


def _is_asked(value: Any, asked: str, answered: str, kind: type) -> bool:
    return isinstance(value, dict) and set(value) == {asked, answered} and isinstance(value[asked], kind)


def _is_served(value: Any) -> bool:
    """Whether this says what serves, and for ONNX Runtime that it was proven, on training rows at least."""
    if not isinstance(value, dict) or set(value) != {"runtime", "says", "parity"} or value["runtime"] not in RUNTIMES:
        return False
    parity = value["parity"]
    if value["runtime"] == "sklearn":
        return isinstance(value["says"], str) and parity is None
    return (
        isinstance(value["says"], str)
        and isinstance(parity, dict)
        and set(parity) == {"rows", "worst"}
        and isinstance(parity["worst"], float)
        and 0 <= parity["worst"] <= PARITY
        and isinstance(parity["rows"], dict)
        and all(type(count) is int for count in parity["rows"].values())
        and parity["rows"].get("training", 0) > 0
    )


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
