"""The verbs of a release on real git repositories: what they ask, what they tell the workflow, what they write."""

import dataclasses
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlops import cli, git, github
from mlops.deploying import environments
from mlops.errors import Refusal
from mlops.github import CheckRun, Deployment, Failure, Issue
from mlops.releasing import access, admission, command, history
from mlops.workspace import Model

ONE, TWO = "1" * 32 + ".dir", "2" * 32 + ".dir"
DIGEST = "sha256:" + "a" * 64
VERSION, OTHER = "0" * 12, "1" * 12
NEEDS = {"staging": {"result": "success"}, "production": {"result": "success"}}


def lock(md5: str) -> str:
    out = f"    - path: export\n      hash: md5\n      md5: {md5}\n"
    return f"schema: '2.0'\nstages:\n  train:\n    cmd: x\n    outs:\n{out}"


def do(root: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def commit(root: Path, files: dict[str, str | None]) -> str:
    """Change files (None takes one away) and commit: the new commit, which origin has too."""
    for path, text in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True) if text is None else place.write_text(text)
    do(root, "add", "--all")
    do(root, "commit", "--quiet", "--allow-empty", "--message", "x")
    do(root, "push", "--quiet", "origin", "HEAD:main")
    return do(root, "rev-parse", "HEAD")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with a trained and an untrained model; nothing of a workflow run is around it."""
    for name in [*os.environ]:
        if name.startswith(("GITHUB_", "GH_", "STAGING_", "PRODUCTION_", "REGISTRY", "RUNNER_", "DEPLOY_", "MLFLOW_")):
            monkeypatch.delenv(name)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "T")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "t@example.com")
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(tmp_path / "origin.git")], check=True)
    folder = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(tmp_path / "origin.git"), str(folder)], check=True, capture_output=True)
    do(folder, "checkout", "-q", "-B", "main")
    files: dict[str, str | None] = {
        "models/alpha/model.toml": "[model]\n",
        "models/alpha/dvc.lock": lock(ONE),
        "models/alpha/src/a.py": "one",
        "models/beta/model.toml": "[model]\n",
        "packages/mlops/README.md": "x",
        "packages/serve/src/serve/app.py": "x",
        "deploy/Dockerfile": "x",
        "deploy/environments/staging.toml": 'target = "docker"\naddress = ""\n',
        "deploy/environments/production.toml": 'target = "docker"\naddress = "ssh://deploy@host"\n',
        "uv.lock": "version = 1\n",
    }
    commit(folder, files)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, str]]:
    """Be in a workflow run; what is called gives the outputs and the summary that were written."""
    for name in ("output", "summary", "env", "path"):
        (tmp_path / name).touch()
        variable = {"summary": "GITHUB_STEP_SUMMARY"}.get(name, f"GITHUB_{name.upper()}")
        monkeypatch.setenv(variable, str(tmp_path / name))
    (tmp_path / "event.json").write_text(json.dumps({"repository": {"default_branch": "main"}}))
    monkeypatch.setenv("GITHUB_EVENT_PATH", str(tmp_path / "event.json"))
    monkeypatch.setenv("GITHUB_EVENT_NAME", "push")
    monkeypatch.setenv("GITHUB_REF", "refs/heads/main")
    monkeypatch.setenv("GITHUB_REPOSITORY", "Acme/Models")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("RUNNER_TEMP", str(tmp_path))

    def said() -> dict[str, str]:
        found, key, lines = {"summary": (tmp_path / "summary").read_text()}, "", []
        for line in (tmp_path / "output").read_text().splitlines():
            if not key and "\x3c\x3cend-" in line:
                key, lines = line.partition("\x3c\x3c")[0], []
            elif line.startswith("end-"):
                found[key], key = "\n".join(lines), ""
            else:
                lines.append(line)
        return found

    return said


# Which models


def test_a_push_names_the_models_and_where_they_go(root: Path, run: Callable[..., dict[str, str]]) -> None:
    before = do(root, "rev-parse", "HEAD")
    commit(root, {"models/alpha/dvc.lock": lock(TWO)})
    found = command.candidates(root, base=before)
    assert found.value["models"] == [{"model": "alpha", "reasons": ["other version"]}]
    said = run()
    assert (said["models"], said["staging"], said["production"]) == ("alpha", "", "ssh://deploy@host")
    assert (said["registry"], said["host"]) == ("ghcr.io/acme/models", "ghcr.io")
    assert "STAGING_ADDRESS" in said["summary"]
    assert "beta" in said["summary"]


def test_a_push_that_releases_nothing_is_no_failure_and_says_what_to_do(
    root: Path, run: Callable[..., dict[str, str]]
) -> None:
    before = do(root, "rev-parse", "HEAD")
    commit(root, {"README.md": "x"})
    found = command.candidates(root, base=before)
    assert (found.code, run()["models"]) == (0, "")
    assert "Open a pull request" in run()["summary"]
    assert "no address" not in run()["summary"]


@pytest.mark.parametrize("base", ["", "0" * 40, "f" * 40])
def test_a_first_push_or_an_unknown_history_releases_all_versions(root: Path, base: str) -> None:
    assert [one["model"] for one in command.candidates(root, base=base).value["models"]] == ["alpha"]


def test_a_model_is_released_by_name_and_refused_by_a_wrong_one(root: Path, run: Callable[..., dict[str, str]]) -> None:
    command.candidates(root, named="alpha")
    assert run()["models"] == "alpha"
    found = command.candidates(root, named="beta")
    assert (found.code, found.value["untrained"]) == (0, ["beta"])
    with pytest.raises(Refusal, match="no model 'gamma'"):
        command.candidates(root, named="gamma")


def test_another_branch_releases_nothing(root: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The breaker: a branch that nobody merged asks for a release."""
    monkeypatch.setenv("GITHUB_REF", "refs/heads/mine")
    with pytest.raises(Refusal, match="made from main only"):
        command.candidates(root, named="alpha")


