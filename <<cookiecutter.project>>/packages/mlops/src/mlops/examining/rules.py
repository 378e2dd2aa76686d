"""What is right, what is still to do, and what is broken? From facts to findings, in the order in which they are shown.

To do is what nobody has done yet; broken is what was set up and does not hold, or what stops a loop. Whatever could not
be asked is neither, and never ok.
"""

import datetime as dt
import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mlops.deploying.environments import Environment
from mlops.errors import counted
from mlops.examining.facts import Hosting, Machine, Names, NotAsked, Project, Schedule
from mlops.examining.settings import SETTINGS, STORAGE
from mlops.github import Place
from mlops.releasing.command import ADDRESSES
from mlops.retraining.heartbeat import is_silent
from mlops.workspace import listing

Outcome = Literal["ok", "to do", "broken", "not asked"]

LITTLE, ENOUGH = 10**9, 5 * 10**9
"""Bytes of free disk under which a training may fail, and above which none of this repository's does."""
GIT = "dvc-storage"
"""The remote, and the branch, of a storage in git."""
PLACEHOLDER = "@my-org/ml-team"
"""The owner whom the template proposes."""
PULL = "refs/pull/7/merge"
"""Where a pull request runs, as an environment sees it."""

SETTINGS_OF_ACTIONS = "Settings, Actions, General"
"""A page of the repository on GitHub."""
_GONE_RED = {"failure", "timed_out", "startup_failure", "action_required"}


@dataclass(frozen=True)
class Finding:
    """What one check says: of what, how it is, why, and what to do."""

    check: str
    outcome: Outcome
    sentence: str
    do: str = ""


def unknown(check: str, fact: NotAsked) -> Finding:
    """What could not be asked."""
    return Finding(check, "not asked", fact.why, fact.do)


def machine(facts: Machine, project: Project) -> Iterator[Finding]:
    """This machine: may the commands of the Makefile run here?"""
    yield Finding("Python", "ok", f"This is Python {facts.python}.")
    if "make" in facts.programs:
        yield Finding("programs", "ok", "git and make are here.")
    else:
        yield Finding("programs", "to do", "make cannot be found.", "Install make, or type what the Makefile says.")
    if facts.is_set_up:
        yield Finding("packages", "ok", "They are installed.")
    else:
        yield Finding("packages", "to do", "They are not installed.", "make setup")
    free = f"{facts.free / 10**9:.1f} GB are free."
    disk: Outcome = "broken" if facts.free < LITTLE else "to do" if facts.free < ENOUGH else "ok"
    yield Finding("disk", disk, free, "" if disk == "ok" else "Free some: data, models and images need room.")
    pages = [page for page in project.environments.values() if isinstance(page, Environment)]
    if any(page.target == "docker" and page.host is not None for page in pages):
        yield _docker(facts)
    if any(page.target == "kubernetes" and page.host is not None for page in pages):
        if "kubectl" in facts.programs:
            yield Finding("kubectl", "ok", "It is here.")
        else:
            yield Finding("kubectl", "to do", "It cannot be found, so nothing is deployed from here.", "Install it.")


def _docker(facts: Machine) -> Finding:
    do = "Install Docker, or start it; only images and deployments from this machine need it."
    if "docker" not in facts.programs:
        return Finding("Docker", "to do", "It is not installed.", do)
    if isinstance(facts.engine, NotAsked):
        return unknown("Docker", facts.engine)
    if facts.engine:
        return Finding("Docker", "to do", f"No engine answers: {facts.engine}", do)
    return Finding("Docker", "ok", "An engine answers.")


