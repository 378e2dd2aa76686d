"""Does `watch` see what happens to a served version, from the log that the service writes and the rows that arrive?"""

import asyncio
import datetime as dt
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mlops import cli, tracking
from mlops.data import stages as data
from mlops.data.contract import read
from mlops.errors import Refusal
from mlops.learning import export, stages
from mlops.watching import command, shown
from mlops.watching.command import age, watch
from mlops.workspace import Model

TODAY = "2026-10-01"
VERBS = (data.ingest, data.check, data.split, stages.tune, stages.train, stages.evaluate)


@pytest.fixture(scope="module")
def trained(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `fresh` in which both models are trained and evaluated, without DVC."""
    root = tmp_path_factory.mktemp("trained") / "project"
    shutil.copytree(fresh, root)
    patch = pytest.MonkeyPatch()
    for name in ("log_training", "log_evaluation"):
        patch.setattr(tracking, name, lambda **given: None)
    for name in ("tumour", "diabetes"):
        for verb in VERBS:
            verb(Model(root, name))
    patch.undo()
    return root


@pytest.fixture
def served(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to change, as the working folder."""
    root = tmp_path / "served"
    shutil.copytree(trained, root)
    monkeypatch.chdir(root)
    return root


Change = Callable[[pl.DataFrame], pl.DataFrame]


def same(rows: pl.DataFrame) -> pl.DataFrame:
    return rows


def log(
    model: Model,
    *,
    rows: int = 300,
    features: Change = same,
    said: Callable[[Any], Any] = lambda said: said,
    ids: bool = False,
    version: str | None = None,
) -> Path:
    """What the service's own journal writes of rows like those that the model knows; `features` moves them before."""
    from serve.journal import Journal

    exported = export.load(model.export)
    given = features(pl.read_parquet(model.raw).sample(rows, with_replacement=not ids, seed=1))
    prediction = said(exported.predict(given))
    path = model.root / "log" / f"{model.name}.jsonl"
    path.unlink(missing_ok=True)
    journal = Journal(
        path,
        share=1.0,
        most_bytes=10**9,
        version=version or export.version(model.export),
        personal=exported.manifest["personal"],
        named=True,
        dropped=lambda count: None,
    )
    key = read(model).id
    assert key is not None
    names = [one["name"] for one in exported.manifest["features"]]
    noon = dt.datetime(2026, 9, 30, 12, tzinfo=dt.UTC).timestamp()
    for start in range(0, rows, 20):
        part = slice(start, start + 20)
        called = given[key.name][part].to_list() if ids else None
        journal.write(given.select(names)[part].to_dicts(), prediction[part].tolist(), called, now=noon + start)
    journal.close()
    return path


def look(model: Model, **given: Any) -> tuple[dict[str, str], Any]:
    """The outcome by kind (the last of a kind), and the whole."""
    found = watch(model, **{"today": TODAY, **given})
    assert json.loads((model.reports / "watch.json").read_text()) == found.value
    assert found.code == {"quiet": 0, "alarm": 1, "not evaluated": 3}[found.value["outcome"]]
    return {one["kind"]: one["outcome"] for one in found.value["findings"]}, found


def setting(model: Model, old: str, new: str) -> None:
    text = model.toml.read_text()
    assert text.count(old) == 1
    model.toml.write_text(text.replace(old, new))


def said(found: Any, kind: str) -> str:
    return " ".join(one["sentence"] for one in found.value["findings"] if one["kind"] == kind)


@pytest.mark.parametrize("name", ["tumour", "diabetes"])
def test_a_version_that_serves_what_it_learned_is_quiet(served: Path, name: str) -> None:
    model = Model(served, name)
    outcomes, found = look(model, log=str(log(model)))
    assert outcomes["drift"] == "quiet"
    assert outcomes["freshness"] == "quiet"
    # Personal columns are not logged, so nothing can be replayed; that is said and not passed over.
    assert outcomes["skew"] == ("quiet" if name == "tumour" else "not evaluated")
    assert ("age, sex" in said(found, "skew")) == ("age, sex" in said(found, "drift")) == (name == "diabetes")
    assert found.code == 0
    columns = {one["column"] for one in found.value["findings"][0]["columns"]}
    assert columns >= ({"mean_radius", "label", "confidence"} if name == "tumour" else {"bmi", "prediction"})
    assert not columns & {"age", "sex"}


def test_inputs_that_moved_alarm_with_their_names(served: Path) -> None:
    model = Model(served, "tumour")
    path = log(model, features=lambda rows: rows.with_columns(pl.col("mean_radius") * 1.3))
    outcomes, found = look(model, log=str(path))
    assert outcomes["drift"] == "alarm"
    assert "mean_radius" in said(found, "drift")
    assert found.code == 1
    text = (model.reports / "watch.md").read_text()
    assert "| drift | **alarm** |" in text
    assert "mean_radius" in text.split("```text")[1]
    assert "  moved\n" in text


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        ("psi = 0.2", "alarm"),
        ("psi = 50.0", "quiet"),
        ("psi = 0.2\nfalse_alarms = 1e-300", "quiet"),
        ("psi = 0.2\nminimum_rows = 301", "not evaluated"),
    ],
)
def test_model_toml_says_when_a_column_has_moved(served: Path, line: str, outcome: str) -> None:
    model = Model(served, "tumour")
    setting(model, "psi = 0.2", line)
    path = log(model, features=lambda rows: rows.with_columns(pl.col("mean_radius") * 1.3))
    assert look(model, log=str(path))[0]["drift"] == outcome


