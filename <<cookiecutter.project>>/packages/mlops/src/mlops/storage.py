"""Running pipelines and moving bytes by digest: the only module that touches DVC.

Where the remote is kept on the branch `dvc-storage` of `origin`, `branch` moves the bytes between it and DVC's cache.
DVC is driven in this process, and reads the pipelines of one model and of what that model builds on, and no other:
a repository of two hundred models costs what one costs.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from mlops import branch, git, local
from mlops.branch import Branch
from mlops.errors import Refusal
from mlops.files import conflict
from mlops.origin import Unreachable
from mlops.workspace import Model

DIRECTORY = re.compile(r"[0-9a-f]{32}\.dir")


@dataclass(frozen=True, kw_only=True)
class Output:
    """One output that a `dvc.lock` names: its path in the model's folder, and its digest."""

    path: str
    md5: str
    is_cached: bool
    """Whether DVC keeps it by its digest; what it does not keep, git does."""


class Lost(Refusal):
    """Bytes that are neither in the cache nor in the remote, or a remote that cannot be read."""


def repro(model: Model, *, pull: bool = False, until: str | None = None) -> tuple[str, ...]:
    """Run the stages of `model` whose inputs changed; return their names, in the order they ran.

    With `until` only that stage and what it needs.

    What an earlier run with the same inputs made is taken from DVC's cache.
    With `pull` nothing runs only because its results are on another machine: the data and versions that the run and
    the gate read are taken from the remote, and nothing else is. Where that cannot be, a line says why, and they are
    made again.
    Progress goes to stderr, one line per stage, and so does what the stages print.
    A damaged file in the cache is mended first.
    Refuses when a stage fails (exit code 1; the stage has said why), when another process is at work, and outside git
    or DVC.
    """
    ran: list[str] = []
    try:
        _repro(model, ran, until, pull=pull)
    except _BrokenRwlock as broken:
        # A process killed while it wrote this file leaves half of it; it holds no data, only who reads and writes.
        _say(f"{model.name}: an interrupted run left {broken.path.name} damaged; it is removed.")
        broken.path.unlink(missing_ok=True)
        return repro(model, pull=pull, until=until)
    except (Lost, Unreachable) as lost:
        if not pull:
            raise
        _say(f"{model.name}: {lost.what} What is missing is made again.")
        _repro(model, ran, until, pull=False)
    return tuple(ran)


def pull(model: Model, *, replace: bool = False) -> tuple[str, ...]:
    """Put every output that `dvc.lock` names into the working folder; return the paths of those that came.

    An output that is there and differs is kept, and a line says so; with `replace` the locked one takes its place.
    Raises `Refusal` when bytes are nowhere.
    """
    with _session(model) as repo:
        outs = _own_outs(repo, model)
        different = [out for out in outs if out.exists and out.changed_checksum()]
        came = _bring(repo, outs, instead=different if replace else [])
        for out in different:
            if out not in came:
                do = f"`make pull MODEL={model.name} REPLACE=1` brings the locked one."
                _say(f"{model.name}: {out} differs from dvc.lock and is kept; {do}")
        return tuple(str(out) for out in came)


def push(model: Model) -> int:
    """Put what `dvc.lock` names into the remote; how many objects it did not have yet.

    Raises `Refusal` when an object is neither in the cache nor in the remote, and when the remote does not take it.
    """
    with _session(model) as repo:
        planned = _own_outs(repo, model)
        _mend(model, repo, list(dict.fromkeys(out.stage for out in planned)))
        oids = _named(repo, planned)
        cache = repo.cache.local
        paths = {oid: Path(cache.oid_to_path(oid)) for oid in oids}
        here = {oid: path for oid, path in paths.items() if _intact(path, oid)}
        lost = sorted(oids - here.keys() - _held(repo, oids - here.keys()))
        if lost:
            raise Lost(
                f"{model.name}: {lost[0]} is neither in the local cache nor in {_remote(repo)}.",
                do=f"`make train MODEL={model.name}` makes it again.",
            )
        return _send(repo, here)


def held(root: Path, oids: Iterable[str]) -> set[str]:
    """Which of these objects the remote has. Raises `Refusal` when it cannot be asked."""
    with _open(root) as repo:
        return _held(repo, set(oids))


