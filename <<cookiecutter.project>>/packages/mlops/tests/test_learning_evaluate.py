"""An evaluation says how good a version is overall, by slice, by group, against a baseline, and under noise."""

import dataclasses
import json
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlops.config import ModelConfig, Slice
from mlops.data.contract import Column, Contract
from mlops.errors import Refusal
from mlops.files import dumps
from mlops.learning import evaluate as room
from mlops.learning import explain, export, frames, metrics, slices
from mlops.workspace import Model

CONTRACT = Contract(
    source="0" * 64,
    owner="@acme/care",
    description="Toy rows",
    freshness_days=None,
    columns=(
        Column(name="key", dtype="int", role="id", unique=True),
        Column(name="size", dtype="float"),
        Column(name="weight", dtype="float"),
        Column(name="idle", dtype="float"),
        Column(name="town", dtype="str", role="context", nullable=True),
        Column(name="outcome", dtype="int", role="target"),
    ),
)


def rows(kind: str, n: int = 300, seed: int = 0) -> pl.DataFrame:
    """Toy rows: the outcome follows `size` a lot, `weight` a little and `idle` not at all; two towns and gaps."""
    rng = np.random.default_rng(seed)
    size, weight, idle = rng.normal(size=(3, n))
    raw = 3 * size + weight + rng.normal(0, 0.8, n)
    outcome = {
        "two classes": (raw > 0).astype(int),
        "three classes": np.digitize(raw, [-1.5, 1.5]),
        "numbers": raw,
    }[kind]
    town = [None if place == 2 else "ab"[place] for place in rng.choice(3, n, p=[0.5, 0.4, 0.1])]
    return pl.DataFrame(
        {"key": np.arange(n), "size": size, "weight": weight, "idle": idle, "town": town, "outcome": outcome}
    )


def settings(fresh: Path, kind: str, **more: Any) -> ModelConfig:
    """The scaffold's configuration with toy slices and groups."""
    found = Model(fresh, "diabetes" if kind == "numbers" else "tumour").config()
    names = {
        "two classes": ["roc_auc", "log_loss", "f1"],
        "three classes": ["roc_auc", "log_loss", "f1"],
        "numbers": ["rmse", "r2"],
    }
    values: dict[str, Any] = {
        "metrics": names[kind],
        "resamples": 200,
        "slices": [Slice(name="large", where="size > 0"), Slice(name="none", where="size > 99")],
        "groups": {"town": "town"},
    }
    return dataclasses.replace(found, evaluate=dataclasses.replace(found.evaluate, **(values | more)))