def test_the_window_is_as_long_as_model_toml_says(served: Path) -> None:
    """The log is of the day before; one day of it is another window."""
    model = Model(served, "tumour")
    path = str(log(model))
    assert look(model, log=path, today="2026-10-06")[1].value["window"]["rows"] == 300
    assert look(model, log=path, today="2026-10-07")[1].value["window"]["rows"] == 0
    setting(model, "label_delay_days = 0", "label_delay_days = 0\nwindow_days = 1")
    assert look(model, log=path)[1].value["window"]["rows"] == 0
    assert look(model, log=path, today="2026-09-30")[1].value["window"]["rows"] == 300


def test_outputs_that_moved_alarm_though_no_input_did(served: Path) -> None:
    """The service says the opposite: the outputs have moved, and the replay says why."""
    model = Model(served, "tumour")
    outcomes, found = look(model, log=str(log(model, said=lambda said: said[:, ::-1])))
    assert outcomes["drift"] == outcomes["skew"] == "alarm"
    moved = [one["column"] for one in found.value["findings"][0]["columns"] if one["outcome"] == "moved"]
    assert moved == ["label"]


def test_another_model_under_the_same_name_is_seen_by_replay(served: Path) -> None:
    model = Model(served, "tumour")
    outcomes, found = look(model, log=str(log(model, said=lambda said: said * 0.99 + 0.005)))
    assert outcomes["skew"] == "alarm"
    assert "300 of 300 logged rows, predicted again, differ" in said(found, "skew")


def test_a_log_of_another_version_is_not_evaluated(served: Path) -> None:
    model = Model(served, "tumour")
    outcomes, found = look(model, log=str(log(model, version="0123456789ab")))
    assert outcomes["drift"] == outcomes["skew"] == "not evaluated"
    assert "rows of other versions were: 0123456789ab (300)" in said(found, "drift")
    assert found.code == 3


@pytest.mark.parametrize(
    ("given", "code"), [(None, 0), ("nowhere.jsonl", 3), ("*.none", 3), ("${NO_SUCH_VARIABLE}", 3), ("nope://x", 3)]
)
def test_without_a_log_inputs_are_not_evaluated_and_the_rest_is(served: Path, given: str | None, code: int) -> None:
    """Quiet where nobody named a log; a log that was named and is not there keeps the look from being quiet."""
    outcomes, found = look(Model(served, "tumour"), log=given)
    assert outcomes["drift"] == outcomes["skew"] == "not evaluated"
    assert outcomes["freshness"] == "quiet"
    assert found.code == code


def test_the_log_of_model_toml_is_read_with_its_rotated_files(served: Path) -> None:
    model = Model(served, "tumour")
    path = log(model)
    path.rename(path.with_name(f"{path.name}.20261001000000000000"))
    setting(model, 'log = ""', f'log = "../../log/{path.name}"')
    assert look(model)[1].value["window"]["rows"] == 300


