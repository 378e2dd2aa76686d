"""Do these rows keep the contract? Every standard check in one streaming scan, so that size is not memory.

What counts as missing: null, and NaN in a column of floats. Missing values break `nullable=False` and `unique`
(two missing values are equal), and no other check: ranges, categories and patterns are asked of what is there.
Counts are those of pandera's lazy validation. Where its two libraries disagree, NaN (missing, as on pandas), patterns
with alternatives (`a|b` is matched at the start, as on pandas) and missing values among duplicates (counted, as on
polars) are what these sentences say.

A violation of the schema itself (a column that is missing, unexpected or of another type) and a missed freshness
concern every row. Custom checks run in pandera on batches of `BATCH` rows: such a check sees a batch, not the whole.
"""

import datetime as dt
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from mlops.data.casting import DTYPES, cast_to, lost
from mlops.data.contract import Check, Column, Contract, shorten
from mlops.errors import Refusal

BATCH = 500_000
"""Rows that a custom check sees at once."""
PARTITION = 50_000_000
"""Rows whose values are held at once while duplicates are counted."""
EXAMPLES = 5
SHOWN = 100
"""Most violations that a result holds; the first ones in the contract's order."""
LENGTH = 80
"""Most characters of a value that is shown."""
HIDDEN = "hidden: personal data"
FEW = 8
_LONGEST = 2**32 - 1


@dataclass(frozen=True, kw_only=True)
class Violation:
    """One check that one column breaks: in how many rows, which share of all, and the first of them."""

    column: str
    check: str
    count: int
    share: float
    examples: tuple[tuple[int, Any], ...] = ()
    """Row numbers (from 0, over all files) and values; values of personal columns are hidden."""


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """What the check of a whole data set found."""

    rows: int
    as_of: dt.date
    newest: dt.date | None
    contract: str
    violations: tuple[Violation, ...]

    @property
    def passed(self) -> bool:
        """Whether every check is kept."""
        return not self.violations

    def to_json(self) -> dict[str, Any]:
        """The value that `check.json` holds: at most `SHOWN` violations, and how many were left out."""
        return {
            "passed": self.passed,
            "rows": self.rows,
            "as_of": self.as_of.isoformat(),
            "newest": self.newest.isoformat() if self.newest else None,
            "contract": self.contract,
            "violations_left_out": max(0, len(self.violations) - SHOWN),
            "violations": [
                {
                    "column": shorten(one.column, LENGTH),
                    "check": one.check,
                    "count": one.count,
                    "share": one.share,
                    "examples": [{"row": row, "value": value} for row, value in one.examples],
                }
                for one in self.violations[:SHOWN]
            ],
        }


def check_files(
    paths: Sequence[Path],
    contract: Contract,
    *,
    as_of: dt.date,
    custom: Callable[[pl.DataFrame], list[Any]] | None = None,
) -> CheckResult:
    """Check the rows of Parquet files, one after another, as one data set.

    `as_of` is the day against which freshness is measured. `custom` runs the contract's custom checks on a batch
    (`mlops.data.compile.custom_runner`); a contract that has some is refused without it, because unchecked is not
    passed. No rows, and files that are not Parquet, are refused.
    """
    if contract.has_custom and custom is None:
        raise ValueError("the contract has custom checks and nobody to run them")
    files = ", ".join(path.name for path in paths[:3])
    try:
        scan = pl.scan_parquet(list(paths))
        schema = scan.collect_schema()
        return _check(scan, schema, contract, as_of, custom)
    except FileNotFoundError:
        raise Refusal(f"{files} does not exist.", do="The ingest stage writes it.") from None
    except _Empty:
        raise Refusal(f"{files} has no rows.", do="Look at data.source and data.as_of in model.toml.") from None
    except pl.exceptions.PolarsError as error:
        raise Refusal(f"{files} cannot be read: {shorten(str(error), 200)}", do="Run ingest again.") from None


class _Empty(Exception):
    """The data has no rows."""


@dataclass(frozen=True)
class _Question:
    """One thing to count in the scan: rows where `broken` holds (null counts as kept)."""

    column: str
    check: str
    count: pl.Expr
    broken: pl.Expr


@dataclass(frozen=True)
class _Found:
    """One broken check: the columns that it is about, how many rows break it, and which, where that can be said."""

    columns: tuple[str, ...]
    check: str
    count: int
    broken: pl.Expr | None


