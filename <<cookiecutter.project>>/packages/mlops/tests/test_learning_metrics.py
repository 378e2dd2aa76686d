"""Metrics equal scikit-learn's for any weighting of the rows, and say so where they have no meaning."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from mlops.errors import Refusal
from mlops.learning import bootstrap
from mlops.learning.metrics import METRICS, better, check, encode

Oracle = Callable[[Any, Any, Any], float]


def _labels(p: Any) -> Any:
    return p.argmax(axis=1)


ORACLES: dict[str, Oracle] = {
    "roc_auc": lambda y, p, w: sk.roc_auc_score(
        y, p[:, 1] if p.shape[1] == 2 else p, sample_weight=w, multi_class="ovr"
    ),
    "average_precision": lambda y, p, w: sk.average_precision_score(
        y, p[:, 1] if p.shape[1] == 2 else p, sample_weight=w
    ),
    "log_loss": lambda y, p, w: sk.log_loss(y, p, sample_weight=w),
    "brier": lambda y, p, w: sk.brier_score_loss(y, p[:, 1] if p.shape[1] == 2 else p, sample_weight=w),
    "accuracy": lambda y, p, w: sk.accuracy_score(y, _labels(p), sample_weight=w),
    "balanced_accuracy": lambda y, p, w: sk.balanced_accuracy_score(y, _labels(p), sample_weight=w),
    "f1": lambda y, p, w: sk.f1_score(y, _labels(p), sample_weight=w, average="binary" if p.shape[1] == 2 else "macro"),
    "precision": lambda y, p, w: sk.precision_score(
        y, _labels(p), sample_weight=w, average="binary" if p.shape[1] == 2 else "macro"
    ),
    "recall": lambda y, p, w: sk.recall_score(
        y, _labels(p), sample_weight=w, average="binary" if p.shape[1] == 2 else "macro"
    ),
    "rmse": lambda y, p, w: sk.root_mean_squared_error(y, p, sample_weight=w),
    "mae": lambda y, p, w: sk.mean_absolute_error(y, p, sample_weight=w),
    "r2": lambda y, p, w: sk.r2_score(y, p, sample_weight=w),
    "median_absolute_error": lambda y, p, w: sk.median_absolute_error(
        np.repeat(y, w.astype(int)), np.repeat(p, w.astype(int))
    ),
    "mape": lambda y, p, w: sk.mean_absolute_percentage_error(y, p, sample_weight=w),
}


def _sample(task: str, classes: int, ties: bool, seed: int) -> tuple[Any, Any]:
    """Rows with an outcome and a prediction; `ties` rounds the predictions so that many are equal."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(60, 160))
    if task == "regression":
        y = rng.normal(50, 20, n)
        prediction = y + rng.normal(0, 10, n)
        return (y.round(), prediction.round(-1)) if ties else (y, prediction)
    y = np.r_[np.arange(classes), rng.integers(0, classes, n - classes)]
    raw = rng.normal(size=(n, classes)) + 1.2 * np.eye(classes)[y]
    raw = raw.round() if ties else raw
    return y, np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("classes", [2, 4])
def test_every_metric_equals_scikit_learn_on_every_resample(name: str, ties: bool, classes: int) -> None:
    """40 weightings at once give what scikit-learn gives for each of them, to 1e-12."""
    metric = METRICS[name]
    for seed in range(5):
        y, prediction = _sample(metric.task, classes, ties, seed)
        weights = bootstrap.weights(len(y), 40, seed)
        found = metric.score(y, prediction, weights)
        assert found.shape == (40,)
        expected = [ORACLES[name](y, prediction, row) for row in weights]
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
        assert metric.value(y, prediction) == pytest.approx(ORACLES[name](y, prediction, np.ones(len(y))), abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(
    data=st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]), st.integers(0, 3)),
        min_size=2,
        max_size=25,
    )
)
def test_rankings_with_ties_and_rows_that_were_not_drawn_equal_scikit_learn(data: list[tuple[int, float, int]]) -> None:
    """ROC AUC and average precision hold for tied scores, zero weights and certainty."""
    y, score, weight = (np.array(part) for part in zip(*data, strict=True))
    prediction, weights = np.column_stack([1 - score, score]), weight[None, :].astype(float)
    drawn = weight > 0
    for name, oracle in (("roc_auc", sk.roc_auc_score), ("average_precision", sk.average_precision_score)):
        found = METRICS[name].score(y, prediction, weights)[0]
        undefined = not y[drawn].any() or (name == "roc_auc" and y[drawn].all())
        if undefined:
            assert np.isnan(found)
        else:
            assert found == pytest.approx(oracle(y[drawn], score[drawn], sample_weight=weight[drawn]), abs=1e-12)


def test_a_metric_of_one_class_only_is_undefined_and_not_zero() -> None:
    """No positives: no ROC, no recall, no F1; the losses still have a value."""
    y, prediction = np.zeros(10, dtype=int), np.tile([0.8, 0.2], (10, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("roc_auc", "average_precision", "f1", "recall", "precision"):
            assert np.isnan(METRICS[name].value(y, prediction)), name
        assert METRICS["log_loss"].value(y, prediction) == pytest.approx(-np.log(0.8))
        assert np.isnan(METRICS["r2"].value(np.full(5, 3.0), np.arange(5.0)))


def test_no_rows_have_no_score() -> None:
    """An empty slice is NaN in every metric, without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for metric in METRICS.values():
            prediction = np.empty((0, 2)) if metric.task == "classification" else np.empty(0)
            assert np.isnan(metric.value(np.empty(0, dtype=int), prediction)), metric.name


def test_better_is_positive_for_the_better_model_in_every_metric() -> None:
    """A perfect prediction is better than a poor one, whichever way the metric points."""
    for metric in METRICS.values():
        y, poor = _sample(metric.task, 2, False, 3)
        perfect = np.eye(2)[y] if metric.task == "classification" else y
        gain = better(metric, metric.value(y, perfect), metric.value(y, poor))
        assert gain > 0, metric.name
        assert better(metric.name, 1.0, 1.0) == 0


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("roc_acu", "Did you mean 'roc_auc'?"),
        ("rsme", "For classification"),
        ("rmse", "a metric for regression"),
        ("", "not a known metric"),
    ],
)
def test_an_unknown_metric_or_one_of_the_other_task_is_refused(name: str, says: str) -> None:
    """The refusal names the file and what to write instead."""
    with pytest.raises(Refusal) as refused:
        check(["brier", name], task="classification", where="models/m/model.toml")
    assert says in str(refused.value)
    assert "models/m/model.toml" in str(refused.value)
    assert len(str(refused.value).splitlines()) == 2


def test_labels_become_codes_and_an_unseen_label_is_refused() -> None:
    """Codes follow the order of the classes; a label that training never saw has none."""
    assert encode(["b", "a"], ["a", "b"], where="m").tolist() == [1, 0]
    with pytest.raises(Refusal, match="'c'"):
        encode(["a", "c"], ["a", "b"], where="m: the holdout")