def send(root: Path, files: Mapping[str, Path]) -> int:
    """Put files that are no part of this clone into the remote, each under its md5; how many it did not have.

    Every file is compared with its digest first; one that differs is refused, and then nothing is sent.
    """
    with _open(root) as repo:
        if repo.branch is None:
            for oid, path in files.items():
                _adopt(repo, oid, path)
            files = {oid: Path(repo.cache.local.oid_to_path(oid)) for oid in files}
        return _send(repo, files)


def outputs(model: Model) -> tuple[Output, ...]:
    """The outputs that the model's `dvc.lock` names, by path."""
    with _session(model) as repo:
        found = [
            Output(path=str(out), md5=out.hash_info.value, is_cached=bool(out.use_cache))
            for stage in repo.index.stages
            for out in stage.outs
            if Path(stage.wdir) == model.folder and out.hash_info and out.protocol == "local"
        ]
    return tuple(sorted(found, key=lambda one: one.path))


def objects(root: Path, oids: Iterable[str]) -> dict[str, Path]:
    """Where these objects lie in the cache, verified; those that are not in it are left out."""
    with _open(root) as repo:
        paths = {oid: Path(repo.cache.local.oid_to_path(oid)) for oid in oids}
        return {oid: path for oid, path in paths.items() if _intact(path, oid)}


def outdated(model: Model) -> tuple[str, ...]:
    """Names of the stages whose parameters, code, data or results differ from what `dvc.lock` says.

    Data that is not on this machine counts as unchanged: the lock knows its digest.
    """
    with _session(model) as repo:
        return tuple(
            stage.name or stage.addressing
            for stage in _planned(repo)
            if not stage.frozen and (stage.changed(True, None) or _has_new_source(model, stage))
        )


def locked_export(text: str) -> str | None:
    """The digest (`<md5>.dir`) of `export` in the text of a `dvc.lock`, or None when it locks no export."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        lock = YAML(typ="safe", pure=True).load(text)
        stages = (lock or {}).get("stages") or {}
        outs = [out for stage in stages.values() for out in (stage or {}).get("outs") or []]
        found = [out.get("md5") for out in outs if out.get("path") == "export"]
    except (YAMLError, AttributeError, TypeError):
        raise Refusal("A dvc.lock is not valid.", do="Look for conflict markers in it, or run `make train`.") from None
    if not found:
        return None
    if not (isinstance(found[0], str) and DIRECTORY.fullmatch(found[0])):
        raise Refusal(f"A dvc.lock gives export the digest {found[0]!r}.", do="Run `make train` to lock it anew.")
    return found[0]


def folder_digest(folder: Path) -> str | None:
    """The digest (`<md5>.dir`) that DVC gives to a folder with these files, or None when there is no such folder."""
    if not folder.is_dir():
        return None
    entries = [
        {"md5": _md5(path), "relpath": path.relative_to(folder).as_posix()}
        for path in folder.rglob("*")
        if path.is_file()
    ]
    entries.sort(key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def fetch(root: Path, digest: str, destination: Path) -> None:
    """Put the folder with this digest (`<md5>.dir`) at `destination`, from the local cache, else from the remote.

    Every file's md5 is verified, and `destination` appears as a whole or not at all.
    Raises `Refusal` naming the remote when the bytes are nowhere.
    """
    if not DIRECTORY.fullmatch(digest):
        raise Refusal(f"{digest!r} is not the digest of a folder.", do="DVC writes them as <md5>.dir.")
    with _open(root) as repo:
        listing = _objects(repo, [digest])[digest]
        entries = _entries(listing.read_bytes(), digest)
        objects = _objects(repo, sorted({md5 for _, md5 in entries}))
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}.") as scratch:
            folder = Path(scratch) / "folder"
            for relative, md5 in entries:
                target = folder.joinpath(*relative.parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(objects[md5], target)
                if _md5(target) != md5:
                    raise Refusal(f"{relative} of {digest} changed while it was copied.", do="Try again.")
            if destination.exists():
                destination.rename(Path(scratch) / "replaced")
            folder.rename(destination)


class _BrokenRwlock(Exception):
    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path


def _repro(model: Model, ran: list[str], until: str | None, *, pull: bool) -> None:
    """Run what changed, up to one stage or to the end, adding the names to `ran` as the stages end."""
    target = f"dvc.yaml:{until}" if until else "dvc.yaml"
    with _session(model) as repo:
        planned = _planned(repo, target)
        _mend(model, repo, planned)
        places = {stage.addressing: number for number, stage in enumerate(planned, start=1)}

        def announced(stage: Any, **settings: Any) -> Any:
            """Reproduce one stage; say so only when it really runs, which is when DVC calls its `run`."""
            run = stage.run

            def said(**more: Any) -> Any:
                number = places.get(stage.addressing)
                _say(f"{model.name}: {stage.addressing}" + (f" ({number} of {len(places)})" if number else ""))
                return run(**more)

            stage.run = said
            if _has_new_source(model, stage):
                settings["force"] = True
            if pull and (settings.get("force") or stage.changed(True, settings.get("upstream"))):
                _bring(repo, _inputs(repo, stage))
            try:
                done = reproduce_stage(stage, **settings)
            except Exception as error:
                _stage_failed(model, stage.addressing, error)
            if done:
                ran.append(stage.addressing)
            return done

        from dvc.repo.reproduce import _reproduce_stage as reproduce_stage

        # DVC's own `pull` asks the remote for its record of all runs, and then once for each stage.
        repo.reproduce(targets=[target], allow_missing=pull, repro_fn=announced)
        if pull and not until:
            read = (model.export, model.train, model.holdout)
            _bring(repo, [out for out in _own_outs(repo, model) if Path(out.fs_path) in read])


def _own_outs(repo: Any, model: Model) -> list[Any]:
    """What DVC keeps of the model's own outputs, as the lock names them."""
    return [
        out
        for stage in repo.index.stages
        for out in stage.outs
        if Path(stage.wdir) == model.folder and _is_kept(out) and out.hash_info
    ]


