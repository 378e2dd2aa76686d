"""Is a packed folder what it says it is? Everything in it is hostile until this returns. Standard library only.

Nothing is written here. A folder is read as a whole first; the first thing that is wrong refuses all of its model.
"""

import hashlib
import json
import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from mlops.branch import OBJECT
from mlops.errors import Refusal
from mlops.git import PIECE
from mlops.origin import COMMIT
from mlops.planning import plainyaml

ABOUT, LOCK, FILES, OBJECTS = "outputs.json", "dvc.lock", "files", "objects"
UNLOCKED = ("CARD.md", "DATA.md", "lineage.json")
"""What git keeps of a model beside its outputs: written from them after the pipeline."""

KEPT = frozenset({".csv", ".html", ".json", ".jsonl", ".md", ".png", ".svg", ".tsv", ".txt"})
"""Kinds of files that an output in git may be: what is read, and not what is run."""

MOST_ENTRIES = 20_000
MOST_BYTES = 8 * 2**30
DEEPEST = 12
LARGEST_FILE = 5_000_000
LARGEST_LOCK = 500_000
LARGEST_LISTING = 16_000_000
LONGEST_PATH = 200

MODEL = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", re.ASCII)
VERSION = re.compile(r"[0-9a-f]{12}")
_MD5 = re.compile(r"[0-9a-f]{32}")
_DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$"} | {
    f"{one}{n}" for one in ("com", "lpt") for n in range(10)
}


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A folder that was verified: what git shall keep, what DVC shall keep, and what storage must have already."""

    model: str
    commit: str
    version: str
    files: Mapping[str, bytes]
    """By path in the model's folder."""
    objects: Mapping[str, Path]
    """By md5, with `.dir` for the listing of a folder."""
    absent: frozenset[str]
    """Objects that the lock names and the folder does not hold."""


@dataclass(frozen=True, kw_only=True)
class Out:
    """One output in a lock."""

    path: str
    md5: str


def packed(folder: Path) -> Packed:
    """Read and verify one folder; raises `Refusal` that says what is wrong with it."""
    places = dict(_walk(folder))
    about = _about(folder, places)
    files = {
        place.removeprefix(f"{FILES}/"): _read(folder / place, LARGEST_FILE)
        for place in sorted(places)
        if place.startswith(f"{FILES}/")
    }
    return _agreed(about, files, _objects(folder, places))


def _walk(folder: Path) -> Iterator[tuple[str, int]]:
    """Paths and sizes of all files; refuses whatever is no ordinary file or folder, and too much of anything."""
    if not stat.S_ISDIR(folder.lstat().st_mode):
        refuse("it is no folder")
    waiting, entries, total = [(folder, "", 1)], 0, 0
    while waiting:
        place, inside, depth = waiting.pop()
        with os.scandir(place) as found:
            for entry in found:
                entries += 1
                if entries > MOST_ENTRIES:
                    refuse(f"it holds more than {MOST_ENTRIES:,} files")
                name = inside + entry.name
                about = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(about.st_mode):
                    if depth >= DEEPEST:
                        refuse(f"its folders lie more than {DEEPEST} deep")
                    waiting.append((Path(entry.path), f"{name}/", depth + 1))
                    continue
                if not stat.S_ISREG(about.st_mode) or about.st_nlink != 1:
                    refuse(f"{shown(name)} is no ordinary file")
                total += about.st_size
                if total > MOST_BYTES:
                    refuse(f"it holds more than {MOST_BYTES / 2**30:.0f} GB")
                if name != ABOUT and not name.startswith((f"{FILES}/", f"{OBJECTS}/")):
                    refuse(f"{shown(name)} does not belong there")
                yield name, about.st_size


def _about(folder: Path, places: Mapping[str, int]) -> dict[str, Any]:
    if ABOUT not in places:
        refuse(f"it holds no {ABOUT}")
    value = _json(_read(folder / ABOUT, 10_000), ABOUT)
    shapes = {"model": MODEL, "commit": COMMIT, "version": VERSION}
    fits = (
        isinstance(value, dict)
        and value.keys() == {"format", *shapes}
        and type(value["format"]) is int
        and value["format"] == 1
        and all(isinstance(value[key], str) and shape.fullmatch(value[key]) for key, shape in shapes.items())
    )
    if not fits or len(value["model"]) > LONGEST_PATH:
        refuse(f"its {ABOUT} is not one that `mlops pack` writes")
    return dict(value)


