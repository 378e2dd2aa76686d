"""What can serve, and what is on record about it at the place where it serves: values and their JSON.

A release moves as one thing: model, code and schema are all in its image.
"""

import datetime as dt
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Protocol, get_args

from mlops.deploying.environments import Strategy
from mlops.errors import Refusal

FORMAT = 1

KEPT = 5
"""Releases that a rollback can go to."""

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

Outcome = Literal["deployed", "rolled back", "unchanged"]
Say = Callable[[str], None]
"""Tells whoever waits what is being done, one sentence at a time."""

Action = Literal["start", "ready", "prove", "route", "observe", "commit", "drain", "stop", "remove", "tidy"]


@dataclass(frozen=True, kw_only=True)
class Release:
    """One thing that can serve."""

    model: str
    version: str
    """The first 12 hex digits of the manifest's sha256, as everywhere."""
    image: str
    """`name@sha256:…` in a registry, or `sha256:…`, an image id of the engine at hand."""
    commit: str
    """The commit that was packaged."""

    @property
    def unit(self) -> str:
        """A name for its containers: the same version in another image is another unit."""
        return f"{self.version}-{self.image.rpartition(':')[2][:6]}"


@dataclass(frozen=True, kw_only=True)
class Server:
    """One container that requests go to; of all weights together it gets its part."""

    unit: str
    replica: int
    weight: int = 100

    @property
    def name(self) -> str:
        """Its name on the network and in the proxy."""
        return f"v{self.unit}-{self.replica}"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing to do, which can be done again without harm."""

    do: Action
    unit: str = ""
    """What is started, asked or stopped; for `observe` and `commit` the release that is new."""
    replica: int = 0
    servers: tuple[Server, ...] = ()
    """For `route`: where requests go from then on."""
    share: int = 0
    """For `observe`: the percentage of the requests that the new release gets."""
    keep: tuple[str, ...] = ()
    """For `tidy`: the units whose containers stay."""
    images: tuple[str, ...] = ()
    """For `tidy`: images that nothing can go back to any more."""

    @property
    def text(self) -> str:
        """The step, for a person."""
        version = self.unit.partition("-")[0]
        match self.do:
            case "start" | "stop" | "remove":
                return f"{self.do} {version}, replica {self.replica}"
            case "ready":
                return f"wait until {version} is ready, replica {self.replica}"
            case "prove":
                return f"try {version}: smoke, contract, load"
            case "route":
                return f"send requests to {', '.join(self._parts()) or 'nothing'}"
            case "observe":
                return f"observe {version} with {self.share} % of the requests"
            case "commit":
                return f"{version} is what serves"
            case "drain":
                return "wait for the last answers"
            case "tidy":
                return "remove what nothing goes back to"

    def _parts(self) -> list[str]:
        whole = sum(one.weight for one in self.servers)
        units = dict.fromkeys(one.unit for one in self.servers)
        parts = {unit: sum(one.weight for one in self.servers if one.unit == unit) for unit in units}
        return [f"{unit.partition('-')[0]} ({100 * part / whole:.0f} %)" for unit, part in parts.items()]


@dataclass(frozen=True, kw_only=True)
class Pending:
    """A change that was begun: written before each step, so that whoever comes next knows where it stands."""

    release: Release
    strategy: str
    """How it is made: a strategy, `rollback`, or `replicas`."""
    step: int
    """The step that is being made, from 0, of `steps`, or of `back` while it is undone."""
    started: str
    by: str
    steps: tuple[Step, ...]
    back: tuple[Step, ...]
    """What undoes it as long as it is not committed."""
    undoing: str = ""
    """Why it is undone; empty while it goes forward."""
    asked: str = ""
    """Why a person wanted a rollback; empty where none did."""

    @property
    def left(self) -> tuple[Step, ...]:
        """All steps of the way that it goes."""
        return self.back if self.undoing else self.steps


@dataclass(frozen=True, kw_only=True)
class State:
    """What serves one model in one environment, what served before, and what was begun."""

    model: str
    current: Release | None = None
    previous: tuple[Release, ...] = ()
    """What a rollback may go to, in the order in which it would; one that was rolled back from comes last."""
    pending: Pending | None = None
    head: str = ""
    """The digest of the last line of the audit log, so that a log that was cut short is noticed."""

    @property
    def committed(self) -> bool:
        """Whether what was begun serves already, so that it is finished and not undone."""
        one = self.pending
        changes = one is not None and any(step.do == "commit" for step in one.steps)
        return one is not None and changes and self.current is not None and self.current.unit == one.release.unit

    def release(self, unit: str) -> Release | None:
        """The release of that unit, when it is on record."""
        known = [self.current, self.pending.release if self.pending else None, *self.previous]
        return next((one for one in known if one is not None and one.unit == unit), None)

    @property
    def earlier(self) -> tuple[str, ...]:
        """What a rollback can go to, as a person names it: by the version, or by the unit where it has two images."""
        known = [one.version for one in (self.current, *self.previous) if one is not None]
        return tuple(one.version if known.count(one.version) == 1 else one.unit for one in self.previous)

    def to_json(self) -> dict[str, Any]:
        """As it is stored."""
        return {
            "format": FORMAT,
            "model": self.model,
            "current": asdict(self.current) if self.current else None,
            "previous": [asdict(one) for one in self.previous],
            "pending": _pending_json(self.pending) if self.pending else None,
            "head": self.head,
        }


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a deployment or a rollback came to, in a sentence."""

    outcome: Outcome
    sentence: str
    release: Release | None = None
    """What serves now."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What else a machine may want to know: the version that was `left`, and the `seconds` of a rollback."""


