"""Is PSI what its definition says, on the bins of the reference?"""

import datetime as dt
import json
import math
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlops.data.contract import Column
from mlops.data.profile import CATEGORIES, FLOOR, profile, psi

X = Column(name="x", dtype="float")
C = Column(name="c", dtype="str")


def of_number(values: Any, bins: int = 10, like: Any = None) -> dict[str, Any]:
    frame = pl.DataFrame({"x": pl.Series(values, dtype=pl.Float64)})
    found: dict[str, Any] = profile(frame, [X], bins, like=like)
    return found


def slow_psi(reference: list[float], current: list[float], bins: int) -> float:
    """The definition in plain Python: observed quantiles as edges, a value on an edge goes left, missing is a bin."""

    def missing(value: float) -> bool:
        return value is None or math.isnan(value)

    known = sorted(value for value in reference if not missing(value))
    edges = sorted({known[-(-k * len(known) // bins) - 1] for k in range(1, bins)} - {known[-1]})
    buckets: list[list[int]] = []
    for side in (reference, current):
        counts = [0] * (len(edges) + 2)
        for value in side:
            counts[-1 if missing(value) else sum(value > edge for edge in edges)] += 1
        buckets.append(counts)
    total = 0.0
    for position, (a, b) in enumerate(zip(*buckets, strict=True)):
        if position == len(edges) + 1 and a == b == 0:
            continue
        p, q = (a / len(reference)) or FLOOR, (b / len(current)) or FLOOR
        total += (p - q) * math.log(p / q)
    return total


@pytest.mark.parametrize("seed", range(20))
def test_psi_of_numbers_equals_the_definition(seed: int) -> None:
    """To 1e-9, with repeated values, missing values, a shift, and bins that end up empty."""
    rng = np.random.default_rng(seed)
    reference = rng.normal(size=400).round(rng.integers(0, 4)).tolist()
    current = (rng.normal(size=300) * rng.uniform(0.2, 3) + rng.uniform(-2, 2)).round(1).tolist()
    for side in (reference, current):
        for n in range(int(rng.integers(0, 40))):
            side[n] = float("nan")
    bins = int(rng.integers(2, 15))
    old = of_number(reference, bins)
    new = of_number(current, bins, like=old)
    assert psi(old["columns"]["x"], new["columns"]["x"]) == pytest.approx(slow_psi(reference, current, bins), abs=1e-9)


def test_the_same_data_has_not_moved() -> None:
    """PSI is zero for equal shares, and grows with the distance."""
    values = np.random.default_rng(0).normal(size=2000)
    old = of_number(values)
    moved = [psi(old["columns"]["x"], of_number(values + by, like=old)["columns"]["x"]) for by in (0, 0.2, 0.5, 1)]
    assert moved[0] == 0
    assert moved == sorted(moved)
    assert moved[-1] > 0.2


def test_bins_have_equal_shares_and_facts() -> None:
    """Ten bins of a hundred; mean, spread and ends of what is there."""
    values = [*map(float, range(1000)), float("nan"), None]
    found = of_number(values)["columns"]["x"]
    assert found["counts"] == [100] * 10
    assert (found["missing"], found["min"], found["max"]) == (2, 0, 999)
    assert (found["mean"], found["std"]) == (pytest.approx(499.5), pytest.approx(np.arange(1000).std()))


@pytest.mark.parametrize("values", [[], [None, None], [3.0, 3.0, 3.0], [0.0, 1.0, 1.0], [float("inf"), 1.0, 2.0]])
def test_odd_columns_have_a_profile_too(values: list[Any]) -> None:
    """Nothing, nothing but missing, one value, two values, infinity: valid JSON, all rows counted, no drift."""
    found = of_number(values)
    one = json.loads(json.dumps(found, allow_nan=False))["columns"]["x"]
    assert sum(one["counts"]) + one["missing"] == len(values)
    assert len(one["counts"]) == len(one["edges"]) + 1
    assert psi(one, of_number(values, like=found)["columns"]["x"]) == 0


def test_categories_are_counted_on_the_reference_s_names() -> None:
    """New values are `other`; a value that vanished stays with zero; missing ones are their own bin."""
    old = profile(pl.DataFrame({"c": ["a"] * 50 + ["b"] * 30 + ["c"] * 20}), [C], 10)
    new = profile(pl.DataFrame({"c": ["a"] * 50 + ["new"] * 40 + [None] * 10}), [C], 10, like=old)
    assert old["columns"]["c"] == {"kind": "category", "counts": {"a": 50, "b": 30, "c": 20}, "other": 0, "missing": 0}
    assert new["columns"]["c"] == {"kind": "category", "counts": {"a": 50, "b": 0, "c": 0}, "other": 40, "missing": 10}
    expected = sum(
        (p - q) * math.log(p / q) for p, q in ((0.3, FLOOR), (0.2, FLOOR), (FLOOR, 0.4), (FLOOR, 0.1), (0.5, 0.5))
    )
    assert psi(old["columns"]["c"], new["columns"]["c"]) == pytest.approx(expected, abs=1e-9)


def test_a_column_of_names_stays_small() -> None:
    """Of very many categories the most frequent are kept."""
    frame = pl.DataFrame({"c": [f"n{k}" for k in range(5000)] + ["often"] * 3})
    found = profile(frame, [C], 10)["columns"]["c"]
    assert len(found["counts"]) == CATEGORIES
    assert next(iter(found["counts"])) == "often"
    assert sum(found["counts"].values()) + found["other"] == 5003


def test_a_personal_column_tells_nothing_of_one_person() -> None:
    """Rare texts are not named, bins are rounded and extremes left out; a column that is not personal tells them."""
    frame = pl.DataFrame({"c": ["Paris"] * 50 + [f"user{k}@example.com" for k in range(50)], "x": range(100)})
    frame = frame.with_columns(pl.col("x") * 1.000123 + 1000)
    open_, told = (
        profile(frame, [Column(name="c", dtype="str", personal=who), Column(name="x", dtype="float", personal=who)], 4)
        for who in (False, True)
    )
    assert told["columns"]["c"]["counts"] == {"Paris": 50}
    assert told["columns"]["c"]["other"] == 50
    assert len(open_["columns"]["c"]["counts"]) == CATEGORIES
    assert told["columns"]["x"]["edges"] == [1020, 1050, 1070]
    assert sum(told["columns"]["x"]["counts"]) == 100
    assert not set(told["columns"]["x"]["edges"]) & set(frame["x"])
    assert told["columns"]["x"]["min"] is told["columns"]["x"]["max"] is None
    assert open_["columns"]["x"]["max"] == frame["x"].max()
    both = [Column(name="c", dtype="str", personal=True), Column(name="x", dtype="float", personal=True)]
    again = profile(frame, both, 4, like=told)
    assert psi(told["columns"]["c"], again["columns"]["c"]) == psi(told["columns"]["x"], again["columns"]["x"]) == 0


def test_booleans_days_and_columns_that_are_gone() -> None:
    """Booleans are categories, days are numbers, and a column that is not there is missing everywhere."""
    columns = [Column(name="b", dtype="bool"), Column(name="d", dtype="date"), X]
    days = [dt.date(2026, 1, n) for n in range(1, 21)]
    found = profile(pl.DataFrame({"b": [True] * 15 + [False] * 5, "d": days}), columns, 2)
    assert found["columns"]["b"]["counts"] == {"true": 15, "false": 5}
    assert found["columns"]["d"]["counts"] == [10, 10]
    assert found["columns"]["x"]["missing"] == 20


def test_a_lazy_frame_has_the_same_profile(tmp_path: Any) -> None:
    """Data that is read column by column from a file is data all the same."""
    rng = np.random.default_rng(1)
    frame = pl.DataFrame({"x": rng.normal(size=5000), "c": rng.choice(["a", "b"], 5000)})
    frame.write_parquet(tmp_path / "x.parquet")
    assert profile(pl.scan_parquet(tmp_path / "x.parquet"), [X, C], 10) == profile(frame, [X, C], 10)


def test_profiles_that_do_not_fit_are_not_compared() -> None:
    """Other bins or another kind are an error of the caller, and no drift of zero."""
    old, other = of_number([1, 2, 3, 4, 5]), of_number([1, 1, 1])
    with pytest.raises(ValueError, match="different bins"):
        psi(old["columns"]["x"], other["columns"]["x"])
    category = profile(pl.DataFrame({"c": ["a"]}), [C], 10)["columns"]["c"]
    with pytest.raises(ValueError, match="cannot compare"):
        psi(old["columns"]["x"], category)
