"""What does `models/<name>/contract.py` say? Its pandera class becomes a `Contract` of plain values.

The result is cached by the digest of the file, of this module and pandera's version, so that a check of unchanged
rules imports no pandera. What the file imports from elsewhere is not part of that digest: keep a contract in one file.

Checks that pandera defines itself are compiled; a check that you wrote (`@pa.check`, `@pa.dataframe_check`), or a
built-in one with unusual settings, stays with pandera, which `custom_runner` calls on one batch of rows at a time.
"""

import datetime as dt
import hashlib
import importlib.metadata
import importlib.util
import inspect
import json
import math
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops.data.contract import ROLES, Check, Column, Contract, shorten
from mlops.errors import Refusal
from mlops.files import conflict, digest, write_json

if TYPE_CHECKING:
    import polars as pl

_FIELD_KEYS = ("role", "personal")
_CONFIG_KEYS = ("owner", "freshness_days")
_ONE_OF_A_KIND = ("id", "time", "target", "group")


def compile_contract(path: Path, *, cache: Path | None) -> Contract:
    """The contract in `path`, from `cache` (a folder) when nothing changed; a broken file is refused in one line."""
    if not path.is_file():
        raise Refusal(f"{_short(path)} does not exist.", do="Every model has one; `make new-model` writes an example.")
    key = hashlib.sha256()
    for part in (path.read_bytes(), Path(__file__).read_bytes(), importlib.metadata.version("pandera").encode()):
        key.update(hashlib.sha256(part).digest())
    kept = cache / f"{key.hexdigest()}.json" if cache else None
    if kept and kept.is_file():
        try:
            return Contract.from_json(json.loads(kept.read_text(encoding="utf-8")))
        except (KeyError, TypeError, ValueError):
            pass  # A damaged cache is made again.
    contract = _compile(path)
    if kept:
        write_json(kept, contract.to_json())
    return contract


def load_class(path: Path) -> Any:
    """The pandera class `Contract` of a contract file; whatever goes wrong in it is one `Refusal`."""
    try:
        import pandera.polars as pa
    except ModuleNotFoundError:
        raise Refusal("pandera is not installed.", do="`make setup` installs what the checks need.") from None
    name = f"_contract_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        found = getattr(module, "Contract", None)
        if not (inspect.isclass(found) and issubclass(found, pa.DataFrameModel)):
            raise Refusal(
                f"{_short(path)} has no class Contract(pa.DataFrameModel).",
                do="Write one with `import pandera.polars as pa`; docs/how-to/own-data.md shows how.",
            )
        found.to_schema()
    except Refusal:
        raise
    except (Exception, SystemExit) as error:
        raise _broken(path, error) from None
    finally:
        sys.modules.pop(name, None)
    return found


def _compile(path: Path) -> Contract:
    model = load_class(path)
    schema = model.to_schema()
    where = _short(path)
    settings = getattr(model.__config__, "metadata", None) or {}
    _refuse_unknown(settings, _CONFIG_KEYS, f"{where}: Config.metadata")
    freshness = settings.get("freshness_days")
    if freshness is not None and (type(freshness) is not int or freshness < 0):
        raise Refusal(f"{where}: freshness_days is {freshness!r}.", do="It must be a whole number of days, or None.")
    if any(column.default is not None for column in schema.columns.values()):
        raise Refusal(f"{where} changes data (a default).", do="A contract only checks; fill values in with ingest.")
    contract = Contract(
        source=digest(path),
        owner=str(settings.get("owner", "")),
        description=inspect.cleandoc(model.__doc__ or ""),
        freshness_days=freshness,
        columns=tuple(_column(column, where) for column in schema.columns.values()),
        strict=schema.strict is True,
        unique_together=_groups(schema.unique or []),
        custom=tuple(_name(check, n) for n, check in enumerate(schema.checks)),
    )
    _check_roles(contract, where)
    from mlops.data.check import prove

    prove(contract, where)
    return contract


