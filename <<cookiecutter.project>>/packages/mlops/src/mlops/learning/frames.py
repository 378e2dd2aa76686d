"""What does an estimator get? Rows as pandas: numbers as float64 (missing is NaN), text as objects (missing is None).

One function makes these frames for training, evaluation and serving-like prediction, so they cannot differ.
"""

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl

from mlops.data.profile import profile
from mlops.errors import Refusal, counted

if TYPE_CHECKING:
    from mlops.data.contract import Column, Contract

NUMBERS = ("int", "float", "bool")
PROOF = 24
"""Rows on which another way to ask a model must give the same predictions."""


@dataclass(frozen=True)
class Feature:
    """One input of a model; one that is not `required` counts as missing where its column is absent."""

    name: str
    dtype: str
    required: bool = True


def of_contract(contract: "Contract") -> tuple[Feature, ...]:
    """The features of a contract, in its order."""
    return tuple(Feature(column.name, column.dtype, column.required) for column in contract.features)


def target_name(contract: "Contract", *, where: str) -> str:
    """The column that is predicted; a contract without one is refused."""
    if contract.target is None:
        raise Refusal(f"{where}: the contract has no target.", do='Give one column the metadata {"role": "target"}.')
    return contract.target.name


def features(frame: pl.DataFrame, columns: Sequence[Feature], *, where: str) -> pd.DataFrame:
    """The columns named, in that order, (n, features); other columns are left out.

    Refuses a missing column and a value that is not of its column's type; `where` names the rows in the refusal.
    """
    missing = [column.name for column in columns if column.required and column.name not in frame.columns]
    if missing:
        raise Refusal(
            f"{where} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing[:10])}.",
            do="The model needs every required feature of its contract; give them all.",
        )
    return pd.DataFrame({column.name: _feature(frame, column, where) for column in columns})


def _feature(frame: pl.DataFrame, column: Feature, where: str) -> Any:
    name, dtype = column.name, column.dtype
    if dtype not in (*NUMBERS, "str"):
        raise Refusal(
            f"{where}: the feature {name} is a {dtype}.",
            do="Estimators take numbers and text: derive a number from it in ingest.py, or give it the role context.",
        )
    kind = pl.Float64 if dtype in NUMBERS else pl.String
    if name not in frame.columns:
        frame = frame.with_columns(pl.lit(None).alias(name))
    try:
        series = frame[name].cast(kind)
    except pl.exceptions.PolarsError:
        raise Refusal(
            f"{where}: {name} holds a value that is not {dtype}.", do="Give the types of the contract."
        ) from None
    return series.to_numpy() if dtype in NUMBERS else np.array(series.to_list(), dtype=object)


def target(frame: pl.DataFrame, name: str, *, task: str, where: str) -> pd.Series:
    """The target (n,): labels as they are for classification, float64 for regression; refuses missing values."""
    if name not in frame.columns:
        raise Refusal(f"{where} lacks the target {name}.", do="Check the contract; then `mlops repro` makes it anew.")
    series = frame[name]
    if series.null_count():
        raise Refusal(
            f"{where}: {name} is missing in {counted(series.null_count(), 'row')}.",
            do="A row without its target cannot be learnt from: make the column not nullable in contract.py.",
        )
    if task == "regression":
        return pd.Series(series.cast(pl.Float64).to_numpy(), name=name)
    values = series.to_list()
    return pd.Series(values, name=name, dtype=object if series.dtype == pl.String else None)


def golden_row(frame: pl.DataFrame, columns: Sequence[Feature]) -> dict[str, Any]:
    """A typical row that is nobody's: each column's middle number or most frequent text."""
    present = [column for column in columns if column.name in frame.columns]
    return {column.name: _typical(frame[column.name].drop_nulls(), column.dtype) for column in present}


def proof_rows(frame: pl.DataFrame, contract: "Contract") -> list[dict[str, Any]]:
    """Rows that are nobody's and reach far: edges of the data, the categories, gaps where there are some.

    The service shows on them that its faster way to ask the model is the same one. The values are those of the
    reference profile, so that a personal column tells nothing of one person.
    """
    # As many bins as leave room for both ends and a gap.
    found = profile(frame, contract.features, PROOF - 2)["columns"]
    values = {column.name: _reaching(column, found[column.name]) for column in contract.features}
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def _reaching(column: "Column", found: Mapping[str, Any]) -> list[Any]:
    """`PROOF` values of one column from its profile, each as often as there is room, in an order of its own."""
    if column.dtype == "bool":
        known: list[Any] = [False, True]
    elif found["kind"] == "category":
        known = list(found["counts"])
    else:
        known = [end for end in (found["min"], *found["edges"], found["max"]) if end is not None]
        known = sorted({int(value) for value in known} if column.dtype == "int" else set(known))
    if found["missing"] or not known:
        known = [None, *known]
    values = list(itertools.islice(itertools.cycle(known), PROOF))
    random.Random(column.name).shuffle(values)
    return values


def _typical(series: pl.Series, dtype: str) -> Any:
    if series.is_empty():
        return None
    if dtype in ("bool", "str"):
        return series.mode().sort()[0]
    # An observed value and no mean of two: trees put their thresholds between values.
    return series.sort()[(len(series) - 1) // 2]
