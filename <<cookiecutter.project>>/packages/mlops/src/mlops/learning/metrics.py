"""How good are these predictions? Every metric, for many weightings of the rows at once.

A weighting is one row of a (B, n) matrix of resample counts, so that a bootstrap is one call and no loop.
Values equal scikit-learn's with `sample_weight`; where a metric has no meaning (one class only) they are NaN.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mlops.errors import Refusal

Floats = NDArray[np.float64]
Task = Literal["classification", "regression"]
Score = Callable[[NDArray[Any], Floats, Floats], Floats]


@dataclass(frozen=True)
class Metric:
    """One measure. `score(y, prediction, weights)` gives (B,) values.

    Classification: `y` is (n,) integer codes into the classes and `prediction` (n, k) probabilities; with two classes
    the second one is the positive class, with more the classes are averaged alike (macro, one versus the rest).
    Regression: `y` and `prediction` are (n,) numbers. `weights` is (B, n), never negative.
    """

    name: str
    task: Task
    greater_is_better: bool
    score: Score

    def value(self, y: NDArray[Any], prediction: Floats) -> float:
        """The score of all rows, each counted once; NaN where it has no meaning."""
        if len(y) == 0:
            return float("nan")
        return float(self.score(y, prediction, np.ones((1, len(y))))[0])


def better(metric: str | Metric, a: Any, b: Any) -> Any:
    """How much better `a` is than `b` in this metric: positive is better, whatever the metric's direction."""
    one = METRICS[metric] if isinstance(metric, str) else metric
    return a - b if one.greater_is_better else b - a


def check(names: Sequence[str], *, task: str, where: str) -> tuple[Metric, ...]:
    """The metrics of these names; refuse an unknown one, or one of the other task, naming the file `where`."""
    known = [name for name, metric in METRICS.items() if metric.task == task]
    for name in names:
        if name not in METRICS:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"For {task}: {', '.join(known)}."
            raise Refusal(f"{where}: evaluate.metrics names {name!r}, which is not a known metric.", do=hint)
        if name not in known:
            other = METRICS[name].task
            raise Refusal(
                f"{where}: evaluate.metrics names {name!r}, a metric for {other}; this model does {task}.",
                do=f"For {task}: {', '.join(known)}.",
            )
    return tuple(METRICS[name] for name in names)


def encode(values: Sequence[Any], classes: Sequence[Any], *, where: str) -> NDArray[np.int64]:
    """Class labels as codes into `classes`, (n,); refuse a label that the model never saw in training."""
    codes = {label: code for code, label in enumerate(classes)}
    unknown = sorted({str(value) for value in values if value not in codes})
    if unknown:
        raise Refusal(
            f"{where} holds the class {unknown[0]!r}, which the model never saw in training.",
            do="Train on rows that have every class, or take those rows out.",
        )
    return np.fromiter((codes[value] for value in values), dtype=np.int64, count=len(values))


def _divide(above: Floats, below: Floats) -> Floats:
    """A quotient that is NaN where its denominator is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below != 0, above / below, np.nan)


def _mean(loss: Floats, weights: Floats) -> Floats:
    """The weighted mean of a loss per row; summed without BLAS, whose threads could change the last bit."""
    return _divide((weights * loss).sum(axis=1), weights.sum(axis=1))


def _mean_of_defined(values: Floats) -> Floats:
    """The mean over classes (last axis) of those that are defined; NaN where none is."""
    defined = ~np.isnan(values)
    return _divide(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1).astype(float))


def _per_class(binary: Callable[[NDArray[np.bool_], Floats, Floats], Floats]) -> Score:
    """A metric of one ranking, for two classes as it is, for more as the mean of one versus the rest."""

    def score(y: NDArray[Any], prediction: Floats, weights: Floats) -> Floats:
        classes = prediction.shape[1]
        if classes == 2:
            return binary(y == 1, prediction[:, 1], weights)
        values = [binary(y == label, prediction[:, label], weights) for label in range(classes)]
        # Unlike a mean over what is left, NaN here says that the resample lacks a class.
        return np.asarray(np.stack(values, axis=1).mean(axis=1))

    return score


def _ranked(positive: NDArray[np.bool_], score: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Weight of positives and of negatives at each distinct score, best score first: two (B, distinct) arrays."""
    order = np.argsort(-score, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) != 0])
    sorted_weights = weights[:, order]
    of_positives = np.where(positive[order], sorted_weights, 0.0)
    return (
        np.add.reduceat(of_positives, starts, axis=1),
        np.add.reduceat(sorted_weights - of_positives, starts, axis=1),
    )


def _roc_auc(positive: NDArray[np.bool_], score: Floats, weights: Floats) -> Floats:
    """The chance that a positive ranks above a negative, ties counted half."""
    hits, misses = _ranked(positive, score, weights)
    ahead = np.cumsum(hits, axis=1) - hits
    won = (misses * (ahead + hits / 2)).sum(axis=1)
    return _divide(won, hits.sum(axis=1) * misses.sum(axis=1))


