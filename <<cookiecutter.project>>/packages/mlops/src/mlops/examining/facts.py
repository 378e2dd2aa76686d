"""What is known when a repository is examined? Frozen values, some of which could not be asked for."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from mlops.deploying.environments import Environment
from mlops.github import About, LastRun, Place, Subject


@dataclass(frozen=True)
class NotAsked:
    """Something that is not known, and why; it never counts as good."""

    why: str
    do: str = ""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """This machine."""

    python: str
    programs: frozenset[str]
    """Which of the programs that the commands start are found."""
    is_set_up: bool
    """Whether the packages are installed."""
    free: int
    """Bytes that are free on the repository's disk."""
    engine: str | NotAsked
    """Why no Docker engine answers; empty when one does."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """One folder in `models/`."""

    name: str
    problem: str = ""
    """Why its `model.toml` cannot be read; the rest is not known then."""
    cure: str = ""
    as_of: dt.date = dt.date.min
    every_days: int = 0
    log: str = ""
    auto_merge: bool = False
    is_trained: bool = False
    outdated: tuple[str, ...] | NotAsked = ()
    """The stages whose inputs differ from what the lock says."""


@dataclass(frozen=True, kw_only=True)
class Project:
    """The repository as it lies here."""

    is_committed: bool
    is_locked: bool
    """Whether `uv.lock` is there and git knows it."""
    has_origin: bool
    remote: str
    """DVC's default remote by its name; empty where there is none."""
    address: str
    """Where that remote is."""
    problem: str = ""
    """Why DVC's settings cannot be read."""
    owners: str | None
    """The text of CODEOWNERS."""
    environments: Mapping[str, Environment | str]
    """The pages in `deploy/environments`; a text says why one cannot be read."""
    models: tuple[ModelFacts, ...]


@dataclass(frozen=True, kw_only=True)
class Names:
    """Variables with their values, and the names of secrets: no value of a secret can be asked for."""

    variables: Mapping[str, str]
    secrets: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A workflow that GitHub starts by itself."""

    is_off: bool
    last: str | None
    """When it last did, in UTC as ISO 8601."""


@dataclass(frozen=True, kw_only=True)
class Hosting:
    """The repository as GitHub has it."""

    about: About
    actions: tuple[bool, str] | NotAsked
    """Whether workflows run at all, and which actions they may use."""
    token: tuple[str, bool] | NotAsked
    """What the workflows' own token may do unless they say it, and whether it may open pull requests."""
    schedules: Mapping[str, Schedule | NotAsked]
    runs: Mapping[str, LastRun | NotAsked | None]
    """How each workflow last ended."""
    rulesets: Mapping[str, tuple[str, ...] | None] | NotAsked
    """In which lines each ruleset of this repository differs on GitHub; None where GitHub does not have it."""
    owners: tuple[str, ...] | NotAsked
    """What GitHub cannot use in CODEOWNERS."""
    places: Mapping[str, Place] | NotAsked
    """GitHub's environments."""
    names: Mapping[str, Names] | NotAsked
    """What is set, by environment; under the empty name what is set for the whole repository."""
    subject: Subject | NotAsked
    """How its runs call themselves where they prove to a cloud who they are."""
    has_storage: bool | NotAsked
    """Whether the branch of the storage is there."""
