"""The verbs around a pipeline: `repro`, `refresh` and `models`."""

import datetime as dt
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mlops import cli, pipeline
from mlops.errors import Refusal
from mlops.workspace import Model

HEAVY = ("sklearn", "pandas", "polars", "mlflow", "pandera", "matplotlib", "skops", "scipy", "pyarrow")


def test_refresh_moves_the_day_and_nothing_else(tumour: Model) -> None:
    """`data.as_of` advances; every other character of `model.toml` stays, comments too."""
    before = tumour.toml.read_text()
    outcome = pipeline.refresh(tumour, as_of="2026-09-01")
    assert tumour.toml.read_text() == before.replace('as_of = "2026-07-01"', 'as_of = "2026-09-01"')
    assert outcome.value == {"model": "tumour", "from": "2026-07-01", "to": "2026-09-01"}
    assert "data up to 2026-09-01 (was 2026-07-01)" in outcome.text


def test_refresh_means_today_unless_told(tumour: Model) -> None:
    """Without a day, today is meant."""
    pipeline.refresh(tumour)
    assert tumour.config().data.as_of == dt.date.today().isoformat()


def test_refresh_to_the_same_day_changes_nothing(tumour: Model) -> None:
    """A second refresh says that there was nothing to do."""
    before = tumour.toml.read_text()
    assert "is 2026-07-01 already" in pipeline.refresh(tumour, as_of="2026-07-01").text
    assert tumour.toml.read_text() == before


@pytest.mark.parametrize("day", ["2026-06-30", "2026-13-01", "yesterday", "", "2026-09-01\n", '2026-09-01"'])
def test_refresh_refuses_going_back_and_what_is_no_day(tumour: Model, day: str) -> None:
    """Data only moves forward, by whole days; the file stays as it is."""
    before = tumour.toml.read_text()
    with pytest.raises(Refusal):
        pipeline.refresh(tumour, as_of=day)
    assert tumour.toml.read_text() == before


def test_refresh_refuses_a_form_that_it_cannot_change(tumour: Model) -> None:
    """A day that is written in another way is not silently left."""
    text = tumour.toml.read_text().replace('as_of = "2026-07-01"', 'as_of = """2026-07-01"""')
    tumour.toml.write_text(text)
    with pytest.raises(Refusal, match=r"model\.toml: data\.as_of"):
        pipeline.refresh(tumour, as_of="2026-09-01")
    assert tumour.toml.read_text() == text


def test_models_lists_each_with_its_owner_and_day(project: Path) -> None:
    """One line per model, and the same for machines."""
    outcome = pipeline.list_models(project)
    assert outcome.text.splitlines() == [
        "diabetes  regression  @acme/care  data up to 2026-07-01",
        "tumour  classification  @acme/care  data up to 2026-07-01",
    ]
    assert [one["model"] for one in outcome.value] == ["diabetes", "tumour"]


def test_a_broken_model_is_listed_with_its_problem(tumour: Model) -> None:
    """One broken `model.toml` does not hide the other models."""
    tumour.toml.write_text("[model")
    lines = pipeline.list_models(tumour.root).text.splitlines()
    assert lines[0].startswith("diabetes  regression")
    assert lines[1].startswith("tumour  ")
    assert "not valid TOML" in lines[1]


def test_a_repository_without_models_says_how_to_add_one(project: Path) -> None:
    """An empty list is a sentence."""
    for toml in (project / "models").glob("*/model.toml"):
        toml.unlink()
    assert "make new-model" in pipeline.list_models(project).text


def test_repro_names_a_mistake_in_model_toml_before_any_stage_runs(tumour: Model) -> None:
    """A bad configuration costs no work."""
    tumour.toml.write_text(tumour.toml.read_text().replace("margin = 0.01", "margin = -1.0"))
    with pytest.raises(Refusal, match=r"gate\.margin"):
        pipeline.repro(tumour)
    assert not tumour.raw.exists()


def test_repro_until_a_stage_needs_no_metric_and_writes_no_card(
    tumour: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The job that only checks data types this; a stage that there is not is refused."""
    asked: dict[str, object] = {}
    monkeypatch.setattr("mlops.storage.repro", lambda model, **settings: asked.update(settings) or ("ingest", "check"))
    outcome = pipeline.repro(tumour, pull=True, until="check")
    assert outcome.text == "tumour: ran ingest, check, up to check."
    assert asked == {"pull": True, "until": "check"}
    assert not (tumour.folder / "CARD.md").exists()
    assert [name for name, verb in cli.VERBS.items() if verb.group == cli.STAGE] == list(cli.STAGES)
    assert cli.main(["repro", "--until", "deploy", "tumour"]) == 2
    assert "deploy" in capsys.readouterr().err


def test_nothing_heavy_is_imported_for_a_run_in_which_nothing_changed(tumour: Model) -> None:
    """A look that finds nothing to do must stay as cheap as DVC's own; so must the modules that it loads."""
    (tumour.folder / "dvc.yaml").write_text(
        "stages:\n  one:\n    cmd: echo one > one.txt\n    deps: [model.toml]\n    outs: [one.txt]\n"
    )
    script = f"""
import pathlib, sys
from mlops import storage
import mlops.pipeline, mlops.reporting.card
from mlops.workspace import Model
model = Model(pathlib.Path({str(tumour.root)!r}), "tumour")
storage.repro(model)
assert storage.repro(model) == ()
print(sorted(name for name in {HEAVY!r} if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tumour.root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_json_of_models_is_one_value(project: Path) -> None:
    """Machines get one JSON value from the command line."""
    done = subprocess.run(
        [sys.executable, "-m", "mlops", "models", "--json"], cwd=project, capture_output=True, text=True, check=True
    )
    assert len(json.loads(done.stdout)) == 2