def _average_precision(positive: NDArray[np.bool_], score: Floats, weights: Floats) -> Floats:
    """The mean of the precision at each threshold, weighted by the recall that it adds."""
    hits, misses = _ranked(positive, score, weights)
    found = np.cumsum(hits, axis=1)
    taken = found + np.cumsum(misses, axis=1)
    # A threshold that takes nothing adds no recall; its precision, which is 0/0, must not spread.
    precision = np.divide(found, taken, out=np.zeros_like(found), where=taken > 0)
    return _divide((hits * precision).sum(axis=1), hits.sum(axis=1))


def _log_loss(y: NDArray[Any], prediction: Floats, weights: Floats) -> Floats:
    tiny = np.finfo(np.float64).eps
    chances = np.clip(prediction, tiny, 1 - tiny)
    return _mean(-np.log(chances[np.arange(len(y)), y]), weights)


def _brier(y: NDArray[Any], prediction: Floats, weights: Floats) -> Floats:
    truth = np.eye(prediction.shape[1])[y]
    squares = ((truth - prediction) ** 2).sum(axis=1)
    return _mean(squares / 2 if prediction.shape[1] == 2 else squares, weights)


def _accuracy(y: NDArray[Any], prediction: Floats, weights: Floats) -> Floats:
    return _mean((prediction.argmax(axis=1) == y).astype(float), weights)


def _tables(y: NDArray[Any], prediction: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Per class the weight of rows found, of rows that are it, and of rows called it: three (B, k) arrays."""
    classes = np.arange(prediction.shape[1])
    called = prediction.argmax(axis=1)[:, None] == classes
    true = y[:, None] == classes
    found, support, taken = (
        np.stack([np.where(rows[:, label], weights, 0.0).sum(axis=1) for label in classes], axis=1)
        for rows in (true & called, true, called)
    )
    return found, support, taken


def _balanced_accuracy(y: NDArray[Any], prediction: Floats, weights: Floats) -> Floats:
    found, support, _ = _tables(y, prediction, weights)
    return _mean_of_defined(_divide(found, support))


def _from_tables(ratio: Callable[[Floats, Floats, Floats], Floats]) -> Score:
    """A metric of the confusion table: of the positive class, or the mean over the classes that occur."""

    def score(y: NDArray[Any], prediction: Floats, weights: Floats) -> Floats:
        found, support, taken = _tables(y, prediction, weights)
        # A class that does not occur has no recall; one that occurs and is never called has a precision of 0.
        values = np.where(support > 0, np.nan_to_num(ratio(found, support, taken)), np.nan)
        return values[:, 1] if prediction.shape[1] == 2 else _mean_of_defined(values)

    return score


def _rmse(y: NDArray[Any], prediction: Floats, weights: Floats) -> Floats:
    return np.sqrt(_mean((y - prediction) ** 2, weights))


def _mae(y: NDArray[Any], prediction: Floats, weights: Floats) -> Floats:
    return _mean(np.abs(y - prediction), weights)


def _r2(y: NDArray[Any], prediction: Floats, weights: Floats) -> Floats:
    mean = _mean(y.astype(float), weights)
    spread = (weights * (y - mean[:, None]) ** 2).sum(axis=1)
    return 1 - _divide((weights * (y - prediction) ** 2).sum(axis=1), spread)


def _median_absolute_error(y: NDArray[Any], prediction: Floats, weights: Floats) -> Floats:
    errors = np.abs(y - prediction)
    order = np.argsort(errors, kind="stable")
    cumulated = np.cumsum(weights[:, order], axis=1)
    half = cumulated[:, -1:] / 2
    low = errors[order][(cumulated >= half).argmax(axis=1)]
    high = errors[order][(cumulated > half).argmax(axis=1)]
    return np.where(half[:, 0] > 0, (low + high) / 2, np.nan)


def _mape(y: NDArray[Any], prediction: Floats, weights: Floats) -> Floats:
    return _mean(np.abs(y - prediction) / np.maximum(np.abs(y), np.finfo(np.float64).eps), weights)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("roc_auc", "classification", True, _per_class(_roc_auc)),
        Metric("average_precision", "classification", True, _per_class(_average_precision)),
        Metric("log_loss", "classification", False, _log_loss),
        Metric("brier", "classification", False, _brier),
        Metric("accuracy", "classification", True, _accuracy),
        Metric("balanced_accuracy", "classification", True, _balanced_accuracy),
        Metric("f1", "classification", True, _from_tables(lambda hit, true, called: _divide(2 * hit, true + called))),
        Metric("precision", "classification", True, _from_tables(lambda hit, true, called: _divide(hit, called))),
        Metric("recall", "classification", True, _from_tables(lambda hit, true, called: _divide(hit, true))),
        Metric("rmse", "regression", False, _rmse),
        Metric("mae", "regression", False, _mae),
        Metric("r2", "regression", True, _r2),
        Metric("median_absolute_error", "regression", False, _median_absolute_error),
        Metric("mape", "regression", False, _mape),
    )
}
