"""What is in the image of a version, what is written on it, and which words build it: values, tested without an engine.

The libraries are those of the service in `uv.lock`, and those that the version's own estimator comes from. The version
was trained with certain releases of the latter; another release may say something else, so it is refused.
"""

import datetime as dt
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mlops.errors import Refusal
from mlops.planning.projects import normal
from mlops.workspace import Model

EPOCH = 315_532_800
"""The time of every file, 1980: equal files make equal layers, whenever they were written."""
LARGEST_LABEL = 20_000

# What a version needs to be read, in a release near the one that wrote it; the build asks it whether it still says the
# same. All others of the manifest's libraries are where its estimator comes from.
ABOUT_THE_SAME = frozenset({"numpy", "onnxruntime", "python", "skl2onnx", "skops"})
# polars builds the frame that some pipelines want; a graph needs nothing of scikit-learn.
NOT_AT_FIRST = {"sklearn": ("polars",), "onnx": ("polars", "scikit-learn", "scipy", "skops")}
EXTRAS = {"sklearn": (), "onnx": ("onnx",)}

SECRETS = {"ca.pem": "SSL_CERT_FILE", "netrc": "NETRC", "pip.conf": "PIP_CONFIG_FILE", "uv.toml": "UV_CONFIG_FILE"}
"""What the build may use and the image never holds, and the variable that names the file, as the tools call it."""

_EXPORT = ("uv", "export", "--frozen", "--quiet", "--no-dev", "--no-emit-workspace", "--no-header", "--no-annotate")
_PIN = re.compile(r"(?m)^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)")
_PLACE = re.compile(r"[a-z0-9][a-z0-9.-]*(?::[0-9]+)?(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)+")
_SSH = re.compile(r"(?:ssh://)?(?:[^@/]+@)([^:/]+)(?::\d+/|[:/])(.+)")


@dataclass(frozen=True, kw_only=True)
class Version:
    """A version as its manifest describes it."""

    model: str
    name: str
    """The first 12 hex digits of the manifest's sha256, as everywhere."""
    digest: str
    """`sha256:…` of the manifest, which vouches for every other file."""
    runtime: str
    """`sklearn`, or `onnx`."""
    libraries: Mapping[str, str]
    lineage: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What is packaged: a commit, its time in seconds since 1970, its page, and whether files differ from it."""

    commit: str
    time: int
    source: str
    is_modified: bool

    @property
    def created(self) -> str:
        """The commit's time as UTC, such as 2026-07-01T10:00:00Z."""
        return dt.datetime.fromtimestamp(self.time, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, kw_only=True)
class Lists:
    """What is installed, as requirements with hashes: uv itself, the libraries, and all of them with polars."""

    tools: str
    requirements: str
    frames: str


