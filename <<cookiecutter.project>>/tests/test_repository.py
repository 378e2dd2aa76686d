"""Promises about the repository as a whole: every model is complete, its parts agree, and the pages tell the truth."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlops import config, privacy, scaffold, tracking, workspace
from mlops.planning import paths, projects
from mlops.planning.projects import Workspace

ROOT = Path(__file__).resolve().parents[1]
MODELS = workspace.models(ROOT)
STAGES = ["ingest", "check", "split", "tune", "train", "evaluate", "explain", "age"]
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def of_git(*arguments: str) -> str:
    """What git says about this repository."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout


def toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def pages() -> list[Path]:
    """README files and the documentation."""
    return [
        ROOT / "README.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "packages").glob("*/README.md")),
    ]


def test_a_folder_in_models_is_a_model() -> None:
    """A folder without `model.toml` would be skipped by every command, in silence."""
    folders = {path.name for path in (ROOT / "models").iterdir() if path.is_dir() and not path.name.startswith(".")}
    assert folders == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_has_its_files(name: str) -> None:
    folder = ROOT / "models" / name
    needed = (
        "contract.py",
        "dvc.yaml",
        "model.toml",
        "pyproject.toml",
        f"src/{name}/ingest.py",
        f"src/{name}/model.py",
    )
    assert [path for path in needed if not (folder / path).is_file()] == []


@pytest.mark.parametrize("name", MODELS)
def test_the_names_of_a_model_agree(name: str) -> None:
    folder = ROOT / "models" / name
    assert scaffold.problem(name) == ""
    assert toml(folder / "pyproject.toml")["project"]["name"] == name
    assert [path.name for path in (folder / "src").iterdir() if (path / "__init__.py").is_file()] == [name]


@pytest.mark.parametrize("name", MODELS)
def test_a_model_toml_is_valid(name: str) -> None:
    settings = config.load(ROOT / "models" / name / "model.toml")
    assert settings.model.owner
    assert settings.model.description


