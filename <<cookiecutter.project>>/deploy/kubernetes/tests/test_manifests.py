"""What is deployed keeps the rules, in every environment and by every strategy; every rule refuses what breaks it."""

import copy
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy.kubernetes.tests import manifest_rules as rules
from deploy.kubernetes.tests.manifest_rules import ACCESS_RULES, RULES, Manifest

from mlops.deploying import environments
from mlops.deploying.host import Author
from mlops.deploying.namespace import Namespace
from mlops.deploying.release import STRATEGIES, Release

ROOT = Path(__file__).resolve().parents[3]
OVERLAYS = ROOT / "deploy" / "kubernetes" / "overlays"
ENVIRONMENTS = sorted(path.name for path in OVERLAYS.iterdir())
RELEASE = Release(
    model="blood_pressure", version="3f2a9c01d47b", image=f"registry.example/acme/x@sha256:{'a' * 64}", commit="b" * 40
)

needs_kubectl = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl, which has kustomize, is not installed"
)


def built(environment: str, strategy: str) -> list[Manifest]:
    """All objects as `mlops deploy` would apply them."""
    page = environments.load(ROOT, environment, variables={})
    return Namespace(page, root=ROOT, author=Author(name="test")).objects(RELEASE, strategy)


def access(environment: str) -> list[Manifest]:
    """What an administrator applies once."""
    command = ["kubectl", "kustomize", str(OVERLAYS / environment / "access")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


def broken(objects: list[Manifest]) -> list[str]:
    return [f"{rule.__name__}: {one}" for rule in RULES for one in rule(objects)]


def test_there_are_environments() -> None:
    assert set(ENVIRONMENTS) == set(environments.names(ROOT)) - {"local"}


@needs_kubectl
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_is_deployed_keeps_every_rule(environment: str, strategy: str) -> None:
    assert broken(built(environment, strategy)) == []


@needs_kubectl
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_an_administrator_applies_keeps_every_rule(environment: str) -> None:
    objects = access(environment)
    assert [found for rule in ACCESS_RULES for found in rule(objects)] == []
    namespace = rules.of(objects, "Namespace")[0]["metadata"]["name"]
    assert {one["metadata"]["namespace"] for one in objects if one["kind"] != "Namespace"} == {namespace}
    assert {one["metadata"]["namespace"] for one in built(environment, "rolling")} == {namespace}


@needs_kubectl
def test_the_deployer_may_do_what_it_does() -> None:
    """Every kind that is applied can be read, made and changed; what another strategy leaves can be taken away."""
    role = rules.of(access(ENVIRONMENTS[0]), "Role")[0]
    may = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    for strategy in STRATEGIES:
        for one in built(ENVIRONMENTS[0], strategy):
            group = one["apiVersion"].partition("/")[0] if "/" in one["apiVersion"] else ""
            kind = one["kind"].lower()
            plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
            assert {(group, plural, verb) for verb in ("get", "create", "patch")} <= may, one["kind"]
    for group, plural in (("apps", "deployments"), ("argoproj.io", "rollouts")):
        assert (group, plural, "delete") in may


@needs_kubectl
def test_the_options_keep_every_rule(tmp_path: Path) -> None:
    """As a team would switch them on: one line in `common`."""
    root = tmp_path / "project"
    shutil.copytree(ROOT / "deploy", root / "deploy")
    environment = ENVIRONMENTS[0]
    common = root / "deploy/kubernetes/overlays" / environment / "common/kustomization.yaml"
    lines = "components:\n  - ../../../options/pod-monitor\n  - ../../../options/keep-log\n"
    common.write_text(common.read_text(encoding="utf-8") + lines, encoding="utf-8")
    page = environments.load(root, environment, variables={})
    target = Namespace(page, root=root, author=Author(name="test"))
    for strategy in STRATEGIES:
        objects = target.objects(RELEASE, strategy)
        assert broken(objects) == []
        monitor, load = rules.of(objects, "PodMonitor")[0], rules.workloads(objects)[0]
        assert rules.selects(monitor["spec"]["selector"]["matchLabels"], load)
        claim = rules.of(objects, "PersistentVolumeClaim")[0]["metadata"]["name"]
        pod = load["spec"]["template"]["spec"]
        assert pod["volumes"] == [{"name": "log", "persistentVolumeClaim": {"claimName": claim}}]
        assert pod["containers"][0]["volumeMounts"][0]["subPathExpr"] == "$(POD_NAME)"


@needs_kubectl
def test_the_page_s_way_to_a_token_works(tmp_path: Path) -> None:
    """The patch in docs/how-to/deploy-to-kubernetes.md, as it stands there."""
    page = (ROOT / "docs" / "how-to" / "deploy-to-kubernetes.md").read_text(encoding="utf-8")
    (patch,) = [one for one in re.findall(r"(?s)```yaml\n(.*?)```", page) if "SERVE_TOKEN" in one]
    root = tmp_path / "project"
    shutil.copytree(ROOT / "deploy", root / "deploy")
    common = root / "deploy/kubernetes/overlays" / ENVIRONMENTS[0] / "common/kustomization.yaml"
    indented = "".join(f"  {line}\n" for line in patch.splitlines())
    common.write_text(common.read_text(encoding="utf-8") + indented, encoding="utf-8")
    target = Namespace(environments.load(root, ENVIRONMENTS[0], variables={}), root=root, author=Author(name="test"))
    for strategy in STRATEGIES:
        objects = target.objects(RELEASE, strategy)
        assert broken(objects) == []
        (token,) = [one for one in container(objects)["env"] if one["name"] == "SERVE_TOKEN"]
        assert token["valueFrom"] == {"secretKeyRef": {"name": "token", "key": "token"}}


# Every rule has its breaker


@pytest.fixture(scope="module")
def good() -> dict[str, list[Manifest]]:
    """The objects of each strategy in the first environment."""
    return {strategy: built(ENVIRONMENTS[0], strategy) for strategy in STRATEGIES}


def load(objects: list[Manifest]) -> Any:
    return rules.workloads(objects)[0]["spec"]


def pod(objects: list[Manifest]) -> Any:
    return load(objects)["template"]["spec"]


def container(objects: list[Manifest]) -> Any:
    return pod(objects)["containers"][0]


def first(objects: list[Manifest], kind: str) -> Any:
    return rules.of(objects, kind)[0]["spec"]


def without(objects: list[Manifest], kind: str) -> None:
    objects[:] = [one for one in objects if one["kind"] != kind]


def metric(objects: list[Manifest]) -> Any:
    found = [one for one in rules.of(objects, "AnalysisTemplate") if one["metadata"]["name"].endswith("judge")]
    return found[0]["spec"]["metrics"][0]


Edit = Callable[[list[Manifest]], Any]
BREAKERS: list[tuple[Callable[..., list[str]], str, Edit]] = [
    (rules.images_are_named_by_their_digest, "rolling", lambda o: container(o).update(image="acme/tumour:latest")),
    (rules.images_are_named_by_their_digest, "rolling", lambda o: container(o).update(image="acme/tumour")),
    (
        rules.images_are_named_by_their_digest,
        "canary",
        lambda o: pod(o).update(initContainers=[{**container(o), "image": "acme/init:1"}]),
    ),
    (rules.pods_are_confined, "rolling", lambda o: container(o)["securityContext"].update(privileged=True)),
    (rules.pods_are_confined, "rolling", lambda o: container(o)["securityContext"].pop("readOnlyRootFilesystem")),
    (
        rules.pods_are_confined,
        "canary",
        lambda o: container(o)["securityContext"]["capabilities"].update(add=["NET_RAW"]),
    ),
    (rules.pods_are_confined, "rolling", lambda o: pod(o)["securityContext"].update(runAsUser=0)),
    (rules.pods_are_confined, "rolling", lambda o: pod(o)["securityContext"].pop("seccompProfile")),
    (rules.pods_are_confined, "rolling", lambda o: pod(o).update(hostNetwork=True)),
    (rules.pods_are_confined, "rolling", lambda o: pod(o)["volumes"].append({"name": "x", "hostPath": {"path": "/"}})),
    (rules.pods_have_no_token, "rolling", lambda o: pod(o).pop("automountServiceAccountToken")),
    (rules.pods_have_no_token, "rolling", lambda o: pod(o).pop("serviceAccountName")),
    (rules.pods_have_no_token, "rolling", lambda o: pod(o).update(enableServiceLinks=True)),
    (
        rules.pods_have_no_token,
        "rolling",
        lambda o: rules.of(o, "ServiceAccount")[0].update(automountServiceAccountToken=True),
    ),
    (rules.resources_are_bounded, "rolling", lambda o: container(o)["resources"].pop("limits")),
    (rules.resources_are_bounded, "blue-green", lambda o: container(o)["resources"]["requests"].pop("memory")),
    (rules.resources_are_bounded, "rolling", lambda o: pod(o)["volumes"][0]["emptyDir"].pop("sizeLimit")),
    (rules.probes_ask_the_right_question, "rolling", lambda o: container(o).pop("readinessProbe")),
    (rules.probes_ask_the_right_question, "rolling", lambda o: container(o).pop("startupProbe")),
    (
        rules.probes_ask_the_right_question,
        "rolling",
        lambda o: container(o)["livenessProbe"]["httpGet"].update(path="/v2/health/ready"),
    ),
    (rules.pods_leave_without_losing_a_request, "rolling", lambda o: container(o).pop("lifecycle")),
    (rules.pods_leave_without_losing_a_request, "rolling", lambda o: pod(o).update(terminationGracePeriodSeconds=20)),
    (
        rules.a_rollout_takes_no_pod_away_first,
        "rolling",
        lambda o: load(o)["strategy"]["rollingUpdate"].update(maxUnavailable=1),
    ),
    (rules.a_rollout_takes_no_pod_away_first, "canary", lambda o: load(o)["strategy"]["canary"].pop("maxUnavailable")),
    (rules.pods_are_spread, "rolling", lambda o: pod(o)["topologySpreadConstraints"].pop()),
    (
        rules.pods_are_spread,
        "canary",
        lambda o: pod(o)["topologySpreadConstraints"][0]["labelSelector"].update(matchLabels={"app": "other"}),
    ),
    (rules.nobody_reaches_the_pods_but_who_is_named, "rolling", lambda o: without(o, "NetworkPolicy")),
    (rules.nobody_reaches_the_pods_but_who_is_named, "rolling", lambda o: first(o, "NetworkPolicy").pop("policyTypes")),
    (
        rules.nobody_reaches_the_pods_but_who_is_named,
        "rolling",
        lambda o: first(o, "NetworkPolicy")["ingress"].append({"from": [{"namespaceSelector": {}}]}),
    ),
    (
        rules.nobody_reaches_the_pods_but_who_is_named,
        "rolling",
        lambda o: first(o, "NetworkPolicy")["ingress"].append({}),
    ),
    (
        rules.nobody_reaches_the_pods_but_who_is_named,
        "rolling",
        lambda o: first(o, "NetworkPolicy").update(egress=[{}]),
    ),
    (rules.a_node_can_be_emptied_and_not_all_at_once, "rolling", lambda o: without(o, "PodDisruptionBudget")),
    (
        rules.a_node_can_be_emptied_and_not_all_at_once,
        "rolling",
        lambda o: first(o, "PodDisruptionBudget").update(minAvailable=9, maxUnavailable=None),
    ),
    (
        rules.a_node_can_be_emptied_and_not_all_at_once,
        "rolling",
        lambda o: first(o, "PodDisruptionBudget").update(maxUnavailable="100%"),
    ),
    (rules.the_autoscaler_has_the_number_of_pods, "rolling", lambda o: without(o, "HorizontalPodAutoscaler")),
    (rules.the_autoscaler_has_the_number_of_pods, "rolling", lambda o: load(o).update(replicas=3)),
    (
        rules.the_autoscaler_has_the_number_of_pods,
        "canary",
        lambda o: first(o, "HorizontalPodAutoscaler")["scaleTargetRef"].update(kind="Deployment"),
    ),
    (rules.services_are_inside_and_take_the_pods, "rolling", lambda o: without(o, "Service")),
    (rules.services_are_inside_and_take_the_pods, "rolling", lambda o: first(o, "Service").update(type="LoadBalancer")),
    (
        rules.services_are_inside_and_take_the_pods,
        "blue-green",
        lambda o: first(o, "Service")["selector"].pop("app.kubernetes.io/name"),
    ),
    (
        rules.services_are_inside_and_take_the_pods,
        "canary",
        lambda o: load(o)["selector"]["matchLabels"].pop("app.kubernetes.io/name"),
    ),
    (rules.everything_is_in_one_namespace, "rolling", lambda o: o[0]["metadata"].update(namespace="default")),
    (
        rules.what_a_rollout_names_exists,
        "blue-green",
        lambda o: load(o)["strategy"]["blueGreen"].update(previewService="preview"),
    ),
    (
        rules.what_a_rollout_names_exists,
        "canary",
        lambda o: rules.analyses(rules.workloads(o)[0])[0]["templates"][0].update(templateName="judge"),
    ),
    (rules.no_version_is_promoted_without_the_judge, "canary", lambda o: load(o)["strategy"]["canary"]["steps"].pop()),
    (
        rules.no_version_is_promoted_without_the_judge,
        "canary",
        lambda o: load(o)["strategy"]["canary"]["steps"].insert(1, {"pause": {"duration": "1m"}}),
    ),
    (rules.no_version_is_promoted_without_the_judge, "canary", lambda o: load(o)["strategy"]["canary"].pop("steps")),
    (
        rules.no_version_is_promoted_without_the_judge,
        "blue-green",
        lambda o: load(o)["strategy"]["blueGreen"].pop("postPromotionAnalysis"),
    ),
    (
        rules.the_judge_never_takes_nothing_for_good,
        "canary",
        lambda o: metric(o).update(successCondition="isNaN(result[0]) || result[0] <= 1"),
    ),
    (rules.the_judge_never_takes_nothing_for_good, "canary", lambda o: metric(o).pop("failureCondition")),
    (rules.the_judge_never_takes_nothing_for_good, "canary", lambda o: metric(o).pop("consecutiveSuccessLimit")),
    (rules.the_judge_never_takes_nothing_for_good, "canary", lambda o: metric(o).update(inconclusiveLimit=3)),
    (
        rules.the_judge_never_takes_nothing_for_good,
        "canary",
        lambda o: metric(o)["provider"]["prometheus"].update(
            query=metric(o)["provider"]["prometheus"]["query"].replace(">= {{args.requests}}", ">= 0")
        ),
    ),
    (
        rules.the_judge_never_takes_nothing_for_good,
        "canary",
        lambda o: metric(o)["provider"]["prometheus"].update(query="serve_errors_total"),
    ),
    (rules.the_log_has_a_place, "rolling", lambda o: container(o).pop("volumeMounts")),
    (rules.the_log_has_a_place, "rolling", lambda o: pod(o).pop("volumes")),
]


@needs_kubectl
@pytest.mark.parametrize(
    ("rule", "strategy", "edit"), BREAKERS, ids=[f"{rule.__name__}-{n}" for n, (rule, _, _) in enumerate(BREAKERS)]
)
def test_a_rule_refuses_what_breaks_it(
    good: dict[str, list[Manifest]], rule: Callable[..., list[str]], strategy: str, edit: Edit
) -> None:
    objects = copy.deepcopy(good[strategy])
    assert rule(objects) == []
    edit(objects)
    assert rule(objects) != []


def test_every_rule_has_a_breaker() -> None:
    assert {rule for rule, _, _ in BREAKERS} == set(RULES)


ACCESS_BREAKERS: list[tuple[Callable[..., list[str]], Edit]] = [
    (
        rules.the_namespace_refuses_what_is_not_confined,
        lambda o: rules.of(o, "Namespace")[0]["metadata"]["labels"].clear(),
    ),
    (rules.the_namespace_denies_by_default, lambda o: first(o, "NetworkPolicy").update(egress=[{}])),
    (rules.the_namespace_denies_by_default, lambda o: first(o, "NetworkPolicy").update(policyTypes=["Ingress"])),
    (rules.the_deployer_may_do_little, lambda o: rules.of(o, "Role")[0]["rules"][0]["verbs"].append("*")),
    (rules.the_deployer_may_do_little, lambda o: rules.of(o, "Role")[0]["rules"][0]["resources"].append("secrets")),
    (rules.the_deployer_may_do_little, lambda o: rules.of(o, "RoleBinding")[0].update(kind="ClusterRoleBinding")),
]


@needs_kubectl
@pytest.mark.parametrize(
    ("rule", "edit"), ACCESS_BREAKERS, ids=[f"{rule.__name__}-{n}" for n, (rule, _) in enumerate(ACCESS_BREAKERS)]
)
def test_a_rule_of_access_refuses_what_breaks_it(rule: Callable[..., list[str]], edit: Edit) -> None:
    objects = access(ENVIRONMENTS[0])
    assert rule(objects) == []
    edit(objects)
    assert rule(objects) != []


def test_every_rule_of_access_has_a_breaker() -> None:
    assert {rule for rule, _ in ACCESS_BREAKERS} == set(ACCESS_RULES)
