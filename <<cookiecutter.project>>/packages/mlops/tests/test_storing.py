"""From a passed version to a commit on the pull request's branch: what is stored comes back, and nothing else moves."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import stored
from stored import git

from mlops import cli, files, github, storage
from mlops.errors import Refusal
from mlops.storing.pack import pack
from mlops.storing.store import store
from mlops.workspace import Model


@pytest.fixture(autouse=True)
def dispatched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What GitHub was asked to start: workflow and branch."""
    orders: list[tuple[str, str]] = []
    monkeypatch.setattr(github, "dispatch", lambda workflow, *, branch: orders.append((workflow, branch)))
    return orders


@pytest.fixture
def server(tmp_path: Path) -> Path:
    return stored.bare(tmp_path / "origin.git")


@pytest.fixture
def base(project: Path, server: Path) -> Path:
    """The base commit's checkout, where `store` runs; its branch is main, and nothing is trained."""
    stored.add(project)
    stored.add(project, "other")
    stored.connected(project, server)
    return project


def measured(server: Path, place: Path, monkeypatch: pytest.MonkeyPatch, branch: str = "better") -> Model:
    """What a training job has: a clone at the head of a pull request's branch, trained there and passed."""
    root = stored.clone(server, place, monkeypatch)
    # git keeps no empty folders; the command line knows a repository by this one.
    (root / "packages" / "mlops").mkdir(parents=True)
    git(root, "checkout", "-q", "-b", branch)
    model = Model(root, "cheap")
    (model.folder / "train.py").write_text(stored.TRAIN + f"# {branch}\n")
    stored.commit(root, "better")
    git(root, "push", "-q", "origin", branch)
    train(model)
    return model


def train(model: Model) -> None:
    """Run the pipeline, and let the gate have passed what it made."""
    storage.repro(model, pull=True)
    passed(model)


def passed(model: Model, verdict: str = "passed") -> None:
    version = files.digest(model.export / "manifest.json")[:12]
    evidence = {"verdict": {"verdict": verdict}, "version": version}
    files.write_json(model.reports / "evidence.json", evidence)


