"""How many one-row requests does a served version answer, how fast does it start, and how much memory does it take?

    python benchmarks/serving.py [--repeats 5] [--seconds 1]

The same fitted estimator and the same rows for every peer, each in an environment of its own as its image would have:
ours by ONNX Runtime and by scikit-learn, `mlflow models serve`, a minimal FastAPI app, BentoML, LitServe, and the bare
`predict_proba` on a frame, which no plain service around it can beat. Clients are those of `wrk`, on a core of their
own; a service has another core for all its processes. Correct means: what the estimator says, to 1e-9 (ONNX: 1e-5).

Then ten times the load that it can carry: what a slow model still answers, and how long a health probe waits.
"""

import argparse
import contextlib
import http.client
import importlib.metadata
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import harness

PRODUCT = Path(__file__).resolve().parents[1] / "<<cookiecutter.project>>"
PEERS = Path(__file__).resolve().parent / "peers"
ESTIMATORS = ("linear", "forest", "boosting")
ONNX, SKLEARN, MLFLOW = "serve, ONNX Runtime", "serve, scikit-learn", "mlflow models serve"
TREES = f"{SKLEARN}, boosting"
FASTAPI, BENTOML, LITSERVE, BARE = "FastAPI, minimal", "BentoML", "LitServe", "bare predict_proba"
CLIENTS = (1, 32)
ROWS = 20
LET_IN = 64
TIMES = 10
SERVER_CORE, CLIENT_CORE = "0", "1"
SKLEARN_STACK = ("scikit-learn", "scipy", "numpy", "skops", "pandas")


@dataclass(frozen=True)
class Peer:
    """How a service is installed, started and asked."""

    packages: tuple[str, ...]
    command: Callable[[Path, Path, int], list[str]]
    """From the environment's `bin`, the folder of an estimator, and a port."""
    path: str
    asked: Callable[[list[dict[str, float]]], Any]
    answered: Callable[[Any], Any]
    tolerance: float = 1e-9


def ours(runtime: str) -> Callable[[Path, Path, int], list[str]]:
    """`serve run` with the version of that runtime."""
    return lambda bins, folder, port: [str(bins / "python"), "-m", "serve", "run", str(folder / runtime)]


PLAIN: Mapping[str, Callable[[Any], Any]] = {
    "asked": lambda rows: {"rows": rows},
    "answered": lambda value: value["probabilities"],
}
OURS: Mapping[str, Callable[[Any], Any]] = {
    "asked": lambda rows: {"rows": rows},
    "answered": lambda value: [one["probabilities"] for one in value["predictions"]],
}
SERVICES: dict[str, Peer] = {
    ONNX: Peer((f"{PRODUCT}/packages/serve[onnx]",), ours("onnx"), "/predict", tolerance=1e-5, **OURS),
    SKLEARN: Peer((f"{PRODUCT}/packages/serve",), ours("sklearn"), "/predict", **OURS),
    MLFLOW: Peer(
        ("mlflow", *SKLEARN_STACK),
        lambda bins, folder, port: [
            *(str(bins / "mlflow"), "models", "serve", "--model-uri", str(folder / "mlflow")),
            *("--host", "127.0.0.1", "--port", str(port), "--env-manager", "local"),
        ],
        "/invocations",
        asked=lambda rows: {"dataframe_records": rows},
        answered=lambda value: value["predictions"],
    ),
    FASTAPI: Peer(
        ("fastapi", "uvicorn", "uvloop", "httptools", *SKLEARN_STACK),
        lambda bins, folder, port: [
            *(str(bins / "python"), "-m", "uvicorn", "fastapi_app:app", "--port", str(port)),
            *("--log-level", "error", "--no-access-log"),
        ],
        "/predict",
        **PLAIN,
    ),
    BENTOML: Peer(
        ("bentoml>=1.4", *SKLEARN_STACK),
        lambda bins, folder, port: [
            *(str(bins / "bentoml"), "serve", "bento_app:Predictor", "--port", str(port), "--quiet"),
        ],
        "/predict",
        **PLAIN,
    ),
    LITSERVE: Peer(
        ("litserve>=0.2", "uvloop", "httptools", *SKLEARN_STACK),
        lambda bins, folder, port: [str(bins / "python"), str(PEERS / "lit_app.py")],
        "/predict",
        **PLAIN,
    ),
}


