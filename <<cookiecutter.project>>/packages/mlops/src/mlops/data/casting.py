"""When is a value of one type a value of another? The contract's types, and casts that are known to lose nothing."""

import polars as pl

DTYPES: dict[str, pl.DataType] = {
    "int": pl.Int64(),
    "float": pl.Float64(),
    "str": pl.String(),
    "bool": pl.Boolean(),
    "date": pl.Date(),
    "datetime": pl.Datetime("us"),
}
"""What the contract's types are in polars."""
_TRUE, _FALSE = ("true", "True", "TRUE", "1", "yes", "Yes"), ("false", "False", "FALSE", "0", "no", "No")


def cast_to(wanted: str, name: str, dtype: pl.DataType) -> pl.Expr | None:
    """The column `name` of type `dtype` as `wanted`, null where a value has no counterpart; None where nothing has."""
    value = pl.col(name)
    if dtype == DTYPES[wanted]:
        return None
    if dtype == pl.String:
        return _parsed(value, wanted)
    if isinstance(dtype, pl.Datetime) and dtype.time_zone and wanted in ("date", "datetime"):
        value = value.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    if wanted == "bool" and dtype.is_integer():
        return pl.when(value == 1).then(True).when(value == 0).then(False)
    if wanted == "float" and dtype == pl.Boolean:
        return None
    return value.cast(DTYPES[wanted], strict=False)


def _parsed(value: pl.Expr, dtype: str) -> pl.Expr:
    """Text as the contract's type."""
    text = value.str.strip_chars()
    match dtype:
        case "int":
            return pl.when(text.str.contains(r"^[+-]?(0|[1-9][0-9]*)$")).then(text.cast(pl.Int64, strict=False))
        case "bool":
            return pl.when(text.is_in(_TRUE)).then(True).when(text.is_in(_FALSE)).then(False)
        case "date":
            at_midnight = text.str.strip_suffix("00:00:00").str.strip_chars_end(" T")
            return at_midnight.str.to_date("%Y-%m-%d", strict=False)
        case "datetime":
            forms = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M")
            naive = [text.str.strip_suffix("Z").str.to_datetime(form, time_unit="us", strict=False) for form in forms]
            zoned = [
                text.str.to_datetime(f"{form}%#z", time_unit="us", time_zone="UTC", strict=False)
                .dt.convert_time_zone("UTC")
                .dt.replace_time_zone(None)
                for form in forms
            ]
            day = text.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us"))
            return pl.coalesce(*naive, *zoned, day)
    return text.cast(DTYPES[dtype], strict=False)


def lost(name: str, cast: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Whether a row's value would be lost: it has one, and the cast has none or another one."""
    value = pl.col(name)
    if dtype == pl.String:
        # An empty field of a CSV file is a missing value for every type but text.
        return value.is_not_null() & (value.str.strip_chars() != "") & cast.is_null()
    gone = value.is_not_null() & cast.is_null()
    if dtype.is_numeric() and not isinstance(dtype, pl.Decimal):
        gone = gone | (cast.cast(dtype, strict=False) != value)
    elif isinstance(dtype, pl.Datetime):
        gone = gone | (cast.cast(pl.Datetime("us")).dt.timestamp("us") != value.dt.timestamp("us"))
    return gone
