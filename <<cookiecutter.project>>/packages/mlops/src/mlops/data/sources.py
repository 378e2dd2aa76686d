"""Where do rows come from? `data.source` of `model.toml`, streamed into one Parquet file.

A source is `replay` (the model's own `ingest.read`), a CSV or Parquet path or glob (relative to the model's folder),
a URL or object-store path that fsspec can open, or an SQLAlchemy URL with `data.query`. `${NAME}` is taken from the
environment, so that no secret stands in `model.toml`; secrets are never printed or written.

Rows after `as_of` are left out by the contract's time column. Columns get the contract's types where that loses nothing
(`"007"` is no whole number that can be written back); others stay as they are, for the check to name.
"""

import datetime as dt
import glob
import gzip
import importlib
import os
import re
import shutil
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import polars as pl

from mlops import local
from mlops.config import Data
from mlops.data.casting import cast_to, lost
from mlops.data.contract import Contract, shorten
from mlops.errors import Refusal
from mlops.workspace import Model

CHUNK = 100_000
"""Rows fetched from a database at once."""
ROW_GROUP = 250_000
"""Rows per Parquet row group; fixed, so that equal rows are equal bytes."""
PARQUET, GZIP = b"PAR1", b"\x1f\x8b"
DATABASES = (
    "bigquery",
    "duckdb",
    "mariadb",
    "mssql",
    "mysql",
    "oracle",
    "postgresql",
    "redshift",
    "snowflake",
    "sqlite",
)
PACKAGES = {
    "duckdb": "duckdb-engine",
    "snowflake": "snowflake-sqlalchemy",
    "bigquery": "sqlalchemy-bigquery",
    "redshift": "sqlalchemy-redshift",
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
    "duckdb_engine": "duckdb-engine",
}
"""Packages whose name differs from the database's or the module's."""
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True)
class Place:
    """A source with its variables filled in, and what of it may be shown; `key` is where `model.toml` names it."""

    model: str
    value: str
    shown: str
    secrets: tuple[str, ...]
    key: str

    def clean(self, text: str) -> str:
        """A library's message on one line, without anything that only the source knows."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return shorten(text, 200)


def ingest(model: Model, data: Data, contract: Contract) -> int:
    """Write `data/raw.parquet` as a whole, or leave it as it was; return its number of rows.

    Every failure is a `Refusal` that names the model and the source, without its secrets.
    """
    # Looked at before they are read: a file that changes meanwhile is read again next time.
    seen = local.look(model, data.source)
    rows = fetch(model, data, contract, model.raw)
    local.remember(model, data.source, seen)
    return rows


def fetch(model: Model, data: Data, contract: Contract, target: Path) -> int:
    """Write the rows up to and including `data.as_of` to `target`, as `ingest` does, and note nothing."""
    as_of = dt.date.fromisoformat(data.as_of)
    place = locate(model.name, data.source)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".ingest-") as name:
        folder = Path(name)
        try:
            lazy = _up_to(_conform(_open(model, place, data, folder), contract), contract, as_of, place)
            part = folder / "raw.parquet"
            lazy.sink_parquet(part, row_group_size=ROW_GROUP, maintain_order=True)
            rows = int(pl.scan_parquet(part).select(pl.len()).collect().item())
        except (pl.exceptions.PolarsError, OSError, UnicodeError) as error:
            # polars quotes the text that it cannot read; rows do not belong into a log.
            said = place.clean(re.sub(r"(?<=parse )`.*?(`(?= as )|$)", "…", str(error).splitlines()[0]))
            raise Refusal(
                f"{place.model}: {place.shown} cannot be read: {said}",
                do="It must be CSV with a header (UTF-8, as many fields in every line) or Parquet.",
            ) from None
        if rows == 0:
            raise Refusal(
                f"{place.model}: {place.shown} has no rows up to {as_of}.",
                do="Look at data.source and data.as_of in model.toml.",
            )
        os.replace(part, target)
    return rows


def files(model: Model, source: str, folder: Path, *, key: str) -> list[Path]:
    """The files that a path, a glob or a URL names; what is not on this machine is brought into `folder`."""
    place = locate(model.name, source, key=key)
    if "://" in place.value.removeprefix("file://"):
        return _download(place, folder)
    return local.matches(model, place.value)


def locate(model: str, source: str, *, key: str = "data.source") -> Place:
    """Fill in `${NAME}` from the environment, and find what must not be shown."""
    missing = [name for name in _VARIABLE.findall(source) if not os.environ.get(name)]
    if missing:
        raise Refusal(
            f"{model}: {key} in model.toml uses the variable {missing[0]}, which is not set.",
            do=f"Set it: export {missing[0]}=…  (in CI: a secret or variable of that name).",
        )
    value = _VARIABLE.sub(lambda match: os.environ[match[1]], source)
    secrets = {os.environ[name] for name in _VARIABLE.findall(source)}
    shown = source
    if "://" in value:
        parts = urlsplit(value)
        user, at, _ = parts.netloc.rpartition("@")
        words = [user, user.partition(":")[2], parts.query, parts.fragment]
        words += [item for _, item in parse_qsl(parts.query)]
        secrets |= {form for word in words if word for form in (word, unquote(word), quote(word, safe=""))}
        secrets.add(value)
        if "://" in source:
            scheme, _, rest = source.partition("://")
            rest = rest.partition("?")[0].partition("#")[0]
            host, slash, path = rest.partition("/")
            shown = f"{scheme}://{'***@' if at else ''}{host.rpartition('@')[2]}{slash}{path}"
    # The longest first, so that a part of a secret never leaves the rest of it behind.
    return Place(model, value, shown, tuple(sorted(secrets, key=lambda one: (-len(one), one))), key)


def _open(model: Model, place: Place, data: Data, folder: Path) -> pl.LazyFrame:
    """The source's rows, lazily; what is not a local file is brought into `folder` first."""
    if place.value == "replay":
        return replay(model, dt.date.fromisoformat(data.as_of))
    scheme = place.value.partition("://")[0].partition("+")[0] if "://" in place.value else ""
    if data.query:
        return _query(place, data, folder)
    if scheme in DATABASES:
        raise Refusal(
            f"{place.model}: data.source is a database and data.query in model.toml is empty.",
            do='Write the query: query = "SELECT … WHERE day <= :as_of".',
        )
    if scheme and scheme != "file":
        return _scan(_download(place, folder), place)
    matches = local.matches(model, place.value)
    if not matches:
        many = glob.has_magic(place.value)
        raise Refusal(
            f"{place.model}: {'no file matches' if many else 'there is no file'} {place.shown}.",
            do="Paths in data.source are relative to the model's folder; see model.toml.",
        )
    return _scan(matches, place)


