"""Do these rows keep the contract? Every standard check in a streaming scan of its column: size is not memory.

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
from concurrent.futures import ThreadPoolExecutor
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
SPREAD = 8
"""Whole numbers are dense where fewer than so many values are possible for each row."""
LISTED = 100_000
"""Broken rows of a column that are held at once; where there are more, they are counted in a second scan."""
EXAMPLES = 5
SHOWN = 100
"""Most violations that a result holds; the first ones in the contract's order."""
LENGTH = 80
"""Most characters of a value that is shown."""
HIDDEN = "hidden: personal data"
ROW = "number of the row"
"""The name under which rows are numbered while they are checked."""
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
        return _check(_read(paths, contract), as_of, custom)
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
    """One check of a column, and which rows break it (null counts as kept)."""

    check: str
    broken: pl.Expr


@dataclass(frozen=True, kw_only=True)
class _Data:
    """The rows that are checked, numbered and not read yet, and the contract that they are to keep."""

    scan: pl.LazyFrame
    schema: pl.Schema
    rows: int
    contract: Contract

    def only(self, columns: Sequence[str], broken: pl.Expr) -> pl.LazyFrame:
        """The rows in which `broken` holds: their numbers and the values of some columns.

        The Parquet reader answers such a filter itself: it leaves out row groups whose statistics rule it out, and
        asks about repeated text once. That is why each column is asked about in a scan of its own.
        """
        return self.scan.select(ROW, *columns).filter(broken)

    def first(self, columns: Sequence[str], broken: pl.Expr) -> pl.DataFrame:
        """The first of the rows that `only` gives, batch by batch: a filter alone would read far beyond them."""
        found = pl.DataFrame()
        for start in range(0, self.rows, BATCH):
            batch = self.scan.select(ROW, *columns).slice(start, BATCH)
            found = found.vstack(batch.filter(broken).head(EXAMPLES).collect(engine="streaming"))
            if found.height >= EXAMPLES:
                break
        return found

    def violation(self, columns: Sequence[str], check: str, count: int, broken: pl.DataFrame | None) -> Violation:
        """A broken check with the first of the rows that `only` gave."""
        first = [] if broken is None else broken.head(EXAMPLES).select(ROW, *columns).rows()
        return Violation(
            column=", ".join(columns),
            check=check,
            count=count,
            share=count / self.rows,
            examples=tuple((row, _shown(columns, values, self.contract)) for row, *values in first),
        )


def _read(paths: Sequence[Path], contract: Contract) -> _Data:
    scan = pl.scan_parquet(list(paths), row_index_name=ROW)
    schema = pl.Schema({name: dtype for name, dtype in scan.collect_schema().items() if name != ROW})
    rows = scan.select(pl.len()).collect(engine="streaming").item()
    if rows == 0:
        raise _Empty
    return _Data(scan=scan, schema=schema, rows=rows, contract=contract)


def _check(data: _Data, as_of: dt.date, custom: Callable[[pl.DataFrame], list[Any]] | None) -> CheckResult:
    contract = data.contract
    # Looking for duplicates keeps one core busy for a while; the other one goes on with the columns.
    with ThreadPoolExecutor(max_workers=1) as beside:
        duplicates = beside.submit(_all_duplicates, data)
        violations = _schema_violations(data)
        for column in contract.columns:
            if column.name in data.schema:
                violations += _broken(data, column)
        newest = _newest(data)
    violations += duplicates.result()
    violations += _stale(data, as_of, newest)
    if custom is not None and contract.has_custom:
        violations += _custom_violations(data, custom)
    order = {column.name: n for n, column in enumerate(contract.columns)}
    violations.sort(key=lambda one: (order.get(one.column, len(order)), one.column))
    return CheckResult(
        rows=data.rows, as_of=as_of, newest=newest, contract=contract.source, violations=tuple(violations)
    )


