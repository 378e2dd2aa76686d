"""Which rows arrived since the champion's data, and can the world have made them? Reads the rows, asks `plausible`.

New are the rows that are dated after the newest one that the champion's data held. They are held against the champion's
reference profile, and against the rows before them: all of them, and the latest as many as there are new ones.
Much data is sampled evenly; only repeated rows are looked for among all.
"""

import datetime as dt
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from mlops.config import ModelConfig
from mlops.data.contract import Contract
from mlops.data.profile import profile
from mlops.data.split import Boundary, seen
from mlops.errors import Refusal
from mlops.judging import plausible
from mlops.judging.plausible import Arrivals, Dates, Doubt, Said
from mlops.learning import frames, metrics
from mlops.learning.export import Exported

SAMPLE = 20_000
"""Rows of each part that are looked at."""
RECENT = 50
"""The fewest rows that count as the latest ones."""
_PART = "part of the data"
_OLDER, _RECENT, _NEW = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Known:
    """The champion, its reference profile, and what its check said of its data (None where it is not known)."""

    version: Exported
    profile: Mapping[str, Any]
    check: Mapping[str, Any] | None


def look(data: pl.LazyFrame, contract: Contract, config: ModelConfig, champion: Known | None) -> Arrivals:
    """Ask everything that can be asked of all rows of a model, (n, columns): without a champion that is less.

    Raises `Refusal` where the rows are not what the contract says.
    """
    task, target = config.model.task, contract.target
    if target is None:
        raise Refusal("The contract names no target.", do='Give it metadata={"role": "target"} in contract.py.')
    known = champion.profile["columns"] if champion else {}
    unknown = [column for column in contract.features if column.name not in known]
    whole = _sample(data)
    doubts = plausible.told(whole, (), unknown, target, task=task)
    dates = _dates(champion.check, contract, config) if champion and contract.time else None
    if champion is None or dates is None or contract.time is None:
        # Nobody knows which rows are new: all of them are held against the profile, where there is one.
        references = [champion.profile] if champion else []
        doubts += plausible.moved(whole, _numbers(contract, task), references, bins=config.drift.bins, noun="row")
        doubts += _repeats(data, contract, [])
        return Arrivals(rows=None, doubts=doubts)
    time = contract.time.name
    parts = _parted(data, time, dates.newest)
    times = data.select(time).collect(engine="streaming").to_series()
    doubts += plausible.dated(times, time, dates, freshness_days=contract.freshness_days)
    before = _sample(parts.filter(pl.col(_PART) != _NEW))
    learned = seen(before, Boundary.from_json(champion.version.manifest["split"]))
    columns = _numbers(contract, task)
    # The champion's own rows are held against its profile too: history can be written anew.
    doubts += plausible.moved(
        before.filter(learned), columns, [champion.profile], bins=config.drift.bins, noun="old row"
    )
    new = _sample(parts.filter(pl.col(_PART) == _NEW))
    if new.is_empty():
        return Arrivals(rows=0, doubts=_each_once(doubts))
    recent = _sample(parts.filter(pl.col(_PART) == _RECENT))
    references = [champion.profile, profile(recent, columns, config.drift.bins)]
    sides = (before, recent)
    doubts += plausible.moved(new, columns, references, bins=config.drift.bins)
    doubts += plausible.filled(new, sides, contract)
    doubts += _repeats(parts, contract, [_RECENT, _NEW])
    doubts += plausible.told(new, sides, [one for one in contract.features if one not in unknown], target, task=task)
    if task == "classification":
        doubts += plausible.poured(new, target, sides)
    said = [_said(champion.version, frame, config) for frame in (new, before.filter(~learned))]
    if said[0] is not None and said[1] is not None:
        again = functools.partial(_learnt_again, champion.version, new, said[0])
        doubts += plausible.contradicted(said[0], said[1], again, target.name)
    rows = int(parts.filter(pl.col(_PART) == _NEW).select(pl.len()).collect(engine="streaming").item())
    return Arrivals(rows=rows, doubts=_each_once(doubts))


def _dates(check: Mapping[str, Any] | None, contract: Contract, config: ModelConfig) -> Dates | None:
    """What the champion's check said of time; None where it said nothing."""
    try:
        rows, newest, as_of = check["rows"], check["newest"], check["as_of"]  # type: ignore[index]
        newest, as_of = dt.date.fromisoformat(newest), dt.date.fromisoformat(as_of)
    except (KeyError, TypeError, ValueError):
        return None
    # The last days may not have been complete: rows of the day itself, and those whose outcome was not known yet.
    complete = min(newest, as_of - dt.timedelta(days=config.watch.label_delay_days)) - dt.timedelta(days=1)
    return Dates(rows=int(rows), newest=newest, complete=complete)


