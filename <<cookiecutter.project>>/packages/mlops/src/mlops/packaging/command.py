"""The verb `package`: makes the image that serves a model's trained version, from what `dvc.lock` and `uv.lock` name.

The only module that builds an image; it calls `docker` and `uv`, and needs no installed package.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlops import actions, git, serving, storage
from mlops.cli import Outcome
from mlops.errors import Refusal
from mlops.files import write_json
from mlops.packaging import image
from mlops.packaging.image import Lists, Origin, Version
from mlops.planning import projects
from mlops.storing import verify
from mlops.workspace import Model

SHOWN = 15
"""Lines of a failed build that are shown."""
INSTALL = {
    "docker": "Install Docker; docs/how-to/build-an-image.md says which.",
    "uv": "`make setup` installs it into .tools, and `make image` finds it there.",
}


def package(model: Model, push: str | None = None) -> Outcome:
    """Build the image of the trained version, and push it where `push` says; `reports/<model>/image.json` names it."""
    where = image.place(push) if push else ""
    version = _version(model)
    origin = _origin(model)
    if where and origin.is_modified:
        raise Refusal(
            f"{model.name}: what would be packaged is not what {origin.commit[:10]} holds.",
            do="Commit it first: an image that others use names the commit that it was made from.",
        )
    _engine()
    lists = _lists(model, version)
    tag = f"{image.project(model.root)}/{model.name}:{version.name}"
    print(
        f"{model.name} {version.name}: building its image; the first time takes a while.", file=sys.stderr, flush=True
    )
    _build(model, lists, version=version, origin=origin, tag=tag)
    about = json.loads(_docker("image", "inspect", tag))[0]
    name = _push(tag, f"{where}/{model.name}", version.name) if where else about["Id"]
    found = {
        "model": model.name,
        "version": version.name,
        "image": name,
        "digest": name.rpartition("@")[2],
        "tag": tag,
        "commit": origin.commit,
        "manifest": version.digest,
        "created": origin.created,
    }
    write_json(model.reports / "image.json", found)
    if where:
        actions.output({"image": name, "name": name.partition("@")[0], "digest": found["digest"]})
    size = f"{about['Size'] / 1e6:,.0f} MB"
    changed = ", with changes that are not committed" if origin.is_modified else ""
    return Outcome(
        f"{model.name} {version.name}: {name if where else tag} ({size}), made from {origin.commit[:10]}{changed}.",
        found,
    )


def _version(model: Model) -> Version:
    """The version that lies in the model's folder; refuses one that is not the one that is locked."""
    serving.trained(model)
    version = image.described((model.export / "manifest.json").read_bytes(), model=model.name)
    lock = model.folder / "dvc.lock"
    try:
        outs = verify.locked(lock.read_bytes()) if lock.is_file() else ()
    except Refusal:
        do = f"Look for conflict markers in it, or run `make train MODEL={model.name}`."
        raise Refusal(f"{model.name}: its dvc.lock is not one that DVC writes.", do=do) from None
    locked = next((out.md5 for out in outs if out.path == "export"), None)
    if locked is None or storage.folder_digest(model.export) != locked:
        raise Refusal(
            f"{model.name}: models/{model.name}/export is not the version that dvc.lock names.",
            do=f"Take that folder away, and `make pull MODEL={model.name}` brings the locked one; or train it again.",
        )
    return version


def _origin(model: Model) -> Origin:
    """The commit that is packaged; refuses where there is none."""
    root = model.root
    commit = git.head(root) if git.is_repository(root) else None
    if commit is None:
        raise Refusal(f"{model.name}: there is no commit to package.", do="Make the first commit.")
    own = [f"models/{model.name}/{name}" for name in ("dvc.lock", "CARD.md", "pyproject.toml")]
    packed = ["deploy/Dockerfile", "packages/serve/src", "pyproject.toml", "uv.lock", *own]
    url = git.run(root, "remote", "get-url", "origin") if git.has(root, "remote", "get-url", "origin") else ""
    return Origin(
        commit=commit,
        time=int(git.run(root, "show", "--no-patch", "--format=%ct", commit)),
        source=image.source(url),
        is_modified=bool(git.run(root, "status", "--porcelain", "--", *packed).strip()),
    )


