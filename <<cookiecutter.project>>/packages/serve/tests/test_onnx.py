"""A version whose ONNX graph was proven serves by it: the same answers and refusals, without scikit-learn or skops."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import (
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier
from test_serve_loading import ABSENT, LOADERS, SERVE, _edit, _flip, _run
from toys import Start, exported, features, prepared, rows

from mlops import errors
from serve import loading, scoring
from serve.errors import Refusal, Refused
from serve.model import Model
from serve.onnx import GAP

onnxruntime = pytest.importorskip("onnxruntime", reason="serve[onnx] is not installed: no graph can be asked")
pytest.importorskip("skl2onnx", reason="mlops[onnx] is not installed: no graph can be made")

CASES: dict[str, tuple[Any, str]] = {
    "logistic": (LogisticRegression(max_iter=500), "classification"),
    "forest": (RandomForestClassifier(n_estimators=20, random_state=1), "classification"),
    "boosting": (HistGradientBoostingClassifier(max_iter=20, random_state=1), "classification"),
    "network": (MLPClassifier((4,), max_iter=30, random_state=1), "classification"),
    "ridge": (Ridge(), "regression"),
    "extra": (ExtraTreesRegressor(n_estimators=20, random_state=1), "regression"),
    "boosting of a number": (HistGradientBoostingRegressor(max_iter=20, random_state=1), "regression"),
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, str]:
    """An export that serves by ONNX Runtime, the estimator, and the task."""
    estimator, task = CASES[request.param]
    folder = tmp_path_factory.mktemp("case") / "export"
    return folder, exported(folder, prepared(estimator), task, runtime="onnx"), task


@pytest.fixture
def spoilt(graphed: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return shutil.copytree(graphed, tmp_path / "export")


def test_it_says_what_the_estimator_says(case: tuple[Path, Any, str]) -> None:
    """Numbers, texts that are known or not, gaps and truths; together and one by one, far closer than was asked for."""
    folder, expected, task = case
    model = Model(loading.load_to_serve(folder))
    assert (model.runtime, model.problem) == ("onnx", "")
    assert model.version.estimator is None
    new = rows(300, seed=5, task=task)
    found = model.predict(model.columns.of(features(new)))
    np.testing.assert_allclose(found, expected.predict(new), rtol=1e-12, atol=1e-12)
    single = np.concatenate([model.predict(model.columns.of([row])) for row in features(new)[:20]])
    np.testing.assert_allclose(single, found[:20], rtol=1e-12, atol=1e-12)
    other = {**features(new)[0], "city": "Nowhere", "kind": None}
    known = model.predict(model.columns.of([{**other, "city": None}]))
    assert np.isfinite(model.predict(model.columns.of([other]))).all()
    assert np.isfinite(known).all()


def test_what_the_estimator_refuses_is_refused(case: tuple[Path, Any, str]) -> None:
    """Infinite numbers, and numbers that overflow on the way: a graph must not answer where the model raises."""
    folder, expected, task = case
    model = Model(loading.load_to_serve(folder))
    row = features(rows(1, task=task))[0]
    for value in (float("inf"), -float("inf"), 1e308, -1e308, 1e39, 1e200):
        frame = rows(1, task=task).with_columns(size=value)
        try:
            answer = expected.predict(frame)[0]
        except errors.Refusal:
            answer = np.array(np.nan)
        try:
            found = model.predict(model.columns.of([{**row, "size": value}]))[0]
        except Refused:
            found = np.full_like(answer, np.nan)
        if np.isfinite(answer).all() or np.isfinite(found).all():
            np.testing.assert_allclose(found, answer, rtol=1e-9, err_msg=str(value))


def test_every_route_answers(start: Start, graphed: Path) -> None:
    """Also `/explain`, which asks the same model; `/model` and `/metrics` name the runtime."""
    running = start(graphed)
    row = features(rows(1))[0]
    answer = running.post("/predict", {"rows": [row]})
    assert answer.status == 200
    explained = running.post("/explain", {"row": row})
    assert explained.status == 200
    label = answer.value["predictions"][0]["label"]
    assert explained.value["prediction"]["label"] == label
    assert {one["feature"] for one in explained.value["changes"]} == set(row)
    assert any(one["change"] for one in explained.value["changes"])
    assert running.get("/v2/health/ready").status == 200
    assert running.get("/model").value["runtime"] == "onnx"
    assert 'runtime="onnx"' in running.get("/metrics").body.decode()


def test_a_text_that_stands_for_a_missing_one_is_refused(start: Start, graphed: Path) -> None:
    """The graph knows no missing text; whoever sends its stand-in must not pass for one."""
    loose = Model(loading.load_to_serve(graphed))
    row = {**features(rows(1))[0], "kind": GAP}
    with pytest.raises(Refused):
        loose.predict(loose.columns.of([row]))
    assert start(graphed).post("/predict", {"rows": [row]}).status == 422


def test_it_serves_where_neither_scikit_learn_nor_skops_is_installed(graphed: Path) -> None:
    absent = {"sklearn", "scipy", "skops", "joblib", "mlops", "mlflow", "dvc", "pandas", "polars", "onnx", "skl2onnx"}
    code = SERVE.replace("load(", "load_to_serve(").replace("import load\n", "import load_to_serve\n")
    done = _run(ABSENT.format(absent=absent) + code.replace('"swift"', '"onnx"'), graphed)
    assert done.returncode == 0, done.stderr
    assert not absent & set(done.stdout.split())


def test_nothing_is_deserialised_by_a_loader_that_runs_code(graphed: Path) -> None:
    code = SERVE.replace("load(", "load_to_serve(").replace("import load\n", "import load_to_serve\n")
    done = _run(LOADERS + "import onnxruntime\n" + code.replace('"swift"', '"onnx"'), graphed)
    assert done.returncode == 0, done.stderr


def test_a_file_is_scored_by_it(graphed: Path, tmp_path: Path) -> None:
    rows(50, seed=3).write_parquet(tmp_path / "in.parquet")
    scoring.score(graphed, tmp_path / "in.parquet", tmp_path / "out.parquet")
    import polars as pl

    found = pl.read_parquet(tmp_path / "out.parquet")["probability_1"].to_numpy()
    model = Model(loading.load(graphed))
    assert model.runtime == "swift"
    expected = model.predict(model.columns.of(features(rows(50, seed=3))))[:, 1]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_without_onnx_runtime_it_is_refused_in_a_sentence(graphed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And does not serve by something else that nobody asked for."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(Refusal, match="toy: this version serves by ONNX Runtime, which is not installed") as refused:
        Model(loading.load_to_serve(graphed))
    assert refused.value.do == "Install serve[onnx]."


def _serving(folder: Path, **change: Any) -> None:
    _edit(folder, lambda manifest: manifest["serving"].update(change))


TAMPERED: dict[str, Callable[[Path], Any]] = {
    "the first bit of the graph": lambda f: _flip(f, "model.onnx", 0),
    "a bit in its middle": lambda f: _flip(f, "model.onnx"),
    "a bit of the model beside it": lambda f: _flip(f, "model.skops"),
    "the graph empty": lambda f: (f / "model.onnx").write_bytes(b""),
    "no graph": lambda f: (f / "model.onnx").unlink(),
    "no digest of the graph": lambda f: _edit(f, lambda m: m["files"].pop("model.onnx")),
    "a graph that nobody proved": lambda f: _serving(f, parity=None),
    "a proof without rows": lambda f: _serving(f, parity={"rows": {}, "worst": 0.0}),
    "a proof that failed": lambda f: _serving(f, parity={"rows": {"training": 160}, "worst": 0.097}),
    "a proof that is no number": lambda f: _serving(f, parity={"rows": {"training": 160}, "worst": "small"}),
    "a runtime that is not known": lambda f: _serving(f, runtime="tensorrt"),
    "a graph for another runtime": lambda f: _serving(f, runtime="sklearn", parity=None),
    "a graph that is a link": lambda f: (
        (f / "model.onnx").rename(f.parent / "elsewhere"),
        (f / "model.onnx").symlink_to(f.parent / "elsewhere"),
    ),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_graph_is_refused_before_it_is_read(
    name: str, spoilt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    TAMPERED[name](spoilt)

    def touched(*_: Any, **__: Any) -> None:
        raise AssertionError("the graph was read before it was verified")

    monkeypatch.setattr(onnxruntime, "InferenceSession", touched)
    with pytest.raises(Refusal) as refused:
        Model(loading.load_to_serve(spoilt))
    assert len(str(refused.value).splitlines()) <= 2


def test_a_graph_that_cannot_be_read_is_refused_in_two_lines(spoilt: Path) -> None:
    """Its digest is right, and it is no graph."""
    (spoilt / "model.onnx").write_bytes(b"\x08\x0a no graph")
    digest = loading.digest((spoilt / "model.onnx").read_bytes())
    _edit(spoilt, lambda manifest: manifest["files"].update({"model.onnx": digest}))
    with pytest.raises(Refusal, match="toy: ONNX Runtime cannot read its graph") as refused:
        Model(loading.load_to_serve(spoilt))
    assert len(str(refused.value).splitlines()) == 2


@pytest.mark.parametrize("place", ["golden", "proof"])
def test_a_graph_that_says_otherwise_than_at_export_is_not_ready(spoilt: Path, place: str) -> None:
    """The self-test holds for the runtime that serves, and no other serves in its place."""
    if place == "golden":
        _edit(spoilt, lambda manifest: manifest["golden"].update(prediction=[0.123, 0.877]))
    else:
        _edit(spoilt, lambda manifest: manifest["proof"]["predictions"].__setitem__(5, [0.5, 0.5]))
    model = Model(loading.load_to_serve(spoilt))
    assert model.problem
    assert model.runtime == ""


def test_the_manifest_records_the_proof(graphed: Path) -> None:
    manifest = json.loads((graphed / "manifest.json").read_text(encoding="utf-8"))
    parity = manifest["serving"]["parity"]
    assert parity["rows"] == {"training": 160, "thresholds": 1000, "fresh": 10_000}
    assert 0 <= parity["worst"] <= 1e-12
    assert manifest["files"]["model.onnx"] == loading.digest((graphed / "model.onnx").read_bytes())
