"""The manifests of a generated project are valid, keep the project's own rules, and their judge judges.

kustomize is in `kubectl`; the schemas of Kubernetes come with kubernetes-validate, offline. Argo Rollouts' own are too
large to carry along: the fields that are used are checked against the names and types that its CRD documents.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.manifests import docker_flags, writable
from tests.rendering import PRODUCT, command, render
from tests.test_image import HARDENED

Manifest = dict[str, Any]

ENVIRONMENTS = ("staging", "production")
STRATEGIES = ("rolling", "canary", "blue-green")
VERSIONS = ("1.30", "1.34")
"""The oldest Kubernetes that docs/how-to/deploy-to-kubernetes.md promises, and a newer one."""
JUDGE = PRODUCT / "deploy" / "kubernetes" / "strategies" / "rollout" / "judge.yaml"
PRINT = """
import json, pathlib, sys
from mlops.deploying import environments
from mlops.deploying.namespace import Namespace
from mlops.deploying.release import Author, Release
root = pathlib.Path.cwd()
image = "registry.example:5000/acme/x@sha256:" + "a" * 64
release = Release(model="blood_pressure", version="3f2a9c01d47b", image=image, commit="b" * 40)
found = {}
for name in sys.argv[1].split():
    target = Namespace(environments.load(root, name, variables={}), root=root, author=Author(name="test"))
    for strategy in sys.argv[2].split():
        found[f"{name} {strategy}"] = target.objects(release, strategy)
print(json.dumps(found))
"""

pytestmark = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl, which has kustomize, is not installed"
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that deploys to Kubernetes."""
    return render(tmp_path_factory.mktemp("kubernetes"), {"deploy": "kubernetes", "project": "care"})


