"""Champion and challenger on the same rows: paired, without rows that the champion may have learnt."""

import copy
import math
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mlops.judging.compare import Comparison, compare, incomparable, reordered
from mlops.learning.bootstrap import weights
from mlops.learning.metrics import METRICS

N = 120
SETTINGS: dict[str, Any] = {"resamples": 100, "confidence": 0.9, "seed": 3}


def chances(score: np.ndarray) -> np.ndarray:
    positive = 1 / (1 + np.exp(-score))
    return np.column_stack([1 - positive, positive])


@pytest.fixture
def rows() -> dict[str, np.ndarray]:
    """Truth and two predictions of the same rows; the challenger has more noise."""
    rng = np.random.default_rng(0)
    y = (rng.random(N) < 0.5).astype(int)
    return {
        "y": y,
        "champion": chances(y + rng.normal(0, 0.5, N)),
        "challenger": chances(y + rng.normal(0, 1.5, N)),
    }


def made(rows: dict[str, np.ndarray], **changes: Any) -> Comparison:
    given: dict[str, Any] = {
        "seen": np.zeros(N, dtype=bool),
        "slices": {"first": np.arange(N) < 50},
        "metrics": (METRICS["roc_auc"], METRICS["log_loss"]),
    }
    return compare(**(rows | given | SETTINGS | changes))


def test_the_interval_is_that_of_the_paired_bootstrap(rows: dict[str, np.ndarray]) -> None:
    """Both are scored on the same resamples; the interval is of the differences, as scikit-learn scores them."""
    found = made(rows).metrics["roc_auc"]
    drawn = [
        roc_auc_score(rows["y"], rows["challenger"][:, 1], sample_weight=counts)
        - roc_auc_score(rows["y"], rows["champion"][:, 1], sample_weight=counts)
        for counts in weights(N, SETTINGS["resamples"], SETTINGS["seed"])
    ]
    low, high = np.quantile(drawn, [0.05, 0.95])
    assert (found.difference.low, found.difference.high) == pytest.approx((low, high), abs=1e-12)
    assert found.difference.value == pytest.approx(found.challenger - found.champion)
    assert found.champion == pytest.approx(roc_auc_score(rows["y"], rows["champion"][:, 1]))


def test_positive_is_better_also_where_less_is_better(rows: dict[str, np.ndarray]) -> None:
    """A challenger with a higher log loss has a negative difference."""
    found = made(rows).metrics["log_loss"]
    assert found.challenger > found.champion
    assert found.difference.value == pytest.approx(found.champion - found.challenger)
    assert found.difference.high < 0


def test_equal_predictions_differ_by_nothing(rows: dict[str, np.ndarray]) -> None:
    """The same version against itself: exactly zero, with no interval to speak of, overall and by slice."""
    found = made(rows | {"challenger": rows["champion"]})
    for pair in (*found.metrics.values(), *(part.pair for part in found.slices)):
        assert (pair.difference.value, pair.difference.low, pair.difference.high) == (0, 0, 0)


def test_rows_that_the_champion_may_have_learnt_do_not_count(rows: dict[str, np.ndarray]) -> None:
    """Left-out rows are counted and change nothing, whatever the two predict on them; slices lose them too."""
    seen = np.arange(N) < 40
    found = made(rows, seen=seen)
    assert (found.rows, found.rows_left_out) == (N - 40, 40)
    assert found.slices[0].rows == 10
    spoilt = rows["champion"].copy()
    spoilt[seen] = chances(10.0 * rows["y"][seen])
    assert made(rows | {"champion": spoilt}, seen=seen) == found
    assert made(rows | {"champion": spoilt}) != made(rows)


def test_no_common_row_has_no_difference(rows: dict[str, np.ndarray]) -> None:
    """Nothing to compare on gives NaN, which the gate does not pass."""
    found = made(rows, seen=np.ones(N, dtype=bool))
    assert found.rows == 0
    assert math.isnan(found.metrics["roc_auc"].difference.low)


