"""The world of `make demo-ct`: what clinics deliver, and what they ask the service. Run by the project's own Python.

    .venv/bin/python clinic.py deliver FOLDER DELIVERY
    .venv/bin/python clinic.py ask FOLDER MODEL_FOLDER WEEK

It replays the example's real data, 569 biopsies. A delivery is a file of rows whose outcome is known. A week is one of
requests: the model answers (`mlops score`), and the prediction log is written as the service writes it.
"""

import datetime as dt
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl
from tumour import ingest

DELIVERIES = {
    # Up to which row of the replay, and from when to when they were examined.
    "2026-07": (310, dt.date(2026, 5, 1), dt.date(2026, 7, 1)),
    "2026-08": (350, dt.date(2026, 7, 2), dt.date(2026, 8, 20)),
    "2026-09": (569, dt.date(2026, 9, 4), dt.date(2026, 9, 10)),
}
NEW_CLINIC = "2026-09"
"""The delivery, and the week, that come from a second clinic."""
WEEKS = {"quiet": dt.date(2026, 9, 2), "drift": dt.date(2026, 9, 10)}
"""The last days of the weeks of requests."""


def scanner(rows: pl.DataFrame) -> pl.DataFrame:
    """The second clinic's scanner: more contrast, and a little less sharp. Small changes, each within the contract.

    Texture is higher by about one standard deviation, smoothness by a half, and other columns stay as they are.
    """
    return rows.with_columns(pl.col("mean_texture") * 1.2 + 1.0, pl.col("mean_smoothness") * 1.07)


def delivered(name: str) -> pl.DataFrame:
    """The rows of one delivery, spread evenly over its days."""
    before = [count for other, (count, _, _) in DELIVERIES.items() if other < name]
    until, first, last = DELIVERIES[name]
    rows = ingest.read(ingest.END)[max(before, default=0) : until]
    days = pl.int_range(rows.height) * ((last - first).days + 1) // rows.height
    rows = rows.with_columns((pl.lit(first) + pl.duration(days=days)).alias(ingest.TIME))
    return scanner(rows) if name == NEW_CLINIC else rows


def deliver(folder: Path, name: str) -> None:
    """Write a delivery, as a whole; one that is there already stays as it is."""
    target = folder / f"{name}.parquet"
    if target.exists():
        return
    part = target.with_suffix(".part")
    delivered(name).write_parquet(part)
    part.rename(target)
    print(f"{target.name}: {pl.scan_parquet(target).select(pl.len()).collect().item()} biopsies")


def ask(folder: Path, model: Path, week: str) -> None:
    """Let the model answer a week of requests, and write its prediction log over the one of the week before.

    The biopsies are the same in both weeks: what differs is the scanner, and nothing else.
    """
    rows = ingest.read(ingest.END)[DELIVERIES["2026-08"][0] :]
    asked = scanner(rows) if week == "drift" else rows
    manifest = json.loads((model / "export" / "manifest.json").read_text())
    names = [one["name"] for one in manifest["features"]]
    with tempfile.TemporaryDirectory() as scratch:
        source, target = (str(Path(scratch, name)) for name in ("asked.parquet", "answered.parquet"))
        asked.select(names).write_parquet(source)
        words = [sys.executable, "-m", "mlops", "score", "--in", source, "--out", target, "--", model.name]
        subprocess.run(words, cwd=model, check=True, stdout=subprocess.DEVNULL)
        answered = pl.read_parquet(target)
    # The last seven days, evenly.
    end = dt.datetime.combine(WEEKS[week], dt.time(18), tzinfo=dt.UTC)
    minutes = pl.int_range(answered.height) * (6 * 24 * 60) // answered.height
    log = answered.select(
        (pl.lit(end) - pl.duration(minutes=minutes)).alias("at"),
        pl.col("version"),
        pl.struct(names).alias("features"),
        pl.concat_list(f"probability_{label}" for label in manifest["classes"]).alias("prediction"),
    )
    part = folder / "served.part"
    log.write_parquet(part)
    part.rename(folder / "served.parquet")
    print(f"{log.height} biopsies were asked about in the week up to {WEEKS[week]}.")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["deliver", folder, name]:
            deliver(Path(folder), name)
        case ["ask", folder, model, week]:
            ask(Path(folder), Path(model), week)
        case _:
            raise SystemExit(__doc__)
