"""The verb `doctor`: every check sees what it is there for, and what nobody could ask is never said to be good."""

import dataclasses
import datetime as dt
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from hub import Hub
from test_reporting_command import bare

from mlops.deploying.environments import Environment
from mlops.examining import hosted, local, rules
from mlops.examining.command import doctor
from mlops.examining.facts import Hosting, Machine, ModelFacts, Names, NotAsked, Project, Schedule
from mlops.examining.rules import Finding
from mlops.examining.settings import KEPT, SETTINGS, STORAGE
from mlops.github import About, LastRun, Place, Subject
from mlops.retraining.heartbeat import SCHEDULED

SOURCE = Path(hosted.__file__).resolve().parents[2]
NOW = dt.datetime(2026, 11, 21, 6, 0, tzinfo=dt.UTC)
NOT_ASKED = NotAsked("The token may not read it.", "Ask an owner.")
YESTERDAY, LONG_AGO = "2026-11-20T04:23:00Z", "2026-09-20T04:23:00Z"

MACHINE = Machine(python="3.12.3", programs=frozenset({"make", "docker"}), is_set_up=True, free=10**11, engine="")
TUMOUR = ModelFacts(
    name="tumour", as_of=dt.date(2026, 11, 1), every_days=30, log="log/*.jsonl", is_trained=True, outdated=()
)
HOST = "ssh://deploy@models.example.com"
PROJECT = Project(
    is_committed=True,
    is_locked=True,
    has_origin=True,
    remote="dvc-storage",
    address="storage",
    owners="* @acme/care\n",
    environments={
        "local": Environment(name="local", target="docker"),
        "staging": Environment(name="staging", target="docker", address=""),
        "production": Environment(name="production", target="docker", address=HOST),
    },
    models=(TUMOUR,),
)
BUCKET = dataclasses.replace(PROJECT, remote="storage", address="s3://acme-dvc")
CLUSTER = dataclasses.replace(
    PROJECT, environments={"production": Environment(name="production", target="kubernetes", address="here")}
)
KEYS = frozenset({"DEPLOY_SSH_KEY"})
HOSTING = Hosting(
    about=About(
        name="acme/models",
        default_branch="main",
        is_private=False,
        has_issues=True,
        merges_by_itself=True,
        belongs_to_organisation=True,
    ),
    actions=(True, "all"),
    token=("read", True),
    schedules={name: Schedule(is_off=False, last=YESTERDAY) for name in SCHEDULED},
    runs={name: LastRun(conclusion="success", url="https://example.com/1") for name in hosted.WORKFLOWS},
    rulesets={"default-branch": (), "dvc-storage": ()},
    owners=(),
    places={
        "staging": Place(is_reviewed=False, branches=("main",)),
        "production": Place(is_reviewed=True, branches=("main",)),
    },
    names={
        "": Names(variables={"STAGING_ADDRESS": HOST}, secrets=frozenset()),
        "staging": Names(variables={"DEPLOY_KNOWN_HOSTS": "x"}, secrets=KEYS),
        "production": Names(variables={"DEPLOY_KNOWN_HOSTS": "x"}, secrets=KEYS),
    },
    subject=Subject(prefix="repo:acme@1/models@2", is_default=True),
    has_storage=True,
)


def check(name: str, found: Any) -> list[tuple[str, str]]:
    """How one check ended, and what it says, in one line each."""
    return [(one.outcome, f"{one.sentence} {one.do}") for one in found if one.check == name]


def on_github(facts: Hosting = HOSTING, here: Project = PROJECT) -> list[Finding]:
    return list(rules.hosting(facts, here, now=NOW))


def with_names(variables: Any = (), secrets: Any = (), **places: Names) -> Hosting:
    """What is set for the whole repository, beside what the environments hold."""
    kept = Names(variables={"STAGING_ADDRESS": HOST, **dict(variables)}, secrets=frozenset(secrets))
    return dataclasses.replace(HOSTING, names={**HOSTING.names, "": kept, **places})  # type: ignore[dict-item]


def about(**changes: Any) -> Hosting:
    return dataclasses.replace(HOSTING, about=dataclasses.replace(HOSTING.about, **changes))


