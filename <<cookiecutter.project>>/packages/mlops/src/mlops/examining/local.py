"""What is on this machine and in this clone? Nothing is asked that takes a network."""

import configparser
import datetime as dt
import importlib.util
import shutil
import sys
from pathlib import Path

from mlops import branch, git, origin, storage, workspace
from mlops.deploying import environments
from mlops.deploying.docker import Docker
from mlops.deploying.environments import Environment
from mlops.errors import Refusal
from mlops.examining.facts import Machine, ModelFacts, NotAsked, Project
from mlops.workspace import Model

PROGRAMS = ("make", "docker", "kubectl")
SECONDS = 1.5
"""The longest that Docker may take to say that it is there."""
FEW = 3
"""So many locks are compared with their inputs: each takes DVC a third of a second."""


def machine(root: Path) -> Machine:
    """Facts of this machine."""
    programs = frozenset(name for name in PROGRAMS if shutil.which(name))
    return Machine(
        python=sys.version.split()[0],
        programs=programs,
        is_set_up=(root / ".venv" / ".ready").exists(),
        free=shutil.disk_usage(root).free,
        engine=_engine() if "docker" in programs else NotAsked("Docker is not installed."),
    )


def _engine() -> str | NotAsked:
    try:
        done = Docker("").run(("version", "--format", "{{.Server.Version}}"), given=(), seconds=SECONDS)
    except Refusal as refusal:
        return refusal.what
    except TimeoutError:
        return NotAsked(f"Docker did not answer within {SECONDS:g} seconds.", "docker version")
    return done.why if done.code else ""


def project(root: Path) -> Project:
    """Facts of this clone. Raises `Refusal` where there is no git."""
    names = workspace.models(root)
    trained = [name for name in names if (root / "models" / name / "dvc.lock").is_file()]
    owners = root / ".github" / "CODEOWNERS"
    remote, address, problem = _remote(root)
    return Project(
        is_committed=git.is_repository(root) and git.head(root) is not None,
        is_locked=git.has(root, "ls-files", "--error-unmatch", "uv.lock"),
        has_origin=origin.exists(root),
        remote=remote,
        address=address,
        problem=problem,
        owners=owners.read_text(encoding="utf-8", errors="replace") if owners.is_file() else None,
        environments={name: _environment(root, name) for name in environments.names(root)},
        models=tuple(_model(Model(root, name), looked=name in trained[:FEW]) for name in names),
    )


def _remote(root: Path) -> tuple[str, str, str]:
    """DVC's default remote, its address, and why neither is known."""
    try:
        remote = branch.default_remote(root) or ""
    except Refusal as refusal:
        return "", "", _short(refusal.what, root)
    settings = configparser.ConfigParser(interpolation=None, strict=False)
    settings.read([root / ".dvc" / "config", root / ".dvc" / "config.local"], encoding="utf-8")
    return remote, settings.get(f"'remote \"{remote}\"'", "url", fallback=""), ""


def _environment(root: Path, name: str) -> Environment | str:
    try:
        # A variable of this shell may be meant for another one.
        return environments.load(root, name, variables={})
    except Refusal as refusal:
        return str(refusal.what)


def _model(model: Model, *, looked: bool) -> ModelFacts:
    try:
        found = model.config()
    except Refusal as refusal:
        return ModelFacts(name=model.name, problem=_short(refusal.what, model.root), cure=refusal.do)
    is_trained = (model.folder / "dvc.lock").is_file()
    return ModelFacts(
        name=model.name,
        as_of=dt.date.fromisoformat(found.data.as_of),
        every_days=found.retrain.every_days,
        log=found.watch.log,
        auto_merge=found.retrain.auto_merge,
        is_trained=is_trained,
        outdated=_outdated(model, looked=looked) if is_trained else (),
    )


def _outdated(model: Model, *, looked: bool) -> tuple[str, ...] | NotAsked:
    if importlib.util.find_spec("dvc") is None:
        return NotAsked("Whether locks match their inputs is known to DVC, which is not installed here.", "make setup")
    if not looked:
        return NotAsked(f"Only the first {FEW} locks were compared with their inputs.", "make verdict MODEL=name")
    try:
        return storage.outdated(model)
    except Refusal as refusal:
        return NotAsked(_short(refusal.what, model.root), refusal.do)


def _short(text: str, root: Path) -> str:
    """Paths as they are named inside the repository."""
    return text.replace(f"{root}/", "")
