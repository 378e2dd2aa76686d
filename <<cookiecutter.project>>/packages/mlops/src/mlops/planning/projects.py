"""Which packages of this repository does a `pyproject.toml` ask for, directly and through others?"""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlops.planning import paths

Extras = Mapping[str, frozenset[str]]
"""Names of packages with the extras that are asked of each."""


@dataclass(frozen=True)
class Asks:
    """What a `pyproject.toml` asks for; thousands of models share few different ones."""

    needs: Mapping[str, Extras] = field(default_factory=dict)
    """What is asked for by the package itself (`""`), by each extra (`x`), and by each group (`group:x`)."""
    elsewhere: frozenset[str] = frozenset()
    """Names that come from an index, a repository or a URL, even where this workspace has one of that name."""
    inside: frozenset[str] = frozenset()
    """Names that come from this workspace, whatever the root says."""
    folders: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Names that come from a folder (or a file) of this repository, which `path` names as the source."""
    unclear: str = ""
    """Why it may ask for more, as the end of a sentence; empty when all is told."""


@dataclass(frozen=True)
class Project:
    """One `pyproject.toml`: its name, normalised (empty where it has none), and what it asks for."""

    name: str
    asks: Asks


def normal(name: str) -> str:
    """A package's name as indexes compare it: `My.Package_a` is `my-package-a`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read(path: str, text: bytes) -> Project:
    """Read the `pyproject.toml` at `path`, whose bytes are `text`; one that cannot be read is unclear, not empty."""
    try:
        content = tomllib.loads(text.decode("utf-8"))
        return _project(path, content)
    except (ValueError, RecursionError, _Unexpected) as error:
        said = str(error) if isinstance(error, _Unexpected) else "it is not valid TOML"
        return Project("", Asks(unclear=said))


class _Unexpected(Exception):
    """A value of another kind than the standard gives; the message is the end of a sentence."""


def _project(path: str, content: dict[str, Any]) -> Project:
    project = _table(content.get("project"), "project")
    needs: dict[str, dict[str, frozenset[str]]] = {"": {}}
    _add(needs[""], project.get("dependencies"), "project.dependencies")
    _add(needs[""], _table(content.get("build-system"), "build-system").get("requires"), "build-system.requires")
    for extra, lines in _table(project.get("optional-dependencies"), "project.optional-dependencies").items():
        _add(needs.setdefault(normal(extra), {}), lines, f"the extra {extra}")
    groups = _table(content.get("dependency-groups"), "dependency-groups")
    for group, lines in groups.items():
        # A group may include others; all of a model's groups are looked at anyway.
        plain = [line for line in _list(lines, f"the group {group}") if not isinstance(line, dict)]
        _add(needs.setdefault(f"group:{normal(group)}", {}), plain, f"the group {group}")
    tool = _table(_table(content.get("tool"), "tool").get("uv"), "tool.uv")
    _add(needs.setdefault("group:dev", {}), tool.get("dev-dependencies"), "tool.uv.dev-dependencies")
    inside: set[str] = set()
    elsewhere: set[str] = set()
    folders: dict[str, frozenset[str]] = {}
    for name, given in _table(tool.get("sources"), "tool.uv.sources").items():
        for source in given if isinstance(given, list) else [given]:
            where = _table(source, f"the source of {name}")
            if where.get("workspace") is True:
                inside.add(normal(name))
            elif isinstance(where.get("path"), str):
                folder = paths.join(paths.parent(path), where["path"])
                named = frozenset() if folder is None else frozenset([folder])
                folders[normal(name)] = folders.get(normal(name), frozenset()) | named
            else:
                elsewhere.add(normal(name))
    dynamic = _list(project.get("dynamic"), "project.dynamic")
    unclear = (
        "its dependencies are dynamic" if {"dependencies", "optional-dependencies"} & set(map(str, dynamic)) else ""
    )
    called = project.get("name")
    asks = Asks(
        {part: lines for part, lines in needs.items() if lines},
        frozenset(elsewhere - inside),
        frozenset(inside),
        folders,
        unclear,
    )
    return Project(normal(called) if isinstance(called, str) else "", asks)


_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[([^\]]*)\])?")


def _add(needs: dict[str, frozenset[str]], lines: Any, where: str) -> None:
    """Add requirements such as `name[extra]>=1; marker`."""
    for line in _list(lines, where):
        found = _REQUIREMENT.match(line) if isinstance(line, str) else None
        if not found:
            raise _Unexpected(f"{where} has a line that names no package")
        extras = frozenset(normal(extra.strip()) for extra in (found[2] or "").split(",") if extra.strip())
        name = normal(found[1])
        needs[name] = needs.get(name, frozenset()) | extras


def _table(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _Unexpected(f"{where} is not a table")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise _Unexpected(f"{where} is not a list")
    return value


class Workspace:
    """Every local package by its folder, and which others each one reaches."""

    def __init__(self, projects: Mapping[str, Project], former: Iterable[tuple[str, Project]] = ()) -> None:
        """`projects` are packages by their folder (`""` is the root); `former` are names that folders had before."""
        self.projects = projects
        self._named: dict[str, set[str]] = {}
        for folder, project in (*projects.items(), *former):
            if folder and project.name:
                self._named.setdefault(project.name, set()).add(folder)
        self._reached: dict[int, frozenset[str]] = {}

    def reach(self, folder: str) -> frozenset[str]:
        """The folders of all local packages that the member in `folder` depends on, through others too.

        All its own extras and groups count, and of others only the extras that are asked for. Where a package does
        not tell what it asks for, it may ask for every one outside `models/`.
        """
        project = self.projects.get(folder)
        if project is None:
            return frozenset()
        # Equal questions are one object, which lives as long as the projects do.
        key = id(project.asks)
        if key not in self._reached:
            self._reached[key] = self._closure(project.asks)
        found = self._reached[key]
        return found - {folder} if folder in found else found

    def _closure(self, asks: Asks) -> frozenset[str]:
        seen: set[tuple[str, str]] = set()
        waiting = [one for part in {"", *asks.needs} for one in self._asked(asks, part)]
        while waiting:
            one = waiting.pop()
            if one not in seen:
                seen.add(one)
                project = self.projects.get(one[0])
                # A folder that is a source and no package at this commit has nothing to say.
                waiting += self._asked(project.asks, one[1]) if project is not None else []
        return frozenset(folder for folder, _ in seen)

    def _asked(self, asks: Asks, part: str) -> Iterator[tuple[str, str]]:
        """The packages, and their extras, that one part of a package asks for directly."""
        if asks.unclear:
            yield from ((other, "") for other in self.projects if other and not paths.within(other, "models"))
        for name, extras in asks.needs.get(part, {}).items():
            for folder in self._meant(asks, name):
                yield folder, ""
                yield from ((folder, extra) for extra in extras)

    def _meant(self, asks: Asks, name: str) -> Iterable[str]:
        """The folders of the local packages that a name means; the root's sources hold for all members."""
        members = self._named.get(name, set())
        root = self.projects.get("")
        for one in (asks, root.asks if root is not None else Asks()):
            if name in one.folders:
                # A source may differ by platform: then each of them is meant.
                return one.folders[name] | (members if name in one.inside else set())
            if name in one.inside:
                return members
            if name in one.elsewhere:
                return ()
        return members
