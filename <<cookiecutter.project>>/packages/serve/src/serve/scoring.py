"""What does the model say of a whole file? Parquet or CSV in, the same rows with predictions out, streamed by polars.

Batches pass through the same plan as requests do, so size is not memory. Columns and types are checked here; ranges and
freshness are what `mlops check` is for.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from serve.errors import Refusal, Refused
from serve.loading import load_to_serve
from serve.model import Model
from serve.rows import Rows

SUFFIXES = (".parquet", ".csv")
ROWS = 50_000
"""Most rows that the model is asked at once."""


def score(folder: Path, source: Path, target: Path) -> str:
    """Write the rows of `source` with `prediction` to `target`, as a whole or not at all; says how many there were.

    Classification adds `probability_<class>` for each class; the version stands in every row. Refuses files of another
    kind, missing columns, values of another type, and rows that the model has no answer for.
    """
    model = Model(load_to_serve(folder))
    if model.problem:
        raise Refusal(f"{model.name}: {model.problem}.", do="Train the version again with the installed libraries.")
    _check_files(source, target)
    try:
        scan = _scan(model, source)
        given = scan.collect_schema()
    except (pl.exceptions.PolarsError, OSError):
        raise Refusal(f"{source} is not a whole {source.suffix[1:]} file.", do="Write it again.") from None
    _check_columns(model, given, source)
    added = _added(model, given, source)
    count = 0
    refusals: list[Refusal] = []

    def batch(frame: pl.DataFrame) -> pl.DataFrame:
        nonlocal count
        try:
            found = _predicted(model, frame, added, source)
        except Refusal as refusal:
            refusals.append(refusal)
            raise
        count += len(frame)
        return found

    result = scan.map_batches(batch, schema=pl.Schema({**given, **added}), streamable=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name[:50]}.") as temporary:
        written = Path(temporary) / target.name
        try:
            if target.suffix == ".parquet":
                result.sink_parquet(written, engine="streaming")
            else:
                result.sink_csv(written, engine="streaming")
        except (pl.exceptions.PolarsError, Refusal) as error:
            if refusals:
                raise refusals[0] from None
            says = " ".join(str(error).split())[:200]
            raise Refusal(f"{source} cannot be read to its end: {says}", do="Write that file again.") from None
        os.replace(written, target)
    rows = "1 row" if count == 1 else f"{count:,} rows"
    return f"{model.name} {model.version.name}: {rows} scored, in {target}."


def _check_files(source: Path, target: Path) -> None:
    for path in (source, target):
        if path.suffix not in SUFFIXES:
            raise Refusal(f"{path} is no Parquet or CSV file.", do=f"Its name must end in {' or '.join(SUFFIXES)}.")
    if not source.is_file():
        raise Refusal(f"{source} does not exist.", do="Name a file with the rows to predict.")
    if not target.parent.is_dir():
        raise Refusal(f"{target.parent} is no folder.", do="Make it first.")


def _scan(model: Model, source: Path) -> pl.LazyFrame:
    if source.suffix == ".parquet":
        return pl.scan_parquet(source)
    # Text stays text, also where it looks like a number.
    names = pl.scan_csv(source).collect_schema().names()
    return pl.scan_csv(source, schema_overrides={name: pl.String for name in model.columns.texts if name in names})


def _check_columns(model: Model, given: pl.Schema, source: Path) -> None:
    missing = [one.name for one in model.columns.features if one.required and one.name not in given]
    if missing:
        raise Refusal(
            f"{model.name}: {source} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing[:10])}.",
            do="The model needs every required feature of its contract; give them all.",
        )


def _added(model: Model, given: pl.Schema, source: Path) -> dict[str, Any]:
    """The columns that are added, with their types."""
    if model.classes is None:
        added: dict[str, Any] = {"prediction": pl.Float64}
    else:
        added = {"prediction": pl.Series(model.classes).dtype}
        added |= {f"probability_{label}": pl.Float64 for label in model.classes}
    added["version"] = pl.String
    taken = [name for name in added if name in given]
    if taken:
        raise Refusal(f"{source} has a column {taken[0]} already.", do="Give it another name: the result needs it.")
    return added


def _predicted(model: Model, frame: pl.DataFrame, added: dict[str, Any], source: Path) -> pl.DataFrame:
    rows = Rows(_matrix(model, frame, source, numbers=True), _matrix(model, frame, source, numbers=False))
    parts = [rows.part(start, start + ROWS) for start in range(0, len(frame), ROWS)]
    try:
        answers = [model.predict(part) for part in parts]
    except Refused as refused:
        raise Refusal(f"{model.name}: {refused.says}", do=f"`mlops check` says what is wrong with {source}.") from None
    found: list[Any]
    if model.classes is None:
        found = [np.concatenate(answers) if answers else np.zeros(0)]
    else:
        table = np.concatenate(answers) if answers else np.zeros((0, len(model.classes)))
        found = [[model.classes[place] for place in table.argmax(axis=1)] if len(table) else [], *table.T]
    found.append([model.version.name] * len(frame))
    series = [pl.Series(name, values, dtype=kind) for (name, kind), values in zip(added.items(), found, strict=True)]
    return frame.with_columns(series)


def _matrix(model: Model, frame: pl.DataFrame, source: Path, *, numbers: bool) -> Any:
    """The number columns as (n, p) float64, or the text columns as (n, q) objects."""
    names = model.columns.numbers if numbers else model.columns.texts
    found = np.empty((len(frame), len(names)), dtype=np.float64 if numbers else object)
    for place, name in enumerate(names):
        found[:, place] = _column(model, frame, name, source, numbers=numbers)
    return found


def _column(model: Model, frame: pl.DataFrame, name: str, source: Path, *, numbers: bool) -> Any:
    """The values of one column as the model takes them; an absent one is missing everywhere."""
    gap = model.columns.gap
    if name not in frame.columns:
        return np.nan if numbers else gap
    series = frame[name]
    kind = series.dtype
    fits = kind.is_numeric() or kind == pl.Boolean if numbers else kind in (pl.String, pl.Categorical, pl.Enum)
    if not fits and kind != pl.Null:
        raise Refusal(
            f"{model.name}: {name} in {source} is {kind}; the model takes a {'number' if numbers else 'text'}.",
            do="Give the types of the data contract.",
        )
    if numbers:
        return series.cast(pl.Float64).to_numpy()
    return [gap if value is None else value for value in series.cast(pl.String).to_list()]
