"""A packed folder is whatever the code of a pull request made of it: each attack is refused, and writes nothing."""

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import stored
from stored import git

from mlops import github, origin
from mlops.errors import Refusal
from mlops.storing import verify
from mlops.storing.store import store

HEAD = "a" * 40
MANIFEST = b'{"format": 1}'
VERSION = hashlib.sha256(MANIFEST).hexdigest()[:12]


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def listing(files: dict[str, bytes]) -> bytes:
    """As DVC writes it."""
    return json.dumps([{"md5": md5(data), "relpath": path} for path, data in sorted(files.items())]).encode()


def lock(outs: dict[str, str]) -> str:
    """A lock with one stage, as DVC writes it."""
    lines = ["schema: '2.0'", "stages:", "  train:", "    cmd: mlops train", "    deps:"]
    lines += ["    - path: ../../packages/x", "      hash: md5", f"      md5: {'1' * 31}a", "      size: 1"]
    lines += [
        "    params:",
        "      model.toml:",
        "        train:",
        "          text: 'over",
        "            two lines'",
        "    outs:",
    ]
    for path, digest in outs.items():
        lines += [f"    - path: {path}", "      hash: md5", f"      md5: {digest}", "      size: 3"]
    return "\n".join(lines) + "\n"


class Draft:
    """A good folder to be spoilt: what the lock names, what is in git and what is an object."""

    def __init__(self, folder: Path, *, model: str = "cheap", head: str = HEAD) -> None:
        self.folder = folder
        self.about: dict[str, Any] = {"format": 1, "model": model, "commit": head, "version": VERSION}
        self.export = {"manifest.json": MANIFEST, "model.skops": b"skops"}
        self.git = {"metrics.json": b'{"rows": 3}'}
        self.data = {"data/raw.parquet": b"raw"}
        self.outs: dict[str, str] = {}
        self.lock: str | bytes | None = None
        self.listing: bytes | None = None

    def write(self) -> Path:
        shown = listing(self.export) if self.listing is None else self.listing
        outs = {"export": f"{md5(shown)}.dir"}
        outs |= {path: md5(data) for path, data in {**self.git, **self.data}.items()} | self.outs
        text = lock(outs) if self.lock is None else self.lock
        self.put("outputs.json", json.dumps(self.about).encode())
        self.put("files/dvc.lock", text if isinstance(text, bytes) else text.encode())
        for path, data in self.git.items():
            self.put(f"files/{path}", data)
        self.put_object(outs["export"], shown)
        for data in {*self.export.values(), *self.data.values()}:
            self.put_object(md5(data), data)
        return self.folder

    def put(self, path: str, data: bytes) -> Path:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        return target

    def put_object(self, oid: str, data: bytes) -> Path:
        return self.put(f"objects/{oid[:2]}/{oid[2:]}", data)

    def object(self, data: bytes) -> Path:
        return self.folder / "objects" / md5(data)[:2] / md5(data)[2:]


def replaced(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def device(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root makes devices")
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))


def bound(path: Path) -> None:
    # The address of a socket is short.
    here = os.open(path.parent, os.O_RDONLY)
    try:
        socket.socket(socket.AF_UNIX).bind(f"/proc/self/fd/{here}/{path.name}")
    finally:
        os.close(here)


def sparse(path: Path, size: int) -> None:
    with path.open("wb") as stream:
        stream.truncate(size)


def test_a_good_folder_is_understood(tmp_path: Path) -> None:
    """What every attack below is a change of."""
    found = verify.packed(Draft(tmp_path / "x").write())
    assert (found.model, found.commit, found.version) == ("cheap", HEAD, VERSION)
    assert set(found.files) == {"dvc.lock", "metrics.json"}
    assert len(found.objects) == 4
    assert found.absent == set()


Spoil = Callable[[Draft], object]