@pytest.mark.parametrize("name", MODELS)
def test_a_pipeline_has_the_stages_that_the_command_line_runs(name: str) -> None:
    pipeline = yaml.safe_load((ROOT / "models" / name / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert list(pipeline) == STAGES
    assert {stage: body["cmd"] for stage, body in pipeline.items()} == {stage: f"mlops {stage}" for stage in STAGES}


@pytest.mark.parametrize("name", MODELS)
def test_a_pipeline_runs_again_when_what_it_reads_changes(name: str) -> None:
    """Code, contract and each section of `model.toml` reach a stage; a forgotten one would train the old way."""
    pipeline = yaml.safe_load((ROOT / "models" / name / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    read = {dep for body in pipeline.values() for dep in body["deps"]}
    assert {"contract.py", f"src/{name}", f"src/{name}/ingest.py"} <= read
    # Ingest gives the columns the contract's types; with the old ones the check would refuse the right data.
    assert "contract.py" in pipeline["ingest"]["deps"]
    assert "contract.py" in pipeline["check"]["deps"]
    keys = {key.split(".")[0] for body in pipeline.values() for one in body["params"] for key in one["model.toml"]}
    assert {"data", "split", "train", "tune", "evaluate", "drift"} <= keys


def unread_packages(root: Path, name: str) -> list[str]:
    """Packages of this repository that a model depends on, and that none of its stages does."""
    folder = f"models/{name}"
    files = {path.parent.relative_to(root).as_posix(): path for path in root.glob("*/*/pyproject.toml")}
    found = {place: projects.read(f"{place}/pyproject.toml", path.read_bytes()) for place, path in files.items()}
    found[""] = projects.read("pyproject.toml", (root / "pyproject.toml").read_bytes())
    pipeline = yaml.safe_load((root / folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    read = [paths.join(folder, dep) or "" for body in pipeline.values() for dep in body["deps"]]
    # The one of the command line runs the stages, and the service's loads versions for it; with others of them the same
    # data gives the same version.
    known = {"packages/mlops", "packages/serve", *(f"models/{other}" for other in workspace.models(root))}
    needed = Workspace(found).reach(folder) - known
    return sorted(one for one in needed if not any(paths.within(place, one) for place in read))


@pytest.mark.parametrize("name", MODELS)
def test_a_pipeline_reads_the_packages_that_the_model_depends_on(name: str) -> None:
    """DVC trains again when a `deps` entry changed; one that is none would change the model and not its version."""
    assert unread_packages(ROOT, name) == []


def test_a_package_that_no_stage_reads_is_seen(tmp_path: Path) -> None:
    """The breaker: a package by another package, in no `deps`; then as a `deps` entry."""
    for path, text in {
        "pyproject.toml": '[project]\nname = "all"\n',
        "models/m/pyproject.toml": '[project]\nname = "m"\ndependencies = ["mlops", "My.Features[fast]>=1"]\n',
        "models/m/model.toml": "",
        "models/m/dvc.yaml": "stages:\n  a: {cmd: x, deps: [../../packages/features/src]}\n",
        "packages/mlops/pyproject.toml": '[project]\nname = "mlops"\n',
        "packages/features/pyproject.toml": (
            '[project]\nname = "my-features"\n[project.optional-dependencies]\nfast = ["core"]\n'
        ),
        "packages/core/pyproject.toml": '[project]\nname = "core"\n',
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    assert unread_packages(tmp_path, "m") == ["packages/core"]
    more = "stages:\n  a: {cmd: x, deps: [../../packages/features/src, ../../packages/core/x.py]}\n"
    (tmp_path / "models/m/dvc.yaml").write_text(more, encoding="utf-8")
    assert unread_packages(tmp_path, "m") == []


@pytest.mark.parametrize("name", MODELS)
def test_a_model_imports_no_other_model_and_no_internals(name: str) -> None:
    others = "|".join(one for one in [*MODELS, "mlops"] if one != name)
    for path in (ROOT / "models" / name / "src").rglob("*.py"):
        found = re.findall(rf"(?m)^\s*(?:from|import)\s+(?:{others})\b.*", path.read_text(encoding="utf-8"))
        assert found == [], path


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    links = [link for link in LINK.findall(path.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_every_page_is_found_from_the_first() -> None:
    reached: set[Path] = set()
    rest = [ROOT / "docs" / "README.md"]
    while rest:
        page = rest.pop()
        reached.add(page.resolve())
        links = LINK.findall(page.read_text(encoding="utf-8"))
        found = {(page.parent / link).resolve() for link in links if link.endswith(".md") and "://" not in link}
        rest += sorted(found - reached)
    assert {path.resolve() for path in (ROOT / "docs").rglob("*.md")} <= reached


def test_the_readme_lists_the_commands_of_the_makefile() -> None:
    targets = set(re.findall(r"(?m)^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8")))
    table = re.findall(r"(?m)^\| `make ([a-z-]+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(table) == len(set(table))
    assert set(table) == targets


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"(?m)^\.PHONY: (.*)$", makefile)
    assert phony is not None
    said = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert {line.split()[1] for line in said.splitlines()} == set(phony[1].split())


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        (".venv/bin/python", True),
        (".tools/bin/uv", True),
        ("reports/report.html", True),
        ("mlflow.db", True),
        ("mlartifacts/1/x", True),
        (".dvc/cache/files/md5/00/x", True),
        (".dvc/storage/files/md5/00/x", True),
        (".dvc/config.local", True),
        ("models/m/data/raw.parquet", True),
        ("models/m/export/model.skops", True),
        ("models/m/metrics.json", False),
        ("models/m/dvc.lock", False),
        ("models/m/CARD.md", False),
        ("models/m/plots/roc.csv", False),
        (".dvc/config", False),
        ("uv.lock", False),
    ],
)
def test_git_keeps_facts_and_leaves_out_what_can_be_made_again(path: str, ignored: bool) -> None:
    done = subprocess.run(["git", "check-ignore", "--quiet", "--no-index", path], cwd=ROOT, check=False)
    assert done.returncode == (0 if ignored else 1)


def test_no_large_file_is_committed() -> None:
    """Data and versions belong into the storage; git keeps every byte for ever."""
    found = [ROOT / path for path in of_git("ls-files", "-z").split("\0") if path and path != "uv.lock"]
    assert [path for path in found if path.is_file() and path.stat().st_size > 1_000_000] == []


def test_nothing_is_sent_to_others_by_default() -> None:
    assert "analytics = false" in (ROOT / ".dvc" / "config").read_text(encoding="utf-8")
    exported = re.findall(r"(?m)^export (\w+) := true$", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert set(exported) == set(privacy.SILENCE)


def test_runs_are_shown_on_this_machine_only() -> None:
    """`make ui` has no login: it listens on loopback, and reads the store that training writes."""
    run = ["make", "--no-print-directory", "--dry-run", "ui"]
    said = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "--host 127.0.0.1 " in said
    assert f'"sqlite:///$PWD/{tracking.DATABASE}"' in said
    assert said.rstrip().endswith(f"--artifacts-destination {tracking.ARTIFACTS}")
