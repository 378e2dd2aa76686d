"""The monitoring: each alert fires when it must, says what to do, and asks for numbers that there are."""

import copy
import importlib
import json
import re
import runpy
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from sklearn.linear_model import LogisticRegression, Ridge

from mlops import cli
from mlops.deploying import traffic
from mlops.watching import textfile
from serve import app
from serve.loading import load
from serve.model import Model
from serve.service import Service
from serve.settings import Settings

# From the tests of the service, which are no package.
toys: Any = importlib.import_module("toys")

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "monitoring"
PROMETHEUS = FOLDER / "prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
EXAMPLES = sorted((PROMETHEUS / "tests").glob("*.yml"))
# What Prometheus and Alertmanager say of themselves; the template's own tests see that they do.
THEIRS = {"up", "ALERTS", "alertmanager_notifications_failed_total", "prometheus_notifications_dropped_total"}
SPOKEN = {"and", "or", "unless", "by", "on", "offset", "group_left", "bool"}
PLACE = re.compile(r"\{\{\s*\$labels\.(\w+)\s*\}\}")
# What a panel may be measured in, in Grafana's words.
UNITS = {"none", "percentunit", "s", "bytes", "reqps", "cps"}
SUBJECTS = {"Traffic", "Errors", "Latency", "Saturation", "Predictions", "Drift", "Freshness and age", "Version"}


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def rules(kind: str) -> list[dict[str, Any]]:
    """Every rule that alerts (`alert`) or that is recorded (`record`)."""
    groups = [group for path in RULES for group in loaded(path)["groups"]]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


ALERTS = {rule["alert"]: rule for rule in rules("alert")}


def series(query: str) -> set[str]:
    """The names of the series that a PromQL query asks for."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', query)
    bare = re.sub(r"\{[^{}]*\}", "", bare)
    bare = re.sub(r"\b(?:by|on|group_left)\s*\([^()]*\)", "", bare)
    bare = re.sub(r"\[[^\]]*\]|\boffset\s+\w+", "", bare)
    return {
        name
        for name, call in re.findall(r"(?<![\w:.])([a-zA-Z_:][\w:]*)\s*(\()?", bare)
        if not call and name not in SPOKEN
    }


@pytest.mark.parametrize(
    ("query", "names"),
    [
        (
            'sum by (model, le) (rate(a_b{x=~"y{z}", w="\\""}[5m] offset 1w)) > on (model) (14.4 * m:x:r5m)',
            {"a_b", "m:x:r5m"},
        ),
        ("time() - max by (m) (t) and on (m) u unless on (m) v or vector(1e3)", {"t", "u", "v"}),
        ("a / on (model, version) group_left () (b > 0)", {"a", "b"}),
    ],
)
def test_series_are_found_in_a_query(query: str, names: set[str]) -> None:
    assert series(query) == names


# What there is to ask for.


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every series that services of both tasks show after a request, and every one that watch writes."""
    found = set(textfile.NAMES)
    for task, estimator in (("classification", LogisticRegression()), ("regression", Ridge())):
        folder = tmp_path_factory.mktemp(task) / "export"
        toys.exported(folder, toys.prepared(estimator), task=task, name=task)
        service = Service(Model(load(folder)), Settings())
        app.create(service)
        service.measures.answered("/predict", 200, 0.01)
        text = service.measures.text().decode()
        service.close()
        found |= {one.name for family in text_string_to_metric_families(text) for one in family.samples}
    return found


def queries() -> Iterator[tuple[str, str]]:
    """Every query of rules and dashboard, and where it stands."""
    for kind in ("alert", "record"):
        for rule in rules(kind):
            yield rule[kind], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def unknown(asked: Iterable[tuple[str, str]], known: set[str]) -> set[tuple[str, str]]:
    """Places and series of queries that nobody gives."""
    return {(place, name) for place, query in asked for name in series(query) if name not in known}


def test_every_series_that_is_asked_for_is_there(exposed: set[str]) -> None:
    """A metric that is renamed in the service turns this red, and not an alert silent."""
    known = exposed | THEIRS | {rule["record"] for rule in rules("record")}
    assert unknown(queries(), known) == set()


