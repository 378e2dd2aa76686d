"""`model.toml` as frozen values: the one place that knows its sections, defaults and limits.

Standard library only, because the fast verbs read it too.
Every refusal names the file and the key.
"""

import dataclasses
import datetime as dt
import difflib
import math
import re
import tomllib
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from mlops.errors import Refusal

Task = Literal["classification", "regression"]


@dataclass(frozen=True, kw_only=True)
class About:
    """`[model]`: what the model is and who answers for it."""

    task: Task
    owner: str
    description: str


@dataclass(frozen=True, kw_only=True)
class Data:
    """`[data]`: where rows come from, and up to which day."""

    source: str
    """`replay`, a CSV/Parquet path or glob, a URL or object-store path, or an SQLAlchemy URL."""
    as_of: str
    """The last day whose rows are used, `YYYY-MM-DD`. Retraining advances it."""
    query: str = ""
    """The SQL query, for a database source; it may use the parameter `:as_of`."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """`[split]`: how rows are kept from training."""

    method: Literal["time", "stratified", "grouped"]
    holdout: float = 0.25
    """Share of rows (of groups when grouped) in the holdout, in (0, 1)."""
    seed: int = 7


@dataclass(frozen=True, kw_only=True)
class Train:
    """`[train]`: how the estimator is fitted; `params` go to `build(params)` as they are."""

    engine: Literal["local", "dask"] = "local"
    folds: int = 5
    seed: int = 7
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Tune:
    """`[tune]`: successive halving over `space` (a list of values per parameter); off while the space is empty."""

    factor: int = 3
    space: dict[str, list[Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Slice:
    """`[[evaluate.slices]]`: a named part of the data, chosen by an SQL expression over the contract's columns."""

    name: str
    where: str


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """`[evaluate]`: what is measured. The first metric is the one that the gate compares."""

    metrics: list[str]
    resamples: int = 1000
    confidence: float = 0.95
    seed: int = 7
    noise: float = 0.05
    """Size of the input perturbation, in standard deviations of each numeric feature."""
    slices: list[Slice] = field(default_factory=list)
    groups: dict[str, str] = field(default_factory=dict)
    """Fairness groups: a name to the SQL expression that gives each row's group."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """`[gate]`: what a challenger must show."""

    margin: float
    """How much worse than the champion, in the first metric's unit, still counts as not worse."""
    slice_margin: float
    """The same for one slice."""
    minimum_support: int = 30
    """Fewest rows on which two versions are compared; smaller slices are shown and not judged."""
    champion: Literal["compare", "reset"] = "compare"
    reason: str = ""
    """Why the champion is reset; required with `champion = "reset"`."""
    floors: dict[str, float] = field(default_factory=dict)
    """Per metric, the worst value that is still acceptable."""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """`[drift]`: when data counts as moved against the champion's reference window."""

    psi: float = 0.2
    bins: int = 10


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One `model.toml`."""

    model: About
    data: Data
    split: Split
    evaluate: Evaluate
    gate: Gate
    train: Train = field(default_factory=Train)
    tune: Tune = field(default_factory=Tune)
    drift: Drift = field(default_factory=Drift)


def load(path: Path) -> ModelConfig:
    """Read and validate a `model.toml`; raise `Refusal` naming the file and the key."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Refusal(f"{path} does not exist.", do="Every model has one; `make new-model` writes it.") from None
    except UnicodeDecodeError:
        raise Refusal(f"{path} is not UTF-8 text.", do="Save it as UTF-8.") from None
    return parse(text, where=str(path))


