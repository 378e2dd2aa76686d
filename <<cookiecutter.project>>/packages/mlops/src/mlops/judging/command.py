"""The verb `gate`: finds the champion, compares, judges, and writes `reports/<model>/evidence.json` for the report."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops import storage
from mlops.cli import Outcome
from mlops.config import ModelConfig
from mlops.data.profile import profile, psi
from mlops.data.split import Boundary, seen
from mlops.errors import Refusal
from mlops.files import read_json, write_json
from mlops.judging import arrivals
from mlops.judging import champion as champions
from mlops.judging.champion import Champion, Promoted
from mlops.judging.compare import Comparison, compare, incomparable, reordered
from mlops.judging.gate import Case, Standing, Verdict, judge
from mlops.judging.plausible import Arrivals
from mlops.learning import export, frames, metrics, slices, spending
from mlops.learning.export import Exported
from mlops.reporting import card
from mlops.workspace import Model

CODES = {"passed": 0, "failed": 1, "not evaluated": 3}
FACTS = ("metrics", "evaluation", "training", "params", "explanation", "cost", "contract", "check")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Against:
    """What the look at the champion gave; `champion` is None where there is none, or none to compare with."""

    standing: Standing
    champion: Champion | None = None
    comparison: Comparison | None = None


def gate(model: Model) -> Outcome:
    """Judge the trained version; the exit code is 0 for passed, 1 for failed, 3 for not evaluated.

    Raises `Refusal` (code 3) when there is nothing to judge yet; what an earlier gate wrote is gone then.
    """
    target = model.reports / "evidence.json"
    # An old verdict must not outlive the version that it was about, whatever happens below.
    target.unlink(missing_ok=True)
    config = model.config()
    facts = _facts(model)
    if not (model.export / export.MANIFEST).is_file():
        raise Refusal(
            f"{model.name}: nothing to judge: its export is not on this machine.",
            do=f"`make train MODEL={model.name}` makes it, or `dvc pull` in models/{model.name} fetches it.",
            code=3,
        )
    challenger = export.load(model.export)
    version = export.version(model.export)
    stale = _stale(model)
    against = _against(model, config, challenger)
    verdict = judge(
        Case(
            gate=config.gate,
            metrics=tuple(config.evaluate.metrics),
            slices=tuple(one.name for one in config.evaluate.slices),
            confidence=config.evaluate.confidence,
            stale=stale,
            check=facts["check"],
            evaluation=facts["evaluation"],
            standing=against.standing,
            comparison=against.comparison,
            arrivals=_arrivals(model, config, against),
            used=_used(model, config, against.champion),
            budget=config.budget,
            spent=_spent(model, config),
        )
    )
    evidence = _evidence(model, config, facts, challenger=challenger, verdict=verdict, against=against)
    write_json(target, evidence)
    if against.champion or against.standing.kind == "first":
        # Aliases follow what git says; where it could not be asked, they stay as they are.
        _mirror(model, version, against.champion)
    return Outcome(_text(model, version, verdict), evidence["verdict"] | {"model": model.name}, CODES[verdict.verdict])


def _facts(model: Model) -> dict[str, Any]:
    """The committed facts by name; refuses when the model has not been trained and evaluated."""
    do = f"`make train MODEL={model.name}` makes it; then `make gate MODEL={model.name}` judges it."
    try:
        return {name: read_json(model.json(name), do=do) for name in FACTS}
    except Refusal as missing:
        what = missing.what.replace(f"{model.root}{os.sep}", "")
        raise Refusal(f"{model.name}: nothing to judge: {what}", do=do, code=3) from None


def _stale(model: Model) -> str:
    """Why the facts are not about this export and these inputs, in a sentence; empty when they are."""
    again = f"Run `make train MODEL={model.name}` first."
    lock = model.folder / "dvc.lock"
    locked = storage.locked_export(lock.read_text(encoding="utf-8")) if lock.is_file() else None
    if locked is None:
        return f"dvc.lock of {model.name} locks no export, so the evaluation is about nothing known. {again}"
    if storage.folder_digest(model.export) != locked:
        return f"The export of {model.name} is not the one that dvc.lock locks. {again}"
    changed = storage.outdated(model)
    if changed:
        return f"Inputs or results of {', '.join(changed)} changed since dvc.lock was written. {again}"
    return ""


def _against(model: Model, config: ModelConfig, challenger: Exported) -> _Against:
    """Find the champion and compare with it on the challenger's holdout."""
    try:
        promoted = champions.locate(model)
        if promoted is None:
            return _Against(standing=Standing(kind="first"))
        reset = config.gate.champion == "reset"
        spent = reset and champions.reset_is_spent(model, promoted, config.gate.reason)
        if reset and not spent:
            return _set_aside(model, config, promoted)
        found = champions.fetch(model, promoted)
    except Refusal as unknown:
        return _Against(standing=Standing(kind="unknown", because=_line(unknown)))
    if not model.holdout.is_file():
        because = f"{model.name}: the holdout is not on this machine; `dvc pull` in models/{model.name} fetches it."
        return _Against(standing=Standing(kind="unknown", because=because), champion=found)
    note = "The reset in model.toml was used by that champion and no longer counts." if spent else ""
    try:
        incumbent = export.load(found.folder)
        because, comparison = _compared(model, config, incumbent, challenger, pl.read_parquet(model.holdout))
    except (Refusal, OSError, ValueError, TypeError, KeyError, pl.exceptions.PolarsError) as error:
        because, comparison = _line(error), None
    if comparison is None:
        standing = Standing(kind="incomparable", because=f"{because}. {note}".strip(), version=found.version)
    else:
        standing = Standing(kind="compared", because=note, version=found.version)
    return _Against(standing=standing, champion=found, comparison=comparison)