AFTER: dict[str, tuple[Spoil, str]] = {
    # What is no ordinary file.
    "a link to a file": (
        lambda d: replaced(d.folder / "files/metrics.json", lambda p: p.symlink_to("/etc/passwd")), "no ordinary file"
    ),
    "a link to nothing": (
        lambda d: replaced(d.folder / "files/metrics.json", lambda p: p.symlink_to("nowhere")), "no ordinary file"
    ),
    "a link in the place of an object": (
        lambda d: replaced(d.object(b"raw"), lambda p: p.symlink_to(d.object(b"skops"))), "no ordinary file"
    ),
    "a link to a folder": (lambda d: (d.folder / "files/plots").symlink_to("/etc"), "no ordinary file"),
    "a link in the place of the objects": (
        lambda d: (shutil.rmtree(d.folder / "objects"), (d.folder / "objects").symlink_to("/etc")),
        "no ordinary file",
    ),
    "a link in the place of the description": (
        lambda d: replaced(d.folder / "outputs.json", lambda p: p.symlink_to("files/metrics.json")), "no ordinary file"
    ),
    "a hard link": (
        lambda d: replaced(d.object(b"raw"), lambda p: os.link(d.object(b"skops"), p)), "no ordinary file"
    ),
    "a pipe": (lambda d: replaced(d.folder / "files/metrics.json", os.mkfifo), "no ordinary file"),
    "a device": (lambda d: replaced(d.object(b"raw"), device), "no ordinary file"),
    "a socket": (lambda d: replaced(d.object(b"raw"), bound), "no ordinary file"),
    # Too much.
    "a bomb of files": (
        lambda d: [d.put(f"files/{n}.txt", b"") for n in range(verify.MOST_ENTRIES + 1)], "more than 20,000 files"
    ),
    "a bomb of bytes": (lambda d: sparse(d.folder / "files/big.csv", verify.MOST_BYTES + 1), "more than 8 GB"),
    "a file too large for git": (lambda d: sparse(d.folder / "files/big.csv", 5_000_001), "more than 5,000,000 bytes"),
    "folders in folders": (lambda d: d.put("files/" + "a/" * 40 + "x.csv", b""), "more than 12 deep"),
    "a lock too large": (
        lambda d: d.put("files/dvc.lock", b"schema: '2.0'\n" + b"# x\n" * 200_000), "more than 500,000 bytes"
    ),
    # What does not belong there.
    "a file beside": (lambda d: d.put("run.sh", b"#!/bin/sh"), "does not belong there"),
    "a folder beside": (lambda d: d.put("src/cheap/model.py", b""), "does not belong there"),
    "a repository": (lambda d: d.put(".git/config", b"[core]\n"), "does not belong there"),
    "a file that the lock does not name": (lambda d: d.put("files/src/cheap/model.py", b"import os"), "no output"),
    "a workflow": (lambda d: d.put("files/.github/workflows/ci.yml", b"on: push"), "no output"),
    "model.toml": (lambda d: d.put("files/model.toml", b""), "no output"),
    "a card of another case": (lambda d: d.put("files/card.md", b""), "no output"),
    "an object that the lock does not name": (lambda d: d.put_object(md5(b"evil"), b"evil"), "does not name it"),
    "an object that is no digest": (lambda d: d.put("objects/zz/x", b""), "not the name of an object"),
    "an object deeper": (lambda d: d.put("objects/aa/bb/" + "c" * 28, b""), "not the name of an object"),
    "an object in large letters": (
        lambda d: d.put(f"objects/AA/{'b' * 30}", b""), "not the name of an object"
    ),
    # What is something else than its name says.
    "other bytes in an object": (lambda d: d.object(b"raw").write_bytes(b"evil"), "not the bytes of its name"),
    "an empty object": (lambda d: d.object(b"raw").write_bytes(b""), "not the bytes of its name"),
    "other bytes in the manifest": (lambda d: d.object(MANIFEST).write_bytes(b"{}"), "not the bytes of its name"),
    "other bytes in a file": (lambda d: d.put("files/metrics.json", b'{"rows": 4}'), "not the file that its lock"),
    "no listing": (
        lambda d: next((d.folder / "objects").rglob("*.dir")).unlink(), "the listing of export is not packed"
    ),
    "no manifest": (lambda d: d.object(MANIFEST).unlink(), r"export/manifest\.json is not packed"),
    "no model": (lambda d: d.object(b"skops").unlink(), r"export/model\.skops is not packed"),
    "no lock": (lambda d: (d.folder / "files/dvc.lock").unlink(), r"holds no dvc\.lock"),
    "no description": (lambda d: (d.folder / "outputs.json").unlink(), r"holds no outputs\.json"),
    # Texts that hurt who reads them.
    "a description of nested lists": (lambda d: d.put("outputs.json", b"[" * 9_000), r"outputs\.json is no JSON"),
    "a description of a huge number": (
        lambda d: d.put("outputs.json", b'{"format": ' + b"9" * 9_000 + b"}"), r"outputs\.json is no JSON"
    ),
    "a description too large": (lambda d: d.put("outputs.json", b" " * 10_001), "more than 10,000 bytes"),
    "a description that is no text": (lambda d: d.put("outputs.json", b"\xff\xfe"), r"outputs\.json is no JSON"),
    "a lock of aliases": (
        lambda d: d.put("files/dvc.lock", b"a: &a [x, x]\nb: &b [*a, *a]\nschema: '2.0'\nstages: *b\n"), "DVC writes"
    ),
    "a lock with a tag": (
        lambda d: d.put("files/dvc.lock", b"schema: 1\nstages: !!python/object/apply:os.system [id]\n"), "DVC writes"
    ),
    "a lock of nested lists": (
        lambda d: d.put("files/dvc.lock", b"schema: '2.0'\nstages: " + b"[" * 100_000), "DVC writes"
    ),
    "a lock of nested tables": (
        lambda d: d.put("files/dvc.lock", b"".join(b" " * n + b"a:\n" for n in range(600))), "DVC writes"
    ),
    "a lock that is no text": (lambda d: d.put("files/dvc.lock", b"\xff\xfe\x00"), "DVC writes"),
    "an empty lock": (lambda d: d.put("files/dvc.lock", b""), "DVC writes"),
    "a lock of another format": (
        lambda d: d.put("files/dvc.lock", b"schema: '1.0'\nstages: {}\n"), "DVC writes"
    ),
}  # fmt: skip


