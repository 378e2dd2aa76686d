"""The monitoring of a generated project, with real programs: Prometheus, Alertmanager, node_exporter and two services.

They come from Debian's packages `prometheus`, `prometheus-alertmanager` and `prometheus-node-exporter`; where one is
missing the tests are skipped and say so. Nothing is reached but loopback.
"""

import http.server
import json
import math
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engine import free
from tests.rendering import PRODUCT, command

PROGRAMS = ("prometheus", "prometheus-alertmanager", "prometheus-node-exporter", "promtool", "amtool")
TOKEN = "a-token-of-some-length"
PATIENCE = 90
"""Seconds after which what has not happened will not."""
# Run by the project's own Python: a model of each task, and what a look of watch found, by the writers themselves.
PREPARE = """
import copy, datetime as dt, sys
from pathlib import Path
from sklearn.linear_model import LogisticRegression, Ridge
from toys import exported, prepared
from test_watching_textfile import VALUE
from mlops.watching import textfile
folder = Path(sys.argv[1])
for task, estimator in (("classification", LogisticRegression()), ("regression", Ridge())):
    exported(folder / task, prepared(estimator), task=task, name=task)
textfile.write({**copy.deepcopy(VALUE), "model": "classification"}, folder / "metrics", now=dt.datetime.now(dt.UTC))
"""
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(url: str, value: Any = None, *, token: str = "") -> Any:
    """What a loopback address answers, as JSON where it is JSON; its status where it refuses."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    body = None if value is None else json.dumps(value).encode()
    try:
        with OPENER.open(urllib.request.Request(url, body, headers), timeout=10) as response:
            text = response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code
    return json.loads(text) if text.startswith(("{", "[")) else text


def until(what: str, holds: Callable[[], Any]) -> Any:
    """What `holds` gives as soon as it gives something; it is asked again and again."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if found := holds():
                return found
        except OSError:
            pass
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


@dataclass
class Stack:
    """Everything that runs, by its address, and what the webhook was told."""

    project: Path
    folder: Path
    ports: dict[str, int]
    told: list[dict[str, Any]] = field(default_factory=list)

    def url(self, name: str, path: str = "") -> str:
        return f"http://127.0.0.1:{self.ports[name]}{path}"

    def ask(self, query: str) -> list[dict[str, Any]]:
        """What Prometheus has for a query now; a query that it refuses fails."""
        found = fetch(self.url("prometheus", f"/api/v1/query?{urllib.parse.urlencode({'query': query})}"))
        assert isinstance(found, dict), f"{found}: {query}"
        return list(found["data"]["result"])


def settings(stack: Stack, secret: Path) -> None:
    """The project's own settings, looking often and at loopback; nothing else of them is changed."""
    shutil.copytree(stack.project / "monitoring" / "prometheus", stack.folder / "prometheus")
    path = stack.folder / "prometheus" / "prometheus.yml"
    tree = yaml.safe_load(path.read_text())
    tree["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    (tree["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]) = [stack.url("alertmanager")[7:]]
    for job in tree["scrape_configs"]:
        name = job["job_name"]
        if name == "serve":
            job.pop("dns_sd_configs")
            job["authorization"]["credentials_file"] = str(secret)
        else:
            job["static_configs"][0]["targets"] = [stack.url(name)[7:]]
    path.write_text(yaml.safe_dump(tree))
    # As docs/how-to/monitor.md shows it.
    targets = stack.folder / "prometheus" / "targets"
    targets.mkdir()
    services = [stack.url(name)[7:] for name in ("classification", "regression")]
    (targets / "elsewhere.yml").write_text(yaml.safe_dump([{"targets": services}]))
    alerts = (stack.project / "monitoring" / "alertmanager" / "webhook.yml").read_text()
    hook = stack.folder / "webhook"
    hook.write_text(stack.url("webhook", "/hook"))
    (stack.folder / "alertmanager.yml").write_text(
        alerts.replace("/run/secrets/webhook", str(hook)).replace("group_wait: 30s", "group_wait: 1s")
    )