def exported(folder: Path, kind: str) -> export.Exported:
    """A linear model of the toy rows, as a version."""
    task = "regression" if kind == "numbers" else "classification"
    train = rows(kind)
    estimator: Any = make_pipeline(StandardScaler(), Ridge() if kind == "numbers" else LogisticRegression())
    X = frames.features(train, frames.of_contract(CONTRACT), where="toy")
    estimator.fit(X, frames.target(train, "outcome", task=task, where="toy"))
    return export.write(
        folder,
        model="toy",
        task=task,
        estimator=estimator,
        contract=CONTRACT,
        train=train,
        split={},
        profile={},
        lineage={},
    )


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, export.Exported]:
    """One version per kind of outcome."""
    folder = tmp_path_factory.mktemp("versions")
    return {
        kind: exported(folder / kind.replace(" ", "_"), kind) for kind in ("two classes", "three classes", "numbers")
    }


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    """Arithmetic that has no meaning is answered, not warned of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield


def evaluated(
    fresh: Path, versions: dict[str, export.Exported], kind: str, holdout: pl.DataFrame, **more: Any
) -> dict[str, Any]:
    """The evaluation of the toy version of that kind on `holdout`."""
    config = settings(fresh, kind, **more)
    measures = metrics.check(config.evaluate.metrics, task=config.model.task, where="toy")
    return room.evaluate(versions[kind], holdout, rows(kind), contract=CONTRACT, config=config, metrics=measures)


@pytest.mark.parametrize("kind", ["two classes", "three classes", "numbers"])
def test_an_evaluation_has_every_part_and_the_same_bytes_each_time(
    fresh: Path, versions: dict[str, export.Exported], kind: str
) -> None:
    """Scores lie in their intervals, a good model beats the baseline, and JSON can hold it all."""
    holdout = rows(kind, 150, seed=1)
    found = evaluated(fresh, versions, kind, holdout)
    assert dumps(found) == dumps(evaluated(fresh, versions, kind, holdout))
    for one in found["overall"].values():
        assert one["low"] <= one["value"] <= one["high"]
    assert found["baseline"]["difference"]["low"] > 0
    # The version is itself a linear model, so it is about as good as the linear one.
    assert found["linear"]["difference"]["low"] <= 0.1
    assert found["linear"]["difference"]["high"] >= -0.1
    large, none = found["slices"]
    assert large["rows"] == int((holdout["size"] > 0).sum())
    assert none["rows"] == 0
    assert json.loads(dumps(none))["metrics"][found["primary"]] == {
        "value": None,
        "low": None,
        "high": None,
        "undefined": 200,
    }
    assert sum(one["count"] for one in found["calibration"]["bins"]) == found["rows"] == 150
    assert [one["feature"] for one in found["sensitivity"]] == ["size", "weight", "idle"]
    assert found["sensitivity"][0]["change"] > 1.3 * found["sensitivity"][1]["change"] > 0


def test_classes_are_counted_in_the_confusion_and_curves_stay_short(
    fresh: Path, versions: dict[str, export.Exported]
) -> None:
    """Rows of the table are what happened; a curve over 5,000 rows has at most 200 points and both its ends."""
    holdout = rows("two classes", 5000, seed=2)
    found = evaluated(fresh, versions, "two classes", holdout, resamples=100)
    counts = np.array(found["confusion"]["counts"])
    assert counts.sum(axis=1).tolist() == [int((holdout["outcome"] == label).sum()) for label in (0, 1)]
    roc, ranked = (np.array(found["curves"][name]) for name in ("roc", "precision_recall"))
    assert len(roc) <= 200
    assert len(ranked) <= 200
    assert roc[0].tolist() == [0, 0]
    assert roc[-1].tolist() == [1, 1]
    assert np.trapezoid(roc[:, 1], roc[:, 0]) == pytest.approx(found["overall"]["roc_auc"]["value"], abs=0.002)
    y, score = holdout["outcome"].to_numpy(), versions["two classes"].predict(holdout)[:, 1]
    assert found["overall"]["roc_auc"]["value"] == pytest.approx(roc_auc_score(y, score), abs=1e-12)


def test_residuals_are_what_happened_less_what_was_predicted(fresh: Path, versions: dict[str, export.Exported]) -> None:
    """Regression has residuals and neither curves nor a confusion."""
    holdout = rows("numbers", 1000, seed=2)
    found = evaluated(fresh, versions, "numbers", holdout, resamples=100)
    assert found["confusion"] is None
    assert len(found["residuals"]) == 200
    truth = dict(zip(versions["numbers"].predict(holdout), holdout["outcome"], strict=True))
    for predicted, residual in found["residuals"]:
        assert residual == pytest.approx(truth[predicted] - predicted, abs=1e-12)


def test_fairness_is_the_widest_gap_between_groups_and_names_rows_without_one(
    fresh: Path, versions: dict[str, export.Exported]
) -> None:
    """A group in which the outcome is noise scores worse; rows without a group are a group."""
    holdout = rows("two classes", 400, seed=3)
    turned = pl.when(pl.col("town") == "b").then(1 - pl.col("outcome")).otherwise(pl.col("outcome"))
    fair = evaluated(fresh, versions, "two classes", holdout)["fairness"][0]
    unfair = evaluated(fresh, versions, "two classes", holdout.with_columns(outcome=turned))["fairness"][0]
    assert [one["value"] for one in fair["by"]] == ["(missing)", "a", "b"]
    assert sum(one["rows"] for one in fair["by"]) == 400
    assert fair["gap"] < 0.05
    assert unfair["gap"] > 0.9
    assert unfair["extra"]["equalized_odds_difference"] > fair["extra"]["equalized_odds_difference"]
    assert set(fair["extra"]) == {"demographic_parity_difference", "equalized_odds_difference"}


def test_groups_too_small_for_a_rate_are_shown_and_not_compared(
    fresh: Path, versions: dict[str, export.Exported]
) -> None:
    """A group of one row is not named and has no ROC: its score is null, and so are the equalised odds."""
    holdout = rows("two classes", 100, seed=4).with_row_index("place")
    lonely = pl.when(pl.col("place") == 0).then(pl.lit("c")).otherwise(pl.lit("a"))
    found = evaluated(fresh, versions, "two classes", holdout.with_columns(town=lonely))["fairness"][0]
    assert [(one["value"], one["rows"]) for one in found["by"]] == [("(groups of fewer than 5 rows)", 1), ("a", 99)]
    assert math.isnan(found["by"][0]["score"])
    assert found["gap"] == 0
    assert "equalized_odds_difference" not in found["extra"]


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("kind", ["two classes", "three classes", "numbers"])
def test_a_tiny_holdout_is_evaluated_without_a_crash(
    fresh: Path, versions: dict[str, export.Exported], kind: str, n: int
) -> None:
    """What cannot be known from so few rows is null."""
    found = evaluated(fresh, versions, kind, rows(kind, 300, seed=5).head(n))
    assert found["rows"] == n
    json.loads(dumps(found))
    json.loads(dumps(room.plots(found)))


def test_calibration_finds_a_model_that_is_too_sure() -> None:
    """A perfectly calibrated coin has a small error, one that claims certainty a large one."""
    rng = np.random.default_rng(0)
    chance = rng.uniform(size=20_000)
    y = (rng.uniform(size=20_000) < chance).astype(int)
    honest = room.calibration(y, np.column_stack([1 - chance, chance]))
    sure = np.where(chance > 0.5, 0.99, 0.01)
    assert honest["error"] < 0.02
    assert room.calibration(y, np.column_stack([1 - sure, sure]))["error"] == pytest.approx(0.24, abs=0.02)
    values = rng.normal(size=5000)
    assert room.calibration(values + 3, values)["error"] == pytest.approx(3)


BAD_SLICES = {
    "an unknown column": "length > 3",
    "no SQL": "size ((( 3",
    "empty": "",
    "not a condition": "size + 1",
    "text against a number": "size > 'tall'",
    "a query": "SELECT * FROM self",
    "two columns": "size > 1, weight > 2",
    "a function that is not there": "frobnicate(size) > 1",
}


@pytest.mark.parametrize("where", BAD_SLICES.values(), ids=BAD_SLICES.keys())
def test_a_bad_expression_is_refused_with_the_name_of_the_slice(where: str) -> None:
    """Two lines that name the model, the slice and the expression."""
    with pytest.raises(Refusal) as refused:
        slices.mask(rows("numbers", 10), name="tall ones", where=where, model="toy")
    assert "toy: the slice 'tall ones'" in str(refused.value)
    assert len(str(refused.value).splitlines()) == 2


def test_a_bad_expression_lists_the_columns_once() -> None:
    """Polars goes on to list the valid columns, and so does the advice; one list is enough."""
    frame = pl.DataFrame({"size_of_it": [1.0], "town": ["a"]})
    with pytest.raises(Refusal) as refused:
        slices.mask(frame, name="long", where="length > 3", model="toy")
    assert "length" in refused.value.what
    assert str(refused.value).count("size_of_it") == str(refused.value).count("town") == 1
    assert refused.value.do.endswith("size_of_it, town.")


def test_rows_for_which_a_condition_has_no_answer_are_not_in_the_slice() -> None:
    """A missing town is neither a nor not a; a condition without columns holds for all rows."""
    frame = pl.DataFrame({"town": ["a", None, "b"]})
    assert slices.mask(frame, name="a", where="town = 'a'", model="toy").tolist() == [True, False, False]
    assert slices.mask(frame, name="b", where="town <> 'a'", model="toy").tolist() == [False, False, True]
    assert slices.mask(frame, name="all", where="1 = 1", model="toy").tolist() == [True, True, True]


def test_an_unseen_class_in_the_holdout_is_refused(fresh: Path, versions: dict[str, export.Exported]) -> None:
    """There is no chance to score for a class that the model does not know."""
    holdout = rows("two classes", 50).with_columns(outcome=pl.lit(7))
    with pytest.raises(Refusal, match="toy: the holdout holds the class '7'"):
        evaluated(fresh, versions, "two classes", holdout)


class Lost(BaseEstimator):  # type: ignore[misc]
    """Predicts no number."""

    def predict(self, X: Any) -> Any:
        """NaN for each row."""
        return np.full(len(X), np.nan)


def test_a_prediction_that_is_no_number_is_refused(fresh: Path, versions: dict[str, export.Exported]) -> None:
    """NaN has no score, and must not look like one."""
    lost = {"numbers": dataclasses.replace(versions["numbers"], estimator=Lost())}
    with pytest.raises(Refusal, match="predicts no number for 20 values"):
        evaluated(fresh, lost, "numbers", rows("numbers", 20))


def test_cost_is_measured_for_one_row_and_a_thousand(versions: dict[str, export.Exported]) -> None:
    """Milliseconds are positive and ordered; the size is that of the folder's files."""
    version = versions["numbers"]
    found = room.cost(version, rows("numbers", 7), repeats=3)
    for times in found["latency_ms"].values():
        assert 0 < times["p50"] <= times["p95"]
    assert found["size_bytes"] == sum(path.stat().st_size for path in version.folder.iterdir())


