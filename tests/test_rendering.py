"""Every combination renders to exactly its tree, with nothing of the template left in it."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.combinations import COMBINATIONS, name
from tests.conftest import Bake
from tests.rendering import PRODUCT, PROMPTS, ROOT, SETTINGS, command, files, render, template

# What a repository holds outside its packages; a model's files are listed below.
OUTER = [
    *(".dvc/.gitignore", ".dvc/config", ".dvcignore", ".editorconfig", ".gitattributes", ".gitignore"),
    *(".template.json", "LICENSE", "Makefile", "README.md", "pyproject.toml"),
]
CALLERS = ("cd", "ci", "ct", "rollback", "watch")
CALLED = {
    "ci": ("check", "data", "plan", "report", "store", "train"),
    "cd": tuple(f"release-{verb}" for verb in ("attest", "build", "fetch", "plan", "record", "scan", "start")),
    "rollback": ("rollback-record",),
    "ct": ("due", "propose", "start"),
    "watch": ("heartbeat", "looks", "tell", "unplanned", "watch"),
}
WORKFLOWS = [*CALLERS, *(f"reusable-{verb}" for verbs in CALLED.values() for verb in verbs)]
GITHUB = [
    *(f".github/workflows/{name}.yml" for name in WORKFLOWS),
    *(".github/actions/setup/action.yml", ".github/zizmor.yml", ".github/dependabot.yml", ".github/CODEOWNERS"),
    *(".github/CONTRIBUTING.md", ".github/SECURITY.md", ".github/pull_request_template.md"),
    *(f".github/ISSUE_TEMPLATE/{name}.yml" for name in ("bug", "config", "data-problem", "model-request")),
    *(f".github/rulesets/{name}.json" for name in ("default-branch", "dvc-storage")),
]
BUCKET = [".github/actions/sign-in/action.yml"]
AWS = ("reader-policy.json", "reader-trust.json", "writer-policy.json", "writer-trust.json")
AZURE = ("reader-branch.json", "reader-pull-request.json", "reader-watch.json", "writer-role.json", "writer.json")
OIDC = {"git": (), "s3": ("README.md", *AWS), "gs": ("README.md", "provider.yaml"), "azure": ("README.md", *AZURE)}
MODEL = ["contract.py", "dvc.yaml", "model.toml", "pyproject.toml"]
WORDS = {
    "MIT": "MIT License",
    "Apache-2.0": "Apache License",
    "BSD-3-Clause": "BSD 3-Clause License",
    "Proprietary": "All rights reserved",
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every combination, rendered once."""
    return {name(answers): render(tmp_path_factory.mktemp("all"), answers) for answers in COMBINATIONS}


def texts(project: Path) -> dict[str, str]:
    """Every committed file; one that is not UTF-8 text fails."""
    return {path: (project / path).read_bytes().decode("utf-8") for path in files(project)}


def copied(folder: str) -> list[str]:
    """Files below a folder of the product, which rendering copies as they are."""
    product = template() / PRODUCT.name
    return [path.relative_to(product).as_posix() for path in (product / folder).rglob("*") if path.is_file()]


def test_an_unknown_option_is_an_error_in_tests(bake: Bake) -> None:
    """cookiecutter ignores it, so a misspelt option in a test would test nothing."""
    with pytest.raises(ValueError, match="licence"):
        bake(licence="MIT")


def test_there_are_at_most_eight_prompts_and_each_is_described() -> None:
    assert len(PROMPTS) <= 8
    assert set(SETTINGS["__prompts__"]) == set(PROMPTS)
    for key in PROMPTS:
        if isinstance(SETTINGS[key], list):
            assert set(SETTINGS["__prompts__"][key]) == {"__prompt__", *SETTINGS[key]}


def test_the_table_holds_every_combination_of_the_choices() -> None:
    choices = {key: SETTINGS[key] for key in PROMPTS if isinstance(SETTINGS[key], list)}
    product = 1
    for values in choices.values():
        product *= len(values)
    assert len({name(answers) for answers in COMBINATIONS}) == product
    assert {key: {answers[key] for answers in COMBINATIONS} for key in choices} == {
        key: set(values) for key, values in choices.items()
    }


