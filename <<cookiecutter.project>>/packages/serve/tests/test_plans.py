"""The fast way to ask a model says what the model itself says, whatever it is made of; else it is not taken."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Lasso, LogisticRegression, Ridge, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from toys import exported, features, prepared, rows

from mlops import errors
from serve import loading, plans
from serve.errors import Refused
from serve.loading import load
from serve.model import Model

CLASSIFIERS: dict[str, Any] = {
    "logistic": LogisticRegression(max_iter=500),
    "forest": RandomForestClassifier(n_estimators=20, random_state=1),
    "boosting": HistGradientBoostingClassifier(max_iter=20, random_state=1),
    "neighbours": KNeighborsClassifier(5),
    "tree": DecisionTreeClassifier(random_state=1),
    "ridge": RidgeClassifier(),
    "machine": SVC(),
    "network": MLPClassifier((4,), max_iter=30, random_state=1),
    "calibrated": CalibratedClassifierCV(LogisticRegression(max_iter=500), cv=2),
    "calm after another": make_pipeline(PCA(3), LogisticRegression(max_iter=500)),
}
REGRESSORS: dict[str, Any] = {
    "ridge": Ridge(),
    "lasso": Lasso(0.1),
    "forest": RandomForestRegressor(n_estimators=20, random_state=1),
    "extra": ExtraTreesRegressor(n_estimators=20, random_state=1),
    "boosting": HistGradientBoostingRegressor(max_iter=20, random_state=1),
    "neighbours": KNeighborsRegressor(5),
}
CASES = [
    *(("classification", name, estimator) for name, estimator in CLASSIFIERS.items()),
    *(("regression", name, estimator) for name, estimator in REGRESSORS.items()),
]


def compared(folder: Path, estimator: Any, task: str) -> Model:
    """A model that was shown to say what the exported estimator says of a pandas frame, on rows it never saw."""
    expected = exported(folder, estimator, task)
    model = Model(load(folder))
    assert model.problem == ""
    for seed in (0, 5):
        new = rows(300, seed=seed, task=task)
        found = model.predict(model.columns.of(features(new)))
        np.testing.assert_allclose(found, expected.predict(new), rtol=1e-12, atol=1e-12)
    return model


@pytest.mark.parametrize(("task", "name", "estimator"), CASES, ids=[f"{task[:5]} {name}" for task, name, _ in CASES])
def test_arrays_give_what_frames_give(task: str, name: str, estimator: Any, tmp_path: Path) -> None:
    """Seen rows and new ones, with gaps in numbers and in text, to 1e-12; one by one as well."""
    model = compared(tmp_path / "export", prepared(estimator), task)
    assert model.runtime == "swift"
    new = features(rows(20, seed=9, task=task))
    together = model.predict(model.columns.of(new))
    single = np.concatenate([model.predict(model.columns.of([row])) for row in new])
    np.testing.assert_allclose(single, together, rtol=1e-12, atol=1e-12)


def _columns(*parts: Any, **more: Any) -> ColumnTransformer:
    return ColumnTransformer(list(parts), **more)


NUMBERS = ["size", "count", "marked"]
PIPELINES: dict[str, Any] = {
    "other steps": make_pipeline(
        _columns(
            ("a", make_pipeline(SimpleImputer(strategy="mean"), MinMaxScaler()), NUMBERS),
            (
                "b",
                OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2),
                ["kind", "city"],
            ),
        ),
        LogisticRegression(max_iter=500),
    ),
    "places and what remains": make_pipeline(
        _columns(("a", SimpleImputer(add_indicator=True), slice(0, 2)), remainder="drop"),
        StandardScaler(),
        LogisticRegression(max_iter=500),
    ),
    "numbers that pass": make_pipeline(
        _columns(("a", SimpleImputer(), ["size"]), ("b", "passthrough", ["count"]), ("c", "drop", ["kind"])),
        KNeighborsClassifier(3),
    ),
    "indicators that are sparse": make_pipeline(
        _columns(
            ("a", SimpleImputer(), NUMBERS), ("b", OneHotEncoder(handle_unknown="ignore", min_frequency=20), ["kind"])
        ),
        LogisticRegression(max_iter=500),
    ),
    "boosting with gaps": make_pipeline(
        _columns(("a", "passthrough", NUMBERS)), HistGradientBoostingClassifier(max_iter=10, random_state=1)
    ),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_other_pipelines_give_what_frames_give(name: str, tmp_path: Path) -> None:
    model = compared(tmp_path / "export", PIPELINES[name], "classification")
    assert model.runtime in plans.KINDS


def test_a_pipeline_that_wants_names_gets_a_frame(tmp_path: Path) -> None:
    """A vote of two pipelines, each with columns of its own, is not taken apart."""
    voters = [("a", prepared(LogisticRegression(max_iter=500))), ("b", prepared(KNeighborsClassifier(3)))]
    model = compared(tmp_path / "export", VotingClassifier(voters, voting="soft"), "classification")
    assert model.runtime == "framed"


def test_a_plan_that_says_otherwise_is_not_taken(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The breaker: arithmetic that is wrong by a billionth is found by the proof, and the next plan serves."""
    right = plans._logistic

    def wrong(last: Any) -> Any:
        answer = right(last)
        return lambda matrix: answer(matrix + 1e-7)

    monkeypatch.setattr(plans, "_logistic", wrong)
    model = Model(load(toy))
    assert (model.runtime, model.problem) == ("plain", "")


def test_the_proof_reaches_every_category_and_every_gap(toy: Path) -> None:
    """What the service is shown on is not only what is typical."""
    proof = loading.read_manifest(toy)["proof"]["rows"]
    assert {row["kind"] for row in proof} == {"a", "b", "ü", None}
    assert {row["marked"] for row in proof} == {True, False}
    assert None in {row["size"] for row in proof}
    assert len({row["size"] for row in proof}) > 15


@pytest.mark.parametrize(("task", "name", "estimator"), CASES, ids=[f"{task[:5]} {name}" for task, name, _ in CASES])
def test_what_the_model_refuses_is_refused(task: str, name: str, estimator: Any, tmp_path: Path) -> None:
    """Infinite numbers, and numbers that overflow on the way: arithmetic must not answer where the model raises."""
    expected = exported(tmp_path / "export", prepared(estimator), task)
    model = Model(load(tmp_path / "export"))
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
            np.testing.assert_allclose(found, answer, rtol=1e-12, err_msg=str(value))