def _is_kept(out: Any) -> bool:
    """Whether DVC keeps an output by its digest, so that it can be had from the cache or the remote."""
    return bool(out.use_cache) and out.protocol == "local"


def _inputs(repo: Any, stage: Any) -> list[Any]:
    """The outputs of other stages that a stage reads."""
    places = [Path(dep.fs_path) for dep in stage.deps if dep.protocol == "local"]
    others = [other for other in repo.index.stages if other.addressing != stage.addressing]
    return [out for other in others for out in other.outs if any(_touch(Path(out.fs_path), place) for place in places)]


def _bring(repo: Any, outs: list[Any], *, instead: Sequence[Any] = ()) -> list[Any]:
    """Put those of the outputs that are not in the working folder there, and those `instead` of what is there.

    Raises `Lost` when bytes are nowhere, before anything is taken away.
    """
    wanted = [out for out in outs if _is_kept(out) and out.hash_info and (out in instead or not out.exists)]
    if wanted:
        _objects(repo, sorted(_named(repo, wanted)))
    for out in wanted:
        out.checkout(force=True)
    return wanted


def _named(repo: Any, outs: Iterable[Any]) -> set[str]:
    """Digests of all objects that hold these outputs: files, listings of folders, and what the listings name."""
    oids = {out.hash_info.value for out in outs}
    listings = _objects(repo, sorted(oid for oid in oids if oid.endswith(".dir")))
    return oids.union(*({md5 for _, md5 in _entries(path.read_bytes(), oid)} for oid, path in listings.items()))


def _held(repo: Any, oids: set[str]) -> set[str]:
    """Which objects the remote has."""
    from dvc.config import NoRemoteError

    found: set[str] = set()
    if oids:
        try:
            found = set(repo.cloud.get_remote_odb().oids_exist(sorted(oids)))
        except NoRemoteError:
            return set()
        except Exception as error:
            raise _unreadable(repo, error) from None
    return found | (repo.branch.has(oids - found) if repo.branch else set())


def _send(repo: Any, files: Mapping[str, Path]) -> int:
    """Put cached objects into the remote; how many it did not have."""
    from dvc.config import NoRemoteError
    from dvc_data.hashfile.hash_info import HashInfo

    if repo.branch:
        return int(repo.branch.push(files))
    try:
        result = repo.cloud.push([HashInfo("md5", oid) for oid in files])
    except NoRemoteError:
        raise Refusal("There is no DVC remote to push to.", do="docs/how-to/change-storage.md shows how.") from None
    except Exception as error:
        do = "Check its address, and that your credentials may write there."
        raise Refusal(f"{_remote(repo)} could not be written: {_line(error)}", do=do) from None
    if result.failed:
        do = "Check its address, and that your credentials may write there."
        raise Refusal(f"{_remote(repo)} did not take {len(result.failed)} of {len(files)} objects.", do=do)
    return len(result.transferred)