def _parted(data: pl.LazyFrame, time: str, newest: dt.date) -> pl.LazyFrame:
    """The rows with the part that each belongs to: new, the latest of the others, or older."""
    day = pl.col(time).cast(pl.Date)
    counts = data.group_by(day.alias("day")).len().collect(engine="streaming").sort("day", descending=True)
    new = int(counts.filter(pl.col("day") > newest)["len"].sum())
    old = counts.filter(pl.col("day") <= newest)
    enough = old.filter(pl.col("len").cum_sum() >= max(new, RECENT))
    start = enough["day"][0] if enough.height else dt.date.min
    part = pl.when(day > newest).then(_NEW).when(day >= start).then(_RECENT).otherwise(_OLDER)
    return data.with_columns(part.alias(_PART))


def _sample(data: pl.LazyFrame) -> pl.DataFrame:
    """At most about `SAMPLE` rows, evenly taken."""
    rows = int(data.select(pl.len()).collect(engine="streaming").item())
    return data.gather_every(max(1, rows // SAMPLE)).collect(engine="streaming")


def _repeats(data: pl.LazyFrame, contract: Contract, parts: list[int]) -> tuple[Doubt, ...]:
    """Rows that are equal to another one in every feature, by part; a row and an earlier part's is that part's."""
    names = [column.name for column in contract.features if column.name in data.collect_schema()]
    part = pl.col(_PART) if parts else pl.lit(_NEW)
    keys = data.select(pl.struct(names).hash(seed=7).alias("key"), part.alias("part"))
    counts = keys.group_by("key").agg(pl.col("part").min().alias("first"), pl.len().alias("all"))
    firsts = dict(counts.group_by("first").len().collect(engine="streaming").iter_rows())
    sizes = dict(keys.group_by("part").len().collect(engine="streaming").iter_rows())
    repeats = {one: sizes.get(one, 0) - firsts.get(one, 0) for one in (_RECENT, _NEW)}
    usual = repeats[_RECENT] / sizes[_RECENT] if parts and sizes.get(_RECENT) else None
    doubts = plausible.repeated(sizes.get(_NEW, 0), repeats[_NEW], usual)
    if doubts and not parts:
        # Where all features are coarse, rows are alike by nature.
        finest = max(int(data.select(pl.col(name).n_unique()).collect(engine="streaming").item()) for name in names)
        return doubts if finest >= firsts[_NEW] / 2 else ()
    return doubts


def _numbers(contract: Contract, task: str) -> list[Any]:
    """The columns whose place and scale are asked about."""
    target = [contract.target] if task == "regression" and contract.target else []
    return [*contract.features, *target]


def _said(version: Exported, frame: pl.DataFrame, config: ModelConfig) -> Said | None:
    """What the champion says of the rows; None where it cannot say it, which the rule about comparing explains."""
    name, task, classes = version.manifest["target"], config.model.task, version.classes
    if frame.is_empty() or version.manifest["task"] != task:
        return None
    try:
        truth = frames.target(frame, name, task=task, where=config.data.source)
        y = truth.to_numpy() if classes is None else metrics.encode(truth.tolist(), classes, where=config.data.source)
        return Said(truth=y, prediction=version.predict(frame))
    except Refusal:
        return None


def _learnt_again(version: Exported, frame: pl.DataFrame, said: Said) -> Said | None:
    """What the champion's estimator says of each half of the rows when it learns from the other; None if it cannot."""
    from sklearn.base import clone

    x, labels = version.features(frame), said.truth
    halves = [np.arange(len(labels)) % 2 == n for n in (0, 1)]
    prediction = np.empty_like(said.prediction)
    for learns, told in (halves, halves[::-1]):
        if version.classes is not None and len(np.unique(labels[learns])) < len(version.classes):
            return None
        try:
            estimator = clone(version.estimator).fit(x[learns], labels[learns])
            prediction[told] = (estimator.predict if version.classes is None else estimator.predict_proba)(x[told])
        except Exception:
            # Whatever an estimator does not like about these rows: it has not learnt from them.
            return None
    return Said(truth=labels, prediction=prediction)


def _each_once(doubts: tuple[Doubt, ...]) -> tuple[Doubt, ...]:
    return tuple(dict.fromkeys(doubts))