def replay(model: Model, as_of: dt.date) -> pl.LazyFrame:
    """The rows that the model's own `ingest.read` gives."""
    path = model.source / model.name / "ingest.py"
    if not path.is_file():
        raise Refusal(
            f'{model.name}: source = "replay" needs src/{model.name}/ingest.py with read(as_of).',
            do="Write it, or name another data.source in model.toml.",
        )
    for name in [name for name in sys.modules if name == model.name or name.startswith(f"{model.name}.")]:
        del sys.modules[name]
    sys.path.insert(0, str(model.source))
    try:
        found = importlib.import_module(f"{model.name}.ingest").read(as_of)
    # Someone's code may end with SystemExit; whatever it does, the answer names the model and the line.
    except (Exception, SystemExit) as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == path]
        line = error.lineno if isinstance(error, SyntaxError) else (lines[-1] if lines else None)
        at = f", line {line}" if line else ""
        said = shorten(f"{type(error).__name__}: {error}", 200)
        raise Refusal(f"{model.name}: src/{model.name}/ingest.py{at}: {said}", do="Mend read(as_of).") from None
    finally:
        sys.path.remove(str(model.source))
    if isinstance(found, pl.DataFrame | pl.LazyFrame):
        return found.lazy()
    if type(found).__module__.startswith("pandas"):
        return pl.DataFrame(pl.from_pandas(found)).lazy()
    raise Refusal(
        f"{model.name}: read(as_of) in src/{model.name}/ingest.py gave a {type(found).__name__}.",
        do="Return a polars DataFrame or LazyFrame.",
    )