@pytest.fixture
def job(base: Path, server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    return measured(server, tmp_path / "job", monkeypatch)


def head(model: Model) -> str:
    return git(model.root, "rev-parse", "HEAD")


def packed(model: Model, place: Path) -> Path:
    folder = place / "artifacts" / f"outputs-{model.name}"
    pack(model, str(folder))
    return folder


def test_a_packed_folder_holds_the_version_and_nothing_else(job: Model, tmp_path: Path) -> None:
    (job.folder / "CARD.md").write_text("# Card\n")
    (job.folder / "notes.txt").write_text("mine")
    folder = packed(job, tmp_path)
    about = json.loads((folder / "outputs.json").read_text())
    version = files.digest(job.export / "manifest.json")[:12]
    assert about == {"format": 1, "model": "cheap", "commit": head(job), "version": version}
    kept = sorted(path.relative_to(folder / "files").as_posix() for path in (folder / "files").rglob("*"))
    assert kept == ["CARD.md", "dvc.lock", "metrics.json"]
    assert len([path for path in (folder / "objects").rglob("*") if path.is_file()]) == 6
    assert list(folder.parent.iterdir()) == [folder]


def test_storing_commits_the_lock_on_the_measured_commit_and_starts_ci(
    base: Path, job: Model, server: Path, tmp_path: Path, dispatched: list[tuple[str, str]]
) -> None:
    """One commit by the bot that changes outputs only; a clone of it trains nothing."""
    measured_head, folder = head(job), packed(job, tmp_path)
    outcome = store(base, str(folder.parent), "better", measured_head)
    version = json.loads((folder / "outputs.json").read_text())["version"]
    assert outcome.code == 0
    assert outcome.value["stored"] == [{"model": "cheap", "version": version, "changed": True}]
    assert git(server, "rev-parse", "better") == outcome.value["commit"]
    assert git(server, "rev-parse", "better^@") == measured_head
    said = git(server, "log", "-1", "--format=%an %ae%n%cn%n%B", "better").splitlines()
    assert said[0] == "github-actions[bot] 41898282+github-actions[bot]@users.noreply.github.com"
    assert said[1:3] == ["github-actions[bot]", f"Store cheap {version}"]
    assert said[-1] == f"Measured-Commit: {measured_head}"
    changed = git(server, "diff", "--name-only", measured_head, "better").splitlines()
    assert changed == ["models/cheap/dvc.lock", "models/cheap/metrics.json"]
    assert dispatched == [("ci.yml", "better")]
    clone = stored.clone(server, tmp_path / "after")
    git(clone, "checkout", "-q", "better")
    os.chdir(clone)
    model = Model(clone, "cheap")
    assert storage.repro(model, pull=True) == ()
    assert (model.export / "model.skops").read_text() == "model of a b"


def test_the_checkout_that_stores_is_not_touched(base: Path, job: Model, tmp_path: Path) -> None:
    """No checkout, no reference and no object of the pull request gets into it: its code cannot run there."""
    folder = packed(job, tmp_path)
    before = git(base, "show-ref"), git(base, "status", "--porcelain"), git(base, "count-objects", "-v")
    store(base, str(folder.parent), "better", head(job))
    assert (git(base, "show-ref"), git(base, "status", "--porcelain"), git(base, "count-objects", "-v")) == before


def test_one_folder_alone_can_be_named(base: Path, job: Model, tmp_path: Path) -> None:
    assert store(base, str(packed(job, tmp_path)), "better", head(job)).code == 0


@pytest.mark.parametrize("nothing", ["no folder", "an empty folder"])
def test_nothing_packed_is_nothing_to_do(base: Path, job: Model, tmp_path: Path, nothing: str) -> None:
    if nothing == "an empty folder":
        (tmp_path / "none").mkdir()
    outcome = store(base, str(tmp_path / "none"), "better", head(job))
    assert (outcome.code, outcome.text) == (0, "There is nothing to store: no version was packed.")


def test_a_lock_that_is_right_already_makes_no_commit(
    base: Path, job: Model, server: Path, tmp_path: Path, dispatched: list[tuple[str, str]]
) -> None:
    """The author trained and committed: the bytes are stored, and no run follows."""
    new = stored.commit(job.root, "trained here")
    git(job.root, "push", "-q", "origin", "better")
    outcome = store(base, str(packed(job, tmp_path)), "better", new)
    assert (outcome.code, outcome.value["commit"]) == (0, None)
    assert "holds it already" in outcome.text
    assert git(server, "rev-parse", "better") == new
    assert dispatched == []
    assert storage.held(job.root, {one.md5 for one in storage.outputs(job) if one.is_cached}) != set()


def test_a_branch_that_moved_on_is_left_alone(
    base: Path, job: Model, server: Path, tmp_path: Path, dispatched: list[tuple[str, str]]
) -> None:
    old, folder = head(job), packed(job, tmp_path)
    git(job.root, "checkout", "-q", "--", ".")
    (job.folder / "train.py").write_text("# newer\n")
    new = stored.commit(job.root, "newer")
    git(job.root, "push", "-q", "origin", "better")
    outcome = store(base, str(folder), "better", old)
    assert outcome.code == 0
    assert f"better is at {new[:12]} now, and {old[:12]} was measured: nothing is written" in outcome.text
    assert git(server, "rev-parse", "better") == new
    assert "dvc-storage" not in git(server, "for-each-ref")
    assert dispatched == []


def test_a_branch_that_moves_on_in_the_last_moment_is_left_alone(
    base: Path, job: Model, server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the push: git refuses what is no fast-forward, and nothing is forced."""
    from mlops.origin import Origin

    folder, old, push = packed(job, tmp_path), head(job), Origin.push

    def late(self: Origin, commit: str, branch: str) -> bool:
        if branch == "better":
            git(job.root, "commit", "-q", "--allow-empty", "-m", "newer")
            git(job.root, "push", "-q", "origin", "better")
        return push(self, commit, branch)

    monkeypatch.setattr(Origin, "push", late)
    outcome = store(base, str(folder), "better", old)
    assert outcome.code == 0
    assert "nothing is written to it" in outcome.text
    assert git(server, "log", "-1", "--format=%s", "better") == "newer"


def test_a_branch_that_is_gone_is_not_made_again(base: Path, job: Model, server: Path, tmp_path: Path) -> None:
    folder = packed(job, tmp_path)
    git(server, "update-ref", "-d", "refs/heads/better")
    outcome = store(base, str(folder), "better", head(job))
    assert (outcome.code, "better is gone" in outcome.text) == (0, True)
    assert "better" not in git(server, "for-each-ref")


def test_a_store_commit_is_not_stored_upon_for_the_same_model(
    base: Path, job: Model, server: Path, tmp_path: Path, dispatched: list[tuple[str, str]]
) -> None:
    """A pipeline that does not repeat itself would make commits for ever."""
    store(base, str(packed(job, tmp_path)), "better", head(job))
    git(job.root, "reset", "-q", "--hard")
    git(job.root, "clean", "-qfd", "models")
    git(job.root, "pull", "-q", "origin", "better")
    stored_head = head(job)
    (job.folder / "train.py").write_text(stored.TRAIN.replace("one", "by chance"))
    train(job)
    outcome = store(base, str(packed(job, tmp_path / "again")), "better", stored_head)
    assert outcome.code == 2
    assert "storing that again would never end" in outcome.text
    assert git(server, "rev-parse", "better") == stored_head
    assert len(dispatched) == 1


def test_a_push_that_starts_ci_itself_needs_no_order(
    base: Path, job: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dispatched: list[tuple[str, str]]
) -> None:
    """With an App's token GitHub starts the workflows of a push; with its own it does not."""
    monkeypatch.setenv("MLOPS_PUSH_STARTS_CI", "true")
    assert "The push starts CI there." in store(base, str(packed(job, tmp_path)), "better", head(job)).text
    assert dispatched == []


def test_an_order_that_github_refuses_is_no_success(
    base: Path, job: Model, server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new commit would stand there without a verdict, and nobody would know why."""

    def refused(workflow: str, *, branch: str) -> None:
        raise github.Failure("GitHub does not start ci.yml.", do="The token needs `actions: write`.")

    monkeypatch.setattr(github, "dispatch", refused)
    outcome = store(base, str(packed(job, tmp_path)), "better", head(job))
    assert outcome.code == 2
    assert "could not be started there, so it has no verdict" in outcome.text
    assert git(server, "rev-parse", "better") == outcome.value["commit"]


def test_data_that_the_storage_has_is_not_packed_again(
    base: Path, job: Model, server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second version of the same data carries its export only, and is stored as a whole all the same."""
    store(base, str(packed(job, tmp_path)), "better", head(job))
    second = measured(server, tmp_path / "second", monkeypatch, branch="second")
    (second.folder / "train.py").write_text(stored.TRAIN.replace("one", "two"))
    stored.commit(second.root, "two")
    git(second.root, "push", "-q", "origin", "second")
    train(second)
    folder = packed(second, tmp_path / "more")
    assert len([path for path in (folder / "objects").rglob("*") if path.is_file()]) == 3
    outcome = store(base, str(folder), "second", head(second))
    assert (outcome.code, outcome.value["stored"][0]["changed"]) == (0, True)


def test_an_object_that_is_nowhere_is_not_promised(base: Path, job: Model, server: Path, tmp_path: Path) -> None:
    """A lock whose bytes nobody has would be worse than none."""
    folder = packed(job, tmp_path)
    oid = next(one.md5 for one in storage.outputs(job) if one.path == "data/raw.parquet")
    (folder / "objects" / oid[:2] / oid[2:]).unlink()
    outcome = store(base, str(folder), "better", head(job))
    assert outcome.code == 2
    assert f"{oid} is neither packed nor in the storage" in outcome.text
    assert git(server, "rev-parse", "better") == head(job)


@pytest.mark.parametrize("verdict", ["failed", "not evaluated", "Passed", ""])
def test_only_what_passed_is_packed(job: Model, tmp_path: Path, verdict: str) -> None:
    """Unknown is not a pass."""
    passed(job, verdict)
    with pytest.raises(Refusal, match=f"its verdict is {verdict}, so it is not packed"):
        pack(job, str(tmp_path / "x"))
    assert not (tmp_path / "x").exists()


def test_another_version_than_the_judged_one_is_not_packed(job: Model, tmp_path: Path) -> None:
    (job.export / "manifest.json").unlink()
    (job.export / "manifest.json").write_text("{}")
    with pytest.raises(Refusal, match="the gate judged"):
        pack(job, str(tmp_path / "x"))


def test_a_model_without_a_verdict_is_not_packed(job: Model, tmp_path: Path) -> None:
    (job.reports / "evidence.json").unlink()
    with pytest.raises(Refusal, match="does not exist"):
        pack(job, str(tmp_path / "x"))


def test_an_output_that_changed_after_the_run_is_not_packed(job: Model, tmp_path: Path) -> None:
    """The lock and the files that travel with it agree, or nothing travels."""
    (job.folder / "metrics.json").write_text('{"rows": 1000}')
    with pytest.raises(Refusal, match=r"metrics\.json is not the file that its lock names"):
        pack(job, str(tmp_path / "x"))
    assert not (tmp_path / "x").exists()


def test_a_folder_that_is_there_is_not_overwritten(job: Model, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine").write_text("mine")
    with pytest.raises(Refusal, match="is there already"):
        pack(job, str(tmp_path / "x"))


@pytest.mark.parametrize(
    "branch",
    [
        "--force", "-f", "--delete", "--upload-pack=touch x", "", " ", "a b", "a..b", "a\nb", "a\0b"[:1] + "~1",
        "refs/heads/../../x", "@{-1}", "x.lock", "a:main", "+better", "+a:main", "*", "a/*", "/a", "a/", "a\u202eb",
        "x" * 300, "main", "dvc-storage",
    ],
)  # fmt: skip
def test_a_branch_that_is_none_of_a_pull_request_is_refused(
    base: Path, job: Model, server: Path, tmp_path: Path, branch: str
) -> None:
    """Names that git would take for an option, a refspec or another branch; and the two that only others may change."""
    folder, before = packed(job, tmp_path), git(server, "for-each-ref")
    if branch == "+better":
        # A branch may be called so; it is only not there.
        assert "+better is gone" in store(base, str(folder), branch, head(job)).text
    else:
        with pytest.raises(Refusal):
            store(base, str(folder), branch, head(job))
    assert git(server, "for-each-ref") == before


@pytest.mark.parametrize("commit", ["HEAD", "--all", "", "better", "0" * 39, "A" * 40, "0" * 40 + "\n", "0" * 41])
def test_a_head_that_is_no_full_commit_is_refused(base: Path, tmp_path: Path, commit: str) -> None:
    with pytest.raises(Refusal, match="is not the full name of a commit"):
        store(base, str(tmp_path), "better", commit)


def test_an_odd_branch_name_is_stored_to_as_it_is(
    base: Path, server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """git allows these, and the shell would not like them."""
    name = "feat/$(touch${IFS}x);`id`&ü"
    model = measured(server, tmp_path / "job", monkeypatch, branch=name)
    assert store(base, str(packed(model, tmp_path)), name, head(model)).code == 0
    assert git(server, "log", "-1", "--format=%an", f"refs/heads/{name}") == "github-actions[bot]"


def test_the_command_line_takes_both_verbs(
    base: Path, job: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the workflow types them; an option in the place of a branch is no branch."""
    assert cli.main(["pack", "cheap", "--into", str(tmp_path / "outputs-cheap"), "--json"]) == 0
    commit = json.loads(capsys.readouterr().out)["commit"]
    monkeypatch.chdir(base)
    words = ["store", str(tmp_path / "outputs-cheap"), "--head", commit, "--json"]
    assert cli.main([*words, "--branch", "--force"]) == 2
    assert cli.main([*words, "--branch=--force"]) == 2
    capsys.readouterr()
    assert cli.main([*words, "--branch", "better"]) == 0
    assert json.loads(capsys.readouterr().out)["stored"][0]["model"] == "cheap"


def test_storing_to_the_branch_needs_python_and_git_only(base: Path, job: Model, tmp_path: Path) -> None:
    """No installed package can be found, so none is asked for its opinion about hostile bytes."""
    folder, source = packed(job, tmp_path), Path(cli.__file__).resolve().parents[1]
    code = (
        f"import sys; sys.path.insert(0, {os.fspath(source)!r}); from mlops import cli; "
        f"sys.exit(cli.main(['store', {os.fspath(folder)!r}, '--branch', 'better', '--head', {head(job)!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], cwd=base, capture_output=True, text=True, check=False,
        env={**os.environ, "MLOPS_PUSH_STARTS_CI": "true"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "stored." in done.stdout
