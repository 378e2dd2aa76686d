"""`model.toml` as frozen values: the one place that knows its sections, defaults and limits.

`read_page` reads any other TOML page of this repository as strictly: a frozen dataclass names its keys, `Limit`s say
what values must be beyond their types.

Standard library only, because the fast verbs read it too.
Every refusal names the file and the key.
"""

import dataclasses
import datetime as dt
import difflib
import functools
import math
import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin

from mlops import files
from mlops.errors import Refusal

Task = Literal["classification", "regression"]
Page = TypeVar("Page")

LARGEST_FILE = 1_000_000
LARGEST_SEED = 2**32 - 1


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
    accept: dict[str, str] = field(default_factory=dict)
    """Per column (or `rows`) of which the new rows are doubted, why they are right."""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """`[drift]`: when data counts as moved against the champion's reference window."""

    psi: float = 0.2
    bins: int = 10
    minimum_rows: int = 50
    """Fewest rows, in the reference window as in the current one, on which a column is judged."""
    false_alarms: float = 0.01
    """The greatest chance that `watch` alarms within a week although nothing has changed."""


@dataclass(frozen=True, kw_only=True)
class Watch:
    """`[watch]`: what is looked at while a version serves."""

    log: str = ""
    """Where the prediction log is: a path or glob relative to the model's folder, or a URL."""
    window_days: int = 7
    runs_per_week: int = 7
    label_delay_days: int = 0
    """Days after which the outcome of a row is known."""
    age_days: int = 0
    """The greatest age of the data that the serving version learned from; 0 for no limit."""


Cause = Literal["drift", "performance", "age"]


@dataclass(frozen=True, kw_only=True)
class Retrain:
    """`[retrain]`: when a new version is trained without anyone asking for it."""

    every_days: int = 0
    """The greatest age of the data that the champion learned from; 0 for no schedule."""
    on: list[Cause] = field(default_factory=lambda: ["drift", "performance", "age"])
    """The alarms of `watch` that ask for a new version."""
    new_rows: int = 0
    """So many labelled rows in the source, newer than the champion's data, ask for a new version, too; 0 for never."""
    cooldown_days: int = 7
    """Days between two attempts."""
    auto_merge: bool = False
    """Whether a pull request of a version that passed is merged without a person."""
    freeze: str = ""
    """Why nothing is trained by itself now; empty when it is."""
    age_periods: int = 12
    """Equal parts that time is cut into to see how fast the model ages; 0 where that is not measured."""


@dataclass(frozen=True, kw_only=True)
class Serve:
    """`[serve]`: how a version is asked where it serves."""

    runtime: Literal["sklearn", "onnx"] = "sklearn"
    """`onnx` where that is proven at export to say the same; else scikit-learn serves, and the manifest says why."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """`[budget]`: what making one version may use; the gate refuses one that used more."""

    runner: str = "ubuntu-24.04"
    """The label of the machines that CI trains on."""
    minutes: int = 60
    """The most minutes; a run in a workflow is stopped after as many."""
    price: float = 0.0
    """What a minute of the runner costs, in your currency; 0 where no price is shown."""
    cost: float = 0.0
    """The most that it may cost, minutes times price; 0 for no limit."""
    kwh: float = 0.0
    """The most energy, as it is estimated; 0 for no limit."""
    country: str = ""
    """Whose electricity the machines use, in three letters such as DEU; empty for the world's average."""


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
    watch: Watch = field(default_factory=Watch)
    retrain: Retrain = field(default_factory=Retrain)
    serve: Serve = field(default_factory=Serve)
    budget: Budget = field(default_factory=Budget)


@dataclass(frozen=True, kw_only=True)
class Limit(Generic[Page]):
    """What a value must be beyond its type: `need` completes the sentence "It must be …"."""

    key: str
    need: str
    holds: Callable[[Page], bool]


