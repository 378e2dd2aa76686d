"""The stages write exactly the files of dvc.yaml, the same bytes each time, and refuse what they cannot read."""

import csv
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from mlops import tracking
from mlops.data import stages as data
from mlops.errors import Refusal
from mlops.learning import export, spending, stages
from mlops.reporting import card
from mlops.watching.command import age
from mlops.workspace import Model

VERBS = (data.ingest, data.check, data.split, stages.tune, stages.train, stages.evaluate, stages.explain, age)


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """What the stages gave to tracking, whose own tests log it for real; SHAP has a test of its own too."""
    calls: dict[str, dict[str, Any]] = {}
    monkeypatch.setattr(tracking, "log_training", lambda **given: calls.update(training=given))
    monkeypatch.setattr(tracking, "log_evaluation", lambda **given: calls.update(evaluation=given))
    monkeypatch.setattr("mlops.learning.explain.importlib.util.find_spec", lambda name: None)
    return calls


def run(model: Model) -> None:
    """The whole pipeline, without DVC."""
    for verb in VERBS:
        verb(model)


def set_toml(model: Model, old: str, new: str) -> None:
    """Edit `model.toml`."""
    text = model.toml.read_text()
    assert old in text
    model.toml.write_text(text.replace(old, new))


def outputs(model: Model) -> dict[str, bytes]:
    """Every file that the pipeline wrote, but for those that hold times."""
    names = [path for path in model.folder.rglob("*") if path.is_file() and path.suffix in (".json", ".csv", ".skops")]
    found = {path.relative_to(model.folder).as_posix(): path.read_bytes() for path in names}
    return {name: content for name, content in found.items() if name != "cost.json" and "spent/" not in name}


def declared(model: Model) -> dict[str, dict[str, Any]]:
    """Outputs of the learning stages in dvc.yaml, by path, with what is said of them."""
    found: dict[str, dict[str, Any]] = {}
    for name, stage in yaml.safe_load((model.folder / "dvc.yaml").read_text())["stages"].items():
        if name in (*spending.STAGES, *spending.OPTIONAL):
            for one in [*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])]:
                found.update(one if isinstance(one, dict) else {one: {}})
    return found


@pytest.mark.parametrize("name", ["tumour", "diabetes"])
def test_two_clean_runs_write_the_files_of_dvc_yaml_with_the_same_bytes(
    project: Path, logged: dict[str, dict[str, Any]], name: str
) -> None:
    """Every declared file, no other, and no wall-clock time or absolute path in any of them."""
    model = Model(project, name)
    before = {path for path in model.folder.rglob("*") if path.is_file()}
    run(model)
    first = outputs(model)
    named = declared(model)
    for path in named:
        assert (model.folder / path).exists(), path
    made = {path for path in model.folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts} - before
    tops = {path.relative_to(model.folder).as_posix() for path in made}
    data_files = {"data/raw.parquet", "data/train.parquet", "data/holdout.parquet"}
    data_files |= {"check.json", "contract.json", "split.json"}
    exported = {f"export/{file}" for file in ("model.skops", "profile.json", "manifest.json")}
    assert tops == (set(named) - {"export"}) | exported | data_files
    assert all(str(project).encode() not in content for content in first.values())
    for path in made:
        path.unlink()
    shutil.rmtree(model.export)
    run(model)
    assert outputs(model) == first
    assert logged["training"]["version"] == logged["evaluation"]["version"] == export.version(model.export)


@pytest.mark.parametrize("name", ["tumour", "diabetes"])
def test_what_is_written_agrees_with_itself_and_is_a_sensible_model(
    project: Path, logged: dict[str, dict[str, Any]], name: str
) -> None:
    """Metrics equal the evaluation; plots have the columns of dvc.yaml; the version knows its data and parameters."""
    model = Model(project, name)
    run(model)
    read = {one: json.loads(model.json(one).read_text()) for one in ("metrics", "evaluation", "training", "params")}
    overall = read["evaluation"]["overall"]
    assert {key: value for key, value in read["metrics"].items() if key != "rows"} == {
        key: one["value"] for key, one in overall.items()
    }
    assert logged["evaluation"]["metrics"] == read["metrics"]
    assert logged["training"]["params"] == read["params"]["params"] == {"estimator": "linear", "seed": 7}
    assert set(read["training"]["scores"]) == set(overall)
    assert read["metrics"]["rows"] == pl.read_parquet(model.holdout).height
    assert read["evaluation"]["baseline"]["difference"]["low"] > 0
    for path, said in declared(model).items():
        if path.endswith(".csv"):
            lines = list(csv.DictReader((model.folder / path).open(encoding="utf-8")))
            assert {said["x"], said["y"]} == set(lines[0]), path
            numbers = [line[said["x"]] for line in lines]
            assert all(math.isfinite(float(number)) for number in numbers)
    lineage = export.read_manifest(model.export)["lineage"]
    assert len(lineage["commit"]) == 40
    assert lineage["modified"] is False
    assert lineage["seed"] == 7
    assert lineage["as_of"] == model.config().data.as_of


def test_the_chosen_parameters_are_those_of_the_search_and_are_trained(
    tumour: Model, logged: dict[str, dict[str, Any]]
) -> None:
    """The space of model.toml decides; the exported estimator is the pipeline that build gives."""
    set_toml(tumour, "space = {}", "space = { strength = [1e-9, 1.0] }")
    run(tumour)
    params = json.loads(tumour.json("params").read_text())
    assert params["params"] == {"estimator": "linear", "strength": 1.0, "seed": 7}
    assert params["tuned"] is True
    assert params["candidates"] == 2
    assert params["score"] > 0.9
    exported = export.load(tumour.export)
    assert type(exported.estimator).__name__ == "Pipeline"
    assert exported.estimator[-1].C == 1.0
    assert exported.manifest["lineage"]["params"] == params["params"]
    assert exported.manifest["lineage"]["modified"] is True


