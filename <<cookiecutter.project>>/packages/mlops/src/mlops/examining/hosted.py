"""What has GitHub of this repository? Many small questions, side by side; one that is refused costs its answer only."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from mlops import branch, github
from mlops.errors import Refusal
from mlops.examining.facts import Hosting, Names, NotAsked, Schedule
from mlops.examining.settings import KEPT
from mlops.github import About, Failure
from mlops.publishing import harden
from mlops.retraining.heartbeat import SCHEDULED

WORKFLOWS = ("ci.yml", "cd.yml", "ct.yml", "watch.yml")
AT_ONCE = 8
Fact = TypeVar("Fact")


def ask(root: Path) -> Hosting | NotAsked:
    """Everything that the rules judge; `NotAsked` where GitHub says nothing at all of this repository."""
    about = _fact(github.about)
    if isinstance(about, NotAsked):
        return about
    with ThreadPoolExecutor(AT_ONCE) as pool:

        def later(question: Callable[[], Fact]) -> Callable[[], Fact | NotAsked]:
            return pool.submit(_fact, question).result

        places = later(github.places)
        schedules = {one: later(partial(_schedule, one)) for one in SCHEDULED}
        runs = {
            # What is proposed runs on its own branch.
            one: later(partial(github.last_run, one, branch=None if one == "ci.yml" else about.default_branch))
            for one in WORKFLOWS
        }
        rulesets, owners = later(partial(harden.differences, root)), later(github.codeowners_problems)
        actions, token = later(github.allowed_actions), later(github.token_settings)
        subject, has_storage = later(github.subject), later(partial(github.has_branch, branch.NAME))
        found = places()
        there = [] if isinstance(found, NotAsked) else [name for name in KEPT if name in found]
        scopes = {name: later(partial(_names, name, about)) for name in ["", *there]}
        return Hosting(
            about=about,
            actions=actions(),
            token=token(),
            schedules={name: one() for name, one in schedules.items()},
            runs={name: one() for name, one in runs.items()},
            rulesets=rulesets(),
            owners=_tuple(owners()),
            places=found,
            names=_together({name: one() for name, one in scopes.items()}),
            subject=subject(),
            has_storage=has_storage(),
        )


def _fact(question: Callable[[], Fact]) -> Fact | NotAsked:
    try:
        return question()
    except Failure as failure:
        if failure.status in (401, 403, 404):
            return NotAsked(f"The token may not read it: {failure.what}", failure.do)
        return NotAsked(failure.what, failure.do)
    except Refusal as refusal:
        return NotAsked(refusal.what, refusal.do)
    except (KeyError, TypeError, AttributeError) as error:
        # A server of one's own may be older than this.
        return NotAsked(f"GitHub answers in a form that is not known here: {type(error).__name__} {error}.")


def _schedule(workflow: str) -> Schedule:
    return Schedule(is_off=github.is_off(workflow), last=github.last_scheduled(workflow))


def _names(environment: str, about: About) -> Names:
    variables, secrets = github.variables(environment), set(github.secrets(environment))
    if not environment and about.belongs_to_organisation:
        variables = github.shared_variables() | variables
        secrets |= set(github.shared_secrets())
    return Names(variables=variables, secrets=frozenset(secrets))


def _together(names: Mapping[str, Names | NotAsked]) -> Mapping[str, Names] | NotAsked:
    """All of them: what is missing in one place may be kept in another one."""
    for one in names.values():
        if isinstance(one, NotAsked):
            return one
    return {name: one for name, one in names.items() if isinstance(one, Names)}


def _tuple(found: list[str] | NotAsked) -> tuple[str, ...] | NotAsked:
    return found if isinstance(found, NotAsked) else tuple(found)