def _adopt(repo: Any, oid: str, path: Path) -> None:
    """Copy a file into the cache under its md5, when that is its md5."""
    target = Path(repo.cache.local.oid_to_path(oid))
    if _intact(target, oid):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=repo.tmp_dir, prefix="adopted.") as scratch:
        copy = Path(scratch, oid)
        shutil.copyfile(path, copy)
        if _md5(copy) != oid.removesuffix(".dir"):
            raise Refusal(f"{path} has not the bytes of its name.", do="Do not use it.")
        copy.chmod(0o444)
        copy.replace(target)


def _has_new_source(model: Model, stage: Any) -> bool:
    """Whether a stage reads the files that `data.source` names, and they changed since it did."""
    if stage.name != "ingest" or Path(stage.wdir) != model.folder:
        return False
    try:
        source = model.config().data.source
    except Refusal:
        # Who runs a pipeline has said what is wrong with model.toml, or the stage will.
        return False
    return local.has_changed(model, source)


def _stage_failed(model: Model, stage: str, error: Exception) -> NoReturn:
    """Turn what DVC raised in a stage into one line; the stage itself has printed why."""
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.rwlock import RWLockFileCorruptedError, RWLockFileFormatError
    from dvc.stage.exceptions import StageCmdFailedError

    again = f"Mend it and run `make train MODEL={model.name}` again; finished stages are kept."
    if isinstance(error, StageCmdFailedError):
        status = re.search(r"exited with (-?\d+)$", str(error))
        code = int(status[1]) if status else 1
        signal = -code if code < 0 else code - 128 if 128 < code < 160 else 0
        if signal == 2:
            raise Refusal(f"{model.name}: stage {stage} was interrupted; run it again to go on.", code=130) from None
        if signal:
            why = "; perhaps there was not enough memory" if signal == 9 else ""
            raise Refusal(
                f"{model.name}: stage {stage} was killed by signal {signal}{why}.", do=again, code=1
            ) from None
        if code == 127:
            again = "The command is not on the PATH: run `make setup`."
        raise Refusal(f"{model.name}: stage {stage} failed.", do=again, code=1) from None
    at_work = (LockError, RWLockFileCorruptedError, RWLockFileFormatError)
    if isinstance(error, DvcException | OSError) and not isinstance(error, at_work):
        raise Refusal(f"{model.name}: stage {stage} failed: {_line(error)}", do=again, code=1) from None
    raise error


@contextmanager
def _session(model: Model) -> Iterator[Any]:
    """A locked DVC repository bounded to `model`, in the model's folder, with its failures in one line."""
    if not (model.folder / "dvc.yaml").is_file():
        raise Refusal(f"{model.folder / 'dvc.yaml'} does not exist.", do="Bring it back with git: it is the pipeline.")
    with _open(model.root, model) as repo, _working_folder(model.folder):
        from dvc.repo import lock_repo

        with lock_repo(repo):
            _forget_the_dead(repo)
            yield repo


def _forget_the_dead(repo: Any) -> None:
    """Take what killed runs noted out of DVC's list of who reads and writes.

    DVC forgets a note only when no process has its number. In a container numbers come back at once, and a killed
    process may keep its own for a while: such a note would block every later run.
    """
    from dvc.rwlock import RWLOCK_FILE, _edit_rwlock

    path = Path(repo.tmp_dir, RWLOCK_FILE)
    if not path.is_file():
        return
    written = path.stat().st_mtime
    with _edit_rwlock(repo.tmp_dir, repo.fs, repo.config["core"].get("hardlink_lock", False)) as noted:
        for place, readers in list(noted["read"].items()):
            noted["read"][place] = [one for one in readers if _is_at_work(one["pid"], written)]
        for place, writer in list(noted["write"].items()):
            if not _is_at_work(writer["pid"], written):
                del noted["write"][place]


