"""Is the current window what the log says, whatever its form, its size and its damages?"""

import datetime as dt
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlops.data import outputs
from mlops.data.contract import Column
from mlops.data.profile import profile
from mlops.watching import window
from mlops.watching.window import Served, Span, named, read

DAY = dt.date(2026, 9, 30)
FEATURES = (
    Column(name="x", dtype="float"),
    Column(name="n", dtype="int"),
    Column(name="c", dtype="str"),
    Column(name="b", dtype="bool"),
)


def frame(rows: int, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    made = {"x": rng.normal(size=rows), "n": rng.integers(0, 9, rows), "c": rng.choice(["a", "b"], rows)}
    gap = pl.Series(rng.random(rows) < 0.1)
    return pl.DataFrame({**made, "b": rng.random(rows) < 0.5}).with_columns(
        pl.when(gap).then(None).otherwise(pl.col("x")).alias("x")
    )


REFERENCE = profile(frame(1000, seed=9), FEATURES, 10)


def served(classes: list[Any] | None = None) -> Served:
    said = np.linspace(0, 1, 200) if classes is None else np.stack([np.linspace(0, 1, 200), np.linspace(1, 0, 200)], 1)
    known = profile(outputs.frame(said, classes), outputs.columns(classes), 10)
    return Served(version="v1", classes=classes, features=FEATURES, inputs=REFERENCE, outputs=known)


def lines(
    rows: pl.DataFrame, *, classes: bool = False, day: dt.date = DAY, version: str = "v1", ids: bool = False
) -> list[dict[str, Any]]:
    """As the service's journal writes them."""
    found = []
    for n, row in enumerate(rows.to_dicts()):
        at = dt.datetime.combine(day, dt.time(12), tzinfo=dt.UTC) + dt.timedelta(seconds=n / 10)
        value = round(n % 100 / 100, 2)
        line = {
            "at": at.isoformat(timespec="milliseconds"),
            "version": version,
            "features": row,
            "prediction": [value, 1 - value] if classes else value,
        }
        found.append({**line, "id": n} if ids else line)
    return found


def text(found: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(line) + "\n" for line in found)


SPAN = Span.until(DAY, 7)


def test_a_window_counts_every_row_as_one_look_at_all_of_them_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read in many small blocks; the same counts, and the outputs too."""
    monkeypatch.setattr(window, "BLOCK", 5000)
    rows = frame(700)
    path = tmp_path / "p.jsonl"
    path.write_text(text(lines(rows)))
    found = read([path], span=SPAN, served=served())
    whole = profile(rows, FEATURES, 0, like=REFERENCE)
    assert found.rows == 700
    assert found.inputs is not None
    for name, column in whole["columns"].items():
        assert {**found.inputs["columns"][name], "mean": 0, "std": 0} == {**column, **({"mean": 0, "std": 0})}
    assert found.outputs is not None
    assert sum(found.outputs["columns"]["prediction"]["counts"]) == 700
    assert found.sample["x"].to_list() == rows["x"].to_list()
    assert found.newest == dt.datetime(2026, 9, 30, 12, 1, 9, 900000, tzinfo=dt.UTC)


def test_parquet_says_the_same_as_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `at` as text or as a time, and classes as lists."""
    monkeypatch.setattr(window, "ROWS", 90)
    (tmp_path / "p.jsonl").write_text(text(lines(frame(400), classes=True, ids=True)))
    raw = pl.read_ndjson(tmp_path / "p.jsonl")
    raw.write_parquet(tmp_path / "text.parquet")
    times = raw.with_columns(pl.col("at").str.to_datetime(time_zone="UTC"))
    times.write_parquet(tmp_path / "time.parquet")
    times.with_columns(pl.col("at").dt.replace_time_zone(None)).write_parquet(tmp_path / "naive.parquet")
    looks = [
        read([tmp_path / name], span=SPAN, served=served(["no", "yes"]))
        for name in ("p.jsonl", "text.parquet", "time.parquet", "naive.parquet")
    ]
    for look in looks:
        assert (look.rows, look.newest) == (400, looks[0].newest)
        assert look.inputs is not None
        assert look.inputs["columns"]["c"] == looks[0].inputs["columns"]["c"]  # type: ignore[index]
        assert look.outputs is not None
        assert _counts(look.outputs) == _counts(looks[0].outputs)
        assert look.sample[window.KEY].to_list() == [str(n) for n in range(400)]
    assert looks[0].outputs["columns"]["label"]["counts"] == {"no": 200, "yes": 200}  # type: ignore[index]


def _counts(found: Any) -> list[Any]:
    return [column["counts"] for column in found["columns"].values()]


def test_only_the_window_and_the_version_are_looked_at(tmp_path: Path) -> None:
    """The first moment of the first day to the last of the last one; other versions are counted, nothing later is."""
    path = tmp_path / "p.jsonl"
    parts = [
        lines(frame(10), day=DAY - dt.timedelta(days=6)),
        lines(frame(20), day=DAY - dt.timedelta(days=7)),
        lines(frame(30), day=DAY + dt.timedelta(days=1)),
        lines(frame(40), version="v0"),
        lines(frame(50)),
    ]
    path.write_text("".join(map(text, parts)))
    found = read([path], span=SPAN, served=served())
    assert found.rows == 60
    assert dict(found.others) == {"v0": 40}
    assert found.newest is not None
    assert found.newest.date() == DAY


DAMAGES = {
    "cut off": '{"at":"2026-09-30T12:00:00.000+00:00","vers',
    "cut off, and written on": '{"at":"2026-09-30T1{"at":"2026-09-30T12:00:00.000+00:00","version":"v1"}\n',
    "no JSON": "garbage\n",
    "another type": '{"at":5,"version":"v1","features":{"x":"text"},"prediction":"y"}\n',
    "no object": "[1]\n",
    "nothing in it": "{}\n",
    "another number of classes": '{"at":"2026-09-30T12:00:00Z","version":"v1","features":{},"prediction":[1]}\n',
    "no probability": '{"at":"2026-09-30T12:00:00Z","version":"v1","features":{},"prediction":[1,null]}\n',
    "no prediction": '{"at":"2026-09-30T12:00:00Z","version":"v1","features":{}}\n',
    "no UTF-8": '{"at":"2026-09-30T12:00:00Z","version":"v1\udcff"}\n',
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("place", ["end", "middle"])
def test_a_damaged_line_costs_itself_only(tmp_path: Path, damage: str, place: str) -> None:
    """A crash, a full disk, somebody else's line: the rest is read, and the line is counted as broken."""
    good = text(lines(frame(60), classes=True))
    middle = damage if damage.endswith("\n") else f"{damage}\n"
    whole = good + damage if place == "end" else good + middle + good
    (tmp_path / "p.jsonl").write_bytes(whole.encode(errors="surrogateescape"))
    found = read([tmp_path / "p.jsonl"], span=SPAN, served=served(["no", "yes"]))
    assert (found.rows, found.broken) == (60 if place == "end" else 120, 1)


def test_an_empty_log_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text("")
    found = read([tmp_path / "p.jsonl"], span=SPAN, served=served())
    assert (found.rows, found.inputs, found.outputs, found.newest) == (0, None, None, None)


def test_the_sample_is_even_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory does not grow with the log, and no part of the window is left out."""
    monkeypatch.setattr(window, "SAMPLE", 100)
    monkeypatch.setattr(window, "BLOCK", 3000)
    (tmp_path / "p.jsonl").write_text(text(lines(frame(1234), ids=True)))
    found = read([tmp_path / "p.jsonl"], span=SPAN, served=served())
    ids = found.sample[window.KEY].cast(pl.Int64)
    assert 50 <= len(ids) <= 100
    assert set(ids.diff().drop_nulls().to_list()) == {16}
    assert found.rows == 1234


MEMORY = """
import datetime as dt, re, sys
from pathlib import Path
from mlops.data.contract import Column
from mlops.data.profile import profile
from mlops.watching import window
import polars as pl
columns = tuple(Column(name=f"f{n}", dtype="float") for n in range(8))
frame = pl.DataFrame({one.name: [0.5, 1.5] * 50 for one in columns})
known = window.Served(version="v", classes=None, features=columns, inputs=profile(frame, columns, 10), outputs=None)
span = window.Span.until(dt.date(2026, 9, 30), 7)
assert window.read([Path(sys.argv[1])], span=span, served=known).rows == int(sys.argv[2])
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak of a process is read from /proc")
def test_memory_does_not_grow_with_the_rows_that_pass(tmp_path: Path) -> None:
    """Eight times the rows, whose features are 270 MB more, for less than half of that; the lowest of three passes,
    for what an allocator keeps depends on how busy the machine is."""
    peaks = []
    for rows in (600_000, 4_800_000):
        path = tmp_path / f"{rows}.parquet"
        features = pl.struct((pl.int_range(pl.len()) % (n + 7) / 3).alias(f"f{n}") for n in range(8))
        at = pl.datetime(2026, 9, 30, 12, time_unit="us").alias("at")
        said = [at, pl.lit("v").alias("version"), features.alias("features"), pl.lit(0.5).alias("prediction")]
        pl.LazyFrame({"n": pl.int_range(rows, eager=True)}).select(said).sink_parquet(path)
        asked = [sys.executable, "-c", MEMORY, str(path), str(rows)]
        passes = [subprocess.run(asked, check=True, capture_output=True, text=True).stdout for _ in range(3)]
        peaks.append(min(map(int, passes)))
    assert peaks[1] - peaks[0] < 135, peaks


def test_rotated_files_belong_to_the_log(tmp_path: Path) -> None:
    """The newest last, so that of a row that was asked twice the last answer counts."""
    older = ["p.jsonl.20260930120000000000", "p.jsonl.20261001120000000000"]
    for name in ("p.jsonl", *older, "p.jsonl.gz", "q.jsonl.20261001120000000000"):
        (tmp_path / name).write_text("")
    assert [path.name for path in named(tmp_path / "p.jsonl")] == [*older, "p.jsonl"]
    (tmp_path / "p.jsonl").unlink()
    assert [path.name for path in named(tmp_path / "p.jsonl")] == older


def test_a_parquet_file_that_is_no_log_is_refused_by_its_column(tmp_path: Path) -> None:
    frame(10).write_parquet(tmp_path / "p.parquet")
    with pytest.raises(pl.exceptions.ColumnNotFoundError, match="lacks the column at"):
        read([tmp_path / "p.parquet"], span=SPAN, served=served())


@pytest.mark.parametrize("form", ["lines", "parquet"])
def test_features_may_be_called_what_a_line_calls_its_own(tmp_path: Path, form: str) -> None:
    """`version`, `prediction` and `id` are ordinary names in somebody's data."""
    columns = tuple(Column(name=name, dtype="float") for name in ("version", "at", "id", "prediction", "features"))
    rows = pl.DataFrame({column.name: np.arange(60.0) for column in columns})
    reference = profile(rows, columns, 5)
    path = tmp_path / "p.jsonl"
    path.write_text(text(lines(rows, ids=True)))
    if form == "parquet":
        pl.read_ndjson(path).write_parquet(tmp_path / "p.parquet")
        path = tmp_path / "p.parquet"
    known = Served(version="v1", classes=None, features=columns, inputs=reference, outputs=None)
    found = read([path], span=SPAN, served=known)
    assert found.inputs is not None
    assert found.inputs["columns"] == reference["columns"]
    assert found.sample["id"].to_list() == rows["id"].to_list()
    assert found.sample[window.KEY].to_list() == [str(n) for n in range(60)]
