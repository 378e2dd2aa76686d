"""What does it cost to know whether 20 columns have moved, against Evidently's PSI preset, and do both say the same?

Goals: at 1 million rows at most 1/40 of the time and 0.2 of the peak memory; the peak of four times the rows at most
1.5 of that; PSI equal to its definition to 1e-9; the verdicts of a labelled suite of shifts those of Evidently
and of the labels. Run it with the interpreter that has the packages:

    python benchmarks/drift.py [--rows 1000000 4000000] [--repeats 5]

`mlops` has the profile that training stored, and reads the current rows as the prediction log holds them; Evidently has
both windows as Parquet and reads only what it needs. Evidently needs an older pandas, so it gets an environment of its
own from uv, in a temporary folder; without uv or that package there is no peer, and the benchmark ends.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import harness

SOURCE = Path(__file__).resolve().parents[1] / "<<cookiecutter.project>>" / "packages" / "mlops" / "src"
EVIDENTLY = "0.7.23"
LIMIT = 0.2
NUMBERS = [f"f{n}" for n in range(16)]
TEXTS = [f"c{n}" for n in range(4)]
GOALS = {"time": 1 / 40, "memory": 0.2, "rows": 1.5}
EXACT = 1e-9

# Row by row as a service logs it, and flat as Evidently takes it. `moved` columns are shifted by one deviation.
MAKE = """
import datetime as dt, json, sys
from pathlib import Path
import numpy as np, polars as pl
from mlops.data.contract import Column
from mlops.data.profile import profile
folder, numbers, texts, sizes = Path(sys.argv[1]), *map(json.loads, sys.argv[2:5])
rng = np.random.default_rng(7)
columns = [*(Column(name=n, dtype="float") for n in numbers), *(Column(name=n, dtype="str") for n in texts)]
words = [f"word{k}" for k in range(12)]
def rows(count, by):
    made = {name: rng.normal(by if place % 5 == 0 else 0, 1, count) for place, name in enumerate(numbers)}
    frame = pl.DataFrame(made)
    for place, name in enumerate(texts):
        shares = np.roll(np.arange(1, 13.0), 6 if by and place == 0 else 0)
        drawn = pl.Series(rng.choice(12, count, p=shares / shares.sum()))
        frame = frame.with_columns(pl.Series(words).gather(drawn).alias(name))
    return frame
