"""Is checking a data contract cheap? A whole `mlops check` process against pandera on pandas, same file, same rules.

Goals: at 1 million rows of 20 columns at most 0.4 of the time; at 10 million at most 0.2 of the
time and 0.12 of the peak memory; identical violation counts. Run it with the interpreter that has the packages:

    python benchmarks/contract.py [--rows 1000000 10000000]

It makes its data in a temporary folder, prints every value, and writes `results/contract.json`.
The data breaks the contract here and there (ranges, categories, patterns, missing values, duplicates), so that every
peer counts something; `cold` deletes our cache of the compiled contract before every run.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import harness

TEMPLATE = Path(__file__).resolve().parents[1] / "<<cookiecutter.project>>"
MODEL = """
[model]
task = "regression"
owner = "@bench"
description = "A benchmark."
[data]
source = "data/raw.parquet"
as_of = "2026-07-01"
[split]
method = "time"
[evaluate]
metrics = ["rmse"]
[gate]
margin = 0.0
slice_margin = 0.0
"""
FIELDS = {
    "id": ("int", "ge=0, unique=True"),
    "at": ("dt.datetime", "ge=dt.datetime(2020, 1, 1)"),
    **{f"f{n}": ("float", f"ge=-4.5, le=4.5, nullable={n % 2 == 0}") for n in range(10)},
    **{f"i{n}": ("int", "ge=0, lt=99990") for n in range(4)},
    "s0": ("str", 'isin=["a0", "a1", "a2", "a3", "a4"]'),
    "s1": ("str", 'str_matches=r"[a-z]+[0-9]+$"'),
    "s2": ("str", 'str_length={"min_value": 2, "max_value": 5}, nullable=True'),
    "b0": ("bool", "isin=[True, False]"),
}
ROLES = {"id": "id", "at": "time", "f9": "target"}


def contract() -> str:
    """The contract of the benchmark, as a model has it."""
    lines = ["import datetime as dt", "import pandera.polars as pa", "", "class Contract(pa.DataFrameModel):"]
    for name, (kind, options) in FIELDS.items():
        role = f', metadata={{"role": "{ROLES[name]}"}}' if name in ROLES else ""
        lines.append(f"    {name}: {kind} = pa.Field({options}{role})")
    return "\n".join([*lines, "    class Config:", "        strict = True", ""])


PEER = """
import datetime as dt, json, sys
from collections import Counter
{imports}
types = {types}
columns = {{}}
{columns}
schema = pa.DataFrameSchema(columns, strict=True)
frame = {read}
counts = Counter()
try:
    schema.validate(frame, lazy=True)
except pa.errors.SchemaErrors as errors:
    for error in errors.schema_errors:
        counts[error.column_name + "|" + str(getattr(error.check, "name", error.check))] += len(error.failure_cases)
print(json.dumps(counts))
"""


def peer(library: str) -> str:
    """A script that does the same with pandera itself, on pandas or on polars."""
    lines = []
    for name, (kind, options) in FIELDS.items():
        field = f"_field({options})"
        lines.append(f"columns[{name!r}] = pa.Column(types[{kind!r}], **{field})")
    keys = {
        "ge": "ge",
        "le": "le",
        "lt": "lt",
        "isin": "isin",
        "str_matches": "str_matches",
        "str_length": "str_length",
    }
    helper = (
        "def _field(**options):\n"
        "    checks = []\n"
        f"    for key in {sorted(keys)!r}:\n"
        "        if key in options:\n"
        "            value = options.pop(key)\n"
        "            make = getattr(pa.Check, key)\n"
        "            checks.append(make(**value) if isinstance(value, dict) else make(value))\n"
        "    return dict(checks=checks, **options)\n"
    )
    if library == "pandas":
        types = "{'int': 'int64', 'float': 'float64', 'str': str, 'bool': 'bool', 'dt.datetime': 'datetime64[us]'}"
        imports, read = "import pandas as pd, pandera.pandas as pa", "pd.read_parquet(sys.argv[1])"
    else:
        types = "{'int': int, 'float': float, 'str': str, 'bool': bool, 'dt.datetime': dt.datetime}"
        imports, read = "import polars as pl, pandera.polars as pa", "pl.read_parquet(sys.argv[1])"
    return PEER.format(imports=imports, types=types, columns=helper + "\n".join(lines), read=read)


def make_data(path: Path, rows: int) -> None:
    """Write the rows in a process of its own, so that this one stays small."""
    script = f"""
