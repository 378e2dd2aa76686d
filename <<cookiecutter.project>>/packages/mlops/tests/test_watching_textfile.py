"""What Prometheus reads of a look is what the look found, and nothing that it did not."""

import copy
import dataclasses
import datetime as dt
import math
import stat
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mlops.watching import drift, freshness, textfile
from mlops.watching.findings import Finding

NOW = dt.datetime(2026, 9, 3, 4, 17, tzinfo=dt.UTC)
COLUMNS = [
    drift.Found(column="size", side="input", outcome="moved", sentence="It moved.", rows=420, psi=0.61),
    drift.Found(column="label", side="output", outcome="steady", sentence="It is steady.", rows=420, psi=0.0),
    drift.Found(column="kind", side="input", outcome="not evaluated", sentence="Too few rows.", rows=3),
]
DRIFT = {"columns": [dataclasses.asdict(one) for one in COLUMNS], "limit": 0.2}
FINDINGS = [
    Finding(kind="drift", outcome="alarm", sentence="1 column of 2 moved: size.", detail=DRIFT),
    Finding(kind="performance", outcome="not evaluated", sentence="No labels."),
    freshness.of_data(dt.date(2026, 9, 1), today=NOW.date(), freshness_days=30),
]
# As `watch.json` has it, made of the values that a look is made of.
VALUE: dict[str, Any] = {
    "model": "tumour",
    "version": "0123456789ab",
    "outcome": "alarm",
    "today": "2026-09-03",
    "window": {"first": "2026-08-28", "last": "2026-09-03", "rows": 420, "others": {}, "broken": 0, "newest": None},
    "findings": [one.to_json() for one in FINDINGS],
}


def read(text: str) -> dict[tuple[str, ...], float]:
    """Samples by name and label values, as another program reads them; every family is a gauge with a help text."""
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.type == "gauge"
        assert family.documentation
        for sample in family.samples:
            labels = {k: v for k, v in sample.labels.items() if k not in ("model", "version")}
            assert sample.labels["model"] == "tumour"
            assert sample.timestamp is None
            found[(sample.name, *labels.values())] = sample.value
    return found


def test_prometheus_reads_what_the_look_found() -> None:
    assert read(textfile.text(VALUE, now=NOW)) == {
        ("watch_run_timestamp_seconds",): NOW.timestamp(),
        ("watch_window_rows",): 420,
        ("watch_state", "drift", "quiet"): 0,
        ("watch_state", "drift", "alarm"): 1,
        ("watch_state", "drift", "not evaluated"): 0,
        ("watch_state", "performance", "quiet"): 0,
        ("watch_state", "performance", "alarm"): 0,
        ("watch_state", "performance", "not evaluated"): 1,
        ("watch_state", "freshness", "quiet"): 1,
        ("watch_state", "freshness", "alarm"): 0,
        ("watch_state", "freshness", "not evaluated"): 0,
        ("watch_drift_psi", "input", "size"): 0.61,
        ("watch_drift_psi", "output", "label"): 0,
        ("watch_drift_limit",): 0.2,
        ("watch_data_newest_timestamp_seconds",): dt.datetime(2026, 9, 1, tzinfo=dt.UTC).timestamp(),
        ("watch_data_limit_seconds",): 31 * 86_400,
    }


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        (("quiet", "alarm"), "alarm"),
        (("not evaluated", "quiet"), "quiet"),
        (("not evaluated", "not evaluated"), "not evaluated"),
    ],
)
def test_two_answers_of_a_kind_are_one_state(outcomes: tuple[str, str], state: str) -> None:
    """Skew is found in two ways; the same series twice would make the exporter refuse the whole file."""
    value = copy.deepcopy(VALUE)
    value["findings"] = [{"kind": "skew", "outcome": one, "sentence": "?"} for one in outcomes]
    text = textfile.text(value, now=NOW)
    lines = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(lines) == len(set(lines))
    assert {key[-1] for key, on in read(text).items() if key[0] == "watch_state" and on} == {state}


def test_what_is_not_known_is_not_there() -> None:
    """No zero stands for a column that was not judged, nor for data whose age nobody knows."""
    value = copy.deepcopy(VALUE)
    value["findings"] = [{"kind": kind, "outcome": "not evaluated", "sentence": "?"} for kind in ("drift", "freshness")]
    names = {name for name, *_ in read(textfile.text(value, now=NOW))}
    assert names == {"watch_run_timestamp_seconds", "watch_window_rows", "watch_state"}


@pytest.mark.parametrize("name", ['a"b', "a\\", "a\nb", 'x"} 1\nwatch_state{kind="drift', "ü", "\ud800"])
def test_no_name_of_a_column_reaches_beyond_its_label(name: str) -> None:
    value = copy.deepcopy(VALUE)
    value["findings"][0]["columns"][0]["column"] = name
    found = read(textfile.text(value, now=NOW))
    assert len(found) == len(read(textfile.text(VALUE, now=NOW)))
    assert found["watch_drift_psi", "input", name.encode("utf-8", "replace").decode()] == 0.61


def test_an_infinite_index_is_read_as_one() -> None:
    value = copy.deepcopy(VALUE)
    value["findings"][0]["columns"][0]["psi"] = math.inf
    assert read(textfile.text(value, now=NOW))["watch_drift_psi", "input", "size"] == math.inf


def test_the_exporter_may_read_the_file_and_never_sees_half_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    textfile.write(VALUE, folder, now=NOW)
    path = folder / "tumour.prom"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    textfile.write({**VALUE, "version": "b" * 12}, folder, now=NOW)
    assert [one.name for one in folder.iterdir()] == ["tumour.prom"]
    assert 'version="bbbbbbbbbbbb"' in path.read_text()