def model(**changes: Any) -> Project:
    return dataclasses.replace(PROJECT, models=(dataclasses.replace(TUMOUR, **changes),))


def test_where_everything_is_set_up_everything_is_ok() -> None:
    found = [*rules.machine(MACHINE, PROJECT), *rules.project(PROJECT, today=NOW.date()), *on_github()]
    assert [one for one in found if one.outcome != "ok"] == []
    assert all(one.sentence.endswith(".") and not one.do for one in found)
    assert len({one.check for one in found}) > 20


# One breaker for each check: facts in which it must not be ok.

HERE = {
    "no make": ("programs", {"programs": frozenset({"docker"})}, "to do", "make cannot be found"),
    "nothing installed": ("packages", {"is_set_up": False}, "to do", "make setup"),
    "a full disk": ("disk", {"free": 10**8}, "broken", "0.1 GB are free"),
    "a nearly full disk": ("disk", {"free": 3 * 10**9}, "to do", "3.0 GB are free"),
    "no Docker": ("Docker", {"programs": frozenset({"make"})}, "to do", "not installed"),
    "no engine": ("Docker", {"engine": "Cannot connect."}, "to do", "No engine answers: Cannot connect."),
    "a slow engine": ("Docker", {"engine": NOT_ASKED}, "not asked", "may not read"),
}


@pytest.mark.parametrize(("name", "change", "outcome", "said"), HERE.values(), ids=HERE)
def test_what_is_amiss_on_this_machine_is_seen(name: str, change: Any, outcome: str, said: str) -> None:
    ((found, sentence),) = check(name, rules.machine(dataclasses.replace(MACHINE, **change), PROJECT))
    assert found == outcome
    assert said in sentence


def test_kubectl_is_asked_for_where_a_cluster_is_deployed_to() -> None:
    assert check("kubectl", rules.machine(MACHINE, PROJECT)) == []
    assert check("Docker", rules.machine(MACHINE, CLUSTER)) == []
    ((outcome, _),) = check("kubectl", rules.machine(MACHINE, CLUSTER))
    assert outcome == "to do"
    there = dataclasses.replace(MACHINE, programs=MACHINE.programs | {"kubectl"})
    ((outcome, _),) = check("kubectl", rules.machine(there, CLUSTER))
    assert outcome == "ok"


REPOSITORY: dict[str, tuple[str, Project, str, str]] = {
    "nothing committed": ("git", dataclasses.replace(PROJECT, is_committed=False), "to do", "git commit"),
    "no lock of packages": ("git", dataclasses.replace(PROJECT, is_locked=False), "to do", "git add uv.lock"),
    "no remote": ("storage", dataclasses.replace(PROJECT, remote=""), "broken", "DVC has no remote"),
    "a broken page of DVC": (
        "storage",
        dataclasses.replace(PROJECT, remote="", problem=".dvc/config is not valid."),
        "broken",
        ".dvc/config is not valid.",
    ),
    "a remote without address": ("storage", dataclasses.replace(PROJECT, address=""), "broken", "DVC has no remote"),
    "a bucket": ("storage", BUCKET, "not asked", "s3://acme-dvc"),
    "no model": ("models", dataclasses.replace(PROJECT, models=()), "to do", "make new-model"),
    "a broken model.toml": ("models", model(problem="models/tumour/model.toml: no."), "broken", "tumour/model.toml"),
    "no version": ("versions", model(is_trained=False), "to do", "make verdict MODEL=tumour"),
    "other inputs": ("locks", model(outdated=("train",)), "to do", "make verdict MODEL=tumour"),
    "unknown inputs": ("locks", model(outdated=NOT_ASKED), "not asked", "may not read"),
    "old data": ("data", model(as_of=dt.date(2026, 10, 21)), "to do", "make refresh MODEL=tumour"),
    "no prediction log": ("watch", model(log=""), "to do", "watch.log"),
    "no owners": ("CODEOWNERS", dataclasses.replace(PROJECT, owners=None), "broken", "nobody is asked"),
    "the template's owners": (
        "CODEOWNERS",
        dataclasses.replace(PROJECT, owners="# Who?\n/packages/ @acme/a @my-org/ml-team\n"),
        "to do",
        "is the template's example",
    ),
    "a broken page": ("environments", dataclasses.replace(PROJECT, environments={"local": "No."}), "broken", "No."),
}