def _column(column: Any, where: str) -> Column:
    where = f"{where}: column {column.name}"
    metadata = column.metadata or {}
    _refuse_unknown(metadata, _FIELD_KEYS, f"{where}: metadata")
    role = metadata.get("role", "feature")
    if role not in ROLES:
        raise Refusal(f"{where} has the role {role!r}.", do=f"A role can be {', '.join(ROLES)}.")
    if column.regex:
        raise Refusal(f"{where} is a pattern (regex=True).", do="Name every column by itself.")
    if type(metadata.get("personal", False)) is not bool:
        raise Refusal(f"{where}: personal is {metadata['personal']!r}.", do="It must be True or False.")
    checks: list[Check] = []
    custom = []
    for n, check in enumerate(column.checks):
        standard = _standard(check, where)
        if standard is None:
            custom.append(_name(check, n))
        else:
            checks.extend(one for one in standard if one not in checks)
    return Column(
        name=column.name,
        dtype=_dtype(column, where),
        nullable=bool(column.nullable),
        unique=bool(column.unique),
        required=bool(column.required),
        checks=tuple(checks),
        custom=tuple(custom),
        role=role,
        personal=metadata.get("personal", False),
        description=column.description or "",
    )


def _dtype(column: Any, where: str) -> str:
    import polars as pl

    names: tuple[tuple[Any, str], ...] = (
        (pl.Int64(), "int"),
        (pl.Float64(), "float"),
        (pl.String(), "str"),
        (pl.Boolean(), "bool"),
        (pl.Date(), "date"),
        (pl.Datetime("us"), "datetime"),
    )
    kind = getattr(column.dtype, "type", None)
    for dtype, name in names:
        if kind == dtype:
            return name
    raise Refusal(
        f"{where} has the type {kind}.",
        do="Use int, float, str, bool, datetime.date or datetime.datetime (in UTC); categories are str with isin.",
    )


def _standard(check: Any, where: str) -> list[Check] | None:
    """The standard checks that say the same as a pandera check, or None where only pandera can run it."""
    found = check.statistics or {}
    usual = check.ignore_na and not check.element_wise and not check.raise_warning and not check.groupby
    if not usual:
        return None

    def value(key: str) -> Any:
        return _plain(found[key], where)

    match check.name:
        case "greater_than_or_equal_to":
            return [Check("ge", value("min_value"))]
        case "greater_than":
            return [Check("gt", value("min_value"))]
        case "less_than_or_equal_to":
            return [Check("le", value("max_value"))]
        case "less_than":
            return [Check("lt", value("max_value"))]
        case "equal_to":
            return [Check("eq", value("value"))]
        case "not_equal_to":
            return [Check("ne", value("value"))]
        case "in_range" if found:
            low = "ge" if found["include_min"] else "gt"
            high = "le" if found["include_max"] else "lt"
            return [Check(low, value("min_value")), Check(high, value("max_value"))]
        case "isin" if found:
            return [Check("isin", _values(found["allowed_values"], where))]
        case "notin" if found:
            return [Check("notin", _values(found["forbidden_values"], where))]
        case "str_matches" | "str_contains" if found:
            return [Check(check.name, _pattern(found["pattern"]))]
        case "str_startswith" | "str_endswith" if found:
            return [Check(check.name, value("string"))]
        case "str_length" if found:
            exact = found.get("exact_value")
            least, most = (exact, exact) if exact is not None else (found.get("min_value"), found.get("max_value"))
            return [Check("str_length", [least, most])]
    return None


def _groups(unique: list[Any]) -> tuple[tuple[str, ...], ...]:
    """`Config.unique`: one group of columns, or several."""
    if all(isinstance(name, str) for name in unique):
        return (tuple(unique),) if unique else ()
    return tuple(tuple(names) for names in unique)


def _values(values: Any, where: str) -> list[Any]:
    """Allowed values in the order given (sets are sorted); missing ones are a matter of `nullable`."""
    kept = [_plain(value, where) for value in values if value is not None and value == value]
    return sorted(kept, key=lambda value: (str(type(value)), value)) if isinstance(values, set | frozenset) else kept