def project(facts: Project, *, today: dt.date) -> Iterator[Finding]:
    """The repository as it lies here: what would the loops find in it?"""
    if not facts.is_committed:
        yield Finding("git", "to do", "Nothing has been committed.", "git add --all && git commit")
    elif not facts.is_locked:
        do = "make setup && git add uv.lock && git commit"
        yield Finding("git", "to do", "uv.lock is not committed, so CI does not know what to install.", do)
    else:
        yield Finding("git", "ok", "Everything that CI needs before it starts is committed.")
    yield _storage(facts)
    yield from _models(facts, today)
    if facts.owners is None:
        yield Finding("CODEOWNERS", "broken", "There is none: nobody is asked.", "Restore .github/CODEOWNERS.")
    elif re.search(rf"(?m)^[^#\n]*{re.escape(PLACEHOLDER)}(?!\S)", facts.owners):
        do = "Name people or a team that may write here in .github/CODEOWNERS."
        yield Finding("CODEOWNERS", "to do", f"{PLACEHOLDER} is the template's example, and nobody.", do)
    else:
        yield Finding("CODEOWNERS", "ok", "It names people of your own.")
    if wrong := [page for page in facts.environments.values() if isinstance(page, str)]:
        yield from (Finding("environments", "broken", sentence, "Mend that page.") for sentence in wrong)
    else:
        yield Finding("environments", "ok", f"{counted(len(facts.environments), 'page')} can be read.")


def _storage(facts: Project) -> Finding:
    if not facts.remote or not facts.address:
        do = "`git diff .dvc` shows what changed; docs/how-to/change-storage.md says how to choose one."
        what = facts.problem or "DVC has no remote: nothing that is trained can be kept."
        return Finding("storage", "broken", what, do)
    if facts.remote == GIT:
        where = "on the branch dvc-storage of origin" if facts.has_origin else "in a folder here, for want of an origin"
        return Finding("storage", "ok", f"Data and versions are kept {where}.")
    if "://" not in facts.address:
        return Finding("storage", "ok", f"Data and versions are kept in the folder {facts.address}.")
    do = "`mlops pull` asks it."
    return Finding("storage", "not asked", f"Whether {facts.address} answers is known to DVC only.", do)


def _models(facts: Project, today: dt.date) -> Iterator[Finding]:
    if not facts.models:
        yield Finding("models", "to do", "There is none yet.", "make new-model NAME=name")
        return
    if broken := [one for one in facts.models if one.problem]:
        yield from (Finding("models", "broken", one.problem, one.cure) for one in broken)
    read = [one for one in facts.models if not one.problem]
    if len(read) == len(facts.models):
        every = "its model.toml" if len(read) == 1 else "each model.toml"
        yield Finding("models", "ok", f"{counted(len(read), 'model')}, and {every} can be read.")
    if untrained := [one.name for one in read if not one.is_trained]:
        do = f"make verdict MODEL={untrained[0]}"
        yield Finding("versions", "to do", f"No version of {listing(untrained)} was ever locked.", do)
    trained = [one for one in read if one.is_trained]
    if not trained:
        return
    differing = [one.name for one in trained if one.outdated and not isinstance(one.outdated, NotAsked)]
    unasked = [one.outdated for one in trained if isinstance(one.outdated, NotAsked)]
    if differing:
        do = f"make verdict MODEL={differing[0]}, then commit; CD refuses what does not match."
        yield Finding("locks", "to do", f"Inputs of {listing(differing)} differ from what dvc.lock says.", do)
    elif not unasked:
        yield Finding("locks", "ok", "Every locked version matches its inputs.")
    yield from (unknown("locks", one) for one in dict.fromkeys(unasked))
    late = [one.name for one in trained if one.every_days and (today - one.as_of).days > one.every_days]
    if late:
        sentence = f"The data of {listing(late)} is older than retrain.every_days."
        yield Finding("data", "to do", sentence, f"Look whether CT runs; here: make refresh MODEL={late[0]}")
    else:
        yield Finding("data", "ok", "No data is older than its schedule allows.")
    if silent := [one.name for one in trained if not one.log]:
        do = "Name it as watch.log in model.toml: docs/how-to/retrain.md."
        sentence = f"{listing(silent)} {'names' if len(silent) == 1 else 'name'} no prediction log: nothing is watched."
        yield Finding("watch", "to do", sentence, do)
    else:
        yield Finding("watch", "ok", "Every trained model names its prediction log.")


