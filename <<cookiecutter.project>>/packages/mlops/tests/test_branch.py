"""The branch `dvc-storage`: what was pushed comes back whole and verified, whoever else pushes, whatever is killed."""

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import stored
from stored import git

from mlops import branch, origin, pipeline, storage
from mlops.errors import Refusal
from mlops.judging import command as judging
from mlops.origin import Unreachable
from mlops.workspace import Model


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """A bare repository."""
    return stored.bare(tmp_path / "origin.git")


@pytest.fixture
def cheap(project: Path, server: Path) -> Model:
    """A trained and pushed model, its storage on the branch."""
    model = stored.add(project)
    stored.connected(project, server)
    storage.repro(model)
    storage.push(model)
    stored.commit(project, "train")
    git(project, "push", "-q", "origin", "main")
    stored.ran(project)
    return model


@pytest.fixture
def elsewhere(cheap: Model, server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """The same model in a fresh clone."""
    return Model(stored.clone(server, tmp_path / "clone", monkeypatch), "cheap")


def made(folder: Path, count: int, *, seed: int = 0, size: int = 100) -> dict[str, Path]:
    """Objects: files by their md5."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for number in range(count):
        data = random.Random(f"{seed} {number}").randbytes(size)
        oid = hashlib.md5(data).hexdigest()
        (folder / oid).write_bytes(data)
        found[oid] = folder / oid
    return found


def held(server: Path) -> set[str]:
    """The objects on the branch, as the server has them."""
    paths = git(server, "ls-tree", "-r", "--name-only", "dvc-storage").splitlines()
    return {path.removeprefix("files/md5/").replace("/", "") for path in paths if path != "README.md"}


def test_a_fresh_clone_whose_lock_is_right_trains_nothing_and_has_what_the_gate_reads(
    elsewhere: Model, capfd: pytest.CaptureFixture[str]
) -> None:
    """The export and both parts of the data come from the branch; the raw rows, which nothing reads, do not."""
    assert storage.repro(elsewhere, pull=True) == ()
    assert stored.ran(elsewhere.root) == []
    assert capfd.readouterr().err == ""
    assert (elsewhere.export / "model.skops").read_text() == "model of a b"
    assert (elsewhere.train.read_text(), elsewhere.holdout.read_text()) == ("a b", "c")
    assert not elsewhere.raw.exists()
    assert git(elsewhere.root, "status", "--porcelain") == ""


def test_a_clone_as_ci_makes_it_works_too(
    cheap: Model, server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the files of other commits, and with one model's folder only."""
    root = tmp_path / "sparse"
    git(tmp_path, "clone", "-q", "--filter=blob:none", "--sparse", f"file://{server}", str(root))
    git(root, "sparse-checkout", "set", ".dvc", "models/cheap")
    monkeypatch.chdir(root)
    settings = (root / ".git" / "config").read_text()
    model = Model(root, "cheap")
    assert not (root / "models" / "tumour").exists()
    assert storage.repro(model, pull=True) == ()
    (model.folder / "train.py").write_text(stored.TRAIN.replace("one", "two"))
    assert storage.repro(model, pull=True) == ("train",)
    assert storage.push(model) == 2
    assert (root / ".git" / "config").read_text() == settings


def test_only_what_a_changed_stage_reads_is_fetched(elsewhere: Model) -> None:
    """A change in the training code needs the training rows; the stages before it do not run."""
    (elsewhere.folder / "train.py").write_text(stored.TRAIN.replace("model of", "better model of"))
    assert storage.repro(elsewhere, pull=True) == ("train",)
    assert stored.ran(elsewhere.root) == ["train"]
    assert (elsewhere.export / "model.skops").read_text() == "better model of a b"
    assert not elsewhere.raw.exists()


def test_a_change_at_the_start_runs_all_that_follows(elsewhere: Model) -> None:
    (elsewhere.folder / "ingest.py").write_text(stored.INGEST.replace("a\\n", "z\\n"))
    assert storage.repro(elsewhere, pull=True) == ("ingest", "split", "train")
    assert elsewhere.train.read_text() == "z b"


def test_without_pull_a_clone_makes_everything_itself(elsewhere: Model) -> None:
    assert storage.repro(elsewhere) == ("ingest", "split", "train")


def test_the_clone_itself_is_not_touched(elsewhere: Model) -> None:
    """No shallow border, no filter, no object and no reference of the storage gets into a person's clone."""
    before = git(elsewhere.root, "count-objects", "-v"), git(elsewhere.root, "show-ref")
    settings = (elsewhere.root / ".git" / "config").read_text()
    storage.repro(elsewhere, pull=True)
    storage.pull(elsewhere)
    assert (git(elsewhere.root, "count-objects", "-v"), git(elsewhere.root, "show-ref")) == before
    assert (elsewhere.root / ".git" / "config").read_text() == settings
    assert not (elsewhere.root / ".git" / "shallow").exists()
    assert list((elsewhere.root / ".dvc" / "tmp").glob("origin.*")) == []


def test_the_gate_judges_in_a_fresh_clone_after_a_run_that_ran_nothing(
    tumour: Model, server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Main never trains again, and neither does a pull request whose lock is right: both are only measured."""
    stored.connected(tumour.root, server)
    storage.repro(tumour)
    storage.push(tumour)
    stored.commit(tumour.root, "train")
    git(tumour.root, "push", "-q", "origin", "main")
    model = Model(stored.clone(server, tmp_path / "clone", monkeypatch), "tumour")
    outcome = pipeline.repro(model, pull=True)
    assert outcome.value["ran"] == []
    verdict = judging.gate(model)
    assert (verdict.code, verdict.value["verdict"]) == (0, "passed")
    assert git(model.root, "status", "--porcelain", "--untracked-files=no") == ""


def test_an_export_is_fetched_by_its_digest(elsewhere: Model, tmp_path: Path) -> None:
    """As the gate fetches a champion that is on no disk here."""
    digest = storage.locked_export((elsewhere.folder / "dvc.lock").read_text())
    assert digest is not None
    storage.fetch(elsewhere.root, digest, tmp_path / "champion")
    assert storage.folder_digest(tmp_path / "champion") == digest


def test_pull_brings_everything_and_keeps_what_differs(elsewhere: Model, capfd: pytest.CaptureFixture[str]) -> None:
    elsewhere.train.parent.mkdir()
    elsewhere.train.write_text("my own")
    assert sorted(storage.pull(elsewhere)) == ["data/holdout.parquet", "data/raw.parquet", "export"]
    assert elsewhere.raw.read_text() == "a\nb\nc\n"
    assert elsewhere.train.read_text() == "my own"
    assert "data/train.parquet differs from dvc.lock and is kept" in capfd.readouterr().err
    assert storage.pull(elsewhere) == ()


def test_push_adds_what_is_new_once(cheap: Model, server: Path) -> None:
    """Raw, two parts, the folder's listing and its two files; a second push adds nothing and makes no commit."""
    assert len(held(server)) == 6
    before = git(server, "rev-parse", "dvc-storage")
    assert storage.push(cheap) == 0
    assert git(server, "rev-parse", "dvc-storage") == before
    (cheap.folder / "train.py").write_text(stored.TRAIN.replace("one", "two"))
    storage.repro(cheap)
    assert storage.push(cheap) == 2
    assert git(server, "rev-parse", "dvc-storage~1") == before
    assert "README.md" in git(server, "ls-tree", "--name-only", "dvc-storage")


def test_the_branch_shares_no_history_with_the_code(cheap: Model, server: Path) -> None:
    done = subprocess.run(["git", "merge-base", "main", "dvc-storage"], cwd=server, capture_output=True, check=False)
    assert done.returncode == 1


def test_push_refuses_what_it_cannot_find(elsewhere: Model, server: Path) -> None:
    """In a clone without the data, what the branch has is pushed already; what nobody has is named."""
    assert storage.push(elsewhere) == 0
    git(server, "update-ref", "-d", "refs/heads/dvc-storage")
    with pytest.raises(Refusal, match=r"neither in the local cache nor in the DVC remote 'dvc-storage' \(the branch"):
        storage.push(elsewhere)


@pytest.mark.parametrize("how", ["gone", "unreachable", "without the branch"])
def test_a_laptop_is_not_blocked_by_its_storage(
    elsewhere: Model, server: Path, how: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line says what happened; then everything is made here."""
    if how == "gone":
        shutil.rmtree(server)
    elif how == "unreachable":
        git(elsewhere.root, "remote", "set-url", "origin", "https://127.0.0.1:1/nowhere.git")
    else:
        git(server, "update-ref", "-d", "refs/heads/dvc-storage")
    assert storage.repro(elsewhere, pull=True) == ("ingest", "split", "train")
    said = [line for line in capfd.readouterr().err.splitlines() if " of 3)" not in line]
    assert len(said) == 1
    assert re.fullmatch(r"cheap: .*\. What is missing is made again\.", said[0])


def test_nothing_is_asked_when_nothing_is_missing(cheap: Model, server: Path) -> None:
    """Who has everything works without a network."""
    shutil.rmtree(server)
    assert storage.repro(cheap, pull=True) == ()
    (cheap.folder / "train.py").write_text(stored.TRAIN.replace("one", "two"))
    assert storage.repro(cheap, pull=True) == ("train",)


def test_a_clone_without_an_origin_keeps_its_storage_in_a_folder(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As before: DVC's own remote, and no word about a branch."""
    model = stored.add(project)
    (project / ".dvc" / "config").write_text(stored.CONFIG)
    storage.repro(model, pull=True)
    capfd.readouterr()
    assert storage.push(model) == 6
    shutil.rmtree(project / ".dvc" / "cache")
    shutil.rmtree(model.export)
    assert storage.repro(model, pull=True) == ()
    assert (model.export / "model.skops").is_file()
    assert "branch" not in capfd.readouterr().err


def test_the_folder_of_a_clone_that_got_an_origin_later_is_still_read(project: Path, server: Path) -> None:
    model = stored.add(project)
    (project / ".dvc" / "config").write_text(stored.CONFIG)
    storage.repro(model)
    storage.push(model)
    stored.connected(project, server)
    shutil.rmtree(project / ".dvc" / "cache")
    shutil.rmtree(model.export)
    assert storage.repro(model, pull=True) == ()


def test_a_damaged_object_on_the_branch_is_refused_and_not_kept(elsewhere: Model, server: Path) -> None:
    """Whoever can push could put other bytes under a name that a lock trusts."""
    oid = next(oid for oid in held(server) if oid.endswith(".dir"))
    with origin.opened(elsewhere.root) as remote:
        tip = remote.heads()["dvc-storage"]
        remote.learn(tip)
        evil = remote.commit({f"files/md5/{oid[:2]}/{oid[2:]}": remote.keep(b"[]")}, "evil", parent=tip)
        assert remote.push(evil, "dvc-storage")
    with pytest.raises(Refusal, match=f"files/md5/{oid[:2]}/{oid[2:]} on the branch dvc-storage has not the bytes"):
        storage.repro(elsewhere, pull=True)
    assert not (elsewhere.root / ".dvc" / "cache" / "files" / "md5" / oid[:2] / oid[2:]).exists()
    assert stored.ran(elsewhere.root) == []


def test_a_link_on_the_branch_is_no_object(cheap: Model, server: Path, tmp_path: Path) -> None:
    oid = hashlib.md5(b"/etc/passwd").hexdigest()
    with origin.opened(cheap.root) as remote:
        tip = remote.heads()["dvc-storage"]
        remote.learn(tip)
        name = remote.keep(b"/etc/passwd")
    work = stored.clone(server, tmp_path / "work")
    git(work, "checkout", "-q", "dvc-storage")
    (work / "files" / "md5" / oid[:2]).mkdir(exist_ok=True, parents=True)
    (work / "files" / "md5" / oid[:2] / oid[2:]).symlink_to("/etc/passwd")
    git(work, "add", "-A")
    git(work, "commit", "-q", "-m", "link")
    git(work, "push", "-q", "origin", "dvc-storage")
    assert git(work, "ls-tree", "HEAD", f"files/md5/{oid[:2]}/{oid[2:]}").split()[:3] == ["120000", "blob", name]
    with branch.opened(cheap.root) as remote_branch:
        assert remote_branch.fetch([oid], lambda _: tmp_path / "link") == {oid}
    assert not (tmp_path / "link").exists()


@pytest.mark.parametrize(
    "oid", ["../../../x", "a" * 32 + "/..", "A" * 32, "a" * 31, "", "--upload-pack=x", "a" * 32 + "\n"]
)
def test_what_is_no_digest_is_refused(cheap: Model, oid: str, tmp_path: Path) -> None:
    """A name out of a lock never becomes a path or an option."""
    with branch.opened(cheap.root) as held_branch:
        with pytest.raises(Refusal, match="is not the digest of an object"):
            held_branch.fetch([oid], lambda _: tmp_path / "x")
        with pytest.raises(Refusal, match="is not the digest of an object"):
            held_branch.push({oid: tmp_path})


def test_a_file_that_is_not_what_its_name_says_is_not_pushed(cheap: Model, server: Path, tmp_path: Path) -> None:
    """And neither are the good ones beside it."""
    objects = made(tmp_path / "objects", 3)
    before = held(server)
    sorted(objects.values())[-1].write_bytes(b"other")
    with branch.opened(cheap.root) as held_branch, pytest.raises(Refusal, match="has not the bytes of its name"):
        held_branch.push(objects)
    assert held(server) == before


def test_a_file_above_95_mb_is_refused_with_the_way_out(cheap: Model, server: Path, tmp_path: Path) -> None:
    big = tmp_path / "big"
    with big.open("wb") as stream:
        stream.truncate(branch.LARGEST + 1)
    before = held(server)
    with branch.opened(cheap.root) as held_branch, pytest.raises(Refusal, match="takes files up to 95 MB") as refused:
        held_branch.push({"0" * 32: big})
    assert "s3, gs or azure" in refused.value.do
    assert held(server) == before


def test_an_origin_without_a_branch_does_not_get_this_one_first(project: Path, server: Path, tmp_path: Path) -> None:
    """The first branch that GitHub sees becomes the default one."""
    (project / ".dvc" / "config").write_text(stored.CONFIG)
    git(project, "remote", "add", "origin", str(server))
    with branch.opened(project) as held_branch, pytest.raises(Refusal, match="origin has no branch yet") as refused:
        held_branch.push(made(tmp_path / "objects", 1))
    assert "git push -u origin main" in refused.value.do
    assert git(server, "for-each-ref") == ""


def test_a_server_that_leaves_nothing_out_is_understood(elsewhere: Model, server: Path) -> None:
    """Without partial clones the whole tip comes at once."""
    git(server, "config", "uploadpack.allowFilter", "false")
    assert storage.repro(elsewhere, pull=True) == ()


def test_only_the_objects_asked_for_are_transferred(elsewhere: Model, server: Path, tmp_path: Path) -> None:
    """A megabyte that nobody asked for stays where it is."""
    with branch.opened(elsewhere.root) as held_branch:
        held_branch.push(made(tmp_path / "objects", 1, size=1_000_000))
    with branch.opened(elsewhere.root) as held_branch:
        wanted = made(tmp_path / "small", 1, seed=1)
        held_branch.push(wanted)
    with branch.opened(elsewhere.root) as held_branch:
        assert held_branch.fetch(wanted, lambda oid: tmp_path / "got" / oid) == set()
        size = sum(path.stat().st_size for path in held_branch.remote.folder.rglob("*") if path.is_file())
    assert size < 100_000


def test_fetched_files_are_read_only_as_dvc_keeps_them(elsewhere: Model) -> None:
    storage.pull(elsewhere)
    modes = {path.stat().st_mode & 0o777 for path in (elsewhere.root / ".dvc/cache/files/md5").rglob("*/*")}
    assert modes == {0o444}


PUSHER = """
import sys, pathlib, hashlib
from mlops import branch
root, folder = map(pathlib.Path, sys.argv[1:3])
objects = {path.name: path for path in folder.iterdir()}
print("ready", flush=True); sys.stdin.readline()
with branch.opened(root) as held:
    print(held.push(objects), flush=True)
"""


def pushing(root: Path, folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", PUSHER, str(root), str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


@pytest.mark.parametrize("first", [True, False], ids=["the first ones", "on a branch that is there"])
def test_pushes_at_the_same_time_all_survive(project: Path, server: Path, tmp_path: Path, first: bool) -> None:
    """Three processes, three clones, one object in common: whoever is second adds to what is there."""
    stored.connected(project, server)
    if not first:
        with branch.opened(project) as held_branch:
            held_branch.push(made(tmp_path / "before", 1, seed=99))
    common = made(tmp_path / "common", 1, seed=50)
    processes, expected = [], set(common)
    for number in range(3):
        root = stored.clone(server, tmp_path / f"clone{number}")
        folder = tmp_path / f"objects{number}"
        expected |= made(folder, 4, seed=number).keys()
        for oid, path in common.items():
            shutil.copy(path, folder / oid)
        processes.append(pushing(root, folder))
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    counts = [int(process.communicate(timeout=120)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sum(counts) == 13
    assert expected <= held(server)
    git(server, "fsck", "--strict")


def test_a_push_that_is_always_too_late_gives_up_in_a_sentence(
    cheap: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origin.Origin, "push", lambda *_: False)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with branch.opened(cheap.root) as held_branch, pytest.raises(Refusal, match="moved on 12 times"):
        held_branch.push(made(tmp_path / "objects", 1))


def test_a_server_that_forbids_the_push_is_quoted(cheap: Model, server: Path, tmp_path: Path) -> None:
    """A rule for branches, or a token that may not write."""
    hook = server / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'error: GH013: protected' >&2\nexit 1\n")
    hook.chmod(0o755)
    with branch.opened(cheap.root) as held_branch, pytest.raises(Unreachable, match=r"GH013: protected") as refused:
        held_branch.push(made(tmp_path / "objects", 1))
    assert "contents: write" in refused.value.do
    assert len(str(refused.value).splitlines()) == 2


@pytest.mark.parametrize("moment", [1, 2, 4, 6, 8, 9, 10, 11])
def test_a_kill_at_any_moment_leaves_nothing_half(elsewhere: Model, server: Path, tmp_path: Path, moment: int) -> None:
    """The process dies before its n-th call of git, in a push or a fetch: what is there is whole, and a rerun ends."""
    objects = made(tmp_path / "objects", 3)
    oids = held(server)
    cache = elsewhere.root / ".dvc" / "cache" / "files" / "md5"
    script = f"""
import os, pathlib, signal, sys
from mlops import branch, git
count = 0
def dying(call):
    def counted(*words, **more):
        global count
        count += 1
        if count == {moment}:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*words, **more)
    return counted
git.ask = dying(git.ask)
folder, cache = map(pathlib.Path, sys.argv[2:4])
with branch.opened(pathlib.Path(sys.argv[1])) as held:
    held.push({{path.name: path for path in folder.iterdir()}})
    held.fetch({sorted(oids)!r}, lambda oid: cache / oid[:2] / oid[2:])
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(elsewhere.root), str(tmp_path / "objects"), str(cache)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert held(server) in (oids, oids | objects.keys())
    git(server, "fsck", "--strict")
    for path in cache.rglob("*/*"):
        assert hashlib.md5(path.read_bytes()).hexdigest() == (path.parent.name + path.name).removesuffix(".dir")
    with branch.opened(elsewhere.root) as held_branch:
        held_branch.push(objects)
    assert storage.repro(elsewhere, pull=True) == ()
    assert held(server) == oids | objects.keys()


def test_what_a_killed_process_left_is_removed_a_day_later(cheap: Model) -> None:
    """And what another one works with now is not."""
    place = cheap.root / ".dvc" / "tmp"
    old, new = place / "origin.old", place / "origin.new"
    old.mkdir()
    new.mkdir()
    os.utime(old, (time.time() - origin.ABANDONED - 60,) * 2)
    with origin.opened(cheap.root):
        assert (old.exists(), new.exists()) == (False, True)


@pytest.fixture
def slow_server() -> Iterator[str]:
    """An address that accepts and never answers."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/x.git"


def test_an_origin_that_does_not_answer_does_not_hold_a_laptop(
    elsewhere: Model, slow_server: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(origin, "PATIENCE", 1.0)
    git(elsewhere.root, "remote", "set-url", "origin", slow_server)
    assert storage.repro(elsewhere, pull=True) == ("ingest", "split", "train")
    assert "origin did not answer within 1 seconds" in capfd.readouterr().err


def test_the_token_stands_in_no_command_line_and_goes_to_github_only(
    cheap: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """git asks the helper for GitHub's own host; another host gets nothing, and neither does a process list."""
    from mlops import git as mlops_git

    monkeypatch.setenv("GH_TOKEN", "ghs_secret")
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.example:8443")
    monkeypatch.setenv("GIT_TERMINAL_PROMPT", "0")
    assert not any("ghs_secret" in word for word in mlops_git._command(cheap.root, ["push"]))
    asked = b"protocol=https\nhost=%s\npath=acme/x.git\n\n"
    ours = mlops_git.ask(cheap.root, "credential", "fill", given=asked % b"github.example:8443")
    assert b"username=x-access-token\npassword=ghs_secret\n" in ours.out
    other = mlops_git.ask(cheap.root, "credential", "fill", given=asked % b"elsewhere.example")
    assert b"ghs_secret" not in other.out
