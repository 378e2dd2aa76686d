"""Paths in the repository as plain texts: relative to its root, with forward slashes, `""` for the root itself."""

import posixpath
from collections.abc import Iterator


def join(folder: str, path: str) -> str | None:
    """Where `path`, written in `folder`, leads; None when that is no file of the repository (a URL, or outside)."""
    if "://" in path or path.startswith(("/", "~")):
        return None
    place = posixpath.normpath(posixpath.join(folder, path))
    if place == ".":
        return ""
    return None if place == ".." or place.startswith("../") else place


def parent(path: str) -> str:
    """The folder that holds `path`."""
    return path.rpartition("/")[0]


def name(path: str) -> str:
    """The last part of `path`."""
    return path.rpartition("/")[2]


def within(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or lies in it."""
    return not folder or path == folder or path.startswith(folder + "/")


def overlap(one: str, other: str) -> bool:
    """Whether one of two places is the other or lies in it."""
    return within(one, other) or within(other, one)


def upwards(path: str) -> Iterator[str]:
    """`path`, its folder, that one's folder, and so on; the root comes last."""
    yield path
    while path:
        path = parent(path)
        yield path


def shown(path: str, most: int = 80) -> str:
    """A path for a sentence: what cannot be printed is escaped, and a long one is cut in its middle."""
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    return text if len(text) <= most else f"{text[: most // 2 - 1]}…{text[-most // 2 :]}"