@pytest.mark.parametrize("name", ["serve_requests_total", "serve_prediction_bucket", "watch_state"])
def test_a_renamed_metric_is_seen(name: str, exposed: set[str]) -> None:
    """The breaker: without this one something asks for nothing."""
    known = exposed | THEIRS | {rule["record"] for rule in rules("record")}
    assert unknown(queries(), known - {name})


def test_what_is_recorded_is_asked_for() -> None:
    asked = {name for _, query in queries() for name in series(query)}
    names = [rule["record"] for rule in rules("record")]
    assert len(names) == len(set(names))
    assert set(names) - asked == set()


def test_one_model_can_have_a_limit_of_its_own() -> None:
    """What the page shows is what the file has, with an exception before it."""
    page = (ROOT / "docs" / "how-to" / "monitor.md").read_text(encoding="utf-8")
    shown = yaml.safe_load(page.split("```yaml\n- record")[1].join(["- record", ""]).split("```")[0])[0]
    (limit,) = [rule for rule in rules("record") if rule["record"] == shown["record"]]
    assert shown["expr"].endswith(f"or on (model) {limit['expr']}\n")


# Alerts, and the page that says what to do.


def wrong(name: str, rule: dict[str, Any], runbook: str) -> list[str]:
    """What an alert lacks for a person who has to act on it."""
    found = []
    notes = rule.get("annotations", {})
    if rule.get("labels", {}).get("severity") not in ("page", "ticket"):
        found.append("severity")
    found += [key for key in ("summary", "do", "runbook") if not notes.get(key)]
    if not PLACE.search(notes.get("summary", "")):
        found.append("whom it concerns")
    if notes.get("runbook") != f"monitoring/README.md#{name.lower()}" or f"\n## {name}\n" not in runbook:
        found.append("a heading in the runbook")
    if "for" not in rule and "increase(" not in rule["expr"] and "watch_state" not in rule["expr"]:
        found.append("a time for which it must hold")
    return found


