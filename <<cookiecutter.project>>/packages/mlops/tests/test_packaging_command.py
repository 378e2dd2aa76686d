"""`mlops package` with stand-ins for `docker` and `uv`: what it asks of them, and every way in which it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlops import cli, storage
from mlops.workspace import Model

DOCKER = """
import json, os, pathlib, sys
home = pathlib.Path(os.environ["STAND_IN"])
words = sys.argv[1:]
with (home / "docker.jsonl").open("a") as log:
    log.write(json.dumps([os.environ.get("DOCKER_BUILDKIT"), *words]) + "\\n")
plan = json.loads((home / "plan.json").read_text())
if words == ["--version"]:
    print(plan.get("version", "Docker version 20.10.24, build 0"))
elif words[0] == "version" and plan.get("down"):
    sys.exit("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.")
elif words[:2] == ["buildx", "version"]:
    sys.exit(not plan.get("buildx"))
elif "build" in words[:2]:
    here = pathlib.Path(words[-1])
    files = {p.relative_to(here).as_posix(): p.read_text(errors="replace") for p in here.rglob("*") if p.is_file()}
    (home / "context.json").write_text(json.dumps(files))
    if plan.get("broken"):
        print("\\n".join(f"line {n}" for n in range(40)))
        sys.exit("no matching distribution")
elif words[0] == "push" and plan.get("denied"):
    sys.exit("denied: not allowed")
elif words[:2] == ["image", "inspect"]:
    name = plan.get("pushed", "elsewhere") + "@sha256:" + "2" * 64
    print(json.dumps([{"Id": "sha256:" + "1" * 64, "Size": 212_000_000, "RepoDigests": [name]}]))
