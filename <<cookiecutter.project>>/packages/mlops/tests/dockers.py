"""A Docker engine in memory: containers, volumes, a proxy and its clients, for tests of deployments without an engine.

`World` is the engine, `World.run` and `World.hold` stand for the program `docker`. It refuses what Docker refuses, and
looks after each call whether a client would have got an error: `World.violations` must stay empty. `World.fuse` kills
whoever calls after that many calls, as `kill -9` does: what was called is done, and nothing else.
"""

import copy
import datetime as dt
import json
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlops.deploying import docker, traffic
from mlops.deploying.docker import Done
from mlops.deploying.release import Clock

EDGES, SECONDS = (0.25, 0.5, 0.75), (0.01, 0.1, 1.0)
BEGUN = dt.datetime(2026, 11, 18, 12, 0, tzinfo=dt.UTC)


class Killed(BaseException):
    """The process that deploys is gone."""


@dataclass
class Made:
    """An image: what is written on it, and how its service behaves."""

    id: str
    labels: dict[str, str]
    manifest: dict[str, Any]
    ready: bool = True
    crashes: bool = False
    fails: float = 0.0
    """Share of the requests that its service answers with 500."""


@dataclass
class Box:
    """A container."""

    image: str
    words: list[str]
    labels: dict[str, str]
    alias: str = ""
    status: str = "created"
    answered: int = 0
    failed: int = 0
    env: list[str] = field(default_factory=list)


