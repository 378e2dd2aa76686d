"""What does the plan remember of folders it has seen? One file, which may be deleted, old, broken or written by two."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlops import files
from mlops.planning.affected import Scan
from mlops.planning.projects import Asks, Project

REWRITE = 16
"""The file is written anew when more than one folder in so many was not in it."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the files of one folder say."""

    is_model: bool
    scans: Mapping[str, Scan]
    """Of a model, by its folder; in other folders of each pipeline file, by its path."""
    projects: Mapping[str, Project]
    links: Mapping[str, str]
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Files elsewhere that decided the scans, with their ids in git (empty where absent)."""


class Memory:
    """Folders by path and id in git; equal ids are equal contents."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._folders: dict[str, Any] = {}
        self._asks: list[Asks] = []
        self._scans: list[Scan] = []
        self._recalled: dict[tuple[str, str], Known] = {}
        # A file that cannot be read, that is damaged, or that other code has written is as good as none.
        with suppress(OSError):
            seal, _, text = path.read_bytes().partition(b"\n")
            if seal == _seal(text):
                self._read(json.loads(text))

    def _read(self, value: dict[str, Any]) -> None:
        self._asks = [_to_asks(one) for one in value["asks"]]
        self._scans = [_to_scan(one) for one in value["scans"]]
        self._folders = value["folders"]

    def recall(self, folder: str, id: str) -> Known | None:
        """What a folder says that has this id; None where that was not seen."""
        recalled = self._recalled.get((folder, id))
        found = self._folders.get(folder)
        if recalled is not None or not found or found[0] != id:
            return recalled
        _, is_model, scans, packages, links, inputs = found
        recalled = Known(
            is_model=is_model,
            scans={folder + unit: self._scans[scan] for unit, scan in scans.items()},
            projects={folder + place: Project(name, self._asks[asks]) for place, (name, asks) in packages.items()},
            links=links,
            inputs=inputs,
        )
        self._recalled[(folder, id)] = recalled
        return recalled

    def note(self, folder: str, id: str, known: Known) -> None:
        """Keep what a folder says for the rest of this process; another commit may hold it too."""
        self._recalled[(folder, id)] = known

    def remember(self, folders: Mapping[str, tuple[str, Known]], *, new: int) -> None:
        """Write down all folders of a commit, of which so many are `new`; a file that cannot be written is no loss."""
        if not new or new * REWRITE < len(folders):
            return
        asks: dict[str, int] = {}
        scans: dict[Scan, int] = {}
        told = {
            folder: [
                id,
                known.is_model,
                {unit.removeprefix(folder): scans.setdefault(one, len(scans)) for unit, one in known.scans.items()},
                {
                    path.removeprefix(folder): [one.name, asks.setdefault(_from_asks(one.asks), len(asks))]
                    for path, one in known.projects.items()
                },
                dict(known.links),
                dict(known.inputs),
            ]
            for folder, (id, known) in folders.items()
        }
        tables = {"asks": [json.loads(one) for one in asks], "scans": [_from_scan(one) for one in scans]}
        text = json.dumps({"folders": told, **tables}, separators=(",", ":"))
        with suppress(OSError):
            files.write_text(self.path, f"{_seal(text.encode()).decode()}\n{text}")


def _seal(text: bytes) -> bytes:
    """The digest of a text and of the code that says what folders say: other code reads them anew."""
    digest = hashlib.sha256(text)
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest().encode()


def _from_scan(scan: Scan) -> list[Any]:
    words = None if scan.words is None else sorted(scan.words)
    return [sorted(scan.reads), sorted(scan.writes), sorted(scan.inputs), scan.unclear, words]


def _to_scan(value: list[Any]) -> Scan:
    reads, writes, inputs, unclear, words = value
    return Scan(
        frozenset(reads), frozenset(writes), frozenset(inputs), unclear, None if words is None else frozenset(words)
    )


def _from_asks(asks: Asks) -> str:
    needs = {part: {name: sorted(extras) for name, extras in lines.items()} for part, lines in asks.needs.items()}
    folders = {name: sorted(places) for name, places in asks.folders.items()}
    return json.dumps([needs, sorted(asks.elsewhere), sorted(asks.inside), folders, asks.unclear], sort_keys=True)


def _to_asks(value: list[Any]) -> Asks:
    needs, elsewhere, inside, folders, unclear = value
    return Asks(
        {part: {name: frozenset(extras) for name, extras in lines.items()} for part, lines in needs.items()},
        frozenset(elsewhere),
        frozenset(inside),
        {name: frozenset(places) for name, places in folders.items()},
        unclear,
    )