reference = rows(1_000_000, 0.0)
reference.write_parquet(folder / "reference.parquet", compression="lz4")
(folder / "profile.json").write_text(json.dumps(profile(reference, columns, 10)))
for count in sizes:
    current = rows(count, 1.0)
    current.write_parquet(folder / f"current-{count}.parquet", compression="lz4")
    log = current.select(
        pl.datetime(2026, 9, 30, 12, time_unit="us").alias("at"), pl.lit("v").alias("version"),
        pl.struct(*numbers, *texts).alias("features"), pl.lit(0.5).alias("prediction"),
    )
    log.write_parquet(folder / f"log-{count}.parquet", compression="lz4")
    if count == sizes[0]:
        log.with_columns(pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%S%.3f+00:00")).write_ndjson(folder / "log.jsonl")
"""
OURS = """
import datetime as dt, json, sys
from pathlib import Path
from mlops.data.contract import Column
from mlops.watching import drift, window
reference = json.loads(Path(sys.argv[1]).read_text())
kinds = {"number": "float", "category": "str"}
columns = tuple(Column(name=name, dtype=kinds[one["kind"]]) for name, one in reference["columns"].items())
served = window.Served(version="v", classes=None, features=columns, inputs=reference, outputs=None)
span = window.Span.until(dt.date(2026, 9, 30), 7)
found = window.read([Path(sys.argv[2])], span=span, served=served).inputs
pairs = [
    drift.Pair(column=name, side="input", reference=old, current=found["columns"][name])
    for name, old in reference["columns"].items()
]
rules = drift.Rules(psi=float(sys.argv[3]), minimum_rows=50, chance=drift.look_chance(0.01, runs_per_week=7))
judged = drift.judge(pairs, rules)
print(json.dumps({one.column: [one.psi, one.outcome == "moved"] for one in judged.columns}))
"""
THEIRS = """
import json, re, sys
import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset
old, new = (pd.read_parquet(path) for path in sys.argv[1:3])
limit = float(sys.argv[3])
found = Report([DataDriftPreset(method="psi", threshold=limit)]).run(reference_data=old, current_data=new).dict()
values = {one["config"]["column"]: one["value"] for one in found["metrics"] if "column" in one["config"]}
print(json.dumps({name: [float(value), bool(value >= limit)] for name, value in values.items()}))
"""
# The definition of PSI on the bins of the reference, row by row, with nothing of ours but the profile.
DEFINITION = """
import bisect, json, math, sys
from collections import Counter
from pathlib import Path
import polars as pl
reference = json.loads(Path(sys.argv[1]).read_text())["columns"]
found = {}
for name, one in reference.items():
    values = pl.read_parquet(sys.argv[2], columns=[name]).to_series().to_list()
    if one["kind"] == "number":
        places = Counter(bisect.bisect_left(one["edges"], value) for value in values)
        pairs = [(count, places.get(place, 0)) for place, count in enumerate(one["counts"])]
    else:
        counted = Counter(values)
        pairs = [(count, counted.get(word, 0)) for word, count in one["counts"].items()]
    sizes = [sum(side) for side in zip(*pairs)]
    shares = [[count / size or 1e-4 for count, size in zip(pair, sizes)] for pair in pairs]
    found[name] = math.fsum((p - q) * math.log(p / q) for p, q in shares)
print(json.dumps(found))
"""
# Each shift with the label that a person gives it; 20,000 rows at training and 5,000 now.
SUITE = """
import json, sys
from pathlib import Path
import numpy as np, polars as pl
from mlops.data.contract import Column
from mlops.data.profile import profile
folder = Path(sys.argv[1])
rng = np.random.default_rng(11)
normal = lambda n: rng.normal(50, 10, n)
word = lambda shares: lambda n: rng.choice([f"w{k}" for k in range(len(shares))], n, p=np.array(shares) / sum(shares))
even = word([1, 1, 1, 1])
cases = {
    "nothing": (normal, normal, False),
    "nothing, long tail": (lambda n: rng.lognormal(0, 1, n), lambda n: rng.lognormal(0, 1, n), False),
    "nothing, counts": (lambda n: rng.poisson(30, n) * 1.0, lambda n: rng.poisson(30, n) * 1.0, False),
    "a tenth of a deviation": (normal, lambda n: rng.normal(51, 10, n), False),
    "a fifth of a deviation": (normal, lambda n: rng.normal(52, 10, n), False),
    "one deviation": (normal, lambda n: rng.normal(60, 10, n), True),
    "two deviations": (normal, lambda n: rng.normal(30, 10, n), True),
    "twice the spread": (normal, lambda n: rng.normal(50, 20, n), True),
    "half the spread": (normal, lambda n: rng.normal(50, 5, n), True),
    "another unit": (normal, lambda n: rng.normal(50, 10, n) * 100, True),
    "one value only": (normal, lambda n: np.full(n, 50.0), True),
    "two heaps": (normal, lambda n: rng.normal(50, 3, n) + rng.choice([-15, 15], n), True),
    "nothing, words": (even, even, False),
    "a little other words": (even, word([1, 1, 1, 1.2]), False),
    "other words": (even, word([1, 1, 1, 9]), True),
    "swapped words": (word([1, 2, 4, 8]), word([8, 4, 2, 1]), True),
    "a word that went away": (even, word([1, 1, 1, 0]), True),
    "a new word": (even, word([1, 1, 1, 1, 3]), True),
}
old = pl.DataFrame({name: before(20_000) for name, (before, _, _) in cases.items()})
new = pl.DataFrame({name: now(5_000) for name, (_, now, _) in cases.items()})
kinds = {name: "float" if old[name].dtype.is_numeric() else "str" for name in cases}
columns = [Column(name=name, dtype=kind) for name, kind in kinds.items()]
old.write_parquet(folder / "old.parquet")
new.write_parquet(folder / "new.parquet")
(folder / "old.json").write_text(json.dumps(profile(old, columns, 10)))
at = pl.datetime(2026, 9, 30, 12, time_unit="us").alias("at")
log = new.select(at, pl.lit("v").alias("version"), pl.struct(*cases).alias("features"), pl.lit(0.5).alias("prediction"))
log.write_parquet(folder / "log.parquet")
print(json.dumps({name: label for name, (_, _, label) in cases.items()}))
"""


def peer(folder: Path) -> tuple[str, dict[str, str]]:
    """The interpreter of an environment that has Evidently, and its versions; a missing peer ends the benchmark."""
    uv = shutil.which("uv")
    if uv is None:
        raise SystemExit("uv is not installed; a missing peer is not a win.")
    python = folder / "bin" / "python"
    make = [uv, "venv", "--quiet", "--python", sys.executable, str(folder)]
    fill = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python)]
    for command in (make, [*fill, f"evidently=={EVIDENTLY}", "pandas<3", "pyarrow"]):
        if subprocess.run(command, check=False).returncode != 0:
            raise SystemExit(f"Evidently {EVIDENTLY} cannot be installed; a missing peer is not a win.")
    asked = "import evidently, pandas, numpy, json; print(json.dumps([evidently.__version__, pandas.__version__]))"
    said = subprocess.run([python, "-c", asked], check=True, capture_output=True, text=True).stdout
    evidently, pandas = json.loads(said.splitlines()[-1])
    return str(python), {"evidently": evidently, "pandas of evidently": pandas}


def main() -> int:
    """Measure and conclude; 1 when a goal is missed or an answer is wrong."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--rows", type=int, nargs=2, default=[1_000_000, 4_000_000])
    options.add_argument("--repeats", type=int, default=5)
    given = options.parse_args()
    small, large = given.rows
    environment = {"PYTHONPATH": str(SOURCE)}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        theirs, versions = peer(folder / "peer")
        scripts = {"make": MAKE, "ours": OURS, "theirs": THEIRS, "definition": DEFINITION, "suite": SUITE}
        for name, text in scripts.items():
            (folder / f"{name}.py").write_text(text, encoding="utf-8")

        def ask(script: str, *words: object, python: str = sys.executable) -> harness.Run:
            command = [python, str(folder / f"{script}.py"), *map(str, words)]
            return harness.run(command, env=environment if python == sys.executable else None)

        ask("make", folder, json.dumps(NUMBERS), json.dumps(TEXTS), json.dumps(given.rows))
        known = folder / "profile.json"
        runs = harness.interleave(
            {
                "mlops": partial(ask, "ours", known, folder / f"log-{small}.parquet", LIMIT),
                f"mlops, {large:,} rows": partial(ask, "ours", known, folder / f"log-{large}.parquet", LIMIT),
                "mlops, JSON lines": partial(ask, "ours", known, folder / "log.jsonl", LIMIT),
                "Evidently": partial(
                    ask,
                    "theirs",
                    folder / "reference.parquet",
                    folder / f"current-{small}.parquet",
                    LIMIT,
                    python=theirs,
                ),
            },
            repeats=given.repeats,
        )
        defined = {
            rows: json.loads(ask("definition", known, folder / f"current-{rows}.parquet").output) for rows in given.rows
        }
        labels = json.loads(ask("suite", folder).output)
        verdicts = {
            "mlops": _moved(ask("ours", folder / "old.json", folder / "log.parquet", LIMIT)),
            "Evidently": _moved(ask("theirs", folder / "old.parquet", folder / "new.parquet", LIMIT, python=theirs)),
        }
    correct: dict[str, bool] = {}
    furthest = 0.0
    for name, ones in runs.items():
        right = defined[large if f"{large:,}" in name else small]
        found = [json.loads(one.output.splitlines()[-1]) for one in ones]
        correct[name] = all(set(one) == set(right) for one in found)
        if name.startswith("mlops"):
            off = max(abs(one[column][0] - value) for one in found for column, value in right.items())
            furthest = max(furthest, off)
            correct[name] = correct[name] and off <= EXACT
        moved = {column for column, value in right.items() if value >= LIMIT}
        correct[name] = correct[name] and all({c for c, (_, far) in one.items() if far} == moved for one in found)
    agreed = all(said == labels for said in verdicts.values())
    heading = f"{small:,} rows of {len(NUMBERS) + len(TEXTS)} columns"
    tables = {
        heading: harness.table(runs, against="Evidently", correct=correct),
        "Labelled shifts": _suite(labels, verdicts),
    }
    for title, text in tables.items():
        print(f"\n{title}\n{text}\n")
    ratio = {
        what: harness.median(runs["mlops"], what) / harness.median(runs["Evidently"], what)
        for what in ("wall_s", "peak_mb")
    }
    flat = harness.median(runs[f"mlops, {large:,} rows"], "peak_mb") / harness.median(runs["mlops"], "peak_mb")
    return harness.conclude(
        "drift",
        question="What does it cost to know whether 20 columns have moved, against Evidently's PSI preset?",
        facts={
            "versions": {**harness.versions("numpy", "polars"), **versions},
            "runs": harness.values(runs),
            "furthest from the definition": furthest,
            "verdicts": {"labels": labels, **verdicts},
        },
        tables=tables,
        goals={
            f"drift of {heading}, time ratio": (ratio["wall_s"], GOALS["time"]),
            f"drift of {heading}, memory ratio": (ratio["peak_mb"], GOALS["memory"]),
            f"drift of {large:,} rows, memory against {small:,}": (flat, GOALS["rows"]),
        },
        right=all(correct.values()) and agreed,
        notes=[
            "mlops has the profile that was stored at training; Evidently has both windows, as it needs them.",
            f"Correct means: the columns that moved are named, and for mlops PSI is its definition to {EXACT:g}.",
            "Four times the rows need four times the memory where rows are kept; "
            "what grows here is what the allocator keeps.",
            "The log as JSON lines, as the service writes it, is shown and not judged: most of that time is parsing.",
        ],
    )


def _moved(run: harness.Run) -> dict[str, bool]:
    return {name: bool(far) for name, (_, far) in json.loads(run.output.splitlines()[-1]).items()}


def _suite(labels: dict[str, bool], verdicts: dict[str, dict[str, bool]]) -> str:
    words: Any = {True: "moved", False: "steady"}
    lines = [f"| Shift | label | {' | '.join(verdicts)} |", "|---|---|" + "---|" * len(verdicts)]
    for name, label in labels.items():
        said = " | ".join(words[one[name]] for one in verdicts.values())
        lines.append(f"| {name} | {words[label]} | {said} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
