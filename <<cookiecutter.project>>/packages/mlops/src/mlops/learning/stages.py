"""The four stages of the learning room: `mlops tune`, `mlops train`, `mlops evaluate` and `mlops explain`.

Thin: they read what earlier stages wrote, call the pure functions of this room, and write the files of dvc.yaml.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from mlops import git
from mlops.cli import Outcome
from mlops.config import ModelConfig
from mlops.data.contract import Contract, read
from mlops.errors import Refusal, counted
from mlops.files import digest, read_json, write_json, write_text
from mlops.learning import metrics
from mlops.learning.spending import spends
from mlops.workspace import Model


@spends
def tune(model: Model) -> Outcome:
    """Choose the parameters to train with; write `params.json`."""
    from mlops.learning import fit, loading
    from mlops.learning.engine import engine

    config, contract = model.config(), read(model)
    measures = _metrics(model, config)
    rows = fit.rows_of(_read(model, model.train, "split"), contract, config, where=model.name)
    build = loading.build_of(model)
    with engine(config.train.engine):
        found = fit.tune(build, rows, config=config, metric=measures[0], where=model.name)
        tuned = found.candidates > 0
        scores = (
            fit.cross_validate(
                build,
                found.params,
                rows,
                config=config,
                metrics=measures[:1],
                where=model.name,
                progress=_progress(f"{model.name}: scoring the chosen parameters"),
            )
            if tuned
            else {}
        )
    score = scores[measures[0].name]["mean"] if tuned else None
    value = {"params": found.params, "tuned": tuned, "candidates": found.candidates, "score": score}
    write_json(model.json("params"), value)
    said = f"the best of {found.candidates}" if tuned else "as they stand in model.toml"
    return Outcome(f"{model.name}: parameters {said}: {found.params}.", value)


@spends
def train(model: Model) -> Outcome:
    """Fit on the training rows; write `export/` and `training.json`; log the run."""
    from mlops import tracking
    from mlops.data.profile import profile
    from mlops.learning import export, fit, loading
    from mlops.learning.engine import engine

    config, contract = model.config(), read(model)
    measures = _metrics(model, config)
    frame = _read(model, model.train, "split")
    params = _json(model, "params", "tune")["params"]
    split = _json(model, "split", "split")["boundary"]
    rows = fit.rows_of(frame, contract, config, where=model.name)
    build = loading.build_of(model)
    with engine(config.train.engine):
        scores = fit.cross_validate(
            build,
            params,
            rows,
            config=config,
            metrics=measures,
            where=model.name,
            progress=_progress(f"{model.name}: cross-validation"),
        )
        estimator = fit.final(build, params, rows, where=model.name)
    training = {"folds": config.train.folds, "scores": scores}
    columns = [*contract.features, *([contract.target] if contract.target else [])]
    exported = export.write(
        model.export,
        model=model.name,
        task=config.model.task,
        estimator=estimator,
        contract=contract,
        train=frame,
        split=split,
        profile=profile(frame, columns, config.drift.bins),
        lineage=_lineage(model, params, config, contract),
        runtime=config.serve.runtime,
    )
    version = export.version(model.export)
    write_json(model.json("training"), training)
    tracking.log_training(
        model=model,
        config=config,
        version=version,
        params=params,
        training=training,
        features=rows.X,
        target=rows.y,
    )
    first = measures[0].name
    mean, std = scores[first]["mean"], scores[first]["std"]
    said = f"{mean:.4g} ± {std:.2g}" if mean is not None and std is not None else "not defined"
    return Outcome(
        f"{model.name}: version {version}, {first} {said} over {config.train.folds} folds of "
        f"{counted(len(rows.y), 'row')}; it {exported.manifest['serving']['says']}.",
        {"model": model.name, "version": version, "serving": exported.manifest["serving"], **training},
    )


@spends
def evaluate(model: Model) -> Outcome:
    """Score the holdout; write `metrics.json`, `evaluation.json`, `cost.json` and the plots; log the scores."""
    from mlops import tracking
    from mlops.learning import evaluate as room
    from mlops.learning import export

    config, contract = model.config(), read(model)
    measures = _metrics(model, config)
    train_rows, holdout = _read(model, model.train, "split"), _read(model, model.holdout, "split")
    exported = export.load(model.export)
    found = room.evaluate(exported, holdout, train_rows, contract=contract, config=config, metrics=measures)
    flat = {name: one["value"] for name, one in found["overall"].items()} | {"rows": found["rows"]}
    write_json(model.json("metrics"), flat)
    write_json(model.json("evaluation"), found)
    write_json(model.json("cost"), room.cost(exported, holdout))
    for name, (header, lines) in room.plots(found).items():
        _write_csv(model.folder / "plots" / f"{name}.csv", header, lines)
    tracking.log_evaluation(model=model, version=export.version(model.export), metrics=flat)
    first = found["overall"][measures[0].name]
    return Outcome(
        f"{model.name}: {measures[0].name} {_number(first['value'])} ({_number(first['low'])} to "
        f"{_number(first['high'])}) on {counted(found['rows'], 'row')} of the holdout.",
        flat,
    )


@spends
def explain(model: Model) -> Outcome:
    """Say which inputs matter; write `explanation.json` and `plots/importance.csv`."""
    from mlops.learning import explain as room
    from mlops.learning import export

    config, contract = model.config(), read(model)
    measures = _metrics(model, config)
    holdout = _read(model, model.holdout, "split")
    found = room.explain(export.load(model.export), holdout, contract=contract, config=config, metric=measures[0])
    write_json(model.json("explanation"), found)
    lines = [[one["importance"], one["feature"]] for one in found["features"]]
    _write_csv(model.folder / "plots" / "importance.csv", ["importance", "feature"], lines)
    top = ", ".join(one["feature"] for one in found["features"][:3])
    return Outcome(f"{model.name}: {measures[0].name} depends most on {top}.", found)


def _metrics(model: Model, config: ModelConfig) -> tuple[metrics.Metric, ...]:
    where = model.toml.relative_to(model.root).as_posix()
    return metrics.check(config.evaluate.metrics, task=config.model.task, where=where)


def _read(model: Model, path: Path, verb: str) -> pl.DataFrame:
    """The rows of a Parquet file of an earlier stage; refuses a missing, broken or empty one."""
    shown = path.relative_to(model.folder).as_posix()
    again = f"Run `mlops {verb} {model.name}`, or `make train MODEL={model.name}` for the whole pipeline."
    if not path.is_file():
        raise Refusal(f"{model.name}: {shown} does not exist.", do=again)
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError):
        raise Refusal(f"{model.name}: {shown} is not a whole Parquet file.", do=again) from None
    if frame.is_empty():
        raise Refusal(f"{model.name}: {shown} has no rows.", do="Move data.as_of or split.holdout in model.toml.")
    return frame


def _json(model: Model, name: str, verb: str) -> dict[str, Any]:
    do = f"Run `mlops {verb} {model.name}`, or `make train MODEL={model.name}` for the whole pipeline."
    value: dict[str, Any] = read_json(model.json(name), do=do)
    return value


def _lineage(model: Model, params: dict[str, Any], config: ModelConfig, contract: Contract) -> dict[str, Any]:
    """What made this version: commit (None outside git), whether the work tree differed, data and its last day, …"""
    tracked = git.is_repository(model.root)
    # Outputs of the pipeline are tracked too and always differ while it runs: only what it reads counts.
    inputs = [str(path.relative_to(model.root)) for path in (model.toml, model.contract, model.source)]
    return {
        "commit": git.head(model.root) if tracked else None,
        "modified": git.is_modified(model.root, *inputs) if tracked else True,
        "data": digest(model.train),
        "as_of": config.data.as_of,
        "contract": contract.source,
        "params": params,
        "seed": config.train.seed,
    }


def _progress(label: str) -> Callable[[int, int], None]:
    """A line on stderr that counts, for a person who waits; silent elsewhere."""

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{label} {done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)

    return show


def _write_csv(path: Path, header: Sequence[str], lines: Sequence[Sequence[Any]]) -> None:
    """A small table with a header; numbers in their shortest exact form, so that equal tables are equal bytes."""
    text = "\n".join(",".join(_cell(cell) for cell in line) for line in [header, *lines])
    write_text(path, text + "\n")


def _cell(value: Any) -> str:
    text = "" if value is None else repr(value) if isinstance(value, float) else str(value)
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\n\r') else text


def _number(value: float | None) -> str:
    return "not defined" if value is None or value != value else f"{value:.4g}"