def python(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """This Python, with the project's command line."""
    return command(sys.executable, *words, cwd=project, PYTHONPATH=str(project / "packages" / "mlops" / "src"))


@pytest.fixture(scope="module")
def deployed(project: Path) -> dict[str, list[Manifest]]:
    """What would be applied, by environment and strategy."""
    done = python(project, "-c", PRINT, " ".join(ENVIRONMENTS), " ".join(STRATEGIES))
    assert done.returncode == 0, done.stderr
    found: dict[str, list[Manifest]] = json.loads(done.stdout)
    return found


CASES = [f"{environment} {strategy}" for environment in ENVIRONMENTS for strategy in STRATEGIES]


def kustomized(folder: Path) -> list[Manifest]:
    """What kustomize makes of a folder."""
    done = command("kubectl", "kustomize", str(folder), cwd=folder)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


# Valid?

POD_LIKE = {"Rollout": "Deployment"}
TEXT, NUMBER, TRUTH = str, int, bool
ANALYSIS = {
    "templates": [{"templateName": TEXT}],
    "args": [
        {"name": TEXT, "value": TEXT, "valueFrom": {"podTemplateHashValue": TEXT, "fieldRef": {"fieldPath": TEXT}}}
    ],
}
# What the CRDs of Argo Rollouts say of the fields that are used here, and nothing of those that are not: a field that
# somebody adds is looked up there, and added here.
ARGO: dict[str, Any] = {
    "Rollout": {
        "minReadySeconds": NUMBER,
        "progressDeadlineSeconds": NUMBER,
        "revisionHistoryLimit": NUMBER,
        "selector": {"matchLabels": dict},
        "template": dict,
        "strategy": {
            "canary": {
                "maxSurge": (int, str),
                "maxUnavailable": (int, str),
                "steps": [{"setWeight": NUMBER, "analysis": ANALYSIS}],
            },
            "blueGreen": {
                "activeService": TEXT,
                "previewService": TEXT,
                "autoPromotionEnabled": TRUTH,
                "maxUnavailable": (int, str),
                "prePromotionAnalysis": ANALYSIS,
                "postPromotionAnalysis": ANALYSIS,
            },
        },
    },
    "AnalysisTemplate": {
        "args": [{"name": TEXT, "value": TEXT}],
        "metrics": [
            {
                "name": TEXT,
                "interval": TEXT,
                "count": (int, str),
                "consecutiveSuccessLimit": (int, str),
                "consecutiveErrorLimit": (int, str),
                "failureLimit": (int, str),
                "inconclusiveLimit": (int, str),
                "successCondition": TEXT,
                "failureCondition": TEXT,
                "provider": {"prometheus": {"address": TEXT, "query": TEXT}},
            }
        ],
    },
}


def unknown(value: Any, form: Any, where: str) -> list[str]:
    """Fields of a value that its form does not know, and values of another type."""
    if isinstance(form, dict):
        if not isinstance(value, dict):
            return [f"{where} is no object"]
        extra = [f"{where}.{key} is not known" for key in value if key not in form]
        return extra + [one for key in value if key in form for one in unknown(value[key], form[key], f"{where}.{key}")]
    if isinstance(form, list):
        if not isinstance(value, list):
            return [f"{where} is no list"]
        return [one for number, item in enumerate(value) for one in unknown(item, form[0], f"{where}[{number}]")]
    right = isinstance(value, form) and not (isinstance(value, bool) and form is not TRUTH)
    return [] if right else [f"{where} is {value!r}"]


def invalid(value: Manifest, version: str) -> list[str]:
    """What the API would say against an object."""
    kind = value["kind"]
    if kind in ARGO:
        found = unknown(value["spec"], ARGO[kind], kind)
        if kind == "AnalysisTemplate":
            return found
        # Its pods are those of a Deployment.
        spec = {key: value["spec"][key] for key in ("selector", "template")}
        value = {**value, "apiVersion": "apps/v1", "kind": "Deployment", "spec": spec}
        return found + invalid(value, version)
    if kind == "PodMonitor":
        return []
    try:
        kubernetes_validate.validate(value, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{kind}: {error.message} at {'.'.join(map(str, error.path))}"]
    return []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", CASES)
def test_what_is_deployed_is_valid(deployed: dict[str, list[Manifest]], case: str, version: str) -> None:
    assert len(deployed[case]) >= 6
    assert [one for value in deployed[case] for one in invalid(value, version)] == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_kustomize_makes_of_every_folder_is_valid(project: Path, environment: str, version: str) -> None:
    """As it is read by a person, and by tools that apply folders."""
    for folder in (*STRATEGIES, "access"):
        objects = kustomized(project / "deploy" / "kubernetes" / "overlays" / environment / folder)
        assert [one for value in objects for one in invalid(value, version)] == []


@pytest.mark.parametrize(
    ("case", "kind", "path", "value"),
    [
        ("staging rolling", "Deployment", "template.spec.containers.0.resource", {}),
        ("staging rolling", "Deployment", "minReadySeconds", "5"),
        ("staging rolling", "Service", "ports.0.port", "http"),
        ("staging rolling", "NetworkPolicy", "ingres", []),
        ("staging canary", "Rollout", "strategy.canary.steps.0.setWeigth", 10),
        ("staging canary", "Rollout", "strategy.canary.steps.0.setWeight", "10"),
        ("staging canary", "Rollout", "template.spec.containers.0.livenessProb", {}),
        ("staging blue-green", "Rollout", "strategy.blueGreen.activeservice", "x"),
        ("staging canary", "AnalysisTemplate", "metrics.0.succesCondition", "true"),
    ],
)
def test_an_object_that_is_not_valid_is_seen(
    deployed: dict[str, list[Manifest]], case: str, kind: str, path: str, value: Any
) -> None:
    """The breaker: a field that does not exist, or of another type."""
    objects = json.loads(json.dumps(deployed[case]))
    one = next(one for one in objects if one["kind"] == kind)
    place = one["spec"]
    *steps, last = path.split(".")
    for step in steps:
        place = place[int(step) if step.isdigit() else step]
    place[last] = value
    assert invalid(one, VERSIONS[0]) != []


@pytest.mark.slow
def test_the_project_s_own_rules_hold_and_refuse(project: Path) -> None:
    """What `make test` runs in a project that deploys to Kubernetes."""
    done = python(project, "-m", "pytest", "-q", "-rs", "deploy/kubernetes/tests")
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout


def test_the_image_runs_with_the_manifests_own_security_context() -> None:
    """The tests of the image give these flags to a real engine."""
    assert sorted(docker_flags()) == sorted(HARDENED)
    assert writable() == ["/log"]


@pytest.mark.parametrize(
    "words",
    [
        ["get", "configmap", "x", "--output", "json", "--ignore-not-found"],
        ["get", "configmap", "--selector", "a=b", "--output", "json"],
        ["create", "--validate=false", "--filename", "-", "--output", "json"],
        ["replace", "--validate=false", "--filename", "-", "--output", "json"],
        [
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager",
            "mlops",
            "--filename",
            "-",
            "--output",
            "name",
        ],
        ["delete", "rollouts.argoproj.io", "x", "--ignore-not-found", "--wait=false"],
    ],
    ids=lambda words: words[0],
)
def test_kubectl_takes_our_words(words: list[str], tmp_path: Path) -> None:
    """The double takes them; the real program gets as far as a cluster that is not there."""
    settings = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
    }
    (tmp_path / "config").write_text(json.dumps(settings))
    value = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "n"}}
    done = subprocess.run(
        ["kubectl", "--context", "here", "--namespace", "n", "--request-timeout=5s", *words],
        input=json.dumps(value),
        env={**os.environ, "KUBECONFIG": str(tmp_path / "config")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "refused" in done.stderr
    assert "unknown" not in done.stderr


# Does the judge judge?

NOW = 1_700_000_000 // 7200 * 7200 + 7000
GOOD = {"requests": 1000, "errors": 5, "refusals": 10, "slow": 20, "labels": {"benign": 0.6, "malignant": 0.4}}
NUMBERS = {"requests": 1000, "middle": 50}
# What served, what is new, and what each metric says: `promote`, `back`, or `hold`.
DAYS: dict[str, tuple[dict[str, Any] | None, dict[str, Any] | None, dict[str, str]]] = {
    "as good": (GOOD, GOOD, dict.fromkeys(("errors", "refusals", "slow", "shift"), "promote")),
    "six times the errors": (GOOD, {**GOOD, "errors": 60}, {"errors": "back", "slow": "promote"}),
    "clients that give up": (GOOD, {**GOOD, "gone": 60}, {"errors": "back", "refusals": "promote"}),
    "other fields asked for": (GOOD, {**GOOD, "refusals": 120}, {"refusals": "back", "errors": "promote"}),
    "slower": (GOOD, {**GOOD, "slow": 250}, {"slow": "back", "errors": "promote"}),
    "other classes": (GOOD, {**GOOD, "labels": {"benign": 0.05, "malignant": 0.95}}, {"shift": "back"}),
    "a little worse": (GOOD, {**GOOD, "requests": 400, "errors": 7}, {"errors": "hold"}),
    "too few": (GOOD, {**GOOD, "requests": 290, "errors": 0}, {}),
    "too few before": ({**GOOD, "requests": 290}, GOOD, {}),
    "no new one seen": (GOOD, None, {}),
    "no old one seen": (None, GOOD, {}),
    "nothing seen": (None, None, {}),
    "as good a number": (NUMBERS, {**NUMBERS, "edge": 3}, {"shift": "promote"}),
    "other numbers": (NUMBERS, {**NUMBERS, "middle": 85, "edge": 3}, {"shift": "back"}),
}


def scraped(namespace: str, digest: str, day: dict[str, Any]) -> Iterator[tuple[str, dict[str, str], float]]:
    """The counters of one side's pod at the end of twenty even minutes."""
    where = {"namespace": namespace, "pod": f"blood-pressure-serve-{digest}-x7k2p"}
    asked = {**where, "route": "/predict"}
    requests, refusals, gone = day["requests"], day.get("refusals", 0), day.get("gone", 0)
    errors = day.get("errors", 0)
    codes = {"200": requests - errors - refusals - gone, "500": errors, "422": refusals, "499": gone}
    for code, count in codes.items():
        if count:
            yield "serve_requests_total", {**asked, "code": code}, count
    # Health and scraping are no requests of clients: a thousand of them do not make a sample.
    yield "serve_requests_total", {**where, "route": "/metrics", "code": "200"}, 1000
    quick = requests - day.get("slow", 0)
    for limit, share in (("0.005", 0.5), ("0.05", 0.9), ("0.1", 1.0)):
        yield "serve_request_duration_seconds_bucket", {**asked, "le": limit}, quick * share
    yield "serve_request_duration_seconds_bucket", {**asked, "le": "+Inf"}, requests
    yield "serve_request_duration_seconds_count", asked, requests
    for label, share in day.get("labels", {}).items():
        yield "serve_predicted_labels_total", {**where, "label": label}, requests * share
    if middle := day.get("middle"):
        # The bins of two trainings are never the same.
        for edge in (one + day.get("edge", 0) for one in range(10, 100, 10)):
            share = min(1.0, max(0.0, (edge - middle + 40) / 80))
            yield "serve_prediction_bucket", {**where, "le": str(edge)}, requests * share
        yield "serve_prediction_bucket", {**where, "le": "+Inf"}, requests
    yield "serve_ready", where, 1


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that has seen all the days, each in a namespace of its own."""
    if missing := [name for name in ("prometheus", "promtool") if shutil.which(name) is None]:
        pytest.skip(f"{' and '.join(missing)} not installed (Debian: apt-get install prometheus)")
    folder = tmp_path_factory.mktemp("prometheus")
    known: dict[str, list[str]] = {}
    for number, (old, new, _) in enumerate(DAYS.values()):
        for digest, day in (("5d9f7c6b48", old), ("7c8b9d6f54", new)):
            for name, labels, end in scraped(f"day-{number}", digest, day) if day else ():
                text = ",".join(f'{key}="{value}"' for key, value in labels.items())
                for step in range(81):
                    value = end if name == "serve_ready" else end * step / 80
                    known.setdefault(name, []).append(f"{name}{{{text}}} {value} {NOW - 1200 + step * 15}")
    lines = [line for name, rows in known.items() for line in (f"# TYPE {name.removesuffix('_total')} unknown", *rows)]
    (folder / "days.om").write_text("\n".join([*lines, "# EOF", ""]).replace(" unknown", " gauge"))
    (folder / "prometheus.yml").write_text("")
    made = command("promtool", "tsdb", "create-blocks-from", "openmetrics", "days.om", "data", cwd=folder)
    assert made.returncode == 0, made.stdout + made.stderr
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    words = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=error"]
    words += [f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.retention.time=50y"]
    with (folder / "log").open("w") as log, subprocess.Popen(words, cwd=folder, stdout=log, stderr=log) as process:
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(300):
                try:
                    urllib.request.urlopen(f"{address}/-/ready", timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield address
        finally:
            process.terminate()


def asked(address: str, query: str) -> list[float]:
    """The numbers that Argo Rollouts would get."""
    words = urllib.parse.urlencode({"query": query, "time": NOW})
    with urllib.request.urlopen(f"{address}/api/v1/query?{words}", timeout=30) as answer:
        found = json.load(answer)
    assert found["status"] == "success"
    return [float(one["value"][1]) for one in found["data"]["result"]]


def holds(condition: str, result: list[float]) -> bool:
    """A condition of Argo Rollouts: the part of its language that these use is Python's, but for `&&`."""
    return bool(
        eval(condition.replace("&&", "and"), {"__builtins__": {}}, {"result": result, "len": len, "false": False})
    )


def said(metric: Manifest, values: dict[str, str], address: str) -> str:
    """What a metric comes to at one look, as Argo Rollouts decides it: failure first, then success."""
    text = json.loads(re.sub(r"\{\{args\.(\w+)\}\}", lambda found: values[found[1]], json.dumps(metric)))
    result = asked(address, text["provider"]["prometheus"]["query"])
    if holds(text["failureCondition"], result):
        return "back"
    return "promote" if holds(text["successCondition"], result) else "hold"


def arguments(template: Manifest, number: int) -> dict[str, str]:
    """As the Rollout gives them: which pods are which."""
    given = {one["name"]: one.get("value", "") for one in template["spec"]["args"]}
    return given | {"namespace": f"day-{number}", "latest": "7c8b9d6f54", "stable": "5d9f7c6b48"}


def template(deployed: dict[str, list[Manifest]], case: str, name: str) -> Manifest:
    known = [one for one in deployed[case] if one["kind"] == "AnalysisTemplate"]
    return next(one for one in known if one["metadata"]["name"].endswith(f"-{name}"))


@pytest.mark.parametrize("day", DAYS)
def test_the_judge_says_what_the_day_shows(prometheus: str, deployed: dict[str, list[Manifest]], day: str) -> None:
    """Where nothing is expected of a metric it must hold, or promote where the day has a sample."""
    judge = template(deployed, "production canary", "judge")
    *_, expected = DAYS[day]
    values = arguments(judge, list(DAYS).index(day))
    found = {one["name"]: said(one, values, prometheus) for one in judge["spec"]["metrics"]}
    assert found.keys() == {"errors", "refusals", "slow", "shift"}
    assert found.items() >= expected.items()
    if not expected:
        assert set(found.values()) == {"hold"}


def test_before_the_switch_the_new_pods_must_be_seen(prometheus: str, deployed: dict[str, list[Manifest]]) -> None:
    seen = template(deployed, "production blue-green", "seen")
    days = list(DAYS)
    (metric,) = seen["spec"]["metrics"]
    assert said(metric, arguments(seen, days.index("as good")), prometheus) == "promote"
    assert said(metric, arguments(seen, days.index("no new one seen")), prometheus) == "hold"


def test_a_limit_of_1_switches_a_comparison_off(prometheus: str, deployed: dict[str, list[Manifest]]) -> None:
    judge = template(deployed, "production canary", "judge")
    values = arguments(judge, list(DAYS).index("other classes")) | {"shift": "1"}
    (metric,) = [one for one in judge["spec"]["metrics"] if one["name"] == "shift"]
    assert said(metric, values, prometheus) == "promote"


@pytest.mark.parametrize("result", [[], [float("nan")], [float("nan")] * 2, [0.0], [0.0, float("nan")], [0.0] * 3])
def test_what_is_no_answer_never_promotes_and_never_ends_it(
    deployed: dict[str, list[Manifest]], result: list[float]
) -> None:
    """No data, NaN where something was divided by zero, another number of answers: unknown, whatever the metric."""
    for name in ("judge", "seen"):
        for one in template(deployed, "production blue-green", name)["spec"]["metrics"]:
            if name == "seen" and result == [0.0]:
                continue
            conditions = [
                re.sub(r"\{\{args\.\w+\}\}", "0.1", one[key]) for key in ("successCondition", "failureCondition")
            ]
            assert [holds(condition, result) for condition in conditions] == [False, False]
