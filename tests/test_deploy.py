"""Releases come and go on a real Docker engine, behind a real proxy, while clients ask: none of them may notice.

What is deployed is a small service that keeps the contract of the real one (`toy/`); `mlops` runs on a bare Python, as
in the workflows. The same promises, at every single step, are held by the generated project's own tests, in memory.
"""

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engine import Engine, free
from tests.rendering import PRODUCT
from tests.steady import Steady

pytestmark = pytest.mark.slow

PAGE = """
target = "docker"
port = {port}
proxy = "{proxy}"
replicas = 2
[canary]
weights = [20, 50]
[judge]
requests = 50
minutes = 10
seconds = 1
replay = 20.0
errors = 0.2
refusals = 0.2
slow = 0.5
shift = 0.6
[load]
requests = 40
rate = 40.0
"""
TOY = Path(__file__).parent / "toy"
USER = "65532:65532"
AT_ONCE = 64
"""Requests that a service lets in at once."""


@dataclass(frozen=True)
class Shop:
    """A repository with one model, whose environment is on the engine."""

    root: Path
    engine: Engine
    port: int

    @property
    def target(self) -> str:
        """What the names of everything that belongs to it begin with."""
        return f"{self.root.name}-local"

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Begin one `mlops` command, or `-c` and what Python shall do, with nothing installed."""
        return subprocess.Popen(
            [sys.executable, "-S", *(words if words[0] == "-c" else ("-m", "mlops", *words))],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": str(PRODUCT / "packages" / "mlops" / "src"), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str, code: int = 0) -> str:
        """One `mlops` command, which must end with this code; what it said."""
        process = self.start(*words)
        said = process.communicate(timeout=240)[0]
        assert process.returncode == code, said
        return said

    def deploy(self, image: str, strategy: str = "rolling", code: int = 0) -> str:
        """One `mlops deploy`."""
        return self.run("deploy", "--image", image, "--strategy", strategy, code=code)

    def until(self, line: str, *words: str) -> "subprocess.Popen[str]":
        """Begin a command and wait until it says a line that begins so."""
        process = self.start(*words)
        assert process.stdout is not None
        for said in process.stdout:
            if said.strip().startswith(line):
                return process
        raise AssertionError(f"{words} never said {line}")

    def clients(self, rate: float) -> Steady:
        """Requests at a constant rate."""
        return Steady(self.port, "/tumour/predict", {"rows": [{"x": 1.0}]}, rate=rate)

    def state(self) -> dict[str, object]:
        """What is on record and what there is, without times."""
        found = json.loads(self.run("status", "--json"))
        names = ("--filter", f"label=mlops.target={self.target}", "--format", "{{.Names}} {{.State}}")
        current, previous = found["state"]["current"], found["state"]["previous"]
        return {
            "serves": current["version"],
            "before": previous[0]["version"],
            "pending": found["state"]["pending"],
            "shares": found["shares"],
            "ready": found["ready"],
            "audit": found["audit_broken"],
            "containers": sorted(self.engine.docker("ps", "--all", *names).split("\n")),
        }


Images = Callable[..., str]


@pytest.fixture(scope="session")
def toys(engine: Engine, base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    """Build the image of a version: `toys("a", fails=0.5)`; the same name is the same image."""
    made: dict[str, str] = {}

    def build(name: str, **behaviour: object) -> str:
        if name not in made:
            made[name] = toy(engine, base, tmp_path_factory.mktemp(name), name, behaviour)
        return made[name]

    yield build
    for tag in made.values():
        engine.run("image", "rm", "--force", tag)


def toy(engine: Engine, base: str, folder: Path, name: str, behaviour: dict[str, object]) -> str:
    """An image of a version that behaves like this."""
    (folder / "serve").mkdir()
    # What asks inside of the containers is the real thing.
    for module in ("probe", "settings", "errors"):
        shutil.copy(PRODUCT / "packages" / "serve" / "src" / "serve" / f"{module}.py", folder / "serve")
    shutil.copy(TOY / "__main__.py", folder / "serve")
    (folder / "serve" / "__init__.py").write_text("")
    row = {"x": 1.0}
    manifest = {
        "model": "tumour",
        "name": name,
        "features": [{"name": "x", "dtype": "float"}],
        "input_schema": {"required": ["x"]},
        "classes": None,
        "golden": {"row": row, "prediction": behaviour.get("value", 0.3)},
        "proof": {"rows": [{"x": float(number)} for number in range(8)], "predictions": []},
    }
    text = json.dumps(manifest)
    version = hashlib.sha256(text.encode()).hexdigest()[:12]
    (folder / "manifest.json").write_text(text)
    (folder / "behaviour.json").write_text(json.dumps(behaviour))
    lines = [
        f"FROM {base}",
        "COPY serve /app/serve",
        "COPY manifest.json behaviour.json /model/",
        f"RUN mkdir /log && chown {USER} /log",
        f"ENV PYTHONPATH=/app SERVE_LISTEN=0.0.0.0:8080 SERVE_VERSION={version}",
        f"USER {USER}",
        f"LABEL mlops.model=tumour mlops.version={version} org.opencontainers.image.revision={'a' * 40}",
        # Two runs at once on one engine must not have an image in common: neither could remove it.
        f"LABEL test.run={os.getpid()}",
        'ENTRYPOINT ["python", "-m", "serve"]',
        'CMD ["run", "/model"]',
    ]
    (folder / "Dockerfile").write_text("\n".join(lines) + "\n")
    tag = f"test-toy-{os.getpid()}-{name}"
    engine.docker("build", "--quiet", "--tag", tag, str(folder))
    return tag


@pytest.fixture(scope="session")
def shops(
    engine: Engine, proxy: str, toys: Images, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Shop]]:
    """Make a repository with an environment of its own; everything of it is removed at the end, before the images."""
    made: list[Shop] = []

    def make() -> Shop:
        root = tmp_path_factory.mktemp("shops") / f"test-shop{os.getpid()}-{len(made)}"
        for folder in ("packages/mlops", "models/tumour", "deploy/environments"):
            (root / folder).mkdir(parents=True)
        (root / "models" / "tumour" / "model.toml").write_text("")
        port = free()
        (root / "deploy" / "environments" / "local.toml").write_text(PAGE.format(port=port, proxy=proxy))
        made.append(Shop(root, engine, port))
        return made[-1]

    yield make
    for shop in made:
        own = f"label=mlops.target={shop.target}"
        if found := engine.docker("ps", "--all", "--quiet", "--filter", own).split():
            engine.run("rm", "--force", *found)
        engine.run("network", "rm", shop.target)
        engine.run("volume", "rm", shop.target, f"{shop.target}-tumour-log")


@pytest.fixture(scope="session")
def shop(shops: Callable[[], Shop], toys: Images) -> Shop:
    """A repository whose version a serves, and b did before."""
    found = shops()
    for name in "ba":
        found.deploy(toys(name))
    return found


def version(engine: Engine, image: str) -> str:
    """The version that an image holds."""
    return engine.docker("image", "inspect", "--format", '{{index .Config.Labels "mlops.version"}}', image)


def test_clients_notice_no_rollout_and_no_rollback(
    shop: Shop, toys: Images, record_property: Callable[[str, object], None]
) -> None:
    """At least 5,000 requests at a constant rate over a rolling, a blue-green and a canary rollout and a rollback."""
    names = {name: version(shop.engine, toys(name)) for name in "abcde"}
    with shop.clients(rate=80) as clients:
        for name, strategy in (("c", "rolling"), ("d", "blue-green"), ("e", "canary")):
            said = shop.deploy(toys(name), strategy)
            assert f"{names[name]} serves local" in said
            assert clients.failed == [], strategy
        shop.run("rollback", "--reason", "a rehearsal", "--into", "note.json")
        clients.until(5000)
    assert clients.failed == []
    assert clients.sent >= 5000
    assert all(clients.versions[names[name]] > 100 for name in "acde"), clients.versions
    assert clients.versions[""] == 0
    seconds = json.loads((shop.root / "note.json").read_text())["facts"]["seconds"]
    record_property("rollback_seconds", seconds)
    record_property("requests", clients.sent)
    assert seconds < 30
    assert shop.state()["serves"] == names["d"]


@pytest.mark.parametrize("strategy", ["rolling", "canary"])
def test_a_deployment_killed_at_each_of_its_steps_ends_as_a_clean_one(shop: Shop, toys: Images, strategy: str) -> None:
    """`kill -9` of the real process, at least a dozen times: each time the same command goes on where it was."""
    before = shop.state()["serves"]
    new = toys("c" if before != version(shop.engine, toys("c")) else "d")
    wanted, kills = version(shop.engine, new), 0
    with shop.clients(rate=30) as clients:
        while said := killed_at_next_step(shop, new, strategy, first=not kills):
            kills += said == "killed"
            assert kills < 50
    assert clients.failed == []
    assert kills >= 12
    after = shop.state()
    assert (after["serves"], after["pending"], after["shares"]) == (wanted, None, {wanted: 100.0})
    assert (after["ready"], after["audit"], after["before"]) == (2, None, before)
    containers = [one.split()[-1] for one in after["containers"]]  # type: ignore[attr-defined]
    assert sorted(containers) == ["exited", "exited", "running", "running", "running"]


STEPS = ("start ", "wait ", "try ", "send ", "observe ", "stop ", "remove ")


def killed_at_next_step(shop: Shop, image: str, strategy: str, *, first: bool) -> str:
    """Deploy, and kill it at the step after the one where it was killed last; empty when it has ended before."""
    process = shop.start("deploy", "--image", image, "--strategy", strategy)
    assert process.stdout is not None
    lines, steps = [], 0
    for line in process.stdout:
        lines.append(line)
        steps += line.strip().startswith(STEPS) or line.strip().endswith("is what serves")
        if steps == (1 if first else 2):
            process.kill()
            process.communicate()
            return "killed"
    process.communicate()
    if process.returncode == 2 and "is being changed" in lines[-2]:
        # The lock ends with its holder, a moment later.
        return "locked"
    assert process.returncode == 0, "".join(lines)
    assert "go on with what" in "".join(lines)
    return ""


def test_a_killed_deployment_is_given_up_by_a_rollback(shop: Shop, toys: Images) -> None:
    before = shop.state()
    new = toys("fresh")
    with shop.clients(rate=30) as clients:
        process = shop.until("observe", "deploy", "--image", new, "--strategy", "canary")
        process.kill()
        process.communicate()
        said = shop.run("rollback")
    assert clients.failed == []
    assert f"{version(shop.engine, new)} was given up" in said
    after = shop.state()
    assert (after["serves"], after["shares"]) == (before["serves"], before["shares"])


def test_a_proxy_that_is_killed_comes_back_and_loses_no_deployment(shop: Shop, toys: Images) -> None:
    new = toys("a" if shop.state()["serves"] != version(shop.engine, toys("a")) else "b")
    process = shop.until("try", "deploy", "--image", new, "--strategy", "rolling")
    pid = int(shop.engine.docker("inspect", "--format", "{{.State.Pid}}", f"{shop.target}-proxy"))
    kill(pid)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0, said
    assert shop.state()["serves"] == version(shop.engine, new)
    with shop.clients(rate=30) as clients:
        clients.until(30)
    assert clients.failed == []
    # One that Docker was told to kill stays away, until the next command wants it.
    shop.engine.docker("kill", f"{shop.target}-proxy")
    assert "nothing was touched" in shop.deploy(new)
    with shop.clients(rate=30) as clients:
        clients.until(30)
    assert clients.failed == []


def kill(pid: int) -> None:
    """End a process of the engine; skips where it is not ours to end."""
    try:
        os.kill(pid, signal.SIGKILL)
    except (PermissionError, ProcessLookupError):
        pytest.skip("the engine's processes are not on this machine, or not ours")


def test_of_two_at_once_one_is_refused(shop: Shop, toys: Images) -> None:
    new = toys("c" if shop.state()["serves"] != version(shop.engine, toys("c")) else "d")
    process = shop.until("try", "deploy", "--image", new, "--strategy", "rolling")
    refused = shop.deploy(toys("a"), code=2)
    assert "tumour is being changed in local by" in refused
    assert "since 20" in refused
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0, said


def test_a_full_disk_is_refused_while_the_old_version_serves(
    shops: Callable[[], Shop], engine: Engine, base: str, toys: Images
) -> None:
    """The state's volume is a small disk in memory, and somebody fills it."""
    shop = shops()
    keeper = f"{shop.target}-keeper"
    engine.docker(
        *("volume", "create", "--driver", "local", "--opt", "type=tmpfs", "--opt", "device=tmpfs"),
        *("--opt", "o=size=4m", "--label", f"mlops.target={shop.target}", shop.target),
    )
    # A disk in memory is gone when nobody uses it.
    engine.docker(
        *("run", "--detach", "--name", keeper, "--label", f"mlops.target={shop.target}", "--user", "0"),
        *("--volume", f"{shop.target}:/state", base, "sleep", "600"),
    )
    shop.deploy(toys("a"))
    engine.docker("exec", keeper, "sh", "-c", "dd if=/dev/zero of=/state/filler bs=1k count=3500 2>/dev/null || true")
    with shop.clients(rate=30) as clients:
        said = shop.deploy(toys("b"), code=2)
        assert "disk of the Docker engine at hand is full" in said
        assert "Nothing was changed" in said
        engine.docker("exec", keeper, "rm", "/state/filler")
        shop.deploy(toys("b"))
    assert clients.failed == []
    engine.docker("rm", "--force", keeper)