@pytest.mark.parametrize(("name", "facts", "outcome", "said"), REPOSITORY.values(), ids=REPOSITORY)
def test_what_is_amiss_in_the_repository_is_seen(name: str, facts: Project, outcome: str, said: str) -> None:
    ((found, sentence),) = check(name, rules.project(facts, today=NOW.date()))
    assert found == outcome
    assert said in sentence


def test_a_folder_is_a_storage_that_needs_no_question() -> None:
    facts = dataclasses.replace(PROJECT, remote="storage", address="../kept")
    assert check("storage", rules.project(facts, today=NOW.date())) == [
        ("ok", "Data and versions are kept in the folder ../kept. ")
    ]


def test_an_owner_in_a_comment_or_with_a_longer_name_is_no_example() -> None:
    for owners in ("# @my-org/ml-team\n* @acme/care\n", "* @my-org/ml-team-lead\n"):
        facts = dataclasses.replace(PROJECT, owners=owners)
        ((outcome, _),) = check("CODEOWNERS", rules.project(facts, today=NOW.date()))
        assert outcome == "ok"


def setting(**values: Any) -> Hosting:
    return dataclasses.replace(HOSTING, **values)


def scheduled(**values: Any) -> Hosting:
    one = Schedule(**{"is_off": False, "last": YESTERDAY, **values})
    return setting(schedules={"ct.yml": one})


def ended(workflow: str, conclusion: str) -> Hosting:
    return setting(runs={workflow: LastRun(conclusion=conclusion, url="https://example.com/7")})


def placed(name: str, **values: Any) -> Hosting:
    usual = {"is_reviewed": True, "branches": ("main",)}
    return setting(places={**HOSTING.places, name: Place(**{**usual, **values})})  # type: ignore[dict-item]