def hosting(facts: Hosting, here: Project, *, now: dt.datetime) -> Iterator[Finding]:
    """GitHub: may the workflows do what the loops ask of them?"""
    yield from _actions(facts)
    for workflow, schedule in facts.schedules.items():
        yield unknown("schedules", schedule) if isinstance(schedule, NotAsked) else _schedule(workflow, schedule, now)
    yield from _runs(facts)
    yield from _rules(facts)
    is_used = any(one.log for one in here.models)
    if facts.about.has_issues:
        yield Finding("issues", "ok", "Alarms can be told as issues.")
    elif is_used or any(one.every_days for one in here.models):
        yield Finding("issues", "broken", "Issues are off, so nobody hears of an alarm.", "Settings, General, Issues")
    if not facts.about.merges_by_itself and (merging := [one.name for one in here.models if one.auto_merge]):
        sentence = f"{listing(merging)} shall merge by itself, and the repository does not allow that."
        yield Finding("auto-merge", "broken", sentence, "Settings, General, Allow auto-merge")
    if here.remote == GIT:
        yield _branch(facts, here)
    else:
        yield from _identities(facts)
    if isinstance(facts.names, NotAsked):
        yield unknown("settings", facts.names)
        return
    yield from _settings(facts.names)
    yield from _targets(facts, here, facts.names)


def _actions(facts: Hosting) -> Iterator[Finding]:
    if isinstance(facts.actions, NotAsked):
        yield unknown("Actions", facts.actions)
    elif not facts.actions[0]:
        yield Finding("Actions", "broken", "Workflows are switched off.", f"{SETTINGS_OF_ACTIONS}: allow them.")
    elif facts.actions[1] == "local_only":
        do = f"{SETTINGS_OF_ACTIONS}: allow actions of others; each is pinned by its commit."
        yield Finding("Actions", "broken", "Workflows may use no action from elsewhere.", do)
    else:
        yield Finding("Actions", "ok", "Workflows run.")
    if isinstance(facts.token, NotAsked):
        yield unknown("pull requests", facts.token)
        return
    default, may_propose = facts.token
    if may_propose:
        yield Finding("pull requests", "ok", "Workflows may open them.")
    elif not isinstance(facts.names, NotAsked) and "APP_CLIENT_ID" in _all(facts.names).variables:
        yield Finding("pull requests", "ok", "A GitHub App opens them.")
    else:
        do = f"{SETTINGS_OF_ACTIONS}: Allow GitHub Actions to create and approve pull requests; or a GitHub App."
        yield Finding("pull requests", "to do", "Workflows may not open any: CT leaves an issue with a link.", do)
    if default == "read":
        yield Finding("token", "ok", "The workflows' token may only read, unless a job says more.")
    else:
        do = f"{SETTINGS_OF_ACTIONS}, Workflow permissions: Read repository contents."
        yield Finding("token", "to do", "A job that says nothing of permissions may write.", do)


def _schedule(workflow: str, schedule: Schedule, now: dt.datetime) -> Finding:
    if schedule.is_off:
        return Finding("schedules", "broken", f"{workflow} is switched off.", f"gh workflow enable {workflow}")
    if schedule.last is None:
        do = f"Look again tomorrow; until then: gh workflow run {workflow}"
        return Finding("schedules", "to do", f"The schedule of {workflow} has started nothing yet.", do)
    if is_silent(schedule.last, now):
        do = f"gh workflow disable {workflow} && gh workflow enable {workflow}"
        sentence = f"The schedule of {workflow} has started nothing since {schedule.last[:10]}."
        return Finding("schedules", "broken", sentence, do)
    return Finding("schedules", "ok", f"{workflow} was started on {schedule.last[:10]}.")


def _runs(facts: Hosting) -> Iterator[Finding]:
    for workflow, run in facts.runs.items():
        if isinstance(run, NotAsked):
            yield unknown("runs", run)
        elif run is None:
            yield Finding("runs", "to do", f"{workflow} has not run yet.")
        elif run.conclusion in _GONE_RED:
            # A change that CI refuses is refused rightly, as far as anybody knows here.
            is_judged = workflow == "ci.yml" and run.conclusion == "failure"
            sentence = f"The last run of {workflow} ended with {run.conclusion.replace('_', ' ')}."
            yield Finding("runs", "to do" if is_judged else "broken", sentence, run.url)
        else:
            yield Finding("runs", "ok", f"The last run of {workflow} ended with {run.conclusion.replace('_', ' ')}.")


