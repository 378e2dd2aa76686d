"""A real Docker engine for tests, an image to build on, and an image with a proxy.

    from tests.engine import Engine

    @pytest.mark.slow
    def test_something(engine: Engine, base: str, proxy: str) -> None:
        engine.docker("run", "--rm", base, "python3", "--version")

`conftest.py` makes the three fixtures known, so a test only names them:

- `engine`  the engine that is running, else one that is started for the tests and ends with the last of them; that
            needs root and the program `dockerd` (Debian's docker.io). Without either, the test is skipped and says why.
            `engine.docker(...)` is what one docker command printed; one that fails, fails the test with its words.
            While it is asked for, `docker` on the PATH is a program that can build with BuildKit.
- `base`    an image with Python: the one of `deploy/Dockerfile` where a registry can be reached, else one that is made
            once with debootstrap, from Debian's packages. `BASE_IMAGE` in the environment names another one.
- `proxy`   an image with HAProxy and `flock`, by the same two ways.
- `registry` the host of a registry on this machine (Debian's docker-registry); without that, the test is skipped.

Both images stay on the engine under names of their own, so only the first run on a machine makes them.
Name what a test makes `test-…`, and remove it: `engine.docker("rm", "--force", name)`.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.rendering import PRODUCT

BASE, PROXY = "test-base:1", "test-proxy:1"
SHARED = Path(tempfile.gettempdir()) / "test-engine"
"""What several test runs at once share: who uses the engine, and the process that one of them started."""
START, PULL, BUILD = 60, 120, 900
"""Seconds to wait for an engine, an image from a registry, and an image that is made."""
SUITE = "bookworm"


@dataclass(frozen=True)
class Engine:
    """A Docker engine that answers; `program` is the client, one that can build with BuildKit."""

    program: str

    def run(self, *words: str, given: str | None = None, seconds: float = BUILD) -> "subprocess.CompletedProcess[str]":
        """One docker command, whatever its code."""
        return subprocess.run(
            [self.program, *words], input=given, capture_output=True, text=True, check=False, timeout=seconds
        )

    def docker(self, *words: str, given: str | None = None, seconds: float = BUILD) -> str:
        """What one docker command printed, without the last newline; a failure fails the test."""
        done = self.run(*words, given=given, seconds=seconds)
        assert done.returncode == 0, f"docker {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout.rstrip("\n")

    def has(self, image: str) -> bool:
        """Whether an image is on the engine."""
        return self.run("image", "inspect", image).returncode == 0


def builder() -> str | None:
    """The first docker client on the PATH that can build with BuildKit: with buildx, or so old that it needs none."""
    for folder in os.environ["PATH"].split(os.pathsep):
        program = os.path.join(folder, "docker")
        if not os.access(program, os.X_OK):
            continue
        version = re.search(r"version (\d+)", _said(program, "--version"))
        if version and (int(version[1]) < 23 or "buildx" in _said(program, "buildx", "version")):
            return program
    return None


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return done.stdout if done.returncode == 0 else ""


def answers(program: str) -> bool:
    """Whether an engine is running behind this client."""
    return subprocess.run([program, "version"], capture_output=True, check=False, timeout=60).returncode == 0


@contextlib.contextmanager
def running() -> Iterator[Engine]:
    """An engine, for as long as it is needed; skips the test where there is none, and none can be started."""
    program = builder()
    if program is None:
        pytest.skip(
            "no docker client that builds with BuildKit is installed (docker with buildx, or Debian's docker.io)"
        )
    SHARED.mkdir(exist_ok=True)
    with (SHARED / "users").open("w") as users:
        with _alone("turn"):
            if not answers(program):
                _start(program)
            fcntl.flock(users, fcntl.LOCK_SH)
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            os.symlink(program, os.path.join(folder, "docker"))
            patch.setenv("PATH", os.pathsep.join([folder, os.environ["PATH"]]))
            yield Engine(program)
        # The last user ends what a test run started; an engine that was there before is left alone.
        with _alone("turn"), contextlib.suppress(OSError):
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _end()


def _start(program: str) -> None:
    daemon = shutil.which("dockerd") or shutil.which("dockerd", path="/usr/sbin:/sbin")
    if os.environ.get("DOCKER_HOST") or daemon is None or os.geteuid() != 0:
        pytest.skip("no Docker engine is running, and none can be started (that needs dockerd, and root)")
    log = (SHARED / "log").open("wb")
    process = subprocess.Popen([daemon], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    (SHARED / "pid").write_text(str(process.pid))
    deadline = time.monotonic() + START
    while not answers(program):
        if process.poll() is not None or time.monotonic() > deadline:
            _end()
            last = (SHARED / "log").read_text(errors="replace").strip().splitlines()[-1:]
            pytest.skip(f"the Docker engine does not start here: {' '.join(last)[:300]}")
        time.sleep(0.2)


def _end() -> None:
    pid = SHARED / "pid"
    if not pid.exists():
        return
    number = int(pid.read_text())
    pid.unlink()
    with contextlib.suppress(OSError):
        if Path(f"/proc/{number}/comm").read_text().strip() != "dockerd":
            return
        os.kill(number, signal.SIGTERM)
        deadline = time.monotonic() + START
        while time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(number, os.WNOHANG)
            os.kill(number, 0)
            time.sleep(0.1)


@contextlib.contextmanager
def _alone(name: str) -> Iterator[None]:
    """Only one test run at a time does what has this name."""
    with (SHARED / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def base_image(engine: Engine) -> str:
    """An image with Python on which the image of a model can be built."""
    if chosen := os.environ.get("BASE_IMAGE"):
        return chosen
    with _alone("base"):
        if engine.has(BASE):
            return BASE
        pinned = re.search(r"(?m)^FROM (python:\S+)", (PRODUCT / "deploy" / "Dockerfile").read_text())
        assert pinned is not None
        if _pulled(engine, pinned[1], BASE):
            return BASE
        return _debian(engine)


def proxy_image(engine: Engine, base: str) -> str:
    """An image with HAProxy, started as its official image is: with a configuration at the usual place."""
    with _alone("proxy"):
        if engine.has(PROXY) or _pulled(engine, "haproxy:3.2", PROXY):
            return PROXY
        install = "apt-get update -qq && apt-get install -qq --yes --no-install-recommends haproxy >/dev/null"
        lines = [
            f"FROM {base}",
            f"RUN {install} && rm -rf /var/lib/apt/lists",
            "STOPSIGNAL SIGUSR1",
            'CMD ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]',
        ]
        made = engine.run("build", "--network", "host", "--tag", PROXY, "-", given="\n".join(lines))
        if made.returncode:
            pytest.skip(f"no image with HAProxy can be made here: {(made.stderr or made.stdout).strip()[-300:]}")
    return PROXY


def _pulled(engine: Engine, image: str, name: str) -> bool:
    try:
        if engine.run("pull", "--quiet", image, seconds=PULL).returncode:
            return False
    except subprocess.TimeoutExpired:
        return False
    engine.docker("tag", image, name)
    return True


def _debian(engine: Engine) -> str:
    """A small Debian with its own Python, made without a registry."""
    if shutil.which("debootstrap") is None or os.geteuid() != 0:
        pytest.skip("no image with Python can be pulled, and none can be made (that needs debootstrap, and root)")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        packages = "--include=python3,python3-pip,ca-certificates"
        done = subprocess.run(
            ["debootstrap", "--variant=minbase", packages, SUITE, str(root)],
            capture_output=True, text=True, check=False, timeout=BUILD,
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"debootstrap cannot make an image here: {done.stdout.strip()[-300:]}")
        for place in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale"):
            for one in (root / place).iterdir():
                shutil.rmtree(one) if one.is_dir() and not one.is_symlink() else one.unlink()
        # The official image calls it so, and every Dockerfile relies on that.
        (root / "usr/bin/python").symlink_to("python3")
        pack = subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE)
        subprocess.run([engine.program, "import", "-", BASE], stdin=pack.stdout, capture_output=True, check=True)
        assert pack.wait() == 0
    return BASE


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A Docker engine; see the top of this file."""
    with running() as found:
        yield found


@pytest.fixture(scope="session")
def base(engine: Engine) -> str:
    """The name of an image with Python."""
    return base_image(engine)


@pytest.fixture(scope="session")
def proxy(engine: Engine, base: str) -> str:
    """The name of an image with HAProxy."""
    return proxy_image(engine, base)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """A registry on this machine: its host and port."""
    program = shutil.which("docker-registry") or shutil.which("registry")
    if program is None:
        pytest.skip("no registry is installed (Debian's package docker-registry)")
    host, settings = f"127.0.0.1:{free()}", tmp_path / "registry.yml"
    place = f"storage: {{filesystem: {{rootdirectory: {tmp_path / 'images'}}}}}"
    settings.write_text(f"version: 0.1\n{place}\nhttp: {{addr: '{host}'}}\n")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([program, "serve", str(settings)], **quiet) as process:
        try:
            wait(f"http://{host}/v2/")
            yield host
        finally:
            process.terminate()


def free() -> int:
    """A port that nothing listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait(address: str) -> Any:
    """What is answered there, as soon as something is."""
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return json.loads(answer.read() or b"null")
        except OSError:
            assert time.monotonic() < deadline, f"{address} does not answer"
            time.sleep(0.1)