@dataclass
class World:
    """One engine."""

    images: dict[str, Made] = field(default_factory=dict)
    registry: dict[str, Made] = field(default_factory=dict)
    boxes: dict[str, Box] = field(default_factory=dict)
    networks: set[str] = field(default_factory=set)
    files: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    """The configuration that is in force."""
    old: list[dict[str, str]] = field(default_factory=list)
    """Those of the proxy's processes that still have clients."""
    logs: set[str] = field(default_factory=set)
    """The files of the prediction log."""
    locks: set[str] = field(default_factory=set)
    rate: float = 50.0
    """Requests per second of all clients."""
    full: bool = False
    """Nothing can be written any more."""
    registry_hangs: bool = False
    time: float = 0.0
    calls: int = 0
    fuse: int = -1
    violations: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    """The first words of each call."""
    _guard: Any = field(default_factory=threading.RLock)

    def __deepcopy__(self, memo: dict[int, Any]) -> "World":
        """A world of its own, with a guard of its own."""
        names = [name for name in self.__dataclass_fields__ if name != "_guard"]
        return World(**{name: copy.deepcopy(getattr(self, name), memo) for name in names})

    # Time

    @property
    def clock(self) -> Clock:
        """Time that passes when somebody waits."""
        return Clock(now=lambda: BEGUN + dt.timedelta(seconds=self.time), monotonic=lambda: self.time, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        """Let time pass: clients ask, and old connections end."""
        with self._guard:
            self.time += seconds
            if self.old and seconds > 0:
                self.old.pop()
            for model, servers in self.routes(self.told).items():
                whole = sum(servers.values())
                for name, weight in servers.items():
                    box = self.named(name)
                    if box is None or not self.is_ready(box):
                        if weight:
                            self.violations.append(f"{model}: requests went to {name}, which cannot answer")
                        continue
                    self.ask(box, round(self.rate * seconds * weight / whole))

    def ask(self, box: Box, count: int) -> None:
        """Requests to one container."""
        fails = self.made(box).fails
        before = box.answered + box.failed
        bad = int((before + count) * fails) - int(before * fails)
        box.failed += bad
        box.answered += count - bad

    # What there is

    def made(self, box: Box) -> Made:
        """The image of a container."""
        return next(one for one in self.images.values() if box.image in (one.id, *self._names(one)))

    def _names(self, one: Made) -> list[str]:
        return [name for name, other in self.images.items() if other is one]

    def named(self, alias: str) -> Box | None:
        """The container with that name on the network."""
        return next((one for one in self.boxes.values() if one.alias == alias), None)

    def is_ready(self, box: Box) -> bool:
        """Whether a container answers that it is ready."""
        return box.status == "running" and self.made(box).ready and not self.made(box).crashes

    def routes(self, told: dict[str, str]) -> dict[str, dict[str, int]]:
        """The servers and weights of each model in a configuration."""
        found: dict[str, dict[str, int]] = {}
        for name, text in told.items():
            if name != traffic.BASE:
                lines = (line.split() for line in text.splitlines())
                found[name] = {words[1]: int(words[-1]) for words in lines if words[:1] == ["server"]}
        return found

    def proxy(self) -> Box | None:
        """The proxy's container."""
        return next((box for name, box in self.boxes.items() if name.endswith("-proxy")), None)

    def summary(self) -> dict[str, Any]:
        """What must be the same however often a deployment was killed on its way."""
        state = {name: json.loads(text) for name, text in self.files.items() if name.endswith("state.json")}
        for one in state.values():
            one.pop("head")
        logs = {name: text for name, text in self.files.items() if name.endswith("audit.jsonl")}
        keys = ("what", "from", "to", "reason")
        entries = {
            name: [[json.loads(line)[key] for key in keys] for line in text.splitlines()] for name, text in logs.items()
        }
        boxes = {name: box.status for name, box in self.boxes.items()}
        kept = {"images": sorted(self.images), "logs": sorted(self.logs)}
        return {"state": state, "audit": entries, "boxes": boxes, "told": self.told, **kept}

    # The program

    def run(self, words: Sequence[str], *, given: Iterable[str] = (), seconds: float = 60) -> Done:
        """One docker command."""
        with self._guard:
            if 0 <= self.fuse < self.calls:
                raise Killed
            self.calls += 1
            self.words.append(" ".join(words[:2]))
        lines = list(given)
        with self._guard:
            done = self._do(list(words), lines)
            self._look()
            if 0 <= self.fuse < self.calls:
                raise Killed
            return done

    def hold(self, words: Sequence[str]) -> "Hold":
        """The lock of a model."""
        with self._guard:
            if 0 <= self.fuse < self.calls:
                raise Killed
            self.calls += 1
            box = self.boxes.get(words[words.index("sh") - 1])
            assert docker.HOLD in words
            folder, text = words[-3], words[-1]
            if box is None or box.status != "running":
                return Hold(self, folder, error="Error: container is not running")
            if folder in self.locks:
                return Hold(self, folder, taken=True)
            self.locks.add(folder)
            self.files[f"{folder}/holder"] = f"{text}\n"
            return Hold(self, folder)

    def _look(self) -> None:
        for model, servers in self.routes(self.told).items():
            able = {name: (box := self.named(name)) is not None and self.is_ready(box) for name in servers}
            for name, weight in servers.items():
                if weight and not able[name]:
                    self.violations.append(f"{model}: {name} gets requests and is not ready")

    def _do(self, words: list[str], lines: list[str]) -> Done:
        match words:
            case ["version", *_]:
                return Done(0, "28.0\n", "")
            case ["image", "inspect", name]:
                one = next((one for key, one in self.images.items() if name in (key, one.id)), None)
                if one is None:
                    return Done(1, "", f"Error: No such image: {name}")
                return Done(0, json.dumps([{"Id": one.id, "RepoDigests": [], "Config": {"Labels": one.labels}}]), "")
            case ["pull", "--quiet", name]:
                if self.registry_hangs:
                    raise TimeoutError
                if name not in self.registry:
                    return Done(1, "", f"Error: manifest for {name} not found")
                self.images[name] = self.registry[name]
                return Done(0, "", "")
            case ["image", "rm", name]:
                used = any(self.made(box) is one for box in self.boxes.values() for one in [self.images.get(name)])
                if used or name not in self.images:
                    return Done(1, "", "conflict: image is in use, or there is none")
                del self.images[name]
                return Done(0, "", "")
            case ["network", "create", *_, name]:
                if name in self.networks:
                    return Done(1, "", f"network with name {name} already exists")
                self.networks.add(name)
                return Done(0, "", "")
            case ["volume", "create", *_]:
                return Done(0, "", "")
            case ["run", "--rm", *_]:
                self.files[words[-2]] = words[-1] + "\n"
                return Done(0, "", "")
            case ["create", *_]:
                return self._create(words, lines)
            case ["ps", *_]:
                return self._list(words)
            case ["exec", *_]:
                return self._exec(words, lines)
        return self._order(words)

    def _create(self, words: list[str], lines: list[str]) -> Done:
        name = words[words.index("--name") + 1]
        if name in self.boxes:
            return Done(1, "", f'Conflict. The container name "/{name}" is already in use')
        if words[words.index("--network") + 1] not in self.networks:
            return Done(1, "", "network not found")
        pairs = [words[place + 1].partition("=") for place, word in enumerate(words) if word == "--label"]
        labels = {key: value for key, _, value in pairs}
        image = next((word for word in reversed(words) if self._known(word)), None)
        if image is None:
            return Done(1, "", "No such image")
        alias = words[words.index("--network-alias") + 1]
        self.boxes[name] = Box(image=image, words=words, labels=labels, alias="" if alias == "proxy" else alias)
        assert bool(lines) == ("--env-file" in words)
        self.boxes[name].env = [line.strip() for line in lines]
        return Done(0, "id\n", "")

    def _known(self, image: str) -> bool:
        return any(image in (key, one.id) for key, one in self.images.items())

    def _list(self, words: list[str]) -> Done:
        asked = [word.removeprefix("label=").partition("=") for word in words if word.startswith("label=")]
        lines = []
        for box in self.boxes.values():
            if all(key in box.labels and (not equal or box.labels[key] == value) for key, equal, value in asked):
                lines.append(f"{box.status} {box.labels.get('mlops.unit', '')} {box.labels.get('mlops.replica', '')}")
        return Done(0, "\n".join(lines) + "\n", "")

    def _order(self, words: list[str]) -> Done:
        name = words[-1]
        box = self.boxes.get(name)
        if box is None:
            return Done(1, "", f"Error: No such container: {name}")
        match words[0]:
            case "inspect" if "RestartCount" in words[-2]:
                crashes = self.made(box).crashes and box.status == "running"
                return Done(0, f"{box.status} {3 if crashes else 0}\n", "")
            case "inspect" if "Config.Env" in words[-2]:
                return Done(0, json.dumps(box.env), "")
            case "inspect":
                return Done(0, f"{box.status}\n", "")
            case "start":
                box.status = "running"
                settings = (word.partition("=") for word in box.words)
                self.logs |= {value.removeprefix("/log/") for key, _, value in settings if key == "SERVE_LOG"}
                if name.endswith("-proxy"):
                    self._reload()
            case "stop":
                if any(one.get(box.alias) for told in self.old for one in self.routes(told).values()):
                    self.violations.append(f"{name} was stopped while clients waited for its answer")
                box.status = "exited"
            case "rm":
                if box.status == "running" and any(one.get(box.alias) for one in self.routes(self.told).values()):
                    self.violations.append(f"{name} was removed while it served")
                del self.boxes[name]
            case "logs":
                return Done(0, "serve: The export was changed.\n", "")
            case _:
                raise AssertionError(words)
        return Done(0, "", "")

    def _reload(self) -> None:
        if self.told:
            self.old.append(dict(self.told))
        folder = f"{docker.CONFIGURATION}/"
        self.told = {n.removeprefix(folder): t for n, t in self.files.items() if n.startswith(folder)}

    def kill_proxy(self) -> None:
        """The proxy crashes; it starts again by itself, with what is in the volume, and nobody holds a lock."""
        self.locks.clear()
        self.old.clear()
        self._reload()
        self.old.clear()

    def _exec(self, words: list[str], lines: list[str]) -> Done:
        rest = words[1:]
        while rest[0].startswith("-"):
            rest = rest[2 if rest[0] == "--user" else 1 :]
        name, command = rest[0], rest[1:]
        box = self.boxes.get(name)
        if box is None:
            return Done(1, "", f"Error: No such container: {name}")
        if box.status != "running":
            return Done(1, "", f"Error: container {name} is not running")
        if name.endswith("-proxy"):
            return self._script(command[2], command[4:])
        return self._inside(box, command, lines)

    def _script(self, script: str, given: list[str]) -> Done:
        full = Done(1, "", "No space left on device")
        match script:
            case docker.READ:
                text = self.files.get(given[0])
                return Done(docker.ABSENT, "", "") if text is None else Done(0, text, "")
            case docker.WRITE if not self.full:
                self.files[given[0]] = given[1] + "\n"
            case docker.APPEND if not self.full:
                known = self.files.get(given[0], "")
                self.files[given[0]] = known if known.endswith(given[1] + "\n") else known + given[1] + "\n"
            case docker.ROOMY if not self.full:
                pass
            case docker.INSTALL if not self.full:
                self.files[f"{given[1]}/{given[2]}"] = given[3] + "\n"
            case docker.WRITE | docker.APPEND | docker.ROOMY | docker.INSTALL:
                return full
            case docker.RELOAD:
                self._reload()
            case docker.PROCESSES_OF_PROXY:
                return Done(0, "\n".join(map(str, range(2 + len(self.old)))), "")
            case _:
                raise AssertionError(script)
        return Done(0, "", "")

    def _inside(self, box: Box, command: list[str], lines: list[str]) -> Done:
        made = self.made(box)
        if made.crashes and command[1] == "-c":
            return Done(137, "", "")
        match command:
            case ["python", "-c", docker.SEEN, "proxy", path, mark, _]:
                text = self.told.get(traffic.file(path.split("/")[1]), "")
                return Done(0 if mark in text else 1, text, "")
            case ["python", "-c", docker.CLEAR, *units]:
                self.logs = {one for one in self.logs if one.removesuffix(".jsonl").rpartition("-")[0] in units}
                return Done(0, "", "")
            case ["python", "-m", "serve", "probe", path, "--lines"]:
                return Done(
                    0, "".join(json.dumps(self._post(box, path, json.loads(line))) + "\n" for line in lines), ""
                )
            case ["python", "-m", "serve", "probe", path]:
                return self._get(box, made, path)
            case ["cat", docker_path] if docker_path == "/model/manifest.json":
                return Done(0, json.dumps(made.manifest), "")
        raise AssertionError(command)

    def _get(self, box: Box, made: Made, path: str) -> Done:
        if made.crashes:
            return Done(1, "", "Nothing answers")
        match path:
            case "/v2/health/ready":
                return Done(0 if made.ready else 1, "{}", "")
            case "/v2/health/live":
                return Done(0, "{}", "")
            case "/model":
                about = {"model": made.labels["mlops.model"], "version": made.labels["mlops.version"]}
                return Done(0, json.dumps(about), "")
            case "/openapi.json":
                items = {"items": {"properties": {"x": {"type": "number"}}}}
                schema = {"application/json": {"schema": {"properties": {"rows": items}}}}
                return Done(0, json.dumps({"paths": {"/predict": {"post": {"requestBody": {"content": schema}}}}}), "")
            case "/metrics":
                return Done(0, metrics(box, made), "")
        return Done(1, "", "")

    def _post(self, box: Box, path: str, body: Any) -> dict[str, Any]:
        if path != "/predict" or any(set(row) != {"x"} or isinstance(row["x"], dict) for row in body["rows"]):
            return {"status": 422, "seconds": 0.001, "body": {"error": "a row breaks the contract"}}
        self.ask(box, 1)
        said = self.made(box).manifest["golden"]["prediction"]
        return {"status": 200, "seconds": 0.001, "body": {"predictions": [{"value": said}]}}


@dataclass
class Hold:
    """A program that holds a lock until it ends."""

    world: World
    folder: str
    taken: bool = False
    error: str = ""

    def line(self, seconds: float) -> str | None:
        """What it says first."""
        return None if self.taken or self.error else "held"

    def alive(self) -> bool:
        """Whether it still has the lock."""
        return self.folder in self.world.locks

    def end(self) -> str:
        """Let the lock go."""
        if not self.taken and not self.error:
            self.world.locks.discard(self.folder)
        return self.error


def metrics(box: Box, made: Made) -> str:
    """What a container's service has counted, as Prometheus reads it."""
    version = made.labels["mlops.version"]
    lines = ["process_start_time_seconds 1.0"]
    lines.append(f'serve_model_info{{model="{made.labels["mlops.model"]}",runtime="toy",version="{version}"}} 1.0')
    counts = {200: box.answered, 500: box.failed}
    lines += [f'serve_requests_total{{code="{code}",route="/predict"}} {n}.0' for code, n in counts.items() if n]
    total = box.answered + box.failed
    if total:
        for edge in [*SECONDS, "+Inf"]:
            lines.append(f'serve_request_duration_seconds_bucket{{le="{edge}",route="/predict"}} {total}.0')
    for place, edge in enumerate([*EDGES, "+Inf"]):
        below = box.answered * (place + 1) // 4 if edge != "+Inf" else box.answered
        lines.append(f'serve_prediction_bucket{{le="{edge}"}} {below}.0')
    return "\n".join(lines) + "\n"
