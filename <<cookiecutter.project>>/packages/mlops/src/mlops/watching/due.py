"""Which models are due for a new version, and why; and what holds them? Values only, standard library.

A model is due when its data has reached the age that `[retrain] every_days` allows, when `watch` raised an alarm that
`[retrain] on` names, or when it found the new rows that `[retrain] new_rows` asks for. What is due by itself is held by
a freeze, by an open retraining pull request, and during the cooldown after the last attempt. What a person asks for is
held by nothing.
"""

import datetime as dt
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mlops.config import Retrain
from mlops.errors import counted

SPREAD = 7
"""Most days by which a schedule comes early, so that many models do not come at once."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `model.toml` says of one model."""

    model: str
    as_of: dt.date
    retrain: Retrain


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known beside, by model: alarms (kind to sentence), the open pull request, the day of the last attempt."""

    alarms: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    open: Mapping[str, str] = field(default_factory=dict)
    attempted: Mapping[str, dt.date] = field(default_factory=dict)
    asked: Mapping[str, str] = field(default_factory=dict)
    """What a person wants trained, with the reason."""
    freeze: str = ""
    """Why no model of the repository is trained by itself now."""


@dataclass(frozen=True)
class Due:
    """A model and why it is due; `held` says what keeps it from being trained, and is empty when nothing does."""

    model: str
    reasons: tuple[str, ...]
    held: str = ""


def plan(settings: Iterable[Settings], known: Known, *, today: dt.date) -> list[Due]:
    """Every model for which there is a reason, sorted by name."""
    found = []
    for one in settings:
        reasons = _reasons(one, known, today)
        if reasons:
            found.append(Due(one.model, reasons, _held(one, known, today)))
    return sorted(found, key=lambda due: due.model)


def early(model: str, every_days: int) -> int:
    """By how many days a model's schedule comes early: always the same for one name, and less for short intervals."""
    return zlib.crc32(model.encode()) % max(1, min(SPREAD, every_days // 4))


def _reasons(one: Settings, known: Known, today: dt.date) -> tuple[str, ...]:
    reasons = []
    if one.model in known.asked:
        reasons.append(f"asked for: {known.asked[one.model]}")
    every, age = one.retrain.every_days, (today - one.as_of).days
    if every and age >= every - early(one.model, every):
        reasons.append(
            f"its data is of {one.as_of}, {counted(age, 'day')} ago; the schedule is {counted(every, 'day')}"
        )
    alarms = known.alarms.get(one.model, {})
    causes = [*one.retrain.on, *(["data"] if one.retrain.new_rows else [])]
    reasons += [f"{kind}: {alarms[kind]}" for kind in causes if kind in alarms]
    return tuple(reasons)


def _held(one: Settings, known: Known, today: dt.date) -> str:
    """What holds a model that is due; the first thing that does."""
    if one.model in known.asked:
        return ""
    if known.freeze:
        return f"retraining is frozen: {known.freeze}"
    if one.retrain.freeze:
        return f"its retraining is frozen: {one.retrain.freeze}"
    if one.model in known.open:
        return f"a retraining pull request is open: {known.open[one.model]}"
    last, cooldown = known.attempted.get(one.model), one.retrain.cooldown_days
    if last is not None and (today - last).days < cooldown:
        return f"the last attempt was on {last}, and the cooldown is {counted(cooldown, 'day')}"
    return ""
