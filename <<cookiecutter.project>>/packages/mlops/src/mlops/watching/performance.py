"""Does a version keep its promise when labels arrive? Its score on new rows against that of its holdout; pure.

Both scores have intervals, and both are uncertain: the alarm asks that the score fell by at least the gate's margin
(the effect), and that a fall like this would be rare if both sets of rows were alike (the evidence), as for drift.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops.errors import counted
from mlops.learning import bootstrap
from mlops.learning.metrics import Metric, better
from mlops.watching.findings import Finding

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Promise:
    """The score on the holdout with its interval, how much worse may be, and how an interval is drawn."""

    value: float
    low: float
    high: float
    rows: int
    confidence: float
    margin: float
    resamples: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Rules:
    """`chance` is what one look may spend on a false alarm."""

    minimum_rows: int
    chance: float


def judge(metric: Metric, y: NDArray[Any], prediction: Floats, *, promise: Promise, rules: Rules) -> Finding:
    """The verdict on new rows: `y` (n,) as metrics take it, `prediction` (n,) or (n, k)."""
    if len(y) < rules.minimum_rows:
        rows = counted(len(y), "new row")
        said = f"Performance is not evaluated: {rows} with a label, and {rules.minimum_rows} are needed."
        return Finding(kind="performance", outcome="not evaluated", sentence=said, detail={"rows": len(y)})
    found = bootstrap.score(
        (metric,), y, prediction, resamples=promise.resamples, confidence=promise.confidence, seed=promise.seed
    )[metric.name]
    if not all(np.isfinite([found.value, found.low, found.high, promise.value, promise.low, promise.high])):
        said = f"Performance is not evaluated: {metric.name} has no value on {counted(len(y), 'new row')}."
        return Finding(kind="performance", outcome="not evaluated", sentence=said, detail={"rows": len(y)})
    worse = float(better(metric, promise.value, found.value))
    width = 2 * NormalDist().inv_cdf((1 + promise.confidence) / 2)
    chance = chance_of_fall(
        worse,
        now=((found.high - found.low) / width, len(y)),
        then=((promise.high - promise.low) / width, promise.rows),
    )
    detail = {
        "metric": metric.name,
        "rows": len(y),
        "now": found.to_json(),
        "promised": {"value": promise.value, "low": promise.low, "high": promise.high},
        "worse": worse,
        "chance": chance,
    }
    now = f"{metric.name} is {found.value:.4g} ({found.low:.4g} to {found.high:.4g}) on {counted(len(y), 'new row')}"
    then = f"{promise.value:.4g} ({promise.low:.4g} to {promise.high:.4g}) on the holdout"
    if worse >= promise.margin and chance <= rules.chance:
        said = f"The promise is not kept: {now}; it was {then}, and the margin is {promise.margin:g}."
        return Finding(kind="performance", outcome="alarm", sentence=said, detail=detail)
    return Finding(
        kind="performance", outcome="quiet", sentence=f"{now[0].upper()}{now[1:]}; it was {then}.", detail=detail
    )


def chance_of_fall(worse: float, *, now: tuple[float, int], then: tuple[float, int]) -> float:
    """How rare a score that is worse by so much is, if both were drawn alike; a side is its standard error and rows.

    Few rows often know too little of their own error (a perfect score on eighty rows claims to have none). Drawn alike,
    the other side knows it too, so neither counts as more certain than the other one makes likely.
    """
    (error, rows), (other, others) = now, then
    at_least = max(error * float(np.sqrt(rows)), other * float(np.sqrt(others)))
    both = at_least * float(np.sqrt(1 / rows + 1 / others))
    if both == 0:
        return 1.0 if worse <= 0 else 0.0
    return 1.0 - NormalDist().cdf(worse / both)


def of_promise(evaluation: Mapping[str, Any], *, margin: float, resamples: int, seed: int) -> Promise | None:
    """What the committed evaluation promises in its first metric; None where that has no value."""
    score = evaluation["overall"][evaluation["primary"]]
    if any(score.get(name) is None for name in ("value", "low", "high")):
        return None
    return Promise(
        value=score["value"],
        low=score["low"],
        high=score["high"],
        rows=evaluation["rows"],
        confidence=evaluation["confidence"],
        margin=margin,
        resamples=resamples,
        seed=seed,
    )
