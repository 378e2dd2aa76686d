"""Commits as dictionaries, for the tests of the plan: paths to bytes, with symbolic links as `Link`."""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from mlops.planning import affected, paths, pipelines, projects
from mlops.planning.affected import Affected, Tree


class Link(NamedTuple):
    """A symbolic link, with the text that it holds."""

    target: str


Files = Mapping[str, bytes | Link]

READ = lru_cache(10_000)(projects.read)
"""Pure, and asked the same again and again by tests that try many changes of one repository."""


def tree(files: Files) -> Tree:
    """The commit that holds these files."""
    models = frozenset(
        path.split("/")[1]
        for path in files
        if path.startswith("models/") and path.endswith("/model.toml") and path.count("/") == 2
    )
    homes = {f"models/{name}" for name in models}

    def fetch(path: str) -> bytes | None:
        content = files.get(path)
        return content if isinstance(content, bytes) else None

    def of(model: str) -> list[str]:
        return [path for path in found if path.startswith(f"models/{model}/")] if model in models else []

    found = [path for path in files if pipelines.is_pipeline(paths.name(path))]
    elsewhere = [path for path in found if "/".join(path.split("/")[:2]) not in homes]
    links = {
        path: paths.join(paths.parent(path), content.target)
        for path, content in files.items()
        if isinstance(content, Link)
    }
    return Tree(
        models=models,
        fetch=fetch,
        pipelines=of,
        scans=lambda: {
            **{f"models/{name}": affected.scan(f"models/{name}", of(name), fetch) for name in models},
            **{path: affected.whole([path], fetch) for path in elsewhere},
        },
        projects=lambda: {
            paths.parent(path): READ(path, content)
            for path, content in files.items()
            if paths.name(path) == "pyproject.toml" and isinstance(content, bytes)
        },
        links=lambda: {link: target for link, target in links.items() if target is not None},
        is_folder=lambda path: any(file.startswith(f"{path}/") for file in files),
        tops=lambda: sorted({path.split("/")[0] for path in files if "/" in path}),
    )


def changed(base: Files, head: Files) -> list[str]:
    """The paths that differ."""
    return [path for path in base.keys() | head.keys() if base.get(path) != head.get(path)]


def plan(base: Files, head: Files) -> dict[str, Affected]:
    """The plan for going from one to the other, by model."""
    return {one.model: one for one in affected.plan(tree(base), tree(head), changed(base, head))}