def described(manifest: bytes, *, model: str) -> Version:
    """The version that the bytes of a manifest describe; refuses what is no manifest, and another model's."""
    again = f"Train it again: `make train MODEL={model}`."
    try:
        value = json.loads(manifest)
        digest = hashlib.sha256(manifest).hexdigest()
        found = Version(
            model=value["model"],
            name=digest[:12],
            digest=f"sha256:{digest}",
            runtime=value.get("serving", {"runtime": "sklearn"})["runtime"],
            libraries={str(name): str(release) for name, release in value["libraries"].items()},
            lineage=dict(value["lineage"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Refusal(f"{model}: its export has no manifest that can be read.", do=again) from None
    if found.model != model or found.runtime not in NOT_AT_FIRST:
        raise Refusal(f"{model}: its export is not one of this model that can be served.", do=again)
    return found


def tools() -> list[str]:
    """The words that say which uv installs, from the lock."""
    return [*_EXPORT, "--only-group", "image"]


def service(version: Version, *, prune: bool) -> list[str]:
    """The words that list what the service needs for a version; with `prune`, without what few versions need."""
    extras = [word for extra in EXTRAS[version.runtime] for word in ("--extra", extra)]
    return [*_EXPORT, "--package", "serve", *extras, *_pruned(NOT_AT_FIRST[version.runtime] if prune else ())]


def own(version: Version, names: Iterable[str], *, asks: Iterable[str]) -> list[str]:
    """The words that list these libraries and what they need, as the model's own project locks them.

    `asks` is what that project asks for; all else of it is left out.
    """
    kept = {normal(name) for name in names}
    return [*_EXPORT, "--package", version.model, *_pruned(sorted({normal(name) for name in asks} - kept))]


def _pruned(names: Iterable[str]) -> list[str]:
    return [word for name in names for word in ("--prune", name)]


def estimators(version: Version) -> dict[str, str]:
    """The libraries that the estimator comes from, with the releases that it was trained with; a graph has none."""
    if version.runtime == "onnx":
        return {}
    return {name: release for name, release in version.libraries.items() if name not in ABOUT_THE_SAME}


def pins(requirements: str) -> dict[str, set[str]]:
    """The releases that some requirements name, by normalised name: several where the Python decides."""
    found: dict[str, set[str]] = {}
    for name, release in _PIN.findall(requirements):
        found.setdefault(normal(name), set()).add(release)
    return found


def merged(*requirements: str) -> str:
    """Several lists from one lock as one, sorted; a requirement is a line and the hashes below it."""
    blocks = {block.split("\n", 1)[0]: block for text in requirements for block in _blocks(text)}
    return "".join(blocks[line] for line in sorted(blocks))


def exact(version: Version, requirements: str) -> str:
    """The same without other releases of what the version was trained with.

    A lock may have several, of which the Python of the image takes one. Where that is another one, nothing is installed
    in its place, and the build ends.
    """
    trained = {normal(name): release for name, release in estimators(version).items()}

    def is_other(block: str) -> bool:
        found = _PIN.match(block)
        return found is not None and trained.get(normal(found[1]), found[2]) != found[2]

    return "".join(block for block in _blocks(requirements) if not is_other(block))


def _blocks(requirements: str) -> list[str]:
    """Each requirement with the hashes below it."""
    blocks = re.split(r"(?m)^(?=[^\s#])", requirements)
    return [block.rstrip("\n") + "\n" for block in blocks if block.strip()]


def mismatch(version: Version, requirements: str) -> str:
    """Why these requirements are not those that the version was trained with, as a sentence; empty when they are."""
    locked = pins(requirements)
    for name, release in sorted(estimators(version).items()):
        there = locked.get(normal(name), set())
        if not there:
            return f"{version.model} was trained with {name}, and its pyproject.toml does not ask for that."
        if release not in there:
            return f"{version.model} was trained with {name} {release}, and uv.lock has {' and '.join(sorted(there))}."
    return ""


def context(model: Model, lists: Lists) -> dict[str, Path | bytes]:
    """Every file that the build gets, by its place there: bytes, or the file that they are in. All else stays away."""
    source = model.root / "packages" / "serve" / "src"
    code = sorted(path for path in (source / "serve").rglob("*") if path.suffix == ".py" or path.name == "py.typed")
    export = sorted(path for path in model.export.rglob("*") if path.is_file())
    for path in (*code, *export):
        if path.is_symlink():
            raise Refusal(f"{model.name}: {path} is a symbolic link.", do="An image holds plain files only.")
    card = model.folder / "CARD.md"
    return {
        "Dockerfile": model.root / "deploy" / "Dockerfile",
        "tools.txt": lists.tools.encode(),
        "requirements.txt": lists.requirements.encode(),
        "frames.txt": lists.frames.encode(),
        **{f"src/{path.relative_to(source).as_posix()}": path for path in code},
        **{f"model/{path.relative_to(model.export).as_posix()}": path for path in export},
        "card/CARD.md": card if card.is_file() else b"",
    }


def write(files: Mapping[str, Path | bytes], folder: Path) -> None:
    """Write a context into an empty folder; rights and times are the same wherever that is done."""
    for place, content in files.items():
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    for path in sorted(folder.rglob("*"), reverse=True):
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (EPOCH, EPOCH))


def labels(version: Version, origin: Origin) -> dict[str, str]:
    """What is written on the image: what it is, and what made it. No time but the commit's."""
    lineage = json.dumps(version.lineage, sort_keys=True, separators=(",", ":"))
    found = {
        "org.opencontainers.image.title": version.model,
        "org.opencontainers.image.version": version.name,
        "org.opencontainers.image.revision": origin.commit,
        "org.opencontainers.image.created": origin.created,
        "mlops.model": version.model,
        "mlops.version": version.name,
        "mlops.manifest": version.digest,
        "mlops.lineage": lineage if len(lineage) <= LARGEST_LABEL else "{}",
    }
    if origin.source:
        found["org.opencontainers.image.source"] = origin.source
    if origin.is_modified:
        found["mlops.modified"] = "true"
    return found


def source(url: str) -> str:
    """The page of a repository, from the address of its remote without credentials; empty where it has none."""
    url = url.strip().removesuffix("/").removesuffix(".git")
    if found := re.fullmatch(r"(https?://)(?:[^@/]*@)?([^@]+)", url):
        return found[1] + found[2]
    if (found := _SSH.fullmatch(url)) and "://" not in found[2]:
        return f"https://{found[1]}/{found[2]}"
    return ""


def project(root: Path) -> str:
    """The repository's name, as registries and engines allow one; the same in every clone, whatever its folder is."""
    try:
        named = str(json.loads((root / ".template.json").read_text(encoding="utf-8"))["answers"]["project"])
    except (OSError, ValueError, KeyError, TypeError):
        named = root.name
    return re.sub(r"[^a-z0-9]+", "-", named.lower()).strip("-") or "project"


def place(given: str) -> str:
    """Where images are pushed, such as ghcr.io/owner/repository; refuses what no registry takes."""
    found = given.strip().lower().removesuffix("/")
    if not _PLACE.fullmatch(found):
        raise Refusal(
            f"{given[:100]!r} is no place for images.",
            do="Give a registry and a name, such as ghcr.io/owner/repository.",
        )
    return found


Builder = Literal["buildx", "classic"]


def builder(version: str, *, has_buildx: bool) -> Builder:
    """How this docker builds with BuildKit, from what `docker --version` says; refuses one that cannot.

    The client had BuildKit in itself before it became the plugin buildx, which some packages leave out.
    """
    if has_buildx:
        return "buildx"
    major = re.search(r"version (\d+)", version)
    if major and int(major[1]) < 23:
        return "classic"
    raise Refusal(
        "This docker cannot build with BuildKit: its plugin buildx is not installed.",
        do="Install it (the package docker-buildx-plugin or docker-buildx), then run it again.",
    )


def secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The files that the build may read, by the name that the Dockerfile gives them."""
    named = {name: environment.get(variable, "") for name, variable in SECRETS.items()}
    return {name: path for name, path in named.items() if path and os.path.isfile(path)}


def build(
    how: Builder,
    folder: Path,
    *,
    version: Version,
    origin: Origin,
    tag: str,
    base: str,
    files: Mapping[str, str],
    has_card: bool,
) -> list[str]:
    """The words that build the image from a folder that `write` filled; `files` are the secrets."""
    arguments = {
        "VERSION": version.name,
        "CARD": "/card/CARD.md" if has_card else "",
        "SOURCE_DATE_EPOCH": str(origin.time),
        **({"BASE": base} if base else {}),
    }
    # Whoever signs says where an image comes from; what buildx would add by itself is another digest each time.
    start = ["buildx", "build", "--load", "--provenance=false", "--sbom=false"] if how == "buildx" else ["build"]
    return [
        *("docker", *start, "--progress=plain", "--tag", tag),
        *_pairs("--label", labels(version, origin)),
        *_pairs("--build-arg", arguments),
        *(word for name, path in sorted(files.items()) for word in ("--secret", f"id={name},src={path}")),
        str(folder),
    ]


def _pairs(option: str, values: Mapping[str, str]) -> list[str]:
    return [word for name, value in values.items() for word in (option, f"{name}={value}")]


def pushed(digests: Sequence[str], name: str) -> str:
    """Of what an image is called by digest, the one that says where `name` is now; refuses when none does."""
    for one in digests:
        if one.startswith(f"{name}@sha256:"):
            return one
    raise Refusal(f"{name} was pushed, and the engine does not say by which digest.", do="Run it again.")