MISSING: dict[str, tuple[Callable[[Model], Any], Callable[[Model], Any], str]] = {
    "no contract": (lambda m: m.json("contract").unlink(), stages.tune, "contract.json does not exist"),
    "no rows": (lambda m: m.train.unlink(), stages.tune, "data/train.parquet does not exist"),
    "no parameters": (lambda m: m.json("params").unlink(), stages.train, "params.json does not exist"),
    "no split": (lambda m: m.json("split").unlink(), stages.train, "split.json does not exist"),
    "no export": (lambda m: shutil.rmtree(m.export), stages.evaluate, "manifest.json cannot be read"),
    "no holdout": (lambda m: m.holdout.unlink(), stages.evaluate, "data/holdout.parquet does not exist"),
    "half a file": (
        lambda m: m.holdout.write_bytes(m.holdout.read_bytes()[:-100]),
        stages.evaluate,
        "data/holdout.parquet is not a whole Parquet file",
    ),
    "not Parquet": (lambda m: m.train.write_text("a,b\n1,2\n"), stages.train, "is not a whole Parquet file"),
    "no rows left": (
        lambda m: pl.read_parquet(m.holdout).head(0).write_parquet(m.holdout),
        stages.explain,
        "data/holdout.parquet has no rows",
    ),
    "a column lost": (
        lambda m: pl.read_parquet(m.holdout).drop("mean_area").write_parquet(m.holdout),
        stages.evaluate,
        "lacks the column mean_area",
    ),
    "an edited model": (
        lambda m: (m.export / "model.skops").write_bytes(b"PK"),
        stages.explain,
        "changed after the export",
    ),
    "an unknown metric": (
        lambda m: set_toml(m, '"brier"', '"breir"'),
        stages.train,
        "Did you mean 'brier'?",
    ),
    "a bad slice": (
        lambda m: set_toml(m, 'where = "mean_radius < 13"', 'where = "radius < 13"'),
        stages.evaluate,
        "the slice 'small nuclei'",
    ),
    "broken code": (
        lambda m: (m.source / m.name / "model.py").write_text("def build(\n"),
        stages.train,
        "has SyntaxError",
    ),
}


@pytest.fixture(scope="module")
def trained(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the fresh repository whose `tumour` went through the pipeline up to training."""
    root = tmp_path_factory.mktemp("trained") / "project"
    shutil.copytree(fresh, root)
    patch = pytest.MonkeyPatch()
    patch.setattr(tracking, "log_training", lambda **given: None)
    for verb in VERBS[:-2]:
        verb(Model(root, "tumour"))
    patch.undo()
    return root


@pytest.mark.parametrize("case", MISSING)
def test_what_cannot_be_read_is_refused_in_two_lines_that_name_the_model(
    trained: Path, tmp_path: Path, case: str
) -> None:
    """Each says what happened and what to do, and leaves what was there."""
    root = shutil.copytree(trained, tmp_path / "project")
    model = Model(root, "tumour")
    spoil, verb, says = MISSING[case]
    spoil(model)
    before = outputs(model)
    with pytest.raises(Refusal) as refused:
        verb(model)
    assert says in str(refused.value)
    assert "tumour" in str(refused.value)
    assert len(str(refused.value).splitlines()) == 2
    assert outputs(model) == before


@pytest.mark.parametrize("verb", [stages.tune, stages.train])
def test_the_stages_run_on_the_engine_of_model_toml(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: Callable[[Model], Any]
) -> None:
    """With `engine = "dask"` and a scheduler that is not there, fitting and tuning refuse rather than run here."""
    pytest.importorskip("distributed", reason="the extra mlops[dask] is not installed")
    model = Model(shutil.copytree(trained, tmp_path / "project"), "tumour")
    set_toml(model, 'engine = "local"', 'engine = "dask"')
    monkeypatch.setattr("mlops.learning.engine.CONNECT_SECONDS", 1)
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://127.0.0.1:9")
    with pytest.raises(Refusal, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        verb(model)


@pytest.mark.parametrize(
    ("estimator", "runtime", "says"),
    [
        ("linear", "onnx", "serves by ONNX Runtime, which differs by at most"),
        ("neighbours", "sklearn", "serves by scikit-learn: ONNX differed by"),
    ],
)
def test_a_model_that_demands_onnx_says_what_serves_it(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, estimator: str, runtime: str, says: str
) -> None:
    """In the outcome, the manifest and the report's facts; one that cannot have it does not pass as if it had."""
    pytest.importorskip("skl2onnx", reason="the extra mlops[onnx] is not installed")
    monkeypatch.setattr(tracking, "log_training", lambda **given: None)
    model = Model(shutil.copytree(trained, tmp_path / "project"), "tumour")
    set_toml(model, 'runtime = "sklearn"', 'runtime = "onnx"')
    set_toml(model, 'estimator = "linear"', f'estimator = "{estimator}"')
    stages.tune(model)
    outcome = stages.train(model)
    assert f"it {says}" in outcome.text
    manifest = export.read_manifest(model.export)
    assert manifest["serving"]["runtime"] == runtime
    assert (model.export / "model.onnx").is_file() == (runtime == "onnx")
    assert card.lineage(manifest, version="0" * 12)["serving"] == manifest["serving"]["says"]
