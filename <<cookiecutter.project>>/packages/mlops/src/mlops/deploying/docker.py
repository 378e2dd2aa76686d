"""What is on a host's Docker engine, and orders to it? The only module that calls `docker` to deploy.

Everything goes through the program `docker`, so that an engine behind ssh is reached like the one at hand, and what is
asked of a container or of the proxy is asked inside of it: no port of the host and no address of a container is needed.
State, locks and configuration are in a volume of the proxy and are written as a whole: to a file beside, to the disk,
then renamed. A text travels as an argument and not as a stream, so that a killed client cannot leave half of it.
"""

import contextlib
import json
import os
import queue
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mlops.deploying import traffic
from mlops.deploying.prove import Reply
from mlops.deploying.release import Release, Server
from mlops.errors import Refusal

SECONDS = 60.0
"""The longest that a call may take, but for pulling an image and for stopping a container."""
PULL = 600.0
"""The longest that a registry may take for an image."""
ANSWER = 20.0
"""The longest that a service may take to say how it is."""
STOP = 20
"""Seconds that a container has to end by itself; all its requests are answered before."""
ROOM = 2_000_000
"""Bytes that must be free for the state before anything is begun."""
USER = "65532:65532"
"""Who the services and the proxy run as."""
STATE = "/state"
CONFIGURATION = f"{STATE}/haproxy.d"
MEMORY, PROCESSES = "1g", 256
DRAIN = "1.5"
"""Seconds for which a service goes on after SIGTERM: longer than the proxy needs to notice, whoever sent it."""

# What runs inside of the proxy's container: POSIX sh, `flock`, and what every Debian and Alpine has.
READ = 'if [ -e "$1" ]; then cat "$1"; else exit 44; fi'
WRITE = (
    'set -e; mkdir -p "${1%/*}"; printf "%s\\n" "$2" > "$1.new"; [ "$(cat "$1.new")" = "$2" ]; '
    'sync "$1.new"; mv -f "$1.new" "$1"; sync "${1%/*}"'
)
APPEND = (
    'set -e; mkdir -p "${1%/*}"; [ ! -e "$1" ] || [ "$(tail -n 1 "$1")" != "$2" ] || exit 0; '
    '{ [ ! -e "$1" ] || cat "$1"; printf "%s\\n" "$2"; } > "$1.new"; [ "$(tail -n 1 "$1.new")" = "$2" ]; '
    'sync "$1.new"; mv -f "$1.new" "$1"; sync "${1%/*}"'
)
ROOMY = 'head -c "$2" /dev/zero > "$1/.room"; found=$(wc -c < "$1/.room"); rm -f "$1/.room"; [ "$found" -eq "$2" ]'
INSTALL = (
    'set -e; rm -rf "$1/check"; mkdir -p "$1/check"; cp "$2"/*.cfg "$1/check/"; printf "%s\\n" "$4" > "$1/check/$3"; '
    '[ "$(cat "$1/check/$3")" = "$4" ]; haproxy -c -f "$1/check" >&2; sync "$1/check/$3"; '
    'mv -f "$1/check/$3" "$2/$3"; sync "$2"; rm -rf "$1/check"'
)
RELOAD = "kill -USR2 1"
PROCESSES_OF_PROXY = (
    'for one in /proc/[0-9]*; do read -r name < "$one/comm" && [ "$name" = haproxy ] && echo "${one#/proc/}"; done '
    "2>/dev/null; true"
)
HOLD = 'mkdir -p "$1" && exec flock -n "$1/lock" sh -c "$2" sh "$1/holder" "$3"'
HOLDING = 'printf "%s\\n" "$2" > "$1.new" && mv -f "$1.new" "$1"; echo held; exec cat > /dev/null'
# What runs inside of a model's container, which can reach the proxy as its clients do.
SEEN = (
    "import http.client, sys, time\n"
    "host, path, mark, seconds = sys.argv[1:]\n"
    "end, said = time.monotonic() + float(seconds), ''\n"
    "while True:\n"
    "    try:\n"
    f"        connection = http.client.HTTPConnection(host, {traffic.PORT}, timeout=2)\n"
    "        connection.request('GET', path)\n"
    "        said = connection.getresponse().read(65536).decode()\n"
    "    except Exception as error:\n"
    "        said = repr(error)\n"
    "    if mark in said or time.monotonic() > end:\n"
    "        break\n"
    "    time.sleep(0.05)\n"
    "print(said)\n"
    "sys.exit(mark not in said)\n"
)
CLEAR = (
    "import pathlib, re, sys\n"
    "for one in pathlib.Path('/log').iterdir():\n"
    "    found = re.match(r'(.+)-\\d+\\.jsonl', one.name)\n"
    "    if found and found[1] not in sys.argv[1:]:\n"
    "        one.unlink(missing_ok=True)\n"
)
_STOPPED = re.compile(
    r"is not running|is restarting|OCI runtime exec failed|unable to (?:start|upgrade)|connection reset", re.IGNORECASE
)
"""What docker says of a container that cannot be asked now."""
ABSENT = 44
"""The exit code of READ for a file that is not there."""