import numpy as np, polars as pl
rng = np.random.default_rng(7)
n = {rows}
data = {{"id": rng.permutation(n)}}
data["id"][: n // 50_000] = data["id"][n // 2]
data["at"] = np.datetime64("2019-12-31T23:00:00", "us") + rng.integers(0, 6 * 365 * 86_400_000_000, n)
for i in range(10):
    data[f"f{{i}}"] = rng.normal(size=n)
for i in range(4):
    data[f"i{{i}}"] = rng.integers(0, 100_000, n)
frame = pl.DataFrame(data)
words = [[f"a{{k}}" for k in range(5)], [f"word{{k}}" for k in range(2000)], ["ab", "abcde"]]
for i, known in enumerate(words):
    frame = frame.with_columns(pl.Series(known).gather(rng.integers(0, len(known), n)).alias(f"s{{i}}"))
frame = frame.with_columns(pl.Series("b0", rng.random(n) < 0.5))
bad = pl.Series(rng.random(n) < 1e-4)
gap = pl.Series(rng.random(n) < 1e-3)
frame = frame.with_columns(
    pl.when(bad).then(pl.lit("zz")).otherwise(pl.col("s0")).alias("s0"),
    pl.when(bad).then(pl.lit("0bad")).otherwise(pl.col("s1")).alias("s1"),
    pl.when(bad).then(pl.lit("far too long")).when(gap).then(None).otherwise(pl.col("s2")).alias("s2"),
    *(pl.when(gap).then(float("nan")).otherwise(pl.col(f"f{{i}}")).alias(f"f{{i}}") for i in range(4)),
)
frame.select({list(FIELDS)!r}).write_parquet({str(path)!r})
"""
    harness.run([sys.executable, "-c", script])


PANDERA = {
    "not_nullable": "not null",
    "field_uniqueness": "unique",
    "greater_than_or_equal_to": "ge",
    "less_than_or_equal_to": "le",
    "less_than": "lt",
}


def of_pandera(output: str) -> dict[str, int]:
    """Counts per column and kind of check, out of a peer's output."""
    found: Counter[str] = Counter()
    for key, count in json.loads(output.splitlines()[-1]).items():
        column, name = key.split("|")
        found[f"{column} {PANDERA.get(name, name)}"] += count
    return dict(sorted(found.items()))


def of_ours(path: Path) -> dict[str, int]:
    """Counts per column and kind of check, out of `check.json`."""
    found: Counter[str] = Counter()
    for one in json.loads(path.read_text(encoding="utf-8"))["violations"]:
        kind = one["check"] if one["check"] == "not null" else one["check"].split(" ")[0]
        found[f"{one['column']} {kind}"] += one["count"]
    return dict(sorted(found.items()))


def measure(rows: int, repeats: int, folder: Path) -> dict[str, Any]:
    """All peers on one size of data."""
    root = folder / f"rows{rows}"
    model = root / "models" / "bench"
    (model / "data").mkdir(parents=True)
    (root / "packages" / "mlops").mkdir(parents=True)
    (model / "model.toml").write_text(MODEL, encoding="utf-8")
    (model / "contract.py").write_text(contract(), encoding="utf-8")
    data = model / "data" / "raw.parquet"
    print(f"\n{rows:,} rows x {len(FIELDS)} columns", flush=True)
    make_data(data, rows)
    for library in ("pandas", "polars"):
        (folder / f"peer_{library}.py").write_text(peer(library), encoding="utf-8")
    env = {"PYTHONPATH": str(TEMPLATE / "packages" / "mlops" / "src"), "PANDERA_VALIDATION_DEPTH": "SCHEMA_AND_DATA"}
    report = root / "reports" / "bench" / "check.json"
    counts: dict[str, set[str]] = {}

    def ours(name: str) -> harness.Run:
        if name == "mlops check, cold":
            shutil.rmtree(root / ".cache", ignore_errors=True)
        report.unlink(missing_ok=True)
        # Broken data is refused with exit code 1; here that is the right answer.
        done = harness.run([sys.executable, "-m", "mlops", "check", "bench"], cwd=root, env=env, accept=(1,))
        counts.setdefault(name, set()).add(json.dumps(of_ours(report)))
        return done

    def theirs(library: str) -> harness.Run:
        done = harness.run([sys.executable, str(folder / f"peer_{library}.py"), str(data)], env=env)
        counts.setdefault(f"pandera on {library}", set()).add(json.dumps(of_pandera(done.output)))
        return done

    peers = {
        "mlops check": lambda: ours("mlops check"),
        "mlops check, cold": lambda: ours("mlops check, cold"),
        "pandera on pandas": lambda: theirs("pandas"),
        "pandera on polars": lambda: theirs("polars"),
    }
    runs = harness.interleave(peers, repeats=repeats)
    truth = counts["pandera on pandas"]
    correct = {name: found == truth and len(truth) == 1 for name, found in counts.items()}
    text = harness.table(runs, against="pandera on pandas", correct=correct)
    print(text)
    if not correct["mlops check"]:
        print("ours  ", *counts["mlops check"], "\npandas", *truth, sep="\n")
    shutil.rmtree(root)
    ratio = {
        what: harness.median(runs["mlops check"], what) / harness.median(runs["pandera on pandas"], what)
        for what in ("wall_s", "peak_mb")
    }
    return {
        "rows": rows,
        "columns": len(FIELDS),
        "repeats": repeats,
        "violations": json.loads(next(iter(truth))),
        "correct": correct,
        "values": harness.values(runs),
        "medians": {
            name: {what: round(harness.median(ones, what), 4) for what in ("wall_s", "cpu_s", "peak_mb")}
            for name, ones in runs.items()
        },
        "ratio": {what: round(value, 4) for what, value in ratio.items()},
        "table": text,
    }


def main() -> int:
    """Measure and conclude; 1 when a goal is missed or an answer is wrong."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    options.add_argument("--repeats", type=int, help="rounds per size (default: 5, and 3 above 5 million rows)")
    chosen = options.parse_args()
    versions = harness.versions("polars", "pandas", "pandera", "pyarrow", "numpy")
    print(versions)
    with tempfile.TemporaryDirectory() as name:
        sizes = [measure(rows, chosen.repeats or (5 if rows <= 5_000_000 else 3), Path(name)) for rows in chosen.rows]
    goals: dict[str, tuple[float, float]] = {}
    for size in sizes:
        big = size["rows"] >= 10_000_000
        goals[f"{size['rows']:,} rows, time ratio"] = (size["ratio"]["wall_s"], 0.2 if big else 0.4)
        if big:
            goals[f"{size['rows']:,} rows, memory ratio"] = (size["ratio"]["peak_mb"], 0.12)
    return harness.conclude(
        "contract",
        question="What does a contract check cost, as a whole process, against pandera on pandas?",
        facts={"versions": versions, "sizes": sizes},
        tables={f"{size['rows']:,} rows, {size['columns']} columns": size.pop("table") for size in sizes},
        goals=goals,
        right=all(size["correct"]["mlops check"] and size["correct"]["mlops check, cold"] for size in sizes),
        notes=[
            "Correct means: the same count per column and check as pandera on pandas.",
            "Pandera on polars counts NaN as a value that is too large, so its counts differ on this data.",
            "`cold` compiles the contract with pandera first, as the first check after a change of `contract.py` does.",
        ],
    )


if __name__ == "__main__":
    raise SystemExit(main())
