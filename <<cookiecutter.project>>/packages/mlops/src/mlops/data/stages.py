"""The three stages of the data room: `mlops ingest`, `mlops check` and `mlops split`, as DVC runs them."""

import datetime as dt
import os
from pathlib import Path

from mlops.cli import Outcome
from mlops.data.compile import compile_contract, custom_runner
from mlops.data.contract import Contract, read
from mlops.errors import Refusal, counted
from mlops.files import read_json, write_json
from mlops.workspace import Model

CACHE = (".cache", "contracts")


def ingest(model: Model) -> Outcome:
    """Fetch the rows up to and including `data.as_of` into `data/raw.parquet`."""
    from mlops.data import sources

    config, contract = model.config(), _contract(model)
    rows = sources.ingest(model, config.data, contract)
    return Outcome(
        f"{model.name}: {counted(rows, 'row')} up to {config.data.as_of} in data/raw.parquet.",
        {"model": model.name, "rows": rows, "as_of": config.data.as_of},
    )


def check(model: Model) -> Outcome:
    """Check `data/raw.parquet` against the contract; write `contract.json` and `check.json`.

    Broken data is refused with exit code 1, and what was found is in `reports/<model>/check.json`, because DVC removes
    what a failed stage wrote.
    """
    from mlops.data.check import check_files

    as_of, contract = dt.date.fromisoformat(model.config().data.as_of), _contract(model)
    _upstream(model, model.raw, "ingest")
    custom = custom_runner(model.contract) if contract.has_custom else None
    result = check_files([model.raw], contract, as_of=as_of, custom=custom)
    found = result.to_json()
    if not result.passed:
        write_json(model.reports / "check.json", found)
        most = 3
        said = "; ".join(
            f"{one.column}: {one.check} is broken in {counted(one.count, 'row')} ({one.share:.1%})"
            for one in result.violations[:most]
        )
        more = len(result.violations) - most
        raise Refusal(
            f"{model.name}: data/raw.parquet breaks the contract. {said}{f'; and {more} more' if more > 0 else ''}.",
            do=f"First rows: reports/{model.name}/check.json. Mend the data, or contract.py if the world changed.",
            code=1,
        )
    write_json(model.json("contract"), contract.to_json())
    write_json(model.json("check"), found)
    checks = sum(len(column.checks) + len(column.custom) for column in contract.columns) + len(contract.custom)
    newest = f"; the newest is of {result.newest}" if result.newest else ""
    return Outcome(
        f"{model.name}: {counted(checks, 'check')} on {counted(len(contract.columns), 'column')} passed "
        f"for {counted(result.rows, 'row')}{newest}.",
        found,
    )


def split(model: Model) -> Outcome:
    """Write `data/train.parquet`, `data/holdout.parquet` and the boundary between them, `split.json`."""
    import polars as pl

    from mlops.data.split import assign, fit_boundary

    config = model.config()
    _upstream(model, model.raw, "ingest")
    if not read_json(model.json("check"), do=f"Run `mlops check {model.name}` first.").get("passed"):
        raise Refusal(f"{model.name}: the data has not passed its check.", do=f"Run `mlops check {model.name}`.")
    contract = read(model)
    try:
        frame = pl.read_parquet(model.raw)
    except pl.exceptions.PolarsError:
        do = f"Run `mlops ingest {model.name}`."
        raise Refusal(f"{model.name}: data/raw.parquet is not Parquet.", do=do) from None
    try:
        boundary = fit_boundary(frame, contract, config.split)
    except Refusal as refusal:
        raise Refusal(f"{model.name}: {refusal.what}", do=refusal.do) from None
    holdout = assign(frame, boundary)
    sides = {model.train: frame.filter(~holdout), model.holdout: frame.filter(holdout)}
    if config.model.task == "classification" and contract.target:
        for path, side in sides.items():
            if side[contract.target.name].n_unique() < 2:
                raise Refusal(
                    f"{model.name}: {path.stem} would hold one class of {contract.target.name} only.",
                    do="Use more data (data.as_of), or another split.holdout or split.method in model.toml.",
                )
    for path, side in sides.items():
        temporary = path.with_name(f".{path.name}.part")
        side.write_parquet(temporary)
        os.replace(temporary, path)
    counts = {path.stem: side.height for path, side in sides.items()}
    write_json(model.json("split"), {"boundary": boundary.to_json(), **counts})
    return Outcome(
        f"{model.name}: {counted(counts['train'], 'row')} to train on, {counts['holdout']:,} kept as the holdout "
        f"({config.split.method}).",
        {"model": model.name, **counts},
    )


def _contract(model: Model) -> Contract:
    return compile_contract(model.contract, cache=model.root.joinpath(*CACHE))


def _upstream(model: Model, path: Path, verb: str) -> None:
    """Refuse to go on without a file that an earlier stage writes."""
    if not path.is_file():
        raise Refusal(
            f"{model.name}: {path.relative_to(model.folder).as_posix()} does not exist.",
            do=f"Run `mlops {verb} {model.name}` first, or `make train MODEL={model.name}` for the whole pipeline.",
        )
