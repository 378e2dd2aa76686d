"""Whatever is answered, nothing runs, nothing lands outside, nothing is left behind, and what is accepted is sound."""

import ast
import json
import os
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from cookiecutter.exceptions import FailedHookException

from hooks import post_gen_project
from hooks.answers import first_model
from hooks.pre_gen_project import problems
from tests.hostile import CANARY, FIELDS, JINJA, RESERVED, VALUES
from tests.rendering import ROOT, command, render, template

ACCEPTED = {"project": "ml-models", "owner": "my-org", "description": "Some text.", "model": "tumour"}
CHOSEN = {"task": "classification", "storage": "git", "deploy": "docker", "license": "MIT"}


def refusals(field: str, value: str) -> list[str]:
    return problems({**ACCEPTED, **CHOSEN, field: value}, str(ROOT))


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, deep enough that `../../x` is seen too."""
    here = tmp_path / "a" / "b" / "here"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return here


def snapshot(top: Path) -> set[str]:
    """Every path below `top`, but what cookiecutter itself leaves in the temporary folder."""
    return {str(path.relative_to(top)) for path in top.rglob("*") if (top / "tmp") not in path.parents}


def assert_parses(project: Path) -> None:
    """Every rendered file is valid in its language."""
    for path in project.rglob("*"):
        if not path.is_file() or ".git" in path.parts or "packages" in path.parts or ".scaffold" in path.parts:
            continue
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".toml":
            tomllib.loads(text)
        elif path.suffix == ".json":
            json.loads(text)
        elif path.suffix == ".yaml":
            list(yaml.safe_load_all(text))
        elif path.suffix == ".py":
            ast.parse(text)


def test_there_are_at_least_300_hostile_values() -> None:
    assert len(VALUES) >= 300


@pytest.mark.parametrize("field", FIELDS)
def test_no_answer_runs_escapes_or_breaks_the_project(field: str, sandbox: Path, tmp_path: Path) -> None:
    """The bulk, through cookiecutter in this process; without hooks, whose part the next test proves."""
    before = snapshot(tmp_path)
    accepted = 0
    for value in VALUES:
        if refusals(field, value):
            with pytest.raises(FailedHookException) as refusal:
                render(sandbox, {field: value}, hooks=False)
            said = str(refusal.value)
            assert said.isascii(), value
            assert len(said.splitlines()) == 1, value
            assert len(said) < 250, value
        else:
            accepted += 1
            project = render(sandbox, {field: value}, hooks=False)
            assert project.parent == sandbox, value
            post_gen_project.add_model(project, first_model({**ACCEPTED, **CHOSEN, field: value}))
            assert_parses(project)
            shutil.rmtree(project)
        assert snapshot(tmp_path) == before, value
    assert accepted < len(VALUES)


# Real runs are slower: some of every kind, and every value that is known to have broken another template.
REAL = [
    *[("project", value) for value in ("../x", "/tmp/x", "x/y", "", "con", "x" * 10_000, "😀", "a b", "-x", JINJA[0])],
    *[("project", value) for value in ("ok", "a1-b2", "x" * 50)],
    *[("owner", value) for value in ('"; x', "@", "a/b/c", "me\n", "", "@my-org", "a/b", "--help", JINJA[1])],
    *[("model", value) for value in (*RESERVED[11:16], "numpy", "../x", "", "X", "x" * 51, JINJA[3], "a_1", "x" * 50)],
    *[
        ("description", value)
        for value in (
            "",
            'a"b',
            "a\\b",
            "a\nb",
            "it's",
            "'''",
            "R&D <b>bold</b> `x` $(touch CANARY) ; touch CANARY",
            "😀 模型 é",
            "{{ 7 * 7 }} {% raw %} {# x",
            "#? if true",
            "x\u2028y",
            JINJA[0],
            "#% if true",
            "x" * 200,
            "x" * 201,
            "key: value # comment",
            "--help",
        )
    ],
]


def test_at_least_40_answers_go_through_the_real_command() -> None:
    assert len(REAL) >= 40


@pytest.mark.parametrize(("field", "value"), REAL, ids=[f"{field}-{n}" for n, (field, _) in enumerate(REAL)])
def test_the_command_agrees_with_the_rules(field: str, value: str, sandbox: Path, tmp_path: Path) -> None:
    """Exit 1 and one line where the rules refuse, a committed project where they do not."""
    before = snapshot(tmp_path)
    program = [sys.executable, "-m", "cookiecutter", str(template()), "--no-input", f"{field}={value}"]
    done = command(*program, cwd=sandbox)
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    if refusals(field, value):
        assert done.returncode == 1, said
        assert len(said.strip().splitlines()) == 1, said
        assert snapshot(tmp_path) == before
        return
    assert done.returncode == 0, said
    (project,) = sandbox.iterdir()
    assert not list(tmp_path.rglob(CANARY))
    assert_parses(project)
    log = command("git", "log", "--format=%s", cwd=project)
    assert log.stdout == "Start from the template\n"
    assert command("git", "status", "--porcelain", cwd=project).stdout == ""


def test_a_replayed_answer_is_checked_too(sandbox: Path, tmp_path: Path) -> None:
    """cookiecutter asks nothing on replay, and names the folder before the first hook runs."""
    render(sandbox, {})
    replay = next(Path(os.environ["COOKIECUTTER_CONFIG"]).parent.glob("replay/*.json"))
    context = json.loads(replay.read_text())
    context["cookiecutter"]["project"] = "../../x"
    edited = sandbox / "edited.json"
    edited.write_text(json.dumps(context))
    before = snapshot(tmp_path)
    done = command(sys.executable, "-m", "cookiecutter", str(template()), "--replay-file", str(edited), cwd=sandbox)
    assert done.returncode == 1, done.stdout
    assert done.stdout.startswith("project '../../x' cannot be used")
    assert snapshot(tmp_path) == before