def _is_at_work(pid: int, written: float) -> bool:
    """Whether the process that wrote its number into a file last changed at `written` still lives."""
    import psutil

    try:
        process = psutil.Process(pid)
        # A process that began later (to the second, as clocks go) has only inherited the number.
        return (
            process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD) and process.create_time() < written + 1
        )
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


@contextmanager
def _open(root: Path, model: Model | None = None) -> Iterator[Any]:
    """A DVC repository at `root`; what DVC raises inside becomes a `Refusal`."""
    logging.getLogger("dvc").setLevel(logging.CRITICAL)
    logging.getLogger("dvc_data").setLevel(logging.CRITICAL)
    logging.getLogger("dvc_objects").setLevel(logging.CRITICAL)
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.repo import Repo
    from dvc.scm import SCMError

    logging.getLogger("dvc").setLevel(logging.CRITICAL)
    name = f"{model.name}: " if model else ""

    later = ExitStack()

    class Bounded(Repo):  # type: ignore[misc]
        """A repository that reads the pipelines of one model and of what it builds on."""

        @cached_property
        def branch(self) -> Branch | None:
            """The branch that the remote is kept on, where it is; nothing is asked before it is needed."""
            return later.enter_context(branch.opened(root)) if branch.is_used(root) else None

        @cached_property
        def index(self) -> Any:
            return _index(self, model) if model else super().index

    try:
        if not (root / ".dvc").is_dir():
            raise NotDvcRepoError(str(root))
        with later, Bounded(str(root)) as repo:
            # Reading `scm` asks whether git is here, before any stage has run.
            _ = repo.scm
            yield repo
    except NotDvcRepoError:
        raise Refusal(f"{name}{root} is not a DVC repository.", do="Run `dvc init` there once.") from None
    except SCMError:
        raise Refusal(f"{name}{root} is not a git repository.", do="Run `git init` and commit the files.") from None
    except sqlite3.OperationalError as error:
        # DVC keeps what it knows of files in such a database; this is what a full or read-only disk looks like.
        do = "Free space on that disk, and allow this user to write there; then run it again."
        raise Refusal(f"{name}DVC cannot write in {root / '.dvc'}: {error}.", do=do) from None
    except DvcException as error:
        _refuse(error, root, model)


def _refuse(error: Exception, root: Path, model: Model | None) -> NoReturn:
    """Raise what a person should read for an error of DVC's; it wraps what happened, often several times."""
    from dvc.lock import LockError
    from dvc.rwlock import RWLockFileCorruptedError, RWLockFileFormatError
    from dvc.utils.serialize import YAMLFileCorruptedError
    from dvc.utils.strictyaml import YAMLValidationError

    name = f"{model.name}: " if model else ""
    for cause in _chain(error):
        if isinstance(cause, Refusal):
            raise cause from None
        if isinstance(cause, RWLockFileCorruptedError | RWLockFileFormatError):
            raise _BrokenRwlock(root / ".dvc" / "tmp" / "rwlock") from None
        if isinstance(cause, LockError):
            holder = re.search(r"PID (\d+)", str(cause))
            who = f"process {holder[1]}" if holder else "another process"
            do = "Wait until it has ended, then try again."
            raise Refusal(f"{name}{who} is working with DVC in this repository.", do=do) from None
        if isinstance(cause, YAMLFileCorruptedError | YAMLValidationError):
            said = getattr(cause, "relpath", "") or getattr(cause, "path", "")
            path = Path(os.path.normpath((model.folder if model else root) / said))
            path = path.relative_to(root) if path.is_relative_to(root) else path
            line = conflict((root / path).read_text(encoding="utf-8", errors="replace")) if path.name else None
            if line is not None:
                do = f"Take one side whole, such as `git checkout HEAD {path}`; then `make train` writes it anew."
                raise Refusal(f"{name}{path}, line {line}, is a conflict that git left.", do=do) from None
            do = f"`git diff {path}` shows what changed, and `git checkout HEAD {path}` brings the committed one back."
            raise Refusal(f"{name}{path} is not valid: {_line(error)}", do=do) from None
    raise Refusal(f"{name}DVC: {_line(error)}", code=1) from None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _line(error: BaseException) -> str:
    """The innermost message of an error chain, on one line."""
    *_, cause = _chain(error)
    words = " ".join(str(cause).split()) or type(cause).__name__
    return words if len(words) <= 300 else words[:299] + "…"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def _working_folder(folder: Path) -> Iterator[None]:
    """Stages run in `folder`, with this interpreter's commands first, and print on stderr."""
    before, path = Path.cwd(), os.environ.get("PATH", "")
    sys.stdout.flush()
    stdout = os.dup(1)
    os.chdir(folder)
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), path])
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
        os.environ["PATH"] = path
        os.chdir(before)


