"""The CD loop of a generated repository really runs: what serves after a merge, and what serves again after trouble?

act runs the rendered workflows against the GitHub on this machine (see `tests/acting.py`) and against hosts in memory
(see `tests/dockerless.py`), so that all of it is exercised where there is no Docker engine.
Where there is one, a release goes onto it too.
"""

import contextlib
import dataclasses
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.acting import Run, dispatch, push
from tests.dockerless import Hosts
from tests.engine import Engine, free, wait
from tests.loop import FAILURE, MODEL, NAME, SKIPPED, SUCCESS, First, Loop, estimator, start, write
from tests.rendering import called, command, commit

pytestmark = pytest.mark.slow

STAGING, PRODUCTION = "unix:///run/staging.sock", "unix:///run/production.sock"
REGISTRY = "registry.test/acme/models"
BOTH = {"REGISTRY": REGISTRY, "STAGING_ADDRESS": STAGING, "PRODUCTION_ADDRESS": PRODUCTION}
SOON = "[load]\nrequests = 1\nrate = 1000.0\n[judge]\nrequests = 50\nminutes = 10\nseconds = 1\nreplay = 50.0\n"
PAGES = {
    "staging": f'target = "docker"\naddress = ""\nstrategy = "rolling"\nreplicas = 1\n{SOON}',
    "production": f'target = "docker"\naddress = ""\nreplicas = 2\n[canary]\nweights = [50]\n{SOON}',
}
LOCK = f"models/{MODEL}/dvc.lock"
JOBS = ("plan", "start", "fetch", "build", "scan", "attest", "staging", "production", "record")


@dataclasses.dataclass
class Shop:
    """A repository, what runs its workflows, and the hosts that it deploys to."""

    loop: Loop
    hosts: Hosts

    def run(self, event: Any, workflow: str) -> Run:
        """One run; the workflows may ask GitHub only for what our GitHub knows."""
        run = self.loop.runner.run(event, workflow=workflow)
        assert self.loop.github.unknown == [], run.describe()
        return run

    def pushed(self, before: str) -> Run:
        """CD after the default branch has moved on."""
        return self.run(push(self.loop.github, NAME, before), "cd.yml")

    def release(self, model: str = MODEL, branch: str = "main") -> Run:
        """CD for one model."""
        event = dispatch(self.loop.github, NAME, branch, inputs={"model": model}, workflow="cd.yml")
        return self.run(event, "cd.yml")

    def follow(self) -> Run:
        """The release that the last run has started."""
        (asked,) = self.loop.repository.dispatches
        self.loop.repository.dispatches.clear()
        assert (asked["workflow"], asked["ref"]) == ("cd.yml", "main")
        return self.release(**asked["inputs"])

    def roll_back(self, **inputs: str) -> Run:
        """Somebody starts the workflow that rolls back."""
        given = {"environment": "production", "model": MODEL, "to": "", "reason": "It is slow.", **inputs}
        event = dispatch(self.loop.github, NAME, "main", actor="ann", inputs=given, workflow="rollback.yml")
        return self.run(event, "rollback.yml")

    def merge(self, branch: str) -> None:
        """A pull request of a branch that is there is merged, with a verdict that passed."""
        number = self.loop.github.open(NAME, branch, author="ann", title=branch)
        self.loop.github.check(NAME, self.loop.head(number), "verdict", SUCCESS)
        self.loop.github.merge(NAME, number)

    def measured(self, *, event: str = "merge_group") -> None:
        """The commit that brought the version has a verdict of its own, as the merge queue leaves one."""
        brought = self.loop.repository.git("log", "-1", "--first-parent", "--format=%H", "main", "--", LOCK)
        self.loop.github.check(NAME, brought, "verdict", SUCCESS, event=event)

    def active(self, environment: str) -> str | None:
        """The version that GitHub has on record as serving."""
        found = self.loop.repository.serves(environment, f"deploy:{MODEL}")
        return found and str(found["version"])


def results(**other: str) -> dict[str, str]:
    """How all jobs of a release end, but for those that are named."""
    return {**dict.fromkeys(JOBS, SUCCESS), "start": SKIPPED, **other}


@dataclasses.dataclass(frozen=True)
class Versions:
    """A bare repository with a first version on its default branch and a second one on a branch, and their names."""

    source: Path
    first: str
    second: str