def _rules(facts: Hosting) -> Iterator[Finding]:
    if isinstance(facts.rulesets, NotAsked):
        yield unknown("rules", facts.rulesets)
    else:
        missing = [name for name, diff in facts.rulesets.items() if diff is None]
        weaker = [name for name, diff in facts.rulesets.items() if diff]
        if missing:
            sentence = f"GitHub does not have {listing(missing)}: who may push can push past every gate."
            yield Finding("rules", "to do", sentence, "make harden")
        if weaker:
            do = "make harden DRY_RUN=1 shows it, make harden mends it."
            yield Finding("rules", "broken", f"{listing(weaker)} on GitHub is not what .github/rulesets says.", do)
        if not missing and not weaker:
            yield Finding("rules", "ok", "GitHub has the rules of .github/rulesets.")
    if isinstance(facts.owners, NotAsked):
        yield unknown("code owners", facts.owners)
    elif facts.owners:
        do = "Name people or a team that may write here in .github/CODEOWNERS."
        yield Finding("code owners", "broken", f"Nobody is asked: {facts.owners[0]}", do)
    else:
        yield Finding("code owners", "ok", "GitHub finds them.")


def _branch(facts: Hosting, here: Project) -> Finding:
    if isinstance(facts.has_storage, NotAsked):
        return unknown("branch", facts.has_storage)
    if facts.has_storage:
        return Finding("branch", "ok", "The branch dvc-storage is there.")
    trained = [one.name for one in here.models if one.is_trained]
    if trained:
        sentence = f"There is no branch dvc-storage, so nobody else has the bytes of {listing(trained)}."
        return Finding("branch", "to do", sentence, f"make push MODEL={trained[0]}")
    return Finding("branch", "ok", "The branch dvc-storage will be made with the first version.")


def _identities(facts: Hosting) -> Iterator[Finding]:
    """A bucket is reached by proving who one is."""
    if isinstance(facts.names, NotAsked):
        return
    if not set(STORAGE) & set(_all(facts.names).variables):
        do = "docs/how-to/set-up-github.md, A bucket."
        yield Finding("identities", "to do", "No job can sign in to the bucket: STORAGE_READER is not set.", do)
        return
    subject = facts.subject
    if isinstance(subject, NotAsked):
        yield unknown("identities", subject)
        return
    do = ".github/oidc/README.md asks for the usual form, and says which policies to fill with it."
    if not subject.is_default:
        sentence = "Runs name themselves in a form of this repository's own, which no policy of .github/oidc trusts."
        yield Finding("identities", "broken", sentence, do)
    elif "@" not in subject.prefix:
        sentence = "Runs name themselves without the ids of owner and repository, which a renamed one keeps."
        yield Finding("identities", "to do", sentence, do)
    else:
        yield Finding("identities", "ok", f"Runs call themselves {subject.prefix}:…; the policies must name that.")
    if not isinstance(facts.places, NotAsked) and (place := facts.places.get("storage")) and place.branches is not None:
        yield _storage_place(place.branches)


def _storage_place(branches: Sequence[str]) -> Finding:
    if any(fnmatch.fnmatchcase(PULL, pattern) for pattern in branches):
        return Finding("environment storage", "ok", "Pull requests may enter it.")
    do = "Settings, Environments, storage: allow refs/pull/*/merge too."
    return Finding("environment storage", "broken", "No pull request may enter it, so no version is stored.", do)