def test_a_variable_wins_over_the_page_and_a_page_may_be_missing(
    root: Path, run: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAGING_ADDRESS", "ssh://there")
    (root / environments.FOLDER / "production.toml").unlink()
    command.candidates(root, named="alpha")
    assert (run()["staging"], run()["production"]) == ("ssh://there", "")
    monkeypatch.setenv("STAGING_ADDRESS", "there; rm")
    with pytest.raises(Refusal):
        command.candidates(root, named="alpha")


@pytest.mark.parametrize("given", ["https://r.test/a", "r.test/A", "r.test/a b", "-x", "r.test//a", "$(x)"])
def test_a_registry_that_is_none_is_refused(root: Path, given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY", given)
    with pytest.raises(Refusal, match="no place for images"):
        command.candidates(root, named="alpha")


# Start


def test_each_model_gets_a_run_of_its_own(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(github, "dispatch", lambda workflow, **more: asked.append((workflow, more)))
    monkeypatch.setattr(command.time, "sleep", asked.append)
    names = [f"m{number}" for number in range(command.FEW + 2)]
    assert command.release(root, [" ".join(names)]).code == 0
    orders = [one for one in asked if isinstance(one, tuple)]
    assert [one[1] for one in orders] == [{"branch": "main", "inputs": {"model": name}} for name in names]
    assert asked.count(command.PAUSE) == 2


def test_what_could_not_be_started_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dispatch(workflow: str, *, inputs: dict[str, str], **_: Any) -> None:
        if inputs["model"] == "b":
            raise Failure("GitHub does not start cd.yml now: rate limit.", do="Run it again in an hour.")

    monkeypatch.setattr(github, "dispatch", dispatch)
    found = command.release(root, ["a", "b", "c"])
    assert (found.code, found.value) == (2, {"started": ["a"], "left": ["b", "c"]})
    assert "rate limit" in found.text
    for bad in (["../a"], [" "], ["A"]):
        with pytest.raises(Refusal):
            command.release(root, bad)


# Admit


def issue(number: int, body: str = "x", *, author: str = github.ACTIONS_BOT) -> Issue:
    return Issue(number=number, author=author, title="x", body=body, updated="")


@dataclasses.dataclass
class Hub:
    """What GitHub and the storage say, and what they were told."""

    verdicts: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    heads: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    issues: list[Issue] = dataclasses.field(default_factory=list)
    outdated: tuple[str, ...] = ()
    deployments: list[Deployment] = dataclasses.field(default_factory=list)
    told: list[tuple[str, Any]] = dataclasses.field(default_factory=list)
    refuse: str = ""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A GitHub of the tests."""
    one = Hub()

    def checks(commit: str, name: str) -> list[CheckRun]:
        assert name == "verdict"
        return [
            CheckRun(id=n, name=name, conclusion=end, app="github-actions", run=n)
            for n, end in enumerate(one.verdicts.get(commit, []))
        ]

    def write(name: str, answer: Any = None) -> Callable[..., Any]:
        def call(*given: Any, **more: Any) -> Any:
            if one.refuse == name:
                raise Failure(f"GitHub does not {name}.", status=403)
            one.told.append((name, (given, more)))
            return answer

        return call

    def fetch(root: Path, digest: str, place: Path) -> None:
        place.mkdir(parents=True, exist_ok=True)
        (place / "manifest.json").write_text("{}")

    monkeypatch.setattr("mlops.storage.outdated", lambda model: one.outdated)
    monkeypatch.setattr("mlops.storage.fetch", fetch)
    made = Deployment(id=9, commit="c" * 40, payload={})
    for name, function in {
        "checks": checks,
        "merged_heads": lambda commit, into: one.heads.get(commit, []),
        "event_of": lambda run: "push",
        "viewer": lambda: github.ACTIONS_BOT,
        "open_issues": lambda label: one.issues,
        "deployments": lambda environment, task: one.deployments,
        "create_deployment": write("deploy", made),
        "set_deployment": write("status"),
        "write_release": write("release", "https://x"),
        "create_issue": write("issue", issue(5)),
        "create_comment": write("comment"),
        "create_pull_request": write("pull", 3),
        "dispatch": write("dispatch"),
        "verify_attestation": write("verify"),
    }.items():
        monkeypatch.setattr(github, name, function)
    return one


MANIFEST = "44136fa355b3"
"""The version whose manifest is `{}`."""


def test_a_measured_version_is_admitted_and_brought(root: Path, hub: Hub) -> None:
    hub.heads = {do(root, "rev-parse", "HEAD"): ["d" * 40]}
    hub.verdicts = {"d" * 40: ["success"]}
    found = command.admit(Model(root, "alpha"))
    assert (found.code, found.value["version"]) == (0, MANIFEST)
    assert (root / "models/alpha/export/manifest.json").is_file()


def test_every_reason_against_a_version_is_said_and_nothing_is_brought(root: Path, hub: Hub) -> None:
    hub.outdated = ("train",)
    found = command.admit(Model(root, "alpha"))
    assert found.code == 2
    assert "not measured" in found.text
    assert "does not match its inputs" in found.text
    assert not (root / "models/alpha/export").exists()


def test_the_code_that_serves_must_have_been_measured_too(root: Path, hub: Hub) -> None:
    """A version that was measured, and after it a push past CI that changes what serves it."""
    measured = do(root, "rev-parse", "HEAD")
    hub.heads, hub.verdicts = {measured: ["d" * 40]}, {"d" * 40: ["success"]}
    commit(root, {"README.md": "a page changes nothing"})
    assert command.admit(Model(root, "alpha")).code == 0
    commit(root, {"packages/serve/src/serve/app.py": "y"})
    found = command.admit(Model(root, "alpha"))
    assert found.code == 2
    assert "code that serves it" in found.text


def test_a_version_is_held_by_our_issue_and_by_no_strangers(root: Path, hub: Hub) -> None:
    hub.heads = {do(root, "rev-parse", "HEAD"): ["d" * 40]}
    hub.verdicts = {"d" * 40: ["success"]}
    body = admission.marker("alpha", MANIFEST, "production")
    hub.issues = [issue(4, body, author="stranger")]
    assert command.admit(Model(root, "alpha")).code == 0
    hub.issues.append(issue(5, body))
    found = command.admit(Model(root, "alpha"))
    assert (found.code, found.value["reasons"][0].count("issue 5")) == (2, 1)


@pytest.mark.parametrize("text", [None, "schema: '2.0'\nstages: {}\n", "broken"])
def test_a_model_without_a_version_is_refused(root: Path, hub: Hub, text: str | None) -> None:
    commit(root, {"models/alpha/dvc.lock": text})
    with pytest.raises(Refusal):
        command.admit(Model(root, "alpha"))


# Verify


def described(root: Path, **other: str) -> str:
    """What `package` would write."""
    about = {"model": "alpha", "version": VERSION, "image": f"r.test/alpha@{DIGEST}", "digest": DIGEST}
    path = root.parent / "image-alpha" / "image.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**about, "commit": do(root, "rev-parse", "HEAD"), **other}))
    return str(path)


def test_the_packaged_and_attested_image_may_be_deployed(root: Path, hub: Hub) -> None:
    found = command.verify(Model(root, "alpha"), described(root), DIGEST)
    assert (found.code, found.value["attested"]) == (0, True)
    ((_, (given, more)),) = hub.told
    assert given == (f"r.test/alpha@{DIGEST}",)
    assert more == {"workflow": command.SIGNER, "branch": "main", "commit": do(root, "rev-parse", "HEAD")}


def test_an_image_that_is_not_attested_or_not_the_packaged_one_is_refused(root: Path, hub: Hub) -> None:
    """The breakers: no signature, another digest, another commit."""
    model = Model(root, "alpha")
    with pytest.raises(Refusal, match="was packaged"):
        command.verify(model, described(root), "sha256:" + "b" * 64)
    with pytest.raises(Refusal, match="was made from"):
        command.verify(model, described(root, commit="c" * 40), DIGEST)
    assert hub.told == []
    hub.refuse = "verify"
    with pytest.raises(Refusal, match="verify"):
        command.verify(model, described(root), DIGEST)


def test_only_a_variable_of_the_repository_lets_an_image_go_without_a_signature(
    root: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.refuse = "verify"
    monkeypatch.setenv("ATTESTATIONS", "off")
    found = command.verify(Model(root, "alpha"), described(root), DIGEST)
    assert (found.code, found.value["attested"]) == (0, False)
    assert "not attested" in found.text
    monkeypatch.setenv("ATTESTATIONS", "false")
    with pytest.raises(Refusal):
        command.verify(Model(root, "alpha"), described(root), DIGEST)


def test_an_image_whose_version_was_overtaken_is_refused(root: Path, hub: Hub) -> None:
    old = do(root, "rev-parse", "HEAD")
    commit(root, {"models/alpha/dvc.lock": lock(TWO)})
    do(root, "checkout", "-q", "--detach", old)
    found = command.verify(Model(root, "alpha"), described(root), DIGEST)
    assert found.code == 2
    assert "another version by now" in found.text


# Record


def left(root: Path, environment: str, outcome: str, **other: Any) -> None:
    """What a deployment noted."""
    folder = root.parent / f"deployed-{environment}-alpha"
    folder.mkdir(exist_ok=True)
    release = {"model": "alpha", "version": VERSION, "image": "i", "commit": "c" * 40}
    value = {"outcome": outcome, "sentence": f"{outcome}.", "release": release, "facts": {}, **other}
    (folder / "deployed.json").write_text(json.dumps(value))


def noted(root: Path, monkeypatch: pytest.MonkeyPatch, **results: str) -> cli.Outcome:
    """Record with these results of the jobs."""
    needs = {**NEEDS, **{name: {"result": result} for name, result in results.items()}}
    monkeypatch.setenv("NEEDS", json.dumps(needs))
    described(root)
    return history.note(Model(root, "alpha"), str(root.parent))


def states(hub: Hub) -> list[str]:
    return [given[1] for name, (given, _) in hub.told if name == "status"]


def test_a_release_that_went_well_is_on_record(root: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.deployments = [Deployment(id=1, commit="c" * 40, payload={"version": OTHER, "outcome": "deployed"})]
    for environment in ("staging", "production"):
        left(root, environment, "deployed")
    found = noted(root, monkeypatch)
    assert (found.code, found.value["problems"]) == (0, [])
    assert states(hub) == ["success", "inactive"] * 2
    (release,) = [given for name, given in hub.told if name == "release"]
    assert release[0] == (f"alpha-{VERSION}",)
    assert OTHER in release[1]["body"]
    assert "issue" not in [name for name, _ in hub.told]


def test_a_version_that_came_back_by_itself_opens_one_issue(
    root: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    left(root, "staging", "deployed")
    left(root, "production", "rolled back", release={"version": OTHER, "image": "i", "commit": "c" * 40})
    noted(root, monkeypatch, production="failure")
    assert states(hub) == ["success", "failure"]
    (opened,) = [given for name, given in hub.told if name == "issue"]
    assert VERSION in opened[0][0]
    assert admission.held("alpha", VERSION, {1: opened[0][1]})
    assert "release" not in [name for name, _ in hub.told]
    hub.told.clear()
    hub.issues = [issue(8, opened[0][1])]
    noted(root, monkeypatch, production="failure")
    assert [given[0][0] for name, given in hub.told if name == "comment"] == [8]
    assert "issue" not in [name for name, _ in hub.told]


def test_a_job_that_noted_nothing_is_a_failure_on_record(root: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    found = noted(root, monkeypatch, staging="failure", production="skipped")
    assert found.value["ended"] == {"staging": "failed"}
    assert states(hub) == ["failure"]


def test_a_step_that_failed_after_the_deployment_is_a_failure_too(
    root: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    left(root, "staging", "deployed")
    found = noted(root, monkeypatch, staging="failure", production="skipped")
    assert found.value["ended"] == {"staging": "failed"}


def test_nothing_is_noted_twice_about_what_did_not_change(
    root: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = {"version": VERSION, "outcome": "deployed", "image": f"r.test/alpha@{DIGEST}"}
    hub.deployments = [Deployment(id=1, commit="c" * 40, payload=same)]
    left(root, "staging", "unchanged")
    noted(root, monkeypatch, production="skipped")
    assert hub.told == []


def test_a_release_that_goes_nowhere_says_so(root: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    found = noted(root, monkeypatch, staging="skipped", production="skipped")
    assert found.code == 0
    assert "deployed nowhere" in found.text


def test_a_record_that_cannot_be_written_loses_no_other(root: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.refuse = "deploy"
    for environment in ("staging", "production"):
        left(root, environment, "deployed")
    found = noted(root, monkeypatch)
    assert (found.code, len(found.value["problems"])) == (2, 2)
    assert "release" in [name for name, _ in hub.told]


def test_the_server_of_mlflow_is_told_where_there_is_one(root: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Any] = []
    monkeypatch.setattr("mlops.tracking.mirror", lambda **given: said.append(given))
    left(root, "production", "deployed")
    noted(root, monkeypatch, staging="skipped")
    assert said == []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.test")
    noted(root, monkeypatch, staging="skipped")
    assert [(one["champion"], one["challenger"]) for one in said] == [(VERSION, None)]


def test_results_that_nobody_gave_are_refused(root: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    described(root)
    for given in ("", "[]", "{"):
        monkeypatch.setenv("NEEDS", given)
        with pytest.raises(Refusal, match="NEEDS"):
            history.note(Model(root, "alpha"), str(root.parent))


# Revert


@pytest.fixture
def two(root: Path) -> tuple[str, str]:
    """The default branch with a second version, which changed, added and took away files: both commits."""
    first = do(root, "rev-parse", "HEAD")
    changes: dict[str, str | None] = {"models/alpha/dvc.lock": lock(TWO), "models/alpha/src/a.py": None}
    return first, commit(root, {**changes, "models/alpha/src/b.py": "two", "README.md": "x"})


def rolled_back(root: Path, commit: str, **facts: str) -> str:
    release = {"model": "alpha", "version": VERSION, "image": f"r.test/alpha@{DIGEST}", "commit": commit}
    path = root.parent / "rolled-back.json"
    path.write_text(json.dumps({"outcome": "rolled back", "sentence": "Back.", "release": release, "facts": facts}))
    return str(path)


def test_a_rollback_is_proposed_to_the_default_branch(root: Path, hub: Hub, two: tuple[str, str]) -> None:
    first, tip = two
    note = rolled_back(root, first, left=OTHER)
    found = history.revert(Model(root, "alpha"), "production", note, "It is slow.\n@all")
    assert (found.code, found.value["left"]) == (0, OTHER)
    do(root, "fetch", "-q", "origin")
    assert do(root, "rev-parse", "origin/rollback/alpha^") == tip
    assert do(root, "diff", "--name-only", first, "origin/rollback/alpha") == "README.md"
    names = [name for name, _ in hub.told]
    assert names.count("pull") == names.count("issue") == names.count("dispatch") == 1
    (opened,) = [given for name, given in hub.told if name == "issue"]
    assert admission.held("alpha", OTHER, {1: opened[0][1]})
    assert "#3" in opened[0][1]
    assert "@all" not in opened[0][1]


def test_where_actions_may_open_no_pull_request_the_branch_is_pushed_and_said(
    root: Path, hub: Hub, two: tuple[str, str]
) -> None:
    hub.refuse = "pull"
    found = history.revert(Model(root, "alpha"), "production", rolled_back(root, two[0], left=OTHER), "slow")
    assert found.code == 0
    assert "Open it by hand" in found.text
    assert do(root, "ls-remote", "origin", "refs/heads/rollback/alpha")
    (opened,) = [given for name, given in hub.told if name == "issue"]
    assert "Open a pull request" in opened[0][1]


def test_a_second_rollback_takes_another_branch_and_a_third_finds_it(
    root: Path, hub: Hub, two: tuple[str, str]
) -> None:
    note = rolled_back(root, two[0], left=OTHER)
    for _ in range(3):
        assert history.revert(Model(root, "alpha"), "production", note, "slow").code == 0
    assert [given[1]["branch"] for name, given in hub.told if name == "pull"] == [
        "rollback/alpha",
        f"rollback/alpha-{VERSION}",
    ]


def test_what_the_branch_names_already_is_not_proposed(root: Path, hub: Hub) -> None:
    note = rolled_back(root, do(root, "rev-parse", "HEAD"), left=OTHER)
    found = history.revert(Model(root, "alpha"), "production", note, "slow")
    assert "already" in found.text
    assert "pull" not in [name for name, _ in hub.told]


def test_the_version_that_was_left_is_known_from_the_record(root: Path, hub: Hub, two: tuple[str, str]) -> None:
    hub.deployments = [Deployment(id=1, commit="c" * 40, payload={"version": OTHER, "outcome": "deployed"})]
    assert history.revert(Model(root, "alpha"), "production", rolled_back(root, two[0]), "slow").value["left"] == OTHER


def test_a_rollback_without_a_reason_or_a_note_is_refused(root: Path, hub: Hub, two: tuple[str, str]) -> None:
    model = Model(root, "alpha")
    with pytest.raises(Refusal, match="reason"):
        history.revert(model, "production", rolled_back(root, two[0]), " \n")
    with pytest.raises(Refusal, match="went back to"):
        history.revert(model, "production", rolled_back(root, "main"), "slow")
    with pytest.raises(Refusal):
        history.revert(model, "production", str(root / "absent.json"), "slow")
    assert hub.told == []


# Reach


def test_a_key_is_only_the_owners_and_only_for_known_hosts(
    root: Path, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "ssh").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (programs / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setenv(access.KEY, "-----KEY-----\r\nabc\r\n-----END-----")
    with pytest.raises(Refusal, match="DEPLOY_KNOWN_HOSTS"):
        access.reach(root)
    monkeypatch.setenv(access.HOSTS, "host ssh-ed25519 AAAA")
    access.reach(root)
    (folder,) = map(Path, (tmp_path / "path").read_text().split())
    place = folder.parent
    assert (place / "key").read_text() == "-----KEY-----\nabc\n-----END-----\n"
    for name in ("key", "known_hosts", "config"):
        assert (place / name).stat().st_mode & 0o777 == 0o600
    settings = (place / "config").read_text()
    assert "StrictHostKeyChecking yes" in settings
    assert "UserKnownHostsFile" in settings
    said = subprocess.run([folder / "ssh", "-l", "deploy", "host"], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == ["-F", str(place / "config"), "-l", "deploy", "host"]


def test_a_kubeconfig_is_named_for_later_steps(
    root: Path, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(access.CONFIGURATION, "apiVersion: v1\n")
    access.reach(root)
    path = tmp_path / "reach" / "kubeconfig"
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("apiVersion: v1\n", 0o600)
    assert str(path) in (tmp_path / "env").read_text()


def test_without_a_key_nothing_is_written_and_on_a_laptop_none_is_taken(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert access.reach(root).code == 0
    monkeypatch.setenv(access.CONFIGURATION, "x")
    with pytest.raises(Refusal, match="no workflow run"):
        access.reach(root)
    assert not (tmp_path / "reach").exists()


def test_the_last_change_of_a_branch_is_its_merge(root: Path) -> None:
    """What a pull request changed came to the branch when it was merged."""
    do(root, "checkout", "-q", "-b", "side")
    commit_side = {"models/alpha/dvc.lock": lock(TWO)}
    for path, text in commit_side.items():
        (root / path).write_text(text)
    do(root, "commit", "-qam", "side")
    do(root, "checkout", "-q", "main")
    commit(root, {"README.md": "x"})
    do(root, "merge", "-q", "--no-ff", "-m", "merge", "side")
    assert git.last_change(root, "HEAD", "models/alpha/dvc.lock") == do(root, "rev-parse", "HEAD")
    assert git.last_change(root, "HEAD", "absent") is None
