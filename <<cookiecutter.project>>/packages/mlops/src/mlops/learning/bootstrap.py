"""How sure are we of a score? Resamples of the rows, as counts, and the intervals they give.

The same `n`, `resamples` and `seed` always give the same resamples, so two models scored on the same rows are paired.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops.learning.metrics import Floats, Metric, better

# Cells of one batch of weights (64 MB), so that memory does not grow with the number of resamples.
BATCH_CELLS = 8_000_000


@dataclass(frozen=True)
class Interval:
    """A value with its confidence interval; `undefined` counts the resamples in which it had no meaning."""

    value: float
    low: float
    high: float
    undefined: int = 0

    def to_json(self) -> dict[str, Any]:
        """`{"value", "low", "high"}`, and `"undefined"` where some resamples were left out."""
        bounds: dict[str, Any] = {"value": self.value, "low": self.low, "high": self.high}
        return bounds | ({"undefined": self.undefined} if self.undefined else {})


def weights(n: int, resamples: int, seed: int) -> Floats:
    """How often each of `n` rows was drawn in each resample: a (resamples, n) matrix whose rows sum to `n`."""
    return np.concatenate(list(batches(n, resamples, seed)), axis=0)


def batches(n: int, resamples: int, seed: int) -> Iterator[Floats]:
    """The same matrix, a few rows at a time."""
    size = max(1, BATCH_CELLS // max(n, 1))
    for start in range(0, resamples, size):
        # Each resample has its own stream, so that the size of a batch does not change the numbers.
        yield np.stack([_counts(n, seed, one) for one in range(start, min(start + size, resamples))])


def _counts(n: int, seed: int, resample: int) -> Floats:
    drawn = np.random.default_rng([seed, resample]).integers(0, n, size=n)
    return np.bincount(drawn, minlength=n).astype(np.float64)


def interval(values: Floats, confidence: float) -> tuple[float, float]:
    """The percentile interval of resampled values (B,), NaN ones left out; (NaN, NaN) when under half are defined."""
    defined = values[~np.isnan(values)]
    if 2 * len(defined) < max(len(values), 1):
        return math.nan, math.nan
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def score(
    metrics: tuple[Metric, ...],
    y: NDArray[Any],
    prediction: Floats,
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, Interval]:
    """Each metric's value on all rows with its interval; everything NaN for no rows."""
    drawn = _resampled(metrics, y, (prediction,), resamples=resamples, seed=seed)[0]
    return {metric.name: _interval(metric.value(y, prediction), drawn[metric.name], confidence) for metric in metrics}


def differences(
    metrics: tuple[Metric, ...],
    y: NDArray[Any],
    prediction: Floats,
    other: Floats,
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, Interval]:
    """How much better `prediction` is than `other` on the same rows, per metric: paired, and positive is better."""
    mine, theirs = _resampled(metrics, y, (prediction, other), resamples=resamples, seed=seed)
    return {
        metric.name: _interval(
            float(better(metric, metric.value(y, prediction), metric.value(y, other))),
            better(metric, mine[metric.name], theirs[metric.name]),
            confidence,
        )
        for metric in metrics
    }


def _interval(value: float, drawn: Floats, confidence: float) -> Interval:
    low, high = interval(drawn, confidence)
    return Interval(value, low, high, undefined=int(np.isnan(drawn).sum()))


def _resampled(
    metrics: tuple[Metric, ...], y: NDArray[Any], predictions: tuple[Floats, ...], *, resamples: int, seed: int
) -> list[dict[str, Floats]]:
    """For each prediction and metric the (resamples,) values."""
    if len(y) == 0:
        return [{metric.name: np.full(resamples, np.nan) for metric in metrics} for _ in predictions]
    parts: list[dict[str, list[Floats]]] = [{metric.name: [] for metric in metrics} for _ in predictions]
    for counts in batches(len(y), resamples, seed):
        for part, prediction in zip(parts, predictions, strict=True):
            for metric in metrics:
                part[metric.name].append(metric.score(y, prediction, counts))
    return [{name: np.concatenate(values) for name, values in part.items()} for part in parts]
