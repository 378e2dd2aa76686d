"""How long until a fast verb has answered? Whole processes, next to bare Python and to the command lines of peers.

Goal: `mlops --help`, `models`, `plan` and the `report` of one model within a tenth of a second of `python -c pass`,
without any package at all.
Run it with the generated project's tools installed: `python benchmarks/startup.py`.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import harness

SOURCE = Path(__file__).resolve().parents[1] / "<<cookiecutter.project>>" / "packages" / "mlops" / "src"
MODELS = 20
GOAL_S = 0.1
TOML = """\
[model]
task = "classification"
owner = "@acme/care"
description = "Is it?"
[data]
source = "replay"
as_of = "2026-07-01"
[split]
method = "time"
[evaluate]
metrics = ["roc_auc"]
[gate]
margin = 0.01
slice_margin = 0.05
"""

# What each answer must hold: a fast wrong answer is no answer.
HOLDS = {
    "python -c pass": "",
    "mlops --help": "Stages, in the order",
    "mlops models": "model_19",
    "mlops plan": f"can affect 1 of {MODELS} models",
    "mlops report of one": "1 passed. Report:",
    f"mlops report of {MODELS}": "15 passed. Report:",
    "dvc --version": "3.",
    "mlflow --version": "mlflow, version",
}


def main() -> int:
    """Measure and conclude; 1 when a verb misses the goal or answers wrongly."""
    found = harness.versions("dvc", "mlflow", "mlops")
    with tempfile.TemporaryDirectory() as scratch:
        root = _repository(Path(scratch))
        runs = harness.interleave(_peers(root), repeats=15, warm_up=2)
    correct = {name: all(HOLDS[name] in one.output for one in ones) for name, ones in runs.items()}
    bare = harness.median(runs["python -c pass"])
    above = {name: harness.median(ones) - bare for name, ones in runs.items() if name.startswith("mlops ")}
    text = harness.table(runs, against="python -c pass", correct=correct)
    print(f"\n{MODELS} models\n{text}\n")
    # The report of many models is mostly their text and no start; it is shown and not judged.
    starts = {name: seconds for name, seconds in above.items() if not name.endswith(f"of {MODELS}")}
    return harness.conclude(
        "startup",
        question="How long until a fast verb has answered, in seconds above bare Python?",
        facts={"versions": found, "runs": harness.values(runs)},
        tables={f"{MODELS} models": text},
        goals={f"{name}, seconds above bare Python": (seconds, GOAL_S) for name, seconds in starts.items()},
        right=all(correct.values()),
        notes=["The report of many models is mostly their text; it is shown and not judged."],
    )


def _repository(root: Path) -> Path:
    """A repository with models that the gate has judged, one changed on a branch; no package of it is installed."""
    sys.path.insert(0, str(SOURCE.parent / "tests"))
    import evidence

    (root / "packages" / "mlops").mkdir(parents=True)
    for number, found in enumerate(evidence.many(MODELS)):
        name = f"model_{number}"
        for path, text in (
            (root / "models" / name / "model.toml", TOML),
            (root / "models" / name / "dvc.yaml", "stages:\n  train:\n    cmd: 'false'\n    deps: [model.toml]\n"),
            (root / "reports" / name / "evidence.json", json.dumps({**found, "model": name})),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    (root / ".gitignore").write_text("reports/\n.cache/\n")
    (root / "uv.lock").write_text('version = 1\nrequires-python = ">=3.11"\n')
    _git(root, "init", "--quiet", "--initial-branch=main")
    _git(root, "add", "--all")
    _git(root, "commit", "--quiet", "--message", "Models")
    _git(root, "checkout", "--quiet", "-b", "change")
    (root / "models" / "model_0" / "model.toml").write_text(TOML + "# Changed.\n")
    _git(root, "commit", "--quiet", "--all", "--message", "Change")
    return root


def _git(root: Path, *arguments: str) -> None:
    author = ("-c", "user.name=Benchmark", "-c", "user.email=benchmark@example.com")
    subprocess.run(["git", *author, *arguments], cwd=root, check=True)


def _peers(root: Path) -> dict[str, Callable[[], harness.Run]]:
    """Each command as a function; `mlops` runs from its source on a Python that sees no installed package."""
    programs = Path(sys.executable).parent
    # Without `-S -s` Python would read the site-packages of this environment, which a bare runner does not have.
    bare = [sys.executable, "-S", "-s"]
    commands = {
        "python -c pass": [*bare, "-c", "pass"],
        "mlops --help": [*bare, "-m", "mlops", "--help"],
        "mlops models": [*bare, "-m", "mlops", "models"],
        "mlops plan": [*bare, "-m", "mlops", "plan", "--base", "main"],
        "mlops report of one": [*bare, "-m", "mlops", "report", "model_0"],
        f"mlops report of {MODELS}": [*bare, "-m", "mlops", "report"],
        "dvc --version": [str(programs / "dvc"), "--version"],
        "mlflow --version": [str(programs / "mlflow"), "--version"],
    }
    env = {"PYTHONPATH": str(SOURCE), "DVC_NO_ANALYTICS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return {name: partial(harness.run, command, cwd=root, env=env) for name, command in commands.items()}


if __name__ == "__main__":
    raise SystemExit(main())
