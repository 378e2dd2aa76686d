"""What does a CI job cost beside training, in a repository of 1,000 models of which one changed?

    python benchmarks/overhead.py [--models 1000] [--repeats 5]

The lock of the measured model is right and its bytes are in the remote, so nothing is trained: what is left is
fetching code, installing packages, fetching data and looking. The peer does what a plain workflow does: full clone,
`pip install` of the same pinned packages, `dvc pull` and `dvc repro` of that model from the root. Ours is what
`reusable-train.yml` types: blobless sparse clone, `uv sync` for that model, `mlops repro --pull`. Cold means that no
package cache is there before each run; warm keeps it. Correct means: the code is 0, no stage ran, and the lock and
the model's export have the bytes they must have.
"""

import argparse
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import harness

# What the tests use to render and to type commands serves here too.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.rendering import commit, make, render

MODEL = "tumour"
STAGES = ("ingest", "check", "split", "tune", "train", "evaluate", "explain", "age")
# The folders that the jobs of one model check out, beside the files at the root.
FOLDERS = (".dvc", ".github/actions", "packages", f"models/{MODEL}")


def repository(scratch: Path, models: int) -> tuple[Path, Path]:
    """A rendered project with one trained model among `models`, pushed to a bare origin; (origin, DVC remote)."""
    project = render(scratch / "rendered", {})
    crowd(project, models)
    make(project, "setup")
    commit(project, "Lock")
    origin = scratch / "origin.git"
    git(scratch, "init", "--quiet", "--bare", "--initial-branch=main", str(origin))
    git(origin, "config", "uploadpack.allowFilter", "true")
    git(project, "remote", "add", "origin", origin.as_uri())
    git(project, "push", "--quiet", "origin", "main")
    make(project, "train", MODEL=MODEL)
    commit(project, "Train")
    make(project, "push", MODEL=MODEL)
    git(project, "push", "--quiet", "origin", "main")
    exported = ("export", "--quiet", "--frozen", "--no-hashes", "--no-emit-workspace", "--no-dev", "--package", MODEL)
    with (scratch / "requirements.txt").open("w") as stream:
        subprocess.run(["uv", *exported], cwd=project, check=True, stdout=stream)
    # The peer reads a plain folder, which is DVC's fastest kind of remote.
    remote = scratch / "remote"
    dvc = str(project / ".venv" / "bin" / "dvc")
    subprocess.run([dvc, "remote", "add", "--local", "--quiet", "plain", str(remote)], cwd=project, check=True)
    target = f"models/{MODEL}/dvc.yaml"
    subprocess.run([dvc, "push", "--quiet", "--remote", "plain", target], cwd=project, check=True)
    return origin, remote


def crowd(project: Path, models: int) -> None:
    """Models beside the measured one, up to `models` in all: members of the workspace with pipelines, never run."""
    for number in range(1, models):
        folder = project / "models" / f"other_{number:04d}"
        source = folder / "src" / folder.name
        source.mkdir(parents=True)
        (source / "__init__.py").touch()
        stages, before = ["stages:\n"], "model.toml"
        for stage in STAGES:
            stages.append(f"  {stage}:\n    cmd: 'false'\n    deps: [{before}]\n    outs: [{stage}.json]\n")
            before = f"{stage}.json"
        (folder / "dvc.yaml").write_text("".join(stages))
        for name in ("model.toml", "contract.py"):
            shutil.copy(project / "models" / MODEL / name, folder)
        text = (project / "models" / MODEL / "pyproject.toml").read_text()
        (folder / "pyproject.toml").write_text(text.replace(f'name = "{MODEL}"', f'name = "{folder.name}"'))
    commit(project, "Add models")


def git(root: Path, *arguments: str) -> None:
    """One git command."""
    subprocess.run(["git", *arguments], cwd=root, check=True)


def plain(clone: Path, origin: Path, remote: Path, requirements: Path) -> list[str]:
    """What a plain workflow types."""
    python = f"{clone}/.venv/bin/python"
    return [
        f"git clone --quiet {origin.as_uri()} {clone}",
        f"{sys.executable} -m venv {clone}/.venv",
        f"{python} -m pip install --quiet --requirement {requirements}",
        f"{python} -m pip install --quiet --no-deps {clone}/packages/mlops {clone}/models/{MODEL}",
        f"cd {clone}",
        f"export PATH={clone}/.venv/bin:$PATH",
        f"dvc remote add --local --quiet --default plain {remote}",
        f"dvc pull --quiet models/{MODEL}/dvc.yaml",
        f"dvc repro models/{MODEL}/dvc.yaml",
    ]


