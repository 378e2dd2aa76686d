"""Is every run in MLflow once and whole, and does a store that fails cost one line and nothing else?

Against the embedded sqlite store, and against a real `mlflow server` on loopback.
"""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import mlflow.pyfunc
import mlflow.sklearn
import numpy as np
import pandas as pd
import polars as pl
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlops import files, tracking
from mlops.data.contract import Column, Contract
from mlops.learning import export
from mlops.workspace import Model

METRICS = {"roc_auc": 0.97, "brier": 0.05, "empty": None, "rows": 120}
SCORES = {
    "roc_auc": {"mean": 0.95, "std": 0.01, "folds": [0.94, 0.96]},
    "brier": {"mean": 0.06, "std": 0.0, "folds": []},
}


def column(name: str, dtype: str, role: str = "feature") -> Column:
    return Column(name=name, dtype=dtype, nullable=False, unique=False, checks=(), custom=(), role=role, personal=False)


def trained(model: Model, *, trees: int = 3) -> dict[str, Any]:
    """Give a model what its train stage leaves (a real, small version), and say what that stage tells tracking."""
    task = model.config().model.task
    rng = np.random.default_rng(7)
    frame = pl.DataFrame({"size": rng.normal(size=60), "count": rng.integers(0, 9, 60)})
    signal_ = pl.Series("target", frame["size"].to_numpy() + frame["count"].to_numpy() > 4)
    frame = frame.with_columns(signal_.cast(pl.Int64) if task == "classification" else frame["size"].alias("target"))
    kind = RandomForestClassifier if task == "classification" else RandomForestRegressor
    params = {"trees": trees, "depth": 2, "seed": 7}
    features = frame.select("size", "count").to_pandas()
    estimator = make_pipeline(StandardScaler(), kind(n_estimators=trees, max_depth=2, random_state=7))
    estimator.fit(features.astype("float64"), frame["target"].to_pandas())
    model.train.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(model.train)
    whole = "int" if task == "classification" else "float"
    columns = (column("size", "float"), column("count", "int"), column("target", whole, "target"))
    contract = Contract(source="0" * 64, owner="@me", description="Rows.", freshness_days=None, columns=columns)
    data = files.digest(model.train)
    lineage = {
        "commit": "c" * 40,
        "modified": False,
        "data": data,
        "contract": "0" * 64,
        "params": params,
        "seed": 7,
    }
    export.write(
        model.export,
        model=model.name,
        task=task,
        estimator=estimator,
        contract=contract,
        train=frame,
        split={},
        profile={},
        lineage=lineage,
    )
    files.write_json(model.json("params"), {"params": params, "tuned": False, "candidates": 1, "score": None})
    files.write_json(model.json("training"), {"folds": 2, "scores": SCORES})
    return {
        "model": model,
        "config": model.config(),
        "version": export.version(model.export),
        "params": params,
        "training": {"folds": 2, "scores": SCORES},
        "features": features,
        "target": frame["target"].to_pandas(),
    }


def client(model: Model) -> MlflowClient:
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{model.root / 'mlflow.db'}"
    return MlflowClient(tracking_uri=uri)


def runs(model: Model, name: str | None = None) -> list[Run]:
    """The runs of a model, newest first."""
    experiment = client(model).get_experiment_by_name(name or model.name)
    return list(client(model).search_runs([experiment.experiment_id])) if experiment else []


def downloaded(model: Model, run: Run, folder: Path) -> Path:
    """The artifact `export` of a run, in a folder."""
    folder.mkdir()
    return Path(
        mlflow.artifacts.download_artifacts(
            run_id=run.info.run_id,
            artifact_path="export",
            dst_path=str(folder),
            tracking_uri=client(model)._tracking_client.tracking_uri,
        )
    )