@dataclass(frozen=True)
class Clock:
    """Where time comes from."""

    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, kw_only=True)
class Author:
    """Who asks for a change, for the lock and the audit log."""

    name: str
    run: str = ""
    """The address of the workflow run; empty on a laptop."""
    override: str = ""
    """Why a freeze is passed; empty where there is none."""


class Target(Protocol):
    """A place where releases serve."""

    def deploy(self, release: Release, *, strategy: str, say: Say) -> Result:
        """Let a release serve, or come back to what served; `Refusal` when nothing was changed."""

    def rollback(self, *, model: str, to: str | None, reason: str, say: Say) -> Result:
        """Let an earlier release serve again: the given version, or the one before."""

    def state(self, model: str) -> State | None:
        """What is on record; None where the model was never deployed."""

    def audit(self, model: str) -> list[str]:
        """The lines of the audit log, the oldest first."""

    def shares(self, model: str) -> dict[str, float]:
        """The percentage of the requests that each running version gets."""

    def healthy(self, model: str) -> tuple[int, int]:
        """How many containers of what serves are ready, and how many there are."""


def read_state(value: Any, *, where: str) -> State:
    """The state in its stored form; one that this code did not write is refused."""
    try:
        if value["format"] != FORMAT:
            raise Refusal(
                f"The state in {where} has the format {value['format']!r}, and this mlops knows {FORMAT}.",
                do="Use the mlops that wrote it, or a newer one.",
            )
        return State(
            model=str(value["model"]),
            current=_release(value["current"]) if value["current"] else None,
            previous=tuple(_release(one) for one in value["previous"]),
            pending=_pending(value["pending"]) if value["pending"] else None,
            head=str(value["head"]),
        )
    except (KeyError, TypeError, AttributeError):
        raise Refusal(
            f"The state in {where} is not one that mlops wrote.",
            do="Look at it; without that file the next deployment starts as if it were the first.",
        ) from None


def committed(state: State, release: Release) -> State:
    """The state when a new release serves: what served before is the first to go back to."""
    old = () if state.current is None else (state.current,)
    known = [one for one in (*old, *state.previous) if one.unit != release.unit]
    return replace(state, current=release, previous=tuple(known[:KEPT]))


def returned(state: State, release: Release) -> State:
    """The state after a rollback: the one that was left is the last to go back to, because it was not wanted."""
    known = [one for one in state.previous if one.unit != release.unit]
    left = () if state.current is None or state.current.unit == release.unit else (state.current,)
    return replace(state, current=release, previous=(*known[: KEPT - len(left)], *left))


def earlier(state: State, to: str | None) -> Release:
    """The release to go back to: of the version `to`, or the first on record; refuses what is not there."""
    if not state.previous:
        raise Refusal(f"{state.model} has no earlier version here.", do="Deploy one: `mlops deploy`.")
    if to is None:
        return state.previous[0]
    found = [one for one in state.previous if one.unit == to or one.version == to]
    if not found:
        raise Refusal(
            f"{state.model} cannot go back to {to[:50]!r}.", do=f"It can go back to {', '.join(state.earlier)}."
        )
    return found[0]


def left(before: State, now: Release | None) -> str:
    """The version that a rollback took away: what served, or else what was being deployed; empty for none."""
    known = (before.current, before.pending.release if before.pending else None)
    return next((one.version for one in known if one is not None and one != now), "")


def _release(value: Any) -> Release:
    return Release(**{key: str(value[key]) for key in ("model", "version", "image", "commit")})


def _step_json(step: Step) -> dict[str, Any]:
    full = asdict(step)
    return {key: value for key, value in full.items() if value not in ("", 0, ())}


def _step(value: Any) -> Step:
    given = dict(value)
    for key in ("keep", "images"):
        if key in given:
            given[key] = tuple(map(str, given[key]))
    if "servers" in given:
        given["servers"] = tuple(Server(**one) for one in given["servers"])
    return Step(**given)


def _pending_json(one: Pending) -> dict[str, Any]:
    return {
        **{key: getattr(one, key) for key in ("strategy", "step", "started", "by", "undoing", "asked")},
        "release": asdict(one.release),
        "steps": [_step_json(step) for step in one.steps],
        "back": [_step_json(step) for step in one.back],
    }


def _pending(value: Any) -> Pending:
    return Pending(
        release=_release(value["release"]),
        strategy=str(value["strategy"]),
        step=int(value["step"]),
        started=str(value["started"]),
        by=str(value["by"]),
        undoing=str(value["undoing"]),
        asked=str(value["asked"]),
        steps=tuple(map(_step, value["steps"])),
        back=tuple(map(_step, value["back"])),
    )
