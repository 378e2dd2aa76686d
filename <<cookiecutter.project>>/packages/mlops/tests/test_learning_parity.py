"""ONNX Runtime serves only what it was proven to say; whatever differs is found, and serves by scikit-learn."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import (
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from test_learning_export import rows, written

from mlops.errors import Refusal
from mlops.learning import export, parity
from mlops.learning.loading import build_of
from mlops.workspace import Model

pytest.importorskip("skl2onnx", reason="mlops[onnx] is not installed: nothing can be converted")

from mlops.learning import conversion

FEATURES = [{"name": name, "dtype": "float"} for name in ("a", "b", "c")]
MANIFEST: dict[str, Any] = {
    "model": "toy",
    "task": "classification",
    "features": FEATURES,
    "input_schema": {"required": ["a", "b", "c"]},
}


def numbers(n: int = 400, seed: int = 0) -> tuple[pd.DataFrame, "pd.Series[float]"]:
    """Rows whose values have many digits, and a number that follows them."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(1000, 1, (n, 3)), columns=["a", "b", "c"])
    return X, X["a"] * 2 - X["b"] + (X["c"] > 1000) * 3 + rng.normal(0, 0.1, n)


def served(estimator: Any, task: str = "classification", classes: int = 2) -> parity.Runtime:
    """What serves the estimator, fitted on such rows."""
    X, y = numbers()
    target = pd.qcut(y, classes, labels=False) if task == "classification" else y
    estimator.fit(X, target)
    manifest: Mapping[str, Any] = MANIFEST | {"task": task}
    return parity.runtime("onnx", estimator, X, manifest=manifest, seed=7)


PROVEN: dict[str, tuple[Any, str, int]] = {
    "two classes, linear": (make_pipeline(StandardScaler(), LogisticRegression()), "classification", 2),
    "four classes, linear": (make_pipeline(StandardScaler(), LogisticRegression()), "classification", 4),
    "two classes, forest": (RandomForestClassifier(20, random_state=1), "classification", 2),
    "four classes, forest": (RandomForestClassifier(20, random_state=1), "classification", 4),
    "a tree": (DecisionTreeClassifier(random_state=1), "classification", 3),
    "a stump that is a leaf": (RandomForestClassifier(3, min_samples_leaf=300, random_state=1), "classification", 2),
    "two classes, boosting": (HistGradientBoostingClassifier(max_iter=20, random_state=1), "classification", 2),
    "four classes, boosting": (HistGradientBoostingClassifier(max_iter=20, random_state=1), "classification", 4),
    "linear": (Ridge(), "regression", 0),
    "forest": (RandomForestRegressor(20, random_state=1), "regression", 0),
    "extra trees": (ExtraTreesRegressor(20, random_state=1), "regression", 0),
    "boosting": (HistGradientBoostingRegressor(max_iter=20, random_state=1), "regression", 0),
    "boosting with a link": (
        HistGradientBoostingRegressor(loss="gamma", max_iter=20, random_state=1),
        "regression",
        0,
    ),
}


@pytest.mark.parametrize("name", PROVEN)
def test_common_estimators_are_proven_on_every_kind_of_rows(name: str) -> None:
    """To far more than is asked for, because nothing in the graph is in single precision."""
    estimator, task, classes = PROVEN[name]
    found = served(estimator, task, classes)
    assert found.name == "onnx", found.says
    assert found.rows == {"training": 400, "thresholds": 2 * parity.PROBES, "fresh": parity.FRESH}
    assert found.worst is not None
    assert found.worst <= 1e-12
    assert found.says.startswith("serves by ONNX Runtime, which differs by at most")