def _planned(repo: Any, target: str = "dvc.yaml") -> list[Any]:
    """The stages that bring the model's own pipeline, or one stage of it, up to date, in order."""
    from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro

    planned: list[Any] = plan_repro(get_active_graph(repo.index.graph), collect_stages(repo, [target]))
    return planned


def _index(repo: Any, model: Model) -> Any:
    """DVC's index of the model's pipelines and, transitively, of those that make what it reads from elsewhere.

    The maker of a file is looked for at and above the file and, where the file is a folder, inside it.
    When a file has no maker there and git does not track it, the whole repository is read.
    """
    from dvc.repo.index import Index

    root = Path(repo.root_dir)
    home = root / "models" / model.name
    indexes: dict[Path, Any] = {}

    def read(path: Path) -> list[Any]:
        if path not in indexes:
            indexes[path] = Index.from_file(repo, str(path))
        stages: list[Any] = indexes[path].stages
        return stages

    made_here = {Path(out.fs_path) for stage in read(home / "dvc.yaml") for out in stage.outs}
    waiting = [stage for path in _pipelines_in(home, made_here) for stage in read(path)]
    looked: set[Path] = set()
    while waiting:
        for dep in waiting.pop().deps:
            place = Path(dep.fs_path)
            if dep.protocol != "local" or place in looked or not place.is_relative_to(root):
                continue
            looked.add(place)
            inside = place.is_relative_to(home)
            makers = _above(home if inside else place, root)
            if not inside and place.is_dir():
                makers += _pipelines_in(place, set())
            made = [stage for path in makers for stage in read(path) if _makes(stage, place)]
            waiting.extend(made)
            if not (inside or made or git.has(root, "ls-files", "--error-unmatch", "--", str(place))):
                return Index.from_repo(repo)
    return Index.from_indexes(repo, indexes.values())


def _makes(stage: Any, place: Path) -> bool:
    """Whether an output of `stage` is `place`, holds it, or lies in it."""
    return any(_touch(Path(out.fs_path), place) for out in stage.outs)


def _touch(one: Path, other: Path) -> bool:
    """Whether one of two places is the other or lies in it."""
    return one.is_relative_to(other) or other.is_relative_to(one)


def _pipelines_in(folder: Path, outs: set[Path]) -> list[Path]:
    """All pipeline files below `folder`, without walking through what they made (`outs`)."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and Path(place, name) not in outs]
        found += [Path(place, name) for name in files if name == "dvc.yaml" or name.endswith(".dvc")]
    return found


def _above(place: Path, root: Path) -> list[Path]:
    """Pipeline files in the folders above `place`, up to the repository's root."""
    found = []
    for folder in place.parents:
        if not folder.is_relative_to(root):
            break
        found += [path for path in (folder / "dvc.yaml", *folder.glob("*.dvc")) if path.is_file()]
    return found


def _mend(model: Model, repo: Any, stages: list[Any]) -> None:
    """Take damaged files out of the local cache, and put them and lost ones back where the working folder has them.

    DVC trusts a cached file that is read-only; here every file that `dvc.lock` names is compared with its digest,
    read again only when its size or time changed since DVC wrote it.
    What cannot be put back is made again by its stage, or fetched from the remote when the run pulls.
    """
    for out in (out for stage in stages for out in stage.outs):
        if not (out.use_cache and out.hash_info and out.protocol == "local"):
            continue
        # A folder's files can be looked at only once its listing is whole again: hence twice.
        for _ in range(2):
            damaged = _damaged(out)
            if not damaged:
                break
            how = "put back from the working folder" if _put_back(model, out) else "its stage makes it again"
            files = "1 damaged file" if damaged == 1 else f"{damaged} damaged files"
            _say(f"{model.name}: {files} of {out} removed from DVC's cache; {how}.")
        if out.changed_cache() and _put_back(model, out):
            _say(f"{model.name}: {out} was missing from DVC's cache; put back from the working folder.")