def test_performance_waits_for_labels_and_is_measured_on_rows_that_came_later(served: Path) -> None:
    """Rows after the day of the version's data, whose labels are known by now."""
    model = Model(served, "tumour")
    outcomes, found = look(model)
    assert outcomes["performance"] == "not evaluated"
    assert "28 new rows with a label, and 50 are needed" in said(found, "performance")
    outcomes, found = look(model, today="2027-06-01")
    assert outcomes["performance"] == "quiet"
    assert "on 104 new rows; it was" in said(found, "performance")
    setting(model, "label_delay_days = 0", "label_delay_days = 200")
    assert look(model, today="2027-06-01")[0]["performance"] == "not evaluated"
    # What the version was trained on counts, not what model.toml says meanwhile.
    setting(model, "label_delay_days = 200", "label_delay_days = 0")
    setting(model, 'as_of = "2026-07-01"', 'as_of = "2027-05-01"')
    assert "on 104 new rows" in said(look(model, today="2027-06-01")[1], "performance")


def test_new_rows_ask_for_a_version_where_model_toml_says_so(served: Path) -> None:
    """It is no alarm: the look stays quiet. Rows whose outcome is not known yet do not count."""
    model = Model(served, "tumour")
    assert "data" not in look(model)[0]
    setting(model, "[retrain]\n", "[retrain]\nnew_rows = 28\n")
    outcomes, found = look(model)
    assert outcomes["data"] == "quiet"
    assert [one["asks"] for one in found.value["findings"] if one["kind"] == "data"] == [True]
    assert said(found, "data").startswith("28 rows of the source are newer than 2026-07-01")
    setting(model, "label_delay_days = 0", "label_delay_days = 30")
    assert [one["asks"] for one in look(model)[1].value["findings"] if one["kind"] == "data"] == [False]


def test_a_world_in_which_the_relation_turned_breaks_the_promise(served: Path) -> None:
    """The inputs are the same, and the outcomes the opposite from one day on: concept drift."""
    model = Model(served, "tumour")
    source = model.source / model.name / "ingest.py"
    text = source.read_text()
    turned = 'pl.when(pl.col(TIME) > dt.date(2026, 7, 1)).then(1 - pl.col("malignant")).otherwise("malignant")'
    source.write_text(
        text.replace(
            "return frame.filter", f'frame = frame.with_columns({turned}.alias("malignant"))\n    return frame.filter'
        )
    )
    outcomes, found = look(model, today="2027-06-01", log=str(log(model)))
    assert outcomes["performance"] == "alarm"
    assert "The promise is not kept: roc_auc is " in said(found, "performance")
    assert "promised" in (model.reports / "watch.md").read_text()


def test_rows_are_joined_by_id_where_the_log_has_ids(served: Path) -> None:
    """Performance is that of what was served, and features must be those of the source."""
    model = Model(served, "tumour")
    outcomes, found = look(model, log=str(log(model, ids=True)))
    assert outcomes["performance"] == "quiet"
    assert "on 300 new rows" in said(found, "performance")
    assert "300 rows found by id were served with the features that the source has." in said(found, "skew")
    half = pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.col("mean_texture") + 1).otherwise("mean_texture")
    path = log(model, ids=True, features=lambda rows: rows.with_columns(half.alias("mean_texture")))
    found = look(model, log=str(path))[1]
    assert "features were served otherwise than the source has them: mean_texture in 50%." in said(found, "skew")
    assert found.code == 1


def test_labels_that_arrive_late_are_compared_with_what_was_said_at_the_time(served: Path) -> None:
    """With a delay of thirty days, rows of September are known in October; drift is looked for in October's rows."""
    model = Model(served, "tumour")
    setting(model, "label_delay_days = 0", "label_delay_days = 30")
    # The service said the opposite; the version itself does not, so only what was logged can show it.
    path = str(log(model, ids=True, said=lambda said: 1 - said))
    assert look(model, log=path, today="2026-10-01")[0]["performance"] == "not evaluated"
    outcomes, found = look(model, log=path, today="2026-10-30")
    assert outcomes["performance"] == "alarm"
    assert "on 300 new rows" in said(found, "performance")
    assert outcomes["drift"] == "not evaluated"
    assert "no row of version" in said(found, "drift")
    # A week later they are no longer looked at.
    assert look(model, log=path, today="2026-11-06")[0]["performance"] == "not evaluated"


