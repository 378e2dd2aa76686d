"""The CI loop of a generated repository really runs: what happens to pull requests, from opening to merging?

act runs the rendered workflows on real data against the GitHub on this machine; see `tests/acting.py`. A scenario that
needs a champion starts from a copy of the repository as it was after the first pull request was merged. The check job
is real, but its own test run is narrowed: `test_generated.py` runs a project's tests in full.
"""

import dataclasses
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acting import Run, merge_group, pull_request
from tests.github import App, Repository
from tests.loop import (
    EXTRA,
    FAILURE,
    MODEL,
    NAME,
    SKIPPED,
    SUCCESS,
    WATERMARK,
    First,
    Loop,
    estimator,
    start,
    write,
)
from tests.rendering import command, stages

pytestmark = pytest.mark.slow


# One pull request.


def test_a_first_pull_request_is_trained_reported_stored_and_judged(first: First) -> None:
    assert first.run.results == dict.fromkeys(first.run.results, SUCCESS), first.run.describe()
    (report,) = first.comments
    assert "first version" in report
    assert "own files changed: model.toml" in first.run["plan"].summary
    assert "first version" in first.run["report"].summary


def test_what_was_trained_is_in_the_storage_and_its_lock_on_the_branch(first: First) -> None:
    assert first.stored_at != first.head
    assert sorted(set(first.pushes)) == ["refs/heads/dvc-storage", "refs/heads/first"]
    assert first.missing == frozenset()


def test_the_commit_with_the_lock_gets_its_verdict_and_trains_nothing(first: First) -> None:
    assert first.verdicts == (SUCCESS, SUCCESS), first.follow_up.describe()
    assert stages(first.follow_up["train"].log) == []
    assert stages(first.run["train"].log)[-4:] == ["train", "evaluate", "explain", "age"]
    assert re.search(r"nothing (changed|had to run)", first.follow_up["train"].log), first.follow_up["train"].log


def test_a_better_challenger_is_compared_and_a_later_run_updates_the_same_comment(loop: Loop) -> None:
    """Also behind more than thirty other comments; the merge queue measures it again and trains nothing."""
    number = loop.propose("better", estimator("neighbours"))
    run = loop.measure(number)
    assert run.results["verdict"] == SUCCESS, run.describe()
    (before,) = loop.reports(number)
    assert "roc_auc" in before
    assert re.search(r"95 ?%", before)
    position = [WATERMARK in comment["body"] for comment in loop.repository.on(number)].index(True)
    follow_up = loop.follow()
    assert follow_up.results["verdict"] == SUCCESS, follow_up.describe()
    assert loop.verdict(loop.head(number)) == SUCCESS
    # What the training took is of the version: a run that trained nothing shows it too.
    (after,) = loop.reports(number)
    assert "No stage ran" in after
    assert "| Making it |" in after

    for talk in range(40):
        loop.github.comment(NAME, number, f"Comment {talk}", author="bob")
    comments = loop.repository.comments
    comments.append(comments.pop(position))
    loop.push("better", write("README.md", "# ", "# The "))
    again = loop.measure(number)
    assert again.results["verdict"] == SUCCESS, again.describe()
    assert stages(again["train"].log) == []
    (after,) = loop.reports(number)
    assert loop.head(number) in after

    queued = loop.run(merge_group(loop.github, NAME, number))
    assert queued.results["verdict"] == SUCCESS, queued.describe()
    assert len(loop.reports(number)) == 1


def test_a_challenger_that_worsens_a_slice_is_red_and_says_why(loop: Loop) -> None:
    """Better overall, worse where it matters to some: nothing of it is stored."""
    kept = loop.stored()
    number = loop.propose("worse", estimator("forest"))
    head = loop.head(number)
    run = loop.measure(number)
    assert run.results["verdict"] == FAILURE, run.describe()
    assert run.results["report"] == SUCCESS
    assert any("small nuclei" in sentence for sentence in run["verdict"].annotations), run["verdict"].log
    (report,) = loop.reports(number)
    assert "small nuclei" in report
    assert loop.head(number) == head
    assert loop.stored() == kept
    assert loop.repository.dispatches == []