def _check(
    scan: pl.LazyFrame,
    schema: pl.Schema,
    contract: Contract,
    as_of: dt.date,
    custom: Callable[[pl.DataFrame], list[Any]] | None,
) -> CheckResult:
    questions = [one for column in contract.columns if column.name in schema for one in _questions(column, schema)]
    time = contract.time if contract.time and contract.time.name in schema else None
    keys: list[tuple[str, ...]] = [
        (column.name,) for column in contract.columns if column.unique and column.name in schema
    ]
    keys += [names for names in contract.unique_together if set(names) <= set(schema)]

    selected = [pl.len().alias("rows")]
    selected += [question.count.alias(f"q{n}") for n, question in enumerate(questions)]
    if time and schema[time.name].is_temporal():
        selected.append(pl.col(time.name).max().alias("newest"))
    facts = scan.select(selected).collect(engine="streaming").row(0, named=True)
    rows = facts["rows"]
    if rows == 0:
        raise _Empty

    found = _schema_violations(schema, contract, rows)
    found += [
        _Found((question.column,), question.check, facts[f"q{n}"], question.broken)
        for n, question in enumerate(questions)
        if facts[f"q{n}"]
    ]
    for key in keys:
        count, first = _duplicates(scan, schema, key, rows)
        if count:
            found.append(_Found(key, "unique", count, first))
    newest = facts.get("newest")
    newest = newest.date() if isinstance(newest, dt.datetime) else newest
    found += _stale(contract, as_of, newest, rows)
    violations = _with_examples(scan, contract, found, rows)
    if custom is not None and contract.has_custom:
        violations += _custom_violations(scan, schema, contract, custom, rows)
    order = {column.name: n for n, column in enumerate(contract.columns)}
    violations.sort(key=lambda one: (order.get(one.column, len(order)), one.column))
    return CheckResult(rows=rows, as_of=as_of, newest=newest, contract=contract.source, violations=tuple(violations))


def _schema_violations(schema: pl.Schema, contract: Contract, rows: int) -> list[_Found]:
    """Columns that are missing, unexpected or of another type; each concerns every row."""
    found: list[_Found] = []
    for column in contract.columns:
        if column.name not in schema:
            if column.required:
                found.append(_Found((column.name,), "missing column", rows, None))
        elif schema[column.name] != DTYPES[column.dtype]:
            cast = cast_to(column.dtype, column.name, schema[column.name])
            alien = None if cast is None else lost(column.name, cast, schema[column.name])
            said = f"is {_type(schema[column.name])}, not {column.dtype}"
            found.append(_Found((column.name,), said, rows, alien))
    if contract.strict:
        known = {column.name for column in contract.columns}
        found += [_Found((name,), "unexpected column", rows, None) for name in schema if name not in known]
    return found


def _type(dtype: pl.DataType) -> str:
    """A polars type in the contract's words, where it has one."""
    return next((name for name, kind in DTYPES.items() if kind == dtype), shorten(str(dtype), 40))


def _stale(contract: Contract, as_of: dt.date, newest: dt.date | None, rows: int) -> list[_Found]:
    days, time = contract.freshness_days, contract.time
    if days is None or time is None:
        return []
    if newest is not None and (as_of - newest).days <= days:
        return []
    return [_Found((time.name,), f"newest row at most {days} days before {as_of}", rows, None)]


def _questions(column: Column, schema: pl.Schema) -> list[_Question]:
    """What to count for one column that the data has."""
    value = pl.col(column.name)
    dtype = schema[column.name]
    nan = dtype.is_float()
    found = []
    if not column.nullable:
        missing, count = value.is_null(), value.null_count()
        if nan:
            missing, count = missing | value.is_nan(), count + value.is_nan().sum()
        found.append(_Question(column.name, "not null", count, missing))
    for check in column.checks:
        broken = broken_by(check, column.dtype)(value)
        if dtype != DTYPES[column.dtype] and not _runs(broken, column.name, dtype):
            continue  # The wrong type is a violation already; this check has no meaning for it.
        count = broken.sum()
        if nan and check.kind in ("lt", "le", "eq", "isin"):
            # NaN compares as the greatest value: subtracting its count costs less than a second mask.
            count = count - value.is_nan().sum()
            broken = broken & value.is_not_nan()
        found.append(_Question(column.name, check.label, count, broken))
    return found


