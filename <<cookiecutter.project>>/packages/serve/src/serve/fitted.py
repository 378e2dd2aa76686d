"""What was fitted? The numbers in a skops file, read as plain data: no class that it names is imported or called.

Importing scikit-learn and skops takes longer than all else at a start, and more memory than a small model needs to
answer. A plan (see `serve.plans`) asks a fitted object for a few numbers only, and those stand in the file: JSON, and
arrays in NumPy's own form. A file with anything else in it is not read here; `serve.loading` deserialises it then.
"""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

PROTOCOL = 2
"""The form of skops files that is known here; another one may mean something else by the same words."""


class NotPlain(Exception):
    """There is more in this file than plain data, or it has another form."""


class Fitted:
    """The attributes of an object of scikit-learn, by their own names; `kind` is the name of its class.

    It has no methods: whoever wants one of the real object finds that it is missing.
    """

    def __init__(self, kind: str, attributes: Mapping[str, Any]) -> None:
        """From the name of a class, and its state as it was written."""
        vars(self).update(attributes)
        self.kind = kind


def read(data: bytes) -> Fitted | None:
    """The fitted object in a skops file; None where that is more than plain data."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            schema = json.loads(archive.read("schema.json"))
            if schema["protocol"] != PROTOCOL:
                return None
            found = _value(schema, archive)
    except Exception:  # Whatever is wrong with a file is said by skops, which reads it next.
        return None
    return found if isinstance(found, Fitted) else None


def _value(node: Mapping[str, Any], archive: zipfile.ZipFile) -> Any:
    read = NODES.get(node["__loader__"])
    if read is None:
        raise NotPlain
    return read(node, archive)


def _object(node: Mapping[str, Any], archive: zipfile.ZipFile) -> Fitted:
    if not node["__module__"].startswith("sklearn."):
        raise NotPlain
    return Fitted(node["__class__"], _dict(node["content"], archive))


def _dict(node: Mapping[str, Any], archive: zipfile.ZipFile) -> dict[str, Any]:
    types = {(one["__module__"], one["__class__"]) for one in node["key_types"]["content"]}
    if not types <= {("builtins", "str")}:
        raise NotPlain
    return {name: _value(one, archive) for name, one in node["content"].items()}


def _list(node: Mapping[str, Any], archive: zipfile.ZipFile) -> list[Any]:
    return [_value(one, archive) for one in node["content"]]


def _tuple(node: Mapping[str, Any], archive: zipfile.ZipFile) -> tuple[Any, ...]:
    return tuple(_list(node, archive))


def _json(node: Mapping[str, Any], archive: zipfile.ZipFile) -> Any:
    return json.loads(node["content"])


def _slice(node: Mapping[str, Any], archive: zipfile.ZipFile) -> slice:
    ends = node["content"]
    return slice(ends["start"], ends["stop"], ends["step"])


def _array(node: Mapping[str, Any], archive: zipfile.ZipFile) -> Any:
    """An array, or a number of NumPy's."""
    if node["type"] == "numpy":
        found = np.load(io.BytesIO(archive.read(node["file"])), allow_pickle=False)
        return found if node["__class__"] == "ndarray" else found[()]
    items, shape = _list(node, archive), _value(node["shape"], archive)
    if len(shape) != 1:
        raise NotPlain
    found = np.empty(len(items), dtype=object)
    found[:] = items
    return found


def _dtype(node: Mapping[str, Any], archive: zipfile.ZipFile) -> Any:
    return _array(node["content"], archive).dtype


def _type(node: Mapping[str, Any], archive: zipfile.ZipFile) -> str:
    """A type is only named: nothing here makes one of it."""
    return f"{node['__module__']}.{node['__class__']}"


NODES: dict[str, Callable[[Mapping[str, Any], zipfile.ZipFile], Any]] = {
    "ObjectNode": _object,
    "DictNode": _dict,
    "ListNode": _list,
    "TupleNode": _tuple,
    "JsonNode": _json,
    "SliceNode": _slice,
    "NdArrayNode": _array,
    "DTypeNode": _dtype,
    "TypeNode": _type,
}
