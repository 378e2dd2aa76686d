"""Data: the rows of `ingest.py` keep the contract, arrive as the day advances, and never change afterwards."""

import datetime as dt
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mlops.config import ModelConfig
from mlops.data import sources
from mlops.data.check import CheckResult, check_files
from mlops.data.compile import custom_runner
from mlops.data.contract import Contract
from mlops.data.split import assign, fit_boundary
from mlops.workspace import Model


def check(rows: pl.DataFrame, *, model: Model, contract: Contract, as_of: dt.date, folder: Path) -> CheckResult:
    """What the check stage finds in these rows."""
    path = folder / "rows.parquet"
    rows.write_parquet(path)
    custom = custom_runner(model.contract) if contract.has_custom else None
    return check_files([path], contract, as_of=as_of, custom=custom)


def test_the_rows_keep_the_contract(
    rows: pl.DataFrame, model: Model, contract: Contract, config: ModelConfig, tmp_path: Path
) -> None:
    """Up to the day in `model.toml`, freshness included."""
    as_of = dt.date.fromisoformat(config.data.as_of)
    result = check(rows, model=model, contract=contract, as_of=as_of, folder=tmp_path)
    assert not result.violations
    assert result.rows == rows.height > 0


def test_the_contract_notices_what_it_promises(
    rows: pl.DataFrame, model: Model, contract: Contract, config: ModelConfig, tmp_path: Path
) -> None:
    """Its breaker: a value out of range, a repeated number, a missing column and a month without rows."""
    as_of = dt.date.fromisoformat(config.data.as_of)
    late = as_of + dt.timedelta(days=365)
    for broken, day in (
        (rows.with_columns(pl.lit(-1.0).alias(MEASURED)), as_of),
        (pl.concat([rows, rows.tail(1)]), as_of),
        (rows.drop(MEASURED), as_of),
        (rows, late),
    ):
        found = check(broken, model=model, contract=contract, as_of=day, folder=tmp_path).violations
        assert len(found) == 1, found


def test_every_row_has_a_number_of_its_own(rows: pl.DataFrame, contract: Contract) -> None:
    """The id is what the split, and a comparison of two versions, know a row by."""
    assert contract.id is not None
    assert rows[contract.id.name].n_unique() == rows.height


@pytest.mark.parametrize("days", [1, 30, 365])
def test_new_rows_arrive_and_old_ones_never_change(
    days: int, rows: pl.DataFrame, model: Model, contract: Contract, config: ModelConfig
) -> None:
    """What was known on an earlier day is known in the same words later; nothing comes from the future."""
    assert contract.id is not None
    assert contract.time is not None
    earlier = dt.date.fromisoformat(config.data.as_of) - dt.timedelta(days=days)
    before = sources.replay(model, earlier).collect()
    assert before[contract.time.name].max() <= earlier
    number = contract.id.name
    kept = rows.filter(pl.col(number).is_in(before[number].implode())).sort(number)
    assert_frame_equal(kept, before.sort(number))
    fresh = rows.filter(pl.col(contract.time.name) > earlier)
    assert before.height + fresh.height == rows.height
    if days >= 30:
        assert fresh.height > 0


def test_no_row_is_both_trained_on_and_held_out(rows: pl.DataFrame, contract: Contract, config: ModelConfig) -> None:
    """The split of `model.toml` separates by number, and by day where it goes by time."""
    assert contract.id is not None
    holdout = assign(rows, fit_boundary(rows, contract, config.split))
    train, kept = rows.filter(~holdout), rows.filter(holdout)
    assert not set(train[contract.id.name]) & set(kept[contract.id.name])
    if config.split.method == "time":
        assert contract.time is not None
        assert train[contract.time.name].max() < kept[contract.time.name].min()


#? if cookiecutter.task == "classification"
MEASURED = "mean_radius"
#? else
MEASURED = "bmi"
#? endif