def _plain(value: Any, where: str) -> Any:
    """A check's value in JSON's types."""
    if hasattr(value, "item") and not isinstance(value, str | bytes):
        value = value.item()
    if isinstance(value, dt.date | dt.datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        raise Refusal(f"{where}: a check has the value {value}.", do="Use a finite number, or leave the check out.")
    if isinstance(value, str | bool | int | float):
        return value
    raise Refusal(
        f"{where}: a check has a value of type {type(value).__name__}.", do="Use numbers, text, days or times."
    )


def _pattern(pattern: str | re.Pattern[str]) -> str:
    """A regular expression as text, its flags written into it."""
    if isinstance(pattern, str):
        return pattern
    letters = "".join(
        letter for letter, flag in (("i", re.I), ("m", re.M), ("s", re.S), ("x", re.X)) if pattern.flags & flag
    )
    return f"(?{letters}){pattern.pattern}" if letters else pattern.pattern


def _name(check: Any, n: int) -> str:
    """The name under which violations of a custom check are counted."""
    return str(check.name or check.error or f"check {n + 1}")


def _refuse_unknown(metadata: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in metadata:
        if key not in known:
            raise Refusal(f"{where} has the unknown key {key!r}.", do=f"Known keys: {', '.join(known)}.")


def _check_roles(contract: Contract, where: str) -> None:
    """Refuse roles that contradict each other."""
    for role in _ONE_OF_A_KIND:
        names = [column.name for column in contract.columns if column.role == role]
        if len(names) > 1:
            raise Refusal(f"{where} gives the role {role} to {' and '.join(names)}.", do="One column can have it.")
    time = contract.time
    if time and time.dtype not in ("date", "datetime"):
        raise Refusal(f"{where}: {time.name} has the role time and the type {time.dtype}.", do="Use a day or a time.")
    if contract.freshness_days is not None and time is None:
        raise Refusal(f"{where} has freshness_days and no time column.", do='Give one the metadata {"role": "time"}.')
    if not contract.columns:
        raise Refusal(f"{where} has no columns.", do="Write one line per column: name: type = pa.Field(…).")


def _broken(path: Path, error: BaseException) -> Refusal:
    """The refusal for a contract file that raises; it names the line in that file."""
    line = error.lineno if isinstance(error, SyntaxError) else None
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == str(path):
            line = frame.lineno
    at = f", line {line}" if line else ""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        marked = conflict(path.read_text(encoding="utf-8", errors="replace"))
        if marked:
            return Refusal(f"{_short(path)}, line {marked}, is a conflict that git left.", do="Decide it, then go on.")
    said = f"{type(error).__name__}: {error.msg if isinstance(error, SyntaxError) else error}"
    return Refusal(f"{_short(path)}{at}: {shorten(said, 300)}", do="Mend the contract; it is Python.")


def _short(path: Path) -> str:
    """`models/<name>/contract.py`, wherever the repository lies."""
    return "/".join(path.parts[-3:])


Found = tuple[str, str, "pl.Series | None", int]


def custom_runner(path: Path) -> Callable[["pl.DataFrame"], list[Found]]:
    """A function that runs a file's custom checks on one batch of rows, with pandera.

    It returns, per check that failed: column ("" for a check over whole rows), the check's name, the row numbers within
    the batch where pandera says them (else None), and the count. A check that gives one answer for the whole batch
    counts every row of it; one that raises does so too, under the name of its error.
    """
    import polars as pl
    from pandera.config import ValidationDepth, config_context
    from pandera.errors import SchemaErrors
    from pandera.polars import Column as PanderaColumn
    from pandera.polars import DataFrameSchema

    schema = load_class(path).to_schema()
    where = _short(path)
    columns = {}
    for column in schema.columns.values():
        left = [check for check in column.checks if _standard(check, where) is None]
        if left:
            columns[column.name] = PanderaColumn(None, checks=left, nullable=True, required=False, name=column.name)
    rest = DataFrameSchema(columns, checks=schema.checks, strict=False)

    def run(batch: pl.DataFrame) -> list[Found]:
        with config_context(validation_depth=ValidationDepth.SCHEMA_AND_DATA):
            try:
                rest.validate(batch, lazy=True)
            except SchemaErrors as errors:
                return [_found(error, columns, schema, batch.height) for error in errors.schema_errors]
        return []

    return run


def _found(error: Any, columns: dict[str, Any], schema: Any, rows: int) -> Found:
    import polars as pl

    column = error.column_name if error.column_name in columns else ""
    checks = columns[column].checks if column else schema.checks
    name = next((_name(check, n) for n, check in enumerate(checks) if check is error.check), None)
    name = name or str(getattr(error.check, "name", None) or error.check)
    output = error.check_output
    if isinstance(output, pl.LazyFrame):
        output = output.collect()
    if isinstance(output, pl.DataFrame) and output.height == rows and output.width == 1:
        bad = output.to_series().eq(False).fill_null(False).arg_true()
        return column, name, bad, len(bad)
    return column, name, None, rows