def _scan(paths: list[Path], place: Place) -> pl.LazyFrame:
    """CSV (all columns as text: the contract gives types) or Parquet, told apart by the first bytes."""
    kinds = {_kind(path) for path in paths}
    if len(kinds) > 1:
        raise Refusal(f"{place.model}: {place.shown} holds both CSV and Parquet.", do="Use one kind of file.")
    if kinds == {PARQUET}:
        frames = [pl.scan_parquet(path) for path in paths]
    else:
        frames = [pl.scan_csv(path, infer_schema=False, raise_if_empty=True) for path in paths]
    first = frames[0].collect_schema().names()
    for path, frame in zip(paths, frames, strict=True):
        if sorted(frame.collect_schema().names()) != sorted(first):
            raise Refusal(
                f"{place.model}: {path.name} has other columns than {paths[0].name} ({place.shown}).",
                do="Files that one source names must have the same columns.",
            )
    return pl.concat([frame.select(first) for frame in frames], how="vertical_relaxed")


def _kind(path: Path) -> bytes:
    with path.open("rb") as stream:
        head = stream.read(4)
    if head[:2] == GZIP:
        # A damaged archive is found here, in our words, not in the middle of the scan.
        with gzip.open(path) as packed:
            packed.read(1)
    if head != PARQUET and head[:2] != GZIP and b"\0" in _start(path):
        raise UnicodeError("it holds zero bytes")
    return PARQUET if head == PARQUET else b""


