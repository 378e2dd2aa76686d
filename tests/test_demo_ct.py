"""`make demo-ct` tells its story: time passes, a version is proposed, data drifts, watch alarms, the gate decides."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.demo_ct import DRIFT, OLD
from tests.rendering import ROOT, command, stages
from tests.showing import CHAMPION, Demo

pytestmark = pytest.mark.slow


@pytest.fixture
def begun(project: Path) -> Iterator[Path]:
    """A demo that was interrupted when its project was installed."""
    note = project.parent / f".{project.name}.json"
    Demo(name="make demo-ct", steps=7, project=project).remember()
    yield project
    note.unlink()


def told(project: Path) -> "subprocess.CompletedProcess[str]":
    """What the demo said, to its end."""
    return command(sys.executable, "-m", "tests.demo_ct", str(project), cwd=ROOT)


def killed(project: Path, line: str) -> None:
    """Tell it, and kill all that it started as soon as it says this line."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.demo_ct", str(project)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as demo:
        assert demo.stdout is not None
        said = []
        for one in demo.stdout:
            said.append(one)
            if one.strip() == line:
                break
        else:
            pytest.fail("".join(said))
        os.killpg(demo.pid, signal.SIGKILL)


def read(project: Path, name: str) -> dict[str, Any]:
    """A report of the model."""
    found: dict[str, Any] = json.loads((project / "reports" / "tumour" / name).read_text())
    return found


def git(project: Path, *words: str) -> str:
    """What git says."""
    done = command("git", *words, cwd=project)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_story_is_told_to_its_end_whatever_interrupts_it(begun: Path) -> None:
    """The champion is due by its age; it is quiet before the drift and alarms after; both times the gate decides."""
    project = begun
    killed(project, "$ mlops gate tumour")
    assert git(project, "rev-parse", "--abbrev-ref", "HEAD") == "ct-work/tumour\n"
    first = told(project)
    assert first.returncode == 0, first.stdout + first.stderr

    said = first.stdout
    assert CHAMPION in git(project, "log", "--format=%s", "main")
    assert "its data is of 2026-07-01, 50 days ago; the schedule is 30 days" in said
    quiet, _, later = said.partition("[6/7]")
    assert "quiet  drift:" in quiet.partition("[5/7]")[2]
    assert "alarm  drift:" in later
    assert "reference > current" in later
    look = read(project, "watch.json")
    drift = next(one for one in look["findings"] if one["kind"] == "drift")
    assert (look["outcome"], look["today"], drift["outcome"]) == ("alarm", DRIFT, "alarm")
    assert "mean_texture" in drift["sentence"]
    assert next(one for one in look["findings"] if one["kind"] == "skew")["outcome"] == "quiet"

    last = read(project, "retraining.json")
    assert (last["day"], last["reasons"]) == (DRIFT, [f"drift: {drift['sentence']}"])
    text = (project / "reports" / "tumour" / "retraining.md").read_text()
    assert drift["sentence"].split(":")[0] in text
    assert set(last["why"])
    assert "".join(f"  | {line}\n" for line in text.splitlines()) in said
    assert (project / "reports" / "report.html").stat().st_size > 10_000
    branches = git(project, "for-each-ref", "--format=%(refname:short)", "refs/heads").split()
    if last["kind"] == "proposed":
        assert branches == ["ct/tumour", "main"]
        assert git(project, "log", "-1", "--format=%B", "ct/tumour").strip() == text.removeprefix("# ").strip()
        changed = git(project, "diff", "--name-only", "main", "ct/tumour").split()
        assert {"models/tumour/dvc.lock", "models/tumour/model.toml"} <= set(changed)
        assert f'as_of = "{DRIFT}"' in git(project, "show", "ct/tumour:models/tumour/model.toml")
    else:
        assert last["kind"] == "refused"
    # The gate may decide one way or the other; that nothing at all is proposed is not the story.
    merged = "Merge ct/tumour" in git(project, "log", "--format=%s", "main").splitlines()
    assert merged or last["kind"] == "proposed"
    assert (f'as_of = "{OLD}"' in git(project, "show", "main:models/tumour/model.toml")) == merged

    before = git(project, "for-each-ref"), git(project, "status", "--porcelain")
    again = told(project)
    assert again.returncode == 0, again.stdout + again.stderr
    assert stages(again.stdout + again.stderr) == []
    assert (git(project, "for-each-ref"), git(project, "status", "--porcelain")) == before
    assert before[1] == ""

    (project / "README.md").write_text("mine\n")
    refused = told(project)
    assert refused.returncode == 1
    assert "was changed since the last demo" in refused.stderr
    assert (project / "README.md").read_text() == "mine\n"
