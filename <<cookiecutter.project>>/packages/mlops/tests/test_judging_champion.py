"""The champion is what the default branch locks, fetched by digest; what cannot be known is refused, never guessed."""

import shutil
import subprocess
from pathlib import Path

import pytest

from mlops import storage
from mlops.errors import Refusal
from mlops.judging import champion
from mlops.learning import export
from mlops.workspace import Model

PIPELINE = """\
stages:
  train:
    cmd: mkdir export && cp source.txt export/manifest.json
    deps: [source.txt]
    outs: [export]
"""


def git(model: Model, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=model.root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def train(model: Model, text: str) -> str:
    """Make a version that holds `text`; return its name."""
    (model.folder / "source.txt").write_text(text)
    storage.repro(model)
    return export.version(model.export)


def commit(model: Model, message: str = "Promote") -> str:
    git(model, "add", "-A")
    git(model, "commit", "-q", "-m", message)
    return git(model, "rev-parse", "HEAD")


def find(model: Model) -> champion.Champion | None:
    promoted = champion.locate(model)
    return None if promoted is None else champion.fetch(model, promoted)


@pytest.fixture
def cheap(project: Path) -> Model:
    """A model whose version is a text, on main, never trained."""
    folder = project / "models" / "cheap"
    folder.mkdir()
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "source.txt").write_text("one")
    (folder / "model.toml").write_text("")
    model = Model(project, "cheap")
    commit(model, "Add a model")
    return model


def test_before_the_first_promotion_there_is_no_champion(cheap: Model) -> None:
    """A lock that is not on the default branch promotes nothing."""
    train(cheap, "one")
    assert champion.locate(cheap) is None


def test_the_champion_is_the_locked_export_of_the_default_branch(cheap: Model) -> None:
    """What lies in the work tree, and what another branch holds, is not the champion."""
    version = train(cheap, "one")
    promoted = commit(cheap)
    git(cheap, "checkout", "-q", "-b", "work")
    train(cheap, "two")
    commit(cheap)
    train(cheap, "three")
    found = find(cheap)
    assert found is not None
    assert (found.version, found.promoted.commit, found.promoted.branch) == (version, promoted, "main")
    assert (found.folder / "manifest.json").read_text() == "one"


def test_the_remotes_default_branch_counts_before_a_local_one(cheap: Model, tmp_path: Path) -> None:
    """A local main that lags behind, or runs ahead, is not what serves."""
    version = train(cheap, "one")
    commit(cheap)
    subprocess.run(["git", "clone", "-q", "--bare", str(cheap.root), str(tmp_path / "origin")], check=True)
    git(cheap, "remote", "add", "origin", str(tmp_path / "origin"))
    git(cheap, "fetch", "-q", "origin")
    train(cheap, "two")
    commit(cheap)
    found = find(cheap)
    assert found is not None
    assert (found.version, found.promoted.branch) == (version, "origin/main")


def test_the_commit_is_the_one_that_brought_the_version(cheap: Model) -> None:
    """A later change of the lock that keeps the export promotes nothing new."""
    train(cheap, "one")
    promoted = commit(cheap)
    text = PIPELINE + "  note:\n    cmd: echo x > note.txt\n    deps: [source.txt]\n    outs: [note.txt]\n"
    (cheap.folder / "dvc.yaml").write_text(text)
    storage.repro(cheap)
    commit(cheap, "Add a stage")
    found = champion.locate(cheap)
    assert found is not None
    assert found.commit == promoted


def test_previous_is_the_version_before(cheap: Model) -> None:
    """The version that a rollback goes back to; the first champion has none before it."""
    first = train(cheap, "one")
    commit(cheap)
    found = find(cheap)
    assert found is not None
    assert champion.previous(cheap, found) is None
    train(cheap, "two")
    commit(cheap)
    found = find(cheap)
    assert found is not None
    assert champion.previous(cheap, found) == first


def test_a_previous_version_that_was_cleaned_away_is_none(cheap: Model) -> None:
    """Lost bytes of an old version do not stop a verdict on the new one."""
    train(cheap, "one")
    commit(cheap)
    shutil.rmtree(cheap.root / ".dvc" / "cache")
    # What still lies in the working folder would be put back.
    shutil.rmtree(cheap.export)
    train(cheap, "two")
    commit(cheap)
    shutil.rmtree(cheap.root / ".cache", ignore_errors=True)
    found = find(cheap)
    assert found is not None
    assert champion.previous(cheap, found) is None


