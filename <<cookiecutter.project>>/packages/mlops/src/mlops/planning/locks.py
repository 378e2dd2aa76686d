"""What does `uv.lock` resolve for each member of the workspace, and for whom does that differ between two locks?

A member's subset is what is reached from its entry: its dependencies, groups and extras, and from there the
dependencies and the extras that were asked for. Versions, sources, markers and hashes count; when a file was uploaded,
how large it is and from which mirror it comes do not.
"""

import json
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlops.planning.projects import normal

Node = tuple[str, str, str, str]
"""Name, version and source of a locked package (a name can be locked several times), and a part of it.

The parts are `""` (the package), `x` (an extra), `group:x` (a group) and `*` (all of a member).
"""


@dataclass(frozen=True)
class Lock:
    """A `uv.lock`: what is installed for each node, and which nodes it depends on."""

    python: str = ""
    itself: Mapping[Node, str] = field(default_factory=dict)
    edges: Mapping[Node, tuple[Node, ...]] = field(default_factory=dict)
    members: Mapping[str, Node] = field(default_factory=dict)
    """The nodes of local packages, by normalised name."""
    unclear: str = ""
    """Why it cannot be read, as the end of a sentence."""


def read(text: bytes) -> Lock:
    """Read the bytes of a `uv.lock`; one that cannot be read is unclear, not empty."""
    try:
        content = tomllib.loads(text.decode("utf-8"))
        if content.get("version") != 1:
            return Lock(unclear=f"its format is {str(content.get('version'))[:20]!r}, and only 1 is known")
        return _lock(content)
    except (ValueError, RecursionError):
        return Lock(unclear="it is not valid TOML")
    except (AttributeError, KeyError, TypeError):
        return Lock(unclear="it is not written as uv writes it")


def _lock(content: dict[str, Any]) -> Lock:
    named: dict[str, list[Node]] = {}
    for one in content.get("package", []):
        named.setdefault(one["name"], []).append(_node(one))
    itself: dict[Node, str] = {}
    edges: dict[Node, tuple[Node, ...]] = {}
    members: dict[str, Node] = {}
    for one in content.get("package", []):
        node = _node(one)
        parts = {
            "": one.get("dependencies", []),
            **one.get("optional-dependencies", {}),
            **{f"group:{group}": lines for group, lines in one.get("dev-dependencies", {}).items()},
        }
        for part, lines in parts.items():
            itself[(*node[:3], part)] = _text(lines)
            edges[(*node[:3], part)] = tuple(_targets(lines, named))
        itself[node] += _package(one)
        if {"editable", "virtual", "directory"} & one["source"].keys():
            whole = (*node[:3], "*")
            itself[whole], edges[whole] = "", tuple((*node[:3], part) for part in parts)
            members[normal(one["name"])] = whole
    return Lock(str(content.get("requires-python", "")), itself, edges, members)


def _node(package: Mapping[str, Any]) -> Node:
    return package["name"], str(package.get("version", "")), _text(package["source"]), ""


def _package(package: Mapping[str, Any]) -> str:
    """What is installed for a package by itself."""
    apart = ("dependencies", "optional-dependencies", "dev-dependencies", "metadata", "sdist", "wheels")
    files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
    hashes = sorted(str(file["hash"]) if "hash" in file else _text(file) for file in files)
    return _text([{key: value for key, value in package.items() if key not in apart}, hashes])


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _targets(lines: Iterable[Mapping[str, Any]], named: Mapping[str, list[Node]]) -> Iterable[Node]:
    for line in lines:
        # A line names the version and the source only where the lock has several.
        for node in named.get(line["name"], []):
            if line.get("version") in (None, node[1]):
                yield node
                yield from ((*node[:3], extra) for extra in line.get("extra", ()))


class Difference:
    """What two locks resolve differently, for each local package."""

    def __init__(self, base: Lock, head: Lock) -> None:
        self.base, self.head = base, head
        self.everyone: list[str] = []
        for which, lock in (("it", head), ("the old one", base)):
            if lock.unclear:
                self.everyone.append(f"{which} cannot be read: {lock.unclear}")
        if not self.everyone and base.python != head.python:
            self.everyone.append(f"Python {base.python or 'any'} → {head.python or 'any'}")
        # A line that now leads to another version needs no look: that version is a node which came or went.
        changed = {
            node for node in base.itself.keys() | head.itself.keys() if base.itself.get(node) != head.itself.get(node)
        }
        names = sorted({node[0] for node in changed})
        places = {name: place for place, name in enumerate(names)}
        # Each bit is a changed name; it is carried to whatever depends on it, in the old lock and in the new one.
        bits = {node: 2 ** places[node[0]] for node in changed}
        self._masks = [_carried(lock, bits) for lock in (base, head)]
        versions = [_versions(lock) for lock in (base, head)]
        local = base.members.keys() & head.members.keys()
        self._phrases = [_phrase(name, versions[0].get(name, []), versions[1].get(name, []), local) for name in names]

    def of(self, name: str) -> list[str] | None:
        """What changed for one local package, as short phrases; empty when nothing did, None when it is not locked.

        It changed when anything that is reached from it did: otherwise the same is reached in both locks.
        """
        starts = [lock.members.get(name) for lock in (self.base, self.head)]
        if self.base.unclear or self.head.unclear:
            return self.everyone
        if starts == [None, None]:
            return None
        mask = 0
        for start, masks in zip(starts, self._masks, strict=True):
            mask |= masks.get(start, 0) if start is not None else 0
        return [*self.everyone, *(phrase for bit, phrase in enumerate(self._phrases) if mask & 2**bit)]


def _carried(lock: Lock, masks: Mapping[Node, int]) -> dict[Node, int]:
    """For each node, which changed names are reached from it."""
    users: dict[Node, list[Node]] = {}
    for node, targets in lock.edges.items():
        for target in targets:
            users.setdefault(target, []).append(node)
    found = {node: mask for node, mask in masks.items() if node in lock.itself}
    waiting = list(found)
    while waiting:
        node = waiting.pop()
        for user in users.get(node, []):
            more = found.get(user, 0) | found[node]
            if more != found.get(user, 0):
                found[user] = more
                waiting.append(user)
    return found


def _versions(lock: Lock) -> dict[str, list[str]]:
    """The versions in which each name is locked."""
    found: dict[str, set[str]] = {}
    for node in lock.itself:
        found.setdefault(node[0], set()).add(node[1])
    return {name: sorted(versions) for name, versions in found.items()}


def _phrase(name: str, was: list[str], now: list[str], local: Collection[str]) -> str:
    """What happened to one name."""
    if not was or not now:
        return f"{name} {'removed' if was else 'added'}"
    if was != now:
        return f"{name} {' and '.join(was) or '?'} → {' and '.join(now) or '?'}"
    return f"what {name} asks for" if normal(name) in local else f"{name} (other files or conditions)"