LIMITS: tuple[Limit[ModelConfig], ...] = (
    Limit(key="model.owner", need="one line that is not empty", holds=lambda c: _is_line(c.model.owner)),
    Limit(key="model.description", need="not empty", holds=lambda c: bool(c.model.description.strip())),
    Limit(key="data.source", need="one line that is not empty", holds=lambda c: _is_line(c.data.source)),
    Limit(key="data.as_of", need="a day as YYYY-MM-DD", holds=lambda c: _is_day(c.data.as_of)),
    Limit(key="split.holdout", need="between 0 and 1", holds=lambda c: 0 < c.split.holdout < 1),
    Limit(key="split.seed", need="between 0 and 4294967295", holds=lambda c: _is_seed(c.split.seed)),
    Limit(key="train.folds", need="between 2 and 100", holds=lambda c: 2 <= c.train.folds <= 100),
    Limit(key="train.seed", need="between 0 and 4294967295", holds=lambda c: _is_seed(c.train.seed)),
    Limit(
        key="train.params",
        need="texts, finite numbers, true, false, and lists or tables of them, without the key seed (see train.seed)",
        holds=lambda c: "seed" not in c.train.params and _is_plain(c.train.params),
    ),
    Limit(key="tune.factor", need="between 2 and 100", holds=lambda c: 2 <= c.tune.factor <= 100),
    Limit(
        key="tune.space",
        need="a list of at least one value per parameter, of the kinds that train.params takes",
        holds=lambda c: "seed" not in c.tune.space and all(c.tune.space.values()) and _is_plain(c.tune.space),
    ),
    Limit(
        key="evaluate.metrics",
        need="at least one metric, each once",
        holds=lambda c: bool(c.evaluate.metrics) and _differ(c.evaluate.metrics),
    ),
    Limit(
        key="evaluate.resamples", need="between 100 and 100000", holds=lambda c: 100 <= c.evaluate.resamples <= 10**5
    ),
    Limit(key="evaluate.confidence", need="between 0.5 and 1", holds=lambda c: 0.5 < c.evaluate.confidence < 1),
    Limit(key="evaluate.seed", need="between 0 and 4294967295", holds=lambda c: _is_seed(c.evaluate.seed)),
    Limit(key="evaluate.noise", need="between 0 and 10", holds=lambda c: 0 <= c.evaluate.noise <= 10),
    Limit(
        key="evaluate.slices",
        need="named in one line each, with different names, and with a where that is not empty",
        holds=lambda c: (
            _differ([part.name for part in c.evaluate.slices])
            and all(_is_line(part.name) and part.where.strip() for part in c.evaluate.slices)
        ),
    ),
    Limit(
        key="evaluate.groups",
        need="one line of name and an expression that is not empty",
        holds=lambda c: all(_is_line(name) and where.strip() for name, where in c.evaluate.groups.items()),
    ),
    Limit(key="gate.margin", need="0 or more", holds=lambda c: c.gate.margin >= 0),
    Limit(key="gate.slice_margin", need="0 or more", holds=lambda c: c.gate.slice_margin >= 0),
    Limit(key="gate.minimum_support", need="at least 2", holds=lambda c: c.gate.minimum_support >= 2),
    Limit(
        key="gate.reason",
        need='a sentence of at least 10 characters that says why, with gate.champion = "reset"',
        holds=lambda c: c.gate.champion == "compare" or len(c.gate.reason.strip()) >= 10,
    ),
    Limit(
        key="gate.floors",
        need="only metrics that evaluate.metrics names",
        holds=lambda c: set(c.gate.floors) <= set(c.evaluate.metrics),
    ),
    Limit(
        key="gate.accept",
        need="a sentence of at least 10 characters that says why, for each column",
        holds=lambda c: all(_is_line(name) and len(why.strip()) >= 10 for name, why in c.gate.accept.items()),
    ),
    Limit(key="drift.psi", need="more than 0", holds=lambda c: c.drift.psi > 0),
    Limit(key="drift.bins", need="between 2 and 1000", holds=lambda c: 2 <= c.drift.bins <= 1000),
    Limit(key="drift.minimum_rows", need="at least 20", holds=lambda c: c.drift.minimum_rows >= 20),
    Limit(
        key="drift.false_alarms", need="more than 0 and at most 0.5", holds=lambda c: 0 < c.drift.false_alarms <= 0.5
    ),
    Limit(key="watch.log", need="one line", holds=lambda c: not c.watch.log or _is_line(c.watch.log)),
    Limit(key="watch.window_days", need="between 1 and 366", holds=lambda c: 1 <= c.watch.window_days <= 366),
    Limit(key="watch.runs_per_week", need="between 1 and 168", holds=lambda c: 1 <= c.watch.runs_per_week <= 168),
    Limit(
        key="watch.label_delay_days", need="between 0 and 3650", holds=lambda c: 0 <= c.watch.label_delay_days <= 3650
    ),
    Limit(key="watch.age_days", need="between 0 and 3650", holds=lambda c: 0 <= c.watch.age_days <= 3650),
    Limit(key="retrain.every_days", need="between 0 and 3650", holds=lambda c: 0 <= c.retrain.every_days <= 3650),
    Limit(key="retrain.on", need="different alarms", holds=lambda c: _differ(c.retrain.on)),
    Limit(key="retrain.new_rows", need="0 or more", holds=lambda c: c.retrain.new_rows >= 0),
    Limit(key="retrain.cooldown_days", need="between 0 and 366", holds=lambda c: 0 <= c.retrain.cooldown_days <= 366),
    Limit(
        key="retrain.freeze",
        need="a reason in one line",
        holds=lambda c: not c.retrain.freeze or _is_line(c.retrain.freeze),
    ),
    Limit(
        key="retrain.age_periods",
        need="0, or between 4 and 120",
        holds=lambda c: c.retrain.age_periods == 0 or 4 <= c.retrain.age_periods <= 120,
    ),
    Limit(
        key="budget.runner",
        need="one label of letters, digits, dots, underscores and dashes",
        holds=lambda c: re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", c.budget.runner) is not None,
    ),
    Limit(key="budget.minutes", need="between 1 and 7200", holds=lambda c: 1 <= c.budget.minutes <= 7200),
    Limit(key="budget.price", need="0 or more", holds=lambda c: c.budget.price >= 0),
    Limit(
        key="budget.cost",
        need="0 or more, and 0 without a price (budget.price)",
        holds=lambda c: c.budget.cost == 0 or (c.budget.cost > 0 and c.budget.price > 0),
    ),
    Limit(key="budget.kwh", need="0 or more", holds=lambda c: c.budget.kwh >= 0),
    Limit(
        key="budget.country",
        need="three capital letters (ISO 3166), or empty",
        holds=lambda c: re.fullmatch(r"([A-Z]{3})?", c.budget.country) is not None,
    ),
)


