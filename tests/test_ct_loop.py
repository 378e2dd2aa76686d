"""The CT loop of a generated repository really runs: when is a model trained anew, and what becomes of it?

act runs the rendered `ct.yml` on real data against the GitHub on this machine, from a repository that has a champion.
"""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.acting import Event, Run, dispatch, repository_dispatch, schedule
from tests.loop import FAILURE, MODEL, NAME, SKIPPED, SUCCESS, WATERMARK, Edit, Loop, estimator, write
from tests.rendering import stages

pytestmark = pytest.mark.slow

BRANCH = f"ct/{MODEL}"
ALARM = {"model": MODEL, "kind": "drift", "sentence": "Drift: mean_area moved."}


def asked(loop: Loop, day: str = "2026-10-01") -> Event:
    """A person starts it for one model, with data up to a day."""
    inputs = {"model": MODEL, "reason": "new scanners", "as-of": day}
    return dispatch(loop.github, NAME, "main", actor="ann", inputs=inputs, workflow="ct.yml")


def ct(loop: Loop, event: Event) -> Run:
    """Run it."""
    return loop.run(event, workflow="ct.yml")


def merge(loop: Loop, *edits: Edit) -> None:
    """Change the default branch."""
    loop.push("main", *edits)


def branches(loop: Loop) -> set[str]:
    """What retraining has left."""
    listed = loop.repository.git("for-each-ref", "--format=%(refname:short)", "refs/heads/ct", "refs/heads/ct-work")
    return set(listed.split())


def issues(loop: Loop) -> list[dict[str, Any]]:
    """The open issues about retraining."""
    return loop.issues("retraining")


def test_when_nothing_is_due_nothing_runs(loop: Loop) -> None:
    """Without a schedule the morning's run plans, and ends green."""
    merge(loop, write(f"models/{MODEL}/model.toml", "every_days = 30", "every_days = 0"))
    before = len(loop.github.pushes)
    run = ct(loop, schedule(loop.github, NAME, "23 4 * * *"))
    later = dict.fromkeys(("unplanned", "start", "data", "train", "propose"), SKIPPED)
    assert run.results == {"heartbeat": SUCCESS, "due": SUCCESS, **later}, run.describe()
    assert "0 of 1 model due" in run["due"].summary
    assert len(loop.github.pushes) == before


def test_new_data_and_a_version_that_passes_become_a_pull_request_that_ci_measures(loop: Loop) -> None:
    """One branch with the lock, the report and the reason; while it is open an alarm waits, and a person does not."""
    run = ct(loop, asked(loop))
    assert run.results == {**dict.fromkeys(run.results, SUCCESS), "unplanned": SKIPPED}, run.describe()
    assert stages(run["train"].log)[-2:] == ["explain", "age"]
    assert branches(loop) == {BRANCH}
    (pull,) = loop.repository.pulls_of(BRANCH)
    assert pull.title.startswith(f"Retrain {MODEL}: roc_auc ")
    assert "new scanners" in pull.body
    assert loop.locked(loop.head(pull.number)) <= loop.stored()

    measured = loop.follow()
    assert measured.results["verdict"] == SUCCESS, measured.describe()
    assert stages(measured["train"].log) == []
    (report,) = loop.reports(pull.number)
    assert WATERMARK in report
    assert "roc_auc" in report

    held = ct(loop, repository_dispatch(loop.github, NAME, "retrain", ALARM))
    assert held.results["start"] == SKIPPED, held.describe()
    assert "a retraining pull request is open" in held["due"].summary

    again = ct(loop, asked(loop, "2026-11-01"))
    assert again.results["propose"] == SUCCESS, again.describe()
    assert len(loop.repository.pulls_of(BRANCH)) == 1
    assert 'as_of = "2026-11-01"' in loop.repository.git("show", f"{BRANCH}:models/{MODEL}/model.toml")