@pytest.fixture(scope="module")
def stack(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole stack under a little load; it ends with the module."""
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        pytest.skip(f"{', '.join(missing)} not installed; Debian has them in prometheus, -alertmanager, -node-exporter")
    folder = tmp_path_factory.mktemp("stack")
    names = ("classification", "regression", "watch", "alertmanager", "prometheus", "webhook")
    found = Stack(installed, folder, {name: free() for name in names})
    tests = [str(installed / "packages" / name / "tests") for name in ("serve", "mlops")]
    done = command(
        *(str(installed / ".venv" / "bin" / "python"), "-c", PREPARE, str(folder)),
        cwd=installed,
        PYTHONPATH=os.pathsep.join(tests),
    )
    assert done.returncode == 0, done.stderr
    secret = folder / "token"
    secret.write_text(TOKEN + "\n")
    settings(found, secret)
    web = http.server.ThreadingHTTPServer(("127.0.0.1", found.ports["webhook"]), hook(found.told))
    threading.Thread(target=web.serve_forever, daemon=True).start()
    processes = [start(found, *one) for one in commands(found, secret)]
    stop = threading.Event()
    loads = [threading.Thread(target=load, args=(found, name, stop)) for name in ("classification", "regression")]
    try:
        for name, path in (("classification", "/v2/health/ready"), ("regression", "/v2/health/ready")):
            until(f"{name} is not ready", lambda name=name, path=path: isinstance(fetch(found.url(name, path)), dict))
        for one in loads:
            one.start()
        until("Prometheus is not ready", lambda: isinstance(fetch(found.url("prometheus", "/-/ready")), str))
        yield found
    finally:
        stop.set()
        for one in loads:
            if one.ident is not None:
                one.join()
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=30)
        web.shutdown()
        web.server_close()


def hook(told: list[dict[str, Any]]) -> type[http.server.BaseHTTPRequestHandler]:
    """A webhook that remembers what it was told."""

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: Any) -> None:
            pass

    return Hook


def commands(stack: Stack, secret: Path) -> Iterator[tuple[str, list[str], dict[str, str]]]:
    """Name, words and variables of each program; one service asks for the token, the other does not."""
    serve = str(stack.project / ".venv" / "bin" / "serve")
    for name in ("classification", "regression"):
        variables = {"SERVE_LISTEN": stack.url(name)[7:], "SERVE_LOG": str(stack.folder / f"{name}.jsonl")}
        if name == "classification":
            variables["SERVE_TOKEN_FILE"] = str(secret)
        yield name, [serve, "run", str(stack.folder / name)], variables
    compose = yaml.safe_load((stack.project / "monitoring" / "compose.yml").read_text())["services"]
    metrics, data, rules = (stack.folder / name for name in ("metrics", "data", "prometheus"))
    for name, program, places in (
        ("watch", "prometheus-node-exporter", {"=/metrics": f"={metrics}"}),
        ("prometheus", "prometheus", {"/etc/prometheus": str(rules), "=/prometheus": f"={data}"}),
        (
            "alertmanager",
            "prometheus-alertmanager",
            {
                "/etc/alertmanager/${ALERTS:-quiet}.yml": str(stack.folder / "alertmanager.yml"),
                "=/alertmanager": f"={stack.folder / 'alerts'}",
            },
        ),
    ):
        words = [program]
        for word in compose[name]["command"]:
            # What is a place in the container is one of the test's folder here.
            words.append(next((word.replace(old, new) for old, new in places.items() if old in word), word))
        yield name, [*words, f"--web.listen-address={stack.url(name)[7:]}"], {}


def start(stack: Stack, name: str, words: list[str], variables: dict[str, str]) -> "subprocess.Popen[bytes]":
    with (stack.folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(words, stdout=log, stderr=log, env={**os.environ, **variables}, cwd=stack.folder)


def load(stack: Stack, name: str, stop: threading.Event) -> None:
    """Ten requests a second: rows that can be predicted, and now and then one that cannot."""
    spec = fetch(stack.url(name, "/openapi.json"), token=TOKEN)
    row = spec["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["example"]["rows"][0]
    number = 0
    while not stop.wait(0.1):
        number += 1
        bad = {"rows": []} if number % 20 == 0 else None
        fetch(stack.url(name, "/predict"), bad or {"rows": [{**row, "size": float(number % 10)}] * 3}, token=TOKEN)


def panels() -> list[Any]:
    """Every query of the dashboard as a parameter."""
    path = PRODUCT / "monitoring" / "grafana" / "dashboards" / "serving.json"
    found = [panel for panel in json.loads(path.read_text())["panels"] if panel["type"] != "row"]
    return [
        pytest.param(target["expr"], id=f"{panel['title']}: {target['legendFormat']}")
        for panel in found
        for target in panel["targets"]
    ]


CHECKER = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec")


def test_the_compose_file_is_one() -> None:
    done = command(*CHECKER, str(PRODUCT / "monitoring" / "compose.yml"), cwd=PRODUCT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_broken_compose_file_is_seen(tmp_path: Path) -> None:
    """The breaker of the check above."""
    text = (PRODUCT / "monitoring" / "compose.yml").read_text()
    (tmp_path / "compose.yml").write_text(text.replace("read_only: true", "readonly: true"))
    assert command(*CHECKER, "compose.yml", cwd=tmp_path).returncode != 0


@pytest.mark.slow
def test_every_target_is_scraped(stack: Stack) -> None:
    """With the token where one is asked for, and where none is."""

    def all_up() -> bool:
        found = fetch(stack.url("prometheus", "/api/v1/targets"))["data"]["activeTargets"]
        return len(found) == 5 and {one["health"] for one in found} == {"up"}

    until("a target is down", all_up)
    assert {one["metric"]["job"] for one in stack.ask("up == 1")} == {"serve", "watch", "prometheus", "alertmanager"}


@pytest.mark.slow
@pytest.mark.parametrize("query", panels())
def test_every_query_of_the_dashboard_has_data(query: str, stack: Stack) -> None:
    """Numbers of both models, where both can have them, and none that is undefined."""
    asked = query.replace("$model", ".+")
    found = until(f"no data: {query}", lambda: [one for one in stack.ask(asked) if one["value"][1] != "NaN"])
    assert all(math.isfinite(float(one["value"][1])) for one in found)


@pytest.mark.slow
def test_the_dashboard_can_ask_which_models_there_are(stack: Stack) -> None:
    url = stack.url("prometheus", "/api/v1/label/model/values?match[]=serve_model_info")
    assert until("no models", lambda: fetch(url)["data"]) == ["classification", "regression"]


@pytest.mark.slow
def test_every_rule_is_evaluated(stack: Stack) -> None:
    files = (stack.project / "monitoring" / "prometheus" / "rules").glob("*.yml")
    written = [
        rule for path in files for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]
    ]

    def loaded() -> list[dict[str, Any]]:
        groups = fetch(stack.url("prometheus", "/api/v1/rules"))["data"]["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        return [] if any(rule["health"] == "unknown" for rule in found) else found

    rules = until("a rule is not evaluated", loaded)
    assert len(rules) == len(written)
    assert {rule["name"]: rule["lastError"] for rule in rules if rule["health"] != "ok"} == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alertmanager_notifications_failed_total", "prometheus_notifications_dropped_total"])
def test_what_the_programs_say_of_themselves_is_there(name: str, stack: Stack) -> None:
    """The alert AlertsNotSent asks for these, and no test of the project can see them."""
    assert until(name, lambda: stack.ask(name))


@pytest.mark.slow
def test_what_watch_found_reaches_the_webhook(stack: Stack) -> None:
    """From the file that watch wrote, through Prometheus and Alertmanager, to a message that says what to do."""

    def message() -> dict[str, Any] | None:
        told = [attachment for one in list(stack.told) for attachment in one["attachments"]]
        return next((one for one in told if "WatchAlarm" in one["title"]), None)

    found = until("nobody was told", message)
    assert found["title"] == "WatchAlarm (classification)"
    lines = found["text"].splitlines()
    assert lines[0] == "classification: watch found drift."
    assert lines[1].startswith("Read the report of `mlops watch`")
    assert lines[1].endswith("See monitoring/README.md#watchalarm.")
    assert stack.ask('sum(alertmanager_notifications_failed_total{integration="slack"})')[0]["value"][1] == "0"


@pytest.mark.slow
def test_no_alert_fires_without_a_reason(stack: Stack) -> None:
    """Two services that are well: only what watch found is told."""
    until("no alert at all", lambda: stack.ask('ALERTS{alertstate="firing"}'))
    firing = {one["metric"]["alertname"] for one in stack.ask('ALERTS{alertstate="firing"}')}
    assert firing == {"WatchAlarm"}


@pytest.mark.slow
@pytest.mark.parametrize("severity", ["page", "ticket"])
def test_alerts_of_both_kinds_are_routed_to_the_webhook(severity: str, stack: Stack) -> None:
    words = ("amtool", "config", "routes", "test", f"--config.file={stack.folder / 'alertmanager.yml'}")
    done = command(*words, f"severity={severity}", "alertname=X", "model=m", cwd=stack.folder)
    assert done.stdout.strip() == "webhook", done.stderr


@pytest.mark.slow
def test_an_alert_is_held_back_beside_a_worse_one_of_the_same_model(stack: Stack) -> None:
    """NotReady of one model silences its errors, and not those of another."""
    labels = [
        {"alertname": "NotReady", "model": "m", "severity": "page"},
        {"alertname": "ErrorsFast", "model": "m", "severity": "page"},
        {"alertname": "ErrorsFast", "model": "n", "severity": "page"},
    ]
    note = {"summary": "s", "do": "d", "runbook": "r"}
    url = stack.url("alertmanager", "/api/v2/alerts")
    until("Alertmanager is not ready", lambda: isinstance(fetch(stack.url("alertmanager", "/-/ready")), str))
    fetch(url, [{"labels": one, "annotations": note} for one in labels])

    def states() -> dict[tuple[str, str], str]:
        found = {
            (one["labels"]["alertname"], one["labels"].get("model", "")): one["status"]["state"] for one in fetch(url)
        }
        mine = {key: state for key, state in found.items() if key[1] in ("m", "n")}
        return mine if len(mine) == 3 and "unprocessed" not in mine.values() else {}

    assert until("the alerts are not there", states) == {
        ("NotReady", "m"): "active",
        ("ErrorsFast", "m"): "suppressed",
        ("ErrorsFast", "n"): "active",
    }
