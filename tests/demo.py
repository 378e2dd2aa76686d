"""Shows the template: renders the default project and runs its whole local loop, a first and a second version.

    python -m tests.demo build/demo

It may be run again: what is there is kept and only what changed is done. A project of an older template, or one that
somebody worked in, is not touched; the script says what to do instead.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.rendering import files, template

REFRESHED = "2026-10-01"
CHAMPION = "Lock the first version: on main, it is the champion"


def step(number: int, text: str) -> None:
    """Say what happens now."""
    print(f"\n\033[1m[{number}/6] {text}\033[0m" if sys.stdout.isatty() else f"\n[{number}/6] {text}", flush=True)


def stop(text: str) -> None:
    """End with one sentence."""
    raise SystemExit(f"make demo: {text}")


def fingerprint() -> str:
    """What the template's files say, so that a demo of an older template is recognised."""
    found = hashlib.sha256()
    for path in sorted(path for path in template().rglob("*") if path.is_file() and "tests" not in path.parts[:1]):
        place = path.relative_to(template()).as_posix()
        if place.startswith(("<<", "hooks/", "cookiecutter.json")):
            found.update(f"{place}\0".encode() + path.read_bytes())
    return found.hexdigest()


def git(project: Path, *arguments: str) -> str:
    """Standard output of git; a failure ends the demo with git's words."""
    done = subprocess.run(["git", *arguments], cwd=project, capture_output=True, text=True, check=False)
    if done.returncode:
        stop(f"git {arguments[0]} failed in {project}: {done.stderr.strip()}")
    return done.stdout


def commit(project: Path, message: str) -> None:
    """Commit all changes, when there are any, whoever runs this and however they sign."""
    git(project, "add", "--all")
    if git(project, "status", "--porcelain"):
        author = ["-c", "user.name=Demo", "-c", "user.email=demo@localhost", "-c", "commit.gpgSign=false"]
        git(project, *author, "commit", "--quiet", "--no-verify", "--message", message)


def make(project: Path, *arguments: str, accept: tuple[int, ...] = (0,)) -> int:
    """Type one command of the generated repository, and show it and what it says."""
    print(f"$ make {' '.join(arguments)}", flush=True)
    code = subprocess.run(["make", "--no-print-directory", *arguments], cwd=project, check=False).returncode
    if code not in accept:
        stop(f"`make {' '.join(arguments)}` failed in {project}; the lines above say why.")
    return code


def generate(project: Path) -> None:
    """Render the project, or keep the one that an earlier demo left."""
    note = project.parent / f".{project.name}.json"
    now = fingerprint()
    if project.exists():
        left = json.loads(note.read_text()) if note.is_file() else {}
        if left.get("template") != now:
            stop(f"{_short(project)} is of another version of the template. `make clean` removes it; then try again.")
        if left["tips"] and (git(project, "status", "--porcelain") or _tips(project) != left["tips"]):
            stop(f"{_short(project)} was changed since the last demo. Keep what you need; `make clean` removes it.")
        print(f"{_short(project)} is there already; only what changed is done again.")
        return
    project.parent.mkdir(parents=True, exist_ok=True)
    program = [sys.executable, "-m", "cookiecutter", str(template()), "--no-input", "--default-config"]
    fresh = project.parent / ".rendering"
    if subprocess.run([*program, "-f", "-o", str(fresh)], check=False).returncode:
        stop("the template could not be rendered; the lines above say why.")
    (fresh / "ml-models").rename(project)
    fresh.rmdir()
    remember(project, tips="")
    print(f"{_short(project)}: {len(files(project))} files, one commit.")


def remember(project: Path, *, tips: str) -> None:
    """Write what the next demo compares with; without tips, this one was interrupted and may be taken up again."""
    note = {"template": fingerprint(), "tips": tips}
    (project.parent / f".{project.name}.json").write_text(json.dumps(note))


def _tips(project: Path) -> str:
    """Where the branches are."""
    return git(project, "for-each-ref", "refs/heads")


def _short(path: Path) -> str:
    return os.path.relpath(path, Path.cwd())


def main() -> int:
    """Run the loop; 0 when it ran to its end, whatever the verdict on the second version."""
    project = Path(sys.argv[1]).resolve()
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "VIRTUAL_ENV"):
        os.environ.pop(name, None)

    step(1, "Generate a repository, as `cookiecutter` would")
    generate(project)
    step(2, "Install what it needs")
    make(project, "setup")

    model = json.loads((project / ".template.json").read_text())["answers"]["model"]
    step(3, "A first version: nothing serves yet, so it must beat the baseline")
    if CHAMPION in git(project, "log", "--format=%s", "main"):
        print("It is locked on main already.")
    else:
        make(project, "verdict", f"MODEL={model}")
        commit(project, CHAMPION)

    step(4, f"Three months later: new rows up to {REFRESHED}, on a branch")
    git(
        project,
        "switch",
        "--quiet",
        *([] if git(project, "branch", "--list", "challenger") else ["--create"]),
        "challenger",
    )
    make(project, "refresh", f"MODEL={model}", f"AS_OF={REFRESHED}")

    step(5, "A second version: champion and challenger on the same rows")
    found = project / "reports" / model / "evidence.json"
    found.unlink(missing_ok=True)
    make(project, "verdict", f"MODEL={model}", accept=(0, 2))
    if not found.is_file():
        stop("the gate could not look at the second version; the lines above say why.")
    commit(project, f"Retrain on rows up to {REFRESHED}")
    remember(project, tips=_tips(project))

    step(6, "What a pull request would show")
    evidence = json.loads(found.read_text())
    print(f"{model} {evidence['version']}: {evidence['verdict']['verdict']}")
    print(f"""
Report: {project / "reports" / "report.html"}

Next, in {_short(project)}:
  make help                                    what can be typed
  make ui                                      every training run, in MLflow
  make new-model NAME=churn TASK=regression    a second model
  edit models/{model}/model.toml, make verdict  another version: another verdict""")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