def runbook() -> str:
    return (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_whom_and_what_to_do(name: str) -> None:
    assert wrong(name, ALERTS[name], runbook()) == []


@pytest.mark.parametrize(
    ("spoil", "lacks"),
    [
        (lambda rule: rule["labels"].update(severity="urgent"), "severity"),
        (lambda rule: rule["annotations"].pop("do"), "do"),
        (lambda rule: rule["annotations"].update(summary="It is slow."), "whom it concerns"),
        (lambda rule: rule["annotations"].update(runbook="monitoring/README.md#slow"), "a heading in the runbook"),
        (lambda rule: rule.pop("for"), "a time for which it must hold"),
    ],
)
def test_an_alert_that_says_too_little_is_seen(spoil: Callable[[dict[str, Any]], object], lacks: str) -> None:
    rule = copy.deepcopy(ALERTS["LatencyHigh"])
    spoil(rule)
    assert wrong("LatencyHigh", rule, runbook()) == [lacks]


def test_the_runbook_has_a_heading_for_each_alert_and_no_other() -> None:
    """Each says at once whether it is for now or for this week."""
    parts = re.split(r"(?m)^## (.+)$", runbook())[1:]
    said = dict(zip(parts[::2], parts[1::2], strict=True))
    assert set(said) == set(ALERTS)
    for name, text in said.items():
        assert text.strip().startswith(f"{ALERTS[name]['labels']['severity'].capitalize()}. "), name


# Alertmanager.


def test_sending_alerts_changes_nothing_but_who_receives_them() -> None:
    quiet, webhook = (loaded(FOLDER / "alertmanager" / f"{name}.yml") for name in ("quiet", "webhook"))
    (to,) = webhook.pop("receivers")
    assert quiet.pop("receivers") == [{"name": "page"}]
    assert json.loads(json.dumps(webhook).replace(to["name"], "page")) == quiet
    # The address is a secret: it stands in no file of the repository.
    assert to["slack_configs"][0]["api_url_file"] == "/run/secrets/webhook"
    assert not re.search(r"https?://", (FOLDER / "alertmanager" / "webhook.yml").read_text(encoding="utf-8"))


def test_alertmanager_knows_the_alerts_that_it_holds_back() -> None:
    """A renamed alert would be told again and again beside the one that caused it."""
    settings = loaded(FOLDER / "alertmanager" / "quiet.yml")
    held = [one for rule in settings["inhibit_rules"] for key in rule if key != "equal" for one in rule[key]]
    names = {name for matcher in held for name in re.findall(r"[A-Z]\w+", matcher)}
    assert names
    assert names - set(ALERTS) == set()
    for rule in settings["inhibit_rules"]:
        assert rule["equal"] == ["model"]
    severities = {rule["labels"]["severity"] for rule in ALERTS.values()}
    routed = {
        name for route in settings["route"]["routes"] for name in re.findall(r'severity="(\w+)"', route["matchers"][0])
    }
    assert routed == severities - {"ticket"}


# The dashboard.


def panels() -> list[dict[str, Any]]:
    found = json.loads((FOLDER / "grafana" / "dashboards" / "serving.json").read_text(encoding="utf-8"))["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def test_the_dashboard_is_what_its_page_makes() -> None:
    made = runpy.run_path(str(FOLDER / "grafana" / "dashboard.py"))["text"]()
    assert (FOLDER / "grafana" / "dashboards" / "serving.json").read_text(encoding="utf-8") == made, (
        "Change monitoring/grafana/dashboard.py and run it with python3."
    )


def test_every_panel_says_its_unit_what_it_shows_and_whose_line_is_which() -> None:
    for panel in panels():
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert target["legendFormat"], panel["title"]
            assert '$model"' in target["expr"] or "ALERTS" in target["expr"], panel["title"]
    titles = [panel["title"] for panel in panels()]
    assert len(titles) == len(set(titles))


def test_every_subject_has_a_row() -> None:
    found = json.loads((FOLDER / "grafana" / "dashboards" / "serving.json").read_text(encoding="utf-8"))["panels"]
    assert {panel["title"] for panel in found if panel["type"] == "row"} == {"At a glance", *SUBJECTS}


def test_alerts_that_a_panel_names_are_there() -> None:
    named = {name for panel in panels() for name in re.findall(r"\b[A-Z][a-z]+[A-Z]\w+\b", panel["description"])}
    assert named
    assert named - set(ALERTS) == set()


def test_panels_have_numbers_of_their_own_and_do_not_cover_each_other() -> None:
    found = json.loads((FOLDER / "grafana" / "dashboards" / "serving.json").read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in found}) == len(found)
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in found):
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        taken |= cells
    assert len(taken) == 24 * max(y + 1 for _, y in taken), "there is a hole"


# What Grafana's own description of a dashboard (its kind `dashboard`) asks of each, as far as this one uses it.
DASHBOARD = {"uid": str, "title": str, "schemaVersion": int, "panels": list, "templating": dict, "time": dict}
PANEL = {"id": int, "type": str, "title": str, "gridPos": dict, "fieldConfig": dict, "options": dict, "targets": list}


def test_the_dashboard_has_the_form_that_grafana_asks_for() -> None:
    found = json.loads((FOLDER / "grafana" / "dashboards" / "serving.json").read_text(encoding="utf-8"))
    assert {key: kind for key, kind in DASHBOARD.items() if not isinstance(found.get(key), kind)} == {}
    assert found["graphTooltip"] in (0, 1, 2)
    variables = {one["name"]: one for one in found["templating"]["list"]}
    assert {one["type"] for one in variables.values()} <= {"query", "datasource"}
    for panel in panels():
        assert {key: kind for key, kind in PANEL.items() if not isinstance(panel.get(key), kind)} == {}
        assert set(panel["fieldConfig"]) == {"defaults", "overrides"}
        references = [target["refId"] for target in panel["targets"]]
        assert len(references) == len(set(references))
        for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
            assert source == {"type": "prometheus", "uid": "${source}"}
        used = {name for target in panel["targets"] for name in re.findall(r"\$(\w+)", target["expr"])}
        assert used <= set(variables)


