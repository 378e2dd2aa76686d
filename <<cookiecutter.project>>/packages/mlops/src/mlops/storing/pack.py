"""The verb `pack`: which bytes belong to a version that passed? They are put into one folder for `store`."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from mlops import files, git, storage
from mlops.cli import Outcome
from mlops.errors import Refusal
from mlops.storage import Output
from mlops.storing import verify
from mlops.workspace import Model


def pack(model: Model, into: str) -> Outcome:
    """Write the folder `into` for a version whose verdict is passed; what storage has of its data is left out.

    The folder appears as a whole, and only when it would pass the examination of `store`.
    """
    folder = Path(into)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Refusal(f"{folder} is there already.", do="Name a folder that does not exist yet.")
    version = _passed(model)
    commit = git.head(model.root)
    if commit is None:
        raise Refusal(f"{model.name}: nothing has been committed yet.", do="Commit what was measured first.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        draft = Path(scratch) / "folder"
        _write(model, draft)
        about = {"format": 1, "model": model.name, "commit": commit, "version": version}
        files.write_json(draft / verify.ABOUT, about)
        try:
            found = verify.packed(draft)
        except Refusal as refusal:
            do = f"`make train MODEL={model.name}` and the gate may make it whole; if not, the sentence above says why."
            raise Refusal(f"{model.name}: {refusal.what}", do=do) from None
        if folder.exists():
            folder.rmdir()
        os.replace(draft, folder)
    what = f"{len(found.files)} files and {len(found.objects)} objects are in {folder}"
    if found.absent:
        what += f"; {len(found.absent)} more objects are in the storage already"
    return Outcome(f"{model.name} {version}: {what}.", about | {"absent": len(found.absent)})


def _passed(model: Model) -> str:
    """The version that the gate passed; refuses every other state."""
    do = f"`mlops gate {model.name}` judges it; only what passed is stored."
    evidence = files.read_json(model.reports / "evidence.json", do=do)
    version = files.digest(model.export / "manifest.json")[:12] if (model.export / "manifest.json").is_file() else None
    try:
        verdict, judged = str(evidence["verdict"]["verdict"]), evidence["version"]
    except (KeyError, TypeError):
        raise Refusal(f"{model.name}: its evidence.json is not one that the gate writes.", do=do) from None
    if verdict != "passed":
        raise Refusal(f"{model.name}: its verdict is {verdict}, so it is not packed.", do=do)
    if version is None or version != judged:
        raise Refusal(f"{model.name}: the gate judged {judged}, and its export is {version}.", do=do)
    return version


def _write(model: Model, draft: Path) -> None:
    outs = storage.outputs(model)
    lock = model.folder / verify.LOCK
    if not lock.is_file():
        raise Refusal(f"{model.name} has no dvc.lock.", do=f"`make train MODEL={model.name}` writes it.")
    in_git = [verify.LOCK, *(out.path for out in outs if not out.is_cached)]
    in_git += [name for name in verify.UNLOCKED if (model.folder / name).is_file()]
    for name in in_git:
        if not (model.folder / name).is_file():
            raise Refusal(
                f"{model.name}: the output {name} is no file on this machine.",
                do="Outputs with `cache: false` are files that exist; a folder is kept by DVC, or named file by file.",
            )
        _copy(model.folder / name, draft / verify.FILES / name)
    for oid, path in _objects(model, [out for out in outs if out.is_cached]).items():
        _copy(path, draft / verify.OBJECTS / oid[:2] / oid[2:])


def _objects(model: Model, outs: list[Output]) -> dict[str, Path]:
    """Objects to pack: all of the export, every listing, and of the rest what the storage does not have."""
    listings = storage.objects(model.root, [out.md5 for out in outs if out.md5.endswith(".dir")])
    whole: set[str] = set(listings)
    rest: set[str] = set()
    for out in outs:
        inner = set(verify.listed(listings[out.md5].read_bytes()).values()) if out.md5 in listings else set()
        (whole if out.path == "export" else rest).update(inner or {out.md5})
    rest -= whole
    # A storage that cannot be asked now is asked again by `store`; until then everything is packed.
    with contextlib.suppress(Refusal):
        rest -= storage.held(model.root, rest)
    return storage.objects(model.root, whole | rest)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