@pytest.mark.parametrize("answers", COMBINATIONS, ids=name)
def test_the_tree_is_exact(answers: dict[str, str], rendered: dict[str, Path]) -> None:
    project = rendered[name(answers)]
    model = "tumour" if answers["task"] == "classification" else "diabetes"
    found = files(project)
    assert [path for path in found if "/" not in path or path.startswith(".dvc/")] == sorted(OUTER)
    assert [path for path in found if path.startswith(f"models/{model}/") and path.count("/") == 2] == sorted(
        f"models/{model}/{path}" for path in MODEL
    )
    expected = GITHUB if answers["storage"] == "git" else [*GITHUB, *BUCKET]
    expected = [*expected, *(f".github/oidc/{path}" for path in OIDC[answers["storage"]])]
    assert [path for path in found if path.startswith(".github/")] == sorted(expected)
    assert {path.split("/")[0] for path in found if "/" in path} == {
        ".dvc",
        ".github",
        ".scaffold",
        "deploy",
        "docs",
        "models",
        "monitoring",
        "packages",
        "tests",
    }
    pruned = () if answers["deploy"] == "kubernetes" else ("deploy/kubernetes/",)
    for folder in ("deploy", "docs", "monitoring", "packages", "tests", ".scaffold"):
        kept = sorted(path for path in copied(folder) if not path.startswith(pruned))
        assert [path for path in found if path.startswith(f"{folder}/")] == kept
    scaffold = {path.removeprefix(".scaffold/model/") for path in copied(".scaffold")} - {"cookiecutter.json"}
    assert [path.removeprefix("models/") for path in found if path.startswith("models/")] == sorted(
        path.replace("{{cookiecutter.name}}", model) for path in scaffold
    )


@pytest.mark.parametrize("answers", COMBINATIONS, ids=name)
def test_each_option_says_what_it_chooses(answers: dict[str, str], rendered: dict[str, Path]) -> None:
    """An option that changes nothing is dead."""
    found = texts(rendered[name(answers)])
    assert WORDS[answers["license"]] in found["LICENSE"]
    assert ("id-token: write" in found[".github/workflows/ci.yml"]) == (answers["storage"] != "git")
    url = "storage" if answers["storage"] == "git" else f"{answers['storage']}://ml-models-dvc"
    assert f"    url = {url}\n" in found[".dvc/config"]
    # By this name `mlops` knows that the remote is kept on the branch of the same name.
    assert ("    remote = dvc-storage\n" in found[".dvc/config"]) == (answers["storage"] == "git")
    assert (f'dependencies = ["dvc[{answers["storage"]}]"]' in found["pyproject.toml"]) == (answers["storage"] != "git")
    assert tomllib.loads(found["deploy/environments/production.toml"])["target"] == answers["deploy"]
    model = "tumour" if answers["task"] == "classification" else "diabetes"
    assert tomllib.loads(found[f"models/{model}/model.toml"])["model"]["task"] == answers["task"]


@pytest.mark.parametrize("answers", COMBINATIONS, ids=name)
def test_nothing_of_the_template_is_left(answers: dict[str, str], rendered: dict[str, Path]) -> None:
    for path, text in texts(rendered[name(answers)]).items():
        for mark in ("<<", ">>", "<%", "%>", "<#", "#>"):
            assert mark not in path
            # Packages are copied as they are, so that these are ordinary characters there.
            assert mark not in text or path.startswith("packages/"), path
        assert "<<cookiecutter" not in text.replace(" ", ""), path
        assert not re.search(r"(?m)^\s*#%", text), path
        # Prometheus, Alertmanager, Grafana and Argo have such marks of their own.
        if not path.startswith((".scaffold/", "packages/", "monitoring/", "deploy/kubernetes/")):
            assert not re.search(r"(?<!\$)\{\{", path + text), path
            assert not re.search(r"(?m)^\s*#\?", text), path


@pytest.mark.parametrize("answers", COMBINATIONS, ids=name)
def test_every_file_parses_and_ends_with_one_newline(answers: dict[str, str], rendered: dict[str, Path]) -> None:
    for path, text in texts(rendered[name(answers)]).items():
        assert "\r" not in text, path
        assert text == "" or re.search(r"\S\n\Z", text), path
        parse(path, text)


