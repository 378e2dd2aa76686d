"""Is the holdout kept from training: by id, by group and by time, today and after new rows arrived?"""

import datetime as dt
import hashlib
import json
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.config import Split
from mlops.data.contract import Column, Contract
from mlops.data.split import Boundary, assign, fit_boundary, seen, uniform
from mlops.errors import Refusal

COLUMNS = (
    Column(name="id", dtype="int", role="id"),
    Column(name="at", dtype="date", role="time"),
    Column(name="who", dtype="str", role="group"),
    Column(name="y", dtype="int", role="target"),
)


def contract(*columns: Column) -> Contract:
    return Contract(source="0", owner="", description="", freshness_days=None, columns=columns or COLUMNS)


def rows(n: int, seed: int = 0, start: int = 0) -> pl.DataFrame:
    """Rows with three unequal classes, some groups and a rising day."""
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "id": np.arange(start, start + n),
            "at": [dt.date(2026, 1, 1) + dt.timedelta(days=(start + k) // 10) for k in range(n)],
            "who": [f"w{k}" for k in rng.integers(0, 40, n)],
            "y": rng.choice([0, 1, 2], n, p=[0.7, 0.25, 0.05]),
        }
    )


METHODS = ("time", "stratified", "grouped")


@pytest.mark.parametrize("method", METHODS)
@given(n=st.integers(60, 400), seed=st.integers(0, 99), share=st.floats(0.1, 0.6))
@settings(max_examples=25, deadline=None)
def test_no_row_is_on_both_sides(method: Any, n: int, seed: int, share: float) -> None:
    """Every id is in train or in the holdout; neither is empty; the same rows split the same way again."""
    frame = rows(n, seed)
    split = Split(method=method, holdout=share, seed=seed)
    boundary = fit_boundary(frame, contract(), split)
    holdout = assign(frame, boundary)
    train_ids, holdout_ids = set(frame.filter(~holdout)["id"]), set(frame.filter(holdout)["id"])
    assert not train_ids & holdout_ids
    assert len(train_ids) + len(holdout_ids) == n
    assert train_ids
    assert holdout_ids
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=1)
    assert set(shuffled.filter(assign(shuffled, boundary))["id"]) == holdout_ids
    assert fit_boundary(shuffled, contract(), split) == boundary
    assert Boundary.from_json(json.loads(json.dumps(boundary.to_json()))) == boundary
    assert (seen(frame, boundary) == ~holdout).all()


def test_the_time_split_keeps_the_future(tmp_path: Any) -> None:
    """All of the holdout is later than all of train, and a day is not torn."""
    frame = rows(500)
    boundary = fit_boundary(frame, contract(), Split(method="time", holdout=0.25))
    holdout = assign(frame, boundary)
    assert frame.filter(~holdout)["at"].max() < frame.filter(holdout)["at"].min()
    assert holdout.mean() == pytest.approx(0.25, abs=0.02)


def test_a_time_of_day_splits_too() -> None:
    """Times with their fractions are compared as such."""
    columns = (Column(name="at", dtype="datetime", role="time"), COLUMNS[3])
    at = [dt.datetime(2026, 1, 1, 0, 0, 0, k) for k in range(100)]
    frame = pl.DataFrame({"at": at, "y": [0, 1] * 50}, schema_overrides={"at": pl.Datetime("us")})
    boundary = fit_boundary(frame, contract(*columns), Split(method="time", holdout=0.2))
    assert assign(frame, boundary).to_list() == [False] * 80 + [True] * 20


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_strata_have_the_exact_share(share: float) -> None:
    """Each class gives its share of rows to the holdout, to the nearest row."""
    frame = rows(997)
    holdout = assign(frame, fit_boundary(frame, contract(), Split(method="stratified", holdout=share)))
    for value in (0, 1, 2):
        member = frame["y"] == value
        assert (holdout & member).sum() == round(share * member.sum())


