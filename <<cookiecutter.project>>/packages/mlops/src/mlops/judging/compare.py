"""How do champion and challenger differ on the same rows? Pure: arrays and values in, frozen values out.

Both predict the same rows, and both are scored on the same resamples of them, so that what the rows have in common
cancels out. A difference is challenger minus champion, turned so that positive is better.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops.learning.bootstrap import Interval, differences
from mlops.learning.metrics import Floats, Metric

NUMBERS = ("int", "float", "bool")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two scores of one metric on the same rows, and their difference."""

    champion: float
    challenger: float
    difference: Interval

    def to_json(self) -> dict[str, Any]:
        """`{"champion", "challenger", "difference": {"value", "low", "high"}}`."""
        return {
            "champion": self.champion,
            "challenger": self.challenger,
            "difference": self.difference.to_json(),
        }


@dataclass(frozen=True, kw_only=True)
class Part:
    """One slice: how many common rows it has, and the first metric on them."""

    name: str
    rows: int
    pair: Pair

    def to_json(self) -> dict[str, Any]:
        """The pair's value, with `name` and `rows`."""
        return {"name": self.name, "rows": self.rows} | self.pair.to_json()


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What was compared: on how many rows, how many were left out, every metric overall, the first one by slice."""

    rows: int
    rows_left_out: int
    primary: str
    metrics: Mapping[str, Pair]
    slices: tuple[Part, ...]

    def to_json(self) -> dict[str, Any]:
        """The `comparison` of the evidence, without the champion's name."""
        return {
            "rows": self.rows,
            "rows_left_out": self.rows_left_out,
            "primary": self.primary,
            "metrics": {name: pair.to_json() for name, pair in self.metrics.items()},
            "slices": [part.to_json() for part in self.slices],
        }


def incomparable(champion: Mapping[str, Any], challenger: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    """Why the two manifests cannot be compared on rows with these `columns` (name to dtype); empty when they can.

    Whole and decimal numbers and booleans are one kind: an estimator gets all of them as float64.
    """
    for key, what in (("task", "task"), ("target", "target")):
        if champion[key] != challenger[key]:
            return f"the {what} was {champion[key]} and is {challenger[key]} now"
    if sorted(champion["classes"] or [], key=str) != sorted(challenger["classes"] or [], key=str):
        return f"the classes were {_listing(champion['classes'])} and are {_listing(challenger['classes'])} now"
    for feature in champion["features"]:
        name, dtype = feature["name"], feature["dtype"]
        if name not in columns:
            return f"its feature {name} is gone"
        if _kind(dtype) != _kind(columns[name]):
            return f"its feature {name} was {dtype} and is {columns[name]} now"
    by = champion["split"].get("column")
    if by is not None and by not in columns:
        return f"the column {by}, which tells the rows that it was trained on, is gone"
    return ""


def reordered(prediction: Floats, classes: Sequence[Any] | None, wanted: Sequence[Any] | None) -> Floats:
    """Probabilities (n, k) whose columns are in the order `classes`, in the order `wanted`; values (n,) as they are."""
    if classes is None or wanted is None:
        return prediction
    return prediction[:, [list(classes).index(label) for label in wanted]]


def compare(
    *,
    y: NDArray[Any],
    champion: Floats,
    challenger: Floats,
    seen: NDArray[np.bool_],
    slices: Mapping[str, NDArray[np.bool_]],
    metrics: Sequence[Metric],
    resamples: int,
    confidence: float,
    seed: int,
) -> Comparison:
    """Compare two predictions of the same (n,) rows; rows in `seen` are left out, the champion may have learnt them.

    `y` is codes of classes or values; predictions are as `Metric` takes them; the first metric is compared by slice.
    A metric that has no meaning on its rows gives NaN, which the gate never passes.
    """
    settings: dict[str, Any] = {"resamples": resamples, "confidence": confidence, "seed": seed}
    common = ~seen
    overall = _pairs(tuple(metrics), y[common], champion[common], challenger[common], settings)
    parts = []
    for name, inside in slices.items():
        rows = common & inside
        pair = _pairs((metrics[0],), y[rows], champion[rows], challenger[rows], settings)[metrics[0].name]
        parts.append(Part(name=name, rows=int(rows.sum()), pair=pair))
    return Comparison(
        rows=int(common.sum()),
        rows_left_out=int(seen.sum()),
        primary=metrics[0].name,
        metrics=overall,
        slices=tuple(parts),
    )


def _pairs(
    metrics: tuple[Metric, ...],
    y: NDArray[Any],
    champion: Floats,
    challenger: Floats,
    settings: Mapping[str, Any],
) -> dict[str, Pair]:
    unknown = Interval(math.nan, math.nan, math.nan)
    # A prediction that is no number has no score; resamples without its row must not hide it.
    sound = len(y) > 0 and bool(np.isfinite(champion).all() and np.isfinite(challenger).all())
    found = differences(metrics, y, challenger, champion, **settings) if sound else {}
    return {
        metric.name: Pair(
            champion=metric.value(y, champion),
            challenger=metric.value(y, challenger),
            difference=found.get(metric.name, unknown),
        )
        for metric in metrics
    }


def _kind(dtype: str) -> str:
    return "number" if dtype in NUMBERS else dtype


def _listing(labels: Sequence[Any] | None) -> str:
    shown = ", ".join(str(label) for label in (labels or [])[:5])
    return shown + (" …" if labels and len(labels) > 5 else "")