"""
UV = """
import json, os, pathlib, sys
home = pathlib.Path(os.environ["STAND_IN"])
with (home / "uv.jsonl").open("a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
plan = json.loads((home / "plan.json").read_text())
if plan.get("no lock"):
    sys.exit("error: The lockfile is of another version\\nhint: none")
if "image" in sys.argv:
    print("uv==0.13.8 \\\\\\n    --hash=sha256:00")
elif "serve" in sys.argv:
    print("scikit-learn==" + plan.get("locked", "1.9.1") + " \\\\\\n    --hash=sha256:11")
    if "polars" not in sys.argv:
        print("polars==2.1.0 \\\\\\n    --hash=sha256:22")
else:
    print("lightgbm==4.6.0 \\\\\\n    --hash=sha256:33")
"""
PLACE = "ghcr.io/acme/care"


class StandIn:
    """What the programs were asked, and how they shall behave."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.plan()

    def plan(self, **how: Any) -> None:
        """From now on: `down`, `broken`, `denied`, `version`, `buildx`, `pushed`, `no lock`, `locked`."""
        (self.home / "plan.json").write_text(json.dumps(how))

    def asked(self, program: str) -> list[list[str]]:
        """Every call so far; for docker the first word is DOCKER_BUILDKIT."""
        log = self.home / f"{program}.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    @property
    def build(self) -> list[str]:
        """The call that built."""
        return next(call for call in self.asked("docker") if "build" in call[1:3])

    @property
    def context(self) -> dict[str, str]:
        """The files that the build got."""
        found: dict[str, str] = json.loads((self.home / "context.json").read_text())
        return found


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Stand-ins for `docker` and `uv`, first on the PATH."""
    home = tmp_path / "stand-in"
    home.mkdir()
    for name, code in (("docker", DOCKER), ("uv", UV)):
        (home / name).write_text(f"#!{sys.executable}\n{code}")
        (home / name).chmod(0o755)
    monkeypatch.setenv("STAND_IN", str(home))
    monkeypatch.setenv("PATH", os.pathsep.join([str(home), os.environ["PATH"]]))
    for name in ("BASE_IMAGE", "SSL_CERT_FILE", "NETRC", "PIP_CONFIG_FILE", "UV_CONFIG_FILE", "GITHUB_OUTPUT"):
        monkeypatch.delenv(name, raising=False)
    return StandIn(home)


def export(model: Model, **given: Any) -> None:
    """A version, as far as it is read here."""
    libraries = {"python": "3.12.1", "scikit-learn": "1.9.1", "numpy": "2.4.0", **given.pop("libraries", {})}
    manifest = {"model": model.name, "libraries": libraries, "lineage": {"seed": 7}, **given}
    model.export.mkdir(exist_ok=True)
    (model.export / "manifest.json").write_text(json.dumps(manifest))
    (model.export / "model.skops").write_text("bytes")


def lock(model: Model) -> None:
    """Lock what lies in export, as DVC does, and commit it."""
    digest = storage.folder_digest(model.export)
    outs = f"    - path: export\n      hash: md5\n      md5: {digest}\n      size: 1\n      nfiles: 2\n"
    (model.folder / "dvc.lock").write_text(f"schema: '2.0'\nstages:\n  train:\n    cmd: mlops train\n    outs:\n{outs}")
    commit(model)


def commit(model: Model) -> None:
    for words in (["add", "--all"], ["commit", "--quiet", "--allow-empty", "--message", "Lock"]):
        subprocess.run(["git", *words], cwd=model.root, check=True)


@pytest.fixture
def trained(tumour: Model, programs: StandIn) -> Model:
    """`tumour` with a version that is locked and committed."""
    for place, text in {
        "deploy/Dockerfile": "FROM scratch\n",
        "packages/serve/src/serve/__init__.py": "# serve\n",
        "uv.lock": "version = 1\n",
        "models/tumour/CARD.md": "# Card\n",
    }.items():
        path = tumour.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    export(tumour)
    lock(tumour)
    return tumour


def head(model: Model) -> str:
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=model.root, capture_output=True, text=True, check=True
    ).stdout.strip()


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What it says when it refuses: the last two lines, and code 2; no image is on record."""
    assert cli.main(["package", "tumour", *words]) == 2
    assert not Path("reports/tumour/image.json").exists()
    said = capsys.readouterr().err
    assert said.splitlines()[-2].startswith("mlops package: ")
    return said


def test_the_trained_version_becomes_an_image(
    trained: Model, programs: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its id in the engine; the record names what was packaged, and no clock."""
    assert cli.main(["package", "tumour"]) == 0
    found = json.loads((trained.reports / "image.json").read_text())
    assert found["image"] == found["digest"] == f"sha256:{'1' * 64}"
    assert found["tag"] == f"project/tumour:{found['version']}"
    assert found["manifest"].startswith(f"sha256:{found['version']}")
    assert found["commit"] == head(trained)
    assert capsys.readouterr().out == (
        f"tumour {found['version']}: {found['tag']} (212 MB), made from {head(trained)[:10]}.\n"
    )
    before = (trained.reports / "image.json").read_bytes()
    assert cli.main(["package", "tumour"]) == 0
    assert (trained.reports / "image.json").read_bytes() == before


def test_the_build_gets_the_version_the_service_and_the_lock(trained: Model, programs: StandIn) -> None:
    assert cli.main(["package", "tumour"]) == 0
    assert set(programs.context) == {
        *("Dockerfile", "tools.txt", "requirements.txt", "frames.txt", "card/CARD.md"),
        *("src/serve/__init__.py", "model/manifest.json", "model/model.skops"),
    }
    assert programs.context["model/manifest.json"] == (trained.export / "manifest.json").read_text()
    assert "polars" not in programs.context["requirements.txt"]
    assert "polars" in programs.context["frames.txt"]
    assert programs.context["tools.txt"].startswith("uv==0.13.8")
    assert programs.build[:2] == ["1", "build"]
    assert f"mlops.manifest=sha256:{programs.build[programs.build.index('--tag') + 1][-12:]}" in " ".join(
        programs.build
    )


def test_another_base_and_the_files_of_a_company_reach_the_build(
    trained: Model, programs: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("BASE_IMAGE", "registry.example.com/python:3.12")
    programs.plan(buildx=True)
    assert cli.main(["package", "tumour"]) == 0
    assert "BASE=registry.example.com/python:3.12" in programs.build
    assert f"id=ca.pem,src={tmp_path / 'ca.pem'}" in programs.build
    assert programs.build[1:3] == ["buildx", "build"]
    assert not [place for place, text in programs.context.items() if "CERTIFICATE" in text]


def test_a_pushed_image_is_named_by_its_digest_there(
    trained: Model,
    programs: StandIn,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The jobs after this one take it from the step's outputs."""
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    programs.plan(pushed=f"{PLACE}/tumour")
    assert cli.main(["package", "tumour", "--push", "ghcr.io/Acme/Care"]) == 0
    found = json.loads((trained.reports / "image.json").read_text())
    assert found["image"] == f"{PLACE}/tumour@sha256:{'2' * 64}"
    assert found["digest"] == f"sha256:{'2' * 64}"
    assert ["push", f"{PLACE}/tumour:{found['version']}"] in [call[1:] for call in programs.asked("docker")]
    output = (tmp_path / "output").read_text()
    for value in (found["image"], found["digest"], f"{PLACE}/tumour"):
        assert value in output
    assert found["image"] in capsys.readouterr().out


def test_a_registry_that_refuses_is_quoted(
    trained: Model, programs: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    programs.plan(denied=True)
    assert "docker push failed: denied: not allowed" in refused(capsys, "--push", PLACE)


def test_what_is_not_committed_is_said_and_never_pushed(
    trained: Model, programs: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    with (trained.root / "packages" / "serve" / "src" / "serve" / "__init__.py").open("a") as stream:
        stream.write("# changed\n")
    assert "is not what" in refused(capsys, "--push", PLACE)
    assert programs.asked("docker") == []
    assert cli.main(["package", "tumour"]) == 0
    assert "with changes that are not committed" in capsys.readouterr().out
    assert "mlops.modified=true" in programs.build


def test_a_lock_that_was_never_committed_is_a_change_too(
    tumour: Model, trained: Model, programs: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["git", "rm", "--quiet", "--cached", "models/tumour/dvc.lock"], cwd=tumour.root, check=True)
    subprocess.run(["git", "commit", "--quiet", "--message", "Unlock"], cwd=tumour.root, check=True)
    assert cli.main(["package", "tumour"]) == 0
    assert "with changes that are not committed" in capsys.readouterr().out


def test_without_a_version_it_says_how_to_get_one(
    tumour: Model, programs: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "tumour has no trained version here" in refused(capsys)


@pytest.mark.parametrize("text", [None, "schema: '2.0'\nstages: {}\n"])
def test_a_version_that_is_not_locked_is_refused(
    text: str | None, trained: Model, programs: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    place = trained.folder / "dvc.lock"
    place.unlink() if text is None else place.write_text(text)
    assert "is not the version that dvc.lock names" in refused(capsys)


def test_a_version_that_is_not_the_locked_one_is_refused(
    trained: Model, programs: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """The breaker: one byte more than what was measured."""
    with (trained.export / "model.skops").open("a") as stream:
        stream.write("!")
    assert "models/tumour/export is not the version that dvc.lock names" in refused(capsys)
    assert programs.asked("docker") == []


def test_a_lock_with_conflict_markers_is_refused(
    trained: Model, programs: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    (trained.folder / "dvc.lock").write_text("=======\n")
    assert "tumour: its dvc.lock is not one that DVC writes" in refused(capsys)


def test_another_scikit_learn_than_the_one_that_trained_it_is_refused(
    trained: Model, programs: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """The breaker: a bump of the library must not change predictions without a measurement."""
    programs.plan(locked="1.10.0")
    assert "tumour was trained with scikit-learn 1.9.1, and uv.lock has 1.10.0." in refused(capsys)
    assert not [call for call in programs.asked("docker") if "build" in call[1:3]]


def test_the_estimators_own_library_comes_from_the_models_project(trained: Model, programs: StandIn) -> None:
    """All else that the project asks for stays out."""
    toml = trained.folder / "pyproject.toml"
    toml.write_text(toml.read_text().replace('dependencies = ["mlops"', 'dependencies = ["lightgbm>=4", "mlops"'))
    export(trained, libraries={"lightgbm": "4.6.0"})
    lock(trained)
    assert cli.main(["package", "tumour"]) == 0
    assert "lightgbm==4.6.0" in programs.context["requirements.txt"]
    assert "lightgbm==4.6.0" in programs.context["frames.txt"]
    own = next(call for call in programs.asked("uv") if "tumour" in call)
    pruned = {own[place + 1] for place, word in enumerate(own) if word == "--prune"}
    assert {"mlops", "pandera", "polars", "scikit-learn"} <= pruned
    assert "lightgbm" not in pruned


def test_a_library_that_no_project_asks_for_is_refused(
    trained: Model, programs: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    export(trained, libraries={"xgboost": "3.0"})
    lock(trained)
    assert "tumour was trained with xgboost, and its pyproject.toml does not ask for that." in refused(capsys)


def test_without_a_lock_nothing_is_built(trained: Model, programs: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    (trained.root / "uv.lock").unlink()
    assert "There is no uv.lock" in refused(capsys)


def test_a_lock_that_uv_cannot_read_is_refused_in_its_words(
    trained: Model, programs: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    programs.plan(**{"no lock": True})
    assert "tumour: uv cannot read uv.lock: error: The lockfile is of another version\n" in refused(capsys)


def test_an_engine_that_does_not_answer_is_refused(
    trained: Model, programs: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    programs.plan(down=True)
    assert "No Docker engine answers: Cannot connect to the Docker daemon" in refused(capsys)


@pytest.mark.parametrize("program", ["docker", "uv"])
def test_a_program_that_is_not_installed_is_named(
    program: str, trained: Model, programs: StandIn, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (programs.home / program).unlink()
    git = subprocess.run(["which", "git"], capture_output=True, text=True, check=True).stdout.strip()
    (programs.home / "git").symlink_to(git)
    monkeypatch.setenv("PATH", str(programs.home))
    assert f"{program} is not installed." in refused(capsys)


def test_a_docker_without_buildkit_is_refused(
    trained: Model, programs: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    programs.plan(version="Docker version 28.2.2, build e6534b4")
    assert "its plugin buildx is not installed" in refused(capsys)


def test_a_build_that_fails_shows_its_last_lines(
    trained: Model, programs: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    programs.plan(broken=True)
    said = refused(capsys)
    assert "its image could not be built" in said
    assert "line 39\nno matching distribution\n" in said
    assert "line 20\n" not in said