def test_rows_that_break_the_contract_are_red_and_named(loop: Loop) -> None:
    """Run again by hand, the same comment is updated."""
    number = loop.propose("contract", write(f"models/{MODEL}/contract.py", "ge=0, le=50,", "ge=0, le=20,"))
    run = loop.measure(number)
    assert (run.results["data"], run.results["verdict"]) == (FAILURE, FAILURE), run.describe()
    assert any("mean_radius" in sentence for sentence in run["verdict"].annotations), run["verdict"].log
    (report,) = loop.reports(number)
    assert "not evaluated" in report
    assert loop.repository.dispatches == []

    again = loop.run(dataclasses.replace(run.event, attempt=2))
    assert again.results == run.results
    assert len(loop.reports(number)) == 1
    assert [comment["edits"] for comment in loop.repository.on(number)] == [1]


def test_a_change_of_documentation_plans_nothing_and_passes(loop: Loop) -> None:
    number = loop.propose("docs", write("docs/README.md", "# ", "# The "))
    run = loop.measure(number)
    expected = {"data": SKIPPED, "train": SKIPPED, "store": SKIPPED}
    assert run.results == {**dict.fromkeys(run.results, SUCCESS), **expected}, run.describe()
    assert "can affect no model" in run["verdict"].summary
    assert loop.github.pushes == []


def test_a_permission_that_is_dropped_from_the_workflows_turns_them_red(loop: Loop) -> None:
    """The pull request's own workflows run; what they may no longer do, they are refused."""
    less = [
        write(f".github/workflows/{name}.yml", "      pull-requests: write # to write the one comment\n", "")
        for name in ("ci", "reusable-report")
    ]
    run = loop.measure(loop.propose("less", *less))
    assert (run.results["report"], run.results["verdict"]) == (FAILURE, FAILURE), run.describe()
    assert "pull-requests" in run["report"].log


def test_code_that_does_not_pass_its_checks_is_red(loop: Loop) -> None:
    number = loop.propose("unformatted", lambda root: (root / "tests" / "ugly.py").write_text("import os\nx=1\n"))
    run = loop.measure(number)
    assert (run.results["check"], run.results["verdict"]) == (FAILURE, FAILURE), run.describe()


def test_a_pull_request_of_a_fork_is_measured_and_told_why_there_is_no_comment(loop: Loop) -> None:
    fork = loop.github.fork("stranger/ml-models", NAME)
    loop.push("theirs", estimator("linear", "strength = 0.5"), to=fork)
    number = loop.github.open(NAME, "theirs", author="stranger", title="Theirs", fork=fork.name)
    run = loop.measure(number)
    assert run.results["train"] == SUCCESS, run.describe()
    assert run.results["report"] == SUCCESS
    assert run.results["store"] == SKIPPED
    assert "fork" in run["report"].summary
    assert "roc_auc" in run["report"].summary
    # A version that nobody could store is not merged unseen.
    assert run.results["verdict"] == FAILURE
    assert loop.repository.comments == []
    assert loop.github.pushes == []
    assert not any("403" in refusal for refusal in loop.github.refusals)


def test_a_pull_request_of_dependabot_whose_lock_is_right_trains_nothing_and_passes(loop: Loop) -> None:
    bump = write("packages/mlops/pyproject.toml", "[project]", "# Bumped.\n[project]")
    number = loop.propose("dependabot/uv/something", bump, author="dependabot[bot]")
    run = loop.measure(number)
    assert run.results["verdict"] == SUCCESS, run.describe()
    assert run.results["store"] == SKIPPED
    assert stages(run["train"].log) == []
    assert "Dependabot" in run["report"].summary
    assert loop.repository.comments == []


def test_without_cml_gh_writes_the_same_comment(loop: Loop) -> None:
    """CML's release is not to be had; the report arrives all the same."""
    loop.github.releases.clear()
    number = loop.propose("budget", write(f"models/{MODEL}/model.toml", "minutes = 45", "minutes = 50"))
    run = loop.measure(number)
    assert run.results["verdict"] == SUCCESS, run.describe()
    assert len(loop.reports(number)) == 1


# Several models, several pull requests.


