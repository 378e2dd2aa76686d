"""A `docker` for act runs where there is no engine: it builds, keeps a registry, and has hosts on which models serve.

`Hosts` is the world behind it, a context manager; `Hosts.install(folder)` puts the program `docker` into a folder.
A host is named by its `DOCKER_HOST` and is the engine in memory of the product's own tests (`dockers.World`), so that a
deployment is judged by the same code here as there; clients ask all the time. Without a `DOCKER_HOST` it is the engine
that builds. Images are pushed and pulled with a login that allows it only, as `docker/login-action` notes it.
"""

import base64
import hashlib
import importlib
import json
import os
import socketserver
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.rendering import PRODUCT

# What a client is: it hands its words over, and prints what it is told.
PROGRAM = r"""
import json, os, socket, sys

with socket.socket(socket.AF_UNIX) as line:
    line.connect(os.environ["ACTING_DOCKER"])
    stream = line.makefile("rw", encoding="utf-8")

    def tell(value):
        stream.write(json.dumps(value) + "\n")
        stream.flush()

    about = {key: os.environ.get(key, "") for key in ("DOCKER_HOST", "DOCKER_CONFIG")}
    tell({"words": sys.argv[1:], **about})
    if json.loads(stream.readline())["holds"]:
        said = json.loads(stream.readline())
        if said["line"] is None:
            sys.stderr.write(said["error"])
            sys.exit(1)
        print(said["line"], flush=True)
        sys.stdin.read()
        sys.exit(0)
    tell({"given": "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.read()})
    done = json.loads(stream.readline())
sys.stdout.write(done["out"])
sys.stderr.write(done["err"])
sys.exit(done["code"])
"""
PROXY = "haproxy:3.2"
# What act puts there when nobody names a host.
USUAL = "unix:///var/run/docker.sock"
TOY = {
    "features": [{"name": "x", "dtype": "float"}],
    "classes": None,
    "golden": {"row": {"x": 1.0}, "prediction": 0.5},
    "proof": {"rows": [], "predictions": []},
    "input_schema": {"required": ["x"]},
}
# Seconds of the hosts' clients for each second that passes here.
PACE = 30.0
LONGEST = 5.0


def dockers() -> ModuleType:
    """The engine in memory, from the product's tests."""
    for folder in ("src", "tests"):
        path = str(PRODUCT / "packages" / "mlops" / folder)
        if path not in sys.path:
            sys.path.append(path)
    return importlib.import_module("dockers")


