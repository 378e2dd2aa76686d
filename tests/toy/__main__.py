"""A service that keeps the contract of the real one and starts at once: what a deployment is tried on.

It answers what a deployment asks and counts as the real one does. `/model/behaviour.json` says how it is bad:
`{"ready": false, "fails": 0.2, "seconds": 0.1, "value": 0.9}`. A row whose x is 100 or more takes `"waits"` seconds.
"""

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MANIFEST = json.loads(Path("/model/manifest.json").read_text())
BEHAVIOUR = json.loads(Path("/model/behaviour.json").read_text())
EDGES = (0.1, 0.25, 0.5, 0.75, 0.9)
SECONDS = (0.001, 0.01, 0.05, 0.1, 0.5, 1.0)
STARTED = time.time()
LOCK = threading.Lock()
CODES: dict[int, int] = {}
TIMES, VALUES = [0] * (len(SECONDS) + 1), [0] * (len(EDGES) + 1)
STATE = {"draining": False, "count": 0, "at_once": 0, "most": 0}


def predicted(row: dict[str, float]) -> float:
    """What it says of a row; another version says something else."""
    return min(1.0, max(0.0, 0.2 + row["x"] / 10)) if "value" not in BEHAVIOUR else float(BEHAVIOUR["value"])


def cumulative(name: str, labels: str, edges: tuple[float, ...], counts: list[int]) -> list[str]:
    """A histogram as Prometheus reads it."""
    total, lines = 0, []
    for edge, count in zip([*map(str, edges), "+Inf"], counts, strict=True):
        total += count
        lines.append(f'{name}_bucket{{{labels}le="{edge}"}} {float(total)}')
    return [*lines, f"{name}_count{{{labels.rstrip(',')}}} {float(total)}"]


def metrics() -> str:
    """What it has counted."""
    with LOCK:
        lines = [f"process_start_time_seconds {STARTED}"]
        model, version = MANIFEST["model"], os.environ["SERVE_VERSION"]
        lines.append(f'serve_model_info{{model="{model}",runtime="toy",version="{version}"}} 1.0')
        codes = sorted(CODES.items())
        lines += [f'serve_requests_total{{code="{code}",route="/predict"}} {float(n)}' for code, n in codes]
        if codes:
            lines += cumulative("serve_request_duration_seconds", 'route="/predict",', SECONDS, TIMES)
        lines += cumulative("serve_prediction", "", EDGES, VALUES)
    return "\n".join(lines) + "\n"


class Handler(BaseHTTPRequestHandler):
    """The routes."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self, status: int, body: object) -> None:
        """Send JSON, or a text."""
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("model-version", os.environ["SERVE_VERSION"])
        self.send_header("at-once", str(STATE["most"]))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        """Health, metrics, and what it is."""
        if self.path == "/v2/health/live":
            return self.answer(200, {})
        if self.path == "/v2/health/ready":
            return self.answer(503 if STATE["draining"] or not BEHAVIOUR.get("ready", True) else 200, {})
        if self.path == "/metrics":
            return self.answer(200, metrics())
        if self.path == "/model":
            return self.answer(200, {"model": MANIFEST["model"], "version": os.environ["SERVE_VERSION"]})
        if self.path == "/openapi.json":
            fields = {"rows": {"items": {"properties": {"x": {"type": "number"}}}}}
            schema = {"application/json": {"schema": {"properties": fields}}}
            return self.answer(200, {"paths": {"/predict": {"post": {"requestBody": {"content": schema}}}}})
        return self.answer(404, {"error": "There is no such route."})

    def do_POST(self) -> None:
        """Predict one row for each that is sent."""
        started = time.perf_counter()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with LOCK:
            STATE["at_once"] += 1
            STATE["most"] = max(STATE["most"], STATE["at_once"])
        try:
            found = self.counted(body, started)
        finally:
            # Before it answers: from then on the proxy may send the next one.
            with LOCK:
                STATE["at_once"] -= 1
        self.answer(*found)

    def counted(self, body: bytes, started: float) -> tuple[int, dict[str, object]]:
        """The status and the answer, which are in the metrics then."""
        status, said = self.predict(body)
        with LOCK:
            CODES[status] = CODES.get(status, 0) + 1
            seconds = time.perf_counter() - started
            TIMES[sum(seconds > edge for edge in SECONDS)] += 1
            for one in said.get("predictions", []):
                VALUES[sum(one["value"] > edge for edge in EDGES)] += 1
        return status, said

    def predict(self, body: bytes) -> tuple[int, dict[str, object]]:
        """The status and the answer."""
        time.sleep(BEHAVIOUR.get("seconds", 0.0))
        with LOCK:
            STATE["count"] += 1
            count = STATE["count"]
        if self.path != "/predict":
            return 404, {"error": "There is no such route."}
        # Not the first ones: what is tried before there is traffic finds nothing.
        if count > 60 and count % 100 < BEHAVIOUR.get("fails", 0.0) * 100:
            return 500, {"error": "It fails."}
        try:
            rows = json.loads(body)["rows"]
            assert all(set(row) == {"x"} and isinstance(row["x"], int | float) for row in rows)
        except (ValueError, KeyError, TypeError, AssertionError):
            return 422, {"error": "A row breaks the contract."}
        if any(row["x"] >= 100 for row in rows):
            time.sleep(BEHAVIOUR.get("waits", 0.0))
        return 200, {"model": MANIFEST["model"], "predictions": [{"value": predicted(row)} for row in rows]}

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Server(ThreadingHTTPServer):
    """A burst of clients waits for its turn instead of being turned away."""

    daemon_threads = True
    request_queue_size = 256


def leave(*_: object) -> None:
    """Say that it is not ready, go on for a while, and end."""
    STATE["draining"] = True
    threading.Timer(float(os.environ.get("SERVE_DRAIN", "0.5")), os._exit, [0]).start()


def run() -> int:
    """Serve until SIGTERM."""
    if BEHAVIOUR.get("crashes"):
        print("serve: The export was changed: model.skops has another digest.", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, leave)
    if log := os.environ.get("SERVE_LOG"):
        Path(log).touch()
    host, _, port = os.environ["SERVE_LISTEN"].rpartition(":")
    Server((host, int(port)), Handler).serve_forever()
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "probe":
        from serve import probe, settings

        given = settings.from_environment(os.environ)
        sys.exit(probe.main(sys.argv[2], given, lines="--lines" in sys.argv))
    sys.exit(run())