def _arrivals(model: Model, config: ModelConfig, against: _Against) -> Arrivals:
    """What is new in the data and what is doubted about it; a champion that is set aside is not asked."""
    from mlops.data.contract import read

    files = [model.train, model.holdout]
    missing = [f"data/{path.name}" for path in files if not path.is_file()]
    if missing:
        fetch = f"`dvc pull` in models/{model.name} fetches it"
        return Arrivals(because=f"{model.name}: {' and '.join(missing)} is not on this machine; {fetch}")
    known = None
    try:
        if against.champion and against.standing.kind != "reset":
            version = export.load(against.champion.folder)
            do = f"`make train MODEL={model.name}` makes it."
            reference = read_json(against.champion.folder / export.PROFILE, do=do)
            known = arrivals.Known(
                version=version, profile=reference, check=champions.fact(model, against.champion, "check")
            )
        return arrivals.look(pl.scan_parquet(files), read(model), config, known)
    except (Refusal, OSError, ValueError, TypeError, KeyError, pl.exceptions.PolarsError) as error:
        return Arrivals(because=_line(error))


def _used(model: Model, config: ModelConfig, champion: Champion | None) -> frozenset[str]:
    """The columns of `gate.accept` whose reason has counted already."""
    return champions.used(model, champion.promoted, config.gate.accept) if champion else frozenset()


def _set_aside(model: Model, config: ModelConfig, promoted: Promoted) -> _Against:
    """A champion that is not compared with; it may be lost, which is a reason to reset it."""
    standing = Standing(kind="reset", because=config.gate.reason)
    try:
        return _Against(standing=standing, champion=champions.fetch(model, promoted))
    except Refusal:
        return _Against(standing=standing)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _compared(
    model: Model, config: ModelConfig, incumbent: Exported, challenger: Exported, holdout: pl.DataFrame
) -> tuple[str, Comparison | None]:
    """The comparison on the holdout's rows, or why there can be none."""
    contract = read_json(model.json("contract"), do=f"`make train MODEL={model.name}` makes it.")
    columns = {column["name"]: column["dtype"] for column in contract["columns"] if column["name"] in holdout.columns}
    because = incomparable(incumbent.manifest, challenger.manifest, columns)
    if because:
        return because, None
    where = f"{model.name}: the holdout"
    task, classes = challenger.manifest["task"], challenger.classes
    truth = frames.target(holdout, challenger.manifest["target"], task=task, where=where)
    y = truth.to_numpy() if classes is None else metrics.encode(truth.tolist(), classes, where=where)
    return "", compare(
        y=y,
        champion=reordered(incumbent.predict(holdout), incumbent.classes, classes),
        challenger=challenger.predict(holdout),
        seen=seen(holdout, Boundary.from_json(incumbent.manifest["split"])).to_numpy(),
        slices=_slices(model, config, holdout),
        metrics=metrics.check(config.evaluate.metrics, task=task, where=str(model.toml)),
        resamples=config.evaluate.resamples,
        confidence=config.evaluate.confidence,
        seed=config.evaluate.seed,
    )