def parse(path: str, text: str) -> None:
    """Raise where a file is not valid in its language."""
    if path.endswith(".toml"):
        tomllib.loads(text)
    elif path.endswith(".json"):
        json.loads(text)
    elif path.endswith((".yaml", ".yml")):
        list(yaml.safe_load_all(text))
    elif path.endswith(".py"):
        ast.parse(text)


def test_the_template_parses_before_it_is_rendered() -> None:
    """A reader's editor and linters see YAML, TOML, JSON and Python."""
    seen = 0
    for path in template().rglob("*"):
        if path.is_file() and path.suffix in (".toml", ".json", ".yaml", ".yml", ".py"):
            parse(path.name, path.read_text(encoding="utf-8"))
            seen += 1
    assert seen > 30


def test_the_template_holds_at_most_25_conditions() -> None:
    """Options are a budget: every condition is a repository that somebody must keep working."""
    found = []
    for path in (template() / PRODUCT.name).rglob("*"):
        if path.is_file() and ".scaffold" not in path.parts:
            text = path.read_text(encoding="utf-8")
            found += re.findall(r"(?m)^\s*#%\s*(?:if|elif)\b|<%-?\s*(?:if|elif)\b|<<[^>]*\bif\b", text)
    assert 1 <= len(found) <= 25


def test_conditions_of_the_scaffold_are_few_and_never_nested() -> None:
    depth, found = 0, 0
    for path in (template() / PRODUCT.name / ".scaffold").rglob("*"):
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            if line.startswith("#? if"):
                depth, found = depth + 1, found + 1
            depth -= line.startswith("#? endif")
            assert 0 <= depth <= 1, path
    assert 1 <= found <= 25


