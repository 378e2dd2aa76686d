"""How fast does a model age? Trained at t - k and tested at t: the age curve, and what follows from it; pure.

Time is cut into equal periods. For each period a fresh model (trained up to its start) and older ones (trained up to an
earlier start, on as long a time) predict the same rows; the loss is how much worse the older one is, paired, with an
interval. Where the loss passes the gate's margin, a new version would have been worth its work.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops.errors import Refusal
from mlops.learning import bootstrap
from mlops.learning.metrics import Floats, Metric

Answer = Callable[[NDArray[np.bool_], NDArray[np.bool_]], Floats]
"""Fits on the first rows and predicts the second ones."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """How much worse a model is that is older by `days`; positive is worse, in the metric's unit."""

    days: float
    loss: float
    low: float
    high: float
    rows: int


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The points, and two ages in whole days: None where the loss stayed below the margin all the time."""

    points: tuple[Point, ...]
    margin: float
    recommended_days: int | None
    """Until here the expected loss is within the margin: a good `retrain.every_days`."""
    alarm_days: int | None
    """From here on the loss is surely beyond the margin: a good `watch.age_days`."""

    @property
    def sentence(self) -> str:
        """What follows from it."""
        longest = f"{self.points[-1].days:.0f} days"
        if self.recommended_days is None:
            said = f"Within {longest} the score falls by less than the margin of {self.margin:g}"
            return f"{said}: age asks for no retraining."
        said = f"After {self.recommended_days} days the score has fallen by the margin of {self.margin:g}"
        said += ": retrain at least that often (retrain.every_days)"
        if self.alarm_days is None:
            return f"{said}. Within {longest} it is not sure that it falls by more."
        return f"{said}; beyond {self.alarm_days} days it is surely more (watch.age_days)."


def curve(points: Sequence[Point], *, margin: float) -> Curve:
    """What the points say; they are smoothed to never fall, for models do not get better by themselves."""
    ordered = sorted(points, key=lambda point: point.days)
    if not ordered:
        raise Refusal("There is no age at which a model could be tested.", do="Use more data (data.as_of).")
    days = [point.days for point in ordered]
    weights = [float(point.rows) for point in ordered]
    expected = rising([point.loss for point in ordered], weights)
    surely = rising([point.low for point in ordered], weights)
    return Curve(
        points=tuple(ordered),
        margin=margin,
        recommended_days=_crossing(days, expected, margin),
        alarm_days=_crossing(days, surely, margin),
    )


def rising(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The nearest values that never fall (isotonic regression by pooling adjacent violators)."""
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        block = (value, weight, 1)
        while blocks and blocks[-1][0] > block[0]:
            mean, total, count = blocks.pop()
            weight = total + block[1]
            block = ((mean * total + block[0] * block[1]) / weight, weight, count + block[2])
        blocks.append(block)
    return [mean for mean, _, count in blocks for _ in range(count)]


def measure(
    days: NDArray[Any],
    y: NDArray[Any],
    answer: Answer,
    *,
    metric: Metric,
    periods: int,
    least: int,
    resamples: int,
    confidence: float,
    seed: int,
) -> list[Point]:
    """The loss by age: `days` (n,) are the rows' days as numbers; training spans half of the `periods`.

    An age whose test rows are fewer than `least`, or on which the metric has no value, is left out.
    """
    edges = np.linspace(days.min(), days.max() + 1, periods + 1)
    period = np.searchsorted(edges, days, side="right") - 1
    length, half = (edges[-1] - edges[0]) / periods, periods // 2
    # A model is named by the last period that it learned from.
    said: dict[tuple[int, int], Floats] = {}
    for last in range(half - 1, periods - 1):
        learned, tested = (period > last - half) & (period <= last), period > last
        if learned.any() and tested.any():
            found = answer(learned, tested)
            for test in range(last + 1, periods):
                said[last, test] = found[period[tested] == test]
    points = []
    for age in range(1, periods - half):
        tests = [t for t in range(half + age, periods) if (t - 1, t) in said and (t - 1 - age, t) in said]
        outcomes = [y[period == test] for test in tests]
        if sum(map(len, outcomes)) < least:
            continue
        fresh = np.concatenate([said[test - 1, test] for test in tests])
        aged = np.concatenate([said[test - 1 - age, test] for test in tests])
        draw = {"resamples": resamples, "confidence": confidence, "seed": seed}
        truth = np.concatenate(outcomes)
        found_loss = bootstrap.differences((metric,), truth, fresh, aged, **draw)[metric.name]  # type: ignore[arg-type]
        if np.isfinite([found_loss.value, found_loss.low, found_loss.high]).all():
            points.append(
                Point(
                    days=float(age * length),
                    loss=found_loss.value,
                    low=found_loss.low,
                    high=found_loss.high,
                    rows=len(truth),
                )
            )
    return points


def _crossing(days: Sequence[float], losses: Sequence[float], margin: float) -> int | None:
    """The age at which the loss passes the margin, between two points in proportion; None where it never does."""
    before, was = 0.0, 0.0
    for day, loss in zip(days, losses, strict=True):
        if loss > margin:
            share = (margin - was) / (loss - was) if loss > was else 0.0
            return max(1, int(before + max(0.0, share) * (day - before)))
        before, was = day, loss
    return None