def test_a_quantity_is_stratified_by_its_size() -> None:
    """A target without classes gives the holdout its share of every tenth."""
    columns = (COLUMNS[0], Column(name="y", dtype="float", role="target"))
    frame = pl.DataFrame({"id": range(1000), "y": np.random.default_rng(0).exponential(size=1000)})
    holdout = assign(frame, fit_boundary(frame, contract(*columns), Split(method="stratified", holdout=0.3)))
    tenth = pl.Series(np.argsort(np.argsort(frame["y"].to_numpy())) // 100)
    assert {int((holdout & (tenth == k)).sum()) for k in range(10)} == {30}


def test_groups_are_never_torn() -> None:
    """All rows of a group are on one side, in later data as well."""
    frame = rows(600)
    boundary = fit_boundary(frame, contract(), Split(method="grouped", holdout=0.25))
    later = pl.concat([frame, rows(300, seed=5, start=600)])
    sides = later.with_columns(assign(later, boundary)).group_by("who").agg(pl.col("holdout").n_unique())
    assert sides["holdout"].max() == 1
    first = frame.with_columns(assign(frame, boundary)).group_by("who").agg(pl.col("holdout").first())
    assert first["holdout"].sum() == round(0.25 * frame["who"].n_unique())


@pytest.mark.parametrize("method", METHODS)
def test_a_boundary_knows_rows_that_came_later(method: Any) -> None:
    """Under one boundary a row keeps its side for ever; what a version was trained on counts as seen by it."""
    old = rows(400)
    later = pl.concat([old, rows(300, seed=3, start=400)])
    first = fit_boundary(old, contract(), Split(method=method))
    trained_on = set(old.filter(~assign(old, first))["id"])
    assert set(later.filter(assign(later, first))["id"]) >= set(old.filter(assign(old, first))["id"])
    # The challenger's holdout, without what the champion may have been trained on, is fair to both.
    second = fit_boundary(later, contract(), Split(method=method))
    holdout = later.filter(assign(later, second))
    fair = holdout.filter(~seen(holdout, first))
    assert fair.height > 0
    assert not set(fair["id"]) & trained_on


def test_most_rows_keep_their_side_as_data_grows() -> None:
    """A stratified boundary that is fitted anew moves by little, because a row's hash does not move at all."""
    old, later = rows(4000), rows(5000)
    sides = [assign(old, fit_boundary(frame, contract(), Split(method="stratified"))) for frame in (old, later)]
    assert (sides[0] == sides[1]).mean() > 0.97


def test_another_seed_is_another_split() -> None:
    """The seed is part of the hash."""
    frame = rows(500)
    sides = [assign(frame, fit_boundary(frame, contract(), Split(method="stratified", seed=seed))) for seed in (1, 2)]
    assert 0.2 < (sides[0] != sides[1]).mean() < 0.6


def splitmix64(word: int) -> int:
    """The published algorithm, on Python's own integers."""
    mask = 2**64 - 1
    word = (word + 0x9E3779B97F4A7C15) & mask
    word = ((word ^ (word // 2**30)) * 0xBF58476D1CE4E5B9) & mask
    word = ((word ^ (word // 2**27)) * 0x94D049BB133111EB) & mask
    return word ^ (word // 2**31)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1), st.integers(-(2**31), 2**31))
@settings(max_examples=50, deadline=None)
def test_the_hash_of_numbers_is_splitmix64(values: list[int], seed: int) -> None:
    """Equal to an implementation on Python's integers, so that no library's update moves a row."""
    expected = [splitmix64((value % 2**64) ^ splitmix64(seed % 2**64)) // 2**11 / 2**53 for value in values]
    assert uniform(pl.Series(values, dtype=pl.Int64), seed).tolist() == expected


@given(st.lists(st.text(), min_size=1), st.integers(-(2**31), 2**31))
@settings(max_examples=50, deadline=None)
def test_the_hash_of_text_is_blake2(values: list[str], seed: int) -> None:
    """Also for empty text, any script and repeated values."""
    values = [value.encode("utf-8", "ignore").decode() for value in values]
    key = seed.to_bytes(8, "little", signed=True)
    words = [hashlib.blake2b(value.encode(), digest_size=8, key=key).digest() for value in values]
    expected = [int.from_bytes(word, "little") // 2**11 / 2**53 for word in words]
    assert uniform(pl.Series(values, dtype=pl.String), seed).tolist() == expected


def test_the_hash_never_changes() -> None:
    """Written down once: a change here would put rows that were trained on into the holdout."""
    assert uniform(pl.Series([0, 1, 569]), 7).tolist() == pytest.approx(
        [splitmix64(value ^ splitmix64(7)) // 2**11 / 2**53 for value in (0, 1, 569)], abs=0
    )
    assert uniform(pl.Series([1, 2], dtype=pl.Int16), 7).tolist() == uniform(pl.Series([1, 2]), 7).tolist()
    assert uniform(pl.Series([0.0, -0.0]), 7).tolist() == [uniform(pl.Series([0.0]), 7)[0]] * 2
    spread = uniform(pl.Series(range(100_000)), 7)
    assert 0 <= spread.min() < spread.max() < 1
    assert np.histogram(spread, 10, (0, 1))[0] == pytest.approx(10_000, rel=0.05)


ONE_DAY = {"id": [1, 2, 3], "at": [dt.date(2026, 1, 1)] * 3, "who": ["a"] * 3, "y": [0, 1, 0]}
REFUSED = {
    "one class": ({"y": [1, 1, 1]}, COLUMNS, "stratified", r"y \(the target\) has one value only in 3 rows"),
    "a missing target": ({"y": [0, 1, None]}, COLUMNS, "stratified", "missing in 1 of 3 rows"),
    "a missing time": ({"at": [None, None, dt.date(2026, 1, 1)]}, COLUMNS, "time", "at .* missing in 2 of 3"),
    "a missing group": ({"who": ["a", None, "b"]}, COLUMNS, "grouped", "who .* missing in 1"),
    "one day": ({}, COLUMNS, "time", "holdout would be empty"),
    "one group": ({}, COLUMNS, "grouped", "holdout would be empty|training data would be empty"),
    "too few rows": ({}, COLUMNS, "stratified", "holdout would be empty"),
    "no time column": ({}, (COLUMNS[0], COLUMNS[3]), "time", "needs a column with the role time"),
    "no group column": ({}, (COLUMNS[0], COLUMNS[3]), "grouped", "needs a column with the role group"),
    "no id column": ({}, (COLUMNS[1], COLUMNS[3]), "stratified", "needs a column with the role id"),
    "no target": ({}, COLUMNS[:3], "time", "names no target"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_split_that_would_mean_nothing_is_refused(case: str) -> None:
    """With what is missing, and where to say it."""
    changed, columns, method, message = REFUSED[case]
    frame = pl.DataFrame({**ONE_DAY, **changed})
    with pytest.raises(Refusal, match=message) as refusal:
        fit_boundary(frame, contract(*columns), Split(method=method, holdout=0.1))
    assert refusal.value.do


def test_data_without_the_boundary_s_column_is_refused() -> None:
    """A champion's boundary cannot be asked about data that lacks its column."""
    boundary = fit_boundary(rows(100), contract(), Split(method="grouped"))
    with pytest.raises(Refusal, match="has no column who"):
        seen(rows(10).drop("who"), boundary)
