"""What does one pipeline file (`dvc.yaml` or `*.dvc`) read and write, in which places of the repository?

The rules are DVC's: `wdir`, `vars` and parameter files, `${...}`, `foreach` and `matrix`. DVC itself would take
seconds for thousands of models, and cannot read a commit that is not checked out.
A file that cannot be read statically is never taken for one that reads nothing: see `Pipeline.unclear`.
"""

import itertools
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlops.planning import paths, plainyaml
from mlops.planning.plainyaml import Opaque, Unreadable

Fetch = Callable[[str], bytes | None]
"""Gives the bytes of a file of the same commit by its path, or None where there is none."""

MOST_STAGES = 20_000


@dataclass(frozen=True)
class Pipeline:
    """What one pipeline file says, as paths from the repository's root (URLs and places outside are left out)."""

    reads: frozenset[str] = frozenset()
    """Files and folders that its stages depend on, parameter files among them."""
    writes: frozenset[str] = frozenset()
    """Files and folders that its stages make."""
    inputs: frozenset[str] = frozenset()
    """Files that were needed to find that out, whether they are there or not."""
    unclear: str = ""
    """Why it cannot be told what else it reads and writes, as the end of a sentence; empty when all is told."""
    words: frozenset[str] | None = frozenset()
    """Where it is unclear: the words that a place outside its folder must be made of; None when any place may be."""


def is_pipeline(name: str) -> bool:
    """Whether DVC takes a file with this name for a pipeline."""
    return name == "dvc.yaml" or (name.endswith(".dvc") and name != ".dvc")


def stays_inside(text: bytes) -> bool:
    """Whether a pipeline's text cannot name a place outside its folder: no `..`, no template, no escape."""
    return not (b".." in text or b"${" in text or b"\\" in text)


def read(path: str, text: bytes, fetch: Fetch) -> Pipeline:
    """Read the pipeline file `path`, whose bytes are `text`."""
    reader = _Reader(path, fetch)
    try:
        reader.read(text)
    except Unreadable as error:
        home = paths.parent(path)
        words = None if _may_name_anything(text) else frozenset(re.findall(r"\w+", text.decode(errors="replace")))
        return Pipeline(
            reads=frozenset([*reader.reads, home]),
            writes=frozenset([*reader.writes, home]),
            inputs=frozenset(reader.inputs),
            unclear=str(error),
            words=frozenset() if stays_inside(text) else words,
        )
    return Pipeline(frozenset(reader.reads), frozenset(reader.writes), frozenset(reader.inputs))


def _may_name_anything(text: bytes) -> bool:
    """Whether a place may be named without standing in the text: by a template, an escape, or a folder above."""
    return b"${" in text or b"\\" in text or re.search(rb"\.\.(?:/\.\.)*/?(?![/\w.])", text) is not None


