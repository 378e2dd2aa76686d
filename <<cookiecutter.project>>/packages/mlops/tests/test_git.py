"""Does git answer what the champion and the lineage need, in every state that a repository can be in?"""

import os
import subprocess
from pathlib import Path

import pytest

from mlops import git
from mlops.errors import Refusal


def do(root: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with two commits of `models/a/dvc.lock`."""
    root = tmp_path / "repository"
    lock = root / "models" / "a" / "dvc.lock"
    lock.parent.mkdir(parents=True)
    do(root, "init", "-q", "-b", "main")
    for text in ("one\n", "two\n"):
        lock.write_text(text)
        do(root, "add", "-A")
        do(root, "commit", "-q", "-m", text.strip())
    return root


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A repository before its first commit."""
    root = tmp_path / "empty"
    root.mkdir()
    do(root, "init", "-q", "-b", "main")
    return root


def test_changed_files_are_told_relative_to_their_folder(repository: Path) -> None:
    """New, changed and deleted ones, staged or not; ignored ones and those of other folders are not."""
    folder = repository / "models" / "a"
    (folder / "gone.json").write_text("{}")
    (folder / "staged.json").write_text("{}")
    do(repository, "add", "-A")
    do(repository, "commit", "-q", "-m", "more")
    assert git.changed(folder) == []
    (folder / "dvc.lock").write_text("three\n")
    (folder / "gone.json").unlink()
    (folder / "ü new.json").write_text("{}")
    (folder / "staged.json").write_text("[]")
    do(repository, "add", str(folder / "staged.json"))
    (folder / ".gitignore").write_text("ignored\n")
    (folder / "ignored").write_text("")
    (repository / "other").write_text("")
    assert git.changed(folder) == [".gitignore", "dvc.lock", "gone.json", "staged.json", "ü new.json"]


def test_before_the_first_commit_everything_is_changed(empty: Path) -> None:
    (empty / "one").write_text("")
    (empty / "two").write_text("")
    do(empty, "add", "one")
    assert git.changed(empty) == ["one", "two"]


def test_a_failure_is_gits_own_first_line_and_the_place(repository: Path) -> None:
    """No traceback, no page of usage."""
    with pytest.raises(Refusal, match=r"git show failed: .*nowhere") as caught:
        git.run(repository, "show", "nowhere")
    assert str(repository) in caught.value.do
    assert len(str(caught.value).splitlines()) == 2


def test_without_git_it_says_what_to_install(repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A container without git."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refusal, match="git is not installed"):
        git.run(repository, "status")


def test_without_git_no_question_is_answered_with_no(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A repository is not called a folder without git because nobody could ask."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refusal, match="git is not installed"):
        git.is_repository(repository)


def test_a_repository_is_told_from_a_folder(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also from inside it."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert git.is_repository(repository)
    assert git.is_repository(repository / "models" / "a")
    assert not git.is_repository(tmp_path)


def test_the_head_is_a_whole_commit_or_nothing(repository: Path, empty: Path) -> None:
    """Before the first commit there is none, and that is no error."""
    assert git.head(repository) == do(repository, "rev-parse", "main")
    assert git.head(empty) is None


def test_only_tracked_files_below_the_path_count_as_modified(repository: Path) -> None:
    """What training itself writes beside them does not."""
    (repository / "untracked").write_text("x")
    assert not git.is_modified(repository, ".")
    (repository / "models" / "a" / "dvc.lock").write_text("three\n")
    assert git.is_modified(repository, "models/a")
    assert git.is_modified(repository, ".")
    assert not git.is_modified(repository, "models/b")
    do(repository, "add", "-A")
    assert git.is_modified(repository, "models/a")


def test_a_file_is_read_at_any_revision_and_absent_is_none(repository: Path) -> None:
    """The work tree does not matter."""
    (repository / "models" / "a" / "dvc.lock").unlink()
    assert git.show(repository, "main", "models/a/dvc.lock") == "two\n"
    assert git.show(repository, "main~1", "models/a/dvc.lock") == "one\n"
    assert git.show(repository, "main", "models/b/dvc.lock") is None


def test_letters_beyond_ascii_come_back_as_they_are(repository: Path) -> None:
    """Whatever the locale."""
    (repository / "ü").write_text("größer\n", encoding="utf-8")
    do(repository, "add", "-A")
    do(repository, "commit", "-q", "-m", "ü")
    assert git.show(repository, "main", "ü") == "größer\n"


def test_the_commits_of_a_path_are_newest_first(repository: Path) -> None:
    """And those of other paths are left out."""
    (repository / "other").write_text("x")
    do(repository, "add", "-A")
    do(repository, "commit", "-q", "-m", "other")
    both = [do(repository, "rev-parse", "main~1"), do(repository, "rev-parse", "main~2")]
    assert git.commits(repository, "main", "models/a/dvc.lock") == both
    assert git.commits(repository, "main", "models/b/dvc.lock") == []


@pytest.mark.parametrize("branch", ["main", "master"])
def test_without_a_remote_the_default_branch_is_main_or_master(repository: Path, branch: str) -> None:
    """Whatever branch is checked out."""
    do(repository, "branch", "-q", "-m", branch)
    do(repository, "checkout", "-q", "-b", "feature")
    assert git.default_branch(repository) == branch


def test_the_remotes_own_default_comes_first(repository: Path, tmp_path: Path) -> None:
    """A clone knows it, whatever its name; a local main may lie behind."""
    do(repository, "branch", "-q", "-m", "trunk")
    do(tmp_path, "clone", "-q", str(repository), "clone")
    clone = tmp_path / "clone"
    do(clone, "branch", "main", "HEAD~1")
    assert git.default_branch(clone) == "origin/trunk"
    do(clone, "remote", "set-head", "origin", "--delete")
    assert git.default_branch(clone) == "main"


def test_before_the_first_commit_there_is_no_default_branch(empty: Path) -> None:
    """And that is no error: the first model has no champion."""
    assert git.default_branch(empty) is None


def test_a_tag_named_main_does_not_stand_in_for_the_branch(repository: Path) -> None:
    """Only a commit counts; an ambiguous name still gives one."""
    do(repository, "checkout", "-q", "-b", "feature")
    do(repository, "branch", "-q", "-D", "main")
    blob = do(repository, "hash-object", "-w", "models/a/dvc.lock")
    do(repository, "tag", "main", blob)
    assert git.default_branch(repository) is None


def test_a_hostile_name_is_data_to_git(repository: Path) -> None:
    """Names reach git as arguments, never as options or a shell's words."""
    for path in ("; touch x", "$(touch x)", "a b", '"'):
        assert git.show(repository, "main", path) is None
        assert git.commits(repository, "main", path) == []
        assert not git.is_modified(repository, path)
    assert sorted(os.listdir(repository)) == [".git", "models"]