def _is_line(text: str) -> bool:
    return bool(text.strip()) and text.isprintable()


def _is_day(text: str) -> bool:
    """Whether this is `YYYY-MM-DD`; Python alone would take `20260701` and week dates too."""
    try:
        return dt.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _is_seed(seed: int) -> bool:
    return 0 <= seed <= LARGEST_SEED


def _differ(names: Sequence[str]) -> bool:
    return len(set(names)) == len(names)


def _is_plain(value: Any) -> bool:
    """Whether JSON and `build(params)` can take a value as it is: no dates, no infinities, no missing numbers."""
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return isinstance(value, str | bool) or (type(value) in (int, float) and _is_finite(value))


def _is_finite(value: float) -> bool:
    """Whether a number fits a float; whole numbers in TOML can be too large even to ask."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def load(path: Path) -> ModelConfig:
    """Read and validate a `model.toml`; raise `Refusal` naming the file and the key."""
    return parse(read_text(path, missing="Every model has one; `make new-model` writes it."), where=str(path))


def read_text(path: Path, *, missing: str) -> str:
    """The text of a TOML page; `missing` says what to do where there is none."""
    try:
        with path.open("rb") as stream:
            data = stream.read(LARGEST_FILE + 1)
        return data.decode("utf-8")
    except FileNotFoundError:
        raise Refusal(f"{path} does not exist.", do=missing) from None
    except UnicodeDecodeError:
        raise Refusal(f"{path} is not UTF-8 text.", do="Save it as UTF-8.") from None


def parse(text: str, *, where: str) -> ModelConfig:
    """Validate the text of a `model.toml`; `where` names it in refusals."""
    return read_page(text, ModelConfig, where=where, limits=LIMITS)


def read_page(text: str, kind: type[Page], *, where: str, limits: Sequence[Limit[Page]]) -> Page:
    """The text of a TOML page as a frozen dataclass; raise `Refusal` naming `where` and the key."""
    if len(text) >= LARGEST_FILE:
        raise Refusal(f"{where} is larger than 1 MB.", do="It is a page for reviewers; data does not belong here.")
    if text.startswith("\ufeff"):
        raise Refusal(f"{where} starts with a byte order mark.", do="Save it as UTF-8 without one; DVC refuses it too.")
    try:
        page: Page = _table(_toml(text, where), kind, where, "")
        _check_limits(page, where, limits)
    except RecursionError:
        raise Refusal(f"{where} is nested too deeply.", do="Tables in tables in tables: write it flatter.") from None
    return page


_AS_OF_ALONE = re.compile(r"""(?m)^as_of[ \t]*=[ \t]*"([0-9-]{10})"[ \t]*(?:#.*)?$""")


def budget(text: str, *, where: str) -> Budget:
    """The `[budget]` of a `model.toml` that is known to be valid; a plan of many models has no time to read the rest.

    Where the section does not stand plainly in the text, all of it is read.
    """
    lines = _lines_of(text, "budget")
    return parse(text, where=where).budget if lines is None else _alone(lines, Budget, "budget", where)


def retrain(text: str, *, where: str) -> tuple[str, Retrain]:
    """`data.as_of` and `[retrain]` of such a `model.toml`, read in the same way."""
    data, lines = _lines_of(text, "data"), _lines_of(text, "retrain")
    days = _AS_OF_ALONE.findall(data or "")
    if lines is None or len(days) != 1 or not _is_day(days[0]):
        whole = parse(text, where=where)
        return whole.data.as_of, whole.retrain
    return days[0], _alone(lines, Retrain, "retrain", where)


def watched(text: str, *, where: str) -> bool:
    """Whether such a `model.toml`, read in the same way, names something to watch: a prediction log, or new rows."""
    lines, asked = _lines_of(text, "watch"), _lines_of(text, "retrain")
    if lines is None or asked is None:
        whole = parse(text, where=where)
        return bool(whole.watch.log or whole.retrain.new_rows)
    return bool(_alone(lines, Watch, "watch", where).log or _alone(asked, Retrain, "retrain", where).new_rows)


def _lines_of(text: str, section: str) -> str | None:
    """The lines of a section that stands plainly in the text or is not in it at all; None where that is not known.

    TOML allows one header of a name, so what looks like one is it, unless it stands in a text of several lines.
    """
    if section not in text:
        return ""
    if '"""' in text or "'''" in text:
        return None
    found = _section(section).search(text)
    return found["lines"] if found else None


@functools.cache
def _section(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?m)^\[{name}\][ \t]*\n(?P<lines>(?:(?![ \t]*\[).*(?:\n|\Z)|\n)*?)(?=[ \t]*\[|\Z)")


def _alone(lines: str, kind: Any, section: str, where: str) -> Any:
    try:
        return _read_once(lines, kind, section)
    except Refusal:
        return _read(lines, kind, section, where)


def _read(lines: str, kind: Any, section: str, where: str) -> Any:
    alone = SimpleNamespace(**{section: _table(_toml(lines, where), kind, where, section)})
    _check_limits(alone, where, [limit for limit in LIMITS if limit.key.startswith(f"{section}.")])
    return getattr(alone, section)


@functools.cache
def _read_once(lines: str, kind: Any, section: str) -> Any:
    """The same lines stand in many models."""
    return _read(lines, kind, section, "")


def _check_limits(config: Any, where: str, limits: Sequence[Limit[Any]]) -> None:
    """Refuse values that have the right type and no meaning."""
    for limit in limits:
        if not limit.holds(config):
            raise Refusal(f"{where}: {limit.key} is {_brief(_at(config, limit.key))}.", do=f"It must be {limit.need}.")


def _toml(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:
        line = files.conflict(text)
        if line is not None:
            raise Refusal(f"{where}, line {line}, is a conflict that git left.", do="Decide it, then go on.") from None
        # A TOMLDecodeError, or what Python says of a number with thousands of digits.
        raise Refusal(f"{where} is not valid TOML: {str(error)[:200]}.", do="Mend that place.") from None


def _at(config: Any, key: str) -> Any:
    return functools.reduce(getattr, key.split("."), config)


def _brief(value: Any, most: int = 100) -> str:
    """A value for a message; huge numbers cannot even be written out."""
    if type(value) is int and not _is_finite(value):
        return "a number that is too large"
    if isinstance(value, dict | list):
        return "not acceptable"
    text = value.isoformat() if isinstance(value, dt.date | dt.time) else repr(value)
    return text if len(text) <= most else f"{text[:most]}…"


def _value(value: Any, kind: Any, where: str, key: str) -> Any:
    """`value` as `kind` (a dataclass, Literal, list, dict or plain type), or a refusal that names `key`."""
    if dataclasses.is_dataclass(kind):
        return _table(value, kind, where, key)
    origin, arguments = _shape(kind)
    if kind is Any:
        return value
    if origin is Literal:
        if isinstance(value, str) and value in arguments:
            return value
        near = difflib.get_close_matches(value, arguments, n=1) if isinstance(value, str) else []
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise Refusal(f"{where}: {key} is {_brief(value)}.", do=f"{hint}It can be {_or(arguments)}.")
    if origin is list:
        if isinstance(value, list):
            return [_value(item, arguments[0], where, f"{key}[{n}]") for n, item in enumerate(value)]
        raise Refusal(f"{where}: {key} is not a list.", do=f"Write {_list_form(key, arguments[0])}.")
    if origin is dict:
        _must_be_table(value, where, key)
        return {name: _value(item, arguments[1], where, f"{key}.{_brief_key(name)}") for name, item in value.items()}
    return _scalar(value, kind, where, key)


@functools.cache
def _shape(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """What a type is made of; thousands of files ask the same."""
    return get_origin(kind), get_args(kind)


@functools.cache
def _fields(kind: Any) -> "dict[str, dataclasses.Field[Any]]":
    """The keys of a section, by name."""
    return {item.name: item for item in dataclasses.fields(kind)}


def _list_form(key: str, kind: Any) -> str:
    """How a list is written: a table in double brackets for each entry, or values in brackets."""
    return f"[[{key}]] above each entry" if dataclasses.is_dataclass(kind) else 'it as ["…", "…"]'


def _must_be_table(value: Any, where: str, key: str) -> None:
    if not isinstance(value, dict):
        raise Refusal(f"{where}: {key} is not a table.", do=f"Write [{key}] and one line per entry.")


def _scalar(value: Any, kind: type, where: str, key: str) -> Any:
    if kind is float and type(value) in (int, float) and _is_finite(value):
        return float(value)
    if type(value) is kind and kind is not float:
        return value
    words = {str: "text in quotes", int: "a whole number", float: "a number", bool: "true or false"}
    raise Refusal(f"{where}: {key} is {_brief(value)}.", do=f"It must be {words[kind]}.")


def _table(value: Any, kind: Any, where: str, key: str) -> Any:
    _must_be_table(value, where, key)
    fields = _fields(kind)
    prefix = f"{key}." if key else ""
    for name in value:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"Did you mean {prefix}{near[0]}?" if near else f"Known here: {', '.join(fields)}."
            raise Refusal(f"{where}: {prefix}{_brief_key(name)} is not a known key.", do=hint)
    for name, item in fields.items():
        if is_required(item) and name not in value:
            raise Refusal(f"{where}: {prefix}{name} is missing.", do="Add it; its page in docs/reference lists all.")
    return kind(**{name: _value(item, fields[name].type, where, f"{prefix}{name}") for name, item in value.items()})


def is_required(item: "dataclasses.Field[Any]") -> bool:
    """Whether a key has no default."""
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING


def _brief_key(name: str) -> str:
    """A key as it would be written, and not longer than a message can bear."""
    return name if re.fullmatch(r"[\w-]{1,60}", name) else _brief(name, 60)


def _or(words: tuple[Any, ...]) -> str:
    return " or ".join(repr(word) for word in words)


_AS_OF = re.compile(r"""(?P<key>as_of["']?[ \t]*=[ \t]*)(?P<quote>["'])[^"'\n]*(?P=quote)""")


def set_as_of(text: str, day: dt.date) -> str:
    """The text of a `model.toml` with `data.as_of` moved to `day`, all else untouched: comments, spacing, line ends.

    Every place that looks like the key is tried, and the one is taken after which TOML itself says that `data.as_of`
    is the day and that nothing else has changed. Raises `Refusal` where there is none.
    """
    wanted = tomllib.loads(text)
    wanted["data"]["as_of"] = day.isoformat()
    for found in _AS_OF.finditer(text):
        quote = found["quote"]
        moved = f"{text[: found.start()]}{found['key']}{quote}{day.isoformat()}{quote}{text[found.end() :]}"
        try:
            if tomllib.loads(moved) == wanted:
                return moved
        except tomllib.TOMLDecodeError:
            continue
    raise Refusal("data.as_of is written in an unusual way.", do='Write it on its own line: as_of = "YYYY-MM-DD".')