@pytest.mark.parametrize("attack", AFTER)
def test_a_spoilt_folder_is_refused(tmp_path: Path, attack: str) -> None:
    spoil, reason = AFTER[attack]
    draft = Draft(tmp_path / "x")
    draft.write()
    spoil(draft)
    with pytest.raises(Refusal, match=reason) as refused:
        verify.packed(draft.folder)
    assert len(str(refused.value).splitlines()) == 2
    assert len(refused.value.what) < 400


PATHS = {
    "up": "../other/metrics.json",
    "up from inside": "a/../../other/x.json",
    "to the root": "../../.github/workflows/ci.json",
    "absolute": "/etc/x.json",
    "a drive": "C:/x.json",
    "backslashes": "..\\other\\x.json",
    "a dot": "./x.json",
    "two slashes": "a//x.json",
    "at its end": "x.json/",
    "of git": ".git/x.json",
    "of git in large letters": ".GIT/x.json",
    "of git on Windows": "git~1/x.json",
    "of git with a hidden sign": ".g\u200cit/x.json",
    "hidden": ".x.json",
    "an option": "-x.json",
    "a stream on Windows": "x.json:$DATA.json",
    "a device": "nul.json",
    "another device": "a/COM1.json",
    "a blank at its end": "a /x.json",
    "a dot at its end": "a./x.json",
    "written from right to left": "x\u202egpj.json",
    "wide letters": "\uff4d\uff45trics.json",
    "a letter and an accent": "me\u0301trics.json",
    "a ligature": "\ufb01le.json",
    "a tab": "a\tb.json",
    "a line end": "a\nb.json",
    "a long name": "a" * 300 + ".json",
    "a home folder": "~/x.json",
    "code": "evil.py",
    "a pipeline": "dvc.yaml",
    "settings": "pyproject.toml",
    "a script": "run.sh",
    "hooks": "conftest.py",
    "no kind": "Makefile",
}


