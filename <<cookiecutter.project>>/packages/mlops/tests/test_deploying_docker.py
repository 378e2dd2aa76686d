"""What is run inside of the proxy does what its double in memory does: here by a real shell, on real files."""

import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from mlops.deploying import docker, traffic
from mlops.deploying.docker import Docker, Done, Engine, Lock
from mlops.errors import Refusal

pytestmark = pytest.mark.skipif(shutil.which("sync") is None or sys.platform != "linux", reason="needs Linux")


def run(script: str, *arguments: str, path: str = "") -> Done:
    """A script as the proxy's container runs it."""
    environment = {**os.environ, "PATH": f"{path}{os.pathsep}{os.environ['PATH']}" if path else os.environ["PATH"]}
    done = subprocess.run(
        ["sh", "-c", script, "sh", *arguments], capture_output=True, text=True, check=False, env=environment, timeout=20
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def bin(tmp_path: Path) -> Path:
    """A folder with a `haproxy` that refuses a configuration that has the word bad in it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "haproxy"
    program.write_text('#!/bin/sh\n! grep -q bad "$3"/*.cfg || { echo "line 3: bad" >&2; exit 1; }\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return folder


def test_a_text_is_written_and_read_as_it_was(tmp_path: Path) -> None:
    path = str(tmp_path / "tumour" / "state.json")
    assert run(docker.READ, path).code == docker.ABSENT
    text = '{"model": "tumour", "odd": "$HOME `id` \\\\n %s \'"}\n{"two": 2}'
    assert run(docker.WRITE, path, text).code == 0
    assert run(docker.READ, path).out == text + "\n"
    assert [one.name for one in (tmp_path / "tumour").iterdir()] == ["state.json"]


def test_a_line_is_added_once(tmp_path: Path) -> None:
    path = str(tmp_path / "tumour" / "audit.jsonl")
    for line in ("one", "two", "two"):
        assert run(docker.APPEND, path, line).code == 0
    assert run(docker.READ, path).out == "one\ntwo\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_fails_and_leaves_the_old_text(tmp_path: Path) -> None:
    """The new text goes to a device that is always full."""
    path = tmp_path / "state.json"
    path.write_text("old\n")
    Path(f"{path}.new").symlink_to("/dev/full")
    assert run(docker.WRITE, str(path), "new").code != 0
    assert path.read_text() == "old\n"
    assert run(docker.APPEND, str(path), "new").code != 0
    assert path.read_text() == "old\n"


def test_room_is_tried_and_given_back(tmp_path: Path) -> None:
    assert run(docker.ROOMY, str(tmp_path), "1000").code == 0
    assert list(tmp_path.iterdir()) == []
    assert run(docker.ROOMY, str(tmp_path / "missing"), "1000").code != 0


def test_a_configuration_that_the_proxy_refuses_is_not_installed(tmp_path: Path, bin: Path) -> None:
    live = tmp_path / "haproxy.d"
    live.mkdir()
    (live / "00-environment.cfg").write_text("global\n")
    (live / "model-tumour.cfg").write_text("backend old\n")
    install = (docker.INSTALL, str(tmp_path / "tumour"), str(live), "model-tumour.cfg")
    refused = run(*install, "backend bad", path=str(bin))
    assert refused.code != 0
    assert "line 3: bad" in refused.why
    assert (live / "model-tumour.cfg").read_text() == "backend old\n"
    assert run(*install, "backend new", path=str(bin)).code == 0
    assert (live / "model-tumour.cfg").read_text() == "backend new\n"
    assert sorted(one.name for one in live.iterdir()) == ["00-environment.cfg", "model-tumour.cfg"]
    assert not (tmp_path / "tumour" / "check").exists()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Path]:
    """A program `docker` that runs what it should run in a container right here."""
    folder = tmp_path / "client"
    folder.mkdir()
    program = folder / "docker"
    program.write_text('#!/bin/sh\nwhile [ "$1" != sh ]; do shift; done\nexec "$@"\n')
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", os.pathsep.join([str(folder), os.environ["PATH"]]))
        patch.setattr(docker, "STATE", str(tmp_path / "state"))
        yield folder


@pytest.mark.skipif(shutil.which("flock") is None, reason="needs flock")
def test_a_lock_is_held_by_one_and_let_go_when_its_holder_dies(client: Path) -> None:
    engine = Engine(Docker(""), project="shop", environment="local", host="")
    lock = engine.hold("tumour", "ann since noon")
    assert isinstance(lock, Lock)
    assert lock.kept
    assert engine.hold("tumour", "bob") == "ann since noon"
    other = engine.hold("diabetes", "bob")
    assert isinstance(other, Lock)
    other.release()
    # Whoever is killed closes all that was open, which ends what holds the lock.
    lock.release()
    assert not lock.kept
    last = engine.hold("tumour", "bob")
    assert isinstance(last, Lock)
    last.release()


@pytest.mark.skipif(shutil.which("flock") is None, reason="needs flock")
def test_a_lock_ends_with_a_killed_process(client: Path, tmp_path: Path) -> None:
    code = (
        "import time\nfrom mlops.deploying import docker\n"
        f"docker.STATE = {str(tmp_path / 'state')!r}\n"
        "engine = docker.Engine(docker.Docker(''), project='shop', environment='local', host='')\n"
        "lock = engine.hold('tumour', 'ann')\nprint('held', flush=True)\ntime.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    engine = Engine(Docker(""), project="shop", environment="local", host="")
    assert engine.hold("tumour", "bob") == "ann"
    process.kill()
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 10
    while not isinstance(lock := engine.hold("tumour", "bob"), Lock):
        assert time.monotonic() < deadline
    lock.release()


def test_a_program_that_is_late_is_ended(tmp_path: Path) -> None:
    program = tmp_path / "docker"
    program.write_text("#!/bin/sh\nexec sleep 30\n")
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", os.pathsep.join([str(tmp_path), os.environ["PATH"]]))
        engine = Engine(Docker(""), project="shop", environment="local", host="")
        started = time.monotonic()
        with pytest.raises(Refusal, match="registry did not give x within 1 seconds"):
            engine.pull("x", 1.0)
        assert time.monotonic() - started < 10


def test_without_docker_the_refusal_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refusal, match="no program `docker`"):
        Engine(Docker(""), project="shop", environment="local", host="").reach()


def test_a_change_is_seen_when_the_proxy_says_its_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    """The script waits until the new configuration answers, and fails with what was said where it never does."""

    class Proxy(BaseHTTPRequestHandler):
        count = 0

        def do_GET(self) -> None:
            Proxy.count += 1
            said = b'{"mark": "new"}' if Proxy.count > 2 else b'{"mark": "old"}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    script = docker.SEEN.replace(f", {traffic.PORT},", f", {server.server_port},")
    asked = [sys.executable, "-c", script, "127.0.0.1", "/tumour/-/traffic"]
    assert subprocess.run([*asked, '"new"', "5"], check=False, capture_output=True).returncode == 0
    failed = subprocess.run([*asked, '"other"', "0.2"], check=False, capture_output=True, text=True)
    server.shutdown()
    server.server_close()
    assert failed.returncode == 1
    assert "new" in failed.stdout