@pytest.mark.parametrize("who", ["champion", "challenger"])
def test_one_prediction_that_is_no_number_leaves_nothing_to_say(rows: dict[str, np.ndarray], who: str) -> None:
    """A single NaN makes the difference unknown; resamples without that row do not hide it."""
    spoilt = rows[who].copy()
    spoilt[60] = math.nan
    found = made(rows | {who: spoilt})
    assert math.isnan(found.metrics["roc_auc"].difference.value)
    assert math.isnan(found.metrics["roc_auc"].difference.low)
    # The slice that does not hold the row is sound.
    assert math.isfinite(found.slices[0].pair.difference.low)


def test_a_slice_of_one_class_has_no_ranking(rows: dict[str, np.ndarray]) -> None:
    """A ranking of one class has no meaning, and that is not called equal."""
    found = made(rows, slices={"positives": rows["y"] == 1})
    assert math.isnan(found.slices[0].pair.difference.value)


def test_values_are_compared_too() -> None:
    """Regression: (n,) predictions, and the mean absolute error by hand."""
    rng = np.random.default_rng(1)
    y = rng.normal(0, 1, 50)
    found = compare(
        y=y,
        champion=y + 1,
        challenger=y - 0.25,
        seen=np.zeros(50, dtype=bool),
        slices={},
        metrics=(METRICS["mae"],),
        **SETTINGS,
    )
    assert found.metrics["mae"].difference.value == pytest.approx(0.75)
    assert found.metrics["mae"].difference.low == pytest.approx(0.75)


def test_classes_in_another_order_are_put_in_order() -> None:
    """A champion whose classes come in another order is not punished for it."""
    prediction = np.array([[0.1, 0.7, 0.2]])
    assert reordered(prediction, ["a", "b", "c"], ["c", "a", "b"]).tolist() == [[0.2, 0.1, 0.7]]
    values = np.array([1.0, 2.0])
    assert reordered(values, None, None) is values


MANIFEST: dict[str, Any] = {
    "task": "classification",
    "target": "malignant",
    "classes": [0, 1],
    "features": [{"name": "radius", "dtype": "float"}, {"name": "shape", "dtype": "str"}],
    "split": {"method": "time", "column": "day"},
}
COLUMNS = {"radius": "float", "shape": "str", "day": "date", "malignant": "int", "extra": "float"}


def test_like_is_comparable_with_like() -> None:
    """The same features, or more of them, and a number that became another kind of number, can be compared."""
    more = copy.deepcopy(MANIFEST)
    more["features"].append({"name": "extra", "dtype": "float"})
    more["classes"] = [1, 0]
    assert incomparable(MANIFEST, more, COLUMNS) == ""
    assert incomparable(MANIFEST, MANIFEST, COLUMNS | {"radius": "int"}) == ""


@pytest.mark.parametrize(
    ("changes", "columns", "because"),
    [
        ({"task": "regression"}, COLUMNS, "the task was classification and is regression now"),
        ({"target": "benign"}, COLUMNS, "the target was malignant and is benign now"),
        ({"classes": [0, 1, 2]}, COLUMNS, "the classes were 0, 1 and are 0, 1, 2 now"),
        ({}, {name: kind for name, kind in COLUMNS.items() if name != "radius"}, "its feature radius is gone"),
        ({}, COLUMNS | {"shape": "int"}, "its feature shape was str and is int now"),
        ({}, {name: kind for name, kind in COLUMNS.items() if name != "day"}, "the column day, which tells"),
    ],
)
def test_what_cannot_be_compared_is_said(changes: dict[str, Any], columns: dict[str, str], because: str) -> None:
    """A champion that predicts something else, or cannot read these rows, is named with what changed."""
    assert because in incomparable(MANIFEST, MANIFEST | changes, columns)