@pytest.mark.parametrize("name", PATHS)
def test_a_lock_that_names_a_file_outside_or_of_an_odd_kind_is_refused(tmp_path: Path, name: str) -> None:
    """Whatever file the lock names as an output would be committed, so what it may name is narrow."""
    draft = Draft(tmp_path / "x")
    path = PATHS[name]
    draft.outs[json.dumps(path)] = md5(b"evil")
    draft.write()
    if not path.startswith(("/", "..")) and ".." not in path.split("/") and "\n" not in path and len(path) < 200:
        draft.put(f"files/{path}", b"evil")
    with pytest.raises(Refusal, match=r"dvc\.lock|kind that git keeps|no output"):
        verify.packed(draft.folder)


@pytest.mark.parametrize("name", PATHS)
def test_a_listing_that_leaves_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    """The folder is written file by file where the version is fetched; a kind of file may be any there."""
    path = PATHS[name]
    draft = Draft(tmp_path / "x")
    draft.export[path] = b"evil"
    draft.write()
    if name in ("code", "a pipeline", "settings", "a script", "hooks", "no kind"):
        assert md5(b"evil") in verify.packed(draft.folder).objects
    else:
        with pytest.raises(Refusal, match="a listing names"):
            verify.packed(draft.folder)


LISTINGS = {
    "no list": b"{}",
    "no JSON": b"[",
    "nested": b"[" * 100_000,
    "a huge number": b"[" + b"9" * 100_000 + b"]",
    "numbers": b"[1, 2]",
    "no path": json.dumps([{"md5": "a" * 32}]).encode(),
    "more keys": json.dumps([{"md5": "a" * 32, "relpath": "x", "remote": "evil"}]).encode(),
    "a path that is a number": json.dumps([{"md5": "a" * 32, "relpath": 1}]).encode(),
    "a digest that is none": json.dumps([{"md5": "../../x", "relpath": "x"}]).encode(),
    "a folder in it": json.dumps([{"md5": "a" * 32 + ".dir", "relpath": "x"}]).encode(),
    "one file twice": json.dumps([{"md5": "a" * 32, "relpath": "x"}, {"md5": "b" * 32, "relpath": "x"}]).encode(),
    "two that are one": json.dumps([{"md5": "a" * 32, "relpath": "X"}, {"md5": "b" * 32, "relpath": "x"}]).encode(),
    "one in the other": json.dumps([{"md5": "a" * 32, "relpath": "x"}, {"md5": "b" * 32, "relpath": "x/y"}]).encode(),
    "no text": b"\xff",
}


@pytest.mark.parametrize("name", LISTINGS)
def test_a_listing_that_is_none_of_dvcs_is_refused(tmp_path: Path, name: str) -> None:
    draft = Draft(tmp_path / "x")
    draft.listing = LISTINGS[name]
    with pytest.raises(Refusal, match=r"listing|same file on some machines|x/y lies in x"):
        verify.packed(draft.write())


def with_about(**values: Any) -> Spoil:
    def spoil(draft: Draft) -> None:
        draft.about |= values

    return spoil


def with_outs(**values: str) -> Spoil:
    def spoil(draft: Draft) -> None:
        draft.outs |= values

    return spoil