def _start(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(4096)


def _download(place: Place, folder: Path) -> list[Path]:
    """Copy what a URL names into `folder`, in blocks."""
    import fsspec

    scheme = place.value.partition("://")[0]
    try:
        if scheme in ("http", "https"):
            # In a web address `?` and `*` mean themselves, and a signed one must arrive as it is written.
            files = [fsspec.core.OpenFile(fsspec.filesystem(scheme, encoded=True), place.value)]
        elif "*" in place.value:
            system, _, names = fsspec.get_fs_token_paths(place.value)
            files = [fsspec.core.OpenFile(system, name) for name in sorted(names)]
        else:
            files = [fsspec.open(place.value)]
        if not files:
            raise Refusal(f"{place.model}: no file matches {place.shown}.", do=f"Look at {place.key} in model.toml.")
        copies = [folder / f"download-{n:05d}" for n in range(len(files))]
        for file, copy in zip(files, copies, strict=True):
            with file as remote, copy.open("wb") as local:
                shutil.copyfileobj(remote, local, 1024 * 1024)
    except Refusal:
        raise
    except ImportError as error:
        from fsspec.registry import known_implementations

        known = known_implementations.get(scheme, {})
        words = f"{known.get('err', '')} {error}"
        found = re.search(r"[Ii]nstall (?:the )?[\"']?([A-Za-z0-9_-]+)", words)
        package = {"http": "aiohttp", "https": "aiohttp"}.get(scheme) or (found[1] if found else scheme)
        raise _driver(place, scheme, package) from None
    except Exception as error:
        if isinstance(error, ValueError) and "Protocol not known" in str(error):
            said = f"{scheme}:// is not known"
        elif isinstance(error, FileNotFoundError):
            said = "there is nothing, or nothing for whoever asks so"
        else:
            said = place.clean(f"{type(error).__name__}: {error}")
        raise Refusal(
            f"{place.model}: {place.shown} cannot be fetched: {said}",
            do=f"Look at {place.key} in model.toml, the network and your credentials.",
        ) from None
    return copies


def _query(place: Place, data: Data, folder: Path) -> pl.LazyFrame:
    """The rows of `data.query`, fetched `CHUNK` at a time; `:as_of` is bound as a day, never pasted."""
    import sqlalchemy as sa

    with _database_errors(place):
        engine = sa.create_engine(place.value)
        statement = sa.text(data.query)
        if ":as_of" in data.query:
            day = dt.date.fromisoformat(data.as_of)
            statement = statement.bindparams(sa.bindparam("as_of", value=day, type_=sa.Date()))
        parts = []
        with engine.connect().execution_options(stream_results=True) as connection:
            result = connection.execute(statement)
            if not result.returns_rows:
                raise Refusal(f"{place.model}: data.query gives no rows.", do="Write a query that starts with SELECT.")
            names = list(result.keys())
            repeated = sorted({name for name in names if names.count(name) > 1})
            if repeated:
                raise Refusal(f"{place.model}: data.query gives {repeated[0]} twice.", do="Name its columns with AS.")
            for n, rows in enumerate(_chunks(result)):
                part = folder / f"part-{n:06d}.parquet"
                frame = pl.DataFrame(rows, schema=names, orient="row", infer_schema_length=None, strict=False)
                frame.write_parquet(part)
                parts.append(part)
        engine.dispose()
    if not parts:
        return pl.LazyFrame(schema=dict.fromkeys(names, pl.String))
    return pl.concat([pl.scan_parquet(part) for part in parts], how="vertical_relaxed")


def _chunks(result: Any) -> Iterator[list[tuple[Any, ...]]]:
    for rows in result.partitions(CHUNK):
        yield [tuple(row) for row in rows]


@contextmanager
def _database_errors(place: Place) -> Iterator[None]:
    """Turn what SQLAlchemy and its drivers raise into refusals without secrets."""
    import sqlalchemy as sa

    scheme = place.value.partition("://")[0]
    try:
        # Drivers warn about the URL that they were given; what they say may hold its secrets.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except sa.exc.NoSuchModuleError:
        base = scheme.partition("+")[0]
        raise _driver(place, scheme, PACKAGES.get(base, f"sqlalchemy-{base}")) from None
    except ModuleNotFoundError as error:
        raise _driver(place, scheme, PACKAGES.get(str(error.name), str(error.name))) from None
    except sa.exc.ArgumentError:
        raise Refusal(
            f"{place.model}: data.source is not a database URL.",
            do="data.query is for sources such as sqlite:///rows.db or postgresql://host/name; else leave it out.",
        ) from None
    except sa.exc.SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        lines = str(cause).strip().splitlines() or [type(cause).__name__]
        raise Refusal(
            f"{place.model}: the query on {place.shown} failed: {place.clean(lines[0])}",
            do="Look at data.source and data.query in model.toml.",
        ) from None


def _driver(place: Place, scheme: str, package: str) -> Refusal:
    return Refusal(
        f"{place.model}: {scheme}:// needs a package that is not installed.",
        do=f"Add it: uv add --package {place.model} {package}",
    )


def _conform(lazy: pl.LazyFrame, contract: Contract) -> pl.LazyFrame:
    """Give columns the contract's types where no value is lost; one pass over the data finds out where."""
    schema = lazy.collect_schema()
    casts = {
        column.name: cast
        for column in contract.columns
        if column.name in schema and (cast := cast_to(column.dtype, column.name, schema[column.name])) is not None
    }
    if not casts:
        return lazy
    losses = [lost(name, cast, schema[name]).sum().alias(name) for name, cast in casts.items()]
    counts = lazy.select(losses).collect(engine="streaming").row(0, named=True)
    return lazy.with_columns(cast.alias(name) for name, cast in casts.items() if not counts[name])


def _up_to(lazy: pl.LazyFrame, contract: Contract, as_of: dt.date, place: Place) -> pl.LazyFrame:
    """Rows up to and including the day; rows without a time stay, for the check to count."""
    time = contract.time
    if time is None:
        return lazy
    schema = lazy.collect_schema()
    if time.name not in schema:
        raise Refusal(
            f"{place.model}: {place.shown} has no column {time.name}, by which rows up to {as_of} are chosen.",
            do=f"It has: {shorten(', '.join(_first(schema.names(), 8)), 120)}.",
        )
    if not schema[time.name].is_temporal():
        return lazy  # The check names the wrong type, and nothing after it runs.
    after = as_of + dt.timedelta(days=1)
    return lazy.filter(pl.col(time.name).is_null() | (pl.col(time.name) < after))


def _first(names: Iterable[str], most: int) -> list[str]:
    """The first names, and a mark where there are more."""
    listed = list(names)
    return [*listed[:most], "…"] if len(listed) > most else listed