def test_the_scaffold_is_a_cookiecutter(bake: Bake, tmp_path: Path) -> None:
    """What `mlops.scaffold` renders is, byte for byte, what cookiecutter makes of the same folder."""
    project = bake()
    program = [sys.executable, "-m", "cookiecutter", str(project / ".scaffold" / "model"), "--no-input"]
    given = ["name=tumour", "task=classification"]
    done = command(*program, "--output-dir", str(tmp_path / "by-cookiecutter"), *given, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    made = {
        path.relative_to(tmp_path / "by-cookiecutter").as_posix(): path.read_bytes()
        for path in (tmp_path / "by-cookiecutter").rglob("*")
        if path.is_file()
    }
    assert made == {
        path.removeprefix("models/"): (project / path).read_bytes()
        for path in files(project)
        if path.startswith("models/")
    }


def test_the_same_answers_give_the_same_bytes(bake: Bake) -> None:
    first, second = bake(), bake()
    assert texts(first) == texts(second)


def test_the_answers_are_remembered(bake: Bake) -> None:
    project = bake(owner="@acme/care", storage="gs", description="It's ünïcode 😀")
    memory = json.loads((project / ".template.json").read_text(encoding="utf-8"))
    assert set(memory) == {"template", "commit", "answers"}
    assert set(memory["answers"]) == set(PROMPTS)
    assert memory["answers"]["owner"] == "@acme/care"
    assert memory["answers"]["description"] == "It's ünïcode 😀"
    assert str(ROOT) not in json.dumps(memory)
    assert render_again(project, memory["answers"]) == texts(project)


def render_again(project: Path, answers: dict[str, str]) -> dict[str, str]:
    """What the remembered answers give."""
    return texts(render(project.parent / "again", answers))


def test_nothing_points_to_an_author_or_a_machine(rendered: dict[str, Path]) -> None:
    """No namespace of whoever wrote the template, no path of where it was rendered."""
    for project in rendered.values():
        for path, text in texts(project).items():
            assert str(project.parent) not in text, path
            assert str(ROOT) not in text, path
            assert not re.search(r"/(home|root|Users|work)/\w+", text), path
            for owner in re.findall(r"github\.com/([\w.-]+)/", text):
                assert owner in KNOWN, f"{path}: {owner}"


# Projects whose pages the documentation names, and nobody's name.
KNOWN = {"acme", "cookiecutter", "iterative", "treeverse", "mlflow", "astral-sh"}


def test_names_are_clean_on_windows(rendered: dict[str, Path]) -> None:
    """No character, device name, trailing dot or clash of case that Windows refuses, and short enough paths."""
    devices = {"con", "prn", "aux", "nul", *(f"com{n}" for n in range(10)), *(f"lpt{n}" for n in range(10))}
    for project in rendered.values():
        found = files(project)
        assert len({path.lower() for path in found}) == len(found)
        for path in found:
            assert len(path) < 160, path
            for part in path.split("/"):
                assert not re.search(r'[<>:"\\|?*\x00-\x1f]', part), path
                assert not part.endswith((" ", ".")), path
                assert part.split(".")[0].lower() not in devices, path


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_formatting_a_fresh_project_changes_nothing(task: str, bake: Bake) -> None:
    """Whatever names were chosen, as long as they can be and as short."""
    for answers in (
        {"task": task},
        {"task": task, "model": "m", "owner": "o", "description": "d"},
        {"task": task, "model": "m" * 50, "owner": f"{'o' * 30}/{'t' * 29}", "description": "d" * 200},
    ):
        project = bake(**answers)
        for check in (("format", "--diff"), ("check",)):
            done = command(sys.executable, "-m", "ruff", *check, "--quiet", ".", cwd=project)
            assert done.returncode == 0, done.stdout + done.stderr


def test_without_git_the_project_is_whole_and_one_line_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    program = [sys.executable, "-m", "cookiecutter", str(template()), "--no-input", "-o", str(tmp_path / "out")]
    done = command(*program, cwd=tmp_path, PATH=str(tmp_path / "bin"))
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().splitlines() == [
        "git is not installed: install it, then type `git init -b main` and make the first commit."
    ]
    assert (tmp_path / "out" / "ml-models" / "models" / "tumour" / "model.toml").is_file()


@pytest.mark.parametrize("identity", [True, False])
def test_the_first_commit_needs_no_identity_key_or_network(identity: bool, tmp_path: Path) -> None:
    """A user's own name is used where there is one; signing, hooks and templates of the user are left out."""
    settings = tmp_path / "gitconfig"
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "pre-commit").write_text("#!/bin/sh\nexit 1\n")
    (hooks / "pre-commit").chmod(0o755)
    settings.write_text(f"[commit]\n\tgpgSign = true\n[core]\n\thooksPath = {hooks}\n")
    if identity:
        settings.write_text(settings.read_text() + "[user]\n\tname = Ada\n\temail = ada@example.com\n")
    nobody = {f"GIT_{role}_{what}": "" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    program = ["env", *(f"-u{key}" for key in nobody), f"GIT_CONFIG_GLOBAL={settings}", sys.executable, "-m"]
    done = command(*program, "cookiecutter", str(template()), "--no-input", "-o", str(tmp_path / "out"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    log = command("git", "log", "--format=%an|%s|%D", cwd=tmp_path / "out" / "ml-models").stdout
    assert log == f"{'Ada' if identity else 'Template'}|Start from the template|HEAD -> main\n"


def test_rendering_inside_another_repository_makes_its_own(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    project = render(tmp_path, {})
    assert command("git", "rev-parse", "--show-toplevel", cwd=project).stdout.strip() == str(project.resolve())


def test_the_hook_may_run_again(bake: Bake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that a person changed since is lost, and no second commit is made."""
    from hooks import post_gen_project as hook
    from hooks.answers import first_model

    project = bake()
    toml = project / "models" / "tumour" / "model.toml"
    toml.write_text(toml.read_text() + "# mine\n")
    answers = json.loads((project / ".template.json").read_text())["answers"]
    monkeypatch.chdir(project)
    monkeypatch.setattr(hook, "ANSWERS", json.dumps({**answers, "_template": str(ROOT)}))
    monkeypatch.setattr(hook, "REPOSITORY", json.dumps(str(ROOT)))
    monkeypatch.setattr(hook, "MODEL", json.dumps(first_model(answers)))
    assert hook.main() == 0
    assert toml.read_text().endswith("# mine\n")
    assert command("git", "log", "--oneline", cwd=project).stdout.count("\n") == 1