SIGNED_IN = dict.fromkeys(STORAGE, "x")
NO_KEYS = Names(variables={}, secrets=frozenset())
THERE: dict[str, tuple[str, Hosting, Project, str, str]] = {
    "workflows are off": ("Actions", setting(actions=(False, "")), PROJECT, "broken", "switched off"),
    "only own actions": ("Actions", setting(actions=(True, "local_only")), PROJECT, "broken", "from elsewhere"),
    "no pull requests": ("pull requests", setting(token=("read", False)), PROJECT, "to do", "Allow GitHub Actions to"),
    "a token that writes": ("token", setting(token=("write", True)), PROJECT, "to do", "Workflow permissions"),
    "a schedule that was switched off": ("schedules", scheduled(is_off=True), PROJECT, "broken", "gh workflow enable"),
    "a schedule that stopped": ("schedules", scheduled(last=LONG_AGO), PROJECT, "broken", "since 2026-09-20"),
    "a schedule that never ran": ("schedules", scheduled(last=None), PROJECT, "to do", "nothing yet"),
    "a release that failed": ("runs", ended("cd.yml", "failure"), PROJECT, "broken", "https://example.com/7"),
    "a look that took too long": ("runs", ended("watch.yml", "timed_out"), PROJECT, "broken", "timed out"),
    "a change that CI refused": ("runs", ended("ci.yml", "failure"), PROJECT, "to do", "ended with failure"),
    "a CI that cannot start": ("runs", ended("ci.yml", "startup_failure"), PROJECT, "broken", "startup failure"),
    "a workflow that never ran": ("runs", setting(runs={"ct.yml": None}), PROJECT, "to do", "has not run yet"),
    "no rules": ("rules", setting(rulesets={"default-branch": None}), PROJECT, "to do", "make harden"),
    "weaker rules": ("rules", setting(rulesets={"default-branch": ("- a",)}), PROJECT, "broken", "DRY_RUN=1"),
    "owners whom nobody finds": ("code owners", setting(owners=("line 5",)), PROJECT, "broken", "line 5"),
    "no issues": ("issues", about(has_issues=False), PROJECT, "broken", "nobody hears"),
    "no merging by itself": (
        "auto-merge",
        about(merges_by_itself=False),
        model(auto_merge=True),
        "broken",
        "Allow auto-merge",
    ),
    "no branch of the storage": ("branch", setting(has_storage=False), PROJECT, "to do", "make push MODEL=tumour"),
    "no sign-in": ("identities", HOSTING, BUCKET, "to do", "STORAGE_READER"),
    "a subject of their own": (
        "identities",
        dataclasses.replace(with_names(SIGNED_IN), subject=Subject(prefix="", is_default=False)),
        BUCKET,
        "broken",
        "no policy",
    ),
    "a subject by name": (
        "identities",
        dataclasses.replace(with_names(SIGNED_IN), subject=Subject(prefix="", is_default=True)),
        BUCKET,
        "to do",
        "without the ids",
    ),
    "a storage for the default branch only": (
        "environment storage",
        dataclasses.replace(placed("storage"), names=with_names(SIGNED_IN).names),
        BUCKET,
        "broken",
        "refs/pull/*/merge",
    ),
    "a secret that is missing": ("settings", with_names({"APP_CLIENT_ID": "x"}), PROJECT, "broken", "APP_PRIVATE_KEY"),
    "a secret that everybody sees": (
        "settings",
        with_names({"WEBHOOK_URL": "x"}),
        PROJECT,
        "broken",
        "set as a variable, where nobody reads it",
    ),
    "an address that the plan does not see": (
        "settings",
        with_names(staging=Names(variables={"DEPLOY_KNOWN_HOSTS": "x", "STAGING_ADDRESS": HOST}, secrets=KEYS)),
        PROJECT,
        "broken",
        "in the environment staging",
    ),
    "a variable that nobody reads": ("settings", with_names((), {"BASE_IMAGE"}), PROJECT, "broken", "as a variable"),
    "a freeze": ("freeze", with_names({"RETRAIN_FREEZE": "New sensor."}), PROJECT, "to do", "New sensor."),
    "no address": ("staging", setting(names={"": NO_KEYS}), PROJECT, "to do", "STAGING_ADDRESS"),
    "no key": (
        "staging",
        setting(names={**HOSTING.names, "staging": NO_KEYS}),  # type: ignore[dict-item]
        PROJECT,
        "broken",
        "DEPLOY_SSH_KEY and DEPLOY_KNOWN_HOSTS are not set",
    ),
    "a cluster without key": ("production", HOSTING, CLUSTER, "to do", "DEPLOY_KUBECONFIG"),
    "any branch in production": ("production", placed("production", branches=None), PROJECT, "to do", "Every branch"),
    "nobody is asked": ("production", placed("production", is_reviewed=False), PROJECT, "to do", "Nobody is asked"),
    "private and attested": ("attestations", about(is_private=True), PROJECT, "to do", "ATTESTATIONS --body off"),
}


@pytest.mark.parametrize(("name", "facts", "here", "outcome", "said"), THERE.values(), ids=THERE)
def test_what_is_amiss_on_github_is_seen(name: str, facts: Hosting, here: Project, outcome: str, said: str) -> None:
    ((found, sentence),) = check(name, on_github(facts, here))
    assert found == outcome
    assert said in sentence


@pytest.mark.parametrize(
    ("name", "facts", "here"),
    [
        ("pull requests", dataclasses.replace(with_names({"APP_CLIENT_ID": "x"}), token=("read", False)), PROJECT),
        (
            "attestations",
            dataclasses.replace(with_names({"ATTESTATIONS": "off"}), about=about(is_private=True).about),
            PROJECT,
        ),
        ("identities", with_names(SIGNED_IN), BUCKET),
        (
            "environment storage",
            dataclasses.replace(
                placed("storage", branches=("main", "refs/pull/*/merge")), names=with_names(SIGNED_IN).names
            ),
            BUCKET,
        ),
        ("settings", with_names({"APP_CLIENT_ID": "x"}, {"APP_PRIVATE_KEY"}), PROJECT),
        ("settings", with_names({"REGISTRY": "a", "REGISTRY_USER": "b"}, {"REGISTRY_PASSWORD"}), PROJECT),
    ],
)
def test_the_other_way_to_have_it_is_ok_too(name: str, facts: Hosting, here: Project) -> None:
    ((outcome, _),) = check(name, on_github(facts, here))
    assert outcome == "ok"


