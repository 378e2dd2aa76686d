"""What was served in the current window? The prediction log as profiles on the reference's bins, and a sample of rows.

The log is what `serve` writes (JSON lines), or the same rows as Parquet: `at`, `version`, `features`, `prediction`, and
`id` where the client named the row. It is read in blocks, so memory does not grow with it: every row of the version is
counted in the profiles, and a sample spread evenly over the window is kept to be predicted again.
"""

import datetime as dt
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mlops.data import outputs
from mlops.data.contract import Column
from mlops.data.profile import added, profile

BLOCK = 16 * 2**20
"""Bytes of JSON lines that are parsed at once."""
ROWS = 2**18
"""Rows of Parquet that are looked at at once: as many as polars writes into one row group."""
SAMPLE = 10_000
"""Most rows that are kept; at least half as many, where there are so many."""
AT, VERSION, KEY, SAID, HAS = "\0at", "\0version", "\0id", "\0prediction", "\0features"
"""What a line says beside the features: names that no feature can have."""
FORMATS = ("%Y-%m-%dT%H:%M:%S%.f%:z", "%Y-%m-%dT%H:%M:%S%.fZ")
TYPES: dict[str, Any] = {"int": pl.Int64, "float": pl.Float64, "bool": pl.Boolean, "str": pl.String}


@dataclass(frozen=True, kw_only=True)
class Span:
    """Whole days in UTC, the first and the last one included."""

    first: dt.date
    last: dt.date

    @staticmethod
    def until(day: dt.date, days: int) -> "Span":
        """So many days that end with `day`."""
        return Span(first=day - dt.timedelta(days=days - 1), last=day)

    @property
    def bounds(self) -> tuple[dt.datetime, dt.datetime]:
        """The first moment, and the first one that is too late."""
        start = dt.datetime.combine(self.first, dt.time(), tzinfo=dt.UTC)
        return start, dt.datetime.combine(self.last, dt.time(), tzinfo=dt.UTC) + dt.timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Served:
    """The version whose rows are looked at, and what its log lines hold.

    `inputs` and `outputs` are reference profiles; `features` those that are logged: personal ones never are.
    """

    version: str
    classes: list[Any] | None
    features: tuple[Column, ...]
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class Window:
    """The current window: profiles of the version's rows, None without rows, and what else was in the log.

    `sample` has the features, `KEY` (the id as text) and `SAID` (the prediction: a number, or a list of them).
    """

    rows: int
    inputs: Mapping[str, Any] | None
    outputs: Mapping[str, Any] | None
    sample: pl.DataFrame
    others: Mapping[str, int] = field(default_factory=dict)
    """Rows of other versions in the window."""
    broken: int = 0
    """Lines that are no rows of a log."""
    newest: dt.datetime | None = None
    """When the newest row of all was predicted, in the window or before it."""


class _Sample:
    """Every n-th row of a stream, n being doubled when there are too many: the sample stays even and bounded."""

    def __init__(self) -> None:
        self.parts: list[pl.DataFrame] = []
        self.every, self.seen = 1, 0

    def take(self, rows: pl.DataFrame) -> None:
        offset = -self.seen % self.every
        self.seen += rows.height
        if offset < rows.height:
            # A copy, so that the block that it is cut from can go.
            self.parts.append(rows.gather_every(self.every, offset))
        while sum(part.height for part in self.parts) > SAMPLE:
            self.parts = [pl.concat(self.parts).gather_every(2)]
            self.every *= 2


def read(paths: Sequence[Path], *, span: Span, served: Served) -> Window:
    """The current window of the log in `paths`; raises OSError and polars' errors for files that cannot be read."""
    schema = _schema(served)
    start, end = span.bounds
    others: Counter[str] = Counter()
    sample = _Sample()
    inputs: dict[str, Any] | None = None
    said: dict[str, Any] | None = None
    broken, newest = 0, None
    for block, lost in _blocks(paths, schema):
        broken += lost
        at, version = block[AT], block[VERSION]
        known = at.is_not_null() & version.is_not_null()
        broken += block.height - int(known.sum())
        latest = at.filter(known & (at < end)).max()
        newest = max((one for one in (newest, latest) if isinstance(one, dt.datetime)), default=None)
        inside = known & (at >= start) & (at < end)
        mine = (inside & (version == served.version)).fill_null(False)
        if mine.sum() < inside.sum():
            others.update(dict(version.filter(inside & ~mine).value_counts().rows()))
        right = mine & block.select(_is_whole(served)).to_series()
        broken += int(mine.sum()) - int(right.sum())
        # Rows are copied only where some are left out.
        rows = block if right.all() else block.filter(right)
        # The next block is made before these names are bound anew; without this, two of them are in memory.
        del block, right, known, inside, mine
        if rows.is_empty():
            continue
        sample.take(rows.drop(AT, VERSION, HAS))
        inputs = _more(inputs, profile(rows, served.features, 0, like=served.inputs))
        if served.outputs is not None:
            frame = outputs.frame(_predicted(rows[SAID], served.classes), served.classes)
            found = profile(frame, outputs.columns(served.classes), 0, like=served.outputs)
            said = _more(said, found)
            del frame
        del rows
    return Window(
        rows=inputs["rows"] if inputs else 0,
        inputs=inputs,
        outputs=said,
        sample=pl.concat(sample.parts) if sample.parts else pl.DataFrame(),
        others=dict(sorted(others.items(), key=lambda item: -item[1])),
        broken=broken,
        newest=newest,
    )