def _schema_violations(data: _Data) -> list[Violation]:
    """Columns that are missing, unexpected or of another type; each concerns every row."""
    found: list[Violation] = []
    for column in data.contract.columns:
        name, dtype = column.name, data.schema.get(column.name)
        if dtype is None:
            if column.required:
                found.append(data.violation([name], "missing column", data.rows, None))
        elif dtype != DTYPES[column.dtype]:
            cast = cast_to(column.dtype, name, dtype)
            alien = None if cast is None or len(found) >= SHOWN else data.first([name], lost(name, cast, dtype))
            found.append(data.violation([name], f"is {_type(dtype)}, not {column.dtype}", data.rows, alien))
    if data.contract.strict:
        known = {column.name for column in data.contract.columns}
        for name in data.schema:
            if name not in known:
                found.append(data.violation([name], "unexpected column", data.rows, None))
    return found


def _type(dtype: pl.DataType) -> str:
    """A polars type in the contract's words, where it has one."""
    return next((name for name, kind in DTYPES.items() if kind == dtype), shorten(str(dtype), 40))


def _newest(data: _Data) -> dt.date | None:
    """The day of the newest row, where there is a column of days or times.

    It is mostly among the last rows: beyond them, only row groups that may hold a later day are looked at.
    """
    time = data.contract.time
    if time is None or not isinstance(data.schema.get(time.name), pl.Date | pl.Datetime):
        return None
    value = pl.col(time.name)
    last = data.scan.select(value).tail(BATCH).select(value.max()).collect(engine="streaming").item()
    if isinstance(last, dt.datetime):
        last = dt.datetime.combine(last, dt.time.max, last.tzinfo)
    later = data.scan if last is None else data.scan.filter(value > last)
    newest = later.select(value.max()).collect(engine="streaming").item()
    newest = last if newest is None else newest
    return newest.date() if isinstance(newest, dt.datetime) else newest


def _stale(data: _Data, as_of: dt.date, newest: dt.date | None) -> list[Violation]:
    days, time = data.contract.freshness_days, data.contract.time
    if days is None or time is None:
        return []
    if newest is not None and (as_of - newest).days <= days:
        return []
    return [data.violation([time.name], f"newest row at most {days} days before {as_of}", data.rows, None)]


def _broken(data: _Data, column: Column) -> list[Violation]:
    """The checks on the values of one column that some row breaks."""
    questions = _questions(column, data.schema)
    if not questions:
        return []
    suspects = data.only([column.name], pl.any_horizontal(one.broken for one in questions))
    first = suspects.head(LISTED).collect(engine="streaming")
    counted = first.lazy() if first.height < LISTED else suspects
    counts = counted.select(one.broken.sum().alias(str(n)) for n, one in enumerate(questions))
    found = []
    for one, count in zip(questions, counts.collect(engine="streaming").row(0), strict=True):
        if count:
            rows = first.filter(one.broken)
            if rows.height < min(EXAMPLES, count):
                rows = data.first([column.name], one.broken)
            found.append(data.violation([column.name], one.check, count, rows))
    return found


def _questions(column: Column, schema: pl.Schema) -> list[_Question]:
    """What to count for one column that the data has."""
    value = pl.col(column.name)
    dtype = schema[column.name]
    nan = dtype.is_float()
    found = []
    if not column.nullable:
        found.append(_Question("not null", value.is_null() | value.is_nan() if nan else value.is_null()))
    for check in column.checks:
        broken = broken_by(check, column.dtype)(value)
        if dtype != DTYPES[column.dtype] and not _runs(broken, column.name, dtype):
            continue  # The wrong type is a violation already; this check has no meaning for it.
        if nan and check.kind in ("lt", "le", "eq", "isin"):
            broken = broken & value.is_not_nan()
        found.append(_Question(check.label, broken))
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


def _all_duplicates(data: _Data) -> list[Violation]:
    """The columns, and the combinations of them, whose values must occur once and do not."""
    keys: list[tuple[str, ...]] = [(column.name,) for column in data.contract.columns if column.unique]
    found = []
    for key in [*keys, *data.contract.unique_together]:
        if set(key) <= set(data.schema):
            count, again = _duplicates(data, key)
            if again is not None:
                found.append(data.violation(key, "unique", count, data.first(key, again)))
    return found


