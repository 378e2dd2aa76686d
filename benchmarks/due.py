"""How long until it is known which of 1,000 models are due for retraining, against the plan of CI on that repository?

Goal: at most 1.5 of the plan's time, with ten models due. Run it with the interpreter that has the packages (of ours
only the scaffold needs Jinja, to make the repository):

    python benchmarks/due.py [--models 1000] [--repeats 15]

Both run on a Python that sees no installed package, and both with what a restored cache holds. Correct means: exactly
the ten models whose data is too old are named, and the plan names the model that changed.
"""

import argparse
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

import planning

import harness

GOAL = 1.5
TODAY = "2026-07-10"
OLD = "2026-01-01"
"""The day of the data of the models that are due; that of the scaffold is too young to be."""
DUE = 10


def age(root: Path, models: int) -> set[str]:
    """Let ten models be old, on `main`; their names."""
    names = {f"model_{number:05d}" for number in range(0, models, models // DUE)}
    for name in names:
        path = root / "models" / name / "model.toml"
        text = path.read_text(encoding="utf-8")
        aged = text.replace('as_of = "2026-07-01"', f'as_of = "{OLD}"')
        if aged == text or "[retrain]\n" not in text:
            raise SystemExit("The scaffold's model.toml is not what this benchmark knows.")
        path.write_text(aged, encoding="utf-8")
    planning.git(root, "commit", "-q", "-a", "-m", "Age")
    return names


def main() -> int:
    """Measure and conclude; 1 when the goal is missed or an answer is wrong."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--models", type=int, default=1000)
    options.add_argument("--repeats", type=int, default=15)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root, kept = Path(scratch) / "repository", Path(scratch) / "kept"
        planning.repository(root, given.models)
        planning.git(root, "checkout", "-q", "main")
        names = age(root, given.models)
        changed = "models/model_00042/src/model_00042/model.py"
        planning.git(root, "checkout", "-q", "-b", "one-model")
        planning.write(root, changed, (root / changed).read_text() + "\n# Changed.\n")
        planning.git(root, "commit", "-q", "-a", "-m", "Change")
        environment = {"PYTHONPATH": str(planning.SOURCE)}
        bare = [sys.executable, "-S", "-s", "-m", "mlops"]
        plan = [*bare, "plan", "--json", "--base", "main", "--head", "one-model"]
        due = [*bare, "due", "--json", "--head", "main", "--today", TODAY]
        harness.run([*bare, "plan", "--json", "--base", "main", "--head", "main"], cwd=root, env=environment)
        shutil.copytree(root / ".cache", kept)
        runs = harness.interleave(
            {
                name: partial(planning.warm, root, kept, partial(harness.run, command, cwd=root, env=environment))
                for name, command in {"mlops plan": plan, "mlops due": due}.items()
            },
            repeats=given.repeats,
        )
    right = {"mlops plan": {"model_00042"}, "mlops due": names}
    correct = {name: all(planning.planned(one) == right[name] for one in ones) for name, ones in runs.items()}
    heading = f"{given.models:,} models, {DUE} of them due"
    table = harness.table(runs, against="mlops plan", correct=correct)
    print(f"\n{heading}\n{table}\n")
    ratio = harness.median(runs["mlops due"]) / harness.median(runs["mlops plan"])
    return harness.conclude(
        "due",
        question="How long until it is known which models are due for retraining, against the plan of CI?",
        facts={"versions": harness.versions(), "runs": harness.values(runs), "due": sorted(names)},
        tables={heading: table},
        goals={f"due of {given.models:,} models, time ratio to the plan": (ratio, GOAL)},
        right=all(correct.values()),
    )


if __name__ == "__main__":
    raise SystemExit(main())
