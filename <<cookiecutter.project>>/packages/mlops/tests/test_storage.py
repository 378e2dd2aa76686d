"""The DVC adapter: runs what changed, mends what is damaged, fetches by digest, and fails in one line."""

import datetime as dt
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from mlops import storage
from mlops.data import sources
from mlops.errors import Refusal
from mlops.workspace import Model

PIPELINE = """\
stages:
  first:
    cmd: cat source.txt > made.txt && echo first | tee -a ../../ran.log > /dev/null
    deps: [source.txt]
    outs: [made.txt]
  second:
    cmd: python make.py
    deps: [make.py, made.txt]
    outs: [export]
"""

MAKE = """\
import pathlib
folder = pathlib.Path("export/inner")
folder.mkdir(parents=True)
(folder / "a.txt").write_text(pathlib.Path("made.txt").read_text())
(folder.parent / "b.txt").write_text("b")
(folder.parent / "inner.txt").write_text("sorts between")
with open("../../ran.log", "a") as log:
    log.write("second\\n")
"""


def add(root: Path, name: str, pipeline: str = PIPELINE) -> Model:
    """A model whose stages are cheap, and write their names into `ran.log`."""
    folder = root / "models" / name
    folder.mkdir(parents=True)
    (folder / "dvc.yaml").write_text(pipeline)
    (folder / "make.py").write_text(MAKE)
    (folder / "source.txt").write_text(f"hello from {name}\n")
    (folder / "model.toml").write_text("")
    return Model(root, name)


@pytest.fixture
def cheap(project: Path) -> Model:
    """One model with two cheap stages."""
    return add(project, "cheap")


def ran(root: Path) -> list[str]:
    """The names of the stages that ran, from what they wrote themselves."""
    log = root / "ran.log"
    return log.read_text().split() if log.exists() else []


def lock_text(model: Model) -> str:
    return (model.folder / "dvc.lock").read_text()


def cached(root: Path, md5: str) -> Path:
    return root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]


def test_a_second_run_runs_nothing(cheap: Model) -> None:
    """Both stages run once; with nothing changed none runs again."""
    assert storage.repro(cheap) == ("first", "second")
    assert storage.repro(cheap) == ()
    assert ran(cheap.root) == ["first", "second"]


def test_only_what_changed_runs(cheap: Model) -> None:
    """A change that only the second stage reads runs only the second stage."""
    storage.repro(cheap)
    (cheap.folder / "make.py").write_text(MAKE.replace('"b"', '"c"'))
    assert storage.repro(cheap) == ("second",)


@pytest.mark.parametrize("pull", [False, True])
def test_a_run_may_end_with_a_stage(pull: bool, cheap: Model) -> None:
    """What comes after it neither runs nor is asked for; the next run goes on from there."""
    assert storage.repro(cheap, pull=pull, until="first") == ("first",)
    assert ran(cheap.root) == ["first"]
    assert storage.repro(cheap, pull=pull, until="first") == ()
    assert storage.repro(cheap, pull=pull) == ("second",)


def test_the_working_folder_and_the_path_come_back(cheap: Model) -> None:
    """What a run changes in this process is put back, also after a failure."""
    before, path = Path.cwd(), os.environ["PATH"]
    (cheap.folder / "make.py").write_text("raise SystemExit(1)")
    with pytest.raises(Refusal):
        storage.repro(cheap)
    assert (Path.cwd(), os.environ["PATH"]) == (before, path)


