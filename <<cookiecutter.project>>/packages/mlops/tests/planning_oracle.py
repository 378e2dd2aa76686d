"""Which models can a change affect? Answered the slow way, as an oracle: everything is evaluated on both sides.

It shares no code with the plan: PyYAML reads the pipelines, `packaging` the requirements, and every pair of places is
compared part by part.
"""

import itertools
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

Files = Mapping[str, bytes]
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
PARSED: dict[bytes, Any] = {}


class Broken(Exception):
    """A pipeline that nobody can expand."""


def parsed(text: bytes) -> Any:
    """The value of a YAML text, read once."""
    if text not in PARSED:
        try:
            PARSED[text] = yaml.load(text, LOADER) or {}
        except yaml.YAMLError:
            PARSED[text] = Broken
    if PARSED[text] is Broken:
        raise Broken
    return PARSED[text]


@lru_cache(10_000)
def toml(text: bytes) -> dict[str, Any]:
    """The value of a TOML text, read once."""
    return tomllib.loads(text.decode())


@lru_cache(100_000)
def place(folder: str, path: str) -> tuple[str, ...] | None:
    """The parts of a path that is written in `folder`; None outside of the repository."""
    if "://" in path or path.startswith("/"):
        return None
    parts: list[str] = []
    for part in PurePosixPath(folder, path).parts:
        if part == "..":
            if not parts:
                return None
            parts.pop()
        else:
            parts.append(part)
    return tuple(parts)