def test_grafana_finds_its_source_and_its_dashboards() -> None:
    (source,) = loaded(FOLDER / "grafana" / "provisioning" / "datasources" / "prometheus.yml")["datasources"]
    services = loaded(FOLDER / "compose.yml")["services"]
    assert re.fullmatch(r"http://(\w+):9090", source["url"])[1] in services  # type: ignore[index]
    (provider,) = loaded(FOLDER / "grafana" / "provisioning" / "dashboards" / "dashboards.yml")["providers"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in services["grafana"]["volumes"]
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/serving.json"


# What runs.


def open_doors(compose: dict[str, Any]) -> list[str]:
    """What in a compose file lets somebody in, or out, who should not be."""
    found = []
    for name, service in compose["services"].items():
        if not re.fullmatch(r"[\w/-]+:v?\d+\.\d+\.\d+@sha256:[0-9a-f]{64}", service["image"]):
            found.append(f"{name}: the image is not pinned")
        if any(not str(port).startswith("127.0.0.1:") for port in service.get("ports", [])):
            found.append(f"{name}: it listens beyond this machine")
        if service.get("read_only") is not True or service.get("cap_drop") != ["ALL"]:
            found.append(f"{name}: it may change itself")
        if service.get("security_opt") != ["no-new-privileges:true"] or service.get("privileged"):
            found.append(f"{name}: it may get more rights")
        if {"healthcheck", "mem_limit", "pids_limit"} - set(service):
            found.append(f"{name}: nothing limits it, or says that it is well")
        found += [
            f"{name}: {volume} can be written"
            for volume in service.get("volumes", [])
            if volume.startswith((".", "/")) and not volume.endswith(":ro")
        ]
        if any("docker.sock" in volume for volume in service.get("volumes", [])):
            found.append(f"{name}: it has the engine")
        settings = service.get("environment", {})
        if any("PASSWORD" in key or "TOKEN" in key for key in settings):
            found.append(f"{name}: a secret in its environment")
    settings = compose["services"]["grafana"]["environment"]
    if settings.get("GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION") != "true":
        found.append("grafana: an administrator with the default password")
    if settings.get("GF_AUTH_ANONYMOUS_ORG_ROLE") != "Viewer":
        found.append("grafana: everybody may change it")
    if settings.get("GF_ANALYTICS_REPORTING_ENABLED") != "false":
        found.append("grafana: it reports to others")
    return found


def test_the_stack_is_closed() -> None:
    """Loopback only, read-only, without rights, without a password that somebody could guess."""
    assert open_doors(loaded(FOLDER / "compose.yml")) == []


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda s: s["prometheus"].update(image="prom/prometheus:latest"), "prometheus: the image is not pinned"),
        (lambda s: s["grafana"].update(ports=["3000:3000"]), "grafana: it listens beyond this machine"),
        (lambda s: s["alertmanager"].pop("read_only"), "alertmanager: it may change itself"),
        (lambda s: s["watch"].update(privileged=True), "watch: it may get more rights"),
        (lambda s: s["watch"].pop("healthcheck"), "watch: nothing limits it, or says that it is well"),
        (lambda s: s["watch"].update(volumes=["./local:/metrics"]), "watch: ./local:/metrics can be written"),
        (
            lambda s: s["prometheus"]["volumes"].append("/var/run/docker.sock:/var/run/docker.sock:ro"),
            "prometheus: it has the engine",
        ),
        (
            lambda s: s["grafana"]["environment"].update(GF_SECURITY_ADMIN_PASSWORD="admin"),
            "grafana: a secret in its environment",
        ),
        (
            lambda s: s["grafana"]["environment"].pop("GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"),
            "grafana: an administrator with the default password",
        ),
        (
            lambda s: s["grafana"]["environment"].update(GF_AUTH_ANONYMOUS_ORG_ROLE="Admin"),
            "grafana: everybody may change it",
        ),
        (
            lambda s: s["grafana"]["environment"].pop("GF_ANALYTICS_REPORTING_ENABLED"),
            "grafana: it reports to others",
        ),
    ],
)
def test_an_open_door_is_seen(spoil: Callable[[dict[str, Any]], object], said: str) -> None:
    """The breaker: one edit of the compose file each."""
    compose = loaded(FOLDER / "compose.yml")
    spoil(compose["services"])
    assert open_doors(compose) == [said]


