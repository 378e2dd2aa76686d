"""What was fitted is read as plain data where it is that; nothing is imported for it, and nothing else is believed."""

import dataclasses
import gc
import io
import json
import weakref
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from test_serve_loading import ABSENT, SERVE, _edit, _run
from toys import exported, features, prepared, rows

from serve import fitted, loading
from serve.errors import Refusal
from serve.model import Model

SERVED = SERVE.replace("load(", "load_to_serve(").replace("import load\n", "import load_to_serve\n")
HEAVY = {"sklearn", "scipy", "skops", "joblib", "polars", "pandas", "onnxruntime"}


def _rewritten(folder: Path, change: Callable[[str, bytes], bytes]) -> None:
    """Change the files in the skops file of an export, with the right digest in its manifest."""
    place = folder / "model.skops"
    with zipfile.ZipFile(io.BytesIO(place.read_bytes())) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(place, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, change(name, data))
    digest = loading.digest(place.read_bytes())
    _edit(folder, lambda manifest: manifest["files"].update({"model.skops": digest}))


@pytest.mark.parametrize("kind", ["toy", "numbers"])
def test_a_linear_model_serves_without_the_libraries_that_fitted_it(kind: str, request: pytest.FixtureRequest) -> None:
    """Neither scikit-learn nor SciPy nor skops: they are most of a start, and of the memory."""
    done = _run(ABSENT.format(absent=HEAVY) + SERVED, request.getfixturevalue(kind))
    assert done.returncode == 0, done.stderr
    assert not HEAVY & set(done.stdout.split())


def test_the_libraries_are_really_taken_away(slow: Path) -> None:
    """The breaker: a forest is more than plain data, and needs them."""
    done = _run(ABSENT.format(absent=HEAVY) + SERVED, slow)
    assert done.returncode != 0


@pytest.mark.parametrize(
    ("estimator", "is_plain"),
    [
        (LogisticRegression(max_iter=500), True),
        (make_pipeline(PCA(3), LogisticRegression(max_iter=500)), True),
        (RandomForestClassifier(n_estimators=3, random_state=1), False),
        (make_pipeline(FunctionTransformer(np.tanh), LogisticRegression(max_iter=500)), False),
    ],
    ids=["linear", "a step without a plan", "trees", "a function"],
)
def test_a_version_answers_alike_however_it_was_read(estimator: Any, is_plain: bool, tmp_path: Path) -> None:
    """By plain data where that suffices, else by the estimator: the same plan, and the same numbers to 1e-12."""
    expected = exported(tmp_path / "export", prepared(estimator))
    version = loading.load_to_serve(tmp_path / "export")
    assert (version.fitted is not None, version.estimator is None) == (is_plain, is_plain)
    model = Model(version)
    assert (model.problem, model.runtime) == ("", "swift")
    new = rows(200, seed=5)
    found = model.predict(model.columns.of(features(new)))
    np.testing.assert_allclose(found, expected.predict(new), rtol=1e-12, atol=1e-12)


def test_a_number_that_was_changed_is_found_by_the_proof(copy: Path) -> None:
    """The breaker: the digest was made right again, and the weights are off by a millionth."""

    def moved(name: str, data: bytes) -> bytes:
        if not name.endswith(".npy"):
            return data
        found = np.load(io.BytesIO(data))
        if found.dtype.kind != "f" or found.ndim != 2:
            return data
        stream = io.BytesIO()
        np.save(stream, found * (1 + 1e-6))
        return stream.getvalue()

    _rewritten(copy, moved)
    assert "golden row" in Model(loading.load_to_serve(copy)).problem


def _node(schema: Any, loader: str) -> dict[str, Any]:
    """The first node of this kind."""
    found = schema if isinstance(schema, dict) else {}
    if found.get("__loader__") == loader:
        return found
    for one in found.values() if found else schema if isinstance(schema, list) else []:
        if inner := _node(one, loader):
            return inner
    return {}


FOREIGN: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a class of others": lambda schema: schema.update(__module__="os"),
    "a class whose package only begins alike": lambda schema: schema.update(__module__="sklearnish.base"),
    "a function": lambda schema: _node(schema, "JsonNode").update(__loader__="FunctionNode"),
    "a kind of node that came later": lambda schema: _node(schema, "ListNode").update(__loader__="OtherNode"),
    "keys that are no text": lambda schema: _node(schema, "TypeNode").update(__class__="int"),
    "a later protocol": lambda schema: schema.update(protocol=99),
    "no protocol": lambda schema: schema.pop("protocol"),
    "no object": lambda schema: schema.update(__loader__="ListNode", content=[]),
    "an array that is not there": lambda schema: _node(schema, "NdArrayNode").update(type="numpy", file="nowhere.npy"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_more_than_plain_data_is_not_read(name: str, copy: Path) -> None:
    """It is left to the door that knows which types it trusts."""

    def change(file: str, data: bytes) -> bytes:
        if file != "schema.json":
            return data
        schema = json.loads(data)
        FOREIGN[name](schema)
        return json.dumps(schema).encode()

    assert fitted.read((copy / "model.skops").read_bytes()) is not None
    _rewritten(copy, change)
    assert fitted.read((copy / "model.skops").read_bytes()) is None


def test_an_array_that_holds_objects_is_not_read(copy: Path) -> None:
    """NumPy would unpickle it."""

    def objects(name: str, data: bytes) -> bytes:
        stream = io.BytesIO()
        np.save(stream, np.array([{}], dtype=object), allow_pickle=True)
        return stream.getvalue() if name.endswith(".npy") else data

    _rewritten(copy, objects)
    assert fitted.read((copy / "model.skops").read_bytes()) is None


def test_a_file_that_is_no_archive_is_not_read() -> None:
    for data in (b"", b"PK", b"\x80\x04N.", b"{}"):
        assert fitted.read(data) is None


def test_what_a_plan_does_not_ask_is_given_back(toy: Path) -> None:
    """The estimator goes when its arithmetic is proven, however the version was read."""
    version = loading.load(toy)
    gone = weakref.ref(version.estimator)
    model = Model(version)
    assert (model.version.estimator, model.version.fitted) == (None, None)
    del version
    gc.collect()
    assert gone() is None
    assert model.self_test()


def test_a_folder_that_is_changed_meanwhile_is_refused(toy: Path) -> None:
    """What is deserialised later than it was verified is verified again, and is the same version."""
    other = dataclasses.replace(loading.load_to_serve(toy), name="0" * 12)
    with pytest.raises(Refusal, match="was changed while toy was loaded"):
        loading.deserialised(other)
