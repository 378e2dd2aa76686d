"""What does `make train` cost when nothing changed, in a repository with one model and in one with 200?

    python benchmarks/noop.py [--models 200] [--repeats 7]

Every peer looks at the same trained model (the scaffold's own, with the pipeline that it ships with) and finds nothing
to do. The peer to match is one `dvc repro` in a repository that holds this model only; `dvc repro` in the repository
of 200 is shown beside it. Correct means: the exit code is 0, no stage ran, and `dvc.lock` has the bytes it had.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import harness

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ROOT / "<<cookiecutter.project>>"
BIN = Path(sys.executable).parent
GOAL = 1.2
# A pipeline of as many stages as the scaffold's, whose commands would fail if anything ran them.
STAGES = ("ingest", "check", "split", "tune", "train", "evaluate", "explain", "age")


def git(root: Path, *arguments: str) -> None:
    """One git command, with an author."""
    author = ["-c", "user.name=Benchmark", "-c", "user.email=benchmark@example.com"]
    subprocess.run(["git", *author, *arguments], cwd=root, check=True)


def repository(root: Path) -> None:
    """A generated repository with one trained model, `tumour`, committed."""
    from mlops import scaffold

    (root / "packages" / "mlops").mkdir(parents=True)
    (root / "models").mkdir()
    shutil.copytree(PRODUCT / ".scaffold", root / ".scaffold")
    for name in (".gitignore", ".dvcignore"):
        shutil.copy(PRODUCT / name, root / name)
    scaffold.render(root, name="tumour", task="classification", owner="@bench", description="Measures a look.")
    (root / "Makefile").write_text(f"train:\n\t@{BIN / 'mlops'} repro tumour\n")
    git(root, "init", "-q", "-b", "main")
    subprocess.run([BIN / "dvc", "init", "-q"], cwd=root, check=True)
    subprocess.run([BIN / "mlops", "repro", "tumour"], cwd=root, check=True, stdout=sys.stderr)
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "Train")


def crowd(root: Path, models: int) -> None:
    """Models beside the measured one, up to `models` in all: pipelines, never run."""
    for number in range(1, models):
        folder = root / "models" / f"other_{number:03d}"
        folder.mkdir()
        stages = ["stages:\n"]
        before = "model.toml"
        for stage in STAGES:
            stages.append(f"  {stage}:\n    cmd: 'false'\n    deps: [{before}]\n    outs: [{stage}.json]\n")
            before = f"{stage}.json"
        (folder / "dvc.yaml").write_text("".join(stages))
        shutil.copy(root / "models" / "tumour" / "model.toml", folder)
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "Add models")


def peer(command: list[str], cwd: Path) -> Callable[[], harness.Run]:
    """One look: the command, in a folder, with this environment's programs first."""
    environment = {"PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]), "DVC_NO_ANALYTICS": "1"}
    return lambda: harness.run(command, cwd=cwd, env=environment)


def main() -> int:
    """Measure and conclude; 1 when a goal is missed or an answer is wrong."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--models", type=int, default=200)
    options.add_argument("--repeats", type=int, default=7)
    given = options.parse_args()
    many = f"{given.models} models"
    with tempfile.TemporaryDirectory() as scratch:
        small, large = Path(scratch) / "small", Path(scratch) / "large"
        repository(small)
        repository(large)
        crowd(large, given.models)
        locks = {root: fingerprint(root) for root in (small, large)}
        mlops, dvc = str(BIN / "mlops"), str(BIN / "dvc")
        runs = harness.interleave(
            {
                "dvc repro, 1 model": peer([dvc, "repro"], small / "models" / "tumour"),
                "mlops repro, 1 model": peer([mlops, "repro", "tumour"], small),
                "make train, 1 model": peer(["make", "train"], small),
                f"dvc repro, {many}": peer([dvc, "repro"], large / "models" / "tumour"),
                f"mlops repro, {many}": peer([mlops, "repro", "tumour"], large),
                f"make train, {many}": peer(["make", "train"], large),
            },
            repeats=given.repeats,
        )
        untouched = all(fingerprint(root) == lock for root, lock in locks.items())
    nothing = ("Data and pipelines are up to date.", "nothing changed")
    correct = {
        name: untouched and all(any(words in one.output for words in nothing) for one in ones)
        for name, ones in runs.items()
    }
    base = harness.median(runs["dvc repro, 1 model"])
    ratios = {name: harness.median(ones) / base for name, ones in runs.items()}
    text = harness.table(runs, against="dvc repro, 1 model", correct=correct)
    print(text)
    return harness.conclude(
        "noop",
        question="What does `make train` cost when nothing changed, against one `dvc repro` of that model?",
        facts={"versions": harness.versions("dvc"), "runs": harness.values(runs)},
        tables={f"One model, and {many}": text},
        goals={name: (ratio, GOAL) for name, ratio in ratios.items() if not name.startswith("dvc")},
        right=all(correct.values()),
    )


def fingerprint(root: Path) -> str:
    """The digest of the measured model's lock."""
    return hashlib.sha256((root / "models" / "tumour" / "dvc.lock").read_bytes()).hexdigest()


if __name__ == "__main__":
    raise SystemExit(main())