@pytest.fixture
def monorepo(seed: Path, installed: Path, environments: Path, tmp_path: Path) -> Iterator[Loop]:
    """Five models, two of which use a package of this repository, and no champion."""
    folder = tmp_path / "five"
    subprocess.run(["git", "clone", "--quiet", str(seed), str(folder)], check=True)
    for number in range(1, 5):
        add = command(str(installed / ".venv" / "bin" / "mlops"), "new-model", "--", f"model_{number}", cwd=folder)
        assert add.returncode == 0, add.stderr
    package = folder / "packages" / "features"
    (package / "src" / "features").mkdir(parents=True)
    (package / "src" / "features" / "__init__.py").write_text('"""What several models compute alike."""\n')
    (package / "pyproject.toml").write_text(
        '[project]\nname = "features"\nversion = "0.1.0"\nrequires-python = ">=3.11"\n\n'
        '[build-system]\nrequires = ["hatchling>=1.27"]\nbuild-backend = "hatchling.build"\n'
    )
    for name in ("model_1", "model_2"):
        file = f"models/{name}/pyproject.toml"
        write(file, 'dependencies = ["mlops",', 'dependencies = ["features", "mlops",')(folder)
        write(file, "[tool.uv.sources]\n", "[tool.uv.sources]\nfeatures = { workspace = true }\n")(folder)
    lock = command("uv", "lock", cwd=folder)
    assert lock.returncode == 0, lock.stderr
    subprocess.run(["git", "add", "--all"], cwd=folder, check=True)
    subprocess.run(["git", "commit", "--quiet", "--message", "Five models"], cwd=folder, check=True)
    with start(tmp_path, folder, environments, extra=EXTRA) as made:
        yield made


def keep(repository: Repository, name: str) -> None:
    """Somebody else adds an object to the branch that is the storage."""
    branch, index = "refs/heads/dvc-storage", {"GIT_INDEX_FILE": "elsewhere.index"}
    author = {f"GIT_{role}_{key}": "Test" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    blob = repository.git("rev-parse", f"{branch}:{repository.git('ls-tree', '-r', '--name-only', branch).split()[0]}")
    repository.git("read-tree", branch, **index)
    path = f"files/md5/{name[:2]}/{name[2:]}"
    repository.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", **index)
    tree = repository.git("write-tree", **index)
    repository.git("update-ref", branch, repository.git("commit-tree", tree, "-p", branch, "-m", "Keep", **author))


def models(run: Run) -> set[str]:
    """The models that were trained (or looked at)."""
    return {str(leaf.matrix["model"]) for leaf in run["train"].leaves}


def test_a_shared_package_measures_its_users_and_two_pull_requests_at_once_both_survive(monorepo: Loop) -> None:
    shared = write("packages/features/src/features/__init__.py", "alike", "alike (or nearly so)")
    number = monorepo.propose("shared", shared)
    monorepo.github.apps["a-private-key"] = App("robot", "Iv1", NAME, {"contents": "write"})
    monorepo.runner.variables["APP_CLIENT_ID"] = "Iv1"
    monorepo.runner.secrets["APP_PRIVATE_KEY"] = "a-private-key"
    run = monorepo.measure(number)
    assert run.results["verdict"] == SUCCESS, run.describe()
    assert models(run) == {"model_1", "model_2"}
    assert "packages/features changed" in run["plan"].summary
    tested = re.findall(r"PASSED (?:\S*/)?models/(\w+)/tests", run["check"].log)
    assert set(tested) == {"model_1", "model_2"}, run["check"].log
    (report,) = monorepo.reports(number)
    assert "model_1" in report
    assert "model_2" in report
    assert "model_3" not in report
    # What an App pushes starts CI by itself, so nothing is dispatched.
    assert {push.actor for push in monorepo.github.pushes} == {"robot[bot]"}
    assert monorepo.repository.dispatches == []
    monorepo.runner.variables.clear()

    numbers = {}
    for name in ("model_3", "model_4"):
        change = write(f"models/{name}/model.toml", "minutes = 60", "minutes = 30")
        numbers[name] = monorepo.propose(name, change)
    # Whichever stores first finds that the storage has moved under its hands; nothing of anybody's is lost.
    foreign = "00112233445566778899aabbccddeeff"
    monorepo.github.faster["refs/heads/dvc-storage"] = lambda: keep(monorepo.repository, foreign)
    events = {name: pull_request(monorepo.github, NAME, number) for name, number in numbers.items()}
    runs: dict[str, Run] = {}

    def measure(name: str) -> None:
        runs[name] = monorepo.run(events[name])

    threads = [threading.Thread(target=measure, args=(name,)) for name in events]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, number in numbers.items():
        assert runs[name].results["verdict"] == SUCCESS, runs[name].describe()
        assert models(runs[name]) == {name}
        assert monorepo.locked(monorepo.head(number), name) <= monorepo.stored()
    stored = monorepo.stored()
    assert foreign in stored
    for name in ("model_1", "model_2"):
        assert monorepo.locked(monorepo.head(number=1), name) <= stored
    assert monorepo.github.faster == {}