def _duplicates(data: _Data, key: tuple[str, ...]) -> tuple[int, pl.Expr | None]:
    """How many rows share their value of `key` with another row, and an expression that holds in those rows.

    Values are held one partition at a time. A column of numbers or times is put in order, which takes a fraction of the
    memory of a hash table; text and combinations are grouped.
    """
    together = [_normal(name, data.schema[name]).alias(name) for name in key]
    values = data.scan.select(together)
    is_ordered = len(key) == 1 and (data.schema[key[0]].is_numeric() or data.schema[key[0]].is_temporal())
    parts = math.ceil(data.rows / PARTITION)
    count, shared = 0, []
    for part in range(parts):
        rest = values.filter(pl.struct(key).hash(seed=7) % parts == part) if parts > 1 else values
        found, again = _in_order(rest) if is_ordered else _by_grouping(rest, key)
        count += found
        shared.append(again)
    if not count:
        return 0, None
    held = pl.concat(shared)
    if len(key) == 1:
        return count, together[0].is_in(held.to_series().implode(), nulls_equal=True)
    return count, pl.struct(together).is_in(held.to_struct().implode(), nulls_equal=True)


def _in_order(values: pl.LazyFrame) -> tuple[int, pl.DataFrame]:
    """How many rows of one column share their value with another, and the values that are shared."""
    column = values.collect(engine="streaming").to_series()
    again = _marked(column) if _is_dense(column) else _repeats(column)
    # Of n equal values n - 1 are repeats, so each value that is shared adds one row.
    shared = again.unique()
    return len(again) + len(shared), shared.to_frame()


def _repeats(column: pl.Series) -> pl.Series:
    """All but one of each group of equal values, by sorting."""
    column = column.sort()
    same = column.slice(1).eq_missing(column.head(max(0, len(column) - 1)))
    return column.slice(1).filter(same)


def _is_dense(column: pl.Series) -> bool:
    """Whether these are whole numbers that lie close together, as ids do."""
    if column.dtype != pl.Int64 or column.null_count() or column.is_empty():
        return False
    low, high = _span(column)
    return high - low < SPREAD * len(column)


def _span(column: pl.Series) -> tuple[int, int]:
    low: Any = column.min()
    high: Any = column.max()
    return low, high


def _marked(column: pl.Series) -> pl.Series:
    """What `_repeats` gives, for a dense column: one bit per possible value, at a fraction of the cost of sorting."""
    low, high = _span(column)
    seen = pl.repeat(False, high - low + 1, eager=True)
    marks, repeats = 0, [column.clear()]
    for start in range(0, len(column), BATCH):
        part = column.slice(start, BATCH)
        place = (part - low).cast(pl.UInt32)
        known = seen.gather(place)
        repeats.append(part.filter(known))
        seen.scatter(place, True)
        before, marks = marks, int(seen.sum())
        if marks - before < len(part) - len(repeats[-1]):
            repeats.append(_repeats(part.filter(~known)))
    return pl.concat(repeats)


def _by_grouping(values: pl.LazyFrame, key: tuple[str, ...]) -> tuple[int, pl.DataFrame]:
    """The same for text and for combinations."""
    groups = values.group_by(key).agg(pl.len().alias("__count")).filter(pl.col("__count") > 1)
    repeated = groups.collect(engine="streaming")
    return int(repeated["__count"].sum()), repeated.select(key)


def _normal(name: str, dtype: pl.DataType) -> pl.Expr:
    """The column with NaN as null, so that missing values are one value."""
    return pl.col(name).fill_nan(None) if dtype.is_float() else pl.col(name)


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


def _custom_violations(data: _Data, custom: Callable[[pl.DataFrame], list[Any]]) -> list[Violation]:
    """Run the custom checks batch by batch, and add up what they found."""
    counts: dict[tuple[str, str], int] = {}
    examples: dict[tuple[str, str], list[tuple[int, Any]]] = {}
    for start in range(0, data.rows, BATCH):
        batch = data.scan.select(data.schema.names()).slice(start, BATCH).collect(engine="streaming")
        for column, name, bad, count in custom(batch):
            key = (column, f"custom {name}")
            if count == 0:
                continue
            counts[key] = counts.get(key, 0) + count
            kept = examples.setdefault(key, [])
            for row in [] if bad is None else bad.head(EXAMPLES - len(kept)).to_list():
                value = batch[column][row] if column in data.schema else None
                kept.append((start + row, shown_value(value, column, data.contract)))
    return [
        Violation(
            column=column or "(row)",
            check=shorten(check, LENGTH),
            count=count,
            share=count / data.rows,
            examples=tuple(examples[column, check]),
        )
        for (column, check), count in counts.items()
    ]
