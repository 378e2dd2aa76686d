"""Do rows arrive from every kind of source, without loss and without leaks, and is bad input refused in two lines?"""

import datetime as dt
import gzip
import http.server
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fsspec
import polars as pl
import pytest

from mlops.config import Data
from mlops.data import sources
from mlops.data.compile import compile_contract
from mlops.data.sources import ingest, locate
from mlops.errors import Refusal
from mlops.files import digest
from mlops.workspace import Model

CONTRACT = '''
import datetime as dt
import pandera.polars as pa

class Contract(pa.DataFrameModel):
    """Rows of the test."""

    number: int = pa.Field(metadata={"role": "id"})
    day: dt.date = pa.Field(nullable=True, metadata={"role": "time"})
    amount: float = pa.Field(nullable=True)
    code: str
    paid: bool
    y: int = pa.Field(metadata={"role": "target"})
'''
CSV = """number,day,amount,code,paid,y
1,2026-01-01,1.5,007,true,0
2,2026-01-02,,1,False,1
3,2026-01-03,NaN,abc,1,0
4,2026-01-04,4,"a,b",0,1
"""
DATA = Data(source="", as_of="2026-01-03")


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """A model with a contract and nothing else."""
    found = Model(tmp_path, "shop")
    found.folder.mkdir(parents=True)
    found.contract.write_text(CONTRACT, encoding="utf-8")
    return found


def fetch(model: Model, source: str, *, query: str = "", as_of: str = "2026-01-03") -> pl.DataFrame:
    """The rows that ingest writes."""
    contract = compile_contract(model.contract, cache=None)
    rows = ingest(model, replace(DATA, source=source, query=query, as_of=as_of), contract)
    frame = pl.read_parquet(model.raw)
    assert frame.height == rows
    assert not list(model.raw.parent.glob(".ingest*")), "nothing is left behind"
    return frame


def refused(model: Model, source: str, *, query: str = "", message: str) -> str:
    """The refusal, which names the model, has two lines at most and leaves the old rows alone."""
    model.raw.parent.mkdir(parents=True, exist_ok=True)
    model.raw.write_bytes(b"old")
    with pytest.raises(Refusal, match=message) as refusal:
        fetch(model, source, query=query)
    text = str(refusal.value)
    assert "shop" in text
    assert len(text.splitlines()) <= 2
    assert "Traceback" not in text
    assert model.raw.read_bytes() == b"old"
    assert os.listdir(model.raw.parent) == ["raw.parquet"]
    return text


EXPECTED = {
    "number": [1, 2, 3],
    "day": [dt.date(2026, 1, 1), dt.date(2026, 1, 2), dt.date(2026, 1, 3)],
    "code": ["007", "1", "abc"],
    "paid": [True, False, True],
    "y": [0, 1, 0],
}


def same(frame: pl.DataFrame) -> None:
    """The three rows of the CSV up to the third of January, in the contract's types."""
    assert {name: frame[name].to_list() for name in EXPECTED} == EXPECTED
    assert frame["amount"].dtype == pl.Float64
    assert frame["amount"].fill_nan(None).to_list() == [1.5, None, None]


def test_csv_gets_the_types_of_the_contract(model: Model) -> None:
    """Text that looks like a number stays text where the contract says so, and rows after the day stay out."""
    (model.folder / "rows.csv").write_text(CSV, encoding="utf-8")
    same(fetch(model, "rows.csv"))
    assert fetch(model, "rows.csv", as_of="2026-01-04")["code"].to_list()[-1] == "a,b"


def test_packed_csv_and_globs_of_files(model: Model) -> None:
    """A glob is read in the order of its names; gzip is unpacked."""
    head, *rows = CSV.splitlines()
    for n, row in enumerate(rows):
        with gzip.open(model.folder / f"part{n}.csv.gz", "wt", encoding="utf-8") as stream:
            stream.write(f"{head}\n{row}\n")
    same(fetch(model, "part*.csv.gz"))


