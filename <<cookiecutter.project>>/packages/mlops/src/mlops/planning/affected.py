"""The plan itself: two trees and the paths that differ in, the models that this can affect out. Values only, no git.

A *unit* is what is looked at as a whole: a model with every pipeline in its folder, or one pipeline file elsewhere.
A unit is affected when a file of its own changed, when something that it reads changed, or when a unit that makes what
it reads is affected. What a unit reads is taken from the new commit: had it read something else before, then one of its
own files, or a file that they are expanded with, has changed. What it makes is taken from both.
"""

import bisect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from mlops.planning import locks, paths, pipelines, projects
from mlops.planning.paths import shown
from mlops.planning.pipelines import Fetch
from mlops.planning.projects import Project, Workspace

MOST_REASONS = 4
LONGEST_REASON = 240

GOVERNING = (".dvcignore", ".gitattributes")
"""Files that decide what the files beside and below them are to DVC."""
ALWAYS = ("packages", ".dvc", ".github/actions")
"""Folders that a job for one model checks out anyway, beside the model's own."""


@dataclass(frozen=True)
class Scan:
    """What the pipelines of a unit read and make."""

    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    inputs: frozenset[str] = frozenset()
    """Files that were needed to find that out."""
    unclear: str = ""
    """Why there may be more, as a sentence; empty when all is told."""
    words: frozenset[str] | None = frozenset()
    """Where it is unclear: words of which a place outside must be made; None when any place may be meant."""

    @property
    def open(self) -> bool:
        """Whether it may reach places outside its folder that nobody can tell."""
        return bool(self.unclear) and self.words != frozenset()


@dataclass(frozen=True, kw_only=True)
class Tree:
    """One commit: its models (folders in `models/` with a `model.toml`), and everything else.

    What costs something to find out is a function, which is called only where the answer matters.
    """

    models: frozenset[str]
    fetch: Fetch
    """Gives a file's bytes by its path, or None where there is none."""
    pipelines: Callable[[str], Sequence[str]]
    """Gives the paths of all pipeline files in a model's folder; none for a model that is not there."""
    scans: Callable[[], Mapping[str, Scan]]
    """Gives what each unit reaches: a model (by its folder) outside its folder, other pipeline files anywhere."""
    projects: Callable[[], Mapping[str, Project]]
    """Gives every `pyproject.toml`, by its folder."""
    links: Callable[[], Mapping[str, str]]
    """Gives all symbolic links, with the places in the repository that they lead to."""
    is_folder: Callable[[str], bool]
    tops: Callable[[], Sequence[str]]
    """Gives the folders in the root."""


@dataclass(frozen=True)
class Affected:
    """One planned model: why, and which folders beside its own it needs in a sparse checkout."""

    model: str
    reasons: tuple[str, ...]
    also: tuple[str, ...]


def scan(home: str, files: Iterable[str], fetch: Fetch) -> Scan:
    """What a unit's pipeline files reach outside its folder `home`; those that cannot reach out are not parsed."""
    texts = [(path, text) for path in files if (text := fetch(path)) is not None]
    return _scan([(path, text) for path, text in texts if not pipelines.stays_inside(text)], fetch, outside=home)


def whole(files: Iterable[str], fetch: Fetch) -> Scan:
    """All that pipeline files read and make."""
    return _scan([(path, text) for path in files if (text := fetch(path)) is not None], fetch)


def _scan(texts: Sequence[tuple[str, bytes]], fetch: Fetch, outside: str | None = None) -> Scan:
    read = [(path, pipelines.read(path, text, fetch)) for path, text in texts]

    def places(found: Iterable[frozenset[str]]) -> frozenset[str]:
        return frozenset(place for one in found for place in one if outside is None or not paths.within(place, outside))

    return Scan(
        places(one.reads for _, one in read),
        places(one.writes for _, one in read),
        places(one.inputs for _, one in read),
        next((f"{shown(path)} cannot be read statically ({one.unclear})" for path, one in read if one.unclear), ""),
        None if any(one.words is None for _, one in read) else frozenset().union(*(one.words or () for _, one in read)),
    )


def plan(base: Tree, head: Tree, changed: Iterable[str]) -> list[Affected]:
    """The models of `head` that the `changed` paths can affect, sorted by name."""
    return _Planner(base, head, changed).plan()


