"""The image of a trained model is built and run by a real engine, as `make image` and a deployment do.

It serves exactly what was measured, it may do nothing else, and it is the same when it is made again.
"""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.engine import Engine, free
from tests.rendering import PRODUCT, called, command, commit, make

DOCKERFILE = PRODUCT / "deploy" / "Dockerfile"
HARDENED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", "65532:65532")
USER = "65532:65532"
NAME = "test-image"
"""The repository, and so the name of its images."""


def hadolint(dockerfile: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "hadolint"
    if not program.is_file():
        pytest.skip("hadolint is not installed: `uv sync` installs it")
    return command(str(program), "--no-color", str(dockerfile), cwd=dockerfile.parent)


def test_the_dockerfile_is_clean() -> None:
    done = hadolint(DOCKERFILE)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("line", ["FROM python:latest", "RUN cd /tmp && pip install requests", "USER root"])
def test_a_dockerfile_that_is_not_clean_is_seen(line: str, tmp_path: Path) -> None:
    """The breaker of the one above."""
    (tmp_path / "Dockerfile").write_text(DOCKERFILE.read_text() + f"{line}\n")
    assert hadolint(tmp_path / "Dockerfile").returncode != 0


def test_the_dockerfile_asks_for_one_image_by_its_digest() -> None:
    """No frontend and no tool is fetched from a registry, no file from an address, and no secret is an argument."""
    text = DOCKERFILE.read_text()
    froms = re.findall(r"(?m)^FROM (\S+)", text)
    assert [one for one in froms if one not in ("${BASE}", "base", "scratch")] == [
        one for one in froms if re.fullmatch(r"python:[\w.-]+@sha256:[0-9a-f]{64}", one)
    ]
    assert not re.search(r"(?im)^# *syntax *=", text)
    assert not re.search(r"(?m)^ADD|https?://|curl|wget|apt-get", text)
    assert set(re.findall(r"(?m)^ARG (\w+)", text)) == {"BASE", "VERSION", "CARD"}
    installs = re.findall(r"(?s)RUN (?:[^\n]*\\\n)*[^\n]*\n", text)
    for one in [one for one in installs if "install" in one]:
        assert "--require-hashes" in one
        assert "--no-build" in one or "--only-binary=:all:" in one


@dataclass(frozen=True)
class Built:
    """A project with a trained model, and what `make image` left of it."""

    project: Path
    engine: Engine

    @property
    def record(self) -> dict[str, str]:
        """`reports/tumour/image.json`."""
        found: dict[str, str] = json.loads((self.project / "reports" / "tumour" / "image.json").read_text())
        return found

    @property
    def image(self) -> str:
        """The image, by its id."""
        return self.record["image"]

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest of the version."""
        found: dict[str, Any] = json.loads(
            (self.project / "models" / "tumour" / "export" / "manifest.json").read_text()
        )
        return found

    def about(self) -> dict[str, Any]:
        """What the engine knows of the image."""
        found: dict[str, Any] = json.loads(self.engine.docker("image", "inspect", self.image))[0]
        return found

    def found(self, what: str) -> list[str]:
        """The files of the image for which `find` finds this true; asked by root, who sees all of them."""
        words = ("run", "--rm", "--user", "0", "--network", "none", "--entrypoint", "sh", self.image, "-c")
        return self.engine.docker(*words, f"find / -xdev {what}").splitlines()

    def inside(self, *words: str) -> str:
        """What a program in the image says."""
        program, *rest = words
        return self.engine.docker("run", "--rm", "--entrypoint", program, *HARDENED, self.image, *rest)


def copied(installed: Path, folder: Path, name: str = NAME) -> Path:
    """A project of another name to change; the environment is the one of `installed`."""
    project = folder / name
    shutil.copytree(installed, project, symlinks=True, ignore=shutil.ignore_patterns(".venv", ".git", "reports"))
    shutil.copytree(installed / ".git", project / ".git", symlinks=True)
    (project / ".venv").symlink_to(installed / ".venv")
    called(name)(project)
    commit(project, "Copy")
    return project


@pytest.fixture(scope="module")
def built(installed: Path, engine: Engine, base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """The image of a model that was trained just now."""
    project = copied(installed, tmp_path_factory.mktemp("image"))
    make(project, "train", "MODEL=tumour")
    commit(project, "First version")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BASE_IMAGE", base)
        make(project, "image", "MODEL=tumour")
        yield Built(project, engine)
    made = engine.docker("image", "ls", "--quiet", "--no-trunc", f"{NAME}/tumour").split()
    engine.run("image", "rm", "--force", *set(made))


@dataclass(frozen=True)
class Container:
    """A container of the image that runs; `port` is the service's on this machine."""

    engine: Engine
    name: str
    port: int

    def probe(self, path: str, *words: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        """What the service says of itself, from the inside."""
        options = ["--interactive"] if given else []
        probe = ["python", "-m", "serve", "probe", path, *words]
        return self.engine.run("exec", *options, self.name, *probe, given=given)

    def ask(self, method: str, path: str, value: Any = None) -> tuple[int, dict[str, str], Any]:
        """Status, headers and body of one answer, from the outside."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, json.dumps(value), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, json.loads(answer.read())
        finally:
            connection.close()

    def state(self) -> dict[str, Any]:
        """What the engine knows of it."""
        found: dict[str, Any] = json.loads(self.engine.docker("inspect", self.name))[0]["State"]
        return found

    def wait(self, what: str, *, seconds: float = 60) -> None:
        """Until the service is `ready`, or the engine calls it `healthy`."""
        deadline = time.monotonic() + seconds
        while True:
            if what == "ready" and self.probe("/v2/health/ready").returncode == 0:
                return
            if what == "healthy" and self.state()["Health"]["Status"] == "healthy":
                return
            assert time.monotonic() < deadline, self.engine.run("logs", self.name)
            time.sleep(0.1)


@contextlib.contextmanager
def container(engine: Engine, image: str, *options: str) -> Iterator[Container]:
    """Run an image as a deployment does, on a port of this machine."""
    name = f"test-image-{os.getpid()}-{time.monotonic_ns()}"
    engine.docker("run", "--detach", "--name", name, *HARDENED, "--publish", "127.0.0.1::8080", *options, image)
    try:
        port = re.search(r":(\d+)$", engine.run("port", name, "8080").stdout.strip().splitlines()[0])
        assert port is not None
        yield Container(engine, name, int(port[1]))
    finally:
        engine.run("rm", "--force", "--volumes", name)


@pytest.fixture(scope="module")
def serving(built: Built) -> Iterator[Container]:
    """The image as it runs."""
    with container(built.engine, built.image) as one:
        one.wait("ready")
        yield one


@pytest.mark.slow
def test_the_image_serves_exactly_what_was_measured(built: Built, serving: Container) -> None:
    """With nothing but its own files: no rights, no file system to write to, nobody's user."""
    golden = built.manifest["golden"]
    status, headers, found = serving.ask("POST", "/predict", {"rows": [golden["row"]]})
    assert status == 200
    assert headers["model-version"] == built.record["version"]
    assert found["predictions"][0]["probabilities"] == pytest.approx(golden["prediction"], abs=1e-9)
    replayed = serving.probe("/predict", "--lines", given=json.dumps({"rows": [golden["row"]]}))
    assert json.loads(replayed.stdout)["body"] == found
    card = serving.ask("GET", "/model")[2]
    assert card["card"] == (built.project / "models" / "tumour" / "CARD.md").read_text()
    assert card["lineage"] == built.manifest["lineage"]


@pytest.mark.slow
def test_the_engine_finds_it_healthy(built: Built, serving: Container) -> None:
    serving.wait("healthy")
    test = built.about()["Config"]["Healthcheck"]["Test"]
    assert test == ["CMD", "python", "-m", "serve", "probe", "/v2/health/ready"]


@pytest.mark.slow
def test_the_image_says_what_it_is_and_what_made_it(built: Built) -> None:
    head = command("git", "rev-parse", "HEAD", cwd=built.project).stdout.strip()
    about = built.about()["Config"]
    assert (
        about["Labels"]
        | {
            "org.opencontainers.image.title": "tumour",
            "org.opencontainers.image.version": built.record["version"],
            "org.opencontainers.image.revision": head,
            "org.opencontainers.image.created": built.record["created"],
            "mlops.model": "tumour",
            "mlops.version": built.record["version"],
            "mlops.manifest": built.record["manifest"],
        }
        == about["Labels"]
    )
    assert json.loads(about["Labels"]["mlops.lineage"]) == built.manifest["lineage"]
    assert "mlops.modified" not in about["Labels"]
    assert about["User"] == USER
    assert built.record["commit"] == head
    assert built.record["manifest"][7:19] == built.record["version"]
    assert f"SERVE_VERSION={built.record['version']}" in about["Env"]


@pytest.mark.slow
def test_nothing_is_in_the_image_that_serving_does_not_need(built: Built) -> None:
    """No installer, no compiler, no training, no data; nothing that another program of this machine brought along."""
    absent = ["pip", "uv", "setuptools", "mlops", "mlflow", "dvc", "pandas", "pyarrow", "pandera", "polars", "pytest"]
    code = f"import importlib.util as u; print(*(n for n in {absent} if u.find_spec(n)))"
    assert built.inside("python", "-c", code).strip() == ""
    programs = "pip pip3 uv gcc cc c++ make git mlflow dvc mlops"
    assert built.inside("sh", "-c", f"for p in {programs}; do command -v $p; done; true") == ""
    assert built.found("\\( -name '*.parquet' -o -name contract.py -o -name .git \\)") == []
    assert built.found("-type d -name tests -path '/app/*'") == []
    assert built.inside("id", "-u") == "65532"


@pytest.mark.slow
def test_nothing_in_the_image_can_be_changed_by_the_service(built: Built) -> None:
    """Also where a container is not read-only; only the folder of the prediction log is its own."""
    code = "find / -xdev -not -path '/proc/*' -not -path '/dev/*' -not -type l -writable 2>/dev/null; true"
    found = built.engine.docker("run", "--rm", "--entrypoint", "sh", built.image, "-c", code).splitlines()
    assert "/log" in found
    assert set(found) <= {"/log", "/tmp", "/var/tmp", "/run/lock"}
    assert built.found("-type f -perm /6000") == []


@pytest.mark.slow
def test_the_byte_code_is_there_and_never_looks_at_its_source(built: Built) -> None:
    """Nothing can be written when it starts, so whatever is imported must be compiled already."""
    code = (
        "import importlib.util as u, sys; from serve import server, probe;"
        "files = [m.__file__ for m in list(sys.modules.values()) if getattr(m, '__file__', None)];"
        "files = [f for f in files if f.startswith('/app') and f.endswith('.py')];"
        "flags = [open(u.cache_from_source(f), 'rb').read(8)[4] for f in files];"
        "print(len(files), sorted(set(flags)))"
    )
    count, flags = built.inside("python", "-c", code).split(" ", 1)
    assert int(count) > 200
    assert flags == "[1]"


@pytest.mark.slow
def test_predictions_are_logged_where_a_volume_is(built: Built) -> None:
    """The one thing that the service may write."""
    volume = f"test-log-{os.getpid()}"
    options = ("--mount", f"type=volume,source={volume},target=/log", "--env", "SERVE_LOG=/log/predictions.jsonl")
    try:
        with container(built.engine, built.image, *options) as one:
            one.wait("ready")
            assert one.ask("POST", "/predict", {"rows": [built.manifest["golden"]["row"]]})[0] == 200
            deadline = time.monotonic() + 30
            while not (log := built.engine.run("exec", one.name, "cat", "/log/predictions.jsonl").stdout):
                assert time.monotonic() < deadline
                time.sleep(0.1)
            assert json.loads(log.splitlines()[0])["version"] == built.record["version"]
    finally:
        built.engine.run("volume", "rm", "--force", volume)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["model.skops", "manifest.json", "profile.json"])
def test_a_tampered_image_refuses_to_start(file: str, built: Built, tmp_path: Path) -> None:
    """One byte is enough; nothing is deserialised, and one sentence says why."""
    spoilt = tmp_path / file
    spoilt.write_bytes((built.project / "models" / "tumour" / "export" / file).read_bytes() + b" ")
    name = f"test-tampered-{os.getpid()}"
    engine = built.engine
    engine.docker("create", "--name", name, built.image)
    try:
        engine.docker("cp", str(spoilt), f"{name}:/model/{file}")
        done = engine.run("start", "--attach", name)
        assert done.returncode == 2
        said = "SERVE_VERSION asks for" if file == "manifest.json" else "was changed after the export"
        assert said in done.stderr
        assert len(done.stderr.strip().splitlines()) <= 2
    finally:
        engine.run("rm", "--force", name)


@pytest.mark.slow
def test_stopping_it_loses_no_request(built: Built) -> None:
    """It drains: who asks meanwhile is answered, and it ends with 0."""
    with container(built.engine, built.image, "--env", "SERVE_DRAIN=2") as one:
        one.wait("ready")
        row = {"rows": [built.manifest["golden"]["row"]]}
        statuses: list[int] = []
        stopping = threading.Thread(target=built.engine.docker, args=("stop", "--time", "30", one.name))
        stopping.start()
        until = time.monotonic() + 1
        while time.monotonic() < until:
            statuses.append(one.ask("POST", "/predict", row)[0])
        ready = one.probe("/v2/health/ready")
        stopping.join()
        assert len(statuses) > 20
        assert set(statuses) == {200}
        assert ready.returncode == 1
        assert one.state()["ExitCode"] == 0


@pytest.mark.slow
def test_made_again_it_is_the_same(built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any cache, later, and by another umask: every layer has the same digest, and so has what is set in it."""
    before = built.about()
    wrapper = tmp_path / "docker"
    wrapper.write_text(
        '#!/bin/sh\ncase "$1 $2" in\n'
        f'buildx\\ build) shift 2; exec {built.engine.program} buildx build --no-cache "$@";;\n'
        f'build\\ *) shift; exec {built.engine.program} build --no-cache "$@";;\n'
        f'*) exec {built.engine.program} "$@";;\nesac\n'
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path), os.environ["PATH"]]))
    old = os.umask(0o077)
    try:
        make(built.project, "image", "MODEL=tumour")
    finally:
        os.umask(old)
    after = built.about()
    if after["Id"] != before["Id"]:
        built.engine.run("image", "rm", "--force", before["Id"])
    assert after["RootFS"] == before["RootFS"]
    assert after["Config"] == before["Config"]


def locked(project: Path) -> None:
    """Lock and commit what lies in the export of `tumour`, as if it had been trained so."""
    code = (
        "import pathlib, re, sys; from mlops import storage;"
        "folder = pathlib.Path('models/tumour'); lock = folder / 'dvc.lock'; text = lock.read_text();"
        "digest = storage.folder_digest(folder / 'export');"
        "lock.write_text(re.sub(r'(- path: export\\n\\s+hash: md5\\n\\s+md5: )\\w+\\.dir', r'\\g<1>' + digest, text))"
    )
    done = command(str(project / ".venv" / "bin" / "python"), "-c", code, cwd=project)
    assert done.returncode == 0, done.stderr
    commit(project, "Lock")


@pytest.mark.slow
def test_a_version_that_says_something_else_becomes_no_image(built: Built, tmp_path: Path) -> None:
    """The breaker: everything fits, and in the image it would not say what it said at export."""
    project = copied(built.project, tmp_path)
    manifest = project / "models" / "tumour" / "export" / "manifest.json"
    value = json.loads(manifest.read_text())
    value["golden"]["prediction"] = [0.5, 0.5]
    manifest.write_text(json.dumps(value))
    locked(project)
    said = make(project, "image", "MODEL=tumour", accept=(2,))
    assert "would not be ready: the model does not predict its golden row" in said
    assert "its image could not be built" in said


@pytest.mark.slow
def test_a_version_that_wants_a_frame_gets_one(built: Built, tmp_path: Path) -> None:
    """A vote of two pipelines is asked with names, for which polars is needed."""
    project = copied(built.project, tmp_path)
    code = project / "models" / "tumour" / "src" / "tumour" / "model.py"
    one = 'Pipeline([("prepare", _prepare()), ("estimate", _estimator(**params))])'
    text = code.read_text()
    assert f"return {one}" in text
    text = text.replace(f"return {one}", f'return VotingClassifier([("a", {one}), ("b", {one})], voting="soft")')
    code.write_text(text.replace("RandomForestClassifier\n", "RandomForestClassifier, VotingClassifier\n", 1))
    make(project, "train", "MODEL=tumour")
    commit(project, "Vote")
    make(project, "image", "MODEL=tumour")
    voting = Built(project, built.engine)
    with container(voting.engine, voting.image) as running:
        running.wait("ready")
        golden = voting.manifest["golden"]
        status, _, found = running.ask("POST", "/predict", {"rows": [golden["row"]]})
        assert status == 200
        assert found["predictions"][0]["probabilities"] == pytest.approx(golden["prediction"], abs=1e-9)
        assert running.ask("GET", "/model")[2]["runtime"] == "framed"


@pytest.mark.slow
def test_a_version_that_serves_by_onnx_runtime_brings_no_scikit_learn(built: Built, tmp_path: Path) -> None:
    project = copied(built.project, tmp_path)
    toml = project / "models" / "tumour" / "model.toml"
    toml.write_text(toml.read_text().replace('runtime = "sklearn"', 'runtime = "onnx"'))
    make(project, "train", "MODEL=tumour")
    commit(project, "Serve by ONNX Runtime")
    make(project, "image", "MODEL=tumour")
    graph = Built(project, built.engine)
    assert graph.manifest["serving"]["runtime"] == "onnx"
    code = "import importlib.util as u; print(*(n for n in ('sklearn', 'scipy', 'skops', 'polars') if u.find_spec(n)))"
    assert graph.inside("python", "-c", code) == ""
    with container(graph.engine, graph.image) as running:
        running.wait("ready")
        golden = graph.manifest["golden"]
        found = running.ask("POST", "/predict", {"rows": [golden["row"]]})[2]
        assert found["predictions"][0]["probabilities"] == pytest.approx(golden["prediction"], abs=1e-5)


@pytest.mark.slow
def test_a_pushed_image_is_named_by_the_digest_that_the_registry_has(built: Built, tmp_path: Path) -> None:
    """With a real registry, on this machine."""
    program = shutil.which("docker-registry") or shutil.which("registry")
    if program is None:
        pytest.skip("no registry is installed (Debian's package docker-registry)")
    port = 5117
    (tmp_path / "registry.yml").write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path / 'images'}}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    with subprocess.Popen(
        [program, "serve", str(tmp_path / "registry.yml")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as registry:
        try:
            wait_for(port)
            mlops = str(built.project / ".venv" / "bin" / "mlops")
            place = f"127.0.0.1:{port}/acme/care"
            done = command(mlops, "package", "tumour", "--push", place, cwd=built.project)
            assert done.returncode == 0, done.stderr
            record = built.record
            assert record["image"] == f"{place}/tumour@{record['digest']}"
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("HEAD", f"/v2/acme/care/tumour/manifests/{record['digest']}")
            assert connection.getresponse().status == 200
            built.engine.docker("image", "inspect", record["image"])
            built.engine.docker("image", "rm", f"{place}/tumour:{record['version']}")
        finally:
            registry.terminate()
            make(built.project, "image", "MODEL=tumour")


def wait_for(port: int) -> None:
    """Until something listens."""
    deadline = time.monotonic() + 30
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/v2/")
            connection.getresponse()
            return
        except OSError:
            assert time.monotonic() < deadline, f"nothing listens on {port}"
            time.sleep(0.1)
        finally:
            connection.close()


# All of shipping, as the README walks through it.

LAPTOP = "test-laptop"


@pytest.fixture
def laptop(built: Built, proxy: str, tmp_path: Path) -> Iterator[Built]:
    """A project with a trained version and nothing deployed; all that it makes on the engine is removed."""
    project = copied(built.project, tmp_path, LAPTOP)
    page = project / "deploy" / "environments" / "local.toml"
    page.write_text(f'proxy = "{proxy}"\nport = {free()}\n{page.read_text()}')
    yield Built(project, built.engine)
    own, engine = f"{LAPTOP}-local", built.engine
    if found := engine.docker("ps", "--all", "--quiet", "--filter", f"label=mlops.target={own}").split():
        engine.run("rm", "--force", *found)
    engine.run("network", "rm", own)
    engine.run("volume", "rm", own, f"{own}-tumour-log")
    if made := engine.docker("image", "ls", "--quiet", "--no-trunc", f"{LAPTOP}/tumour").split():
        engine.run("image", "rm", "--force", *set(made))


def walk(project: Path) -> Iterator[str]:
    """The commands of the README's part about serving, as they stand there."""
    part = (project / "README.md").read_text().partition("\n## Serve it here\n")[2].partition("\n## ")[0]
    for block in re.findall(r"(?s)```sh\n(.*?)```", part):
        yield from block.splitlines()


def typed(project: Path, line: str) -> str:
    """What a command said that must end well."""
    done = command("sh", "-c", line, cwd=project)
    assert done.returncode == 0, f"{line}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def served(project: Path, line: str, row: dict[str, Any]) -> tuple[int, Any]:
    """What a service that a command starts answers, until Ctrl-C ends it: make has no other word for that end."""
    port = free()
    environment = {**os.environ, "SERVE_LISTEN": f"127.0.0.1:{port}", "SERVE_DRAIN": "0"}
    with subprocess.Popen(
        ["sh", "-c", f"exec {line}"], cwd=project, env=environment, start_new_session=True
    ) as process:
        try:
            wait_for(port)
            found = asked(port, "/predict", row)
        finally:
            os.killpg(process.pid, signal.SIGINT)
    assert process.returncode == -signal.SIGINT
    return found


def asked(port: int, path: str, row: dict[str, Any]) -> tuple[int, Any]:
    """Status and answer for one row."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", path, json.dumps({"rows": [row]}), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.mark.slow
def test_the_readme_ships_two_versions_and_goes_back_in_under_ten_commands(laptop: Built) -> None:
    """Serve, package, deploy, deploy the next one by a canary, and go back: each command exactly as it is written."""
    project, lines = laptop.project, list(walk(laptop.project))
    port = tomllib.loads((project / "deploy" / "environments" / "local.toml").read_text())["port"]
    row, one = laptop.manifest["golden"]["row"], laptop.manifest
    assert len(lines) < 10

    serve, image, deploy, refresh, verdict, image_again, deploy_again, status, rollback = lines
    assert "STRATEGY=canary" in deploy == deploy_again
    alone = served(project, serve, row)
    assert alone[0] == 200
    assert "tumour:" in typed(project, image)
    first = laptop.record["version"]
    said = typed(project, deploy)
    assert f"tumour {first} serves local." in said
    assert f"http://127.0.0.1:{port}/tumour/predict" in said
    assert "rollback" not in said, "there is nothing to go back to"
    assert asked(port, "/tumour/predict", row) == alone

    typed(project, refresh)
    typed(project, verdict)
    typed(project, image_again)
    second = laptop.record["version"]
    said = typed(project, deploy_again)
    assert f"tumour {second} serves local instead of {first}." in said
    assert f"`make rollback MODEL=tumour ENV=local` goes back to {first}." in said
    assert [line.split(" with ")[1] for line in said.splitlines() if " observe " in line] == [
        f"{share} % of the requests" for share in (10, 50)
    ]
    assert asked(port, "/tumour/predict", row)[1]["version"] == second
    said = typed(project, status)
    assert said.startswith(f"tumour {second} serves in local")
    assert "2 of 2 containers ready" in said
    assert f"it can go back to {first}" in said
    assert f"tumour {first} serves local instead of {second}, after" in typed(project, rollback)
    assert asked(port, "/tumour/predict", row) == alone
    assert one != laptop.manifest