ENTRY = "      hash: md5\n"
BEFORE: dict[str, tuple[Spoil, str]] = {
    "a model that leaves models": (with_about(model="../../.github"), "not one that `mlops pack` writes"),
    "a model that is a path": (with_about(model="cheap/src"), "not one that `mlops pack` writes"),
    "a model that is an option": (with_about(model="--force"), "not one that `mlops pack` writes"),
    "a model with a line end": (with_about(model="cheap\n"), "not one that `mlops pack` writes"),
    "a model in large letters": (with_about(model="Cheap"), "not one that `mlops pack` writes"),
    "a model of other letters": (with_about(model="сheap"), "not one that `mlops pack` writes"),
    "a model that is no text": (with_about(model=["cheap"]), "not one that `mlops pack` writes"),
    "a model of a thousand letters": (with_about(model="a" * 1000), "not one that `mlops pack` writes"),
    "another format": (with_about(format=2), "not one that `mlops pack` writes"),
    "a format that is true": (with_about(format=True), "not one that `mlops pack` writes"),
    "a commit that is a branch": (with_about(commit="main"), "not one that `mlops pack` writes"),
    "a version that is a command": (with_about(version="$(id)"), "not one that `mlops pack` writes"),
    "a version of other digits": (with_about(version="٠" * 12), "not one that `mlops pack` writes"),
    "more than is asked": (with_about(branch="main"), "not one that `mlops pack` writes"),
    "another version": (with_about(version="0" * 12), "is not the version 000000000000"),
    "an export that is a file": (with_outs(export=md5(b"raw")), "names no folder export|its lock does not name"),
    "a digest that is no digest": (with_outs(**{"x.json": "evil"}), "has no md5"),
    "a digest that is a path": (with_outs(**{"x.json": "../../../x"}), "has no md5"),
    "a file of other letters": (with_outs(**{"METRICS.json": md5(b"x")}), "same file on some machines"),
    "the lock in other letters": (with_outs(**{"DVC.lock": md5(b"x")}), "same file on some machines"),
    "the lock itself": (with_outs(**{"dvc.lock": md5(b"x")}), "same file on some machines"),
    "the card as an output": (with_outs(**{"CARD.md": md5(b"x")}), "same file on some machines"),
    "a file in a file": (with_outs(**{"metrics.json/x.json": md5(b"x")}), "lies in metrics"),
    "a file in the export": (with_outs(**{"export/x.json": md5(b"x")}), "lies in export"),
    "an anchor in the place of a path": (with_outs(**{"&a x.json": md5(b"x")}), "DVC writes"),
    "a number in the place of a path": (with_outs(**{"1": md5(b"x")}), "is no text"),
}


@pytest.mark.parametrize("attack", BEFORE)
def test_a_description_or_a_lock_that_lies_is_refused(tmp_path: Path, attack: str) -> None:
    spoil, reason = BEFORE[attack]
    draft = Draft(tmp_path / "x")
    spoil(draft)
    with pytest.raises(Refusal, match=reason):
        verify.packed(draft.write())


@pytest.mark.parametrize(
    "entry",
    [
        "    - path: x.json\n      hash: sha256\n      md5: " + "a" * 32,
        "    - path: x.json\n      etag: x",
        "    - path: x.json\n      md5: " + "a" * 32 + "\n      cloud: {}",
        "    - path: x.json\n      md5: " + "a" * 32 + "\n      files: []",
        "    - x.json",
        "    - [x.json]",
        "    - path: x.json\n      path: y.json\n      md5: " + "a" * 32,
    ],
)
def test_an_output_that_is_kept_otherwise_is_refused(tmp_path: Path, entry: str) -> None:
    """Versions of a cloud, remotes of its own, digests of another kind: nothing here verifies these."""
    draft = Draft(tmp_path / "x")
    draft.lock = f"{lock({'export': '0' * 32 + '.dir'})}{entry}\n"
    with pytest.raises(Refusal, match=r"dvc\.lock"):
        verify.packed(draft.write())