class _Reader:
    """Gathers places; raises `Unreadable` at the first thing that cannot be told."""

    def __init__(self, path: str, fetch: Fetch) -> None:
        self.path, self.folder, self.fetch = path, paths.parent(path), fetch
        self.reads: set[str] = set()
        self.writes: set[str] = set()
        self.inputs: set[str] = set()

    def read(self, text: bytes) -> None:
        content = plainyaml.load(_decoded(text))
        if content is None:
            return
        if not isinstance(content, dict):
            raise Unreadable("it is not a table")
        if paths.name(self.path) == "dvc.yaml":
            self.pipeline(content)
        else:
            self.single(content)

    def single(self, content: dict[str, Any]) -> None:
        """A `.dvc` file: one stage without templates."""
        folder = self.place(self.folder, content.get("wdir") or ".")
        for out in _list(content.get("outs")):
            self.add(self.writes, folder, _table(out).get("path"))
        for dep in _list(content.get("deps")):
            # What comes from another repository or a database cannot be changed by this one's commits.
            if not {"repo", "db"} & _table(dep).keys():
                self.add(self.reads, folder, dep.get("path"))

    def pipeline(self, content: dict[str, Any]) -> None:
        """A `dvc.yaml`: every stage that it makes."""
        context: dict[str, Any] = {}
        default = self.place(self.folder, "params.yaml")
        self.inputs.add(default or "params.yaml")
        if default is not None and self.fetch(default) is not None:
            self.load(context, self.folder, "params.yaml", set())
        self.extend(context, self.folder, content.get("vars"))
        count = 0
        for name, stage in _table(content.get("stages") or {}).items():
            for values, body in self.instances(context, name, _table(stage)):
                self.stage({**context, **values}, body)
                count += 1
                if count > MOST_STAGES:
                    raise Unreadable(f"it has more than {MOST_STAGES} stages")

    def instances(
        self, context: Mapping[str, Any], name: str, stage: dict[str, Any]
    ) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """What a stage adds to the context, and its body, for each stage that it stands for."""
        if "matrix" in stage:
            axes = _table(resolve(stage["matrix"], context))
            body = {key: value for key, value in stage.items() if key != "matrix"}
            for chosen in itertools.product(*(_list(axis, empty=False) for axis in axes.values())):
                # `key` joins the values as text, as DVC does.
                item = dict(zip(axes, chosen, strict=True))
                yield {"item": item, "key": _matrix_key(axes, item)}, body
        elif "foreach" in stage:
            items = resolve(stage["foreach"], context)
            body = _table(stage.get("do"))
            if isinstance(items, dict):
                yield from (({"item": value, "key": _text(key)}, body) for key, value in items.items())
            else:
                yield from (({"item": value}, body) for value in _list(items, empty=False))
        else:
            yield {}, stage

    def stage(self, context: dict[str, Any], body: dict[str, Any]) -> None:
        """One stage: where it works, what it depends on, and what it makes."""
        folder: str | None = self.folder
        if body.get("wdir"):
            folder = self.place(folder, _text(resolve(body["wdir"], context)))
        if body.get("vars"):
            context = {**context}
            self.extend(context, folder, body["vars"])
        for dep in _list(resolve(body.get("deps"), context)):
            self.add(self.reads, folder, dep)
        for one in _list(resolve(body.get("params"), context)):
            for place in one if isinstance(one, dict) else ["params.yaml"]:
                self.add(self.reads, folder, place)
        for kind in ("outs", "metrics", "plots"):
            for one in _list(resolve(body.get(kind), context)):
                for place in one if isinstance(one, dict) else [one]:
                    self.add(self.writes, folder, place)

    def place(self, folder: str | None, path: Any) -> str | None:
        """Where a path leads that is written in `folder`; None outside the repository."""
        if not isinstance(path, str) or not path:
            raise Unreadable(f"it has {_brief(path)} where a path is expected")
        return None if folder is None else paths.join(folder, path)

    def add(self, places: set[str], folder: str | None, path: Any) -> None:
        place = self.place(folder, path)
        if place is not None and not (isinstance(path, str) and path.startswith("ds://")):
            places.add(place)

    def extend(self, context: dict[str, Any], folder: str | None, given: Any) -> None:
        """Add what `vars` gives: tables as they are, and the contents of files."""
        loaded: set[str] = {self.place(self.folder, "params.yaml") or ""}
        for one in _list(given):
            if isinstance(one, dict):
                _merge(context, _plain_table(one))
            elif isinstance(one, str) and "${" not in one:
                self.load(context, folder, one, loaded)
            else:
                raise Unreadable(f"its vars have {_brief(one)}, which is neither a table nor a file")

    def load(self, context: dict[str, Any], folder: str | None, given: str, loaded: set[str]) -> None:
        """Add the contents of a file, or the named keys of it (`file:key,key`)."""
        path, _, keys = given.partition(":")
        place = self.place(folder, path)
        if place is None:
            raise Unreadable(f"its vars name {paths.shown(path)}, which is outside the repository")
        self.inputs.add(place)
        self.reads.add(place)
        if place in loaded and not keys:
            return
        text = self.fetch(place)
        if text is None:
            raise Unreadable(f"its vars name {paths.shown(place)}, which git does not have")
        values = _values(place, text)
        if keys:
            chosen = [key for key in keys.split(",") if key]
            if not set(chosen) <= values.keys():
                raise Unreadable(f"its vars name keys that {paths.shown(place)} does not have")
            values = {key: values[key] for key in chosen}
        loaded.add(place)
        _merge(context, values)