def test_every_path_that_a_container_reads_is_mounted() -> None:
    services = loaded(FOLDER / "compose.yml")["services"]
    for name, service in services.items():
        mounted = [volume.split(":")[1] for volume in service.get("volumes", [])]
        mounted += [f"/run/secrets/{secret}" for secret in service.get("secrets", [])]
        read = re.findall(r"=(/[\w./-]+)", " ".join(service.get("command", [])))
        assert [path for path in read if not any(path.startswith(one) for one in mounted)] == [], name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            # What is this machine's own is made by `make monitor`.
            if source.startswith("./") and not source.startswith("./local/"):
                assert (FOLDER / source).exists(), source
    settings = loaded(PROMETHEUS / "prometheus.yml")
    assert "./prometheus/rules:/etc/prometheus/rules:ro" in services["prometheus"]["volumes"]
    assert settings["rule_files"] == ["rules/*.yml"]
    assert settings["scrape_configs"][0]["authorization"]["credentials_file"] == "/run/secrets/token"
    hosts = {
        target.split(":")[0]
        for job in settings["scrape_configs"]
        for one in job.get("static_configs", [])
        for target in one["targets"]
    }
    assert hosts - {"localhost"} <= set(services)


def test_the_network_is_that_of_the_replicas() -> None:
    """Made by `make monitor` where nothing was deployed yet, under the name that `mlops deploy` uses."""
    networks = loaded(FOLDER / "compose.yml")["networks"]
    project = loaded(FOLDER / "compose.yml")["name"].removesuffix("-monitoring")
    assert networks["models"] == {"name": f"{project}-${{ENVIRONMENT:-local}}", "external": True}
    assert f'NETWORK = "{project}-$$ENVIRONMENT"' in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_prometheus_looks_up_the_name_that_every_replica_is_given() -> None:
    (job,) = [job for job in loaded(PROMETHEUS / "prometheus.yml")["scrape_configs"] if job["job_name"] == "serve"]
    (lookup,) = job["dns_sd_configs"]
    (name,) = lookup["names"]
    source = (ROOT / "packages/mlops/src/mlops/deploying/docker.py").read_text(encoding="utf-8")
    assert f'"--network-alias", "{name}"' in source
    assert lookup["port"] == traffic.PORT


def test_the_page_types_options_that_watch_takes() -> None:
    page = (ROOT / "docs" / "how-to" / "monitor.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"mlops watch \S+ (--\w+) (\S+)", page)
    assert line[0] in {flag for flag, _ in cli.VERBS["watch"].options}
    assert (
        f"./{line[1].removeprefix('monitoring/')}:/metrics:ro"
        in loaded(FOLDER / "compose.yml")["services"]["watch"]["volumes"]
    )


DOCKER = """#!/bin/sh
echo "$ALERTS $ENVIRONMENT $*" | tee -a "$CALLS"
case "$*" in "network inspect"*) exit 1;; esac
"""


def monitored(folder: Path, *arguments: str) -> list[str]:
    """What `make monitor` asks of Docker, in a copy of the repository's Makefile."""
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / "docker").write_text(DOCKER)
    (folder / "bin" / "docker").chmod(0o755)
    shutil.copy(ROOT / "Makefile", folder)
    calls = folder / "calls"
    calls.unlink(missing_ok=True)
    path = f"{folder / 'bin'}:/usr/local/bin:/usr/bin:/bin"
    subprocess.run(
        ["make", "--no-print-directory", "monitor", *arguments],
        cwd=folder,
        env={"PATH": path, "CALLS": str(calls)},
        check=True,
        capture_output=True,
    )
    return calls.read_text().splitlines()


def test_make_monitor_makes_what_is_missing_and_closes_what_is_secret(tmp_path: Path) -> None:
    calls = monitored(tmp_path)
    project = loaded(FOLDER / "compose.yml")["name"].removesuffix("-monitoring")
    assert calls[1:] == [
        f"quiet local network inspect {project}-local",
        f"quiet local network create {project}-local",
        "quiet local compose --file monitoring/compose.yml up --detach --wait",
    ]
    local = tmp_path / "monitoring" / "local"
    assert stat.S_IMODE((local / "secrets").stat().st_mode) == 0o700
    assert {path.name for path in local.rglob("*") if path.is_file()} == {"token", "webhook"}
    assert {path.name for path in local.iterdir()} == {"metrics", "secrets", "targets"}


