"""A generated project is installed, checked, trained and judged, as a person would, by typing its commands."""

import hashlib
import json
import os
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import Bake
from tests.rendering import ROOT, command, commit, make

pytestmark = pytest.mark.slow

CODE = [
    "x; touch CANARY",
    "$(touch CANARY)",
    "`touch CANARY`",
    "$(shell touch CANARY)",
    "${shell touch CANARY}",
    "$$(touch CANARY)",
    "x' ; touch CANARY ; '",
    'x" ; touch CANARY ; "',
    "x\ntouch CANARY",
    "--help",
    "-x",
    "../../etc",
    "",
]


def evidence(project: Path, model: str) -> dict[str, object]:
    """What the gate found."""
    found: dict[str, object] = json.loads((project / "reports" / model / "evidence.json").read_text())
    return found


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text that is there."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_fresh_project_passes_its_own_checks_and_they_change_nothing(project: Path) -> None:
    make(project, "check")
    assert command("git", "status", "--porcelain", cwd=project).stdout == ""


def test_setup_installs_once(project: Path) -> None:
    """The second time nothing is even asked."""
    assert "uv sync" not in make(project, "setup")


def test_no_model_can_take_the_name_of_what_the_project_asks_for(project: Path) -> None:
    """Such a workspace member would be installed in the package's place."""
    tables = [
        tomllib.loads(path.read_text()) for path in (project / "pyproject.toml", *project.glob("*/*/pyproject.toml"))
    ]
    asked = [one for table in tables for one in table["project"].get("dependencies", [])]
    asked += [one for table in tables for group in table.get("dependency-groups", {}).values() for one in group]
    asked += [
        one for table in tables for group in table["project"].get("optional-dependencies", {}).values() for one in group
    ]
    names = {re.split(r"[^\w-]", one)[0].replace("-", "_") for one in asked}
    assert len(names) > 20
    scaffold = runpy.run_path(str(project / "packages" / "mlops" / "src" / "mlops" / "scaffold.py"))
    assert {name for name in names if not scaffold["problem"](name)} == set()


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_verdict_on_a_first_version_is_passed_and_says_that_there_is_no_champion(task: str, project: Path) -> None:
    model = "tumour"
    if task == "regression":
        model = "progression"
        make(project, "new-model", f"NAME={model}", "TASK=regression")
    said = make(project, "verdict", f"MODEL={model}")
    assert "first version" in said
    assert (project / "reports" / "report.html").stat().st_size > 10_000
    assert (project / "reports" / "report.md").is_file()
    found = evidence(project, model)
    assert found["verdict"]["verdict"] == "passed"  # type: ignore[index]


def test_a_failed_verdict_is_reported_and_stops_make(project: Path) -> None:
    """The breaker of `make verdict`: a floor that no model reaches."""
    edit(project / "models" / "tumour" / "model.toml", "roc_auc = 0.9", "roc_auc = 1.0")
    said = make(project, "verdict", "MODEL=tumour", accept=(2,))
    assert "Traceback" not in said
    assert evidence(project, "tumour")["verdict"]["verdict"] == "failed"  # type: ignore[index]
    assert "failed" in (project / "reports" / "report.md").read_text()
    assert (project / "reports" / "report.html").is_file()


def test_the_loop_compares_versions_and_runs_nothing_twice(project: Path) -> None:
    make(project, "verdict", "MODEL=tumour")
    commit(project, "First version")
    assert "nothing changed" in make(project, "train", "MODEL=tumour")
    dvc = str(project / ".venv" / "bin" / "dvc")
    folder = project / "models" / "tumour"
    path = f"{project / '.venv' / 'bin'}:{os.environ['PATH']}"
    for _ in range(2):
        again = command(dvc, "repro", cwd=folder, PATH=path)
        assert again.returncode == 0, again.stderr
        assert "Running stage" not in again.stdout
    assert command("git", "status", "--porcelain", cwd=project).stdout == ""

    subprocess.run(["git", "switch", "--quiet", "--create", "challenger"], cwd=project, check=True)
    make(project, "refresh", "MODEL=tumour", "AS_OF=2026-10-01")
    make(project, "verdict", "MODEL=tumour", accept=(0, 2))
    assert evidence(project, "tumour")["comparison"] is not None
    metrics = command(dvc, "metrics", "diff", "--json", cwd=folder, PATH=path)
    assert "metrics.json" in json.dumps(json.loads(metrics.stdout)), metrics.stderr
    params = command(dvc, "params", "diff", "--json", cwd=folder, PATH=path)
    assert "2026-10-01" in params.stdout, params.stderr
    plots = command(dvc, "plots", "diff", "--json", cwd=folder, PATH=path)
    assert "roc.csv" in plots.stdout, plots.stderr