def touch(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether one holds the other."""
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def filled(value: Any, context: dict[str, Any]) -> Any:
    """A value with its templates replaced."""
    if isinstance(value, list):
        return [filled(one, context) for one in value]
    if isinstance(value, dict):
        return {filled(key, context): filled(one, context) for key, one in value.items()}
    if not isinstance(value, str):
        return value
    names = re.findall(r"\$\{(.+?)\}", value)
    for name in names:
        found: Any = context
        for step in re.findall(r"[^.\[\]]+", name):
            try:
                found = found[int(step)] if isinstance(found, list) else found[step]
            except (KeyError, IndexError, TypeError, ValueError):
                raise Broken from None
        if value == "${" + name + "}":
            return found
        if isinstance(found, dict | list):
            raise Broken
        value = value.replace("${" + name + "}", {True: "true", False: "false"}.get(found, str(found)))
    return value


class Stage:
    """Where a pipeline file reaches, with all of its stages taken together."""

    def __init__(self, path: str, files: Files) -> None:
        self.folder = str(PurePosixPath(path).parent)
        self.reads: set[tuple[str, ...]] = set()
        self.writes: set[tuple[str, ...]] = set()
        self.broken = False
        try:
            content = parsed(files[path])
            (self._dvc if path.endswith(".dvc") else self._pipeline)(content, files)
        except Broken:
            self.broken = True

    def _dvc(self, content: dict[str, Any], files: Files) -> None:
        for out in content["outs"]:
            self._add(self.writes, self.folder, out["path"])
        for dep in content.get("deps", []):
            self._add(self.reads, self.folder, dep["path"])

    def _add(self, to: set[tuple[str, ...]], folder: str, path: str) -> None:
        found = place(folder, path)
        if found is not None:
            to.add(found)

    def _variables(self, given: list[Any], folder: str, files: Files) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for one in given:
            if isinstance(one, dict):
                found.update(one)
                continue
            name, _, keys = one.partition(":")
            self._add(self.reads, folder, name)
            path = "/".join(place(folder, name) or ())
            if path not in files:
                raise Broken
            value = parsed(files[path])
            if keys and not set(keys.split(",")) <= value.keys():
                raise Broken
            found.update({key: value[key] for key in keys.split(",")} if keys else value)
        return found

    def _pipeline(self, content: dict[str, Any], files: Files) -> None:
        given = list(content.get("vars", []))
        if "/".join(place(self.folder, "params.yaml") or ()) in files:
            given = ["params.yaml", *given]
        # Whether it is there or not: one that comes or goes decides what the templates give.
        self._add(self.reads, self.folder, "params.yaml")
        context = self._variables(given, self.folder, files)
        for stage in content["stages"].values():
            for extra, body in self._copies(stage, context):
                self._stage(body, {**context, **extra}, files)

    def _copies(
        self, stage: dict[str, Any], context: dict[str, Any]
    ) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        if "foreach" in stage:
            items = filled(stage["foreach"], context)
            if not isinstance(items, dict | list):
                raise Broken
            for key, value in items.items() if isinstance(items, dict) else enumerate(items):
                yield {"item": value, **({"key": key} if isinstance(items, dict) else {})}, stage["do"]
        elif "matrix" in stage:
            axes = filled(stage["matrix"], context)
            for values in itertools.product(*axes.values()):
                yield {"item": dict(zip(axes, values, strict=True))}, stage
        else:
            yield {}, stage

    def _stage(self, body: dict[str, Any], context: dict[str, Any], files: Files) -> None:
        folder = self.folder
        if "wdir" in body:
            moved = place(folder, filled(body["wdir"], context))
            folder = "/".join(moved or ())
        context = {**context, **self._variables(body.get("vars", []), folder, files)}
        for dep in filled(body.get("deps", []), context):
            self._add(self.reads, folder, str(dep))
        for param in filled(body.get("params", []), context):
            for path in param if isinstance(param, dict) else ["params.yaml"]:
                self._add(self.reads, folder, path)
        for out in filled([*body.get("outs", []), *body.get("metrics", []), *body.get("plots", [])], context):
            for path in out if isinstance(out, dict) else [out]:
                self._add(self.writes, folder, path)


class Side:
    """One commit, with everything evaluated."""

    def __init__(self, files: Files, ignored: set[str]) -> None:
        self.files = files
        split = {path: tuple(path.split("/")) for path in files}
        self.models = {
            parts[1] for parts in split.values() if len(parts) == 3 and parts[::2] == ("models", "model.toml")
        }
        self.stages: dict[str, list[Stage]] = {name: [] for name in self.models}
        for path, parts in split.items():
            if (parts[-1] == "dvc.yaml" or parts[-1].endswith(".dvc")) and not ignored & set(parts[:-1]):
                unit = parts[1] if len(parts) > 2 and parts[0] == "models" and parts[1] in self.models else path
                self.stages.setdefault(unit, []).append(Stage(path, files))
        self.projects = {}
        for path in files:
            if path.endswith("/pyproject.toml"):
                self.projects[path.rpartition("/")[0]] = toml(files[path])
        self.lock = toml(files["uv.lock"])

    def packages(self, folder: str, wanted: frozenset[str] | None = None, seen: set[Any] | None = None) -> set[str]:
        """Folders of the packages that are reached from the project in a folder."""
        seen = set() if seen is None else seen
        if (folder, wanted) in seen or folder not in self.projects:
            return set()
        seen.add((folder, wanted))
        project = self.projects[folder]
        extras = project["project"].get("optional-dependencies", {})
        lines = list(project["project"].get("dependencies", []))
        for extra, more in extras.items():
            if wanted is None or canonicalize_name(extra) in wanted:
                lines += more
        if wanted is None:
            lines += [line for group in project.get("dependency-groups", {}).values() for line in group]
        found: set[str] = set()
        for line in lines:
            asked = Requirement(line)
            for other, that in self.projects.items():
                if canonicalize_name(that["project"]["name"]) == canonicalize_name(asked.name):
                    found.add(other)
                    found |= self.packages(other, frozenset(map(canonicalize_name, asked.extras)), seen)
        return found

    def locked(self, model: str) -> Any:
        """All that the lock holds for a model, as one value that can be compared."""
        entries = self.lock["package"]
        start = [one for one in entries if "editable" in one["source"] and one["name"] == model.replace("_", "-")]
        if not start:
            return None
        waiting: list[tuple[Any, tuple[str, ...] | None]] = [(start[0], None)]
        found: dict[str, Any] = {}
        while waiting:
            entry, extras = waiting.pop()
            parts = {"": entry.get("dependencies", [])}
            optional = entry.get("optional-dependencies", {})
            parts |= {extra: optional[extra] for extra in optional if extras is None or extra in extras}
            hashes = sorted(one["hash"] for one in entry.get("wheels", []))
            for part, lines in parts.items():
                name = repr((entry["name"], entry["version"], part))
                if name in found:
                    continue
                found[name] = (hashes, lines)
                for line in lines:
                    for target in entries:
                        if target["name"] == line["name"] and line.get("version") in (None, target["version"]):
                            waiting.append((target, tuple(line.get("extra", ()))))
        return self.lock["requires-python"], found


def plan(before: Files, after: Files) -> set[str]:
    """The models of `after` that the change can affect."""
    ignored = set(after.get(".dvcignore", b"").decode().split("\n"))
    base, head = Side(before, ignored), Side(after, ignored)
    changed = [tuple(path.split("/")) for path in {*before, *after} if before.get(path) != after.get(path)]
    units = set(base.stages) | set(head.stages)
    affected = {unit for unit in units if any(_own(base, head, unit, path) for path in changed)}
    for unit in units & set(head.stages):
        home = ("models", unit) if unit in head.models else None
        for stage in head.stages[unit]:
            outside = [path for path in changed if home is None or path[:2] != home]
            if any(touch(path, read) for path in outside for read in stage.reads):
                affected.add(unit)
            if stage.broken and any(_may_matter(base, head, stage, path) for path in outside):
                affected.add(unit)
        if any(path[-1] in (".dvcignore", ".gitattributes") and _governs(head, unit, path[:-1]) for path in changed):
            affected.add(unit)
    for model in head.models:
        if (".python-version",) in changed or (base.lock != head.lock and base.locked(model) != head.locked(model)):
            affected.add(model)
        if base.lock != head.lock and head.locked(model) is None:
            affected.add(model)
        for folder in head.packages(f"models/{model}") - {f"models/{model}"}:
            if any(_in_package(tuple(folder.split("/")), path) for path in changed):
                affected.add(model)
        for folder, name in _gone(base, head):
            if name in _names(head, f"models/{model}") and folder != f"models/{model}":
                affected.add(model)
    while True:
        more = {
            reader for reader in set(head.stages) - affected for unit in affected if _feeds(base, head, unit, reader)
        }
        if not more:
            return affected & head.models
        affected |= more


def _own(base: Side, head: Side, unit: str, path: tuple[str, ...]) -> bool:
    if unit in base.models | head.models:
        if path[:2] != ("models", unit) or len(path) < 3:
            return False
        if unit not in head.models:
            return path[2:] == ("model.toml",)
        reads = [read for stage in head.stages[unit] for read in stage.reads]
        broken = any(stage.broken for stage in head.stages[unit])
        return not path[-1].endswith(".md") or broken or any(path[: len(read)] == read for read in reads)
    lock = (*unit.split("/")[:-1], "dvc.lock")
    return path == tuple(unit.split("/")) or (unit.endswith("dvc.yaml") and path == lock)


def _may_matter(base: Side, head: Side, stage: Stage, path: tuple[str, ...]) -> bool:
    """Every generated pipeline that is broken has a template, so that it may mean any place."""
    return True


def _governs(side: Side, unit: str, folder: tuple[str, ...]) -> bool:
    if unit in side.models:
        places = [("models", unit), *(read for stage in side.stages[unit] for read in stage.reads)]
    else:
        places = [tuple(unit.split("/")), *(read for stage in side.stages[unit] for read in stage.reads)]
    return any(place[: len(folder)] == folder for place in places)


def _in_package(folder: tuple[str, ...], path: tuple[str, ...]) -> bool:
    inner = path[len(folder) :]
    if path[: len(folder)] != folder or (inner[0] in ("docs", "tests") and len(inner) > 1):
        return False
    return not (len(inner) == 1 and inner[0].endswith(".md"))


def _gone(base: Side, head: Side) -> list[tuple[str, str]]:
    """Packages that are not there any more under the name that they had."""
    names = {folder: canonicalize_name(project["project"]["name"]) for folder, project in base.projects.items()}
    now = {folder: canonicalize_name(project["project"]["name"]) for folder, project in head.projects.items()}
    return [(folder, name) for folder, name in names.items() if now.get(folder) != name]


def _names(side: Side, start: str) -> set[str]:
    """Normalised names of all that a project asks for, through local packages too."""
    found = set()
    asked: list[tuple[str, frozenset[str] | None]] = [(start, None)]
    seen = set()
    while asked:
        folder, wanted = asked.pop()
        if (folder, wanted) in seen or folder not in side.projects:
            continue
        seen.add((folder, wanted))
        project = side.projects[folder]
        lines = list(project["project"].get("dependencies", []))
        for extra, more in project["project"].get("optional-dependencies", {}).items():
            lines += more if wanted is None or canonicalize_name(extra) in wanted else []
        if wanted is None:
            lines += [line for group in project.get("dependency-groups", {}).values() for line in group]
        for line in map(Requirement, lines):
            name = canonicalize_name(line.name)
            found.add(name)
            for other, that in side.projects.items():
                if canonicalize_name(that["project"]["name"]) == name:
                    asked.append((other, frozenset(map(canonicalize_name, line.extras))))
    return found


def _feeds(base: Side, head: Side, unit: str, reader: str) -> bool:
    """Whether a unit makes, before or after, something that another one reads from outside its own folder."""
    home = ("models", reader) if reader in head.models else None
    stages = [stage for side in (base, head) for stage in side.stages.get(unit, [])]
    reads = [read for stage in head.stages[reader] for read in stage.reads if home is None or read[:2] != home]
    if any(stage.broken for stage in head.stages[reader]):
        return True
    if any(stage.broken for stage in stages) and reads:
        return True
    return any(touch(read, write) for read in reads for stage in stages for write in stage.writes)