@dataclass
class Started:
    """A service that answers: seconds to its first right answer, and where it is."""

    peer: Peer
    process: "subprocess.Popen[bytes]"
    port: int
    seconds: float

    def ask(self, rows: list[dict[str, float]]) -> Any:
        """The probabilities (n, k) of rows."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            body = json.dumps(self.peer.asked(rows))
            connection.request("POST", self.peer.path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            found = response.read()
            if response.status != 200:
                raise OSError(f"{response.status}: {found[:300]!r}")
            return np.asarray(self.peer.answered(json.loads(found)), dtype=float)
        finally:
            connection.close()

    def family(self) -> set[int]:
        """Its processes."""
        parents: dict[int, int] = {}
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parents[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
        found = {self.process.pid}
        while more := {one for one, parent in parents.items() if parent in found} - found:
            found |= more
        return found

    def memory(self) -> float:
        """Megabytes of all its processes; what they share counts once."""
        total = 0
        for one in self.family():
            with contextlib.suppress(OSError):
                found = re.search(r"(?m)^Pss:\s+(\d+)", Path(f"/proc/{one}/smaps_rollup").read_text())
                total += int(found[1]) if found else 0
        return total / 1024

    def processor(self) -> float:
        """Seconds of processor that its processes have used."""
        total = 0
        for one in self.family():
            with contextlib.suppress(OSError):
                total += sum(map(int, Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()[11:13]))
        return total / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        """Stop it with all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(3)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def environment(scratch: Path, name: str, peer: Peer) -> Path:
    """The `bin` of a new environment with the peer's packages, in the versions that are at hand; pip-compiled."""
    folder = scratch / "environments" / re.sub(r"\W+", "-", name)
    packages = []
    for package in peer.packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            package = f"{package}=={importlib.metadata.version(package)}"
        packages.append(package)
    for command in (
        ["uv", "venv", "--quiet", "--python", sys.executable, str(folder)],
        [
            "uv",
            "pip",
            "install",
            "--quiet",
            "--compile-bytecode",
            "--python",
            str(folder / "bin" / "python"),
            *packages,
        ],
    ):
        subprocess.run(command, check=True)
    return folder / "bin"


def installed(bins: Path) -> dict[str, str]:
    """What is installed in an environment."""
    command = ["uv", "pip", "list", "--quiet", "--format", "json", "--python", str(bins / "python")]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {one["name"]: one["version"] for one in json.loads(found)}


def start(peer: Peer, bins: Path, folder: Path, rows: list[dict[str, float]], log: Path, *, tries: int = 3) -> Started:
    """Start a service on its core and wait for its first answer; one that never answers ends the benchmark.

    Some choose ports of their own, which another program may take before they do: those may try again.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    kept |= {"SERVE_LISTEN": f"127.0.0.1:{port}", "SERVE_DRAIN": "0", "SERVE_MAX_REQUESTS": str(LET_IN)}
    kept |= {"MODEL": str(folder / "model.skops"), "PORT": str(port), "PATH": f"{bins}:{os.environ['PATH']}"}
    kept |= {"BENTOML_DO_NOT_TRACK": "True", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    kept |= {"HOME": str(log.parent)}
    command = ["taskset", "-c", SERVER_CORE, *peer.command(bins, folder, port)]
    began = time.perf_counter()
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, cwd=PEERS, env=kept, start_new_session=True)
    found = Started(peer, process, port, 0.0)
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            found.ask(rows[:1])
            found.seconds = time.perf_counter() - began
            return found
        if process.poll() is not None or time.perf_counter() - began > 120:
            found.end()
            if tries > 1 and "Address already in use" in log.read_text(errors="replace"):
                return start(peer, bins, folder, rows, log, tries=tries - 1)
            raise SystemExit(f"{command[3]} … never answered:\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.005)


def script(path: Path, peer: Peer, rows: list[dict[str, float]], *, delay: str = "") -> Path:
    """What wrk sends: one row after another; `delay` gives the milliseconds that a client waits before the next."""
    bodies = ",\n".join(f"[==[{json.dumps(peer.asked([row]))}]==]" for row in rows)
    path.write_text(
        f"local bodies = {{{bodies}}}\nlocal n = 0\n"
        'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
        f'function request()\n  n = n % #bodies + 1\n  return wrk.format(nil, "{peer.path}", nil, bodies[n])\nend\n'
        + (f"function delay()\n  return {delay}\nend\n" if delay else "")
        + "function done(summary, latency)\n"
        '  io.write(string.format("FOUND %d %d %d %d\\n", summary.requests, summary.errors.status,\n'
        "    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,\n"
        "    summary.duration))\nend\n"
    )
    return path


@dataclass(frozen=True)
class Load:
    """What clients got, per second: answers, refusals, broken connections; and seconds of processor for a response."""

    answered: float
    refused: float
    broken: float
    processor: float


def load(started: Started, lua: Path, *, clients: int, seconds: float) -> Load:
    """So many clients, each of which asks again when it has its answer."""
    command = ["taskset", "-c", CLIENT_CORE, "wrk", "-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s"]
    before = started.processor()
    done = harness.run([*command, "--timeout", "20s", "-s", str(lua), f"http://127.0.0.1:{started.port}"])
    used = started.processor() - before
    found = re.search(r"FOUND (\d+) (\d+) (\d+) (\d+)", done.output)
    if found is None:
        raise SystemExit(f"wrk said nothing that can be read:\n{done.output}")
    requests, refused, broken, micros = map(int, found.groups())
    per = 1e6 / micros
    return Load((requests - refused) * per, refused * per, broken * per, used / max(1, requests))


def bare(estimator: Any, rows: list[dict[str, float]], seconds: float) -> float:
    """Calls of `predict_proba` a second, on a frame of one row that is there already, on the server's core."""
    import pandas as pd

    frames = [pd.DataFrame([row], columns=estimator.feature_names_in_) for row in rows]
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {int(SERVER_CORE)})
    try:
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            estimator.predict_proba(frames[count % len(frames)])
            count += 1
        return count / (time.perf_counter() - began)
    finally:
        os.sched_setaffinity(0, before)