def named(path: Path) -> list[Path]:
    """A log and the older files that it was rotated into (`predictions.jsonl.20261121…`), the newest last."""
    older = sorted(one for one in path.parent.glob(f"{path.name}.*") if one.suffix[1:].isdigit())
    return [*older, *([path] if path.is_file() else [])]


def _more(one: dict[str, Any] | None, other: dict[str, Any]) -> dict[str, Any]:
    return other if one is None else added(one, other)


def _schema(served: Served) -> dict[str, Any]:
    features = pl.Struct({column.name: TYPES[column.dtype] for column in served.features})
    prediction = pl.Float64 if served.classes is None else pl.List(pl.Float64)
    return {"at": pl.String, "version": pl.String, "id": pl.String, "features": features, "prediction": prediction}


def _is_whole(served: Served) -> pl.Expr:
    """Whether a row has its features, and a number for each class."""
    if served.classes is None:
        return pl.col(HAS) & pl.col(SAID).is_not_null()
    count = len(served.classes)
    numbers = pl.col(SAID).list.drop_nulls().list.len()
    return pl.col(HAS) & ((pl.col(SAID).list.len() == count) & (numbers == count)).fill_null(False)


def _predicted(series: pl.Series, classes: list[Any] | None) -> np.ndarray:
    flat = series if classes is None else series.explode()
    found = flat.cast(pl.Float64).to_numpy()
    return found if classes is None else found.reshape(len(series), len(classes))


def _blocks(paths: Sequence[Path], schema: Mapping[str, Any]) -> Iterator[tuple[pl.DataFrame, int]]:
    """The log in pieces, one column for each feature, each piece with how many lines were no JSON."""
    for path in paths:
        with path.open("rb") as stream:
            is_parquet = stream.read(4) == b"PAR1"
        if is_parquet:
            yield from ((block, 0) for block in _parquet(path, schema))
        else:
            yield from ((_flat(block), lost) for block, lost in _lines(path, schema))


def _flat(block: pl.DataFrame) -> pl.DataFrame:
    own: list[Any] = [
        _moments(block["at"]).alias(AT),
        pl.col("version").alias(VERSION),
        pl.col("id").alias(KEY),
        pl.col("prediction").alias(SAID),
        pl.col("features").is_not_null().alias(HAS),
    ]
    return block.select(*own, "features").unnest("features")


def _timed(block: pl.DataFrame) -> pl.DataFrame:
    return block.with_columns(_moments(block[AT])) if block[AT].dtype == pl.String else block


def _moments(texts: pl.Series) -> pl.Series:
    """Times in UTC from ISO text; null where a text is none."""
    found = texts.str.to_datetime(FORMATS[0], time_unit="us", time_zone="UTC", strict=False)
    for form in FORMATS[1:]:
        if found.null_count() > texts.null_count():
            other = texts.str.to_datetime(form, time_unit="us", time_zone="UTC", strict=False)
            found = found.zip_with(found.is_not_null(), other)
    return found


def _lines(path: Path, schema: Mapping[str, Any]) -> Iterator[tuple[pl.DataFrame, int]]:
    rest = b""
    with path.open("rb") as stream:
        while data := stream.read(BLOCK):
            whole, end, rest = (rest + data).rpartition(b"\n")
            if end:
                yield _parsed(whole, schema)
            else:
                rest = whole + rest
    # A last line without its end is being written, or was cut off: it is counted only where it is a whole one.
    if rest.strip():
        yield _parsed(rest, schema)


def _parsed(text: bytes, schema: Mapping[str, Any]) -> tuple[pl.DataFrame, int]:
    try:
        return pl.read_ndjson(io.BytesIO(text), schema=schema, ignore_errors=True), 0
    except pl.exceptions.PolarsError:
        # One broken line breaks the block; a crash or a full disk leaves such lines.
        lines = [line for line in text.split(b"\n") if line.strip()]
        good = [line for line in lines if _is_object(line)]
        if not good:
            return pl.DataFrame(schema=schema), len(lines)
        return pl.read_ndjson(io.BytesIO(b"\n".join(good)), schema=schema, ignore_errors=True), len(lines) - len(good)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _parquet(path: Path, schema: Mapping[str, Any]) -> Iterator[pl.DataFrame]:
    lazy = pl.scan_parquet(path)
    given = lazy.collect_schema()
    missing = [name for name in ("at", "version", "features", "prediction") if name not in given]
    if missing:
        raise pl.exceptions.ColumnNotFoundError(f"{path.name} lacks the column {missing[0]}")
    rows = int(lazy.select(pl.len()).collect().item())
    features, at = pl.col("features"), pl.col("at")
    known = {one.name for one in given["features"].fields} if isinstance(given["features"], pl.Struct) else set()
    if isinstance(given["at"], pl.Datetime) and given["at"].time_zone is not None:
        at = at.dt.convert_time_zone("UTC").cast(pl.Datetime("us", "UTC"))
    elif given["at"] != pl.String:
        at = at.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    columns = [
        at.alias(AT),
        pl.col("version").cast(pl.String).alias(VERSION),
        (pl.col("id").cast(pl.String) if "id" in given else pl.lit(None, dtype=pl.String)).alias(KEY),
        pl.col("prediction").cast(schema["prediction"], strict=False).alias(SAID),
        features.is_not_null().alias(HAS),
        *(
            (features.struct.field(one.name) if one.name in known else pl.lit(None))
            .cast(one.dtype, strict=False)
            .alias(one.name)
            for one in schema["features"].fields
        ),
    ]
    for start in range(0, rows, ROWS):
        yield _timed(lazy.slice(start, ROWS).select(columns).collect())