def test_make_monitor_sends_alerts_where_a_webhook_is_set_and_keeps_it(tmp_path: Path) -> None:
    monitored(tmp_path)
    secret = tmp_path / "monitoring" / "local" / "secrets" / "webhook"
    secret.write_text("http://localhost/hook")
    assert monitored(tmp_path, "ENV=staging")[-1].startswith("webhook staging compose ")
    assert secret.read_text() == "http://localhost/hook"


@pytest.mark.parametrize("value", ["x; touch CANARY", "$(touch CANARY)", "`touch CANARY`", "$(shell touch CANARY)"])
def test_the_name_of_an_environment_is_never_run(value: str, tmp_path: Path) -> None:
    monitored(tmp_path, f"ENV={value}")
    assert list(tmp_path.rglob("CANARY")) == []


def test_git_leaves_secrets_and_numbers_out() -> None:
    for path in ("secrets/webhook", "secrets/token", "metrics/m.prom", "targets/elsewhere.yml"):
        done = subprocess.run(
            ["git", "check-ignore", "--quiet", "--no-index", f"monitoring/local/{path}"], cwd=ROOT, check=False
        )
        assert done.returncode == 0, path


# The tools' own judgement.


def tool(name: str) -> str:
    """Where a program is; without it the test is skipped, and says so."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; Debian has it in prometheus and prometheus-alertmanager")
    return found


def run(*words: str | Path) -> str:
    """What a program says; it must succeed."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_prometheus_takes_its_settings_and_rules() -> None:
    promtool = tool("promtool")
    run(promtool, "check", "config", "--syntax-only", PROMETHEUS / "prometheus.yml")
    run(promtool, "check", "rules", *RULES)


def test_alertmanager_takes_both_settings() -> None:
    run(tool("amtool"), "check-config", *sorted((FOLDER / "alertmanager").glob("*.yml")))


def test_every_alert_fires_when_it_must_and_only_then() -> None:
    run(tool("promtool"), "test", "rules", *EXAMPLES)


def asked() -> dict[str, set[bool]]:
    """For each alert, whether an example expects it to fire, and whether one expects it to stay silent."""
    found: dict[str, set[bool]] = {}
    for path in EXAMPLES:
        for one in (case for test in loaded(path)["tests"] for case in test["promql_expr_test"]):
            (name,) = re.findall(r'ALERTS\{alertname="(\w+)", alertstate="firing"', one["expr"])
            found.setdefault(name, set()).add(bool(one["exp_samples"]))
    return found


def test_every_alert_is_shown_to_fire_and_to_stay_silent() -> None:
    assert asked() == {name: {True, False} for name in ALERTS}


@pytest.mark.parametrize(("expression", "said"), [("vector(0) == 1", "got: nil"), ("vector(1)", "got: {")])
def test_an_alert_that_never_or_always_fires_is_seen(expression: str, said: str, tmp_path: Path) -> None:
    """The breaker: each alert is made to never fire, then to fire always; the examples find every one of them."""
    promtool = tool("promtool")
    shutil.copytree(PROMETHEUS, tmp_path / "prometheus")
    path = tmp_path / "prometheus" / "rules" / "alerts.yml"
    tree = loaded(path)
    for rule in (rule for group in tree["groups"] for rule in group["rules"]):
        rule["expr"] = expression
        rule.pop("for", None)
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    done = subprocess.run(
        [promtool, "test", "rules", *sorted((tmp_path / "prometheus" / "tests").glob("*.yml"))],
        capture_output=True,
        text=True,
        check=False,
    )
    failures = re.findall(r'alertname=\\?"(\w+).*?got: (\S+)', (done.stdout + done.stderr).replace("\n", " "))
    assert done.returncode == 1
    assert {name for name, got in failures if f"got: {got}".startswith(said)} == set(ALERTS)