def test_stages_find_the_commands_of_this_interpreter(cheap: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python` in a stage is the one that runs `mlops`, whatever the caller's PATH is."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    (cheap.folder / "make.py").write_text(MAKE + 'import sys; pathlib.Path("export/who").write_text(sys.executable)')
    storage.repro(cheap)
    who = (cheap.export / "who").read_text()
    assert Path(who).parent == Path(sys.executable).parent


def test_progress_names_each_stage_and_is_not_on_stdout(cheap: Model, capfd: pytest.CaptureFixture[str]) -> None:
    """A person sees each stage as it starts; standard output stays free for the result."""
    (cheap.folder / "make.py").write_text(MAKE + 'print("what a stage prints")')
    storage.repro(cheap)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == ["cheap: first (1 of 2)", "cheap: second (2 of 2)", "what a stage prints"]
    storage.repro(cheap)
    assert capfd.readouterr() == ("", "")


def test_a_failing_stage_is_one_line_naming_model_and_stage(cheap: Model) -> None:
    """The stage has said why; the run says which stage of which model, and exits with 1."""
    (cheap.folder / "make.py").write_text("raise SystemExit('the reason')")
    with pytest.raises(Refusal, match=r"^cheap: stage second failed") as refused:
        storage.repro(cheap)
    assert refused.value.code == 1
    assert "the reason" not in str(refused.value)
    (cheap.folder / "make.py").write_text(MAKE)
    assert storage.repro(cheap) == ("second",)


def test_a_stage_that_forgets_its_output_is_refused(cheap: Model) -> None:
    """DVC's own complaint about a stage is one line too."""
    (cheap.folder / "make.py").write_text("pass")
    with pytest.raises(Refusal, match=r"cheap: stage second failed: .*export"):
        storage.repro(cheap)


def test_a_killed_stage_is_said_and_the_next_run_recovers(cheap: Model) -> None:
    """A stage that the kernel killed is named with its signal; what was finished is kept."""
    (cheap.folder / "make.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(Refusal, match="stage second was killed by signal 9; perhaps there was not enough memory"):
        storage.repro(cheap)
    (cheap.folder / "make.py").write_text(MAKE)
    assert storage.repro(cheap) == ("second",)
    assert ran(cheap.root) == ["first", "second"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_is_taken_up_by_the_next(cheap: Model, how: signal.Signals) -> None:
    """Ctrl-C or the death of the whole run in the middle of a stage loses no finished stage and blocks nothing."""
    (cheap.folder / "make.py").write_text('import time; open("../../started", "w").close(); time.sleep(60)')
    script = f"""
import pathlib
from mlops import cli, storage
from mlops.workspace import Model
from mlops.errors import Refusal
try:
    storage.repro(Model(pathlib.Path({str(cheap.root)!r}), "cheap"))
except Refusal as refusal:
    print(refusal)
    raise SystemExit(refusal.code)
"""
    run = subprocess.Popen(
        [sys.executable, "-c", script], cwd=cheap.root, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not (cheap.root / "started").exists():
        assert time.monotonic() < deadline, "the stage did not start"
        time.sleep(0.05)
    os.killpg(run.pid, how)
    out, _ = run.communicate(timeout=60)
    if how is signal.SIGINT:
        assert run.returncode == 130
        assert out.strip() == "cheap: stage second was interrupted; run it again to go on."
    (cheap.folder / "make.py").write_text(MAKE)
    assert storage.repro(cheap) == ("second",)
    assert ran(cheap.root) == ["first", "second"]


def test_half_a_lock_file_of_a_killed_run_is_removed(cheap: Model, capfd: pytest.CaptureFixture[str]) -> None:
    """A run killed while it noted who reads what leaves broken JSON; the next run removes it and goes on."""
    (cheap.root / ".dvc" / "tmp").mkdir(exist_ok=True)
    (cheap.root / ".dvc" / "tmp" / "rwlock").write_text('{"read": {')
    assert storage.repro(cheap) == ("first", "second")
    assert "an interrupted run left rwlock damaged" in capfd.readouterr().err


@pytest.mark.parametrize("heir", ["a zombie", "somebody else"])
def test_a_killed_run_blocks_nobody_through_its_number(cheap: Model, heir: str) -> None:
    """What it noted is forgotten while its zombie still has the number, and when another process got it."""
    notes = cheap.root / ".dvc" / "tmp" / "rwlock"
    notes.parent.mkdir(exist_ok=True)
    process = subprocess.Popen([sys.executable, "-c", "" if heir == "a zombie" else "import time; time.sleep(60)"])
    try:
        if heir == "a zombie":
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        note = {"pid": process.pid, "cmd": "mlops repro"}
        made = str(cheap.folder / "made.txt")
        notes.write_text(json.dumps({"read": {made: [note]}, "write": {made: note}}))
        if heir == "somebody else":
            an_hour_ago = time.time() - 3600
            os.utime(notes, (an_hour_ago, an_hour_ago))
        assert storage.repro(cheap) == ("first", "second")
    finally:
        process.kill()
        process.wait()


def test_a_living_run_is_waited_for(cheap: Model) -> None:
    """Its breaker: what a process at work has noted is respected, and the message gives its number."""
    notes = cheap.root / ".dvc" / "tmp" / "rwlock"
    notes.parent.mkdir(exist_ok=True)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        try:
            note = {"pid": process.pid, "cmd": "mlops repro"}
            notes.write_text(json.dumps({"write": {str(cheap.folder / "made.txt"): note}}))
            with pytest.raises(Refusal, match=f"cheap: process {process.pid} is working with DVC"):
                storage.repro(cheap)
        finally:
            process.kill()


def test_a_held_lock_is_one_line(cheap: Model) -> None:
    """While another process works with DVC, the run says so and does not wait for ever."""
    import zc.lockfile

    (cheap.root / ".dvc" / "tmp").mkdir(exist_ok=True)
    held = zc.lockfile.LockFile(str(cheap.root / ".dvc" / "tmp" / "lock"))
    try:
        with pytest.raises(Refusal, match=r"^cheap: another process is working with DVC in this repository"):
            storage.repro(cheap)
    finally:
        held.close()


def test_a_disk_that_takes_nothing_is_one_line(cheap: Model) -> None:
    """DVC's own database fails first on a full disk; that is no bug, and the next run goes on."""
    script = f"""
import pathlib, resource
from mlops import storage
from mlops.workspace import Model
from mlops.errors import Refusal
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    storage.repro(Model(pathlib.Path({str(cheap.root)!r}), "cheap"))
except Refusal as refusal:
    print(refusal)
"""
    run = subprocess.run([sys.executable, "-c", script], cwd=cheap.root, capture_output=True, text=True, check=True)
    assert run.stdout.startswith("cheap: DVC cannot write in ")
    assert len(run.stdout.splitlines()) == 2
    assert storage.repro(cheap) == ("first", "second")


def test_no_dvc_and_no_git_are_one_line_each(cheap: Model) -> None:
    """The two things that a repository must be are asked for by name."""
    shutil.move(cheap.root / ".git", cheap.root / "elsewhere")
    with pytest.raises(Refusal, match="is not a git repository"):
        storage.repro(cheap)
    shutil.rmtree(cheap.root / ".dvc")
    with pytest.raises(Refusal, match="is not a DVC repository"):
        storage.repro(cheap)


def test_broken_pipeline_and_lock_are_one_line(cheap: Model) -> None:
    """A pipeline or a lock that is not valid is named, and the lock's rescue is given."""
    storage.repro(cheap)
    lock = lock_text(cheap)
    (cheap.folder / "dvc.lock").write_text("<" * 7 + " HEAD\n" + lock)
    with pytest.raises(
        Refusal, match=r"dvc\.lock, line 1, is a conflict(.|\n)*git checkout HEAD models/cheap/dvc\.lock"
    ):
        storage.repro(cheap)
    (cheap.folder / "dvc.lock").write_text(lock + "}")
    with pytest.raises(Refusal, match=r"dvc\.lock is not valid(.|\n)*git checkout HEAD models/cheap/dvc\.lock"):
        storage.repro(cheap)
    (cheap.folder / "dvc.lock").write_text(lock)
    (cheap.folder / "dvc.yaml").write_text("stages: [")
    with pytest.raises(Refusal, match=r"cheap: models/cheap/dvc\.yaml is not valid"):
        storage.repro(cheap)


@pytest.mark.parametrize("writable", ["writable", "read-only"])
def test_a_damaged_cache_is_mended_from_the_working_folder(
    cheap: Model, capfd: pytest.CaptureFixture[str], writable: str
) -> None:
    """A cached file that no longer matches its digest is said and put back; no stage runs for it.

    DVC itself trusts a read-only file without looking.
    """
    storage.repro(cheap)
    md5 = hashlib.md5(b"hello from cheap\n").hexdigest()
    damage(cached(cheap.root, md5), protect=writable == "read-only")
    capfd.readouterr()
    assert storage.repro(cheap) == ()
    said = "cheap: 1 damaged file of made.txt removed from DVC's cache; put back from the working folder.\n"
    assert capfd.readouterr().err == said
    assert cached(cheap.root, md5).read_bytes() == b"hello from cheap\n"
    assert storage.repro(cheap) == ()
    assert capfd.readouterr().err == ""


def test_a_lost_cache_is_filled_from_the_working_folder(cheap: Model, capfd: pytest.CaptureFixture[str]) -> None:
    """Someone who clears the cache loses nothing that still lies in the working folder, and nothing runs again."""
    storage.repro(cheap)
    digest = storage.locked_export(lock_text(cheap))
    assert digest
    shutil.rmtree(cheap.root / ".dvc" / "cache")
    capfd.readouterr()
    assert storage.repro(cheap) == ()
    assert "cheap: export was missing from DVC's cache; put back from the working folder." in capfd.readouterr().err
    assert cached(cheap.root, digest).is_file()


def test_a_damaged_file_of_a_folder_is_mended_too(cheap: Model) -> None:
    """The files inside an output folder are compared with their digests as well, and so is its listing."""
    storage.repro(cheap)
    digest = storage.locked_export(lock_text(cheap))
    assert digest
    inner = hashlib.md5(b"sorts between").hexdigest()
    for names in ((inner,), (digest,), (inner, digest)):
        for name in names:
            damage(cached(cheap.root, name), protect=True)
        assert storage.repro(cheap) == ()
        # What was put back is whole: fetching verifies every file, and there is no remote to help.
        storage.fetch(cheap.root, digest, cheap.root / "fetched")
        assert same(cheap.export, cheap.root / "fetched")


def test_damage_in_cache_and_working_folder_is_made_again(cheap: Model) -> None:
    """When no good copy is left, the stage that made the file runs again."""
    storage.repro(cheap)
    (cheap.folder / "made.txt").unlink()
    damage(cached(cheap.root, hashlib.md5(b"hello from cheap\n").hexdigest()), protect=True)
    assert storage.repro(cheap) == ("first",)
    assert (cheap.folder / "made.txt").read_text() == "hello from cheap\n"


def damage(path: Path, *, protect: bool) -> None:
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    if protect:
        path.chmod(0o444)


def same(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files."""

    def content(folder: Path) -> dict[str, bytes]:
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    return content(one) == content(other)


def test_only_this_models_pipeline_is_read(cheap: Model) -> None:
    """Another model's broken pipeline is not this model's problem: it is never read."""
    other = add(cheap.root, "other")
    (other.folder / "dvc.yaml").write_text("stages: [")
    assert storage.repro(cheap) == ("first", "second")


@pytest.mark.parametrize(
    ("place", "command", "makes", "needs"),
    [
        ("shared", "cp ../seed.txt shared.txt", "shared.txt", "../../shared/shared.txt"),
        ("shared", "mkdir out && cp ../seed.txt out/x", "out", "../../shared/out"),
        ("shared", "cp ../seed.txt x.txt", "x.txt", "../../shared"),
        ("models", "cp ../seed.txt cheap/x.txt", "cheap/x.txt", "x.txt"),
        ("maker", "cp ../seed.txt ../elsewhere.txt", "../elsewhere.txt", "../../elsewhere.txt"),
    ],
    ids=["beside", "folder", "inside", "above", "anywhere"],
)
def test_what_a_model_builds_on_outside_its_folder_is_brought_up_to_date(
    cheap: Model, place: str, command: str, makes: str, needs: str
) -> None:
    """A file made by a pipeline outside the model's folder is made first, wherever that pipeline lies."""
    root = cheap.root
    (root / "seed.txt").write_text("one")
    (root / place).mkdir(exist_ok=True)
    (root / place / "dvc.yaml").write_text(
        f"stages:\n  share:\n    cmd: {command}\n    deps: [../seed.txt]\n    outs: [{makes}]\n"
    )
    text = PIPELINE.replace("deps: [source.txt]", f"deps: [source.txt, {needs}]")
    (cheap.folder / "dvc.yaml").write_text(text)
    names = storage.repro(cheap)
    assert [name.rpartition(":")[2] for name in names] == ["share", "first", "second"]
    (root / "seed.txt").write_text("two")
    assert [name.rpartition(":")[2] for name in storage.repro(cheap)] == ["share", "first"]
    assert storage.repro(cheap) == ()


def test_the_chain_behind_a_shared_file_is_followed(cheap: Model) -> None:
    """A maker's own inputs are brought up to date too."""
    root = cheap.root
    for name, reads in (("one", "../seed.txt"), ("two", "../one/out.txt")):
        (root / name).mkdir()
        (root / name / "dvc.yaml").write_text(
            f"stages:\n  {name}:\n    cmd: cp {reads} out.txt\n    deps: [{reads}]\n    outs: [out.txt]\n"
        )
    (root / "seed.txt").write_text("seed")
    text = PIPELINE.replace("deps: [source.txt]", "deps: [source.txt, ../../two/out.txt]")
    (cheap.folder / "dvc.yaml").write_text(text)
    names = storage.repro(cheap)
    assert [name.rpartition(":")[2] for name in names] == ["one", "two", "first", "second"]


def test_outdated_names_the_stages_that_would_run(cheap: Model) -> None:
    """Before a run all stages are outdated, after it none, and after a change those that read it."""
    assert storage.outdated(cheap) == ("first", "second")
    storage.repro(cheap)
    assert storage.outdated(cheap) == ()
    (cheap.folder / "make.py").write_text(MAKE + "# changed")
    assert storage.outdated(cheap) == ("second",)


def test_a_source_that_was_mended_in_place_is_read_again(tumour: Model) -> None:
    """DVC does not list the file that data.source names; a changed one runs ingest, an untouched one does not."""
    (tumour.folder / "dvc.yaml").write_text(
        "stages:\n  ingest:\n    cmd: mlops ingest\n    deps: [contract.py]\n    outs: [data/raw.parquet]\n"
    )
    rows = tumour.folder / "rows.csv"
    sources.replay(tumour, dt.date(2024, 1, 1)).collect().write_csv(rows)
    tumour.toml.write_text(tumour.toml.read_text().replace('source = "replay"', 'source = "rows.csv"'))
    assert storage.repro(tumour) == ("ingest",)
    assert (storage.outdated(tumour), storage.repro(tumour)) == ((), ())
    good = rows.read_text()
    rows.write_text("broken")
    assert storage.outdated(tumour) == ("ingest",)
    for _ in range(2):
        with pytest.raises(Refusal, match="stage ingest failed"):
            storage.repro(tumour)
    rows.write_text("\n".join(good.splitlines()[:11]))
    assert storage.repro(tumour) == ("ingest",)
    assert pl.read_parquet(tumour.raw).height == 10
    assert storage.repro(tumour) == ()


def test_outdated_trusts_the_lock_for_data_that_is_not_here(cheap: Model) -> None:
    """On a machine that has not fetched the data, absence is not a change."""
    storage.repro(cheap)
    (cheap.folder / "made.txt").unlink()
    assert storage.outdated(cheap) == ()


def test_the_locked_export_is_dvcs_digest_of_the_folder(cheap: Model) -> None:
    """The lock's digest, and the one computed from the folder's files, are the same."""
    storage.repro(cheap)
    digest = storage.locked_export(lock_text(cheap))
    assert digest is not None
    assert digest.endswith(".dir")
    assert storage.folder_digest(cheap.export) == digest
    (cheap.export / "b.txt").write_text("changed")
    assert storage.folder_digest(cheap.export) != digest
    assert storage.folder_digest(cheap.root / "absent") is None


@pytest.mark.parametrize("text", ["", "schema: '2.0'\n", "stages: {first: {cmd: x, outs: [{path: other, md5: a}]}}"])
def test_a_lock_without_an_export_locks_none(text: str) -> None:
    """Before the first training there is no digest, and that is not an error."""
    assert storage.locked_export(text) is None


@pytest.mark.parametrize(
    "text", ["stages: [", "- a", "stages: [a]", "stages: {t: {outs: [{path: export, md5: ../../x}]}}", "stages: {t: 1}"]
)
def test_a_broken_lock_is_refused(text: str) -> None:
    """Conflict markers, wrong types and digests that are none are said, never guessed."""
    with pytest.raises(Refusal, match=r"A dvc\.lock"):
        storage.locked_export(text)


def remote(root: Path) -> Path:
    """A remote on this disk, as the default."""
    place = root.parent / "remote"
    subprocess.run(["dvc", "remote", "add", "-q", "-d", "vault", str(place)], cwd=root, check=True)
    return place


def test_an_export_is_fetched_from_the_remote_when_the_cache_is_gone(cheap: Model) -> None:
    """The digest alone is enough to bring a folder back, byte for byte."""
    storage.repro(cheap)
    remote(cheap.root)
    subprocess.run(["dvc", "push", "-q"], cwd=cheap.folder, check=True)
    digest = storage.locked_export(lock_text(cheap))
    assert digest
    shutil.rmtree(cheap.root / ".dvc" / "cache")
    storage.fetch(cheap.root, digest, cheap.root / "fetched")
    assert same(cheap.export, cheap.root / "fetched")


def test_one_lost_file_is_fetched_again(cheap: Model) -> None:
    """A folder of which the cache lost or damaged one file is completed from the remote."""
    storage.repro(cheap)
    remote(cheap.root)
    subprocess.run(["dvc", "push", "-q"], cwd=cheap.folder, check=True)
    digest = storage.locked_export(lock_text(cheap))
    assert digest
    cached(cheap.root, hashlib.md5(b"b").hexdigest()).unlink()
    damage(cached(cheap.root, hashlib.md5(b"sorts between").hexdigest()), protect=True)
    storage.fetch(cheap.root, digest, cheap.root / "fetched")
    assert same(cheap.export, cheap.root / "fetched")


def test_bytes_that_are_nowhere_are_refused_naming_the_remote(cheap: Model) -> None:
    """Lost bytes are said with the remote that was asked; nothing half-made is left."""
    storage.repro(cheap)
    place = remote(cheap.root)
    digest = storage.locked_export(lock_text(cheap))
    assert digest
    cached(cheap.root, hashlib.md5(b"b").hexdigest()).unlink()
    with pytest.raises(Refusal, match=f"the DVC remote 'vault' .*{place.name}"):
        storage.fetch(cheap.root, digest, cheap.root / "out" / "fetched")
    assert not (cheap.root / "out").exists() or not any((cheap.root / "out").iterdir())


def test_without_a_remote_lost_bytes_are_refused(cheap: Model) -> None:
    """No remote is set: the refusal says that, too."""
    with pytest.raises(Refusal, match="none is set"):
        storage.fetch(cheap.root, "0" * 32 + ".dir", cheap.root / "fetched")


def test_a_damaged_remote_is_not_believed(cheap: Model) -> None:
    """Bytes that do not have the digest they are stored under are refused, not used."""
    storage.repro(cheap)
    place = remote(cheap.root)
    subprocess.run(["dvc", "push", "-q"], cwd=cheap.folder, check=True)
    digest = storage.locked_export(lock_text(cheap))
    assert digest
    md5 = hashlib.md5(b"b").hexdigest()
    damage(place / "files" / "md5" / md5[:2] / md5[2:], protect=False)
    shutil.rmtree(cheap.root / ".dvc" / "cache")
    with pytest.raises(Refusal):
        storage.fetch(cheap.root, digest, cheap.root / "fetched")
    assert not (cheap.root / "fetched").exists()


def test_a_listing_cannot_write_outside_its_folder(cheap: Model) -> None:
    """A remote that lists `../` in a folder is refused: its digest proves who wrote it, not that it means well."""
    storage.repro(cheap)
    evil = json.dumps([{"md5": hashlib.md5(b"b").hexdigest(), "relpath": "../outside.txt"}]).encode()
    md5 = hashlib.md5(evil).hexdigest() + ".dir"
    cached(cheap.root, md5).parent.mkdir(parents=True, exist_ok=True)
    cached(cheap.root, md5).write_bytes(evil)
    with pytest.raises(Refusal, match="tampered"):
        storage.fetch(cheap.root, md5, cheap.root / "fetched")
    assert not (cheap.root / "outside.txt").exists()


def test_fetching_replaces_what_was_there(cheap: Model) -> None:
    """A destination that exists becomes the folder that was asked for, as a whole."""
    storage.repro(cheap)
    digest = storage.locked_export(lock_text(cheap))
    assert digest
    (cheap.root / "fetched").mkdir()
    (cheap.root / "fetched" / "old").write_text("old")
    storage.fetch(cheap.root, digest, cheap.root / "fetched")
    assert same(cheap.export, cheap.root / "fetched")


def test_what_differs_is_kept_unless_the_locked_one_shall_take_its_place(
    cheap: Model, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whoever comes back from another branch has its version in the folder; nothing goes before the bytes are there."""
    storage.repro(cheap)
    (cheap.folder / "made.txt").unlink()
    (cheap.folder / "made.txt").write_text("mine\n")
    assert storage.pull(cheap) == ()
    assert (cheap.folder / "made.txt").read_text() == "mine\n"
    assert "make pull MODEL=cheap REPLACE=1" in capfd.readouterr().err
    assert storage.pull(cheap, replace=True) == ("made.txt",)
    assert (cheap.folder / "made.txt").read_text() == "hello from cheap\n"

    (cheap.folder / "made.txt").unlink()
    (cheap.folder / "made.txt").write_text("mine\n")
    shutil.rmtree(cheap.root / ".dvc" / "cache")
    with pytest.raises(Refusal):
        storage.pull(cheap, replace=True)
    assert (cheap.folder / "made.txt").read_text() == "mine\n"


def test_with_pull_what_was_made_elsewhere_is_fetched_and_not_made_again(cheap: Model) -> None:
    """A machine with an empty cache brings only what a changed stage reads, and runs only that stage."""
    storage.repro(cheap)
    remote(cheap.root)
    subprocess.run(["dvc", "push", "-q"], cwd=cheap.folder, check=True)
    shutil.rmtree(cheap.root / ".dvc" / "cache")
    shutil.rmtree(cheap.export)
    (cheap.folder / "made.txt").unlink()
    assert storage.repro(cheap, pull=True) == ()
    (cheap.folder / "make.py").write_text(MAKE + "# changed\n")
    assert storage.repro(cheap, pull=True) == ("second",)
    assert ran(cheap.root) == ["first", "second", "second"]
