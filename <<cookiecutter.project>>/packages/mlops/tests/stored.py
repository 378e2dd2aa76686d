"""A project whose storage is the branch `dvc-storage` of a bare repository, with a model whose stages cost nothing."""

import subprocess
from pathlib import Path

import pytest

from mlops.workspace import Model

CONFIG = """\
[core]
    remote = dvc-storage
['remote "dvc-storage"']
    url = storage
"""

PIPELINE = """\
stages:
  ingest:
    cmd: python ingest.py
    deps: [ingest.py]
    outs: [data/raw.parquet]
  split:
    cmd: python split.py
    deps: [split.py, data/raw.parquet]
    outs: [data/train.parquet, data/holdout.parquet]
  train:
    cmd: python train.py
    deps: [train.py, data/train.parquet]
    outs: [export]
    metrics:
      - metrics.json: {cache: false}
"""

LOG = 'open("../../ran.log", "a").write(__import__("pathlib").Path(__file__).stem + "\\n")\n'
INGEST = LOG + 'import os; os.makedirs("data", exist_ok=True); open("data/raw.parquet", "w").write("a\\nb\\nc\\n")\n'
SPLIT = LOG + (
    'rows = open("data/raw.parquet").read().split()\n'
    'open("data/train.parquet", "w").write(" ".join(rows[:2]))\n'
    'open("data/holdout.parquet", "w").write(rows[2])\n'
)
TRAIN = LOG + (
    "import os, json, pathlib\n"
    'os.makedirs("export", exist_ok=True)\n'
    'pathlib.Path("export/model.skops").write_text("model of " + open("data/train.parquet").read())\n'
    'pathlib.Path("export/manifest.json").write_text(json.dumps({"format": 1, "text": "one"}))\n'
    'pathlib.Path("metrics.json").write_text(json.dumps({"rows": 3}))\n'
)


def git(root: Path, *words: str) -> str:
    """Standard output of a git command that must succeed."""
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def add(root: Path, name: str = "cheap") -> Model:
    """A model whose stages write their names into `ran.log`."""
    folder = root / "models" / name
    folder.mkdir(parents=True)
    files = {"dvc.yaml": PIPELINE, "ingest.py": INGEST, "split.py": SPLIT, "train.py": TRAIN, "model.toml": ""}
    for place, text in files.items():
        (folder / place).write_text(text)
    return Model(root, name)


def bare(place: Path) -> Path:
    """An empty repository that gives what GitHub gives: single files by name, and commits without their files."""
    git(place.parent, "init", "-q", "--bare", "-b", "main", str(place))
    git(place, "config", "uploadpack.allowFilter", "true")
    git(place, "config", "uploadpack.allowAnySHA1InWant", "true")
    return place


def connected(root: Path, origin: Path) -> None:
    """Give a project an origin, and keep its storage there."""
    (root / ".dvc" / "config").write_text(CONFIG)
    git(root, "remote", "add", "origin", f"file://{origin}")
    commit(root, "connect")
    git(root, "push", "-q", "-u", "origin", "main")


def commit(root: Path, message: str = "change") -> str:
    """Commit everything; the commit."""
    git(root, "add", "-A", "--", ".", ":!ran.log")
    git(root, "commit", "-q", "-m", message)
    return git(root, "rev-parse", "HEAD")


def clone(origin: Path, place: Path, monkeypatch: pytest.MonkeyPatch | None = None) -> Path:
    """A fresh clone, as the working folder when a patch is given."""
    git(place.parent, "clone", "-q", f"file://{origin}", str(place))
    if monkeypatch:
        monkeypatch.chdir(place)
    return place


def ran(root: Path) -> list[str]:
    """The stages that ran, from what they wrote themselves; the list begins anew after it was read."""
    log = root / "ran.log"
    found = log.read_text().split() if log.exists() else []
    log.unlink(missing_ok=True)
    return found