@pytest.mark.parametrize("estimator", [HistGradientBoostingClassifier(max_iter=20), RandomForestClassifier(20)])
def test_thresholds_in_single_precision_are_found_out(estimator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The breaker: what a plain conversion does to trees puts rows on the other side of a threshold."""
    right = conversion._tensor

    def single(values: list[Any], kind: int) -> Any:
        return right(
            [float(np.float32(value)) for value in values] if kind == conversion.TensorProto.DOUBLE else values, kind
        )

    monkeypatch.setattr(conversion, "_tensor", single)
    found = served(estimator)
    assert found.name == "sklearn"
    assert found.graph is None
    assert found.says.startswith("serves by scikit-learn: ONNX differed by ")
    assert found.to_json()["parity"] is None


def test_rows_next_to_thresholds_find_what_training_and_fresh_rows_miss() -> None:
    """A threshold that is off by less than any two rows are apart."""
    X, _ = numbers()
    edge = 1000.0

    def expected(rows: pd.DataFrame) -> Any:
        return (rows["a"] > edge).to_numpy(dtype=float)

    def found(rows: pd.DataFrame) -> Any:
        return (rows["a"] > edge + 1e-9).to_numpy(dtype=float)

    kinds = dict(parity._kinds(expected, X, np.random.default_rng(7)))
    off = {kind: int((parity.differences(found(given), expected(given)) > 0).sum()) for kind, given in kinds.items()}
    assert off["training"] == off["fresh"] == 0
    assert off["thresholds"] > 0
    runtime = parity.compared(expected, found, X, graph=b"", seed=7)
    assert (runtime.name, runtime.graph) == ("sklearn", None)
    assert "rows next to thresholds" in runtime.says


@pytest.mark.parametrize(
    ("found", "count"),
    [(lambda X: np.full(len(X), np.nan), "400 of 400"), (lambda X: X["a"].to_numpy() * 1.00002, "400 of 400")],
    ids=["no answer", "a little off"],
)
def test_an_answer_that_is_off_or_not_there_is_a_difference(found: Any, count: str) -> None:
    X, _ = numbers()
    runtime = parity.compared(lambda rows: rows["a"].to_numpy(), found, X, graph=b"", seed=7)
    assert runtime.name == "sklearn"
    assert f"on {count} training rows" in runtime.says


def test_what_raises_is_a_difference() -> None:
    X, _ = numbers()

    def broken(rows: pd.DataFrame) -> Any:
        raise RuntimeError("out of\nmemory")

    runtime = parity.compared(lambda rows: rows["a"].to_numpy(), broken, X, graph=b"", seed=7)
    assert runtime.says == "serves by scikit-learn: ONNX failed on 400 training rows: out of memory"


@pytest.mark.parametrize("estimator", [RidgeClassifier(), KNeighborsClassifier(3)])
def test_what_cannot_be_had_serves_by_scikit_learn_and_says_why(estimator: Any) -> None:
    """No probabilities to convert; or ties between neighbours that are broken otherwise."""
    if isinstance(estimator, KNeighborsClassifier):
        X, y = numbers()
        X = X.round()
        estimator.fit(X, (y > y.median()).astype(int))
        found = parity.runtime("onnx", estimator, X, manifest=MANIFEST, seed=7)
    else:
        found = served(estimator)
    assert found.name == "sklearn"
    assert found.says.startswith("serves by scikit-learn: ")
    assert len(found.says) > 40


def test_without_the_package_onnx_is_refused_and_scikit_learn_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that demands ONNX must not pass as if nothing had been asked."""
    X, y = numbers()
    estimator = LogisticRegression().fit(X, y > y.median())
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(Refusal, match=r"toy: serve.runtime in model.toml is onnx, and onnxruntime is not installed"):
        parity.runtime("onnx", estimator, X, manifest=MANIFEST, seed=7)
    found = parity.runtime("sklearn", estimator, X, manifest=MANIFEST, seed=7)
    assert found.to_json() == {"runtime": "sklearn", "says": "serves by scikit-learn", "parity": None}


@pytest.mark.parametrize("name", ["linear", "forest", "boosting"])
@pytest.mark.parametrize(("model", "task"), [("tumour", "classification"), ("diabetes", "regression")])
def test_the_scaffold_s_estimators_serve_by_onnx_with_texts_and_gaps(
    fresh: Path, tmp_path: Path, model: str, task: str, name: str
) -> None:
    """The manifest names the graph by its digest and holds the proof; equal models are equal bytes."""
    versions = []
    for folder in ("one", "two"):
        estimator = build_of(Model(fresh, model))({"estimator": name, "trees": 20, "seed": 7})
        exported = written(tmp_path / folder, estimator, rows(task=task), task, runtime="onnx")
        serving = exported.manifest["serving"]
        assert serving["runtime"] == "onnx", serving["says"]
        assert serving["parity"]["rows"]["training"] == 120
        assert set(exported.manifest["files"]) == {"model.skops", "model.onnx", "profile.json"}
        assert "onnxruntime" in exported.manifest["libraries"]
        versions.append(export.version(tmp_path / folder))
    assert versions[0] == versions[1]


def test_a_version_of_before_there_was_a_choice_is_still_loaded(tmp_path: Path) -> None:
    """A champion that was exported without the key serves by scikit-learn."""
    estimator = RandomForestClassifier(3)
    pipeline = make_pipeline(parity_numbers(), estimator)
    exported = written(tmp_path / "export", pipeline, rows())
    path = tmp_path / "export" / "manifest.json"
    manifest = export.read_manifest(tmp_path / "export")
    del manifest["serving"]
    path.write_text(export.dumps(manifest), encoding="utf-8")
    assert export.load(tmp_path / "export").manifest["golden"] == exported.manifest["golden"]


def parity_numbers() -> Any:
    """Takes the numbers of the toy rows and fills them in."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer

    return ColumnTransformer([("numbers", SimpleImputer(), ["size", "count", "marked"])])