@pytest.mark.parametrize("field", [one.name for one in dataclasses.fields(Hosting) if one.name != "about"])
@pytest.mark.parametrize("here", [PROJECT, BUCKET])
def test_what_the_token_may_not_read_is_said_and_is_never_ok(field: str, here: Project) -> None:
    """Fewer checks are ok than with the fact, and one more is not asked, unless no check of this storage needs it."""
    value = getattr(HOSTING, field)
    is_table = field in ("schedules", "runs")
    facts = setting(**{field: dict.fromkeys(value, NOT_ASKED) if is_table else NOT_ASKED})
    if here is BUCKET:
        facts = dataclasses.replace(facts, **({} if field == "names" else {"names": with_names(SIGNED_IN).names}))
    is_needed = {"subject": here is BUCKET, "has_storage": here is PROJECT}.get(field, True)
    unasked = [one for one in on_github(facts, here) if one.outcome == "not asked"]
    assert bool(unasked) == is_needed
    assert {(one.sentence, one.do) for one in unasked} <= {(NOT_ASKED.why, NOT_ASKED.do)}
    lost = {one.check for one in unasked}
    assert not [one for one in on_github(facts, here) if one.outcome == "ok" and one.check in lost]


# The names of settings.


def test_every_variable_and_secret_of_the_workflows_is_known_and_no_other_one() -> None:
    """In a repository whose storage is git the workflows know no bucket."""
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / ".github").rglob("*.yml"))
    read = set(re.findall(r"\b(vars|secrets)\.([A-Z][A-Z_]+)", text))
    known = {("vars" if one.kind == "variable" else "secrets", one.name) for one in SETTINGS}
    assert read - known == set()
    assert {name for _, name in known - read} <= set(STORAGE)
    assert {place for one in SETTINGS for place in one.environments} <= set(KEPT)
    assert {need for one in SETTINGS for need in one.needs} <= {one.name for one in SETTINGS}


def test_a_name_may_be_kept_in_an_environment_only_where_all_who_read_it_belong_to_it() -> None:
    """What a job without that environment reads would be empty there."""
    known = {one.name: one.environments for one in SETTINGS}
    for path in sorted((ROOT / ".github" / "workflows").glob("reusable-*.yml")):
        text = path.read_text(encoding="utf-8")
        found = re.search(r"(?m)^    environment: (\w+)$", text)
        for name in set(re.findall(r"\bvars\.([A-Z][A-Z_]+)", text)):
            place = found[1] if found else "none"
            assert not known[name] or place in known[name], f"{path.name} reads {name}"


def test_the_environments_are_those_of_the_jobs() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / ".github" / "workflows").glob("*.yml"))
    assert set(re.findall(r"(?m)^    environment: (\w+)$", text)) == set(KEPT)


# What is asked, and how.


REPOSITORY_OF_GITHUB = {
    "full_name": "acme/models",
    "default_branch": "main",
    "private": False,
    "has_issues": True,
    "allow_auto_merge": False,
    "owner": {"type": "Organization"},
}


def world() -> dict[str, Any]:
    """A repository on GitHub in which all is well, as its addresses answer."""
    run = {"conclusion": "success", "html_url": "https://github.com/acme/models/actions/runs/1"}
    found: dict[str, Any] = {
        "": REPOSITORY_OF_GITHUB,
        "actions/permissions": {"enabled": True, "allowed_actions": "all"},
        "actions/permissions/workflow": {
            "default_workflow_permissions": "read",
            "can_approve_pull_request_reviews": True,
        },
        "actions/oidc/customization/sub": {"use_default": True, "sub_claim_prefix": "repo:acme@1/models@2"},
        "branches/dvc-storage": {"name": "dvc-storage"},
        "environments": {
            "total_count": 1,
            "environments": [
                {
                    "name": "production",
                    "protection_rules": [{"type": "required_reviewers"}, {"type": "branch_policy"}],
                    "deployment_branch_policy": {"protected_branches": False, "custom_branch_policies": True},
                }
            ],
        },
        "environments/production/deployment-branch-policies": {
            "total_count": 1,
            "branch_policies": [{"name": "main"}],
        },
        "environments/production/variables": {"total_count": 0, "variables": []},
        "environments/production/secrets": {"total_count": 1, "secrets": [{"name": "DEPLOY_SSH_KEY"}]},
        "actions/variables": {"total_count": 1, "variables": [{"name": "APP_CLIENT_ID", "value": "x"}]},
        "actions/secrets": {"total_count": 0, "secrets": []},
        "actions/organization-variables": {"total_count": 1, "variables": [{"name": "REGISTRY", "value": "r"}]},
        "actions/organization-secrets": {"total_count": 1, "secrets": [{"name": "APP_PRIVATE_KEY"}]},
    }
    for workflow in hosted.WORKFLOWS:
        place = f"actions/workflows/{workflow}"
        found[place] = {"state": "active"}
        found[f"{place}/runs?event=schedule"] = {"workflow_runs": [{"created_at": YESTERDAY}]}
        on = "" if workflow == "ci.yml" else "branch=main&"
        found[f"{place}/runs?{on}status=completed"] = {"total_count": 1, "workflow_runs": [run]}
    return found