def test_the_bytes_are_fetched_once_and_verified_each_time(cheap: Model) -> None:
    """A copy that was changed on this disk is thrown away and fetched again."""
    train(cheap, "one")
    commit(cheap)
    found = find(cheap)
    assert found is not None
    assert found.folder == cheap.root / ".cache" / "exports" / found.promoted.digest
    (found.folder / "manifest.json").write_text("tampered")
    again = find(cheap)
    assert again is not None
    assert (again.folder / "manifest.json").read_text() == "one"
    shutil.rmtree(cheap.root / ".dvc" / "cache")
    assert find(cheap) == again


def test_lost_bytes_are_refused(cheap: Model) -> None:
    """A champion that is known and gone is not the same as no champion."""
    train(cheap, "one")
    commit(cheap)
    shutil.rmtree(cheap.root / ".dvc" / "cache")
    with pytest.raises(Refusal, match=r"The champion of cheap \(promoted by .* on main\) cannot be fetched") as refused:
        find(cheap)
    assert "make push" in refused.value.do
    assert "If it is lost for good, reset it: docs/how-to/reset-the-champion.md." in refused.value.do


def test_without_git_the_champion_is_not_known(cheap: Model) -> None:
    """No git is not the same as no champion."""
    shutil.rmtree(cheap.root / ".git")
    with pytest.raises(Refusal, match="is not a git repository, so the champion is not known"):
        champion.locate(cheap)


def test_without_any_commit_there_was_never_a_champion(cheap: Model) -> None:
    """In a repository without a commit nothing can have been promoted: the version is a first one."""
    train(cheap, "one")
    shutil.rmtree(cheap.root / ".git")
    git(cheap, "init", "-q", "-b", "main")
    assert champion.locate(cheap) is None


def test_without_a_default_branch_the_champion_is_not_known(cheap: Model) -> None:
    """A clone of one branch only, as runners make them, must not look like a model without a champion."""
    train(cheap, "one")
    commit(cheap)
    git(cheap, "checkout", "-q", "-b", "work")
    git(cheap, "branch", "-q", "-D", "main")
    with pytest.raises(Refusal, match="git knows no default branch here") as refused:
        champion.locate(cheap)
    assert "git remote set-head origin --auto" in refused.value.do


def test_a_default_branch_that_was_not_fetched_is_said(cheap: Model) -> None:
    """The remote's default branch is named and its commit is not here: fetch it."""
    git(cheap, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/trunk")
    with pytest.raises(Refusal, match="origin/trunk has not been fetched"):
        champion.locate(cheap)


def test_a_broken_lock_on_the_default_branch_is_refused(cheap: Model) -> None:
    """Conflict markers that were committed do not read as a model without a champion."""
    (cheap.folder / "dvc.lock").write_text("<" * 7 + " HEAD\nstages: [\n")
    commit(cheap)
    with pytest.raises(Refusal, match=r"dvc\.lock is not valid"):
        champion.locate(cheap)


def test_a_lock_that_was_broken_once_and_mended_blocks_nothing(cheap: Model) -> None:
    """History keeps every mistake; the champion is what the branch holds now."""
    (cheap.folder / "dvc.lock").write_text("stages: [\n")
    commit(cheap)
    (cheap.folder / "dvc.lock").unlink()
    version = train(cheap, "one")
    promoted = commit(cheap)
    found = find(cheap)
    assert found is not None
    assert (found.version, found.promoted.commit) == (version, promoted)
    assert champion.previous(cheap, found) is None


def test_a_reset_counts_once(cheap: Model) -> None:
    """The reset under which the champion was promoted is spent; another reason is another reset."""
    (cheap.folder / "model.toml").write_text('[gate]\nchampion = "reset"\nreason = "Another device measures now."\n')
    train(cheap, "one")
    commit(cheap)
    found = champion.locate(cheap)
    assert found is not None
    assert champion.reset_is_spent(cheap, found, "Another device measures now.")
    assert not champion.reset_is_spent(cheap, found, "The target was redefined.")


def test_facts_are_those_of_the_default_branch(cheap: Model) -> None:
    """What the report shows of the champion is what was committed with it, not what lies here."""
    train(cheap, "one")
    cheap.json("cost").write_text('{"size_bytes": 1}')
    commit(cheap)
    cheap.json("cost").write_text('{"size_bytes": 2}')
    found = find(cheap)
    assert found is not None
    assert champion.fact(cheap, found, "cost") == {"size_bytes": 1}
    assert champion.fact(cheap, found, "explanation") is None