def parse(text: str, *, where: str) -> ModelConfig:
    """Validate the text of a `model.toml`; `where` names it in refusals."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Refusal(f"{where} is not valid TOML: {error}.", do="Mend that line.") from None
    config: ModelConfig = _value(table, ModelConfig, where, "")
    _check_limits(config, where)
    return config


def _check_limits(config: ModelConfig, where: str) -> None:
    """Refuse values that have the right type and no meaning."""
    try:
        dt.date.fromisoformat(config.data.as_of)
    except ValueError:
        raise Refusal(f"{where}: data.as_of is {config.data.as_of!r}.", do="Write a day as YYYY-MM-DD.") from None
    rules = (
        ("split.holdout", 0 < config.split.holdout < 1, "a share between 0 and 1"),
        ("train.folds", config.train.folds >= 2, "at least 2"),
        ("tune.factor", config.tune.factor >= 2, "at least 2"),
        ("evaluate.metrics", bool(config.evaluate.metrics), "at least one metric"),
        ("evaluate.resamples", config.evaluate.resamples >= 100, "at least 100"),
        ("evaluate.confidence", 0.5 < config.evaluate.confidence < 1, "a share between 0.5 and 1"),
        ("evaluate.noise", config.evaluate.noise >= 0, "0 or more"),
        ("gate.margin", config.gate.margin >= 0, "0 or more"),
        ("gate.slice_margin", config.gate.slice_margin >= 0, "0 or more"),
        ("gate.minimum_support", config.gate.minimum_support >= 2, "at least 2"),
        ("drift.psi", config.drift.psi > 0, "more than 0"),
        ("drift.bins", config.drift.bins >= 2, "at least 2"),
        (
            "gate.floors",
            set(config.gate.floors) <= set(config.evaluate.metrics),
            "only metrics that evaluate.metrics names",
        ),
        (
            "gate.reason",
            config.gate.champion == "compare" or len(config.gate.reason.strip()) >= 10,
            'a sentence that says why, with gate.champion = "reset"',
        ),
        (
            "evaluate.slices",
            len({part.name for part in config.evaluate.slices}) == len(config.evaluate.slices),
            "a different name for each slice",
        ),
    )
    for key, holds, need in rules:
        if not holds:
            raise Refusal(f"{where}: {key} is not acceptable.", do=f"It must be {need}.")


def _value(value: Any, kind: Any, where: str, key: str) -> Any:
    """`value` as `kind` (a dataclass, Literal, list, dict or plain type), or a refusal that names `key`."""
    if dataclasses.is_dataclass(kind):
        return _table(value, kind, where, key)
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin is Literal:
        if value in arguments:
            return value
        raise Refusal(f"{where}: {key} is {value!r}.", do=f"It can be {_or(arguments)}.")
    if origin in (Union, types.UnionType):
        return None if value is None else _value(value, arguments[0], where, key)
    if origin is list:
        if isinstance(value, list):
            return [_value(item, arguments[0], where, f"{key}[{n}]") for n, item in enumerate(value)]
        raise Refusal(f"{where}: {key} is not a list.", do='Write it as ["…", "…"].')
    if origin is dict:
        if isinstance(value, dict):
            return {name: _value(item, arguments[1], where, f"{key}.{name}") for name, item in value.items()}
        raise Refusal(f"{where}: {key} is not a table.", do=f"Write [{key}] and one line per entry.")
    return _scalar(value, kind, where, key)


def _scalar(value: Any, kind: type, where: str, key: str) -> Any:
    if kind is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if type(value) is kind and kind is not float:
        return value
    words = {str: "text in quotes", int: "a whole number", float: "a number", bool: "true or false"}
    raise Refusal(f"{where}: {key} is {value!r}.", do=f"It must be {words[kind]}.")


def _table(value: Any, kind: Any, where: str, key: str) -> Any:
    if not isinstance(value, dict):
        raise Refusal(f"{where}: {key} is not a table.", do=f"Write [{key}] and one line per entry.")
    fields = {item.name: item for item in dataclasses.fields(kind)}
    prefix = f"{key}." if key else ""
    for name in value:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"Did you mean {prefix}{near[0]}?" if near else f"Known here: {', '.join(fields)}."
            raise Refusal(f"{where}: {prefix}{name} is not a known key.", do=hint)
    for name, item in fields.items():
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if required and name not in value:
            raise Refusal(f"{where}: {prefix}{name} is missing.", do="Add it; docs/reference/model-toml.md lists all.")
    return kind(**{name: _value(item, fields[name].type, where, f"{prefix}{name}") for name, item in value.items()})


def _or(words: tuple[Any, ...]) -> str:
    return " or ".join(repr(word) for word in words)


def set_as_of(text: str, day: dt.date) -> str:
    """The text of a `model.toml` with `data.as_of` moved to `day`, all else untouched."""
    return re.sub(r'(?m)^(as_of\s*=\s*)"[^"]*"', rf'\g<1>"{day.isoformat()}"', text, count=1)