def test_a_digest_that_looks_like_a_number_is_read_as_dvc_reads_it(tmp_path: Path) -> None:
    """Unquoted, such a text is a number to YAML; DVC puts it in quotes."""
    text = "schema: '2.0'\nstages:\n  a:\n    outs:\n    - path: x\n      md5: '12345678901234567890123456789e12'\n"
    assert verify.locked(text.encode())[0].md5 == "12345678901234567890123456789e12"
    text = text.replace("'1234", "1234").replace("e12'", "a12")
    assert verify.locked(text.encode())[0].md5 == "12345678901234567890123456789a12"


def test_a_folder_that_cannot_be_looked_at_for_its_names_is_said_in_safe_letters(tmp_path: Path) -> None:
    """A name may hold a command for a terminal or for GitHub's log."""
    draft = Draft(tmp_path / "x")
    draft.write()
    draft.put("\x1b[2J\n::error::pwned", b"")
    with pytest.raises(Refusal) as refused:
        verify.packed(draft.folder)
    assert refused.value.what.isprintable()


# What only the measured commit can tell.


@pytest.fixture
def server(tmp_path: Path) -> Path:
    return stored.bare(tmp_path / "origin.git")


@pytest.fixture
def base(project: Path, server: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with the models `cheap` and `good`, and nobody at GitHub's end."""
    monkeypatch.setattr(github, "dispatch", lambda workflow, *, branch: None)
    stored.add(project)
    stored.add(project, "good")
    stored.connected(project, server)
    return project


def pushed(base: Path, branch: str = "better") -> str:
    """The work tree of `base` as the head of a pull request's branch; its commit."""
    git(base, "checkout", "-q", "-b", branch)
    commit = stored.commit(base) if git(base, "status", "--porcelain") else git(base, "rev-parse", "HEAD")
    git(base, "push", "-q", "origin", branch)
    git(base, "checkout", "-q", "main")
    return commit


def test_the_good_are_stored_beside_all_the_bad(base: Path, server: Path, tmp_path: Path) -> None:
    """One spoilt model stops no other, and the exit code says that there was one."""
    head, artifacts = pushed(base), tmp_path / "artifacts"
    Draft(artifacts / "outputs-good", model="good", head=head).write()
    skipped = {"a bomb of files", "a bomb of bytes", "a device"}
    for number, attack in enumerate(sorted(AFTER.keys() - skipped)):
        draft = Draft(artifacts / f"outputs-{number}", head=head)
        draft.write()
        AFTER[attack][0](draft)
    for number, attack in enumerate(BEFORE):
        draft = Draft(artifacts / f"outputs-b{number}", head=head)
        BEFORE[attack][0](draft)
        draft.write()
    (artifacts / "outputs-linked").symlink_to("/")
    (artifacts / "outputs-file").write_text("")
    outcome = store(base, str(artifacts), "better", head)
    assert outcome.code == 2
    assert [one["model"] for one in outcome.value["stored"]] == ["good"]
    assert len(outcome.value["refused"]) == len(AFTER) - len(skipped) + len(BEFORE) + 2
    changed = git(server, "diff", "--name-only", head, "better").splitlines()
    assert changed == ["models/good/dvc.lock", "models/good/metrics.json"]
    paths = git(server, "ls-tree", "-r", "--name-only", "dvc-storage").splitlines()
    assert len([path for path in paths if path.startswith("files/md5/")]) == 4
    assert all(line.isprintable() for line in outcome.text.splitlines())


def refused(base: Path, server: Path, draft: Draft, head: str) -> str:
    """Why a folder is refused, when nothing at all was written."""
    before = git(server, "for-each-ref")
    outcome = store(base, str(draft.write()), "better", head)
    assert outcome.code == 2
    assert outcome.value["stored"] == []
    assert git(server, "for-each-ref") == before
    return outcome.text


def test_a_model_that_the_commit_does_not_have_is_refused(base: Path, server: Path, tmp_path: Path) -> None:
    head = pushed(base)
    text = refused(base, server, Draft(tmp_path / "x", model="unknown", head=head), head)
    assert f"unknown: what was packed is not stored: {head[:12]} has no model unknown." in text


def test_a_folder_about_another_commit_is_refused(base: Path, server: Path, tmp_path: Path) -> None:
    """One that was packed for an older head, and kept."""
    old = git(base, "rev-parse", "HEAD")
    (base / "new.txt").write_text("new")
    head = pushed(base)
    assert "it is about the commit" in refused(base, server, Draft(tmp_path / "x", head=old), head)


def test_a_model_packed_twice_is_stored_once(base: Path, server: Path, tmp_path: Path) -> None:
    head = pushed(base)
    for name in ("outputs-a", "outputs-b"):
        Draft(tmp_path / "artifacts" / name, head=head).write()
    outcome = store(base, str(tmp_path / "artifacts"), "better", head)
    assert (outcome.code, len(outcome.value["stored"]), "is packed twice" in outcome.text) == (2, 1, True)


def test_a_file_that_a_person_wrote_is_not_replaced(base: Path, server: Path, tmp_path: Path) -> None:
    """The measured lock says which files are outputs; a fixture of the tests is none."""
    (base / "models/cheap/fixture.json").write_text("{}")
    (base / "models/cheap/dvc.lock").write_text(lock({"metrics.json": md5(b"old")}))
    (base / "models/cheap/metrics.json").write_text("old")
    head = pushed(base)
    draft = Draft(tmp_path / "x", head=head)
    assert store(base, str(draft.write()), "better", head).code == 0
    again = git(server, "rev-parse", "better")
    draft = Draft(tmp_path / "y", head=again)
    draft.git["fixture.json"] = b'{"evil": 1}'
    assert "fixture.json is in the measured commit, and no output" in refused(base, server, draft, again)


@pytest.mark.parametrize("there", ["link", "program", "folder", "link to a folder", "other letters", "other folder"])
def test_what_stands_in_the_place_of_an_output_is_not_replaced(
    base: Path, server: Path, tmp_path: Path, there: str
) -> None:
    """What is committed is what was measured, and not what another machine makes of it."""
    home = base / "models" / "cheap"
    draft = Draft(tmp_path / "x")
    draft.git["plots/roc.csv"] = b"1,2"
    if there == "link":
        (home / "metrics.json").symlink_to("../../pyproject.toml")
    elif there == "program":
        (home / "metrics.json").write_text("{}")
        (home / "metrics.json").chmod(0o755)
    elif there == "folder":
        (home / "metrics.json").mkdir()
        (home / "metrics.json" / "x").write_text("")
    elif there == "link to a folder":
        (home / "plots").symlink_to("../good")
    elif there == "other letters":
        (home / "Metrics.json").write_text("{}")
    else:
        (home / "Plots").mkdir()
        (home / "Plots" / "a.csv").write_text("")
    head = pushed(base)
    draft.about["commit"] = head
    text = refused(base, server, draft, head)
    assert any(words in text for words in ("no ordinary file", "would lie in a file", "is spelled otherwise"))


def test_a_message_that_imitates_the_bot_only_hurts_its_author(base: Path, server: Path, tmp_path: Path) -> None:
    """Trailers are read to end a loop; forged ones stop the forger's own storing."""
    git(base, "checkout", "-q", "-b", "better")
    message = f"x\n\nStored-Version: cheap {VERSION}\nMeasured-Commit: {HEAD}\n"
    git(base, "commit", "-q", "--allow-empty", "-m", message)
    git(base, "push", "-q", "origin", "better")
    head = git(base, "rev-parse", "HEAD")
    assert "would never end" in refused(base, server, Draft(tmp_path / "x", head=head), head)


def test_an_unreachable_origin_is_no_success(base: Path, server: Path, tmp_path: Path) -> None:
    head = pushed(base)
    draft = Draft(tmp_path / "x", head=head).write()
    shutil.rmtree(server)
    with pytest.raises(origin.Unreachable):
        store(base, str(draft), "better", head)
