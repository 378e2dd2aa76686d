"""Does the verb plan from commits alone, tell the workflow what it needs, and refuse in sentences?"""

import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pages
import pytest
import trees
from test_planning_affected import CHANGES, repository
from trees import Link

from mlops import cli, git
from mlops.errors import Refusal
from mlops.planning import affected, command
from mlops.planning.commits import Repository

TOML = pages.TOML.encode()

SMALL: dict[str, bytes | Link] = {
    "models/alpha/model.toml": TOML,
    "models/alpha/dvc.yaml": b"stages:\n  a: {cmd: x, outs: [export]}\n",
    "models/beta/model.toml": TOML + b'[budget]\nrunner = "big-1"\nminutes = 90\n',
    "models/beta/dvc.yaml": b"stages:\n  a: {cmd: x, deps: [../../data/in, ../alpha/export], outs: [export]}\n",
    "packages/mlops/pyproject.toml": b'[project]\nname = "mlops"\n',
    "data/in/a.csv": b"1",
    "uv.lock": b"version = 1\n",
}


def do(root: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(root: Path, files: trees.Files) -> str:
    """A commit of exactly these files, on the branch that is checked out; the work tree is not touched."""
    if not (root / ".git").exists():
        root.mkdir(exist_ok=True)
        do(root, "init", "-q", "-b", "main")
    lines = []
    for path, content in sorted(files.items()):
        text = content if isinstance(content, bytes) else os.fsencode(content.target)
        done = subprocess.run(
            ["git", "hash-object", "-w", "--stdin"], cwd=root, input=text, capture_output=True, check=True
        )
        mode = b"120000" if isinstance(content, Link) else b"100644"
        lines.append(b"%s %s 0\t%s" % (mode, done.stdout.strip(), os.fsencode(path)))
    do(root, "read-tree", "--empty")
    given = b"\0".join(lines) + b"\0"
    subprocess.run(["git", "update-index", "-z", "--index-info"], cwd=root, input=given, check=True)
    do(root, "commit", "-q", "--allow-empty", "-m", "x")
    return do(root, "rev-parse", "HEAD")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """`SMALL` on main, with a branch `change` that edits a file of `alpha`."""
    root = tmp_path / "small"
    commit(root, SMALL)
    do(root, "checkout", "-q", "-f", "-b", "change")
    commit(root, SMALL | {"models/alpha/contract.py": b"x"})
    return root


def from_git(root: Path, base: str, head: str) -> list[affected.Affected]:
    old, new = Repository(root).commits(base, head)
    return affected.plan(old.tree(), new.tree(), git.changed_between(root, base, head))


def planned(value: Any) -> dict[str, list[str]]:
    return {one["model"]: one["reasons"] for one in value["models"]}


@pytest.mark.parametrize("seed", range(4))
def test_a_commit_says_what_its_files_say(seed: int, tmp_path: Path) -> None:
    """Read from git, cold and from the cache: the plan of the same files as values, with its reasons and folders."""
    chance = random.Random(seed)
    base = repository(chance)
    first = commit(tmp_path, base)
    for _ in range(3):
        head: dict[str, Any] = dict(base)
        for _ in range(2):
            chance.choice(CHANGES)(head, chance)
        second = commit(tmp_path, head)
        expected = list(trees.plan(base, head).values())
        assert from_git(tmp_path, first, second) == expected
        assert from_git(tmp_path, first, second) == expected


def test_a_link_leads_to_what_it_names(tmp_path: Path) -> None:
    """A model's own link, one in a folder that it reads, and one in a package."""
    files = SMALL | {
        "models/alpha/src": Link("../../shared/code"),
        "data/in/more": Link("../../far"),
        "packages/mlops/vendor": Link("../../third"),
        "models/alpha/pyproject.toml": b'[project]\nname = "alpha"\ndependencies = ["mlops"]\n',
        "shared/code/x.py": b"",
        "far/y.csv": b"",
        "third/z.py": b"",
        "out": Link("/etc"),
        "self": Link("self/self"),
    }
    base = commit(tmp_path, files)
    for path, expected in {
        "shared/code/x.py": {"alpha", "beta"},
        "far/y.csv": {"beta"},
        "third/z.py": {"alpha", "beta"},
        "elsewhere": set(),
    }.items():
        head = commit(tmp_path, files | {path: b"changed"})
        assert {one.model for one in from_git(tmp_path, base, head)} == expected, path


NAMES = [
    'quo"te.py',
    "new\nline.py",
    "tab\t.py",
    "ünï.py",
    "-rf",
    "a b.py",
    "$(touch x).py",
    "\udcff\udcfe.py",
    "a\\b.py",
    "'",
]


def test_names_that_git_quotes_are_whole_names(tmp_path: Path) -> None:
    """In a model, in a folder that it reads and in its cache; what is said of them is one printable line."""
    base = commit(tmp_path, SMALL)
    for name in NAMES:
        own = commit(tmp_path, SMALL | {f"models/alpha/{name}": b""})
        assert [one.model for one in from_git(tmp_path, base, own)] == ["alpha", "beta"]
        read = commit(tmp_path, SMALL | {f"data/in/{name}": b""})
        (one,) = from_git(tmp_path, base, read)
        assert one.model == "beta"
        assert all(reason.isprintable() and len(reason) < 260 for reason in one.reasons)


@pytest.mark.parametrize("name", ["a b", "new\nline", "$(x)", "UPPER", "-x", "ünï", "\udcff", "x" * 200, '"', "mlops"])
def test_a_model_whose_name_is_none_is_refused_by_name(name: str, tmp_path: Path) -> None:
    """It would become the name of a job, an artifact and a folder."""
    commit(tmp_path, SMALL)
    do(tmp_path, "checkout", "-q", "-f", "-b", "change")
    commit(tmp_path, SMALL | {f"models/{name}/model.toml": TOML})
    with pytest.raises(Refusal, match="cannot be planned: the name of a model") as caught:
        command.plan(tmp_path, "main", "change")
    assert len(str(caught.value).splitlines()) == 2


def test_the_verb_says_which_models_and_why(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a person as lines, for a machine as one value, for a workflow as a file, outputs and a summary."""
    for name in ("output", "summary"):
        monkeypatch.setenv(f"GITHUB_{'STEP_SUMMARY' if name == 'summary' else 'OUTPUT'}", str(small / name))
    outcome = command.plan(small, "main", "change", into=str(small / "plan.json"))
    assert outcome.text.splitlines() == [
        "The change can affect 2 of 2 models.",
        "  alpha: own files changed: contract.py",
        "  beta: models/alpha/export is made by models/alpha, which is affected",
    ]
    assert json.loads((small / "plan.json").read_text()) == outcome.value
    assert outcome.value["base"] == do(small, "rev-parse", "main")
    assert outcome.value["head"] == do(small, "rev-parse", "change")
    assert [(one["runner"], one["minutes"], one["also"]) for one in outcome.value["models"]] == [
        ("ubuntu-24.04", 60, []),
        ("big-1", 90, ["data/in", "models/alpha"]),
    ]
    said = (small / "output").read_text().splitlines()
    values = dict(zip((line.partition("\x3c")[0] for line in said[::3]), said[1::3], strict=True))
    assert values["writable"] == "false"
    assert values["models"] == "alpha beta"
    assert json.loads(values["shards"]) == [
        [
            {"model": "alpha", "runner": "ubuntu-24.04", "minutes": 60, "also": ""},
            {"model": "beta", "runner": "big-1", "minutes": 90, "also": "data/in\nmodels/alpha"},
        ]
    ]
    assert "| `alpha` | own files changed" in (small / "summary").read_text()


def test_a_change_of_pages_plans_nothing(small: Path) -> None:
    """No shard, so that no job starts."""
    do(small, "checkout", "-q", "-f", "main")
    do(small, "checkout", "-q", "-b", "pages")
    commit(
        small,
        SMALL | {"README.md": b"x", "docs/a.md": b"x", "models/alpha/CARD.md": b"x", "packages/mlops/README.md": b"x"},
    )
    outcome = command.plan(small, "main", "pages")
    assert outcome.value["models"] == []
    assert command.shards(outcome.value["models"]) == "[]"


def test_only_what_the_branch_changed_counts(small: Path) -> None:
    """Commits that the base got in the meantime are not the change."""
    do(small, "checkout", "-q", "-f", "main")
    commit(small, SMALL | {"models/beta/contract.py": b"later"})
    assert set(planned(command.plan(small, "main", "change").value)) == {"alpha", "beta"}
    assert "own files" not in planned(command.plan(small, "main", "change").value)["beta"][0]


def test_the_work_tree_does_not_matter(small: Path, tmp_path: Path) -> None:
    """A bare clone, a sparse one without the models, and one without any file's bytes plan the same."""
    expected = planned(command.plan(small, "main", "change").value)
    do(small, "config", "uploadpack.allowFilter", "true")
    do(small, "config", "uploadpack.allowAnySHA1InWant", "true")
    for name, options in {
        "bare": ["--bare"],
        "sparse": ["--no-local", "--sparse"],
        "blobless": ["--no-local", "--no-checkout", "--filter=blob:none"],
    }.items():
        do(tmp_path, "clone", "-q", *options, f"file://{small}", name)
        base = "main" if name == "bare" else "origin/main"
        assert planned(command.plan(tmp_path / name, base, "change").value) == expected, name


def test_what_a_clone_lacks_is_fetched_in_one_go(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file after the other, thousands of models would take an hour."""
    many = {
        f"models/m{number}/{name}": SMALL[f"models/beta/{name}"]
        for number in range(40)
        for name in ("model.toml", "dvc.yaml")
    }
    do(small, "checkout", "-q", "-f", "-b", "many", "main")
    commit(small, {**SMALL, **many, **{f"{path}.py": path.encode() for path in many}})
    do(small, "config", "uploadpack.allowFilter", "true")
    do(small, "config", "uploadpack.allowAnySHA1InWant", "true")
    do(tmp_path, "clone", "-q", "--no-local", "--no-checkout", "--filter=blob:none", f"file://{small}", "clone")
    monkeypatch.setenv("GIT_TRACE", str(tmp_path / "trace"))
    assert len(command.plan(tmp_path / "clone", "origin/main", "origin/many").value["models"]) == 40
    fetches = [line for line in (tmp_path / "trace").read_text().splitlines() if "built-in: git fetch" in line]
    assert 1 <= len(fetches) <= 4


def test_the_verb_runs_in_a_sparse_checkout_on_a_bare_python(small: Path, tmp_path: Path) -> None:
    """As the workflow starts it: no package installed, no model checked out."""
    do(tmp_path, "clone", "-q", "--no-local", "--sparse", f"file://{small}", "clone")
    do(tmp_path / "clone", "sparse-checkout", "set", "packages/mlops")
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).resolve().parents[1])}
    run = [sys.executable, "-S", "-s", "-m", "mlops", "plan", "--base", "origin/main", "--head", "change", "--json"]
    done = subprocess.run(run, cwd=tmp_path / "clone", env=environment, capture_output=True, text=True, check=True)
    assert set(planned(json.loads(done.stdout))) == {"alpha", "beta"}


def test_without_revisions_it_compares_head_with_the_default_branch(small: Path) -> None:
    assert set(planned(command.plan(small).value)) == {"alpha", "beta"}


@pytest.mark.parametrize("revision", ["nowhere", "--help", "", "0" * 40, "a b", "main:uv.lock", "x\ny"])
def test_an_unknown_revision_is_refused(small: Path, revision: str) -> None:
    with pytest.raises(Refusal, match="There is no commit") as caught:
        command.plan(small, revision, "change")
    assert "fetch-depth: 0" in caught.value.do
    assert len(str(caught.value).splitlines()) == 2


def test_a_shallow_clone_is_told_to_fetch_more(small: Path, tmp_path: Path) -> None:
    do(small, "checkout", "-q", "-f", "main")
    commit(small, SMALL | {"x": b""})
    do(tmp_path, "clone", "-q", "--no-local", "--depth=1", "--no-single-branch", f"file://{small}", "shallow")
    with pytest.raises(Refusal, match="no commit in common: this clone is shallow") as caught:
        command.plan(tmp_path / "shallow", "origin/main", "origin/change")
    assert "fetch-depth: 0" in caught.value.do


def test_separate_histories_are_refused(small: Path) -> None:
    do(small, "checkout", "-q", "-f", "--orphan", "other")
    commit(small, {"uv.lock": b"other"})
    with pytest.raises(Refusal, match="their histories are separate"):
        command.plan(small, "main", "other")


def test_without_a_lock_it_says_how_to_make_one(tmp_path: Path) -> None:
    """Nobody would know what is installed."""
    commit(tmp_path, {path: text for path, text in SMALL.items() if path != "uv.lock"})
    with pytest.raises(Refusal, match=r"uv\.lock is not committed") as caught:
        command.plan(tmp_path, "main", "main")
    assert caught.value.do == "Run `make setup` and commit uv.lock."


@pytest.mark.parametrize(
    "toml", [b"", b"[model", TOML + b"[budget]\nminutes = 0\n", b"\xff", TOML + b'[budget]\nrunner = "${{ x }}"\n']
)
def test_a_broken_model_toml_is_refused_by_name(small: Path, toml: bytes) -> None:
    commit(small, SMALL | {"models/alpha/model.toml": toml})
    with pytest.raises(Refusal, match=r"^models/alpha/model\.toml"):
        command.plan(small, "main", "change")


def test_thousands_of_models_fit_into_the_outputs() -> None:
    """GitHub counts UTF-16 and takes 1 MB per job; a matrix has at most 256 jobs, whatever the names."""
    for length in (10, 50):
        models = [
            {
                "model": f"m{number:0{length - 1}d}",
                "runner": "ubuntu-24.04",
                "minutes": 60,
                "also": [],
                "reasons": ["x"],
            }
            for number in range(5000)
        ]
        text = command.shards(models)
        names = command.names(models, room=command.MOST_OUTPUT - len(text.encode("utf-16-le")))
        assert len((text + names).encode("utf-16-le")) < 2**20
        # Where there is no room for all names, all models are tested.
        assert names == ("." if length == 50 else " ".join(str(one["model"]) for one in models))
        shards = json.loads(text)
        assert [job["model"] for shard in shards for job in shard] == [one["model"] for one in models]
        assert max(map(len, shards)) == 256
        assert len(shards) == 20


def test_a_plan_that_does_not_fit_is_refused_before_github_does() -> None:
    models = [
        {"model": f"m{number}", "runner": "r" * 100, "minutes": 60, "also": ["data/" + "x" * 60], "reasons": []}
        for number in range(5000)
    ]
    with pytest.raises(Refusal, match="too long for GitHub"):
        command.shards(models)


def test_the_summary_of_many_hostile_models_is_bounded_and_harmless() -> None:
    hostile = "@everyone <img src=x> [a](http://x) | \n::error::x ![](http://x) `" * 5
    models = [
        {"model": f"m{number}", "runner": "r", "minutes": 1, "also": [], "reasons": [hostile] * 4}
        for number in range(5000)
    ]
    text = command.summary(models, 5000)
    assert len(text.encode()) < 1_000_000
    assert "4,500 more models" in text
    assert not any(sign in text for sign in ("@everyone", "<img", "](http", "\n::"))


def test_what_it_remembers_can_be_lost_broken_or_of_another_version(small: Path) -> None:
    """The file is only a shortcut."""
    expected = planned(command.plan(small, "main", "change").value)
    path = small / ".cache" / "plan" / "folders.json"
    right = path.read_text()
    for text in (
        "",
        "\n",
        "{",
        "[]",
        "null",
        right[: len(right) // 2],
        right + " ",
        right.replace("data/in", "data/on"),
    ):
        assert text != right
        path.write_text(text)
        assert planned(command.plan(small, "main", "change").value) == expected
    path.unlink()
    path.mkdir()
    assert planned(command.plan(small, "main", "change").value) == expected


def test_what_it_remembers_of_a_template_follows_the_files_that_fill_it(tmp_path: Path) -> None:
    """The folder is the same, and it reads something else."""
    files = SMALL | {
        "models/beta/dvc.yaml": b"vars: [../../p.yaml]\nstages:\n  a: {cmd: x, deps: ['../../data/${d}'], outs: [o]}\n",
        "p.yaml": b"d: one\n",
    }
    one, two = commit(tmp_path, files), commit(tmp_path, files | {"p.yaml": b"d: two\n"})
    three = commit(tmp_path, files | {"p.yaml": b"d: two\n", "data/two": b""})
    assert [found.model for found in from_git(tmp_path, one, two)] == ["beta"]
    assert [found.model for found in from_git(tmp_path, two, three)] == ["beta"]
    four = commit(tmp_path, files | {"data/two": b""})
    assert from_git(tmp_path, one, four) == []


def test_two_plans_at_once_do_not_disturb_each_other(small: Path) -> None:
    found: list[Any] = []
    work = [
        threading.Thread(target=lambda: found.append(planned(command.plan(small, "main", "change").value)))
        for _ in range(6)
    ]
    for one in work:
        one.start()
    for one in work:
        one.join()
    assert len(found) == 6
    assert all(one == found[0] for one in found)
    assert sorted(path.name for path in (small / ".cache" / "plan").iterdir()) == ["folders.json"]