def _objects(folder: Path, places: Mapping[str, int]) -> dict[str, Path]:
    """The packed objects, each of them with the bytes of its name."""
    found = {}
    for place in sorted(places):
        if not place.startswith(f"{OBJECTS}/"):
            continue
        parts = place.split("/")
        oid = "".join(parts[1:])
        if len(parts) != 3 or len(parts[1]) != 2 or not OBJECT.fullmatch(oid):
            refuse(f"{shown(place)} has not the name of an object")
        if _md5(folder / place) != oid.removesuffix(".dir"):
            refuse(f"{place} has not the bytes of its name")
        found[oid] = folder / place
    return found


def _agreed(about: Mapping[str, Any], files: Mapping[str, bytes], objects: Mapping[str, Path]) -> Packed:
    """The folder as a whole: every file and object is named by the lock, and nothing that it names is another one."""
    if LOCK not in files:
        refuse(f"it holds no {LOCK}")
    outs = locked(files[LOCK])
    _apart([*(out.path for out in outs), LOCK, *UNLOCKED])
    needed: set[str] = set()
    in_git = {LOCK, *UNLOCKED}
    listings = {}
    for out in outs:
        if out.path in files:
            if hashlib.md5(files[out.path], usedforsecurity=False).hexdigest() != out.md5:
                refuse(f"{shown(out.path)} is not the file that its lock names")
            if Path(out.path).suffix.lower() not in KEPT:
                refuse(f"{shown(out.path)} is of no kind that git keeps as an output ({' '.join(sorted(KEPT))})")
            in_git.add(out.path)
            continue
        needed.add(out.md5)
        if out.md5.endswith(".dir"):
            if out.md5 not in objects:
                refuse(f"the listing of {shown(out.path)} is not packed")
            listings[out.path] = listed(_read(objects[out.md5], LARGEST_LISTING))
            needed |= set(listings[out.path].values())
    for path in sorted(files.keys() - in_git):
        refuse(f"{shown(path)} is packed, and no output of its lock")
    for oid in sorted(objects.keys() - needed):
        refuse(f"the object {oid} is packed, and its lock does not name it")
    _version(str(about["version"]), listings.get("export"), objects)
    return Packed(
        model=str(about["model"]),
        commit=str(about["commit"]),
        version=str(about["version"]),
        files=dict(files),
        objects=dict(objects),
        absent=frozenset(needed - objects.keys()),
    )


def _version(version: str, export: Mapping[str, str] | None, objects: Mapping[str, Path]) -> None:
    """The version is the name of the export that is packed: all of it."""
    if export is None:
        refuse("its lock names no folder export")
    for path, oid in export.items():
        if oid not in objects:
            refuse(f"export/{shown(path)} is not packed")
    manifest = objects.get(export.get("manifest.json", ""))
    if manifest is None:
        refuse("its export has no manifest.json")
    if hashlib.sha256(_read(manifest, LARGEST_LISTING)).hexdigest()[:12] != version:
        refuse(f"its export is not the version {version}")


def locked(lock: bytes) -> tuple[Out, ...]:
    """The outputs that a `dvc.lock` names; refuses one that DVC would not write, and paths outside the model."""
    if len(lock) > LARGEST_LOCK:
        refuse(f"its {LOCK} has more than {LARGEST_LOCK:,} bytes")
    try:
        value = plainyaml.load(_outputs_only(lock.decode("utf-8")))
    except (UnicodeDecodeError, plainyaml.Unreadable, RecursionError) as error:
        refuse(f"its {LOCK} is not one that DVC writes: {str(error)[:100]}")
    if not isinstance(value, dict) or value.keys() != {"schema", "stages"} or value["schema"] != "2.0":
        refuse(f"its {LOCK} is not one that DVC writes")
    found = []
    for stage in _values(value["stages"]):
        entries = stage.get("outs", []) if isinstance(stage, dict) else refuse(f"a stage in its {LOCK} is no table")
        for entry in entries if isinstance(entries, list) else refuse(f"a stage in its {LOCK} has no list of outputs"):
            found.append(_out(entry))
    return tuple(found)


def _values(stages: Any) -> Iterable[Any]:
    # A stage of which nothing is left has no outputs.
    return [one or {} for one in stages.values()] if isinstance(stages, dict) else refuse(f"its {LOCK} has no stages")


def _outputs_only(text: str) -> str:
    """The lock without commands and parameters: their values may be anything, and are of no interest here."""
    kept, skipping = [], False
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip(" "))
        if line.strip() and indent <= 4:
            skipping = bool(re.match(r" {4}(cmd|params|desc|meta):", line))
        if not skipping:
            kept.append(line)
    return "\n".join(kept)