@pytest.fixture
def github(hub: Hub, project: Path) -> Hub:
    """That GitHub, and the repository's rulesets on it."""
    folder = project / ".github" / "rulesets"
    folder.mkdir(parents=True)
    for path in (ROOT / ".github" / "rulesets").glob("*.json"):
        (folder / path.name).write_bytes(path.read_bytes())
    hub.world["settings"] = world()
    hub.save()
    return hub


def test_what_github_has_is_asked_once_and_read_right(github: Hub, project: Path) -> None:
    facts = hosted.ask(project)
    assert isinstance(facts, Hosting)
    assert facts.about == dataclasses.replace(HOSTING.about, merges_by_itself=False)
    assert (facts.actions, facts.token, facts.subject) == (HOSTING.actions, HOSTING.token, HOSTING.subject)
    assert facts.schedules == HOSTING.schedules
    assert {one.conclusion for one in facts.runs.values() if isinstance(one, LastRun)} == {"success"}
    assert facts.rulesets == {"default-branch": None, "dvc-storage": None}
    assert facts.places == {"production": Place(is_reviewed=True, branches=("main",))}
    assert facts.names == {
        "": Names(variables={"APP_CLIENT_ID": "x", "REGISTRY": "r"}, secrets=frozenset({"APP_PRIVATE_KEY"})),
        "production": Names(variables={}, secrets=KEYS),
    }
    calls = github.load()["calls"]
    assert {call[3] for call in calls} == {"GET"}
    assert len({call[1] for call in calls}) == len(calls)


def test_a_token_that_may_read_nothing_is_told_for_each_check(github: Hub, project: Path) -> None:
    github.world["fail"] = {"GET repos/acme/models/.*": 403}
    github.save()
    facts = hosted.ask(project)
    assert isinstance(facts, Hosting)
    found = on_github(facts)
    assert {one.outcome for one in found if one.check != "issues"} == {"not asked"}
    assert all("The token may not read it" in one.sentence for one in found if one.outcome == "not asked")
    assert any("`administration: read`" in one.do for one in found)


def test_a_repository_of_a_person_shares_no_names(github: Hub, project: Path) -> None:
    github.world["settings"][""] = REPOSITORY_OF_GITHUB | {"owner": {"type": "User"}}
    github.save()
    facts = hosted.ask(project)
    assert isinstance(facts, Hosting)
    assert not isinstance(facts.names, NotAsked)
    assert set(facts.names[""].variables) == {"APP_CLIENT_ID"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fail": {"GET repos/acme/models": 404}}, "The token may not read it"),
        ({"fail": {"GET repos/acme/models": 401}}, "GitHub does not accept the token"),
    ],
)
def test_where_github_says_nothing_one_line_says_why(github: Hub, project: Path, change: Any, said: str) -> None:
    github.world |= change
    github.save()
    facts = hosted.ask(project)
    assert isinstance(facts, NotAsked)
    assert said in facts.why
    assert len(github.load()["calls"]) == 1