def broken_by(check: Check, dtype: str) -> Callable[[pl.Expr], pl.Expr]:
    """The rows that break a standard check, as a boolean expression of the column's; null where the value is null.

    NaN breaks `lt`, `le`, `eq` and `isin` here; the caller takes it out, as it is missing.
    """
    wanted = _literals(check.value, dtype)
    match check.kind:
        case "ge":
            return lambda value: value < wanted
        case "gt":
            return lambda value: value <= wanted
        case "le":
            return lambda value: value > wanted
        case "lt":
            return lambda value: value >= wanted
        case "eq":
            return lambda value: value != wanted
        case "ne":
            return lambda value: value == wanted
        case "isin" if dtype == "str" and 0 < len(wanted) <= FEW:
            # Comparing short text a few times is faster than looking it up.
            return lambda value: pl.all_horizontal(value != one for one in wanted)
        case "isin":
            return lambda value: value.is_in(wanted).not_()
        case "notin":
            return lambda value: value.is_in(wanted)
        case "str_matches":
            return lambda value: value.str.contains(f"^(?:{check.value})").not_()
        case "str_contains":
            return lambda value: value.str.contains(check.value).not_()
        case "str_startswith":
            return lambda value: value.str.starts_with(check.value).not_()
        case "str_endswith":
            return lambda value: value.str.ends_with(check.value).not_()
        case _:
            least, most = check.value
            return lambda value: value.str.len_chars().is_between(least or 0, _LONGEST if most is None else most).not_()


def _literals(value: Any, dtype: str) -> Any:
    """A check's value (or list of values) as polars compares it: days and times out of their ISO text."""
    if isinstance(value, list):
        return [_literals(one, dtype) for one in value]
    if dtype == "date" and isinstance(value, str):
        return dt.date.fromisoformat(value)
    if dtype == "datetime" and isinstance(value, str):
        return dt.datetime.fromisoformat(value)
    return value


def _runs(broken: pl.Expr, name: str, dtype: pl.DataType) -> bool:
    """Whether an expression has a meaning for a column of that type."""
    try:
        pl.LazyFrame(schema={name: dtype}).select(broken).collect()
    except (pl.exceptions.PolarsError, TypeError):
        return False
    return True


def prove(contract: Contract, where: str) -> None:
    """Refuse a contract with a check that has no meaning for its column, before any data is read."""
    for column in contract.columns:
        for check in column.checks:
            do = "Mend the check or the column's type; regular expressions have no look-around and no back-references."
            try:
                broken = broken_by(check, column.dtype)(pl.col(column.name))
                pl.LazyFrame({column.name: []}, schema={column.name: DTYPES[column.dtype]}).select(broken).collect()
                if column.dtype == "str":
                    pl.select(broken_by(check, column.dtype)(pl.lit("")))
            except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
                said = shorten(str(error), 160)
                raise Refusal(f"{where}: column {column.name} ({column.dtype}), {check.label}: {said}", do=do) from None
    for name in [name for names in contract.unique_together for name in names]:
        if contract.column(name) is None:
            raise Refusal(f"{where}: Config.unique names {name}, which is no column.", do="Name columns that it has.")


def _duplicates(scan: pl.LazyFrame, schema: pl.Schema, key: tuple[str, ...], rows: int) -> tuple[int, pl.Expr | None]:
    """How many rows share their value of `key` with another row, and an expression that holds in those rows.

    Values are held one partition at a time. A column of numbers or times is sorted, which takes a fraction of the
    memory of a hash table; text and combinations are grouped.
    """
    values = scan.select(_normal(name, schema[name]).alias(name) for name in key)
    is_sorted = len(key) == 1 and (schema[key[0]].is_numeric() or schema[key[0]].is_temporal())
    parts = math.ceil(rows / PARTITION)
    count, repeated = 0, []
    for part in range(parts):
        rest = values.filter(pl.struct(key).hash(seed=7) % parts == part) if parts > 1 else values
        found, again = _by_sorting(rest) if is_sorted else _by_grouping(rest, key)
        count += found
        repeated.append(again)
    if not count:
        return 0, None
    held = pl.concat(repeated)
    if len(key) == 1:
        return count, _normal(key[0], schema[key[0]]).is_in(held.to_series().implode(), nulls_equal=True)
    together = pl.struct(_normal(name, schema[name]).alias(name) for name in key)
    return count, together.is_in(held.to_struct().implode(), nulls_equal=True)