class _Planner:
    """One question. Units are named by a model's folder, or by a pipeline's path."""

    def __init__(self, base: Tree, head: Tree, changed: Iterable[str]) -> None:
        self.base, self.head = base, head
        self.changed = sorted(set(changed))
        self.is_changed = frozenset(self.changed)
        self.homes = frozenset(f"models/{name}" for name in head.models)
        self.links = head.links()
        self.reasons: dict[str, list[str]] = {}

    def plan(self) -> list[Affected]:
        if not self.changed:
            return []
        self.own_files()
        self.files_elsewhere()
        self.whole_repository()
        self.packages()
        self.lock()
        self.chains()
        return [
            Affected(home.partition("/")[2], _few(self.reasons[home]), self.also(home))
            for home in sorted(self.homes & self.reasons.keys())
        ]

    def because(self, unit: str, reason: str) -> None:
        self.reasons.setdefault(unit, []).append(reason)

    # What is there.

    @cached_property
    def units(self) -> dict[str, Scan]:
        """What each unit of `head` reaches; pipelines that DVC does not see are left out."""
        return {unit: one for unit, one in self.head.scans().items() if unit in self.homes or not self.is_hidden(unit)}

    def is_hidden(self, path: str) -> bool:
        """Whether DVC does not look at a pipeline file, because of the folder that it is in."""
        return not self.hidden.isdisjoint(paths.parent(path).split("/"))

    @cached_property
    def hidden(self) -> frozenset[str]:
        """Names of folders that DVC does not look into; of `.dvcignore` only its plain lines are understood."""
        text = (self.head.fetch(".dvcignore") or b"").decode(errors="replace")
        lines = [line.strip() for line in text.splitlines()]
        if any(line.startswith("!") for line in lines):
            return frozenset([".dvc"])
        plain = {line.removesuffix("/") for line in lines if line and not set(line) & set("#*?[\\ ")}
        return frozenset([".dvc", *(name for name in plain if "/" not in name)])

    def through_links(self, places: Iterable[str]) -> set[str]:
        """The places, and those that links at, above or in them lead to."""
        found = set(places)
        waiting = list(found) if self.links else []
        while waiting:
            place = waiting.pop()
            for link, target in self.links.items():
                if paths.within(place, link):
                    # A link into itself would grow for ever.
                    more = (target + place[len(link) :]).strip("/")[:4096]
                elif paths.within(link, place):
                    more = target
                else:
                    continue
                if more not in found:
                    found.add(more)
                    waiting.append(more)
        return found

    @cached_property
    def reads(self) -> dict[str, set[str]]:
        """The units that read a place, by place; a model's own folder is left out, links out of it are not."""
        found: dict[str, set[str]] = {}
        for unit, one in self.units.items():
            if not (one.reads or one.inputs or self.links):
                continue
            own = {unit} & self.homes
            for place in self.through_links(one.reads | one.inputs | own) - own:
                found.setdefault(place, set()).add(unit)
        return found

    @cached_property
    def places(self) -> list[str]:
        return sorted(self.reads)

    def readers(self, place: str) -> set[str]:
        """The units that read `place`, a folder that holds it, or something in it."""
        found = {unit for above in paths.upwards(place) for unit in self.reads.get(above, ())}
        return found | {unit for below in _below(self.places, place) for unit in self.reads[below]}

    @cached_property
    def open(self) -> list[str]:
        """The units that may read and make things elsewhere that nobody can tell."""
        return [unit for unit, one in self.units.items() if one.open]

    # Why a unit is affected by the change itself.

    def own_files(self) -> None:
        """Files of a model but its pages, unless a stage reads them; a pipeline elsewhere has itself and its lock."""
        own: dict[str, list[str]] = {}
        for path in self.changed:
            model = _model(path)
            if model in self.head.models and (not path.endswith(".md") or self.reads_page(model, path)):
                own.setdefault(f"models/{model}", []).append(path.split("/", 2)[2])
        for home, names in own.items():
            self.because(home, _bounded("own files changed: ", names))
        for name in self.base.models - self.head.models:
            self.because(f"models/{name}", "it was removed")
        for path in self.changed:
            gone = pipelines.is_pipeline(paths.name(path)) and path not in self.units
            if gone and not self.is_hidden(path) and _model(path) not in self.base.models | self.head.models:
                self.because(path, "it was removed")
        for unit in self.units.keys() - self.homes:
            lock = f"{paths.parent(unit)}/dvc.lock".lstrip("/")
            if unit in self.is_changed or (paths.name(unit) == "dvc.yaml" and lock in self.is_changed):
                self.because(unit, "it changed")

    def reads_page(self, model: str, path: str) -> bool:
        """Whether a stage of the model depends on one of its pages."""
        one = whole(self.head.pipelines(model), self.head.fetch)
        return any(paths.within(path, place) for place in self.through_links(one.reads | one.inputs))

    def files_elsewhere(self) -> None:
        """What units read outside their own folder."""
        found: dict[str, list[str]] = {}
        for path in self.changed:
            for unit in self.readers(path):
                if not paths.within(path, unit):
                    found.setdefault(unit, []).append(path)
        for unit, read in found.items():
            self.because(unit, _bounded("", read, " changed"))
        for unit in self.open:
            outside = next((path for path in self.changed if self.may_read(unit, path)), None)
            if outside is not None:
                self.because(unit, f"{self.units[unit].unclear}, and {shown(outside)} changed")

    def may_read(self, unit: str, path: str) -> bool:
        """Whether a unit of which it cannot be told may read a path: what is in no model, or in one that it names."""
        model, words = _model(path), self.units[unit].words
        known = model in self.head.models or model in self.base.models
        return not paths.within(path, unit) and (not known or words is None or model in words)

    def whole_repository(self) -> None:
        """Files that hold for every model below them."""
        for path in self.changed:
            if paths.name(path) in GOVERNING:
                folder = paths.parent(path)
                for unit, one in self.units.items():
                    if any(paths.within(place, folder) for place in (unit, *one.reads)):
                        self.because(unit, f"{shown(path)} changed")
        if ".python-version" in self.is_changed:
            for home in self.homes:
                self.because(home, ".python-version changed")

    def packages(self) -> None:
        """Local packages that a model depends on, through others too."""
        members = self.head.projects()
        # A package that went away, or has another name now, is still the one that was asked for.
        former = [
            (folder, projects.read(f"{folder}/pyproject.toml", text))
            for folder in (paths.parent(path) for path in self.changed if paths.name(path) == "pyproject.toml")
            if folder and (text := self.base.fetch(f"{folder}/pyproject.toml")) is not None
        ]
        folders = {folder for folder in (*members, *(folder for folder, _ in former)) if folder}
        changed = {
            folder
            for path in self.changed
            for folder in paths.upwards(path)
            if folder in folders and not _is_beside(path, folder)
        }
        sources = {place for one in members.values() for named in one.asks.folders.values() for place in named}
        for folder in (sources | folders if self.links else sources) - changed:
            places = self.through_links([folder])
            if any(paths.overlap(path, place) for path in self.changed for place in places if place not in folders):
                changed.add(folder)
        if not changed:
            return
        workspace = Workspace(members, former)
        for home in self.homes:
            reached = workspace.reach(home)
            if not reached.isdisjoint(changed):
                self.because(home, _bounded("", sorted(reached & changed), " changed"))

    def lock(self) -> None:
        """What `uv.lock` resolves for a model."""
        if "uv.lock" not in self.is_changed:
            return
        old, new = self.base.fetch("uv.lock"), self.head.fetch("uv.lock")
        difference = locks.Difference(locks.read(old or b""), locks.read(new or b"")) if old and new else None
        members = self.head.projects()
        for home in self.homes:
            said = difference.of(members[home].name) if difference and home in members else None
            if said is None:
                self.because(home, "uv.lock changed, and it does not tell what this model had before and has now")
            elif said:
                self.because(home, _bounded("its dependencies in uv.lock changed: ", said))

    # Why a unit is affected by another one.

    def chains(self) -> None:
        """Carry the effect from units to those that read what they make, until nothing is added."""
        waiting = sorted(self.reasons)
        while waiting:
            unit = waiting.pop()
            for reader, place in self.fed(unit).items():
                if reader != unit and reader not in self.reasons:
                    self.because(reader, f"{shown(place)} is made by {shown(unit)}, which is affected")
                    waiting.append(reader)

    def fed(self, unit: str) -> dict[str, str]:
        """The units that read what a unit makes, each with a place; those that may do so count too."""
        found: dict[str, str] = {}
        if self.readers(unit) or self.reaches_out(unit):
            made = self.made(unit)
            for place in sorted(self.through_links(made.writes)):
                for reader in self.readers(place):
                    found.setdefault(reader, place)
            if made.open:
                found = {reader: place for place, readers in self.reads.items() for reader in readers} | found
        for reader in self.open:
            words = self.units[reader].words
            if words is None or not self.is_model(unit) or paths.name(unit) in words:
                found.setdefault(reader, "what it reads (which cannot be told)")
        return found

    def is_model(self, unit: str) -> bool:
        return unit in self.homes or (unit not in self.units and _model(f"{unit}/.") in self.base.models)

    def reaches_out(self, unit: str) -> bool:
        """Whether a unit may make something outside its own folder, now or before the change."""
        one = self.units.get(unit)
        return not self.is_model(unit) or one is None or bool(one.writes or one.unclear) or self.was_changed(unit)

    def was_changed(self, unit: str) -> bool:
        """Whether what a unit makes may have been something else before the change."""
        one = self.units.get(unit, Scan())
        return unit in self.is_changed or bool(_below(self.changed, unit)) or bool(one.inputs & self.is_changed)

    def made(self, unit: str) -> Scan:
        """All that a unit makes: at `head`, and before the change too where that may differ."""
        scans = []
        for tree in (self.head, self.base) if self.was_changed(unit) or unit not in self.units else (self.head,):
            scans.append(whole(tree.pipelines(paths.name(unit)) if self.is_model(unit) else [unit], tree.fetch))
        return Scan(
            writes=frozenset().union(*(one.writes for one in scans)),
            unclear=next((one.unclear for one in scans if one.open), ""),
            words=None,
        )

    # What a sparse checkout needs.

    def also(self, home: str) -> tuple[str, ...]:
        """Folders that a model reads from, and those of the units that make what it reads, through others too."""
        found: set[str] = set()
        seen, waiting = {home}, [home]
        while waiting:
            unit = waiting.pop()
            one = self.units[unit]
            if one.open:
                return tuple(self.head.tops())
            if not (one.reads or one.inputs or self.links):
                continue
            for place in self.through_links(one.reads | one.inputs | ({unit} & self.homes)) - {home}:
                if not place:
                    return tuple(self.head.tops())
                found.add(place if self.head.is_folder(place) else paths.parent(place))
                for maker in self.makers(place) - seen:
                    seen.add(maker)
                    waiting.append(maker)
                    found.add(maker if maker in self.homes else paths.parent(maker))
        kept = {one for one in found if one and not any(paths.within(one, other) for other in (*ALWAYS, home))}
        return tuple(
            sorted(one for one in kept if not any(one != other and paths.within(one, other) for other in kept))
        )

    @cached_property
    def made_by(self) -> dict[str, set[str]]:
        """The units that make a place: models outside their folder, other pipelines anywhere."""
        found: dict[str, set[str]] = {}
        for unit, one in self.units.items():
            for place in one.writes:
                found.setdefault(place, set()).add(unit)
        return found

    def makers(self, place: str) -> set[str]:
        """The units that make `place`, what holds it, or something in it; a model may make all in its folder."""
        found = {maker for made, makers in self.made_by.items() if paths.overlap(place, made) for maker in makers}
        return found | ({f"models/{_model(f'{place}/.')}"} & self.homes)