@pytest.fixture(scope="module")
def versions(first: First, installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Versions:
    """The repository after its first pull request was merged, with environments; the second version is trained here."""
    folder = tmp_path_factory.mktemp("versions")
    bare, work = folder / "origin.git", folder / "work"
    subprocess.run(["git", "clone", "--quiet", "--bare", str(first.merged), str(bare)], check=True)
    subprocess.run(["git", "clone", "--quiet", str(bare), str(work)], check=True)
    mlops = str(installed / ".venv" / "bin" / "mlops")

    def trained() -> str:
        """Run the pipeline; the version that it leaves."""
        for words in (("repro", "--pull"), ("push",)):
            done = command(mlops, *words, "--", MODEL, cwd=work)
            assert done.returncode == 0, done.stdout + done.stderr
        return command("sha256sum", f"models/{MODEL}/export/manifest.json", cwd=work).stdout[:12]

    one = trained()
    for name, text in PAGES.items():
        (work / "deploy" / "environments" / f"{name}.toml").write_text(text)
    commit(work, "Name the environments")
    subprocess.run(["git", "push", "--quiet", "origin", "HEAD:main"], cwd=work, check=True)
    subprocess.run(["git", "checkout", "--quiet", "-b", "second"], cwd=work, check=True)
    estimator("neighbours")(work)
    two = trained()
    commit(work, "Be better")
    subprocess.run(["git", "push", "--quiet", "origin", "second"], cwd=work, check=True)
    assert one != two
    return Versions(bare, one, two)


@contextlib.contextmanager
def opened(
    folder: Path, source: Path, environments: Path, variables: Mapping[str, str], **extra: str
) -> Iterator[Shop]:
    """A shop over a repository."""
    with start(folder / "loop", source, environments, extra=extra) as loop, Hosts(folder) as hosts:
        hosts.install(loop.runner.folder / "tools")
        loop.runner.extra["ACTING_DOCKER"] = str(hosts.socket)
        loop.runner.variables.update(variables)
        yield Shop(loop, hosts)


@pytest.fixture
def shop(versions: Versions, environments: Path, tmp_path: Path) -> Iterator[Shop]:
    """The repository with its first version, measured and merged, and both environments."""
    with opened(tmp_path, versions.source, environments, BOTH) as made:
        made.measured()
        yield made


# One story, from a merge to a version that is taken back.


@dataclasses.dataclass
class Story:
    """What happened, in this order, and what was so after each part."""

    push: Run
    first: Run
    after_first: dict[str, Any]
    second: Run
    after_second: dict[str, Any]
    rollback: Run
    after_rollback: dict[str, Any]
    bad: Run
    after_bad: dict[str, Any]
    again: Run


def told(shop: Shop) -> dict[str, Any]:
    """What serves, and what is on record about it."""
    repository = shop.loop.repository
    return {
        "serving": {
            name: shop.hosts.serving(host, MODEL) for name, host in (("staging", STAGING), ("production", PRODUCTION))
        },
        "active": {name: shop.active(name) for name in ("staging", "production")},
        "notes": {one["tag_name"]: one["body"] for one in repository.releases},
        "issues": {number: one["body"] for number, one in repository.issues.items() if one["state"] == "open"},
        "comments": [one["body"] for one in repository.comments],
        "pulls": {pull.head: pull for pull in repository.pulls.values() if pull.state == "open"},
        "attested": [(one["subject"]["name"], one["predicate"], one["signer"]) for one in repository.attestations],
        "violations": {host: list(world.violations) for host, world in shop.hosts.worlds.items()},
        "dispatches": list(repository.dispatches),
    }


@pytest.fixture(scope="module")
def story(versions: Versions, environments: Path, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Release, release again, roll back by hand, and release a version that goes bad."""
    with opened(tmp_path_factory.mktemp("story"), versions.source, environments, BOTH) as shop:
        shop.measured()
        repository = shop.loop.repository
        brought = repository.git("log", "-1", "--first-parent", "--format=%H", "main", "--", LOCK)
        pushed = shop.pushed(repository.git("rev-parse", f"{brought}^1"))
        first = shop.follow()
        after_first = told(shop)
        # From here on there is one environment only.
        del shop.loop.runner.variables["STAGING_ADDRESS"]
        shop.merge("second")
        second = shop.release()
        after_second = told(shop)
        rollback = shop.roll_back()
        after_rollback = told(shop)
        repository.dispatches.clear()
        for one in repository.issues.values():
            one["state"] = "closed"
        shop.hosts.spoil(versions.second, 0.3)
        bad = shop.release()
        after_bad = told(shop)
        again = shop.release()
    return Story(pushed, first, after_first, second, after_second, rollback, after_rollback, bad, after_bad, again)


def test_a_push_starts_a_run_for_the_model_whose_version_it_brought(story: Story) -> None:
    skipped = dict.fromkeys(JOBS[2:], SKIPPED)
    assert story.push.results == {"plan": SUCCESS, "start": SUCCESS, **skipped}, story.push.describe()
    assert "first version" in story.push["plan"].summary
    assert "its release is started" in story.push["start"].summary


def test_a_good_version_is_packaged_attested_deployed_and_on_record(story: Story, versions: Versions) -> None:
    assert story.first.results == results(), story.first.describe()
    now = story.after_first
    assert now["serving"] == now["active"] == dict.fromkeys(("staging", "production"), versions.first)
    assert list(now["notes"]) == [f"{MODEL}-{versions.first}"]
    assert "roc_auc" in now["notes"][f"{MODEL}-{versions.first}"]
    assert now["issues"] == {}
    signers = {signer for _, _, signer in now["attested"]}
    assert signers == {f"{NAME}/.github/workflows/reusable-release-attest.yml"}
    assert len({predicate for _, predicate, _ in now["attested"]}) == 2
    assert now["violations"] == {STAGING: [], PRODUCTION: []}


def test_each_job_has_the_rights_of_its_part_only(story: Story) -> None:
    """What builds signs nothing; what signs runs none of our code; nothing is taken from a cache."""
    by_action: dict[str, set[str]] = {}
    for one in story.first.used:
        by_action.setdefault(one["action"], set()).add(one["job"])
    assert by_action["actions/attest"] == {"attest"}
    assert "attest" not in by_action["actions/checkout"]
    assert by_action["docker/login-action"] == {"build", "scan", "staging", "production"}
    caches = {one["inputs"]["enable-cache"] for one in story.first.used if one["action"] == "astral-sh/setup-uv"}
    assert caches == {"false"}
    assert "actions/cache/restore" not in by_action


def test_the_next_version_takes_the_place_of_the_first(story: Story, versions: Versions) -> None:
    """Also where there is no staging: the plan asked for that skip."""
    assert story.second.results == results(staging=SKIPPED), story.second.describe()
    now = story.after_second
    assert now["serving"] == now["active"] == {"staging": versions.first, "production": versions.second}
    assert versions.first in now["notes"][f"{MODEL}-{versions.second}"]
    assert now["violations"] == {STAGING: [], PRODUCTION: []}


def test_a_rollback_serves_the_version_before_and_proposes_it_to_the_branch(story: Story, versions: Versions) -> None:
    assert story.rollback.results == {"rollback": SUCCESS, "record": SUCCESS}, story.rollback.describe()
    now = story.after_rollback
    assert now["serving"] == now["active"] == dict.fromkeys(("staging", "production"), versions.first)
    pull = now["pulls"][f"rollback/{MODEL}"]
    assert "It is slow" in pull.body
    assert now["dispatches"] == [
        {"workflow": "ci.yml", "ref": f"rollback/{MODEL}", "inputs": {}, "actor": "github-actions[bot]"}
    ]
    (issue,) = now["issues"].values()
    assert "It is slow" in issue
    assert f"#{pull.number}" in issue
    # It took no login: what serves again is on the host.
    assert "docker/login-action" not in {one["action"] for one in story.rollback.used}


def test_a_version_that_is_worse_comes_back_by_itself_is_red_and_says_why(story: Story, versions: Versions) -> None:
    assert story.bad.results == results(staging=SKIPPED, production=FAILURE), story.bad.describe()
    now = story.after_bad
    assert now["serving"]["production"] == now["active"]["production"] == versions.first
    assert now["violations"] == {STAGING: [], PRODUCTION: []}
    (issue,) = now["issues"].values()
    assert "is worse at 50 %" in issue
    assert f"`{versions.first}` serves again" in issue
    assert len(now["notes"]) == 2


def test_a_version_that_was_rolled_back_is_held_until_its_issue_is_closed(story: Story) -> None:
    assert story.again.results["fetch"] == FAILURE, story.again.describe()
    assert any("was rolled back from production" in one for one in story.again["fetch"].annotations)
    assert story.again.results["build"] == SKIPPED


# What is not released.


def test_without_a_version_nothing_is_released_and_it_says_what_to_do(
    seed: Path, environments: Path, tmp_path: Path
) -> None:
    """A new repository: its first push."""
    with opened(tmp_path, seed, environments, {}) as shop:
        run = shop.pushed("0" * 40)
    assert run.results == {**dict.fromkeys(JOBS, SKIPPED), "plan": SUCCESS}, run.describe()
    assert "Open a pull request that changes the model" in run["plan"].summary
    assert shop.loop.repository.dispatches == []


def test_without_a_target_a_version_is_packaged_and_it_says_which_variable_to_set(shop: Shop) -> None:
    for name in ("STAGING_ADDRESS", "PRODUCTION_ADDRESS"):
        del shop.loop.runner.variables[name]
    run = shop.release()
    assert run.results == results(staging=SKIPPED, production=SKIPPED), run.describe()
    for name in ("STAGING_ADDRESS", "PRODUCTION_ADDRESS", "deploy/environments/staging.toml"):
        assert name in run["plan"].summary
    assert "deployed nowhere" in run["record"].summary
    assert len(shop.hosts.pushed) == 1
    assert shop.hosts.worlds == {}


def test_a_lock_that_does_not_match_its_inputs_is_refused(shop: Shop) -> None:
    """Though the pull request that changed the inputs was merged with a verdict."""
    shop.loop.push("unlocked", estimator("neighbours"))
    shop.merge("unlocked")
    run = shop.release()
    assert run.results["fetch"] == FAILURE, run.describe()
    assert any("does not match its inputs" in one for one in run["fetch"].annotations), run["fetch"].log
    assert shop.hosts.pushed == []


@pytest.mark.parametrize("how", ["pushed past CI", "measured by hand on the default branch"])
def test_a_version_without_a_verdict_is_refused(shop: Shop, how: str) -> None:
    """A run by hand on the default branch compares nothing, so its verdict says nothing."""
    shop.loop.repository.git("update-ref", "refs/heads/main", "refs/heads/second")
    if how.startswith("measured"):
        shop.measured(event="workflow_dispatch")
    run = shop.release()
    assert run.results["fetch"] == FAILURE, run.describe()
    assert any("no verdict" in one for one in run["fetch"].annotations), run["fetch"].log
    assert shop.hosts.pushed == []


class Forgotten(list[Any]):
    """Attestations that nobody keeps."""

    def append(self, _: Any) -> None:
        """Forget it."""


def test_an_image_that_nobody_attested_is_not_deployed(shop: Shop) -> None:
    shop.loop.repository.attestations = Forgotten()
    run = shop.release()
    assert run.results == results(staging=FAILURE, production=SKIPPED), run.describe()
    assert "no attestations found" in run["staging"].log
    assert shop.hosts.worlds == {}
    assert shop.active("staging") is None


def test_another_image_than_the_packaged_one_is_not_deployed(shop: Shop) -> None:
    """Somebody changes what is handed over between the jobs."""
    path = ".github/workflows/cd.yml"
    other = write(path, "          DIGEST: ${{ needs.build.outputs.digest }}", f"          DIGEST: sha256:{'0' * 64}")
    shop.loop.push("main", other)
    run = shop.release()
    assert run.results == results(staging=FAILURE, production=SKIPPED), run.describe()
    assert "was packaged" in run["staging"].log
    assert shop.hosts.worlds == {}


def test_an_image_with_a_serious_vulnerability_is_neither_attested_nor_deployed(shop: Shop) -> None:
    shop.loop.runner.extra["ACTING_VULNERABILITY"] = "high"
    run = shop.release()
    skipped = dict.fromkeys(("attest", "staging", "production"), SKIPPED)
    assert run.results == results(scan=FAILURE, **skipped), run.describe()
    assert shop.loop.repository.attestations == []


def test_a_branch_that_nobody_merged_is_not_released(shop: Shop) -> None:
    run = shop.release(branch="second")
    assert run.results == {**dict.fromkeys(JOBS, SKIPPED), "plan": FAILURE}, run.describe()
    assert "made from main only" in run["plan"].log


def test_a_rollback_that_cannot_be_is_red_and_writes_nothing(shop: Shop) -> None:
    run = shop.roll_back()
    assert run.results == {"rollback": FAILURE, "record": SKIPPED}, run.describe()
    assert "never deployed to production" in run["rollback"].log
    assert shop.loop.repository.issues == {}


def test_a_rollback_never_goes_to_the_other_environment(shop: Shop) -> None:
    """Where production has no address, the one of staging is not taken for it."""
    del shop.loop.runner.variables["PRODUCTION_ADDRESS"]
    run = shop.roll_back()
    assert run.results["rollback"] == FAILURE, run.describe()
    assert "production has no target yet" in run["rollback"].log
    assert shop.hosts.worlds == {}


# The same on a real engine, with a real registry.

REAL = """
target = "docker"
port = {port}
proxy = "{proxy}"
replicas = 1
[canary]
weights = [50]
[load]
requests = 20
[judge]
requests = 50
minutes = 10
seconds = 1
replay = 200.0
slow = 1.0
shift = {shift}
"""


def test_on_a_real_engine_versions_come_and_go_back_and_a_bad_one_is_taken_back(
    versions: Versions, environments: Path, engine: Engine, base: str, proxy: str, registry: str, tmp_path: Path
) -> None:
    """Images are built, pushed, pulled by their digests, proven and judged behind the proxy; bad is what differs more
    than the environment allows. The judge has the rows that each version brings along, and nobody else asks."""
    port, page = free(), Path("deploy") / "environments" / "production.toml"
    with start(tmp_path / "loop", versions.source, environments, extra={}) as loop:
        (loop.runner.folder / "tools" / "docker").symlink_to(engine.program)
        loop.runner.variables.update({"REGISTRY": f"{registry}/acme/models", "BASE_IMAGE": base})
        shop, repository = Shop(loop, Hosts(tmp_path)), loop.repository

        def allow(shift: float) -> None:
            text = REAL.format(port=port, proxy=proxy, shift=shift)
            loop.push("main", called("test-cd"), lambda root: (root / page).write_text(text))

        def serving() -> tuple[Any, str | None]:
            """The version that answers, and the one that is on record."""
            return wait(f"http://127.0.0.1:{port}/{MODEL}/model")["version"], shop.active("production")

        try:
            allow(1.0)
            shop.measured()
            run = shop.release()
            assert run.results == results(staging=SKIPPED), run.describe()
            assert serving() == (versions.first, versions.first)

            shop.merge("second")
            run = shop.release()
            assert run.results == results(staging=SKIPPED), run.describe()
            assert serving() == (versions.second, versions.second)

            run = shop.roll_back()
            assert run.results == {"rollback": SUCCESS, "record": SUCCESS}, run.describe()
            assert serving() == (versions.first, versions.first)
            (issue,) = repository.issues.values()
            assert versions.second in issue["title"]
            issue["state"] = "closed"

            allow(0.02)
            run = shop.release()
            assert run.results == results(staging=SKIPPED, production=FAILURE), run.describe()
            assert serving() == (versions.first, versions.first)
            (issue,) = [one for one in repository.issues.values() if one["state"] == "open"]
            assert "It predicts" in issue["body"]
        finally:
            # All that was made is called like the proxy, which publishes the port.
            published = ("ps", "--all", "--filter", f"publish={port}", "--format", "{{.Names}}")
            kept = engine.docker(*published).removesuffix("-proxy") or "nothing-was-made"
            for kind, remove in (("container", "rm --force"), ("volume", "rm"), ("network", "rm")):
                everything = ["--all"] if kind == "container" else []
                found = engine.docker(kind, "ls", *everything, "--quiet", "--filter", f"name=^/?{kept}").split()
                if found:
                    engine.docker(kind, *remove.split(), *found)
            made = engine.docker("image", "ls", "--quiet", f"{registry}/acme/models/{MODEL}").split()
            if made:
                engine.run("image", "rm", "--force", *set(made))