def _values(path: str, text: bytes) -> dict[str, Any]:
    """The content of a parameter file; DVC chooses the format by the ending, and takes YAML for all others."""
    try:
        if path.endswith(".json"):
            value = json.loads(text)
        elif path.endswith(".toml"):
            value = tomllib.loads(_decoded(text))
        elif path.endswith(".py"):
            raise Unreadable(f"its vars come from {paths.shown(path)}, which is a program")
        else:
            value = plainyaml.load(_decoded(text))
    except (ValueError, RecursionError):
        raise Unreadable(f"its vars come from {paths.shown(path)}, which is not valid") from None
    except Unreadable as error:
        raise Unreadable(f"of {paths.shown(path)}, which its vars name: {error}") from None
    return _plain_table({} if value is None else value)


def _plain_table(value: Any) -> dict[str, Any]:
    return dict(_table(value))


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Join two tables; what both define is an error for DVC, too."""
    for key, value in more.items():
        old = into.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            into[key] = {**old}
            _merge(into[key], value)
        elif key in into:
            raise Unreadable(f"its vars define {_brief(key)} twice")
        else:
            into[key] = value


_EXPRESSION = re.compile(r"(?<!\\)\${([^}]*)}")


def resolve(value: Any, context: Mapping[str, Any]) -> Any:
    """`value` with every `${...}` replaced; raises `Unreadable` where the context has no such value."""
    if isinstance(value, dict):
        return {_text(resolve(key, context)): resolve(item, context) for key, item in value.items()}
    if isinstance(value, list):
        return [resolve(item, context) for item in value]
    if not isinstance(value, str) or "${" not in value:
        return value
    whole = _EXPRESSION.fullmatch(value)
    if whole:
        return _select(whole[1], context)
    return _EXPRESSION.sub(lambda found: _text(_select(found[1], context)), value).replace("\\${", "${")


def _select(expression: str, context: Mapping[str, Any]) -> Any:
    """The value of `a.b[0]`."""
    value: Any = context
    for key in expression.replace("[", ".").replace("]", "").split("."):
        try:
            value = value[int(key.strip())] if isinstance(value, list) else value[key.strip()]
        except (KeyError, IndexError, ValueError, TypeError):
            raise Unreadable(f"nothing defines {_brief('${' + expression + '}')}") from None
    return value


def _text(value: Any) -> str:
    """A value inside a text, as DVC writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float) or value is None:
        return str(value)
    raise Unreadable(f"a template gives {_brief(value)}, which is no plain text")


def _matrix_key(axes: Mapping[str, Any], item: Mapping[str, Any]) -> str:
    return "-".join(
        f"{axis}{axes[axis].index(value)}" if isinstance(value, dict | list) else _text(value)
        for axis, value in item.items()
    )


def _decoded(text: bytes) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        raise Unreadable("it is not UTF-8 text") from None


def _table(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unreadable(f"it has {_brief(value)} where a table is expected")
    return value


def _list(value: Any, *, empty: bool = True) -> Sequence[Any]:
    """A list; nothing at all is an empty one, unless a list must be there."""
    if value is None and empty:
        return []
    if not isinstance(value, list):
        raise Unreadable(f"it has {_brief(value)} where a list is expected")
    return value


def _brief(value: Any) -> str:
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    return repr(paths.shown(value.text if isinstance(value, Opaque) else str(value), 40))
