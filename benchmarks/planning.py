"""How long until it is known which of 5,000 models a change affects, against the affected query of a monorepo tool?

    python benchmarks/planning.py [--models 5000] [--repeats 9]

One repository that both read: every model is a workspace package of Python and of npm with the same dependencies, and a
pipeline. Two changes that both can express: one model's own file, and a shared package that some models use.
`mlops plan` runs on a Python that sees no installed package, once with what it remembers of the base (`warm`, as with a
restored cache) and once with nothing (`cold`). Turborepo comes from npm and has its best case: git, a lock, no daemon
to start. Correct means: both name the same models, and they are the right ones.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import harness

PRODUCT = Path(__file__).resolve().parents[1] / "<<cookiecutter.project>>"
SOURCE = PRODUCT / "packages" / "mlops" / "src"
GOAL = 0.4
SHARED = 20
"""One model in so many depends on the shared package."""
CHANGES = {
    "one model's file": "models/model_00042/src/model_00042/model.py",
    "a shared package": "packages/features/x.py",
}


def git(root: Path, *arguments: str) -> None:
    """One git command, with an author."""
    author = ["-c", "user.name=Benchmark", "-c", "user.email=benchmark@example.com", "-c", "gc.auto=0"]
    subprocess.run(["git", *author, *arguments], cwd=root, check=True, stdout=sys.stderr)


def write(root: Path, path: str, text: str) -> None:
    """One file of the repository."""
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


def repository(root: Path, models: int) -> None:
    """The base on `main`, and one branch per change."""
    sys.path.insert(0, str(SOURCE))
    from mlops import scaffold

    write(root, "packages/features/pyproject.toml", '[project]\nname = "features"\nversion = "1"\ndependencies = []\n')
    write(root, "packages/features/package.json", json.dumps({"name": "features", "version": "1.0.0"}))
    write(root, "packages/features/x.py", "x = 1\n")
    shutil.copytree(PRODUCT / "packages" / "mlops" / "src", root / "packages" / "mlops" / "src")
    shutil.copy(PRODUCT / "packages" / "mlops" / "pyproject.toml", root / "packages" / "mlops")
    for name in (".gitignore", ".dvcignore"):
        shutil.copy(PRODUCT / name, root / name)
    answers = {"task": "classification", "owner": "@bench", "description": "Measures a plan."}
    pattern = scaffold.rendered(PRODUCT / ".scaffold" / "model", {"name": "model_name", **answers})
    for number in range(models):
        name = f"model_{number:05d}"
        files = {path.replace("model_name", name): text.replace("model_name", name) for path, text in pattern.items()}
        needs = {}
        if number % SHARED == 0:
            place = f"{name}/pyproject.toml"
            files[place] = (
                files[place]
                .replace('"mlops", ', '"mlops", "features", ')
                .replace("[tool.uv.sources]", "[tool.uv.sources]\nfeatures = { workspace = true }")
            )
            needs = {"features": "workspace:*"}
        files[f"{name}/package.json"] = json.dumps({"name": name, "version": "1.0.0", "dependencies": needs})
        for path, text in files.items():
            write(root, f"models/{path}", text)
    lock = 'version = 1\nrequires-python = ">=3.11"\n'
    write(root, "uv.lock", lock)
    write(root, "pyproject.toml", '[project]\nname = "workspace"\nversion = "1"\n')
    manager = {"name": "root", "packageManager": "pnpm@9.0.0"}
    write(root, "package.json", json.dumps(manager))
    write(root, "pnpm-workspace.yaml", 'packages:\n  - "packages/features"\n  - "models/*"\n')
    write(root, "turbo.json", json.dumps({"tasks": {"train": {}}}))
    importers = [f"  models/model_{number:05d}:\n" + _asked(number) for number in range(models)]
    write(
        root,
        "pnpm-lock.yaml",
        "lockfileVersion: '9.0'\nimporters:\n  .: {}\n  packages/features: {}\n" + "".join(importers),
    )
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "Base")
    for number, path in enumerate(CHANGES.values()):
        git(root, "checkout", "-q", "-b", f"change-{number}", "main")
        write(root, path, (root / path).read_text() + "\n# Changed.\n")
        git(root, "commit", "-q", "-a", "-m", "Change")
    git(root, "gc", "-q")


def _asked(number: int) -> str:
    if number % SHARED:
        return "    {}\n"
    lines = ("dependencies:", "  features:", "    specifier: workspace:*", "    version: link:../../packages/features")
    return "".join(f"    {line}\n" for line in lines)


def affected(models: int) -> list[set[str]]:
    """The right answer for each change."""
    return [{"model_00042"}, {f"model_{number:05d}" for number in range(0, models, SHARED)}]


def planned(run: harness.Run) -> set[str]:
    """The models that `mlops plan --json` names."""
    return {one["model"] for one in json.loads(run.output)["models"]}


def listed(run: harness.Run) -> set[str]:
    """The models that `turbo ls --affected --output=json` names; the package itself is no model."""
    return {one["name"] for one in json.loads(run.output)["packages"]["items"]} - {"features", "//"}


def install(scratch: Path) -> Path:
    """Turborepo from npm; a missing peer ends the benchmark."""
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("npm is not installed; a missing peer is not a win.")
    subprocess.run([npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", scratch, "turbo"], check=True)
    return scratch / "node_modules" / ".bin" / "turbo"


def cold(root: Path, command: Callable[[], harness.Run]) -> harness.Run:
    """A plan without what it remembers."""
    shutil.rmtree(root / ".cache", ignore_errors=True)
    return command()


def warm(root: Path, kept: Path, command: Callable[[], harness.Run]) -> harness.Run:
    """A plan that remembers the base, as a cache that was restored."""
    shutil.rmtree(root / ".cache", ignore_errors=True)
    shutil.copytree(kept, root / ".cache")
    return command()


def main() -> int:
    """Measure and conclude; 1 when the goal is missed or an answer is wrong."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--models", type=int, default=5000)
    options.add_argument("--repeats", type=int, default=9)
    given = options.parse_args()
    tables, ratios, rights, facts = {}, {}, [], {}
    with tempfile.TemporaryDirectory() as scratch:
        turbo = install(Path(scratch) / "npm")
        version = subprocess.run([turbo, "--version"], capture_output=True, text=True, check=True).stdout.strip()
        root, kept = Path(scratch) / "repository", Path(scratch) / "kept"
        repository(root, given.models)
        environment = {"PYTHONPATH": str(SOURCE), "TURBO_TELEMETRY_DISABLED": "1", "DO_NOT_TRACK": "1"}
        bare = [sys.executable, "-S", "-s", "-m", "mlops", "plan", "--json", "--base", "main"]
        harness.run([*bare, "--head", "main"], cwd=root, env=environment)
        shutil.copytree(root / ".cache", kept)
        for number, (change, right) in enumerate(zip(CHANGES, affected(given.models), strict=True)):
            git(root, "checkout", "-q", f"change-{number}")
            ask = partial(harness.run, [*bare, "--head", f"change-{number}"], cwd=root, env=environment)
            ranged = {"TURBO_SCM_BASE": "main", "TURBO_SCM_HEAD": f"change-{number}"}
            peer = [str(turbo), "ls", "--affected", "--output=json"]
            runs = harness.interleave(
                {
                    "mlops plan, warm": partial(warm, root, kept, ask),
                    "mlops plan, cold": partial(cold, root, ask),
                    "turbo ls --affected": partial(harness.run, peer, cwd=root, env={**environment, **ranged}),
                },
                repeats=given.repeats,
            )
            correct = {
                name: all((listed if name.startswith("turbo") else planned)(one) == right for one in ones)
                for name, ones in runs.items()
            }
            rights += correct.values()
            heading = f"{given.models:,} models, {change} changed: {len(right):,} affected"
            tables[heading] = harness.table(runs, against="turbo ls --affected", correct=correct)
            print(f"\n{heading}\n{tables[heading]}\n")
            base = harness.median(runs["turbo ls --affected"])
            ratios[f"plan of {given.models:,} models, {change}, time ratio"] = (
                harness.median(runs["mlops plan, warm"]) / base
            )
            facts[change] = harness.values(runs)
    return harness.conclude(
        "planning",
        question="How long until it is known which models a change affects, against `turbo ls --affected`?",
        facts={"versions": {**harness.versions(), "turbo": version, "git": _git_version()}, "runs": facts},
        tables=tables,
        goals={goal: (ratio, GOAL) for goal, ratio in ratios.items()},
        right=all(rights),
        notes=[
            "`warm` remembers the base, as a restored cache does; `cold` remembers nothing and is shown, not judged."
        ],
    )


def _git_version() -> str:
    said = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True, env=os.environ).stdout
    return said.removeprefix("git version ").strip()


if __name__ == "__main__":
    raise SystemExit(main())