def _settings(names: Mapping[str, Names]) -> Iterator[Finding]:
    problems = []
    for one in SETTINGS:
        missing = [need for need in one.needs if not _has(names, need)]
        if missing and _has(names, one.name):
            sentence = f"{one.name} is set, and {_and(missing)} {'is' if len(missing) == 1 else 'are'} not."
            do = "Settings, Secrets and variables, Actions: set it, or take the other away."
            problems.append(Finding("settings", "broken", sentence, do))
        for environment, scope in names.items():
            right, wrong = (scope.variables, scope.secrets)[:: 1 if one.kind == "variable" else -1]
            if one.name in wrong:
                other = "secret" if one.kind == "variable" else "variable"
                sentence = f"{one.name} is set as a {other}, where nobody reads it."
                problems.append(Finding("settings", "broken", sentence, f"Set it as a {one.kind}."))
            elif environment and one.name in right and environment not in one.environments:
                sentence = f"{one.name} is set in the environment {environment}, where nobody reads it."
                problems.append(Finding("settings", "broken", sentence, "Set it for the whole repository."))
    yield from dict.fromkeys(problems)
    if not problems:
        yield Finding("settings", "ok", "Every variable and secret that is set has what it needs.")
    for name, what in (("DEPLOY_FREEZE", "Nothing is deployed"), ("RETRAIN_FREEZE", "Nothing is trained by itself")):
        if reason := _all(names).variables.get(name):
            yield Finding("freeze", "to do", f"{what}: {reason}", f"Take the variable {name} away when that is over.")


def _targets(facts: Hosting, here: Project, names: Mapping[str, Names]) -> Iterator[Finding]:
    """What is deployed to by workflows."""
    is_shipped = False
    for name, variable in ADDRESSES.items():
        page = here.environments.get(name)
        if not isinstance(page, Environment):
            continue
        address = names[""].variables.get(variable) or page.host
        if not address:
            do = f"Set the variable {variable}: docs/how-to/ship-a-model.md."
            yield Finding(name, "to do", "It has no address, so nothing is deployed there.", do)
            continue
        is_shipped = True
        if isinstance(facts.places, NotAsked):
            yield unknown(name, facts.places)
        else:
            yield from _target(name, page, address, facts.places.get(name), names)
    if is_shipped and facts.about.is_private:
        if names[""].variables.get("ATTESTATIONS") == "off":
            yield Finding("attestations", "ok", "Images are deployed without, as the variable ATTESTATIONS says.")
        else:
            sentence = (
                "GitHub keeps them for private repositories with Enterprise Cloud only; without, nothing is deployed."
            )
            do = "gh variable set ATTESTATIONS --body off, unless you have it."
            yield Finding("attestations", "to do", sentence, do)


def _target(
    name: str, page: Environment, address: str, place: Place | None, names: Mapping[str, Names]
) -> Iterator[Finding]:
    problems = []
    where = f"Settings, Environments, {name}"
    scope = _all({key: names[key] for key in ("", name) if key in names})
    if page.target == "docker" and address.startswith("ssh://"):
        there = {*scope.variables, *scope.secrets}
        if missing := [one for one in ("DEPLOY_SSH_KEY", "DEPLOY_KNOWN_HOSTS") if one not in there]:
            sentence = f"It is reached over ssh, and {_and(missing)} {'is' if len(missing) == 1 else 'are'} not set."
            problems.append(Finding(name, "broken", sentence, f"{where}: docs/how-to/ship-a-model.md."))
    if page.target == "kubernetes" and "DEPLOY_KUBECONFIG" not in scope.secrets:
        sentence = "DEPLOY_KUBECONFIG is not set, so only a cloud's own login reaches the cluster."
        problems.append(Finding(name, "to do", sentence, f"{where}: docs/how-to/deploy-to-kubernetes.md."))
    if place is None or place.branches is None:
        sentence = "Every branch may be deployed there."
        problems.append(Finding(name, "to do", sentence, f"{where}, Deployment branches: only the default branch."))
    if name == "production" and not (place and place.is_reviewed):
        problems.append(Finding(name, "to do", "Nobody is asked before a deployment.", f"{where}, Required reviewers"))
    yield from problems or [Finding(name, "ok", f"{address} can be deployed to.")]


def _has(names: Mapping[str, Names], name: str) -> bool:
    return name in _all(names).variables or name in _all(names).secrets


def _all(names: Mapping[str, Names]) -> Names:
    """What is set anywhere."""
    return Names(
        variables={name: value for one in names.values() for name, value in one.variables.items()},
        secrets=frozenset(name for one in names.values() for name in one.secrets),
    )


def _and(words: Sequence[str]) -> str:
    return " and ".join(words)
