"""What did the data look like at training time? A reference profile, and how far other data lies from it (PSI).

A profile is a few hundred numbers per column, so drift is measured without the reference rows. The current data is
binned on the edges of the reference (`like=`). Columns are read one at a time, so a lazy frame need not fit in memory.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from mlops.data.contract import Column

FEW = 5
"""Of a personal column no value is named that fewer rows than this share."""
DIGITS = 3
"""Significant digits of a personal column's bins."""
CATEGORIES = 50
"""Most values of a categorical column that are counted by themselves; the rest is `other`."""
FEW_EDGES = 50
FLOOR = 1e-4
"""Share that an empty bin counts as, so that PSI stays finite."""


def profile(
    frame: pl.DataFrame | pl.LazyFrame,
    columns: Sequence[Column],
    bins: int,
    like: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The profile of the contract's `columns` in `frame`: `{"rows": n, "columns": {name: …}}`, in JSON's types.

    Numbers (days and times as such): `{"kind": "number", "edges", "counts", "missing", "mean", "std", "min", "max"}`,
    where `edges` are the inner edges of at most `bins` bins of equal share, an edge belongs to the bin on its left, and
    there is one count more than edges. Text and booleans: `{"kind": "category", "counts": {value: n}, "other",
    "missing"}`. With `like`, an earlier profile, its edges and categories are used and `bins` is not.
    A column that `frame` lacks counts as missing in all rows.

    A profile travels with the model, so a personal column tells nothing of one person: its edges are rounded, its least
    and greatest value are None, and rare texts are counted as `other`.
    """
    lazy = frame.lazy()
    schema = lazy.collect_schema()
    rows = int(lazy.select(pl.len()).collect(engine="streaming").item())
    found = {}
    for column in columns:
        if isinstance(frame, pl.DataFrame) and column.name in schema:
            values = frame[column.name]
        elif column.name in schema:
            values = lazy.select(column.name).collect(engine="streaming").to_series()
        else:
            values = pl.Series(column.name, [None] * rows, dtype=pl.Float64 if column.dtype != "str" else pl.String)
        reference = like["columns"].get(column.name) if like else None
        if column.dtype in ("str", "bool"):
            found[column.name] = _category(values, reference, fewest=FEW if column.personal else 1)
        else:
            edges = np.asarray(reference["edges"]) if reference else None
            found[column.name] = _number(values, bins, edges, digits=DIGITS if column.personal else None)
    return {"rows": rows, "columns": found}


def psi(reference: Mapping[str, Any], current: Mapping[str, Any]) -> float:
    """Population stability index between one column of two profiles; `current` was made with `like=`.

    The sum over bins of (p - q) ln(p / q), with shares of all rows and an empty bin counting as `FLOOR`. Missing values
    are a bin of their own, as are other categories, where either side has some.
    """
    p, q = _shares(tabled(reference, current))
    return float(np.sum((p - q) * np.log(p / q)))


def added(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The profile of the rows of both, which were made with the same `like=`; so size is not memory."""
    columns = {name: _added(column, other["columns"][name]) for name, column in one["columns"].items()}
    return {"rows": one["rows"] + other["rows"], "columns": columns}


def tabled(reference: Mapping[str, Any], current: Mapping[str, Any]) -> np.ndarray:
    """One column of two profiles as counts (2, bins), of which `current` was made with `like=`.

    Other categories are the last bin but one, missing values the last; both are there where either side has some.
    """
    if reference["kind"] != current["kind"]:
        raise ValueError(f"cannot compare a {reference['kind']} with a {current['kind']}")
    if reference["kind"] == "number":
        sides = [list(side["counts"]) for side in (reference, current)]
    else:
        names = list(reference["counts"])
        sides = [[side["counts"].get(name, 0) for name in names] + [side["other"]] for side in (reference, current)]
        if not sides[0][-1] and not sides[1][-1]:
            sides = [side[:-1] for side in sides]
    if reference["missing"] or current["missing"]:
        sides = [[*side, one["missing"]] for side, one in zip(sides, (reference, current), strict=True)]
    if len(sides[0]) != len(sides[1]):
        raise ValueError("the profiles have different bins; make the current one with like=")
    return np.asarray(sides, dtype=float)


def _added(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    missing = one["missing"] + other["missing"]
    if one["kind"] == "category":
        counts = {name: count + other["counts"][name] for name, count in one["counts"].items()}
        return {"kind": "category", "counts": counts, "other": one["other"] + other["other"], "missing": missing}
    # Infinite values are counted in the outer bins and are in neither mean; few enough to weigh by all that is there.
    n, m = (sum(side["counts"]) for side in (one, other))
    mean, std = one["mean"], one["std"]
    if mean is None or other["mean"] is None:
        mean, std = (other["mean"], other["std"]) if mean is None else (mean, std)
    else:
        distance = other["mean"] - mean
        mean += distance * m / (n + m)
        std = math.sqrt((n * std**2 + m * other["std"] ** 2 + distance**2 * n * m / (n + m)) / (n + m))
    ends = {
        what: choose([side[what] for side in (one, other) if side[what] is not None], default=None)
        for what, choose in (("min", min), ("max", max))
    }
    bins = [count + more for count, more in zip(one["counts"], other["counts"], strict=True)]
    return {
        "kind": "number",
        "edges": one["edges"],
        "counts": bins,
        "missing": missing,
        "mean": mean,
        "std": std,
    } | ends


def _number(values: pl.Series, bins: int, edges: np.ndarray | None, *, digits: int | None) -> dict[str, Any]:
    physical = values.to_physical() if values.dtype.is_temporal() else values
    known = physical.cast(pl.Float64, strict=False).drop_nulls()
    numbers = (known.drop_nans() if known.is_nan().any() else known).to_numpy()
    edges = _rounded(_edges(numbers, bins), digits) if edges is None else edges
    counts = _binned(numbers, edges)
    is_finite = np.isfinite(numbers)
    finite = numbers if is_finite.all() else numbers[is_finite]
    told = bool(len(finite)) and digits is None
    return {
        "kind": "number",
        "edges": [float(edge) for edge in edges],
        "counts": [int(count) for count in counts],
        "missing": len(values) - len(numbers),
        "mean": float(finite.mean()) if len(finite) else None,
        "std": float(finite.std()) if len(finite) else None,
        "min": float(finite.min()) if told else None,
        "max": float(finite.max()) if told else None,
    }


def _binned(numbers: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How many numbers lie in each bin; an edge belongs to the bin on its left."""
    if len(edges) > FEW_EDGES:
        return np.bincount(np.searchsorted(edges, numbers, side="left"), minlength=len(edges) + 1)
    # Counting what lies above each edge is several times faster than looking up each number, while edges are few.
    above = [len(numbers), *(int(np.count_nonzero(numbers > edge)) for edge in edges), 0]
    return -np.diff(above)


def _rounded(edges: np.ndarray, digits: int | None) -> np.ndarray:
    """Edges that are no one's own value, or as they are without `digits`."""
    return edges if digits is None else np.unique([float(f"{edge:.{digits}g}") for edge in edges])


def _edges(numbers: np.ndarray, bins: int) -> np.ndarray:
    """Inner edges at equal shares; fewer where values repeat, and none above which no value lies."""
    finite = numbers[np.isfinite(numbers)]
    if not len(finite):
        return np.array([])
    # An observed value as an edge, not one between two: whole numbers keep bins that mean something. The positions are
    # counted in integers, because a share such as 0.3 times the length is often a hair above a whole number.
    positions = [-(-k * len(finite) // bins) - 1 for k in range(1, bins)]
    edges = np.unique(np.partition(finite, positions)[positions])
    return np.asarray(edges[edges < finite.max()])


def _category(values: pl.Series, reference: Mapping[str, Any] | None, *, fewest: int) -> dict[str, Any]:
    present = values.drop_nulls().cast(pl.String)
    counted = dict(present.value_counts().rows())
    if reference:
        kept = list(reference["counts"])
    else:
        often = sorted((-count, name) for name, count in counted.items() if count >= fewest)
        kept = [name for _, name in often[:CATEGORIES]]
    counts = {name: int(counted.get(name, 0)) for name in kept}
    return {
        "kind": "category",
        "counts": counts,
        "other": len(present) - sum(counts.values()),
        "missing": len(values) - len(present),
    }


def _shares(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    totals = counts.sum(axis=1, keepdims=True)
    if not totals.all():
        return np.array([1.0]), np.array([1.0 if totals.sum() == 0 else math.exp(-1)])
    shares = counts / totals
    shares[shares == 0] = FLOOR
    return shares[0], shares[1]