def test_a_worse_version_becomes_one_issue_and_waits_for_its_cooldown(loop: Loop) -> None:
    """An alarm asks; what it finds is worse; the issue says why, and the same alarm a day later is held."""
    merge(loop, estimator("forest"))
    kept = loop.stored()
    run = ct(loop, repository_dispatch(loop.github, NAME, "retrain", ALARM))
    assert run.results["train"] == FAILURE, run.describe()
    assert run.results["propose"] == SUCCESS, run.describe()
    assert branches(loop) == set()
    assert loop.stored() == kept
    assert loop.repository.pulls_of(BRANCH) == []
    (issue,) = issues(loop)
    assert "small nuclei" in issue["body"]
    assert "mean_area moved" in issue["body"]

    held = ct(loop, repository_dispatch(loop.github, NAME, "retrain", ALARM))
    assert held.results["start"] == SKIPPED, held.describe()
    assert "cooldown" in held["due"].summary
    again = ct(loop, asked(loop, "2026-11-01"))
    assert again.results["propose"] == SUCCESS, again.describe()
    assert len(issues(loop)) == 1
    assert issues(loop)[0]["edits"] == 1


def test_data_that_did_not_change_trains_nothing_and_proposes_nothing(loop: Loop) -> None:
    """A newer day without a newer row: the same version comes out."""
    run = ct(loop, asked(loop, "2026-07-02"))
    assert run.results["propose"] == SUCCESS, run.describe()
    assert "train" not in stages(run["train"].log)
    assert "same version" in run["propose"].summary
    assert branches(loop) == set()
    assert issues(loop) == []


def test_what_a_crash_left_is_replaced_and_a_forbidden_pull_request_is_said(loop: Loop) -> None:
    """A working branch and a branch without its pull request lie there; GitHub lets no workflow open one."""
    bare = loop.repository
    for branch in (f"ct-work/{MODEL}", BRANCH):
        bare.git("update-ref", f"refs/heads/{branch}", bare.git("rev-parse", "refs/heads/main"))
    bare.may_create_pulls = False
    run = ct(loop, asked(loop))
    assert run.results == {**dict.fromkeys(run.results, SUCCESS), "unplanned": SKIPPED}, run.describe()
    assert branches(loop) == {BRANCH}
    (issue,) = issues(loop)
    assert "Allow GitHub Actions to create and approve pull requests" in issue["body"]
    assert f"compare/main...{BRANCH}" in issue["body"]

    bare.may_create_pulls = True
    run = ct(loop, asked(loop, "2026-11-01"))
    assert run.results["propose"] == SUCCESS, run.describe()
    assert len(bare.pulls_of(BRANCH)) == 1
    assert issues(loop) == []


def test_two_models_that_are_due_are_trained_side_by_side(loop: Loop, installed: Path) -> None:
    """Both by their schedule; one may merge by itself, and only that one is told to; a broken third stops neither."""

    def add(root: Path) -> None:
        mlops = str(installed / ".venv" / "bin" / "mlops")
        for name in ("second", "third"):
            subprocess.run([mlops, "new-model", "--task", "regression", "--", name], cwd=root, check=True)
        write("models/third/model.toml", "every_days = 30", "every_days = -1")(root)
        subprocess.run(["uv", "lock", "--quiet"], cwd=root, check=True)

    merge(loop, add, write(f"models/{MODEL}/model.toml", "auto_merge = false", "auto_merge = true"))
    run = ct(loop, schedule(loop.github, NAME, "23 4 * * *"))
    assert run.results["propose"] == SUCCESS, run.describe()
    assert run.results["unplanned"] == FAILURE, run.describe()
    assert "models/third/model.toml: retrain.every_days is -1." in run["unplanned"].log
    assert branches(loop) == {BRANCH, "ct/second"}
    (mine,) = loop.repository.pulls_of(BRANCH)
    assert loop.repository.merging == [mine.number]
    assert len(loop.repository.pulls_of("ct/second")) == 1