def _model(path: str) -> str:
    """The folder in `models/` that a path lies in; empty for all others."""
    parts = path.split("/", 2)
    return parts[1] if len(parts) == 3 and parts[0] == "models" else ""


def _is_beside(path: str, folder: str) -> bool:
    """Whether a path is a page or a test of the package in `folder`, which nobody imports."""
    inner = path[len(folder) + 1 :]
    return ("/" not in inner and inner.endswith(".md")) or inner.startswith(("docs/", "tests/"))


def _below(ordered: list[str], folder: str) -> list[str]:
    """The paths of a sorted list that lie in `folder`."""
    if not folder:
        return ordered
    start = bisect.bisect_left(ordered, folder + "/")
    # The character after the slash: every path in the folder sorts before it.
    return ordered[start : bisect.bisect_left(ordered, folder + chr(ord("/") + 1), lo=start)]


def _bounded(before: str, things: Sequence[str], after: str = "") -> str:
    """A sentence with the first things of a list, and how many more there are."""
    more = f" and {len(things) - 3:,} more" if len(things) > 3 else ""
    return f"{before}{', '.join(shown(one, 60) for one in things[:3])}{more}{after}"


def _few(reasons: Sequence[str]) -> tuple[str, ...]:
    """The first reasons, each of a bounded length."""
    kept = [one if len(one) <= LONGEST_REASON else one[: LONGEST_REASON - 1] + "…" for one in reasons[:MOST_REASONS]]
    more = len(reasons) - MOST_REASONS
    return (*kept, f"{more:,} more") if more > 0 else tuple(kept)