@dataclass(frozen=True)
class Done:
    """How one call ended."""

    code: int
    out: str
    err: str

    @property
    def why(self) -> str:
        """The last line that was said about a failure."""
        lines = [line.strip() for line in (self.err or self.out).splitlines() if line.strip()]
        return (lines[-1] if lines else f"exit code {self.code}")[:300]


class Held(Protocol):
    """A program that runs on while its input is open; it ends with whoever started it."""

    def line(self, seconds: float) -> str | None:
        """Its next line; None when there was none in time or it has ended."""

    def alive(self) -> bool:
        """Whether it still runs."""

    def end(self) -> str:
        """Close its input, wait for its end; what it said of a failure."""


class Program(Protocol):
    """The program `docker`, or a double of it."""

    def run(self, words: Sequence[str], *, given: Iterable[str], seconds: float) -> Done:
        """Run it to its end; its input are these lines, each as soon as it comes. `TimeoutError` when it is late."""

    def hold(self, words: Sequence[str]) -> Held:
        """Start it and leave its input open."""


class Docker:
    """The real program; `host` is a `DOCKER_HOST`, empty for the engine at hand."""

    def __init__(self, host: str) -> None:
        """Nothing is called yet."""
        self._environment = dict(os.environ) | ({"DOCKER_HOST": host} if host else {})

    def run(self, words: Sequence[str], *, given: Iterable[str], seconds: float) -> Done:
        """One docker command."""
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(
                ["docker", *words],
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                encoding="utf-8",
                errors="replace",
                env=self._environment,
            )
        except FileNotFoundError:
            raise _missing() from None
        feeder = threading.Thread(target=_feed, args=(process, given), daemon=True)
        with process:
            feeder.start()
            try:
                out, err = _drained(process, seconds)
            except BaseException:
                process.kill()
                raise
        return Done(process.returncode, out, err)

    def hold(self, words: Sequence[str]) -> "Held":
        """One docker command whose input stays open."""
        try:
            return _Process(words, self._environment)
        except FileNotFoundError:
            raise _missing() from None


def _feed(process: "subprocess.Popen[str]", lines: Iterable[str]) -> None:
    assert process.stdin is not None
    # Whoever does not read to the end says so by its code.
    with contextlib.suppress(OSError, ValueError):
        for line in lines:
            process.stdin.write(line)
            process.stdin.flush()
    with contextlib.suppress(OSError, ValueError):
        process.stdin.close()


def _drained(process: "subprocess.Popen[str]", seconds: float) -> tuple[str, str]:
    """Both outputs, read to their ends; `TimeoutError` when the program runs longer."""
    texts: dict[str, str] = {}

    def read(name: str) -> None:
        texts[name] = getattr(process, name).read()

    readers = [threading.Thread(target=read, args=(name,), daemon=True) for name in ("stdout", "stderr")]
    for one in readers:
        one.start()
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    for one in readers:
        one.join()
    return texts["stdout"], texts["stderr"]


def _missing() -> Refusal:
    return Refusal("There is no program `docker` here.", do="Install Docker, or at least its command line.")