def _out(entry: Any) -> Out:
    known = {"path", "hash", "md5", "size", "nfiles", "isexec"}
    if not isinstance(entry, dict) or not {"path", "md5"} <= entry.keys() <= known or entry.get("hash", "md5") != "md5":
        refuse(f"an output in its {LOCK} is not kept by its md5")
    # Digits with an `e` look like a number to some readers of YAML; DVC quotes those.
    md5 = entry["md5"].text if isinstance(entry["md5"], plainyaml.Opaque) else entry["md5"]
    if not isinstance(md5, str) or not OBJECT.fullmatch(md5):
        refuse(f"an output in its {LOCK} has no md5")
    path = entry["path"]
    wrong = problem(path) if isinstance(path, str) else "is no text"
    if wrong:
        refuse(f"its {LOCK} names the output {shown(path)}, which {wrong}")
    return Out(path=path, md5=md5)


def listed(listing: bytes) -> dict[str, str]:
    """The files of a folder, path to md5, from DVC's listing of it."""
    value = _json(listing, "a listing")
    found: dict[str, str] = {}
    for entry in value if isinstance(value, list) else refuse("a listing is no list"):
        if not isinstance(entry, dict) or entry.keys() != {"md5", "relpath"}:
            refuse("a listing is not one of DVC's")
        path, md5 = entry["relpath"], entry["md5"]
        wrong = problem(path) if isinstance(path, str) else "is no text"
        if wrong:
            refuse(f"a listing names {shown(path)}, which {wrong}")
        if not isinstance(md5, str) or not _MD5.fullmatch(md5):
            refuse(f"a listing gives {shown(path)} no md5")
        if path in found:
            refuse(f"a listing names {shown(path)} twice")
        found[path] = md5
    _apart(list(found))
    return found


def problem(path: str) -> str:
    """Why a path cannot be one of a model's outputs on every machine, as the end of a sentence; empty when it can."""
    if not 0 < len(path) <= LONGEST_PATH:
        return f"is empty or longer than {LONGEST_PATH} characters"
    if unicodedata.normalize("NFKC", path) != path:
        return "can be written in two ways"
    for part in path.split("/"):
        stem = part.split(".")[0].casefold()
        if part in ("", ".", ".."):
            return "does not stay in its folder"
        if any(not (char.isalnum() or char in " ._-+=@,()~") for char in part):
            return "has a character that is not allowed in a name"
        if part.startswith((".", "-", "~", " ")) or part.endswith((".", " ")) or re.match(r"git~\d", part.casefold()):
            return "has a part that is hidden, or that some machine reads as another"
        if stem in _DEVICES:
            return "is the name of a device on Windows"
    return ""


def _apart(paths: list[str]) -> None:
    """Refuse paths that are one and the same on some machine, or of which one lies in the other."""
    seen: dict[str, str] = {}
    for path in paths:
        key = fold(path)
        if key in seen:
            refuse(f"{shown(path)} and {shown(seen[key])} are the same file on some machines")
        seen[key] = path
    for key, path in seen.items():
        for end, char in enumerate(key):
            if char == "/" and key[:end] in seen:
                refuse(f"{shown(path)} lies in {shown(seen[key[:end]])}")


def fold(path: str) -> str:
    """The same text for all paths that some machine takes for one."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())


def _json(data: bytes, what: str) -> Any:
    try:
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        # Also numbers with more digits than Python reads.
        refuse(f"{what} is no JSON that can be read")


def _open(path: Path) -> int:
    """A file as it lies there: no link is followed, and nothing waits for a pipe."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        refuse(f"{shown(path.name)} is no ordinary file")
    return handle


def _read(path: Path, most: int) -> bytes:
    with os.fdopen(_open(path), "rb") as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        refuse(f"{shown(path.name)} has more than {most:,} bytes")
    return data


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with os.fdopen(_open(path), "rb") as stream:
        while piece := stream.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def shown(value: Any) -> str:
    """A hostile name for a sentence: on one line, not long, in letters that do not move a cursor."""
    text = str(value)
    text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[:80])
    return repr(text)[1:-1] or "''"


def refuse(what: str) -> NoReturn:
    """Refuse what was packed, and all of it, because of this."""
    raise Refusal(
        f"what was packed is not stored: {what}.", do="Do not use it; run the workflow again to pack it anew."
    )