def test_make_ui_shows_the_runs_of_the_models(project: Path) -> None:
    make(project, "train", "MODEL=tumour")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "MLFLOW_PORT": str(port)}
    with subprocess.Popen(
        ["make", "ui"],
        cwd=project,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as server:
        try:
            found = experiments(port, server)
        finally:
            os.killpg(server.pid, signal.SIGTERM)
    assert "tumour" in found


def test_make_serve_answers_with_the_version_that_was_trained(project: Path) -> None:
    """The example of its own description is answered, and Ctrl-C ends it in peace."""
    make(project, "train", "MODEL=tumour")
    environment = {**os.environ, "SERVE_LISTEN": "127.0.0.1:0", "MODEL": "tumour"}
    with subprocess.Popen(
        ["make", "serve"], cwd=project, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            address = re.search(r"http://127\.0\.0\.1:\d+", line)
            assert address is not None, line
            with urllib.request.urlopen(f"{address[0]}/openapi.json", timeout=30) as answer:
                posts = json.load(answer)["paths"]["/predict"]["post"]
            example = posts["requestBody"]["content"]["application/json"]["example"]
            ask = urllib.request.Request(
                f"{address[0]}/predict",
                data=json.dumps(example).encode(),
                headers={"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(ask, timeout=30) as answer:
                predicted = json.load(answer)
        finally:
            os.killpg(server.pid, signal.SIGINT)
    manifest = (project / "models" / "tumour" / "export" / "manifest.json").read_bytes()
    assert predicted["version"] == hashlib.sha256(manifest).hexdigest()[:12]
    assert len(predicted["predictions"]) == 1


def experiments(port: int, server: "subprocess.Popen[bytes]") -> set[str]:
    """The names of what MLflow on that port shows, once it answers."""
    ask = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search",
        data=b'{"max_results": 10}',
        headers={"Content-Type": "application/json"},
    )
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(ask, timeout=10) as answer:
                return {one["name"] for one in json.load(answer)["experiments"]}
        except OSError:
            assert server.poll() is None, "make ui ended"
            assert time.monotonic() < deadline, "make ui never answered"
            time.sleep(0.5)


def test_shap_and_codecarbon_speak_where_they_are_installed(project: Path) -> None:
    """The extras `mlops[shap]` and `mlops[carbon]`, which a fresh project does not ask for: no test skips."""
    elsewhere = {"UV_PROJECT_ENVIRONMENT": str(project / ".venv" / "all-extras")}
    sync = command("uv", "sync", "--all-packages", "--all-extras", "--locked", cwd=project, **elsewhere)
    assert sync.returncode == 0, sync.stderr
    program = str(Path(elsewhere["UV_PROJECT_ENVIRONMENT"]) / "bin" / "python")
    for name in ("shap", "the_real_estimate"):
        done = command(program, "-m", "pytest", "-rs", "-k", name, "packages/mlops/tests", cwd=project)
        # 5 would mean that there is no such test.
        assert done.returncode == 0, done.stdout[-3000:]
        assert "skipped" not in done.stdout


def test_a_project_with_twenty_models_passes_its_checks(project: Path) -> None:
    for number in range(19):
        task = "regression" if number % 2 else "classification"
        make(project, "new-model", f"NAME=model_{number}", f"TASK={task}")
    assert len(list((project / "models").glob("*/model.toml"))) == 20
    make(project, "lint")
    # The packages' own tests do not depend on how many models there are; a fresh project runs them above.
    done = command(str(project / ".venv" / "bin" / "pytest"), "--numprocesses", "auto", "tests", "models", cwd=project)
    assert done.returncode == 0, done.stdout[-3000:]


def test_values_given_to_make_are_never_code(project: Path) -> None:
    """Neither make nor the shell reads them; the command line refuses them in two lines at most."""
    make(project, "new-model", "NAME=second")
    make(project, "setup")
    for target, key, more in (
        ("train", "MODEL", ()),
        ("verdict", "MODEL", ()),
        ("serve", "MODEL", ()),
        ("refresh", "AS_OF", ("MODEL=tumour",)),
        ("due", "TODAY", ()),
        ("retrain", "MODEL", ()),
        ("retrain", "TODAY", ("MODEL=tumour",)),
        ("new-model", "NAME", ()),
        ("new-model", "TASK", ("NAME=third",)),
    ):
        # Without a value, the last two have a default.
        for value in CODE if key in ("MODEL", "NAME") else CODE[:-1]:
            done = command("make", target, f"{key}={value}", *more, cwd=project)
            assert done.returncode == 2, f"{target} {key}={value!r}: {done.stdout}{done.stderr}"
            lines = [line for line in done.stderr.splitlines() if not line.startswith("make: ")]
            assert 1 <= len(lines) <= 3, done.stderr
            assert "Traceback" not in done.stderr
    for value in CODE[:9]:
        done = command("make", "test", f"MODELS={value}", cwd=project)
        assert done.returncode == 2, f"test MODELS={value!r}: {done.stdout}{done.stderr}"
    assert not list(project.rglob("CANARY"))
    assert not (project.parent / "CANARY").exists()
    assert {path.name for path in (project / "models").iterdir()} == {"tumour", "second"}


def test_without_uv_the_project_installs_it_into_its_own_folder(bake: Bake, tmp_path: Path) -> None:
    """On a machine with Python, git and make only; nothing outside the project is written."""
    project = bake()
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("make", "git", "sh", "bash", "env", "touch", "awk", "rm", "cat", "uname", "dirname", "ldd", "getconf"):
        if found := shutil.which(tool):
            (tools / tool).symlink_to(found)
    (tools / "python3").symlink_to(Path(getattr(sys, "_base_executable", sys.executable)).resolve())
    make(project, "setup", PATH=str(tools))
    assert (project / ".tools" / "bin" / "uv").is_file()
    assert (project / ".venv" / "bin" / "mlops").is_file()
    assert command("git", "status", "--porcelain", cwd=project).stdout == "?? uv.lock\n"


@pytest.mark.parametrize("storage", ["s3", "gs", "azure"])
def test_the_client_of_each_bucket_resolves(storage: str, bake: Bake) -> None:
    """No bucket is touched: the extra must exist and lock together with everything else."""
    project = bake(storage=storage)
    done = command("uv", "lock", cwd=project)
    assert done.returncode == 0, done.stderr
    names = {package["name"] for package in tomllib.loads((project / "uv.lock").read_text())["package"]}
    assert f"dvc-{storage}" in names


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_packages_work_on_each_python(version: str, project: Path) -> None:
    """Every supported Python that is on this machine; others are in the matrix of CI."""
    # pyenv's own programs refuse to run a version that is not chosen; uv finds them where they lie.
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    path = os.pathsep.join([*(str(one / "bin") for one in sorted(pyenv.glob(f"{version}.*"))), os.environ["PATH"]])
    find = command("uv", "python", "find", "--no-project", "--no-python-downloads", version, cwd=project, PATH=path)
    if find.returncode:
        pytest.skip(f"there is no Python {version} on this machine")
    if version in command(str(project / ".venv" / "bin" / "python"), "--version", cwd=project).stdout:
        pytest.skip(f"Python {version} is the one that `make check` ran on")
    elsewhere = {"UV_PROJECT_ENVIRONMENT": str(project / ".venv" / f"python-{version}")}
    sync = command(
        "uv", "sync", "--all-packages", "--locked", "--python", find.stdout.strip(), cwd=project, **elsewhere
    )
    assert sync.returncode == 0, sync.stderr
    program = str(Path(elsewhere["UV_PROJECT_ENVIRONMENT"]) / "bin" / "python")
    workers = ("--numprocesses", "auto", "--dist", "loadfile")
    done = command(program, "-m", "pytest", *workers, "packages", "models", cwd=project)
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_demo_runs_and_runs_again(tmp_path: Path) -> None:
    demo = [sys.executable, "-m", "tests.demo", str(tmp_path / "demo")]
    first = command(*demo, cwd=ROOT)
    assert first.returncode == 0, first.stdout + first.stderr
    report = re.search(r"(?m)^Report: (.*)$", first.stdout)
    assert report is not None
    assert Path(report[1]).is_file()
    log = command("git", "log", "--format=%s", "challenger", cwd=tmp_path / "demo").stdout.splitlines()
    second = command(*demo, cwd=ROOT)
    assert second.returncode == 0, second.stdout + second.stderr
    assert command("git", "log", "--format=%s", "challenger", cwd=tmp_path / "demo").stdout.splitlines() == log

    readme = tmp_path / "demo" / "README.md"
    readme.write_text("mine\n")
    third = command(*demo, cwd=ROOT)
    assert third.returncode == 1
    assert "was changed since the last demo" in third.stderr
    assert readme.read_text() == "mine\n"