def stray(root: Path) -> set[str]:
    """What lies at the root beside the repository itself."""
    return {path.name for path in root.iterdir()} - {
        ".git",
        ".dvc",
        ".dvcignore",
        ".gitignore",
        ".scaffold",
        "models",
        "packages",
        "mlflow.db",
        "mlartifacts",
    }


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database, made once as the first run of a repository makes it."""
    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    tracking._make_database(path)
    return path


@pytest.fixture
def project(project: Path, database: Path) -> Path:
    """The project of every test, after its first run."""
    shutil.copy(database, project / "mlflow.db")
    return project


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real `mlflow server`, with its own database and artifact folder."""
    home = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{home / 'server.db'}", "--artifacts-destination", str(home / "artifacts"),
    ]  # fmt: skip
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=home, env={**os.environ, **quiet}, stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 90
        while not _healthy(address):
            assert process.poll() is None, (home / "log").read_text()
            assert time.monotonic() < deadline, (home / "log").read_text()
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture
def remote(server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, project: Path) -> Model:
    """A model with a name of its own on the server."""
    name = f"model_{abs(hash(request.node.name)) % 10**9}"
    (project / "models" / "tumour").rename(project / "models" / name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    return Model(project, name)


@pytest.mark.parametrize("name", ["tumour", "diabetes"])
def test_a_run_holds_all_that_a_training_was(name: str, project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Parameters, scores with spread, tags, dataset and exported folder, and no word, file or user beside them."""
    model = Model(project, name)
    given = trained(model)
    tracking.log_training(**given)
    tracking.log_evaluation(model=model, version=given["version"], metrics=METRICS)
    (run,) = runs(model)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"trees": "3", "depth": "2", "seed": "7"}
    assert run.data.metrics == {
        "cv/roc_auc": 0.95, "cv/roc_auc_std": 0.01, "cv/brier": 0.06, "cv/brier_std": 0.0,
        "holdout/roc_auc": 0.97, "holdout/brier": 0.05, "holdout/rows": 120.0,
    }  # fmt: skip
    data = files.digest(model.train)
    wanted = {
        "mlops.version": given["version"], "mlops.model": name, "mlops.task": given["config"].model.task,
        "mlops.commit": "c" * 40, "mlops.modified": "false", "mlops.data": data,
    }  # fmt: skip
    assert wanted.items() <= run.data.tags.items()
    (used,) = run.inputs.dataset_inputs
    assert (used.dataset.digest, json.loads(used.dataset.profile)["num_rows"]) == (data[:36], 60)
    assert str(project) not in used.dataset.source
    assert run.info.artifact_uri.startswith((project / "mlartifacts" / name).as_uri())
    assert "mlflow.user" not in run.data.tags
    assert stray(project) == set()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["tumour", "diabetes"])
def test_the_logged_folder_is_the_export_and_an_mlflow_model(name: str, project: Path, tmp_path: Path) -> None:
    """The same bytes, loadable by our own loader and by MLflow's two, all three with the same predictions."""
    model = Model(project, name)
    given = trained(model)
    tracking.log_training(**given)
    folder = downloaded(model, runs(model)[0], tmp_path / "download")
    assert export.version(folder) == given["version"]
    for file in ("model.skops", "profile.json", "manifest.json"):
        assert (folder / file).read_bytes() == (model.export / file).read_bytes()
    rows = pl.read_parquet(model.train)
    expected = export.load(folder).predict(rows)
    features = given["features"].astype("float64")
    estimator = mlflow.sklearn.load_model(str(folder))
    assert np.array_equal(export.predict(estimator, features, given["config"].model.task), expected)
    loaded = mlflow.pyfunc.load_model(str(folder))
    assert np.array_equal(loaded.predict(features), expected)
    assert {one.type.name for one in loaded.metadata.signature.inputs} == {"double"}
    # A whole number that is missing later is no error: the signature holds floats.
    missing = features.assign(count=np.nan)
    assert len(loaded.predict(missing)) == len(missing)


def test_requirements_are_the_models_own_and_pinned(tumour: Model, tmp_path: Path) -> None:
    """Those of the manifest; nothing of this test's surroundings."""
    tracking.log_training(**trained(tumour))
    folder = downloaded(tumour, runs(tumour)[0], tmp_path / "download")
    libraries = export.read_manifest(folder)["libraries"]
    pins = dict(line.split("==") for line in (folder / "requirements.txt").read_text().splitlines())
    assert pins == {name: pin for name, pin in libraries.items() if name != "python"}
    assert "pytest" not in pins


def test_a_version_logged_twice_is_one_run_with_one_point_per_metric(tumour: Model) -> None:
    """Training and evaluating again change nothing."""
    given = trained(tumour)
    for _ in range(2):
        tracking.log_training(**given)
        tracking.log_evaluation(model=tumour, version=given["version"], metrics=METRICS)
    (run,) = runs(tumour)
    for key in run.data.metrics:
        assert len(client(tumour).get_metric_history(run.info.run_id, key)) == 1
    assert len(run.inputs.dataset_inputs) == 1


def test_another_version_is_another_run(tumour: Model) -> None:
    """Each version has its own."""
    first, second = trained(tumour), None
    tracking.log_training(**first)
    second = trained(tumour, trees=5)
    tracking.log_training(**second)
    assert {run.data.tags["mlops.version"] for run in runs(tumour)} == {first["version"], second["version"]}


def test_a_holdout_score_that_changed_is_the_one_that_shows(tumour: Model) -> None:
    """Also when the new one is lower."""
    given = trained(tumour)
    tracking.log_training(**given)
    for score in (0.9, 0.8):
        tracking.log_evaluation(model=tumour, version=given["version"], metrics={"roc_auc": score})
    assert runs(tumour)[0].data.metrics["holdout/roc_auc"] == 0.8


def test_an_evaluation_without_its_training_catches_up_from_the_files(tumour: Model, database: Path) -> None:
    """The run is the one that the training would have made."""
    given = trained(tumour)
    tracking.log_evaluation(model=tumour, version=given["version"], metrics=METRICS)
    (late,) = runs(tumour)
    shutil.copy(database, tumour.root / "mlflow.db")
    tracking.log_training(**given)
    tracking.log_evaluation(model=tumour, version=given["version"], metrics=METRICS)
    (prompt,) = runs(tumour)
    assert late.data.params == prompt.data.params
    assert late.data.metrics == prompt.data.metrics
    assert late.data.tags == prompt.data.tags
    assert (
        late.inputs.dataset_inputs[0].dataset.to_dictionary() == prompt.inputs.dataset_inputs[0].dataset.to_dictionary()
    )


def test_a_run_that_was_cut_short_is_finished_and_not_doubled(
    tumour: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The upload fails once: one warning; the next call completes the same run."""
    given = trained(tumour)
    upload = MlflowClient.log_artifacts

    def broken(*_: Any, **__: Any) -> None:
        raise ConnectionResetError("the server went away")

    monkeypatch.setattr(MlflowClient, "log_artifacts", broken)
    tracking.log_training(**given)
    assert "the server went away" in capsys.readouterr().err
    (cut,) = runs(tumour)
    assert cut.info.status == "RUNNING"
    monkeypatch.setattr(MlflowClient, "log_artifacts", upload)
    tracking.log_evaluation(model=tumour, version=given["version"], metrics=METRICS)
    (whole,) = runs(tumour)
    assert (whole.info.run_id, whole.info.status) == (cut.info.run_id, "FINISHED")


def test_an_export_that_was_changed_is_not_logged(tumour: Model, capsys: pytest.CaptureFixture[str]) -> None:
    """What MLflow users load is what was measured, or nothing."""
    given = trained(tumour)
    (tumour.export / "model.skops").write_bytes(b"other")
    tracking.log_training(**given)
    assert "not the file that its manifest names" in capsys.readouterr().err
    assert tracking.COMPLETE not in runs(tumour)[0].data.tags


def test_odd_parameters_are_kept_in_the_characters_that_mlflow_takes(tumour: Model) -> None:
    """Hundreds of them, strange names and very long values."""
    params: dict[str, Any] = {f"p{n}": n for n in range(250)} | {"a$b": "x" * 9000, "ä": None}
    given = trained(tumour) | {"params": params}
    tracking.log_training(**given)
    found = runs(tumour)[0].data.params
    assert len(found) == 252
    assert (found["p249"], len(found["a_b"]), found["_"]) == ("249", 5000, "None")


def test_the_embedded_store_does_not_follow_the_working_folder(
    tumour: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stages run in the model's folder; the store is at the root."""
    given = trained(tumour)
    monkeypatch.chdir(tumour.folder)
    tracking.log_training(**given)
    assert len(runs(tumour)) == 1
    assert not list(tumour.folder.rglob("ml[fra]*"))
    assert stray(tumour.root) == set()


@pytest.mark.parametrize("name", ["a b", "ünï", "100%", "a#b", "a&b=c"])
def test_the_embedded_store_bears_any_folder_name(fresh: Path, tmp_path: Path, name: str) -> None:
    """The root becomes part of an address; no character of it may mean something there."""
    root = tmp_path / name
    shutil.copytree(fresh, root)
    model = Model(root, "tumour")
    given = trained(model)
    tracking.log_training(**given)
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]
    assert stray(root) == set()
    with sqlite3.connect(root / "mlflow.db") as database:
        assert database.execute("select count(*) from runs").fetchone() == (1,)
    assert len(list((root / "mlartifacts" / "tumour").rglob("manifest.json"))) == 1


def test_a_folder_name_that_no_address_can_hold_costs_one_line(
    fresh: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A ? would end the address: the database must not land in another folder."""
    root = tmp_path / "a?b"
    shutil.copytree(fresh, root)
    tracking.log_training(**trained(Model(root, "tumour")))
    assert len(capfd.readouterr().err.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a?b"]


def test_a_moved_repository_logs_where_it_is_now(
    tumour: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """MLflow stores absolute paths: it would write where the repository was."""
    tracking.log_training(**trained(tumour))
    root = tmp_path / "moved"
    tumour.root.rename(root)
    os.chdir(root)
    model = Model(root, "tumour")
    given = trained(model, trees=5)
    tracking.log_training(**given)
    tracking.log_evaluation(model=model, version=given["version"], metrics=METRICS)
    assert not tumour.root.exists()
    (run,) = runs(model)
    assert run.info.artifact_uri.startswith(root.as_uri())
    assert len(runs(model, "tumour before move 1")) == 1
    assert capsys.readouterr().err == ""


def test_a_deleted_experiment_is_taken_back(tumour: Model, capsys: pytest.CaptureFixture[str]) -> None:
    """Someone deleted it in the page of MLflow; its name stays taken, so it is restored."""
    given = trained(tumour)
    tracking.log_training(**given)
    store = client(tumour)
    store.delete_experiment(store.get_experiment_by_name("tumour").experiment_id)
    tracking.log_training(**trained(tumour, trees=5))
    assert capsys.readouterr().err == ""
    assert len(runs(tumour)) >= 1


LOG = """\
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_tracking as t
from mlops import tracking
from mlops.workspace import Model
model = Model(Path(sys.argv[2]), sys.argv[3])
for trees in (3, 4, 5):
    given = t.trained(model, trees=trees)
    tracking.log_training(**given)
    tracking.log_evaluation(model=model, version=given["version"], metrics=t.METRICS)
"""


def test_two_processes_log_to_a_new_embedded_store_at_once(project: Path) -> None:
    """Both make the database and write to it; nothing is lost and nothing is said."""
    (project / "mlflow.db").unlink()
    command = [sys.executable, "-c", LOG, str(Path(__file__).parent), str(project)]
    started = [
        subprocess.Popen([*command, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=project)
        for name in ("tumour", "diabetes")
    ]
    said = [process.communicate(timeout=240) for process in started]
    assert said == [(b"", b"")] * 2
    for name in ("tumour", "diabetes"):
        found = runs(Model(project, name))
        assert len(found) == 3
        assert all(run.data.tags[tracking.COMPLETE] == "true" for run in found)
        assert all(run.data.metrics["holdout/roc_auc"] == 0.97 for run in found)
    assert stray(project) == set()


def test_without_a_server_nothing_is_mirrored(tumour: Model) -> None:
    """The registry of record is git; a second one on this machine would be one too many."""
    given = trained(tumour)
    tracking.log_training(**given)
    tracking.mirror(model=tumour, champion=given["version"], challenger=None, previous=None)
    assert client(tumour).search_registered_models() == []


def test_a_server_holds_the_run_and_its_artifacts(
    remote: Model, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The same run as on this machine, and nothing left on this machine."""
    given = trained(remote)
    tracking.log_training(**given)
    tracking.log_evaluation(model=remote, version=given["version"], metrics=METRICS)
    (run,) = runs(remote)
    assert run.data.metrics["holdout/roc_auc"] == 0.97
    assert len(run.inputs.dataset_inputs) == 1
    assert capfd.readouterr() == ("", "")
    assert export.version(downloaded(remote, run, tmp_path / "download")) == given["version"]
    assert not (remote.root / "mlartifacts").exists()
    with sqlite3.connect(remote.root / "mlflow.db") as local:
        assert local.execute("select count(*) from runs").fetchone() == (0,)
    assert stray(remote.root) == set()


def aliases(model: Model) -> dict[str, str]:
    """Alias to `mlops.version`, as the server has it."""
    found = client(model).get_registered_model(model.name)
    versions = {
        one.version: one.tags["mlops.version"] for one in client(model).search_model_versions(f"name='{model.name}'")
    }
    return {alias: versions[str(number)] for alias, number in found.aliases.items()}


def test_aliases_follow_git(remote: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pull request has its challenger; a merge moves the champion, a revert moves it back; twice changes nothing."""
    first = trained(remote)
    tracking.log_training(**first)
    one = first["version"]
    tracking.mirror(model=remote, champion=None, challenger=one, previous=None)
    assert aliases(remote) == {"challenger": one}
    tracking.mirror(model=remote, champion=one, challenger=one, previous=None)
    assert aliases(remote) == {"champion": one}
    second = trained(remote, trees=5)
    tracking.log_training(**second)
    two = second["version"]
    for _ in range(2):
        tracking.mirror(model=remote, champion=one, challenger=two, previous=None)
        assert aliases(remote) == {"champion": one, "challenger": two}
    for _ in range(2):
        tracking.mirror(model=remote, champion=two, challenger=None, previous=one)
        assert aliases(remote) == {"champion": two, "previous": one}
    tracking.mirror(model=remote, champion=one, challenger=None, previous=two)
    assert aliases(remote) == {"champion": one, "previous": two}
    assert len(client(remote).search_model_versions(f"name='{remote.name}'")) == 2
    assert capsys.readouterr().err == ""
    mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    try:
        loaded = mlflow.pyfunc.load_model(f"models:/{remote.name}@champion")
    finally:
        mlflow.set_tracking_uri(None)
    assert loaded.metadata.metadata == {"mlops.version": one}


def test_the_gate_catches_up_with_what_the_server_missed(remote: Model) -> None:
    """Training happened while the server was away: mirroring logs the version that lies here."""
    given = trained(remote)
    tracking.mirror(model=remote, champion=None, challenger=given["version"], previous=None)
    assert aliases(remote) == {"challenger": given["version"]}
    assert len(runs(remote)) == 1


def test_a_champion_that_the_server_never_saw_gets_no_alias_and_one_line(
    remote: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    """An alias to another version, or to nothing, would lie."""
    given = trained(remote)
    tracking.log_training(**given)
    tracking.mirror(model=remote, champion=given["version"], challenger=None, previous=None)
    tracking.mirror(model=remote, champion="abcabcabcabc", challenger=given["version"], previous=None)
    assert aliases(remote) == {"challenger": given["version"]}
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert remote.name in said
    assert "abcabcabcabc" in said


@pytest.fixture
def silent() -> Iterator[str]:
    """An address that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize("kind", ["nobody listens", "nobody answers", "no such kind"])
def test_a_store_that_cannot_be_reached_costs_one_line_and_seconds(
    kind: str,
    tumour: Model,
    silent: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    server: str,
) -> None:
    """The line has the model, the version and what to do; the next call that succeeds logs all of it."""
    address = {"nobody listens": closed_port(), "nobody answers": silent, "no such kind": "gopher://x"}[kind]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    given = trained(tumour)
    began = time.monotonic()
    tracking.log_training(**given)
    assert time.monotonic() - began < 30
    out, err = capfd.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1, err
    for word in ("tumour", given["version"], address, "check MLFLOW_TRACKING_URI", "the next `mlops evaluate`"):
        assert word in err
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    tracking.log_evaluation(model=tumour, version=given["version"], metrics=METRICS)
    (run,) = runs(tumour)
    assert run.data.params["trees"] == "3"
    assert capfd.readouterr().err == ""


def test_a_broken_embedded_store_costs_one_line(tumour: Model, capfd: pytest.CaptureFixture[str]) -> None:
    """The file is not a database: training goes on."""
    (tumour.root / "mlflow.db").write_bytes(b"no database" * 100)
    tracking.log_training(**trained(tumour))
    err = capfd.readouterr().err
    assert len(err.splitlines()) == 1, err
    assert "mlflow.db" in err
    assert "check that file" in err


class _Door(BaseHTTPRequestHandler):
    """Writes down what credentials it was shown, and refuses."""

    seen: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.seen.append(self.headers.get("Authorization", ""))
        self.send_response(401)
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def door() -> Iterator[str]:
    listener = ThreadingHTTPServer(("127.0.0.1", 0), _Door)
    thread = threading.Thread(target=listener.serve_forever)
    thread.start()
    _Door.seen.clear()
    yield f"127.0.0.1:{listener.server_port}"
    listener.shutdown()
    thread.join()
    listener.server_close()


def test_mlflows_own_token_is_sent_and_a_refusal_costs_one_line(
    tumour: Model, door: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Authentication is MLflow's own variables, and a wrong one stops nothing."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{door}")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret-token")
    tracking.log_training(**trained(tumour))
    assert set(_Door.seen) == {"Bearer secret-token"}
    err = capfd.readouterr().err
    assert len(err.splitlines()) == 1
    assert "401" in err
    assert "secret-token" not in err


def test_a_password_in_the_address_is_not_printed(
    tumour: Model, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Warnings end in public logs."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", closed_port().replace("//", "//ann:hunter2@"))
    tracking.log_training(**trained(tumour))
    err = capfd.readouterr().err
    assert "127.0.0.1" in err
    assert "hunter2" not in err
    assert "ann" not in err


def test_telemetry_is_off_whatever_the_user_set(tumour: Model) -> None:
    """Nothing leaves for a third party; asked of MLflow itself, in a process that wanted it on."""
    code = (
        "import sys; from pathlib import Path; from mlops import tracking; from mlops.workspace import Model\n"
        "tracking._connect(Model(Path(sys.argv[1]), 'tumour'), description='')\n"
        "from mlflow.telemetry.utils import is_telemetry_disabled\n"
        "from mlflow.telemetry import get_telemetry_client\n"
        "print(is_telemetry_disabled(), get_telemetry_client())"
    )
    wanted = {key: value for key, value in os.environ.items() if key not in ("CI", "PYTEST_CURRENT_TEST")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tumour.root)],
        env={**wanted, "MLFLOW_DISABLE_TELEMETRY": "false", "DO_NOT_TRACK": "false"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["True", "None"]


def test_a_frame_of_any_whole_type_becomes_floats(tumour: Model) -> None:
    """Booleans and pandas' own nullable integers too; texts stay."""
    frame = pd.DataFrame({"a": [1], "b": [True], "c": pd.array([1], dtype="Int64"), "d": ["x"], "e": [1.5]})
    floats = tracking._floats(frame)
    assert [str(kind) for kind in floats.dtypes.drop("d")] == ["float64"] * 4
    assert list(floats["d"]) == ["x"]
