"""What does a look say to Prometheus? The value of `watch.json` as lines that node_exporter's textfile collector reads.

Pure but for `write`. What could not be judged is a state of its own, and a number that is not known is not there.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from mlops.files import write_text
from mlops.watching.findings import Outcome

DAY = 86_400
NAMES = {
    "watch_run_timestamp_seconds": "When watch last looked at what the model serves.",
    "watch_state": "1 for the state of each thing that watch looks at, 0 for its other states.",
    "watch_window_rows": "Logged rows in the window that watch looked at.",
    "watch_drift_psi": "How far a column lies from the reference window: its population stability index.",
    "watch_drift_limit": "The index at which a column has moved (drift.psi in model.toml).",
    "watch_data_newest_timestamp_seconds": "When the day of the newest row of the model's source began.",
    "watch_data_limit_seconds": "How old the newest row may be, by the data contract.",
}
Sample = tuple[str, Mapping[str, str], float]


def write(value: Mapping[str, Any], folder: Path, *, now: dt.datetime) -> None:
    """Put what a look found into `<model>.prom` in a folder; a reader never sees half of it."""
    write_text(folder / f"{value['model']}.prom", text(value, now=now))


def text(value: Mapping[str, Any], *, now: dt.datetime) -> str:
    """The value of `watch.json` in Prometheus' text form; `now` is when the look was made."""
    samples = list(_samples(value, now))
    lines = []
    for name, what in NAMES.items():
        mine = [sample for sample in samples if sample[0] == name]
        if mine:
            lines += [f"# HELP {name} {what}", f"# TYPE {name} gauge"]
            lines += [f"{name}{{{_labels(labels)}}} {number!r}" for _, labels, number in mine]
    return "\n".join(lines) + "\n"


def _samples(value: Mapping[str, Any], now: dt.datetime) -> Iterable[Sample]:
    named = {"model": str(value["model"]), "version": str(value["version"])}
    yield "watch_run_timestamp_seconds", named, now.timestamp()
    yield "watch_window_rows", named, float(value["window"]["rows"])
    for kind, outcome in _outcomes(value["findings"]).items():
        for state in get_args(Outcome):
            yield "watch_state", {**named, "kind": kind, "state": state}, float(outcome == state)
    for finding in value["findings"]:
        if finding["kind"] == "drift":
            yield from _drift(finding, named)
        if finding["kind"] == "freshness" and "newest" in finding:
            newest = dt.datetime.combine(dt.date.fromisoformat(finding["newest"]), dt.time(), tzinfo=dt.UTC)
            yield "watch_data_newest_timestamp_seconds", named, newest.timestamp()
            # A day lasts until its end, so that a limit of 0 days bears rows of today.
            yield "watch_data_limit_seconds", named, float((finding["limit"] + 1) * DAY)


def _outcomes(found: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The outcome of each kind; of several of one kind an alarm counts most, and least what was not evaluated."""
    outcomes: dict[str, set[str]] = {}
    for one in found:
        outcomes.setdefault(str(one["kind"]), set()).add(one["outcome"])
    return {
        kind: next(one for one in ("alarm", "quiet", "not evaluated") if one in all_) for kind, all_ in outcomes.items()
    }


def _drift(finding: Mapping[str, Any], named: Mapping[str, str]) -> Iterable[Sample]:
    for one in finding.get("columns", []):
        if one["psi"] is not None:
            labels = {**named, "side": str(one["side"]), "column": str(one["column"])}
            yield "watch_drift_psi", labels, float(one["psi"])
    if "limit" in finding:
        yield "watch_drift_limit", named, float(finding["limit"])


def _labels(labels: Mapping[str, str]) -> str:
    """Labels with what would end a value or a line escaped, and what UTF-8 cannot hold replaced."""
    pairs = []
    for name, value in labels.items():
        safe = value.encode("utf-8", "replace").decode("utf-8")
        escaped = safe.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
        pairs.append(f'{name}="{escaped}"')
    return ",".join(pairs)