def test_rows_that_a_request_named_find_their_labels(served: Path) -> None:
    """The whole way: ids beside the rows of a request, in the log, and in the model's source."""
    from serve.loading import load_to_serve
    from serve.model import Model as Asked
    from serve.service import Service
    from serve.settings import Settings

    model = Model(served, "tumour")
    setting(model, "label_delay_days = 0", "label_delay_days = 400")
    rows = pl.read_parquet(model.raw)
    path = served / "predictions.jsonl"
    service = Service(Asked(load_to_serve(model.export)), Settings(log=str(path)))
    names = [one["name"] for one in service.model.manifest["features"]]
    body = json.dumps({"rows": rows.select(names).to_dicts(), "ids": rows["biopsy"].to_list()})
    asyncio.run(service.predict(*service.reader.rows(body.encode())))
    service.close()
    # The labels of what was asked today are known in 400 days.
    today = dt.datetime.now(dt.UTC).date()
    outcomes, found = look(model, log=str(path), today=f"{today + dt.timedelta(days=400)}")
    assert outcomes["performance"] == "quiet"
    assert f"on {rows.height} new rows" in said(found, "performance")


def test_old_data_and_an_old_version_alarm(served: Path) -> None:
    """The contract's freshness is that of the source; `watch.age_days` is that of what the version learned."""
    model = Model(served, "tumour")
    setting(model, "label_delay_days = 0", "label_delay_days = 0\nage_days = 60")
    outcomes, found = look(model)
    assert outcomes["age"] == "alarm"
    assert "data up to 2026-07-01, 92 days ago (limit 60)" in said(found, "age")
    assert look(model, today="2026-08-30")[0]["age"] == "quiet"
    outcomes, found = look(model, today="2028-06-01")
    assert outcomes["freshness"] == "alarm"
    assert "(limit 30)" in said(found, "freshness")


def test_a_source_that_cannot_be_read_is_not_evaluated_and_hides_nothing(served: Path) -> None:
    model = Model(served, "tumour")
    (model.source / model.name / "ingest.py").write_text("raise SystemExit('down')")
    path = log(model, features=lambda rows: rows.with_columns(pl.col("mean_radius") * 1.3))
    outcomes, found = look(model, log=str(path))
    assert outcomes["performance"] == outcomes["freshness"] == "not evaluated"
    assert "down" in said(found, "performance")
    assert outcomes["drift"] == "alarm"
    outcomes, found = look(model, log=str(log(model)))
    assert outcomes["drift"] == "quiet"
    assert found.code == 3


def test_watching_changes_nothing_but_its_report(served: Path) -> None:
    """The rows of the pipeline, and what it remembers of its source, stay as they were."""
    model = Model(served, "tumour")

    def files() -> dict[Path, bytes]:
        kept = [path for path in served.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        return {path: path.read_bytes() for path in kept if "log" not in path.parts and "reports" not in path.parts}

    before = files()
    look(model, log=str(log(model)), today="2027-06-01")
    assert files() == before


def test_an_old_look_does_not_outlive_a_failed_one(served: Path) -> None:
    model = Model(served, "tumour")
    look(model)
    shutil.rmtree(model.export)
    with pytest.raises(Refusal, match="nothing to watch"):
        watch(model, today=TODAY)
    assert not list(model.reports.glob("watch.*"))


def test_the_command_line_alarms_by_its_code(served: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = Model(served, "tumour")
    path = log(model, features=lambda rows: rows.with_columns(pl.col("mean_radius") * 1.3))
    assert cli.main(["watch", "tumour", "--today", TODAY, "--log", str(path)]) == 1
    assert "  alarm  drift: " in capsys.readouterr().out
    assert cli.main(["watch", "tumour", "--today", "soon"]) == 2


@pytest.mark.parametrize("name", ["tumour", "diabetes"])
def test_the_age_curve_is_written_with_what_follows_from_it(served: Path, name: str) -> None:
    """With the days of its rows, which are all that it depends on; the same bytes each time."""
    model = Model(served, name)
    found = age(model)
    written = model.json("age").read_bytes()
    assert json.loads(written) | {"model": name} == json.loads(json.dumps(found.value))
    assert len(found.value["points"]) >= 3
    assert found.value["sentence"] in found.text
    assert "2023-01-01" <= found.value["first"] < found.value["last"] <= "2026-07-01"
    text = (model.reports / "age.md").read_text()
    assert f"worse in {found.value['metric']}" in text
    assert text.count(" days  ") == len(found.value["points"])
    age(model)
    assert model.json("age").read_bytes() == written


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("model.toml", "minimum_support = 30", "minimum_support = 5000", "too few for 12 periods"),
        ("model.toml", "age_periods = 12", "age_periods = 0", "is not measured: retrain.age_periods is 0"),
        ("contract.json", '"role": "time"', '"role": "context"', "no column with the role time"),
    ],
)
def test_a_model_that_cannot_age_says_why_and_does_not_stop_its_pipeline(
    served: Path, file: str, old: str, new: str, said: str
) -> None:
    model = Model(served, "tumour")
    path = model.folder / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    found = age(model)
    assert found.code == 0
    assert said in found.text
    assert json.loads(model.json("age").read_text())["points"] == []
    assert said in (model.reports / "age.md").read_text()