@pytest.mark.parametrize("kind", ["two classes", "three classes", "numbers"])
def test_importance_follows_what_the_outcome_follows(
    fresh: Path, versions: dict[str, export.Exported], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`size` first, `weight` next, `idle` about nothing; the same numbers each time; no SHAP where it is absent."""
    monkeypatch.setattr(explain.importlib.util, "find_spec", lambda name: None)
    config = settings(fresh, kind)
    measure = metrics.METRICS[config.evaluate.metrics[0]]
    holdout = rows(kind, 200, seed=6)
    found = explain.explain(versions[kind], holdout, contract=CONTRACT, config=config, metric=measure)
    assert [one["feature"] for one in found["features"]] == ["size", "weight", "idle"]
    assert found["features"][0]["importance"] > 0.1
    assert abs(found["features"][2]["importance"]) < 0.02
    assert found["shap"] is None
    assert found == explain.explain(versions[kind], holdout, contract=CONTRACT, config=config, metric=measure)


@pytest.mark.parametrize("kind", ["two classes", "three classes", "numbers"])
def test_shap_agrees_on_what_matters(versions: dict[str, export.Exported], kind: str) -> None:
    """Mean |SHAP| puts `size` first and `idle` last, and is the same each time."""
    pytest.importorskip("shap", reason="the extra mlops[shap] is not installed")
    X = versions[kind].features(rows(kind, 60, seed=7))
    found = explain.mean_shap(versions[kind], X, seed=7)
    assert [one["feature"] for one in found] == ["size", "weight", "idle"]
    assert found[-1]["mean_absolute"] < found[0]["mean_absolute"] / 10
    assert found == explain.mean_shap(versions[kind], X, seed=7)
