"""One commit as a `Tree`, read from git's objects and not from the work tree: it need not be checked out.

What the files of a folder say is kept in `.cache/plan/`, by the folder's id in git, so that the next plan looks only at
folders that it has not seen. Nothing depends on that file: it can be deleted at any time.
"""

import os
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path

from mlops import git
from mlops.planning import affected, paths, pipelines, projects
from mlops.planning.affected import Scan, Tree
from mlops.planning.memory import Known, Memory
from mlops.planning.projects import Project

FEW = 250
"""More folders than this are looked into by listing the whole commit, and of more files so many at a time."""

FOLDER, LINK, MODULE = "40000", "120000", "160000"
_LINE = re.compile(rb"([0-7]+) ([a-z]+) ([0-9a-f]+)\t(.+)", re.DOTALL)


class Repository:
    """The files of one repository by their id, and what is remembered of its folders."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.memory = Memory(root / ".cache" / "plan" / "folders.json")
        self._blobs: dict[str, bytes] = {}

    def commits(self, base: str, head: str) -> tuple["Commit", "Commit"]:
        """The two commits of these full ids; what they share is looked at once."""
        names = [name for commit in (base, head) for name in (f"{commit}^{{tree}}", f"{commit}:models")]
        with git.objects(self.root, names=names) as found:
            old, old_models, new, new_models = (_entries(b"".join(pieces or ()), len(head) // 2) for _, pieces in found)
        after = Commit(self, head, new, new_models)
        return Commit(self, base, old, old_models, like=after), after

    def load(self, ids: Iterable[str]) -> None:
        """Read many files at once; a clone without them fetches all of them in one go."""
        wanted = sorted(id for id in set(ids) if id not in self._blobs)
        if wanted:
            if self._promisor:
                git.bring(self.root, self._promisor, wanted)
            with git.objects(self.root, names=wanted) as found:
                for asked, (_, pieces) in zip(wanted, found, strict=True):
                    self._blobs[asked] = b"".join(pieces or ())

    @cached_property
    def _promisor(self) -> str | None:
        return git.promisor(self.root)

    def blob(self, id: str) -> bytes:
        """The bytes of one file."""
        if id not in self._blobs:
            self.load([id])
        return self._blobs[id]


def _entries(data: bytes, size: int) -> dict[str, tuple[str, str]]:
    """Mode and id of each name in a folder, from the bytes in which git keeps it; ids have `size` bytes."""
    lines = re.finditer(rb"([0-7]+) ([^\0]+)\0(.{%d})" % size, data, re.DOTALL)
    return {os.fsdecode(line[2]): (line[1].decode(), line[3].hex()) for line in lines}


class Commit:
    """One commit, looked into only as far as it is asked about."""

    def __init__(
        self,
        repository: Repository,
        id: str,
        root: Mapping[str, tuple[str, str]],
        models: Mapping[str, tuple[str, str]],
        like: "Commit | None" = None,
    ) -> None:
        """`root` and `models` are the entries of these folders; `like` is a commit that shares most folders."""
        self.repository, self.id, self.root, self.like = repository, id, root, like
        # A folder is named by its path: `models/tumour`, `packages`; the files beside them are looked at by themselves.
        self.folders = {name: entry[1] for name, entry in root.items() if entry[0] == FOLDER and name != "models"}
        if root.get("models", ("", ""))[0] == FOLDER:
            self.folders |= {f"models/{name}": entry[1] for name, entry in models.items() if entry[0] == FOLDER}
        self._listed: dict[str, dict[str, tuple[str, str]]] = {}
        self._asked: dict[str, tuple[str, str] | None] = {}

    def tree(self) -> Tree:
        """The commit as the plan takes it."""
        return Tree(
            models=self.models,
            fetch=self.fetch,
            pipelines=self.pipelines,
            scans=lambda: self.scans,
            projects=lambda: self.projects,
            links=lambda: self.links,
            is_folder=self.is_folder,
            tops=lambda: [name for name, entry in self.root.items() if entry[0] == FOLDER],
        )

    # Files and folders.

    def entry(self, path: str) -> tuple[str, str] | None:
        """Mode and id of one path; None where there is nothing."""
        top = self.top(path)
        if top == path or top not in self.folders:
            return self.root.get(path) if "/" not in path else self._ask(path)
        if top in self._listed:
            return self._listed[top].get(path)
        return self._ask(path)

    def _ask(self, path: str) -> tuple[str, str] | None:
        if path not in self._asked:
            self._asked[path] = _lines(self.repository.root, self.id, [path]).get(path)
        return self._asked[path]

    def fetch(self, path: str) -> bytes | None:
        """The bytes of a file; None where there is none, and for a folder or a submodule."""
        entry = self.entry(path)
        return None if entry is None or entry[0] in (FOLDER, MODULE) else self.repository.blob(entry[1])

    def is_folder(self, path: str) -> bool:
        """Whether a path is a folder."""
        if not path or path == "models" or path in self.folders:
            return True
        top = self.top(path)
        if top in self._listed:
            return any(paths.within(file, path) and file != path for file in self._listed[top])
        entry = self._ask(path)
        return entry is not None and entry[0] == FOLDER

    @staticmethod
    def top(path: str) -> str:
        """The folder that a path is remembered with."""
        parts = path.split("/", 2)
        return "/".join(parts[:2]) if parts[0] == "models" and len(parts) > 1 else parts[0]

    def enter(self, folders: Iterable[str]) -> None:
        """Look into folders, all at once."""
        wanted = [folder for folder in folders if folder in self.folders and folder not in self._listed]
        if not wanted:
            return
        found = _lines(self.repository.root, self.id, [f"{folder}/" for folder in wanted] if len(wanted) < FEW else [])
        self._listed |= {folder: {} for folder in wanted}
        for path, entry in found.items():
            files = self._listed.get(self.top(path))
            if files is not None:
                files[path] = entry

    def texts(self, places: Iterable[str]) -> dict[str, bytes]:
        """The bytes of many files at once, of which those that are absent are left out."""
        wanted = sorted(places)
        found: dict[str, tuple[str, str]] = {}
        for start in range(0, len(wanted), FEW):
            found |= _lines(self.repository.root, self.id, wanted[start : start + FEW])
        ids = {path: id for path, (mode, id) in found.items() if mode not in (FOLDER, MODULE)}
        self.repository.load(ids.values())
        return {path: self.repository.blob(id) for path, id in ids.items()}

    # What the files say.

    @cached_property
    def models(self) -> frozenset[str]:
        """Names of the folders in `models/` that hold a `model.toml`."""
        if self.like is None:
            return frozenset(
                folder[7:] for folder, one in self.known.items() if folder.startswith("models/") and one.is_model
            )
        mine, its = self.folders, self.like.folders
        other = [folder for folder in mine if mine[folder] != its.get(folder) and folder.startswith("models/")]
        self.enter(other)
        shared = frozenset(name for name in self.like.models if mine.get(f"models/{name}") == its[f"models/{name}"])
        return shared.union(folder[7:] for folder in other if f"{folder}/model.toml" in self._listed[folder])

    def pipelines(self, model: str) -> list[str]:
        """The pipeline files in a model's folder."""
        folder = f"models/{model}"
        self.enter([folder])
        return [path for path in self._listed.get(folder, ()) if pipelines.is_pipeline(paths.name(path))]

    @cached_property
    def known(self) -> dict[str, Known]:
        """What each folder says: as remembered where it is the same, else as its files say now."""
        memory = self.repository.memory
        found = {folder: one for folder, id in self.folders.items() if (one := memory.recall(folder, id)) is not None}
        inputs = {path for one in found.values() for path in one.inputs}
        now = {path: self._id(path) for path in inputs}
        found = {
            folder: one for folder, one in found.items() if all(now[path] == id for path, id in one.inputs.items())
        }
        new = sorted(self.folders.keys() - found.keys())
        self.enter(new)
        files = [self._beside, *(self._listed[folder] for folder in new)]
        self.repository.load(entry[1] for one in files for path, entry in one.items() if _is_asked(path, entry[0]))
        for folder in new:
            found[folder] = self._look(folder)
            memory.note(folder, self.folders[folder], found[folder])
        memory.remember({folder: (id, found[folder]) for folder, id in self.folders.items()}, new=len(new))
        return found

    def _id(self, path: str) -> str:
        entry = self.entry(path)
        return entry[1] if entry is not None else ""

    def _look(self, folder: str) -> Known:
        """What the files of a folder say."""
        files = self._listed[folder]
        is_model = folder.startswith("models/") and f"{folder}/model.toml" in files
        found = [path for path in files if pipelines.is_pipeline(paths.name(path))]
        if is_model:
            scans = {folder: affected.scan(folder, found, self.fetch)}
        else:
            scans = {path: affected.whole([path], self.fetch) for path in found}
        inputs = {path for one in scans.values() for path in one.inputs if not paths.within(path, folder)}
        return Known(
            is_model=is_model,
            scans=scans,
            projects={
                paths.parent(path): projects.read(path, self.fetch(path) or b"")
                for path in files
                if paths.name(path) == "pyproject.toml"
            },
            links=self._targets(files),
            inputs={path: self._id(path) for path in inputs},
        )

    def _targets(self, files: Mapping[str, tuple[str, str]]) -> dict[str, str]:
        """Where symbolic links lead; those that leave the repository are left out."""
        links = {path: entry[1] for path, entry in files.items() if entry[0] == LINK}
        found = {
            path: paths.join(paths.parent(path), os.fsdecode(self.repository.blob(id))) for path, id in links.items()
        }
        return {path: target for path, target in found.items() if target is not None}

    @cached_property
    def _beside(self) -> dict[str, tuple[str, str]]:
        """The files in the root."""
        return {name: entry for name, entry in self.root.items() if entry[0] != FOLDER}

    @cached_property
    def scans(self) -> dict[str, Scan]:
        """What each unit reaches."""
        found = {unit: one for known in self.known.values() for unit, one in known.scans.items()}
        for name in self._beside:
            if pipelines.is_pipeline(name):
                found[name] = affected.whole([name], self.fetch)
        return found

    @cached_property
    def projects(self) -> dict[str, Project]:
        """Every `pyproject.toml`, by its folder."""
        found = {folder: one for known in self.known.values() for folder, one in known.projects.items()}
        root = self.fetch("pyproject.toml")
        return found if root is None else {"": projects.read("pyproject.toml", root), **found}

    @cached_property
    def links(self) -> dict[str, str]:
        """All symbolic links."""
        found = {link: target for known in self.known.values() for link, target in known.links.items()}
        return found | self._targets(self._beside)


def _is_asked(path: str, mode: str) -> bool:
    """Whether every plan asks what a file says."""
    name = paths.name(path)
    return mode == LINK or name in (".dvcignore", "pyproject.toml") or pipelines.is_pipeline(name)


def _lines(root: Path, commit: str, wanted: list[str]) -> dict[str, tuple[str, str]]:
    """Mode and id of every file at or below the wanted paths, or of all files; a folder that is named is one line."""
    recursive = ["-r"] if not wanted or wanted[0].endswith("/") else []
    answer = git.must(root, "--literal-pathspecs", "ls-tree", "--full-tree", "-z", *recursive, commit, "--", *wanted)
    found = {}
    for line in answer.split(b"\0"):
        parts = _LINE.fullmatch(line)
        if parts:
            found[os.fsdecode(parts[4])] = (parts[1].decode().lstrip("0"), parts[3].decode())
    return found