def test_a_release_that_cannot_start_is_rolled_back(shop: Shop, toys: Images) -> None:
    before = shop.state()
    with shop.clients(rate=30) as clients:
        said = shop.deploy(toys("crash", crashes=True), "rolling", code=1)
    assert clients.failed == []
    assert "was rolled back in local" in said
    assert "model.skops has another digest" in said
    assert shop.state() == before


def test_a_canary_that_fails_is_rolled_back(shop: Shop, toys: Images) -> None:
    """Clients of the canary see its errors, and only they, until it is judged."""
    before = shop.state()
    with shop.clients(rate=60) as clients:
        said = shop.deploy(toys("fails", fails=0.9), "canary", code=1)
        failed = len(clients.failed)
        time.sleep(1)
        assert len(clients.failed) == failed
    assert "was rolled back in local" in said
    assert "fails on" in said
    assert {one.split(": ", 1)[1][:3] for one in clients.failed} <= {"500"}
    assert shop.state() == before


def test_overload_is_refused_at_once_and_says_when_to_come_again(shop: Shop, toys: Images) -> None:
    """No container gets more than it lets in, what it has is answered, and after that all is as before."""
    shop.deploy(toys("patient", waits=4.0))
    many = 2 * AT_ONCE + 100
    together = threading.Barrier(many)

    def ask(_: int) -> tuple[int, "http.client.HTTPMessage", bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", shop.port, timeout=60)
        connection.connect()
        together.wait(60)
        connection.request("POST", "/tumour/predict", '{"rows": [{"x": 100.0}]}', {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()

    with ThreadPoolExecutor(many) as pool:
        answers = list(pool.map(ask, range(many)))
    others = [(status, body) for status, _, body in answers if status not in (200, 503)]
    assert others == []
    served = [headers for status, headers, _ in answers if status == 200]
    refused = [(headers, json.loads(body)) for status, headers, body in answers if status == 503]
    assert len(served) >= 2 * AT_ONCE
    assert refused
    assert {headers["Retry-After"] for headers, _ in refused} == {"1"}
    assert all("too much work" in body["error"] for _, body in refused)
    assert max(int(headers["at-once"]) for headers in served) <= AT_ONCE
    with shop.clients(rate=60) as clients:
        clients.until(120)
    assert clients.failed == []


def test_a_registry_that_is_down_changes_nothing(shop: Shop) -> None:
    before = shop.state()
    said = shop.deploy(f"127.0.0.1:1/nobody/tumour@sha256:{'0' * 64}", code=2)
    assert "cannot be pulled" in said
    assert "Nothing was changed" in said
    assert shop.state() == before


IMPATIENT = """
import sys
from mlops import cli
from mlops.deploying import host
host.PULL = 3.0
sys.exit(cli.main(sys.argv[1:]))
"""


def test_a_registry_that_never_answers_changes_nothing(shop: Shop) -> None:
    """It takes the connection and says nothing; waited is for less time than for a real one."""
    before = shop.state()
    with socket.socket() as silent, shop.clients(rate=30) as clients:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        image = f"127.0.0.1:{silent.getsockname()[1]}/nobody/tumour@sha256:{'0' * 64}"
        said = shop.run("-c", IMPATIENT, "deploy", "--image", image, code=2)
    assert "The registry did not give" in said
    assert "Nothing was changed" in said
    assert clients.failed == []
    assert shop.state() == before


class Slow(socketserver.BaseRequestHandler):
    """Hands everything on to another port of this machine, and each answer in small pieces with long pauses."""

    def handle(self) -> None:
        """One connection, until either side ends it."""
        with socket.create_connection(("127.0.0.1", self.server.behind)) as behind:  # type: ignore[attr-defined]
            threading.Thread(target=self.ask, args=[behind], daemon=True).start()
            while piece := behind.recv(2048):
                time.sleep(0.5)
                self.request.sendall(piece)

    def ask(self, behind: socket.socket) -> None:
        """What the client says is not slowed."""
        with contextlib.suppress(OSError):
            while piece := self.request.recv(65536):
                behind.sendall(piece)


def test_a_slow_registry_is_waited_for_while_the_old_version_serves(
    shops: Callable[[], Shop], toys: Images, registry: str
) -> None:
    shop = shops()
    shop.deploy(toys("a"))
    docker, name, tag = shop.engine.docker, f"{registry}/acme/tumour", toys("slow")
    docker("tag", tag, f"{name}:slow")
    docker("push", "--quiet", f"{name}:slow")
    digest = docker("image", "inspect", "--format", "{{index .RepoDigests 0}}", f"{name}:slow").split("@")[1]
    expected = version(shop.engine, tag)
    docker("image", "rm", "--force", f"{name}:slow", tag)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Slow) as server, shop.clients(rate=30) as clients:
        server.daemon_threads, server.behind = True, int(registry.split(":")[1])  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        image = f"127.0.0.1:{server.server_address[1]}/acme/tumour@{digest}"
        begun = time.monotonic()
        shop.deploy(image)
        server.shutdown()
    assert time.monotonic() - begun > 2
    assert shop.state()["serves"] == expected
    assert clients.failed == []


def test_what_nothing_goes_back_to_is_removed(shop: Shop, toys: Images) -> None:
    """The images and prediction logs of versions before the last five; what is there can all be gone back to."""
    tags, docker = [toys(name) for name in "fghij"], shop.engine.docker
    reference = f"reference=test-toy-{os.getpid()}-*"
    built = docker("image", "ls", "--quiet", "--no-trunc", "--filter", reference).split()
    versions = {image: version(shop.engine, image) for image in built}
    for tag in tags:
        shop.deploy(tag)
    found = json.loads(shop.run("status", "--json"))
    releases = [found["state"]["current"], *found["state"]["previous"]]
    kept = {one["image"] for one in releases}
    assert len(kept) == 6
    assert kept <= versions.keys()
    promoted = {one["to"] for one in found["audit"] if one["what"] == "promote"}
    gone = {image for image in versions if versions[image] in promoted} - kept
    # Another environment on the same engine may still need one.
    others = docker("ps", "--all", "--quiet", "--filter", "label=mlops.unit").split()
    label = '{{.Image}} {{index .Config.Labels "mlops.target"}}'
    pairs = [docker("inspect", "--format", label, one).split() for one in others]
    gone -= {image for image, target in pairs if target != shop.target}
    assert gone
    assert [image for image in gone if shop.engine.has(image)] == []
    assert all(shop.engine.has(image) for image in kept)
    containers = docker(
        "ps", "--quiet", "--filter", f"label=mlops.target={shop.target}", "--filter", "label=mlops.unit"
    )
    logs = docker("exec", containers.split()[0], "ls", "/log").split()
    assert {one.partition("-")[0] for one in logs} == {one["version"] for one in releases}