def _slices(model: Model, config: ModelConfig, holdout: pl.DataFrame) -> dict[str, NDArray[np.bool_]]:
    return {
        one.name: slices.mask(holdout, name=one.name, where=one.where, model=model.name)
        for one in config.evaluate.slices
    }


def _drift(model: Model, config: ModelConfig, reference: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How far the challenger's training rows lie from the champion's reference window, by column."""
    from mlops.data.contract import read

    contract = read(model)
    known = [
        column
        for column in (*contract.features, *([contract.target] if contract.target else []))
        if _profiled_alike(column.dtype, reference.get("columns", {}).get(column.name))
    ]
    current = profile(pl.scan_parquet(model.train), known, config.drift.bins, like=reference)
    found = {column.name: psi(reference["columns"][column.name], current["columns"][column.name]) for column in known}
    return [{"column": name, "psi": value, "moved": value > config.drift.psi} for name, value in found.items()]


def _profiled_alike(dtype: str, reference: Mapping[str, Any] | None) -> bool:
    kind = "category" if dtype in ("str", "bool") else "number"
    return reference is not None and reference["kind"] == kind


def _evidence(
    model: Model,
    config: ModelConfig,
    facts: Mapping[str, Any],
    *,
    challenger: Exported,
    verdict: Verdict,
    against: _Against,
) -> dict[str, Any]:
    found, comparison = against.champion, against.comparison
    version = export.version(challenger.folder)
    do = f"`make train MODEL={model.name}` makes it."
    reference = read_json(found.folder / export.PROFILE, do=do) if found else None
    return {
        "model": model.name,
        "task": config.model.task,
        "owner": config.model.owner,
        "description": config.model.description,
        "version": version,
        "verdict": verdict.to_json(),
        "standing": against.standing.kind,
        "comparison": (
            {"champion": found.version, "champion_commit": found.promoted.commit} | comparison.to_json()
            if found and comparison
            else None
        ),
        **facts,
        "run": _run(model),
        "spent": _spent(model, config),
        "budget": dataclasses.asdict(config.budget),
        "age": _kept(model, "age"),
        "retrain": {"every_days": config.retrain.every_days, "age_days": config.watch.age_days},
        "lineage": card.lineage(challenger.manifest, version=version),
        "thresholds": dataclasses.asdict(config.gate),
        "champion": (
            {"version": found.version, "commit": found.promoted.commit}
            | {name: champions.fact(model, found, name) for name in ("contract", "explanation", "cost")}
            | {"spent": _spent(model, config, found)}
            if found
            else None
        ),
        "drift": _drift(model, config, reference) if reference and model.train.is_file() else None,
        "profiles": {"challenger": read_json(model.export / export.PROFILE, do=do), "champion": reference},
    }


def _spent(model: Model, config: ModelConfig, champion: Champion | None = None) -> dict[str, Any] | None:
    """What making the trained version took, or the champion; both at the price of today's budget."""
    names = {stage: spending.fact(stage) for stage in (*spending.STAGES, *spending.OPTIONAL)}
    if champion:
        return spending.total(
            {one: champions.fact(model, champion, name) for one, name in names.items()}, config.budget
        )
    return spending.total({one: _kept(model, name) for one, name in names.items()}, config.budget)


def _kept(model: Model, name: str) -> Any:
    """A committed fact that a pipeline may lack; None where it does."""
    path = model.json(name)
    return read_json(path, do=f"`make train MODEL={model.name}` makes it anew.") if path.is_file() else None


def _run(model: Model) -> dict[str, Any] | None:
    """What `mlops repro` said of its last run here; None where it did not run."""
    path = model.reports / "run.json"
    return dict(read_json(path, do=f"Run `mlops repro {model.name}` again.")) if path.is_file() else None


def _mirror(model: Model, version: str, champion: Champion | None) -> None:
    from mlops import tracking

    tracking.mirror(
        model=model,
        champion=champion.version if champion else None,
        challenger=version,
        previous=champions.previous(model, champion) if champion else None,
    )


def _text(model: Model, version: str, verdict: Verdict) -> str:
    reasons = "\n".join(f"  - {reason}" for reason in verdict.reasons)
    return f"{model.name} {version}: {verdict.verdict}\n{reasons}"