def _by_sorting(values: pl.LazyFrame) -> tuple[int, pl.DataFrame]:
    """How many rows of one column share their value with another, and the values that are shared."""
    column = values.collect(engine="streaming").to_series().sort(in_place=True)
    same = column.slice(1).eq_missing(column.head(max(0, len(column) - 1)))
    if not same.any():
        return 0, column.head(0).to_frame()
    repeated = column.slice(1).filter(same)
    # A run of n equal values has n - 1 equal neighbours, so each value that is shared adds one row.
    shared = repeated.unique()
    return len(repeated) + len(shared), shared.to_frame()


def _by_grouping(values: pl.LazyFrame, key: tuple[str, ...]) -> tuple[int, pl.DataFrame]:
    """The same for text and for combinations."""
    groups = values.group_by(key).agg(pl.len().alias("__count")).filter(pl.col("__count") > 1)
    repeated = groups.collect(engine="streaming")
    return int(repeated["__count"].sum()), repeated.select(key)


def _normal(name: str, dtype: pl.DataType) -> pl.Expr:
    """The column with NaN as null, so that missing values are one value."""
    return pl.col(name).fill_nan(None) if dtype.is_float() else pl.col(name)


def _with_examples(scan: pl.LazyFrame, contract: Contract, found: list[_Found], rows: int) -> list[Violation]:
    """The violations with their first rows: a second look at the data, which ends as soon as all have theirs.

    It goes batch by batch over the columns that are still asked for, because many filters at once hold many buffers.
    """
    examples: list[list[tuple[int, Any]]] = [[] for _ in found]
    asked = {n: one.broken for n, one in enumerate(found[:SHOWN]) if one.broken is not None}
    for start in range(0, rows, BATCH):
        if not asked:
            break
        names = sorted({name for n in asked for name in found[n].columns})
        batch = scan.select(names).slice(start, BATCH).with_row_index("__row", offset=start).collect(engine="streaming")
        for n, broken in list(asked.items()):
            one, kept = found[n], examples[n]
            first = batch.lazy().filter(broken).select("__row", *one.columns).head(EXAMPLES - len(kept)).collect()
            kept += [(row, _shown(one.columns, values, contract)) for row, *values in first.rows()]
            if len(kept) == min(EXAMPLES, one.count):
                del asked[n]
    return [
        Violation(
            column=", ".join(one.columns),
            check=one.check,
            count=one.count,
            share=one.count / rows,
            examples=tuple(kept),
        )
        for one, kept in zip(found, examples, strict=True)
    ]


def _shown(columns: Sequence[str], values: Sequence[Any], contract: Contract) -> Any:
    """The values of one row as a report may show them: one as it is, several as text."""
    shown = [shown_value(value, name, contract) for name, value in zip(columns, values, strict=True)]
    return shown[0] if len(shown) == 1 else shorten(", ".join(str(value) for value in shown), LENGTH)


def shown_value(value: Any, column: str, contract: Contract) -> Any:
    """A value as a report may show it: short, in JSON's types, and hidden where the column is personal."""
    known = contract.column(column)
    if known and known.personal:
        return HIDDEN
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return shorten(value.isoformat() if isinstance(value, dt.date) else str(value), LENGTH)


def _custom_violations(
    scan: pl.LazyFrame,
    schema: pl.Schema,
    contract: Contract,
    custom: Callable[[pl.DataFrame], list[Any]],
    rows: int,
) -> list[Violation]:
    """Run the custom checks batch by batch, and add up what they found."""
    counts: dict[tuple[str, str], int] = {}
    examples: dict[tuple[str, str], list[tuple[int, Any]]] = {}
    for start in range(0, rows, BATCH):
        batch = scan.slice(start, BATCH).collect(engine="streaming")
        for column, name, bad, count in custom(batch):
            key = (column, f"custom {name}")
            if count == 0:
                continue
            counts[key] = counts.get(key, 0) + count
            kept = examples.setdefault(key, [])
            for row in [] if bad is None else bad.head(EXAMPLES - len(kept)).to_list():
                value = batch[column][row] if column in schema else None
                kept.append((start + row, shown_value(value, column, contract)))
    return [
        Violation(
            column=column or "(row)",
            check=shorten(check, LENGTH),
            count=count,
            share=count / rows,
            examples=tuple(examples[column, check]),
        )
        for (column, check), count in counts.items()
    ]
