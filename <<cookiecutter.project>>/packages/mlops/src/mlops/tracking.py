"""What was trained, from what, and how well did it do? Every run in MLflow; the only module that touches it.

Without `MLFLOW_TRACKING_URI` runs go to `mlflow.db` and `mlartifacts/` at the repository's root (see `make ui`).
With it they go to that server, where registered versions and aliases mirror what git says.
MLflow is a record and never a judge, so a store that cannot be reached costs one warning line and no work:
what is missing there is logged by the next call that succeeds, found by the version's tag.

The artifact `export` of a run is the exported folder as it is, plus the three small files that make it an MLflow
model as well (`MLmodel`, `requirements.txt`, `python_env.yaml`), so bytes are stored once and keep their digests.
"""

import datetime as dt
import logging
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from mlops import privacy
from mlops.config import ModelConfig
from mlops.errors import Refusal
from mlops.files import read_json, write_text
from mlops.workspace import Model

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run

ARTIFACT = "export"
DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"
ALIASES = ("champion", "challenger", "previous")
VERSION = "mlops.version"
COMPLETE = "mlops.complete"

# A first answer comes quickly or not at all; an upload may take as long as the user's own settings say.
_FIRST_CONTACT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
_QUIET = {
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_BATCH = 100
_LONGEST = 5000


@dataclass(frozen=True, kw_only=True)
class Training:
    """All that one training says of itself, from memory or read again from the model's files."""

    params: Mapping[str, Any]
    scores: Mapping[str, Mapping[str, Any]]
    """Metric to `mean` and `std` over the folds."""
    features: "pd.DataFrame"
    """(rows, features) of the training data, in the contract's order."""
    target: "pd.Series[Any]"
    """(rows,) what was predicted."""


@dataclass(frozen=True, kw_only=True)
class _Store:
    """One connection: the client, and the experiment in which this model's runs are."""

    client: "MlflowClient"
    experiment: str


def log_training(
    *,
    model: Model,
    config: ModelConfig,
    version: str,
    params: dict[str, Any],
    training: dict[str, Any],
    features: "pd.DataFrame",
    target: "pd.Series[Any]",
) -> None:
    """Log the run of `version`: parameters, cross-validation scores, tags, dataset, signature, exported folder.

    `training` is the value of `training.json`; `features` is (rows, features) and `target` (rows,) of the training
    data. A version that was logged before is left as it is. Never raises for a store that fails: it warns.
    """
    with _forgiving(model, version):
        store = _connect(model, description=config.model.description)
        run = _find(store, version)
        if run is None or COMPLETE not in run.data.tags:
            given = Training(params=params, scores=training["scores"], features=features, target=target)
            _log(store, model, version, given)


def log_evaluation(*, model: Model, version: str, metrics: dict[str, Any]) -> None:
    """Log the holdout's scores (`metrics.json`) to the run of `version`, which is caught up on where it is absent."""
    with _forgiving(model, version):
        store = _connect(model, description="")
        _log_metrics(store.client, _caught_up(store, model, version), _holdout(metrics))


def mirror(*, model: Model, champion: str | None, challenger: str | None, previous: str | None) -> None:
    """Show on the server which version is champion, challenger and previous; git stays the registry of record.

    Each is a version (as in `export/manifest.json`) or None, which takes the alias away.
    Does nothing without `MLFLOW_TRACKING_URI`. A version that the server does not know and that is not in the
    working tree gets no alias, with a warning.
    """
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        return
    with _forgiving(model, challenger or champion or "none"):
        store = _connect(model, description="")
        _register_model(store.client, model)
        # What already serves asks for nothing.
        wanted = dict(zip(ALIASES, (champion, None if challenger == champion else challenger, previous), strict=True))
        present = dict(store.client.get_registered_model(model.name).aliases)
        for alias, version in wanted.items():
            number = _registered(store, model, version) if version else None
            if number is not None and present.get(alias) != number:
                store.client.set_registered_model_alias(model.name, alias, number)
            if number is None and alias in present:
                store.client.delete_registered_model_alias(model.name, alias)
            if version and number is None:
                _warn(
                    f"{model.name}: version {version} was never logged to MLflow at {_shown(_uri(model))}, "
                    f"so it has no alias {alias!r} there; check that version out and run `mlops gate` to add it."
                )


@contextmanager
def _forgiving(model: Model, version: str) -> Iterator[None]:
    """Turn whatever the store does into one warning line: the record can be made up, lost training cannot."""
    try:
        yield
    except Exception as error:
        uri = _uri(model)
        said = " ".join(str(error).replace(uri, _shown(uri)).split()) or type(error).__name__
        cure = "check MLFLOW_TRACKING_URI" if os.environ.get("MLFLOW_TRACKING_URI") else "check that file"
        _warn(
            f"{model.name}: version {version} is not in MLflow at {_shown(uri)} ({_short(said)}); "
            f"nothing else is lost: {cure}, and the next `mlops evaluate` or `mlops gate` adds it."
        )


def _warn(sentence: str) -> None:
    print(f"mlops: warning: {sentence}", file=sys.stderr)


def _short(text: str, most: int = 300) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def _uri(model: Model) -> str:
    """The store's address; absolute, because a relative one would follow the working folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or _sqlite(model.root.resolve() / DATABASE)


def _sqlite(path: Path) -> str:
    return f"sqlite:///{path.as_posix()}"


def _shown(uri: str) -> str:
    """The address without a user's name and password."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else uri


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """These variables where the user set none, for a while."""
    absent = [key for key in values if key not in os.environ]
    os.environ.update({key: values[key] for key in absent})
    try:
        yield
    finally:
        for key in absent:
            del os.environ[key]


def _connect(model: Model, *, description: str) -> _Store:
    """Reach the store within seconds or raise; make the model's experiment where it is absent."""
    privacy.apply()
    for key, value in _QUIET.items():
        os.environ.setdefault(key, value)
    from mlflow import MlflowClient

    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(os.environ.get("MLFLOW_LOGGING_LEVEL", "WARNING"))
    uri = _uri(model)
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        _make_database(model.root.resolve() / DATABASE)
    client = MlflowClient(tracking_uri=uri)
    with _environment(_FIRST_CONTACT):
        known = client.get_experiment_by_name(model.name)
    location = None
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        location = (model.root.resolve() / ARTIFACTS / model.name).as_uri()
        if known is not None and known.artifact_location != location:
            # The repository was moved: MLflow would go on writing where it used to be.
            client.rename_experiment(known.experiment_id, f"{model.name} before move {known.experiment_id}")
            known = None
    if known is not None:
        if known.lifecycle_stage != "active":
            client.restore_experiment(known.experiment_id)
        return _Store(client=client, experiment=known.experiment_id)
    return _Store(client=client, experiment=_make_experiment(client, model.name, location, description))


def _make_database(path: Path) -> None:
    """Make the embedded database where it is absent, so that it appears as a whole.

    MLflow makes one table by table; a second process that opens it meanwhile breaks it for both.
    """
    if "?" in str(path):
        raise Refusal("the address of a database cannot hold the ? in that folder's name")
    if path.exists():
        return
    making = path.with_name(f"{path.name}.{os.getpid()}")
    code = "import sys, mlflow; mlflow.MlflowClient(tracking_uri=sys.argv[1]).search_experiments()"
    command = [sys.executable, "-P", "-c", code, _sqlite(making)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=path.parent)
        if done.returncode != 0:
            raise Refusal((done.stderr.strip().splitlines() or ["it could not be made"])[-1])
        try:
            os.link(making, path)
        except FileExistsError:
            return
        except OSError:  # A file system without hard links.
            os.replace(making, path)
    finally:
        making.unlink(missing_ok=True)


def _make_experiment(client: "MlflowClient", name: str, location: str | None, description: str) -> str:
    """Make an experiment; where another process was quicker, take that one."""
    from mlflow.exceptions import MlflowException

    try:
        return str(
            client.create_experiment(name, artifact_location=location, tags={"mlflow.note.content": description})
        )
    except MlflowException:
        other = client.get_experiment_by_name(name)
        if other is None:
            raise
        return str(other.experiment_id)


def _find(store: _Store, version: str) -> "Run | None":
    """The run of a version, by its tag; the oldest where two runners logged it at one time."""
    found = store.client.search_runs(
        [store.experiment],
        filter_string=f"tags.`{VERSION}` = '{version}'",
        order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
        max_results=1,
    )
    return found[0] if found else None


def _caught_up(store: _Store, model: Model, version: str) -> "Run":
    """The complete run of a version, logged now from the model's files where the store has missed it."""
    run = _find(store, version)
    if run is not None and COMPLETE in run.data.tags:
        return run
    return _log(store, model, version, _read_again(model))


def _read_again(model: Model) -> Training:
    """What the train stage knew, from the files that it left."""
    import polars as pl

    from mlops.learning import export

    exported, frame = export.load(model.export), pl.read_parquet(model.train)
    do = f"Run `mlops repro {model.name}`."
    return Training(
        params=read_json(model.json("params"), do=do)["params"],
        scores=read_json(model.json("training"), do=do)["scores"],
        features=exported.features(frame),
        target=frame[exported.manifest["target"]].to_pandas(),
    )


def _manifest(model: Model) -> dict[str, Any]:
    found: dict[str, Any] = read_json(model.export / "manifest.json", do=f"Run `mlops repro {model.name}`.")
    return found


def _log(store: _Store, model: Model, version: str, training: Training) -> "Run":
    """Make the run of a version, or finish one that was cut short; the tag `mlops.complete` is set last."""
    client, manifest = store.client, _manifest(model)
    lineage = manifest["lineage"]
    run = _find(store, version) or client.create_run(
        store.experiment,
        run_name=f"{model.name} {version}",
        tags={
            VERSION: version,
            "mlops.model": model.name,
            "mlops.task": manifest["task"],
            "mlops.commit": str(lineage["commit"]),
            "mlops.modified": str(lineage["modified"]).lower(),
            "mlops.data": lineage["data"],
            "mlflow.source.name": "mlops train",
            "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": str(lineage["commit"]),
        },
    )
    _log_params(client, run, training.params)
    _log_metrics(client, run, _cross_validation(training.scores))
    _log_dataset(client, run, model, training, lineage["data"])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / ARTIFACT
        as_mlflow_model(model.export, folder, training=training, version=version)
        client.log_artifacts(run.info.run_id, str(folder), ARTIFACT)
    client.set_tag(run.info.run_id, COMPLETE, "true")
    client.set_terminated(run.info.run_id)
    return client.get_run(run.info.run_id)


def _log_params(client: "MlflowClient", run: "Run", params: Mapping[str, Any]) -> None:
    """Parameters as text; those that are there already are the same, because the version is."""
    from mlflow.entities import Param

    texts = {_name(key): str(value)[:_LONGEST] for key, value in params.items()}
    entities = [Param(key, text) for key, text in sorted(texts.items())]
    for start in range(0, len(entities), _BATCH):
        client.log_batch(run.info.run_id, params=entities[start : start + _BATCH])


def _log_metrics(client: "MlflowClient", run: "Run", scores: Mapping[str, float]) -> None:
    """Scores that are finite and not there already, so that logging twice leaves one point and no history."""
    from mlflow.entities import Metric

    now = int(dt.datetime.now(dt.UTC).timestamp() * 1000)
    entities: list[Metric] = [
        Metric(_name(key), float(value), now, 0)
        for key, value in sorted(scores.items())
        if math.isfinite(value) and run.data.metrics.get(_name(key)) != float(value)
    ]
    for start in range(0, len(entities), _BATCH):
        client.log_batch(run.info.run_id, metrics=entities[start : start + _BATCH])


def _cross_validation(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """`cv/<metric>` and `cv/<metric>_std`; the part before the slash is a section of MLflow's charts."""
    flat = {f"cv/{metric}": spread["mean"] for metric, spread in scores.items()}
    flat |= {f"cv/{metric}_std": spread["std"] for metric, spread in scores.items()}
    return {key: value for key, value in flat.items() if value is not None}


def _holdout(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {f"holdout/{metric}": value for metric, value in metrics.items() if value is not None}


def _name(key: str) -> str:
    """A key in the characters that MLflow takes."""
    return re.sub(r"[^\w\-./ ]", "_", key, flags=re.ASCII)[:250]


def _log_dataset(client: "MlflowClient", run: "Run", model: Model, training: Training, digest: str) -> None:
    """The training data as the run's input: its digest, columns and size, and no value of it."""
    from mlflow.data.pandas_dataset import from_pandas
    from mlflow.entities import Dataset, DatasetInput, InputTag

    frame = _floats(training.features.assign(**{str(training.target.name): training.target}))
    source = model.train.relative_to(model.root).as_posix()
    name = f"{model.name} train"
    target = str(training.target.name)
    with warnings.catch_warnings():
        # MLflow wonders which kind of local file this is; each kind is written down alike.
        warnings.simplefilter("ignore", UserWarning)
        described = from_pandas(frame, source=source, name=name, targets=target, digest=digest[:36])
    dataset = Dataset(**{key: value for key, value in described.to_dict().items() if value is not None})
    client.log_inputs(run.info.run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])


def _whole(column: "pd.Series[Any]") -> bool:
    """Whether a column holds integers or booleans, which could not be missing later."""
    return str(column.dtype).lower().startswith(("int", "uint", "bool"))


def _floats(frame: "pd.DataFrame") -> "pd.DataFrame":
    """The same frame with whole numbers as floats: a signature of integers would refuse a missing value later."""
    return frame.astype({name: "float64" for name in frame.columns if _whole(frame[name])})


def as_mlflow_model(source: Path, folder: Path, *, training: Training, version: str) -> None:
    """Write to `folder` an exported folder that `mlflow.sklearn.load_model` and `mlflow.pyfunc` read as well.

    The exported files are copied unchanged, after they were verified: the types that MLflow is told to trust are
    the file's own, and all of them are on our list.
    """
    import pandas as pd
    from mlflow import pyfunc
    from mlflow.models import Model as Described
    from mlflow.models import infer_signature
    from skops.io import get_untrusted_types

    from mlops.learning import export

    manifest = export.load(source).manifest
    shutil.copytree(source, folder)
    classes = manifest["classes"]
    prediction = pd.DataFrame([[0.0] * len(classes)]).to_numpy() if classes else pd.Series([0.0]).to_numpy()
    described = Described(
        signature=infer_signature(_floats(training.features.head(100)), prediction),
        metadata={VERSION: version},
    )
    pyfunc.add_to_model(
        described,
        loader_module="mlflow.sklearn",
        model_path="model.skops",
        python_env="python_env.yaml",
        predict_fn="predict_proba" if classes else "predict",
    )
    libraries = dict(manifest["libraries"])
    described.add_flavor(
        "sklearn",
        pickled_model="model.skops",
        sklearn_version=libraries["scikit-learn"],
        serialization_format="skops",
        code=None,
        skops_trusted_types=get_untrusted_types(file=source / "model.skops"),
    )
    described.save(str(folder / "MLmodel"))
    python = libraries.pop("python")
    write_text(folder / "requirements.txt", "".join(f"{name}=={pin}\n" for name, pin in sorted(libraries.items())))
    write_text(folder / "python_env.yaml", f'python: "{python}"\ndependencies:\n  - -r requirements.txt\n')


def _register_model(client: "MlflowClient", model: Model) -> None:
    """Make the registered model where it is absent."""
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(model.name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.create_registered_model(model.name, description=model.config().model.description)


def _registered(store: _Store, model: Model, version: str) -> str | None:
    """The number under which a version is registered, registered now where it is not; None where it is unknown."""
    known = store.client.search_model_versions(f"name = '{model.name}' and tags.`{VERSION}` = '{version}'")
    if known:
        return str(min(int(one.version) for one in known))
    from mlops.learning import export

    here = (model.export / export.MANIFEST).is_file() and export.version(model.export) == version
    run = _caught_up(store, model, version) if here else _find(store, version)
    if run is None or COMPLETE not in run.data.tags:
        return None
    made = store.client.create_model_version(
        model.name,
        source=f"{run.info.artifact_uri}/{ARTIFACT}",
        run_id=run.info.run_id,
        tags={VERSION: version, "mlops.commit": run.data.tags["mlops.commit"]},
    )
    return str(made.version)