def _put_back(model: Model, out: Any) -> bool:
    """Whether the working folder still has the output as the lock names it, and the cache has it again."""
    try:
        if not out.exists or out.changed_checksum():
            return False
        out.commit()
        return not out.changed_cache()
    except Exception as error:
        _say(f"{model.name}: {out} could not be put back into DVC's cache: {_line(error)}")
        return False


def _damaged(out: Any) -> int:
    """How many cached files of an output did not match their digest; they are removed from the cache."""
    from dvc_data.hashfile.db import HashFileDB
    from dvc_objects.errors import ObjectFormatError

    def broken(oid: str) -> bool:
        try:
            HashFileDB.check(out.cache, oid)
        except FileNotFoundError:
            return False
        except ObjectFormatError:
            return True
        return False

    oid = out.hash_info.value
    if broken(oid):
        return 1
    if not out.hash_info.isdir:
        return 0
    try:
        entries = _entries(Path(out.cache.oid_to_path(oid)).read_bytes(), oid)
    except OSError:
        return 0
    return sum(broken(md5) for _, md5 in entries)


def _entries(listing: bytes, digest: str) -> list[tuple[PurePosixPath, str]]:
    """The files of a folder: their paths and md5, from DVC's listing; refuses one that would leave the folder."""
    try:
        entries = [(PurePosixPath(entry["relpath"]), entry["md5"]) for entry in json.loads(listing)]
    except (ValueError, KeyError, TypeError):
        raise Refusal(f"The listing of {digest} is not one of DVC's.", do="Its stage must run again.") from None
    for path, md5 in entries:
        if path.is_absolute() or ".." in path.parts or not re.fullmatch(r"[0-9a-f]{32}", str(md5)):
            raise Refusal(f"The listing of {digest} names {str(path)!r}.", do="Do not use it: it was tampered with.")
    return entries


def _objects(repo: Any, oids: list[str]) -> dict[str, Path]:
    """Paths of cached files whose bytes were just found to match; missing ones are fetched from the remote first."""
    cache = repo.cache.local
    paths = {oid: Path(cache.oid_to_path(oid)) for oid in oids}
    missing = [oid for oid, path in paths.items() if not _intact(path, oid)]
    if missing:
        _pull(repo, missing)
    lost = [oid for oid in missing if not _intact(paths[oid], oid)]
    if lost:
        raise Lost(
            f"{lost[0]} is neither in the local cache nor in {_remote(repo)}.",
            do="`make push` where it was trained puts it there.",
        )
    return paths


def _intact(path: Path, oid: str) -> bool:
    """Whether a cached file has the bytes of its digest; one that has not is removed, so that it can be fetched."""
    if not path.is_file():
        return False
    if _md5(path) == oid.removesuffix(".dir"):
        return True
    path.unlink()
    return False


def _pull(repo: Any, oids: list[str]) -> None:
    """Put into the cache what the remote has of these objects."""
    from dvc.config import NoRemoteError
    from dvc_data.hashfile.hash_info import HashInfo

    try:
        repo.cloud.pull([HashInfo("md5", oid) for oid in oids])
    except NoRemoteError:
        return
    except Exception as error:
        # Every kind of remote raises its own library's errors.
        raise _unreadable(repo, error) from None
    if repo.branch:
        paths = {oid: Path(repo.cache.local.oid_to_path(oid)) for oid in oids}
        repo.branch.fetch([oid for oid, path in paths.items() if not path.is_file()], paths.__getitem__)


def _unreadable(repo: Any, error: Exception) -> Lost:
    return Lost(f"{_remote(repo)} could not be read: {_line(error)}.", do="Check its address and your credentials.")


def _remote(repo: Any) -> str:
    """The name and address of the default remote, for a message."""
    name = repo.config["core"].get("remote")
    if repo.branch:
        return f"the DVC remote {name!r} (the branch {branch.NAME} of origin)"
    return f"the DVC remote {name!r} ({repo.config['remote'][name]['url']})" if name else "a DVC remote (none is set)"


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