def test_an_estimator_that_half_of_the_time_is_too_little_for_stops_no_pipeline(served: Path) -> None:
    model = Model(served, "tumour")
    source = model.source / "tumour" / "model.py"
    source.write_text(source.read_text() + '\n\ndef build(params):\n    raise ValueError("too few rows for me")\n')
    found = age(model)
    assert found.code == 0
    assert "a part of the rows teaches nothing (" in found.text
    assert "too few rows for me" in found.text


def test_rows_without_a_time_have_no_age(served: Path) -> None:
    model = Model(served, "tumour")
    age(model)
    known = model.json("age").read_bytes()
    rows = pl.read_parquet(model.raw)
    contract = json.loads(model.json("contract").read_text())
    time = next(column["name"] for column in contract["columns"] if column["role"] == "time")
    pl.concat([rows, rows.head(50).with_columns(pl.lit(None).cast(rows[time].dtype).alias(time))]).write_parquet(
        model.raw
    )
    age(model)
    assert model.json("age").read_bytes() == known
    rows.with_columns(pl.lit(None).cast(rows[time].dtype).alias(time)).write_parquet(model.raw)
    assert "no row has a time" in age(model).text


def test_without_rows_there_is_nothing_to_say(served: Path) -> None:
    model = Model(served, "tumour")
    model.raw.unlink()
    with pytest.raises(Refusal, match=r"data/raw\.parquet does not exist"):
        age(model)


def test_plots_in_text_are_harmless_and_bounded() -> None:
    assert shown.sparkline([0, 0.5, 1], highest=1) == "▁▅█"
    assert shown.sparkline([0, 0], highest=0) == "▁▁"
    assert (shown.bar(-1), shown.bar(9)) == ("░" * 20, "█" * 20)
    one = {
        "column": "`x` @all",
        "outcome": "moved",
        "psi": 0.3,
        "shares": [[0.5, 0.5], [0.1, 0.9]],
        "sentence": "@all | moved",
    }
    finding = {"kind": "drift", "outcome": "alarm", "sentence": "<b> @all", "columns": [one] * 150, "limit": 0.2}
    value = {"model": "m", "version": "v", "outcome": "alarm", "findings": [finding]}
    text = shown.markdown({**value, "window": {"rows": 1, "first": "a", "last": "b", "others": {"w": 2}, "broken": 3}})
    outside = "".join(text.split("```")[::2])
    assert "@" not in outside
    assert "<b>" not in outside
    assert text.count("```") == 2
    assert "And 50 more columns" in text
    assert "2 rows of other versions are left out. 3 lines of the log are broken." in text
    assert command.CODES == {"quiet": 0, "alarm": 1, "not evaluated": 3}


def test_numbers_of_a_look_are_written_where_prometheus_finds_them(served: Path, tmp_path: Path) -> None:
    """`--metrics`: of what was judged as of what was not."""
    model = Model(served, "tumour")
    outcomes, found = look(model, log=str(log(model)), metrics=str(tmp_path / "metrics"))
    lines = (tmp_path / "metrics" / "tumour.prom").read_text().splitlines()
    named = f'model="tumour",version="{found.value["version"]}"'
    for kind in outcomes:
        mine = [line for line in lines if line.startswith(f'watch_state{{{named},kind="{kind}"')]
        assert sorted(line.rpartition(" ")[2] for line in mine) == ["0.0", "0.0", "1.0"]
    assert any(line.startswith(f"watch_drift_psi{{{named}") for line in lines)