def test_parquet_is_cast_where_nothing_is_lost(model: Model) -> None:
    """Narrow integers, times at midnight and whole floats fit; a file's own types are otherwise kept."""
    frame = pl.DataFrame(
        {
            "number": pl.Series([1, 2, 3], dtype=pl.Int16),
            "day": pl.Series([dt.datetime(2026, 1, n) for n in (1, 2, 3)]),
            "amount": pl.Series([1.5, None, None], dtype=pl.Float32),
            "code": pl.Series(["007", "1", "abc"], dtype=pl.Categorical),
            "paid": pl.Series([1, 0, 1], dtype=pl.Int8),
            "y": [0.0, 1.0, 0.0],
        }
    )
    frame.write_parquet(model.folder / "rows.parquet")
    same(fetch(model, "rows.parquet"))


@pytest.mark.parametrize(
    ("column", "values", "dtype"),
    [
        ("number", ["1", "two", "3"], pl.String),
        ("number", ["1", "007", "3"], pl.String),
        ("number", [1.5, 2.0, 3.0], pl.Float64),
        ("number", ["1", "99999999999999999999", "3"], pl.String),
        ("paid", [0, 1, 2], pl.Int64),
        ("day", [dt.datetime(2026, 1, 1, 12), None, None], pl.Datetime("us")),
        ("day", ["2026-01-01", "01/02/2026", "2026-01-03"], pl.String),
        ("y", [2.0**60, 0.1, 1.0], pl.Float64),
    ],
)
def test_a_cast_that_would_lose_something_is_not_made(
    column: str, values: list[object], dtype: pl.DataType, model: Model
) -> None:
    """The column keeps its values and its type, so that the check can name what is wrong."""
    good = pl.DataFrame({**EXPECTED, "amount": [1.5, None, None]})
    good.with_columns(pl.Series(column, values, dtype=dtype)).write_parquet(model.folder / "rows.parquet")
    frame = fetch(model, "rows.parquet")
    assert frame[column].dtype == dtype
    assert frame[column].to_list() == values


def test_times_of_csv_keep_their_instant(model: Model) -> None:
    """ISO times with and without seconds, fractions, `Z` or an offset become UTC without a zone."""
    model.contract.write_text(CONTRACT.replace("day: dt.date", "day: dt.datetime"), encoding="utf-8")
    times = {
        "2026-01-01": dt.datetime(2026, 1, 1),
        "2026-01-01T10:30": dt.datetime(2026, 1, 1, 10, 30),
        "2026-01-01 10:30:15.25": dt.datetime(2026, 1, 1, 10, 30, 15, 250_000),
        "2026-01-01T10:30:00Z": dt.datetime(2026, 1, 1, 10, 30),
        "2026-01-01T10:30:00+02:00": dt.datetime(2026, 1, 1, 8, 30),
        "2026-01-03T23:59:59.999999": dt.datetime(2026, 1, 3, 23, 59, 59, 999_999),
    }
    lines = [f"{n},{text},1,a,true,0" for n, text in enumerate([*times, "2026-01-04T00:00:00"])]
    (model.folder / "rows.csv").write_text("\n".join([CSV.splitlines()[0], *lines]), encoding="utf-8")
    assert fetch(model, "rows.csv")["day"].to_list() == list(times.values())


def test_rows_without_a_time_are_kept_for_the_check(model: Model) -> None:
    """A filter must not hide what the contract would have named."""
    (model.folder / "rows.csv").write_text(CSV + "5,,1,a,true,1\n", encoding="utf-8")
    assert fetch(model, "rows.csv")["number"].to_list() == [1, 2, 3, 5]


