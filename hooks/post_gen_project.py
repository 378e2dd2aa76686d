"""Prunes what the answers rule out, adds the first model, and makes the first commit. Offline, and safe to run again.

cookiecutter renders this file and runs the copy in the new folder; the answers and the files of the
first model (rendered by `mlops.scaffold`, see `hooks/answers.py`) reach it as JSON inside strings.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ANSWERS = r'''<< cookiecutter | tojson >>'''  # fmt: skip
REPOSITORY = r'''<< repository | tojson >>'''  # fmt: skip
MODEL = r'''<< cookiecutter | first_model | tojson >>'''  # fmt: skip

# What tools leave in a work tree from which somebody renders.
DEBRIS = ("__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".venv")


def prune(root: Path, answers: Mapping[str, str]) -> None:
    """Keep the chosen license as LICENSE; drop the others, rooms that nobody enters, and what tools left behind."""
    licenses = root / ".licenses"
    if licenses.is_dir():
        os.replace(licenses / answers["license"], root / "LICENSE")
        shutil.rmtree(licenses)
    if answers["storage"] == "git":
        shutil.rmtree(root / ".github" / "actions" / "sign-in", ignore_errors=True)
    oidc = root / ".github" / "oidc"
    if (oidc / "s3").is_dir():
        chosen = oidc.rename(root / ".github" / "all") / answers["storage"]
        if chosen.is_dir():
            os.replace(chosen, oidc)
        shutil.rmtree(root / ".github" / "all")
    if answers["deploy"] != "kubernetes":
        shutil.rmtree(root / "deploy" / "kubernetes", ignore_errors=True)
    for folder, folders, _ in os.walk(root):
        for name in [name for name in folders if name in DEBRIS or name.endswith(".egg-info")]:
            shutil.rmtree(os.path.join(folder, name))
            folders.remove(name)
        if ".git" in folders:
            folders.remove(".git")


def remember(root: Path, answers: Mapping[str, str], template: str | None, commit: str | None) -> None:
    """Write `.template.json`: what a later update of the template needs to know."""
    text = json.dumps({"template": template, "commit": commit, "answers": dict(answers)}, indent=2, ensure_ascii=False)
    (root / ".template.json").write_text(text + "\n", encoding="utf-8", newline="\n")


def add_model(root: Path, files: Mapping[str, str]) -> None:
    """Write the first model; one that is there already is kept."""
    for place, text in files.items():
        path = root / "models" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(text, encoding="utf-8", newline="\n")


def commit_of(repository: Path) -> str | None:
    """The template's commit, where the template is a git repository."""
    if not (repository / ".git").exists():
        return None
    return git(repository, "rev-parse", "--verify", "--quiet", "HEAD").strip() or None


def git(root: Path, *arguments: str) -> str:
    """Standard output of one git command in `root`; empty when it fails."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=False)
    except OSError:
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""


def start_git(root: Path) -> str:
    """Make the first commit on `main`; what a person must know about it, empty when all went well.

    Without an identity of its own, git gets a neutral one for this commit only.
    """
    if (root / ".git").exists():
        return ""
    if shutil.which("git") is None:
        return "git is not installed: install it, then type `git init -b main` and make the first commit."
    quiet = ("-c", "init.templateDir=", "-c", "core.hooksPath=", "-c", "commit.gpgSign=false", "-c", "gc.auto=0")
    commit = ("commit", "--quiet", "--no-verify", "--message", "Start from the template")
    nobody = ("-c", "user.name=Template", "-c", "user.email=template@localhost")
    steps = (("init", "--quiet", "--initial-branch=main"), ("add", "--all"))
    for step in steps:
        if subprocess.run(["git", *quiet, *step], cwd=root, stdin=subprocess.DEVNULL, capture_output=True).returncode:
            return f"git {step[0]} failed: make the first commit yourself."
    for identity in (("-c", "user.useConfigOnly=true"), nobody):
        done = subprocess.run(
            ["git", *quiet, *identity, *commit], cwd=root, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        if done.returncode == 0:
            return ""
    return "git commit failed: make the first commit yourself."


def main() -> int:
    """Finish the project in the working folder."""
    context = json.loads(ANSWERS)
    answers = {key: value for key, value in context.items() if not key.startswith("_")}
    root = Path.cwd()
    template = context["_template"]
    local = os.path.isdir(template)
    prune(root, answers)
    remember(root, answers, None if local else template, commit_of(Path(json.loads(REPOSITORY))))
    add_model(root, json.loads(MODEL))
    said = start_git(root)
    if said:
        print(said, file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