class _Process:
    def __init__(self, words: Sequence[str], environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["docker", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            # Ctrl-C is for us: what we hold is let go when we are done.
            start_new_session=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.strip())
        self._lines.put(None)

    def line(self, seconds: float) -> str | None:
        try:
            return self._lines.get(timeout=seconds)
        except queue.Empty:
            return None

    def alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> str:
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        try:
            self._process.stdin.close()
            self._process.wait(timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        return str(self._process.stderr.read())


@dataclass(frozen=True, kw_only=True)
class Container:
    """One container of a model."""

    unit: str
    replica: int
    running: bool


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image that is on the engine."""

    id: str
    digests: tuple[str, ...]
    labels: dict[str, str]


class Engine:
    """One environment on one engine: `project` and `environment` are in the name of everything that it makes."""

    def __init__(
        self,
        program: Program,
        *,
        project: str,
        environment: str,
        host: str,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Nothing is called yet; `host` is only for messages."""
        self._program = program
        self._sleep = sleep
        self.prefix = f"{project}-{environment}"
        self.proxy = f"{self.prefix}-proxy"
        self.where = host or "the Docker engine at hand"

    # The engine

    def reach(self) -> None:
        """Refuses when there is no engine."""
        done = self._call("version", "--format", "{{.Server.Version}}", seconds=20)
        if done.code:
            raise Refusal(f"{self.where} does not answer: {done.why}", do="Start it, or mend the way to it.")

    def image(self, name: str) -> Image | None:
        """An image that is there, by any of its names; None when it is not."""
        done = self._call("image", "inspect", name)
        if done.code:
            return None
        found = json.loads(done.out)[0]
        labels = (found.get("Config") or {}).get("Labels") or {}
        return Image(id=found["Id"], digests=tuple(found.get("RepoDigests") or ()), labels=labels)

    def pull(self, name: str, seconds: float) -> None:
        """Bring an image from its registry."""
        try:
            done = self._program.run(["pull", "--quiet", name], given=(), seconds=seconds)
        except TimeoutError:
            raise Refusal(
                f"The registry did not give {name} within {seconds:.0f} seconds.",
                do="Nothing was changed. Look at the registry, then type it again.",
            ) from None
        if done.code:
            raise Refusal(
                f"The image {name} cannot be pulled: {done.why}",
                do="Nothing was changed. Look at the registry and at the login of that host, then type it again.",
            )

    def forget(self, image: str) -> None:
        """Remove an image, unless something still needs it."""
        self._call("image", "rm", image)

    # The environment: a network, a volume and a proxy

    def has_proxy(self) -> bool:
        """Whether the proxy was ever started here."""
        return self._status(self.proxy) is not None

    def prepare(self, *, image: str, publish: str) -> None:
        """Make the network, the volume and the proxy where they are missing, and start what was stopped."""
        status = self._status(self.proxy)
        if status is None:
            if self.image(image) is None:
                self.pull(image, PULL)
            self._make("network", "create", "--label", f"mlops.target={self.prefix}", self.prefix)
            self._make("volume", "create", "--label", f"mlops.target={self.prefix}", self.prefix)
            volume = ["--volume", f"{self.prefix}:{STATE}"]
            self._order(
                *("run", "--rm", "--user", "0:0", "--network", "none", *volume, "--entrypoint", "sh", image),
                *("-c", WRITE, "sh", f"{CONFIGURATION}/{traffic.BASE}", traffic.base().rstrip("\n")),
                what="write the proxy's configuration",
            )
            self._make(
                *("create", "--name", self.proxy, "--label", f"mlops.target={self.prefix}"),
                *("--network", self.prefix, "--network-alias", "proxy", "--publish", publish, *volume, *_CONFINED),
                *("--entrypoint", "haproxy", image, "-W", "-db", "-f", CONFIGURATION),
            )
        if status != "running":
            self._order("start", self.proxy, what="start the proxy")
        self._renew()

    def _renew(self) -> None:
        """Bring the environment's part of the configuration up to date; the next change of a model's part loads it."""
        self.wait_for_proxy()
        wanted = traffic.base().rstrip("\n")
        if (self.read(f"{CONFIGURATION}/{traffic.BASE}") or "").rstrip("\n") != wanted:
            done = self._in_proxy(INSTALL, f"{STATE}/.{traffic.BASE}", CONFIGURATION, traffic.BASE, wanted)
            if done.code:
                raise Refusal(f"The proxy does not take its new configuration: {done.why}", do="Nothing was changed.")

    def wait_for_proxy(self, seconds: float = 20.0) -> None:
        """Until the proxy runs, which starts again by itself after a crash; one that was stopped is started."""
        waited = 0.0
        while True:
            status = self._status(self.proxy)
            if status == "running":
                return
            if status is None:
                raise Refusal(f"The proxy {self.proxy} is gone.", do="`mlops deploy` makes it again.")
            if status in ("exited", "created") and not self._call("start", self.proxy).code:
                return
            if waited > seconds:
                raise Refusal(f"The proxy does not start: {self._last_words(self.proxy)}", do="Look at its log.")
            self._sleep(0.2)
            waited += 0.2

    # Files in the volume

    def read(self, path: str) -> str | None:
        """A text in the volume; None when there is none."""
        done = self._in_proxy(READ, path)
        if done.code == ABSENT:
            return None
        if done.code:
            raise Refusal(f"{path} cannot be read at {self.where}: {done.why}")
        return done.out

    def write(self, path: str, text: str) -> None:
        """Replace a text in the volume as a whole."""
        done = self._in_proxy(WRITE, path, text.rstrip("\n"))
        if done.code:
            raise Refusal(f"{path} cannot be written at {self.where}: {done.why}", do="Free space there.")

    def append(self, path: str, line: str) -> None:
        """Add a line to a text in the volume, as a whole or not at all."""
        done = self._in_proxy(APPEND, path, line)
        if done.code:
            raise Refusal(f"{path} cannot be written at {self.where}: {done.why}", do="Free space there.")

    def roomy(self) -> None:
        """Refuses when there is no room for what a deployment writes."""
        if self._in_proxy(ROOMY, STATE, str(ROOM)).code:
            raise Refusal(
                f"The disk of {self.where} is full: there is no room for the state of a deployment.",
                do="Nothing was changed. Free space there, then type it again.",
            )

    def hold(self, model: str, text: str) -> "Lock | str":
        """Take the lock of a model, saying who does; or what the one who has it said."""
        words = ["exec", "-i", "--user", "0:0", self.proxy, "sh", "-c", HOLD, "sh", f"{STATE}/{model}", HOLDING, text]
        held = self._program.hold(words)
        if held.line(20) == "held":
            return Lock(held)
        why = held.end().strip()
        if why:
            raise Refusal(f"The lock of {model} cannot be taken at {self.where}: {why.splitlines()[-1][:300]}")
        return (self.read(f"{STATE}/{model}/holder") or "").strip()

    # Traffic

    def route(self, model: str, servers: Sequence[Server]) -> None:
        """Let the proxy send a model's requests to these servers; returns when new connections go there."""
        text = traffic.backend(model, servers).rstrip("\n")
        done = self._in_proxy(INSTALL, f"{STATE}/{model}", CONFIGURATION, traffic.file(model), text)
        if done.code:
            raise Refusal(f"The proxy does not take its new configuration: {done.why}", do="What served still does.")
        self.reload(model, servers)

    def reload(self, model: str, servers: Sequence[Server]) -> None:
        """Let the proxy read its configuration, and see that it has."""
        done = self._in_proxy(RELOAD, user=USER)
        if done.code:
            raise Refusal(f"The proxy does not read its configuration: {done.why}")
        mark = json.loads(traffic.report(model, servers))["mark"]
        for one in self._watchers(model, servers):
            name, path = self.name(model, one.unit, one.replica), f"/{model}{traffic.TRAFFIC}"
            seen = self._exec(name, "python", "-c", SEEN, "proxy", path, mark, "15")
            if not seen.code:
                return
            if seen.code == 1:
                raise Refusal(f"The proxy does not use its new configuration: {seen.why}", do=f"Look at {self.proxy}.")
            # The container went away while it was asked; another one may know.

    def _watchers(self, model: str, servers: Sequence[Server]) -> list[Container]:
        """The containers that run, those first that requests go to: they are ready, and others may be about to end."""
        asked = {(one.unit, one.replica) for one in servers}
        known = [one for one in self.containers(model) if one.running]
        return sorted(known, key=lambda one: (one.unit, one.replica) not in asked)

    def routed(self, model: str) -> str | None:
        """The configuration of a model as it is in the volume."""
        return self.read(f"{CONFIGURATION}/{traffic.file(model)}")

    def draining(self) -> bool:
        """Whether a process of the proxy with an older configuration still has clients."""
        done = self._in_proxy(PROCESSES_OF_PROXY)
        return len(done.out.split()) > 2

    # Containers of a model

    def name(self, model: str, unit: str, replica: int) -> str:
        """The name of a container."""
        return f"{self.prefix}-{model}-{unit}-{replica}"

    def containers(self, model: str) -> list[Container]:
        """All containers of a model, running or not."""
        done = self._order(
            *("ps", "--all", "--filter", f"label=mlops.target={self.prefix}", "--filter", f"label=mlops.model={model}"),
            *("--format", '{{.State}} {{.Label "mlops.unit"}} {{.Label "mlops.replica"}}'),
            what="list its containers",
        )
        found = (line.split() for line in done.out.splitlines() if line.strip())
        return [Container(unit=unit, replica=int(number), running=state == "running") for state, unit, number in found]

    def models(self) -> list[str]:
        """The models that have containers here."""
        done = self._order(
            *("ps", "--all", "--filter", f"label=mlops.target={self.prefix}", "--filter", "label=mlops.unit"),
            *("--format", '{{.Label "mlops.model"}}'),
            what="list its containers",
        )
        return sorted(set(done.out.split()))

    def start(self, release: Release, replica: int) -> None:
        """Let a container run; it is made where there is none."""
        name = self.name(release.model, release.unit, replica)
        status = self._status(name)
        if status == "running":
            return
        if status is not None:
            if not self._call("start", name).code:
                return
            # One that cannot start, such as one whose network was made anew, is made anew too.
            self._call("rm", "--force", name)
        token = os.environ.get("SERVE_TOKEN") or self._token(release.model)
        # Not among the words, which a list of processes shows.
        hidden = ("--env-file", "/dev/stdin") if token else ()
        self._make(*self._creation(release, replica, name, hidden), given=[f"SERVE_TOKEN={token}\n"] if token else [])
        self._order("start", name, what=f"start {name}")

    def _token(self, model: str) -> str:
        """The token that the model's containers were given, so that a rollback does not open what was closed."""
        for one in self.containers(model):
            name = self.name(model, one.unit, one.replica)
            done = self._call("inspect", "--format", "{{json .Config.Env}}", name)
            found = json.loads(done.out) if not done.code else []
            if tokens := [text.partition("=")[2] for text in found or [] if text.startswith("SERVE_TOKEN=")]:
                return str(tokens[0])
        return ""

    def _creation(self, release: Release, replica: int, name: str, hidden: Sequence[str]) -> list[str]:
        alias = Server(unit=release.unit, replica=replica).name
        labels = {
            "target": self.prefix,
            "model": release.model,
            "version": release.version,
            "unit": release.unit,
            "replica": str(replica),
        }
        settings = {
            "SERVE_LISTEN": f"0.0.0.0:{traffic.PORT}",
            "SERVE_VERSION": release.version,
            "SERVE_DRAIN": DRAIN,
            "SERVE_MAX_REQUESTS": str(traffic.REQUESTS),
            "SERVE_LOG": f"/log/{release.unit}-{replica}.jsonl",
        }
        words = ["create", "--name", name, "--network", self.prefix, "--network-alias", alias]
        # By this name Prometheus finds all replicas.
        words += ["--network-alias", "serve"]
        words += [word for key, value in labels.items() for word in ("--label", f"mlops.{key}={value}")]
        words += [word for key, value in settings.items() for word in ("--env", f"{key}={value}")]
        words += [*hidden, "--volume", f"{self.prefix}-{release.model}-log:/log", "--stop-timeout", str(STOP)]
        return [*words, *_CONFINED, release.image]

    def stop(self, model: str, unit: str, replica: int) -> None:
        """End a container, which stays; one that is gone is no failure."""
        name = self.name(model, unit, replica)
        if self._status(name) is not None:
            self._order("stop", "--time", str(STOP), name, what=f"stop {name}", seconds=STOP + SECONDS)

    def remove(self, model: str, unit: str, replica: int) -> None:
        """Take a container away."""
        self._call("rm", "--force", self.name(model, unit, replica))

    def clear(self, model: str, units: Sequence[str]) -> None:
        """Remove the prediction logs of all units but these; asked of a container that runs, and may write there."""
        for one in self.containers(model):
            if one.running:
                self._exec(self.name(model, one.unit, one.replica), "python", "-c", CLEAR, *units)
                return

    def trouble(self, model: str, unit: str, replica: int) -> str:
        """Why a container does not run, in its own last words; empty while it may still become ready."""
        name = self.name(model, unit, replica)
        done = self._call("inspect", "--format", "{{.State.Status}} {{.RestartCount}}", name)
        status, _, restarts = done.out.strip().partition(" ")
        if done.code or status in ("exited", "dead") or int(restarts or 0) >= 2:
            return f"it ends: {self._last_words(name)}"
        return ""

    def probe(self, model: str, unit: str, replica: int, path: str) -> str | None:
        """What a container's service answers to GET; None when it is no 2xx, or does not come in time."""
        words = ["exec", self.name(model, unit, replica), "python", "-m", "serve", "probe", path]
        try:
            done = self._program.run(words, given=(), seconds=ANSWER)
        except TimeoutError:
            return None
        return None if done.code else done.out

    def ask(
        self, model: str, unit: str, replica: int, path: str, bodies: Iterable[Any], *, seconds: float
    ) -> list[Reply]:
        """What a container's service answers to each of these bodies, sent by POST one after the other as they come."""
        words = [self.name(model, unit, replica), "python", "-m", "serve", "probe", path, "--lines"]
        lines = (json.dumps(one) + "\n" for one in bodies)
        done = self._call("exec", "-i", *words, given=lines, seconds=SECONDS + seconds)
        answers = [json.loads(line) for line in done.out.splitlines() if line.startswith("{")]
        return [Reply(int(one["status"]), float(one["seconds"]), one.get("body")) for one in answers]

    def file(self, model: str, unit: str, replica: int, path: str) -> str | None:
        """A text inside of a container; None when there is none."""
        done = self._exec(self.name(model, unit, replica), "cat", path)
        return None if done.code else done.out

    # Calls

    def _status(self, name: str) -> str | None:
        """`created`, `running`, `exited`, …; None for a container that does not exist."""
        done = self._call("inspect", "--type", "container", "--format", "{{.State.Status}}", name)
        if not done.code:
            return done.out.strip()
        if "no such" in done.err.lower():
            return None
        raise Refusal(f"{self.where} does not answer: {done.why}", do="Start it, or mend the way to it.")

    def _last_words(self, name: str) -> str:
        done = self._call("logs", "--tail", "5", name)
        # Each time that it began anew it said the same.
        lines = dict.fromkeys(line.strip() for line in (done.out + done.err).splitlines() if line.strip())
        return " ".join(lines)[-300:].rstrip(".") or "it says nothing"

    def _make(self, *words: str, given: Iterable[str] = ()) -> None:
        """Create something that may be there already, because somebody else made it just now."""
        done = self._call(*words, given=given)
        if done.code and "already" not in done.err.lower():
            raise Refusal(f"{self.where} cannot {' '.join(words[:2])}: {done.why}")

    def _order(self, *words: str, what: str, seconds: float = SECONDS) -> Done:
        done = self._call(*words, seconds=seconds)
        if done.code:
            raise Refusal(f"{self.where} cannot {what}: {done.why}")
        return done

    def _in_proxy(self, script: str, *arguments: str, user: str = "0:0") -> Done:
        """Run a script in the proxy's container; once more where the proxy went away meanwhile."""
        done = self._exec(self.proxy, "sh", "-c", script, "sh", *arguments, user=user)
        if done.code and _STOPPED.search(done.err):
            self.wait_for_proxy()
            done = self._exec(self.proxy, "sh", "-c", script, "sh", *arguments, user=user)
        return done

    def _exec(self, name: str, *words: str, user: str = "", seconds: float = SECONDS) -> Done:
        return self._call("exec", *(("--user", user) if user else ()), name, *words, seconds=seconds)

    def _call(self, *words: str, given: Iterable[str] = (), seconds: float = SECONDS) -> Done:
        try:
            return self._program.run(words, given=given, seconds=seconds)
        except TimeoutError:
            raise Refusal(
                f"{self.where} did not answer `docker {words[0]}` within {seconds:.0f} seconds.",
                do="Look at the engine, then type the same again: what was begun goes on.",
            ) from None


class Lock:
    """A model's lock, as long as this process lives and the proxy does."""

    def __init__(self, held: Held) -> None:
        """Held from now on."""
        self._held = held

    @property
    def kept(self) -> bool:
        """Whether it is still ours."""
        return self._held.alive()

    def release(self) -> None:
        """Let the next one have it."""
        self._held.end()


_CONFINED = (
    *("--user", USER, "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
    *("--pids-limit", str(PROCESSES), "--memory", MEMORY, "--restart", "unless-stopped"),
)