def test_equal_rows_are_equal_bytes(model: Model) -> None:
    """Fetching the same rows again must not make the pipeline run again."""
    lines = [f"{n},2026-01-0{n % 5 + 1},{n / 7},c{n % 999},true,{n % 2}" for n in range(300_000)]
    (model.folder / "rows.csv").write_text("\n".join([CSV.splitlines()[0], *lines]), encoding="utf-8")
    digests = set()
    for _ in range(3):
        frame = fetch(model, "rows.csv")
        digests.add(digest(model.raw))
    assert len(digests) == 1
    assert frame["number"].is_sorted()


def test_the_replay_moves_with_the_day(tumour: Model) -> None:
    """The model's own read(as_of) is called; a later day has the same rows and more."""
    contract = compile_contract(tumour.contract, cache=None)
    heights = []
    for as_of in ("2024-01-01", "2026-01-01"):
        heights.append(ingest(tumour, replace(DATA, source="replay", as_of=as_of), contract))
        assert pl.read_parquet(tumour.raw)["examined_on"].max() <= dt.date.fromisoformat(as_of)
    assert 0 < heights[0] < heights[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def read(as_of): raise OSError('no disk')", r"ingest\.py, line 1: OSError: no disk"),
        ("def read(as_of:", r"ingest\.py, line 1: SyntaxError"),
        ("import nothing_like_it", r"line 1: ModuleNotFoundError"),
        ("x = 1", "AttributeError"),
        ("import sys\ndef read(as_of): sys.exit(3)", r"ingest\.py, line 2: SystemExit: 3"),
        ("def read(as_of): return [1]", "gave a list"),
    ],
)
def test_a_broken_replay_is_refused(text: str, message: str, tumour: Model) -> None:
    """It names the model, the file and the line."""
    (tumour.source / "tumour" / "ingest.py").write_text(text, encoding="utf-8")
    contract = compile_contract(tumour.contract, cache=None)
    with pytest.raises(Refusal, match=f"tumour.*{message}"):
        ingest(tumour, replace(DATA, source="replay"), contract)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A web server on loopback; `/rows.csv` only with the right token, `/slow` never ends well."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            good = self.path == "/rows.csv?token=s3cr3t%2Fx"
            body = CSV.encode() if good else b"forbidden"
            self.send_response(200 if good else 403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{one.server_address[1]}"
        one.shutdown()


def test_a_url_is_fetched(model: Model, server: str) -> None:
    """Over HTTP, with its query as it stands."""
    same(fetch(model, f"{server}/rows.csv?token=s3cr3t%2Fx"))


def test_object_stores_and_their_globs(model: Model) -> None:
    """Whatever fsspec opens: here its memory file system, with one file and with several."""
    head, *rows = CSV.splitlines()
    store = fsspec.filesystem("memory")
    for n, row in enumerate(rows):
        store.pipe(f"/bucket/part{n}.csv", f"{head}\n{row}\n".encode())
    store.pipe("/bucket/all.csv", CSV.encode())
    same(fetch(model, "memory://bucket/part*.csv"))
    same(fetch(model, "memory://bucket/all.csv"))
    refused(model, "memory://bucket/none*.csv", message="no file matches memory://bucket/none")
    refused(model, "memory://bucket/none.csv", message="cannot be fetched: there is nothing")


QUERY = "SELECT number, day, amount, code, paid, y FROM rows WHERE day <= :as_of ORDER BY number"


def test_sqlite_by_query(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunk by chunk, with `:as_of` bound; the URL comes from the environment."""
    path = model.folder / "rows.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE rows (number INT, day TEXT, amount REAL, code TEXT, paid INT, y INT)")
        table = [
            (1, "2026-01-01", 1.5, "007", 1, 0),
            (2, "2026-01-02", None, "1", 0, 1),
            (3, "2026-01-03", None, "abc", 1, 0),
            (4, "2026-01-04", 4, "a,b", 0, 1),
        ]
        connection.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?)", table)
    connection.close()
    monkeypatch.setenv("WAREHOUSE_URL", f"sqlite:///{path}")
    monkeypatch.setattr(sources, "CHUNK", 2)
    same(fetch(model, "${WAREHOUSE_URL}", query=QUERY))


DUCKDB = """
import sys
from pathlib import Path

import duckdb

with duckdb.connect(sys.argv[1]) as connection:
    connection.execute(
        "CREATE TABLE rows (number INT, day DATE, amount DECIMAL(9, 2), code VARCHAR, paid BOOLEAN, y TINYINT)"
    )
    connection.execute(
        "INSERT INTO rows VALUES (1, '2026-01-01', 1.5, '007', true, 0), (2, '2026-01-02', NULL, '1', false, 1),"
        "(3, '2026-01-03', NULL, 'abc', true, 0), (4, '2026-01-04', 4, 'a,b', false, 1)"
    )
from mlops.config import Data
from mlops.data.compile import compile_contract
from mlops.data.sources import ingest
from mlops.workspace import Model

model = Model(Path(sys.argv[2]), "shop")
data = Data(source=f"duckdb:///{sys.argv[1]}", as_of="2026-01-03", query=sys.argv[3])
ingest(model, data, compile_contract(model.contract, cache=None))
"""


def test_duckdb_by_query(model: Model) -> None:
    """A warehouse's own types (dates, decimals, booleans) arrive in the contract's.

    In a process of its own: DuckDB prints a page of leaks when a process that raised much else ends.
    """
    path = model.folder / "rows.duckdb"
    given = [str(path), str(model.root), QUERY]
    done = subprocess.run([sys.executable, "-c", DUCKDB, *given], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    same(pl.read_parquet(model.raw))


BAD = {
    "there is no file": ("rows.csv", "there is no file rows.csv"),
    "an empty glob": ("rows-*.csv", r"no file matches rows-\*\.csv"),
    "an empty file": ("empty.csv", "cannot be read"),
    "a header only": ("header.csv", "has no rows up to 2026-01-03"),
    "only later rows": ("later.csv", "has no rows up to 2026-01-03"),
    "ragged lines": ("ragged.csv", "cannot be read"),
    "no UTF-8": ("latin.csv", "cannot be read"),
    "half a Parquet file": ("half.parquet", "cannot be read"),
    "no table at all": ("picture.png", "cannot be read: it holds zero bytes"),
    "a quote in the middle": ("quote.csv", "cannot be read: could not parse … as dtype `str` at column 'code'"),
    "no gzip": ("bad.gz", "cannot be read"),
    "no time column": ("timeless.csv", "has no column day"),
    "files that differ": ("mixed*.csv", "has other columns than mixed1.csv"),
    "kinds that differ": ("kind*", "both CSV and Parquet"),
    "a folder": ("folder", "cannot be read"),
    "an unknown protocol": ("nothing://host/rows.csv", "nothing:// is not known"),
    "nobody listens": ("http://127.0.0.1:9/rows.csv", "cannot be fetched"),
    "a database without a query": ("sqlite:///rows.db", "data.query in model.toml is empty"),
    "a variable that is not set": ("${NO_SUCH_VARIABLE}/rows.csv", "the variable NO_SUCH_VARIABLE, which is not set"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_sources_are_refused(case: str, model: Model) -> None:
    """One or two lines that name the model and the source, and nothing lost."""
    folder = model.folder
    head = CSV.splitlines()[0]
    (folder / "empty.csv").write_bytes(b"")
    (folder / "header.csv").write_text(head + "\n", encoding="utf-8")
    (folder / "later.csv").write_text(f"{head}\n1,2027-01-01,1,a,true,0\n", encoding="utf-8")
    (folder / "ragged.csv").write_text(CSV + "5,2026-01-01,1,a,true,0,9,9,9\n", encoding="utf-8")
    (folder / "latin.csv").write_bytes(CSV.replace("abc", "ä").encode("latin-1"))
    (folder / "half.parquet").write_bytes(b"PAR1" + b"\0" * 50)
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    (folder / "quote.csv").write_text('number,day,code\n1,2026-01-01,"Jane" Doe\n', encoding="utf-8")
    (folder / "bad.gz").write_bytes(b"\x1f\x8b" + b"\0" * 50)
    (folder / "timeless.csv").write_text("number,y\n1,0\n", encoding="utf-8")
    (folder / "mixed1.csv").write_text(CSV, encoding="utf-8")
    (folder / "mixed2.csv").write_text("number,y\n1,0\n", encoding="utf-8")
    (folder / "kind1").write_text(CSV, encoding="utf-8")
    pl.DataFrame(EXPECTED).write_parquet(folder / "kind2")
    (folder / "folder").mkdir()
    source, message = BAD[case]
    refused(model, source, message=message)


@pytest.mark.parametrize(
    ("source", "query", "message"),
    [
        ("sqlite:///{}/x.db", "SELECT * FROM nowhere", "the query on .* failed: no such table: nowhere"),
        ("sqlite:///{}/x.db", "SELEC 1", "failed"),
        ("sqlite:///{}/no/folder/x.db", "SELECT 1", "failed"),
        ("sqlite:///{}/x.db", "SELECT 1 AS a, 2 AS a", "gives a twice"),
        ("sqlite:///{}/x.db", "SELECT :other AS a", "failed"),
        ("sqlite:///{}/x.db", "CREATE TABLE a (b INT)", "gives no rows"),
        ("sqlite:///{}/x.db", "SELECT 1 AS number WHERE 1 = 0", "has no column day"),
        ("rows.csv", "SELECT 1", "is not a database URL"),
    ],
)
def test_bad_queries_are_refused(source: str, query: str, message: str, model: Model) -> None:
    """The database's own words, on one line."""
    refused(model, source.format(model.folder), query=query, message=message)


@pytest.mark.parametrize(
    ("source", "query", "package"),
    [
        ("nosuch://host/db", "SELECT 1", "sqlalchemy-nosuch"),
        ("postgresql+pg8000://host/db", "SELECT 1", "pg8000"),
        ("mysql://host/db", "SELECT 1", "mysqlclient"),
        ("s3://bucket/rows.csv", "", "s3fs"),
        ("gs://bucket/rows.csv", "", "gcsfs"),
    ],
)
def test_a_missing_driver_is_named(
    source: str, query: str, package: str, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line to type adds it to the model that needs it."""
    import sys

    for module in ("s3fs", "gcsfs", "pg8000", "MySQLdb"):
        monkeypatch.setitem(sys.modules, module, None)
    assert f"uv add --package shop {package}" in refused(model, source, query=query, message="is not installed")


def test_secrets_are_never_shown(model: Model, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords, tokens and what a variable holds appear in no message and no file."""
    monkeypatch.setenv("SECRET_URL", "http://robot:hunter%402@127.0.0.1:9/rows.csv?sig=abcdef")
    monkeypatch.setenv("PASSWORD", "hunter2")
    wrong = server.replace("http://", "http://robot:hunter2@") + "/rows.csv?token=wrong-hunter2#part-hunter2"
    texts = [
        refused(model, "${SECRET_URL}", message="cannot be fetched"),
        refused(model, wrong, message="cannot be fetched"),
        refused(model, "http://robot:${PASSWORD}@127.0.0.1:9/rows.csv", message="cannot be fetched"),
        refused(model, "sqlite:////nowhere/x.db?key=hunter2", query="SELECT 1", message="failed"),
        refused(model, "sqlite:////nowhere/${PASSWORD}/x.db", query="SELECT 1", message="failed"),
        refused(model, "sqlite://robot:hunter2@host/x.db", query="SELECT 1", message="shop"),
    ]
    for text in texts:
        for secret in ("hunter", "abcdef", "wrong", "127.0.0.1:9/rows.csv?"):
            assert secret not in text
    assert locate("shop", "https://u:p@host/a/b.csv?x=1").shown == "https://***@host/a/b.csv"
    assert locate("shop", "${SECRET_URL}").shown == "${SECRET_URL}"