class Hosts:
    """All engines, and the registry between them."""

    def __init__(self, folder: Path) -> None:
        """Nothing listens yet; `folder` gets the socket."""
        self.module = dockers()
        self.socket = folder / "docker.sock"
        proxy = self.module.Made("sha256:" + "0" * 64, {}, {})
        self.registry: dict[str, Any] = {PROXY: proxy}
        self.built: dict[str, Any] = {}
        self.worlds: dict[str, Any] = {}
        self.fails: dict[str, float] = {}
        """Version → the share of its requests that it answers with 500."""
        self.pushed: list[str] = []
        self._seen: dict[str, float] = {}
        self._lock = threading.RLock()

    def __enter__(self) -> "Hosts":
        hosts = self

        class Client(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                hosts._serve(self)

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True

        self._server = Server(str(self.socket), Client)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def install(self, folder: Path) -> None:
        """Put the program into a folder of the PATH."""
        program = folder / "docker"
        program.write_text(f"#!/usr/bin/env -S python3 -I\n{PROGRAM}")
        program.chmod(0o755)

    def spoil(self, version: str, share: float) -> None:
        """From now on a version answers so much of its requests with 500, wherever it runs."""
        self.fails[version] = share
        for made in {id(one): one for one in [*self.built.values(), *self.registry.values()]}.values():
            if made.labels.get("mlops.version") == version:
                made.fails = share

    def serving(self, host: str, model: str) -> str | None:
        """The version that a host has on record as serving; None where there is none."""
        world = self.worlds.get(host)
        text = world.files.get(f"/state/{model}/state.json") if world else None
        current = json.loads(text)["current"] if text else None
        return None if current is None else str(current["version"])

    def _serve(self, client: Any) -> None:
        def tell(value: Any) -> None:
            client.wfile.write(json.dumps(value).encode() + b"\n")
            client.wfile.flush()

        asked = json.loads(client.rfile.readline())
        words, host = asked["words"], "" if asked["DOCKER_HOST"] == USUAL else asked["DOCKER_HOST"]
        if host and any(word == self._docker.HOLD for word in words):
            tell({"holds": True})
            held = self._world(host).hold(words)
            line = held.line(1)
            tell({"line": line, "error": held.end() if line is None else ""})
            # Until the client goes away, however it does.
            client.rfile.read()
            held.end()
            return
        tell({"holds": False})
        given = json.loads(client.rfile.readline())["given"]
        try:
            with self._lock:
                code, out, err = self._do(host, words, given.splitlines(), asked["DOCKER_CONFIG"])
        except Exception as problem:
            code, out, err = (
                125,
                "",
                f"the double of docker does not know `docker {' '.join(words)[:300]}`: {problem!r}",
            )
        tell({"code": code, "out": out, "err": err})

    @property
    def _docker(self) -> Any:
        return importlib.import_module("mlops.deploying.docker")

    def _world(self, host: str) -> Any:
        if host not in self.worlds:
            self.worlds[host] = self.module.World(registry=self.registry)
        now, before = time.monotonic(), self._seen.get(host)
        if before is not None:
            self.worlds[host].sleep(min(now - before, LONGEST / PACE) * PACE)
        self._seen[host] = now
        return self.worlds[host]

    def _do(self, host: str, words: list[str], lines: list[str], config: str) -> tuple[int, str, str]:
        if words[:1] == ["--version"]:
            return 0, "Docker version 20.10.24, build double\n", ""
        if words[:1] == ["pull"] and words[-1] != PROXY and not _level(words[-1], config):
            return 1, "", "Error response from daemon: unauthorized: authentication required\n"
        if host:
            done = self._world(host).run(words, given=lines)
            return done.code, done.out, done.err
        match words:
            case ["version", *_]:
                return 0, "20.10.24\n", ""
            case ["buildx", *_]:
                return 1, "", "docker: 'buildx' is not a docker command.\n"
            case ["build", *_]:
                self._build(words)
                return 0, "", ""
            case ["tag", name, other]:
                self.built[other] = self.built[name]
                return 0, "", ""
            case ["push", name]:
                return self._push(name, config)
            case ["image", "inspect", name] if name in self.built:
                made = self.built[name]
                digests = [one for one, other in self.registry.items() if other is made and "@" in one]
                about = {"Id": made.id, "RepoDigests": digests, "Size": 1, "Config": {"Labels": made.labels}}
                return 0, json.dumps([about]), ""
            case ["image", "inspect", name]:
                return 1, "", f"Error: No such image: {name}\n"
        raise ValueError("an order")

    def _build(self, words: list[str]) -> None:
        """An image from its context: its digest is that of everything that is in it."""
        pairs = [words[place + 1].partition("=") for place, word in enumerate(words) if word == "--label"]
        labels = {key: value for key, _, value in pairs}
        context = Path(words[-1])
        digest = hashlib.sha256(json.dumps(labels, sort_keys=True).encode())
        for path in sorted(path for path in context.rglob("*") if path.is_file()):
            digest.update(f"{path.relative_to(context)}\0".encode() + path.read_bytes())
        # The service in memory knows one field and one answer; all else is as the version says.
        manifest = {**json.loads((context / "model" / "manifest.json").read_text()), **TOY}
        made = self.module.Made(f"sha256:{digest.hexdigest()}", labels, manifest)
        made.fails = self.fails.get(labels["mlops.version"], 0.0)
        self.built[words[words.index("--tag") + 1]] = made

    def _push(self, name: str, config: str) -> tuple[int, str, str]:
        if _level(name, config) != "write":
            return 1, "", "denied: permission_denied: write_package\n"
        made = self.built[name]
        digest = hashlib.sha256(f"manifest of {made.id}".encode()).hexdigest()
        known = f"{name.rpartition(':')[0]}@sha256:{digest}"
        self.registry[known] = made
        self.pushed.append(known)
        return 0, f"{name}: digest: sha256:{digest}\n", ""


def _level(name: str, config: str) -> str:
    """What the login of this job allows in the registry of an image; empty without one."""
    place = Path(config or os.devnull)
    host = name.partition("/")[0]
    if not config or not (place / "config.json").is_file():
        return ""
    known = json.loads((place / "config.json").read_text())["auths"]
    if host not in known or b":" not in base64.b64decode(known[host]["auth"]):
        return ""
    return (place / "level").read_text()