def test_an_answer_of_another_form_is_no_answer(github: Hub, project: Path) -> None:
    github.world["settings"] |= {"actions/permissions": {"total": 1}, "actions/oidc/customization/sub": {}}
    github.save()
    facts = hosted.ask(project)
    assert isinstance(facts, Hosting)
    for fact in (facts.actions, facts.subject):
        assert isinstance(fact, NotAsked)
        assert "a form that is not known here" in fact.why
    assert facts.token == HOSTING.token


def test_without_gh_or_token_it_says_what_to_do(github: Hub, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GH_TOKEN")
    facts = hosted.ask(project)
    assert isinstance(facts, NotAsked)
    assert "gh auth login" in facts.do
    monkeypatch.setenv("PATH", "/nowhere")
    facts = hosted.ask(project)
    assert isinstance(facts, NotAsked)
    assert "not installed" in facts.why


# The verb.


def test_a_fresh_repository_has_things_to_do_and_nothing_broken(hub: Hub, project: Path) -> None:
    """Neither GitHub nor a version: that is where everybody begins. Nobody is asked where there is no origin."""
    deployed = project / "deploy" / "environments"
    deployed.mkdir(parents=True)
    (deployed / "staging.toml").write_text('target = "docker"\naddress = ""\n')
    (project / ".dvc" / "config").write_text(
        "[core]\n    remote = dvc-storage\n['remote \"dvc-storage\"']\n    url = storage\n"
    )
    (project / ".github").mkdir()
    (project / ".github" / "CODEOWNERS").write_text("* @my-org/ml-team\n")
    outcome = doctor(project)
    broken = [one for one in outcome.value if one["outcome"] == "broken" and one["check"] != "disk"]
    assert broken == []
    found = {(one["check"], one["outcome"]) for one in outcome.value}
    assert {("versions", "to do"), ("CODEOWNERS", "to do"), ("GitHub", "not asked"), ("storage", "ok")} <= found
    assert "There is no remote called origin." in outcome.text
    assert "→ make verdict MODEL=diabetes" in outcome.text
    assert hub.load()["calls"] == []


def test_what_is_broken_ends_with_1_and_is_shown_first_to_last(github: Hub, project: Path) -> None:
    (project / "models" / "tumour" / "model.toml").write_text("[model\n")
    subprocess.run(["git", "remote", "add", "origin", "https://github.com/acme/models"], cwd=project, check=True)
    outcome = doctor(project)
    assert outcome.code == 1
    assert [one["sentence"] for one in outcome.value if one["check"] == "models"] == [
        "models/tumour/model.toml is not valid TOML: "
        "Expected ']' at the end of a table declaration (at line 1, column 7)."
    ]
    assert outcome.text.index("This machine") < outcome.text.index("This repository") < outcome.text.index("GitHub")
    assert re.search(r"\n\d+ broken, \d+ to do, \d+ ok\.$", outcome.text)
    assert ("rules", "to do") in {(one["check"], one["outcome"]) for one in outcome.value}


def test_broken_settings_of_dvc_are_one_line_of_the_table(project: Path) -> None:
    (project / ".dvc" / "config").write_text("[core\n")
    ((outcome, said),) = check("storage", rules.project(local.project(project), today=NOW.date()))
    assert outcome == "broken"
    assert said.startswith(".dvc/config is not valid.")


def test_a_locked_version_is_compared_with_its_inputs(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "models" / "tumour" / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    (one,) = [one for one in local.project(project).models if one.is_trained]
    assert "ingest" in (one.outdated if not isinstance(one.outdated, NotAsked) else ())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (one,) = [one for one in local.project(project).models if one.is_trained]
    assert isinstance(one.outdated, NotAsked)
    assert one.outdated.do == "make setup"


def test_it_runs_on_a_bare_python(project: Path) -> None:
    done = bare(project, "doctor", "--json")
    assert done.returncode in (0, 1), done.stderr
    assert {one["part"] for one in json.loads(done.stdout)} == {"This machine", "This repository", "GitHub"}


def test_an_old_python_is_told_so_in_one_line(project: Path) -> None:
    """Nothing else of it runs there: what it imports is newer."""
    code = "import sys, runpy; sys.version_info = (3, 10, 14); runpy.run_module('mlops', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {os.fspath(SOURCE)!r}); {code}"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert re.fullmatch(r"mlops needs Python 3\.11 or newer, and this is .*: install a newer one\.\n", done.stderr)