def ours(clone: Path, origin: Path) -> list[str]:
    """What the jobs of one model type."""
    return [
        f"git clone --quiet --filter=blob:none --no-checkout --sparse {origin.as_uri()} {clone}",
        f"cd {clone}",
        f"git sparse-checkout set {shlex.join(FOLDERS)}",
        "git checkout --quiet main",
        f"uv sync --quiet --frozen --package {MODEL} --no-dev",
        f".venv/bin/mlops repro --pull {MODEL}",
    ]


def plan(clone: Path, origin: Path) -> list[str]:
    """What the plan job types."""
    return [
        f"git clone --quiet --filter=blob:none {origin.as_uri()} {clone}",
        f"cd {clone}",
        f"PYTHONPATH=packages/mlops/src {sys.executable} -m mlops plan --base HEAD~1 --head HEAD",
    ]


def peer(
    scratch: Path, steps: Callable[[Path], list[str]], *, cache: Path, before: Callable[[], object]
) -> Callable[[], harness.Run]:
    """One job from an empty folder; its package cache is `cache`, and `before` runs unmeasured."""

    def once() -> harness.Run:
        clone = scratch / "clone"
        shutil.rmtree(clone, ignore_errors=True)
        before()
        script = "\n".join(["set -eu", *steps(clone)])
        environment = {"PIP_CACHE_DIR": str(cache / "pip"), "UV_CACHE_DIR": str(cache / "uv"), "DVC_NO_ANALYTICS": "1"}
        environment |= {"DVC_SITE_CACHE_DIR": str(clone / ".site"), "VIRTUAL_ENV": ""}
        return harness.run(["bash", "-c", script], cwd=scratch, env=environment)

    return once


def fingerprint(root: Path) -> str:
    """The digest of the measured model's lock and export."""
    folder = root / "models" / MODEL
    files = [folder / "dvc.lock", *sorted((folder / "export").rglob("*"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files if path.is_file())).hexdigest()


def main() -> int:
    """Measure and conclude; 1 when a goal is missed or an answer is wrong."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--models", type=int, default=1000)
    options.add_argument("--repeats", type=int, default=5)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        os.environ |= {f"GIT_{role}_NAME": "Benchmark" for role in ("AUTHOR", "COMMITTER")}
        os.environ |= {f"GIT_{role}_EMAIL": "benchmark@example.com" for role in ("AUTHOR", "COMMITTER")}
        origin, remote = repository(scratch, given.models)
        expected = fingerprint(scratch / "rendered" / "ml-models")
        right: dict[str, list[bool]] = {}

        def checked(label: str, once: Callable[[], harness.Run], *words: str) -> Callable[[], harness.Run]:
            def run() -> harness.Run:
                one = once()
                same = label == "plan job" or fingerprint(scratch / "clone") == expected
                right.setdefault(label, []).append(same and any(word in one.output for word in words))
                return one

            return run

        cold, warm = scratch / "cold", scratch / "warm"
        empty = lambda: shutil.rmtree(cold, ignore_errors=True)  # noqa: E731
        simple = lambda clone: plain(clone, origin, remote, scratch / "requirements.txt")  # noqa: E731
        mine = lambda clone: ours(clone, origin)  # noqa: E731
        planned = lambda clone: plan(clone, origin)  # noqa: E731
        plain_cold, plain_warm = "clone, pip, dvc, cold", "clone, pip, dvc, warm"
        mine_cold, mine_warm = "train job, cold", "train job, warm"
        nothing = ("up to date", "nothing changed")
        runs = harness.interleave(
            {
                plain_cold: checked(plain_cold, peer(scratch, simple, cache=cold, before=empty), *nothing),
                plain_warm: checked(plain_warm, peer(scratch, simple, cache=warm, before=lambda: None), *nothing),
                mine_cold: checked(mine_cold, peer(scratch, mine, cache=cold, before=empty), *nothing),
                mine_warm: checked(mine_warm, peer(scratch, mine, cache=warm, before=lambda: None), *nothing),
                "plan job": checked("plan job", peer(scratch, planned, cache=warm, before=lambda: None), MODEL),
            },
            repeats=given.repeats,
        )
    correct = {label: all(answers) for label, answers in right.items()}
    text = harness.table(runs, against=plain_cold, correct=correct)
    print(text)
    base = harness.median(runs[plain_cold])
    return harness.conclude(
        "overhead",
        question="What does a CI job cost beside training, in a repository of 1,000 models of which one changed?",
        facts={"versions": harness.versions("dvc"), "runs": harness.values(runs)},
        tables={f"{given.models:,} models": text},
        goals={
            "train job, cold, time ratio to a plain workflow": (harness.median(runs[mine_cold]) / base, 1 / 8),
            "train job, warm, time ratio to a plain workflow": (harness.median(runs[mine_warm]) / base, 1 / 15),
        },
        right=all(correct.values()),
        notes=["The plain workflow with a warm package cache is shown too; the goals name the cold one."],
    )


if __name__ == "__main__":
    raise SystemExit(main())