def _lists(model: Model, version: Version) -> Lists:
    """What the image installs, from the lock; refuses a lock with another release of what trained the version."""
    if not (model.root / "uv.lock").is_file():
        raise Refusal("There is no uv.lock, so nobody knows which libraries.", do="`make setup` writes it; commit it.")
    requirements = _export(model, image.service(version, prune=True))
    frames = _export(model, image.service(version, prune=False))
    missing = image.estimators(version).keys() - image.pins(requirements).keys()
    if missing:
        path = model.folder / "pyproject.toml"
        asks = projects.read(str(path), path.read_bytes()).asks if path.is_file() else projects.Asks()
        more = _export(model, image.own(version, missing, asks=asks.needs.get("", {})))
        requirements, frames = image.merged(requirements, more), image.merged(frames, more)
    if wrong := image.mismatch(version, requirements):
        raise Refusal(
            wrong,
            do=f"Lock that release, or train again: `dvc repro --force train` in models/{model.name}.",
        )
    return Lists(
        tools=_export(model, image.tools()),
        requirements=image.exact(version, requirements),
        frames=image.exact(version, frames),
    )


def _export(model: Model, words: Sequence[str]) -> str:
    done = _run(words, cwd=model.root)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[0]
        raise Refusal(f"{model.name}: uv cannot read uv.lock: {said[:300]}", do="`make setup` brings it up to date.")
    return done.stdout


def _engine() -> None:
    """Refuses when no engine answers."""
    done = _run(["docker", "version", "--format", "{{.Server.Version}}"])
    if done.returncode:
        said = (done.stderr.strip() or "no message").splitlines()[-1]
        raise Refusal(f"No Docker engine answers: {said[:300]}", do="Start Docker, or let DOCKER_HOST name an engine.")


def _build(model: Model, lists: Lists, *, version: Version, origin: Origin, tag: str) -> None:
    how = image.builder(_docker("--version"), has_buildx=_run(["docker", "buildx", "version"]).returncode == 0)
    files = image.context(model, lists)
    with tempfile.TemporaryDirectory(prefix="image-") as scratch:
        folder = Path(scratch) / "context"
        folder.mkdir()
        image.write(files, folder)
        words = image.build(
            how,
            folder,
            version=version,
            origin=origin,
            tag=tag,
            base=os.environ.get("BASE_IMAGE", ""),
            files=image.secrets(os.environ),
            has_card=bool(files["card/CARD.md"]),
        )
        done = _run(words, environment={"DOCKER_BUILDKIT": "1"})
    if done.returncode:
        print("\n".join((done.stdout + done.stderr).rstrip().splitlines()[-SHOWN:]), file=sys.stderr)
        raise Refusal(
            f"{model.name} {version.name}: its image could not be built; the last lines above say why.",
            do="docs/how-to/build-an-image.md names what is usually missing.",
        )


def _push(tag: str, name: str, version: str) -> str:
    """Push an image as `name`; what it is called there by its digest."""
    _docker("tag", tag, f"{name}:{version}")
    _docker("push", f"{name}:{version}")
    return image.pushed(json.loads(_docker("image", "inspect", tag))[0]["RepoDigests"], name)


def _docker(*words: str) -> str:
    done = _run(["docker", *words])
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise Refusal(f"docker {words[0]} failed: {said[:300]}", do="Mend that, then run it again.")
    return done.stdout


def _run(
    words: Sequence[str], *, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            words,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except FileNotFoundError:
        raise Refusal(f"{words[0]} is not installed.", do=INSTALL[words[0]]) from None
