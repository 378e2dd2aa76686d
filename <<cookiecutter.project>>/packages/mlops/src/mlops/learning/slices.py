"""Which rows does an SQL expression of `model.toml` mean? Slices (yes or no) and groups (a label), over the columns."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops.errors import Refusal

MISSING = "(missing)"


def mask(frame: pl.DataFrame, *, name: str, where: str, model: str) -> NDArray[np.bool_]:
    """Which of the rows (n,) are in the slice; a row for which the expression has no answer is not."""
    what = f"{model}: the slice {name!r}"
    found = _column(frame, where, what)
    if found.dtype != pl.Boolean:
        raise Refusal(
            f"{what}: {where!r} gives {found.dtype} and not true or false.",
            do='Write a condition, such as "age < 50", in [[evaluate.slices]] of model.toml.',
        )
    return found.fill_null(False).to_numpy()


def labels(frame: pl.DataFrame, *, name: str, expression: str, model: str) -> NDArray[np.str_]:
    """The group of each row (n,) as text."""
    found = _column(frame, expression, f"{model}: the group {name!r}")
    return np.array(found.cast(pl.String).fill_null(MISSING).to_list(), dtype=str)


def _column(frame: pl.DataFrame, expression: str, what: str) -> pl.Series:
    try:
        return frame.with_columns(pl.sql_expr(expression).alias("\0found"))["\0found"]
    # polars has an error class of its own for each way in which an expression can be wrong, and some are Rust panics.
    except (pl.exceptions.PolarsError, TypeError, ValueError, pl.exceptions.PanicException) as error:
        # polars goes on to list all columns; so do we, below.
        said = (str(error).strip().splitlines() or [type(error).__name__])[0].partition("; valid columns")[0][:200]
        raise Refusal(
            f"{what}: {expression!r} cannot be evaluated: {said}",
            do=f"Use SQL over the columns of the contract: {', '.join(frame.columns[:20])}.",
        ) from None