def fitted(scratch: Path) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """The estimators, written in every form that a peer reads, and rows to ask."""
    import mlflow.sklearn
    import polars as pl
    import skops.io
    from mlops.data.contract import Column, Contract
    from mlops.data.profile import profile
    from mlops.learning import export, frames
    from serve.loading import trusted_types
    from sklearn.compose import ColumnTransformer, make_column_selector
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = load_breast_cancer(as_frame=True)
    names = [name.replace(" ", "_") for name in data.data.columns]
    values = {name: data.data.iloc[:, place].to_numpy() for place, name in enumerate(names)}
    frame = pl.DataFrame({**values, "outcome": data.target.to_numpy()})
    columns = tuple(Column(name=name, dtype="float") for name in names)
    contract = Contract(
        source="0" * 64,
        owner="@bench",
        description="",
        freshness_days=None,
        columns=(*columns, Column(name="outcome", dtype="int", role="target")),
    )
    crowd = pl.concat([frame] * 60)
    noise = np.random.default_rng(7).normal(1, 0.01, (len(crowd), len(names)))
    crowd = crowd.with_columns(pl.Series(name, crowd[name].to_numpy() * noise[:, n]) for n, name in enumerate(names))
    estimators = {
        "linear": LogisticRegression(max_iter=2000, random_state=7),
        "forest": RandomForestClassifier(n_estimators=100, random_state=7),
        "boosting": HistGradientBoostingClassifier(max_iter=100, random_state=7),
        # Slow enough for an overload: each answer is compared with tens of thousands of rows.
        "slow": KNeighborsClassifier(15, algorithm="brute", p=3),
    }
    found = {}
    for name, last in estimators.items():
        given = crowd if name == "slow" else frame
        X = frames.features(given, frames.of_contract(contract), where=name)
        numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
        pipeline = make_pipeline(
            ColumnTransformer([("numbers", numbers, make_column_selector(dtype_include="number"))]), last
        )
        found[name] = pipeline.fit(X, given["outcome"].to_numpy())
        folder = scratch / name
        folder.mkdir()
        (folder / "model.skops").write_bytes(skops.io.dumps(pipeline))
        for runtime in ("sklearn", "onnx") if name in ESTIMATORS else ("sklearn",):
            exported = export.write(
                folder / runtime,
                model=name,
                task="classification",
                estimator=pipeline,
                contract=contract,
                train=given,
                split={},
                profile=profile(given, list(contract.columns), 10),
                lineage={"commit": None},
                runtime=runtime,
            )
            if exported.manifest["serving"]["runtime"] != runtime:
                raise SystemExit(f"{name}: {exported.manifest['serving']['says']}")
        if name in ESTIMATORS:
            mlflow.sklearn.save_model(
                pipeline,
                folder / "mlflow",
                pip_requirements=["scikit-learn", "skops", "pandas"],
                pyfunc_predict_fn="predict_proba",
                serialization_format="skops",
                skops_trusted_types=trusted_types((folder / "model.skops").read_bytes(), name),
            )
    rows = frame.drop("outcome").gather_every(len(frame) // ROWS).head(ROWS).to_dicts()
    return found, rows


@dataclass
class Found:
    """Every measured value, by peer."""

    rates: dict[str, dict[int, list[float]]]
    processor: dict[str, list[float]]
    off: dict[str, float]


def throughput(
    scratch: Path,
    places: Mapping[str, Path],
    name: str,
    estimator: Any,
    rows: list[dict[str, float]],
    *,
    repeats: int,
    seconds: float,
) -> Found:
    """All services of one estimator at once, measured in turns; the others wait meanwhile."""
    import pandas as pd

    expected = estimator.predict_proba(pd.DataFrame(rows, columns=estimator.feature_names_in_))
    found = Found({peer: {clients: [] for clients in CLIENTS} for peer in SERVICES}, {}, {})
    found.rates[BARE] = {1: []}
    with started(scratch, places, name, rows) as services:
        for peer, one in services.items():
            told = np.concatenate([one.ask([row]) for row in rows])
            found.off[peer] = float(np.abs(told - expected).max())
            script(scratch / f"{peer}.lua", one.peer, rows)
            load(one, scratch / f"{peer}.lua", clients=32, seconds=1)
        names = list(services)
        for turn in range(repeats):
            for peer in names[turn % len(names) :] + names[: turn % len(names)]:
                for clients in CLIENTS:
                    got = load(services[peer], scratch / f"{peer}.lua", clients=clients, seconds=seconds)
                    if got.refused or got.broken:
                        raise SystemExit(
                            f"{name}, {peer}: {got.refused:.0f} refused and {got.broken:.0f} broken a second"
                        )
                    found.rates[peer][clients].append(got.answered)
                    found.processor.setdefault(peer, []).append(got.processor)
                    print(f"  {name}, {peer}, {clients}: {got.answered:.0f} a second", flush=True)
            found.rates[BARE][1].append(bare(estimator, rows, seconds))
    return found


@contextlib.contextmanager
def started(
    scratch: Path, places: Mapping[str, Path], name: str, rows: list[dict[str, float]]
) -> Iterator[dict[str, Started]]:
    """Every service with one estimator; all end with the block."""
    services: dict[str, Started] = {}
    try:
        for peer, one in SERVICES.items():
            services[peer] = start(one, places[peer], scratch / name, rows, scratch / "log.txt")
        yield services
    finally:
        for service in services.values():
            service.end()


def starts(
    scratch: Path, places: Mapping[str, Path], rows: list[dict[str, float]], *, repeats: int
) -> dict[str, dict[str, list[float]]]:
    """Seconds to the first answer, and megabytes after a second of work, each alone and in turns; all ran before."""
    cases = {peer: (peer, "linear") for peer in SERVICES} | {TREES: (SKLEARN, "boosting")}
    found: dict[str, dict[str, list[float]]] = {case: {"seconds": [], "memory": []} for case in cases}
    for _ in range(repeats):
        for case, (peer, name) in cases.items():
            one = SERVICES[peer]
            service = start(one, places[peer], scratch / name, rows, scratch / "log.txt")
            try:
                lua = script(scratch / "start.lua", one, rows)
                load(service, lua, clients=32, seconds=1)
                memory = service.memory()
            finally:
                service.end()
            print(f"  {case}: {service.seconds:.2f} s, {memory:.0f} MB", flush=True)
            found[case]["seconds"].append(service.seconds)
            found[case]["memory"].append(memory)
    return found


def overload(
    scratch: Path, places: Mapping[str, Path], rows: list[dict[str, float]], *, repeats: int
) -> dict[str, dict[str, list[float]]]:
    """What a service carries, what is left of that when it is asked for far more, and the longest probe meanwhile.

    `slow`: all clients together ask for ten times what the model can answer. `quick`: ten times as many clients as are
    let in, each of which asks again at once; then reading a request costs as much as answering it.
    """
    cases = {"slow": ("slow", SKLEARN, True), "quick": ("linear", ONNX, False)}
    found: dict[str, dict[str, list[float]]] = {}
    for label, (name, peer, paced) in cases.items():
        told: dict[str, list[float]] = {"capacity": [], "offered": [], "goodput": [], "liveness": []}
        service = start(SERVICES[peer], places[peer], scratch / name, rows, scratch / "log.txt")
        plain = script(scratch / "capacity.lua", service.peer, rows)
        clients = LET_IN * TIMES
        try:
            load(service, plain, clients=LET_IN, seconds=2)
            for _ in range(repeats):
                capacity = load(service, plain, clients=LET_IN, seconds=5).answered
                # Each client waits as long, on average, as makes all of them ask for ten times the capacity.
                wait = f"math.random() * {2000 * clients / (TIMES * capacity):.3f}" if paced else ""
                lua = script(scratch / "overload.lua", service.peer, rows, delay=wait)
                with probed(service) as waits:
                    got = load(service, lua, clients=clients, seconds=10)
                if got.broken:
                    raise SystemExit(f"overload, {label}: {got.broken:.0f} connections a second broke")
                told["capacity"].append(capacity)
                told["offered"].append((got.answered + got.refused) / capacity)
                told["goodput"].append(got.answered / capacity)
                told["liveness"].append(max(waits))
                print(f"  overload, {label}: " + ", ".join(f"{what} {told[what][-1]:.3f}" for what in told), flush=True)
        finally:
            service.end()
        found[label] = told
    return found


@contextlib.contextmanager
def probed(service: Started) -> Iterator[list[float]]:
    """Ask whether it is alive, twenty times a second on new connections, while the block runs; the seconds of each."""
    waits: list[float] = []
    over = threading.Event()

    def probe() -> None:
        while not over.wait(0.05):
            began = time.perf_counter()
            connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
            try:
                connection.request("GET", "/v2/health/live")
                status = connection.getresponse().status
                waits.append(time.perf_counter() - began if status == 200 else float("inf"))
            except OSError:
                waits.append(float("inf"))
            finally:
                connection.close()

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield waits
    finally:
        over.set()
        thread.join()


def rates(found: Found) -> str:
    """Throughput as Markdown: medians, ratios to mlflow, and whether the answers were right."""
    lines = [
        "| | 1 client, a second | 32 clients, a second | ratio at 1 | ratio at 32 | processor, ms | off by | correct |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    base = {clients: statistics.median(found.rates[MLFLOW][clients]) for clients in CLIENTS}
    for peer, one in found.rates.items():
        medians = {clients: statistics.median(values) for clients, values in one.items()}
        cells = [f"{medians[clients]:,.0f}" if clients in medians else "" for clients in CLIENTS]
        cells += [f"{medians[clients] / base[clients]:.1f}" if clients in medians else "" for clients in CLIENTS]
        if peer in found.off:
            used = statistics.median(found.processor[peer]) * 1000
            cells += [f"{used:.2f}", f"{found.off[peer]:.0e}", "yes" if is_right(found, peer) else "NO"]
        else:
            cells += ["", "", "yes"]
        lines.append(f"| {peer} | {' | '.join(cells)} |")
    return "\n".join(lines)


def is_right(found: Found, peer: str) -> bool:
    """Whether a peer says what the estimator says."""
    return found.off[peer] <= SERVICES[peer].tolerance


def started_table(found: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Start and memory as Markdown."""
    lines = ["| | start, s | memory, MB | start ratio | memory ratio |", "|---|---:|---:|---:|---:|"]
    base = {what: statistics.median(values) for what, values in found[MLFLOW].items()}
    for peer, one in found.items():
        seconds, memory = statistics.median(one["seconds"]), statistics.median(one["memory"])
        ratios = f"{seconds / base['seconds']:.3f} | {memory / base['memory']:.3f}"
        lines.append(f"| {peer} | {seconds:.2f} | {memory:.0f} | {ratios} |")
    return "\n".join(lines)


def overload_table(found: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Overload as Markdown."""
    lines = ["| model | capacity, a second | asked, times capacity | answered, times capacity | longest probe, s |"]
    lines.append("|---|---:|---:|---:|---:|")
    for label, one in found.items():
        middle = {what: statistics.median(values) for what, values in one.items()}
        cells = f"{middle['capacity']:,.0f} | {middle['offered']:.1f} | {middle['goodput']:.2f}"
        lines.append(f"| {label} | {cells} | {middle['liveness']:.3f} |")
    return "\n".join(lines)


def goals(
    found: Mapping[str, Found],
    begun: Mapping[str, Mapping[str, Sequence[float]]],
    crowded: Mapping[str, Mapping[str, Sequence[float]]],
) -> dict[str, tuple[float, float]]:
    """The goals, each as a value that must be small: for throughput mlflow's share of ours."""
    told: dict[str, tuple[float, float]] = {}
    for name, one in found.items():
        for peer, most in ((ONNX, {1: 1 / 20, 32: 1 / 30}), (SKLEARN, {1: 1 / 5, 32: 1 / 5})):
            for clients in CLIENTS:
                share = statistics.median(one.rates[MLFLOW][clients]) / statistics.median(one.rates[peer][clients])
                told[f"{name}, {clients} client{'s' * (clients > 1)}, mlflow's share of {peer}"] = share, most[clients]
    for peer in (ONNX, SKLEARN):
        for what, most in (("seconds", 0.1), ("memory", 0.2)):
            ratio = statistics.median(begun[peer][what]) / statistics.median(begun[MLFLOW][what])
            told[f"{'start' if what == 'seconds' else what} of {peer}, ratio to mlflow"] = ratio, most
    slow = crowded["slow"]
    lost = 1 - statistics.median(slow["goodput"])
    told["ten times the load, share of its capacity that is not answered"] = max(0.0, lost), 0.2
    told["ten times the load, longest liveness probe in seconds"] = statistics.median(slow["liveness"]), 0.1
    return told


def main() -> int:
    """Measure and conclude; 1 when a goal is missed or an answer is wrong."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--seconds", type=float, default=1)
    given = options.parse_args()
    for tool, source in (("wrk", "the package wrk of Debian"), ("taskset", "util-linux"), ("uv", "`make setup`")):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is not installed ({source}); what cannot be measured is not a win.")
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("There is one core only: clients would take the time of the services.")
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        places = {name: environment(scratch, name, peer) for name, peer in SERVICES.items()}
        estimators, rows = fitted(scratch)
        found = {
            name: throughput(
                scratch, places, name, estimators[name], rows, repeats=given.repeats, seconds=given.seconds
            )
            for name in ESTIMATORS
        }
        begun = starts(scratch, places, rows, repeats=given.repeats)
        crowded = overload(scratch, places, rows, repeats=3)
        versions = harness.versions("skl2onnx")
        for name, distributions in {
            ONNX: ("onnxruntime", "fastapi", "uvicorn"),
            SKLEARN: ("scikit-learn", "skops"),
            MLFLOW: ("mlflow",),
            BENTOML: ("bentoml",),
            LITSERVE: ("litserve",),
        }.items():
            at_hand = installed(places[name])
            versions |= {one: at_hand[one] for one in distributions}
    tables = {f"One-row requests, {name}": rates(one) for name, one in found.items()}
    tables["Start and memory, linear"] = started_table(begun)
    tables["Ten times the load"] = overload_table(crowded)
    print(*tables.values(), sep="\n\n")
    return harness.conclude(
        "serving",
        question="How many one-row requests does a served version answer, how fast does it start, and what memory "
        "does it take, against `mlflow models serve`?",
        facts={
            "versions": versions,
            "runs": {
                name: {
                    peer: {str(clients): [round(value, 1) for value in values] for clients, values in ones.items()}
                    for peer, ones in one.rates.items()
                }
                for name, one in found.items()
            },
            "processor": {
                name: {peer: [round(value * 1000, 4) for value in values] for peer, values in one.processor.items()}
                for name, one in found.items()
            },
            "starts": {
                peer: {what: [round(value, 3) for value in values] for what, values in one.items()}
                for peer, one in begun.items()
            },
            "overload": {
                label: {what: [round(value, 3) for value in values] for what, values in one.items()}
                for label, one in crowded.items()
            },
        },
        tables=tables,
        goals=goals(found, begun, crowded),
        right=all(is_right(one, peer) for one in found.values() for peer in SERVICES),
        notes=[
            "Ratios are to mlflow; a service has one core for all its processes, and the clients have another.",
            "`serve` checks every request against the data contract, counts it and limits it; the plain app does not.",
            "Of a linear pipeline the numbers are read as plain data, without scikit-learn. Trees by scikit-learn are "
            "shown, not judged: importing what they are made of takes most of their start and of their memory; such "
            "a model starts quickly and stays small by ONNX Runtime.",
        ],
    )


if __name__ == "__main__":
    raise SystemExit(main())
