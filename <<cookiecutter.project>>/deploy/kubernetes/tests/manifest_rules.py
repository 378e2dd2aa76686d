"""What must hold for the manifests, as small rules: each takes all objects of a model and says what breaks it.

`test_manifests.py` asks them of every overlay and strategy as they are deployed, and shows each of them a breaker.
"""

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

Manifest = dict[str, Any]
Rule = Callable[[list[Manifest]], list[str]]

USER = 65532
POD = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""What a pod's security context must be."""
CONTAINER = {
    "allowPrivilegeEscalation": False,
    "privileged": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
"""What a container's must be. The image is run with the same in the tests of the image."""
SPARE = 5
"""Seconds that a pod has left to end when all requests are answered."""
METRICS = (
    "serve_requests_total",
    "serve_request_duration_seconds_bucket",
    "serve_request_duration_seconds_count",
    "serve_predicted_labels_total",
    "serve_prediction_bucket",
    "serve_ready",
)
"""What the judge may ask for, because the service counts it."""

_DIGEST = re.compile(r"[^@]+@sha256:[0-9a-f]{64}")


def of(objects: list[Manifest], *kinds: str) -> list[Manifest]:
    """The objects of these kinds."""
    return [one for one in objects if one["kind"] in kinds]


def workloads(objects: list[Manifest]) -> list[Manifest]:
    """What runs pods."""
    return [one for one in objects if "template" in one.get("spec", {})]


def pods(objects: list[Manifest]) -> Iterator[tuple[Manifest, Manifest, Manifest]]:
    """Each workload, its pods' specification, and each of its containers."""
    for load in workloads(objects):
        pod = load["spec"]["template"]["spec"]
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            yield load, pod, container


def labels(load: Manifest) -> dict[str, str]:
    """The labels of a workload's pods."""
    return dict(load["spec"]["template"]["metadata"]["labels"])


def selects(selector: dict[str, str], load: Manifest) -> bool:
    """Whether a selector takes the pods of a workload, and not those of every model."""
    return "app.kubernetes.io/name" in selector and selector.items() <= labels(load).items()


def images_are_named_by_their_digest(objects: list[Manifest]) -> list[str]:
    """A tag, `latest` above all, can be another image tomorrow."""
    return [f"{one['image']} has no digest" for _, _, one in pods(objects) if not _DIGEST.fullmatch(one["image"])]


def pods_are_confined(objects: list[Manifest]) -> list[str]:
    """No root, no capability, nothing to write to, nothing of the node."""
    found = []
    for _, pod, container in pods(objects):
        if pod.get("securityContext") != POD:
            found.append(f"the pod's security context is not {POD}")
        if container.get("securityContext") != CONTAINER:
            found.append(f"the security context of {container['name']} is not {CONTAINER}")
        found += [f"the pod has {key}" for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key)]
        found += [
            f"{container['name']} has a port of the node" for one in container.get("ports", []) if "hostPort" in one
        ]
        found += [f"the volume {one['name']} is of the node" for one in pod.get("volumes", []) if "hostPath" in one]
    return found


def pods_have_no_token(objects: list[Manifest]) -> list[str]:
    """The service asks the cluster for nothing; whoever breaks into it could."""
    accounts = of(objects, "ServiceAccount")
    found = [
        f"{one['metadata']['name']} has a token" for one in accounts if one.get("automountServiceAccountToken", True)
    ]
    for _, pod, _ in pods(objects):
        if pod.get("automountServiceAccountToken", True):
            found.append("the pod has a token")
        if pod.get("serviceAccountName") not in [one["metadata"]["name"] for one in accounts]:
            found.append("the pod has no account of its own")
        if pod.get("enableServiceLinks", True):
            found.append("the pod gets variables that name other Services")
    return found


def resources_are_bounded(objects: list[Manifest]) -> list[str]:
    """One model must not take a node from the others."""
    found = []
    for _, pod, container in pods(objects):
        for kind in ("requests", "limits"):
            missing = {"cpu", "memory"} - container.get("resources", {}).get(kind, {}).keys()
            found += [f"{container['name']} has no {kind} of {one}" for one in sorted(missing)]
        for volume in pod.get("volumes", []):
            if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
                found.append(f"the volume {volume['name']} may fill the disk")
    return found


def probes_ask_the_right_question(objects: list[Manifest]) -> list[str]:
    """Liveness depends on nothing but the process; readiness asks the golden row."""
    paths = {
        "startupProbe": "/v2/health/live",
        "livenessProbe": "/v2/health/live",
        "readinessProbe": "/v2/health/ready",
    }
    found = []
    for _, _, container in pods(objects):
        for probe, path in paths.items():
            if container.get(probe, {}).get("httpGet", {}).get("path") != path:
                found.append(f"the {probe} of {container['name']} does not ask {path}")
    return found


def pods_leave_without_losing_a_request(objects: list[Manifest]) -> list[str]:
    """Wait until everybody has heard of it, drain, answer the longest request, then end."""
    found = []
    for _, pod, container in pods(objects):
        wait = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        values = {one["name"]: one.get("value", "") for one in container.get("env", [])}
        needed = wait + float(values.get("SERVE_DRAIN", 5)) + float(values.get("SERVE_TIMEOUT", 10)) + SPARE
        if wait <= 0:
            found.append(f"{container['name']} does not wait before it ends")
        if pod.get("terminationGracePeriodSeconds", 30) < needed:
            found.append(f"the pod is killed before the {needed:g} seconds that it may need")
    return found


def a_rollout_takes_no_pod_away_first(objects: list[Manifest]) -> list[str]:
    """A pod leaves only when its successor can answer."""
    found = []
    for load in workloads(objects):
        strategy = load["spec"].get("strategy", {})
        one = strategy.get("rollingUpdate") or strategy.get("canary") or strategy.get("blueGreen") or {}
        if one.get("maxUnavailable", 1) != 0:
            found.append(f"the strategy of {load['metadata']['name']} has no maxUnavailable: 0")
    return found


def pods_are_spread(objects: list[Manifest]) -> list[str]:
    """Over nodes and zones, so that one that goes does not take all."""
    found = []
    for load in workloads(objects):
        spread = load["spec"]["template"]["spec"].get("topologySpreadConstraints", [])
        keys = {one["topologyKey"] for one in spread if selects(one["labelSelector"]["matchLabels"], load)}
        missing = {"kubernetes.io/hostname", "topology.kubernetes.io/zone"} - keys
        found += [f"the pods are not spread over {one}" for one in sorted(missing)]
    return found


def nobody_reaches_the_pods_but_who_is_named(objects: list[Manifest]) -> list[str]:
    """Everything is denied; requests and scraping come from namespaces that are named, and the pods call nobody."""
    found = []
    for load in workloads(objects):
        known = [one["spec"] for one in of(objects, "NetworkPolicy")]
        mine = [one for one in known if selects(one["podSelector"].get("matchLabels", {}), load)]
        if not mine:
            found.append("no NetworkPolicy takes the pods")
        for one in mine:
            if set(one.get("policyTypes", [])) != {"Ingress", "Egress"}:
                found.append("the NetworkPolicy leaves a direction open")
            if one.get("egress"):
                found.append("the pods may call somebody")
            for rule in one.get("ingress", []):
                named = [
                    peer for peer in rule.get("from", []) if peer.get("namespaceSelector") or peer.get("podSelector")
                ]
                if not rule.get("ports") or not named or len(named) != len(rule["from"]):
                    found.append("the NetworkPolicy lets everybody in, or into every port")
    return found


def a_node_can_be_emptied_and_not_all_at_once(objects: list[Manifest]) -> list[str]:
    """A budget that allows no eviction blocks the upgrade of a node for ever."""
    found = []
    least = min((one["spec"]["minReplicas"] for one in of(objects, "HorizontalPodAutoscaler")), default=1)
    for load in workloads(objects):
        known = [one["spec"] for one in of(objects, "PodDisruptionBudget")]
        mine = [one for one in known if selects(one["selector"]["matchLabels"], load)]
        if not mine:
            found.append("no PodDisruptionBudget takes the pods")
        for one in mine:
            if "minAvailable" in one and not (isinstance(one["minAvailable"], int) and one["minAvailable"] < least):
                found.append(f"the PodDisruptionBudget allows nothing with {least} pods")
            if "minAvailable" not in one and one.get("maxUnavailable") != 1:
                found.append("the PodDisruptionBudget does not take one pod at a time")
    return found


def the_autoscaler_has_the_number_of_pods(objects: list[Manifest]) -> list[str]:
    """And nobody else: a number in the workload would be put back at every deployment."""
    found = []
    for load in workloads(objects):
        name = (load["apiVersion"], load["kind"], load["metadata"]["name"])
        scalers = [one["spec"] for one in of(objects, "HorizontalPodAutoscaler")]
        targets = [tuple(one["scaleTargetRef"].get(key) for key in ("apiVersion", "kind", "name")) for one in scalers]
        if name not in targets:
            found.append("no autoscaler takes the workload")
        if "replicas" in load["spec"]:
            found.append("the workload has a number of replicas")
        found += ["the autoscaler has no room" for one in scalers if one["minReplicas"] > one["maxReplicas"]]
    return found


def services_are_inside_and_take_the_pods(objects: list[Manifest]) -> list[str]:
    """The way from outside is the ingress that a cluster has, with its encryption and limits."""
    found = []
    for load in workloads(objects):
        if not selects(load["spec"]["selector"]["matchLabels"], load):
            found.append("the workload does not select its own pods")
        for one in of(objects, "Service"):
            if one["spec"].get("type", "ClusterIP") != "ClusterIP":
                found.append(f"the Service {one['metadata']['name']} can be reached from outside")
            if not selects(one["spec"]["selector"], load):
                found.append(f"the Service {one['metadata']['name']} does not take the pods")
    return found if of(objects, "Service") else ["there is no Service"]


def everything_is_in_one_namespace(objects: list[Manifest]) -> list[str]:
    """Each environment has its own."""
    known = {one["metadata"].get("namespace") for one in objects}
    return [] if len(known) == 1 and None not in known else [f"the objects are in {sorted(map(str, known))}"]


def what_a_rollout_names_exists(objects: list[Manifest]) -> list[str]:
    """kustomize knows no Rollout: a name that it forgot to prefix would be found by nobody."""
    services = {one["metadata"]["name"] for one in of(objects, "Service")}
    templates = {one["metadata"]["name"] for one in of(objects, "AnalysisTemplate")}
    found = []
    for load in of(objects, "Rollout"):
        green = load["spec"]["strategy"].get("blueGreen", {})
        named = [green[key] for key in ("activeService", "previewService") if key in green]
        found += [f"there is no Service {one}" for one in named if one not in services]
        for analysis in analyses(load):
            asked = [one["templateName"] for one in analysis["templates"]]
            found += [f"there is no AnalysisTemplate {one}" for one in asked if one not in templates]
    return found


def analyses(load: Manifest) -> list[Manifest]:
    """All that a Rollout asks a judge for."""
    strategy = load["spec"]["strategy"]
    steps = [one["analysis"] for one in strategy.get("canary", {}).get("steps", []) if "analysis" in one]
    green = strategy.get("blueGreen", {})
    return steps + [green[key] for key in ("prePromotionAnalysis", "postPromotionAnalysis") if key in green]


def no_version_is_promoted_without_the_judge(objects: list[Manifest]) -> list[str]:
    """After every share of a canary, and after the switch of blue and green."""
    found = []
    for load in of(objects, "Rollout"):
        strategy = load["spec"]["strategy"]
        if "canary" in strategy:
            steps = [next(iter(one)) for one in strategy["canary"].get("steps", [])]
            judged = [after == "analysis" for step, after in itertools.pairwise([*steps, ""]) if step == "setWeight"]
            if not judged or not all(judged):
                found.append("a share of the canary is not judged")
        elif not {"prePromotionAnalysis", "postPromotionAnalysis"} <= strategy["blueGreen"].keys():
            found.append("the switch is not judged")
    return found


def the_judge_never_takes_nothing_for_good(objects: list[Manifest]) -> list[str]:
    """No number, too few requests, or a judge that cannot ask: none of them promotes."""
    found = []
    for template in of(objects, "AnalysisTemplate"):
        spec = template["spec"]
        given = {one["name"]: str(one.get("value", "")) for one in spec.get("args", [])}
        for one in spec["metrics"]:
            name = f"{template['metadata']['name']}: {one['name']}"
            count, unknown = (_filled(one.get(key, 0), given) for key in ("count", "inconclusiveLimit"))
            if not one.get("successCondition", "").startswith("len(result) == "):
                found.append(f"{name} may succeed without a number")
            if not one.get("failureCondition"):
                found.append(f"{name} fails where it knows nothing")
            if int(one.get("consecutiveSuccessLimit", 0)) < 1 or not count or unknown != count:
                found.append(f"{name} succeeds when its looks are used up")
            query = one["provider"]["prometheus"]["query"]
            asked = set(re.findall(r"\bserve_\w+", query))
            found += [f"{name} asks for {metric}, which nobody counts" for metric in sorted(asked - set(METRICS))]
            if "{{args.stable}}" in query and not re.search(r">= \{\{args\.requests\}\}", query):
                found.append(f"{name} has no sample floor")
    return found


def _filled(text: Any, given: dict[str, str]) -> int:
    return int(re.sub(r"\{\{args\.(\w+)\}\}", lambda found: given[found[1]], str(text)))


def the_log_has_a_place(objects: list[Manifest]) -> list[str]:
    """The root file system cannot be written to."""
    found = []
    for _, pod, container in pods(objects):
        path = next((one.get("value", "") for one in container.get("env", []) if one["name"] == "SERVE_LOG"), "")
        places = [one["mountPath"] for one in container.get("volumeMounts", []) if not one.get("readOnly")]
        known = {one["name"] for one in pod.get("volumes", [])}
        if path and not any(path.startswith(f"{place}/") for place in places):
            found.append(f"nothing can be written to {path}")
        found += [
            f"there is no volume {one['name']}" for one in container.get("volumeMounts", []) if one["name"] not in known
        ]
    return found


RULES: tuple[Rule, ...] = (
    images_are_named_by_their_digest,
    pods_are_confined,
    pods_have_no_token,
    resources_are_bounded,
    probes_ask_the_right_question,
    pods_leave_without_losing_a_request,
    a_rollout_takes_no_pod_away_first,
    pods_are_spread,
    nobody_reaches_the_pods_but_who_is_named,
    a_node_can_be_emptied_and_not_all_at_once,
    the_autoscaler_has_the_number_of_pods,
    services_are_inside_and_take_the_pods,
    everything_is_in_one_namespace,
    what_a_rollout_names_exists,
    no_version_is_promoted_without_the_judge,
    the_judge_never_takes_nothing_for_good,
    the_log_has_a_place,
)


def the_namespace_refuses_what_is_not_confined(objects: list[Manifest]) -> list[str]:
    """Whatever somebody else applies there."""
    key = "pod-security.kubernetes.io/enforce"
    known = of(objects, "Namespace")
    return (
        [] if known and all(one["metadata"]["labels"].get(key) == "restricted" for one in known) else ["not restricted"]
    )


def the_namespace_denies_by_default(objects: list[Manifest]) -> list[str]:
    """For every pod, in both directions."""
    known = [one["spec"] for one in of(objects, "NetworkPolicy")]
    closed = [one for one in known if one["podSelector"] == {} and not one.get("ingress") and not one.get("egress")]
    has_both = any(set(one.get("policyTypes", [])) == {"Ingress", "Egress"} for one in closed)
    return [] if has_both else ["nothing is denied by default"]


def the_deployer_may_do_little(objects: list[Manifest]) -> list[str]:
    """In its namespace, no secret, no shell, no right that gives rights."""
    found = [f"a {one['kind']} is for the whole cluster" for one in of(objects, "ClusterRole", "ClusterRoleBinding")]
    for role in of(objects, "Role"):
        for rule in role["rules"]:
            words = {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
            bad = words & {"*", "secrets", "pods/exec", "pods/attach", "serviceaccounts/token", "roles", "rolebindings"}
            bad |= words & {"escalate", "bind", "impersonate", "deletecollection"}
            found += [f"the deployer may {one}" for one in sorted(bad)]
    return found if of(objects, "Role") else ["there is no Role"]


ACCESS_RULES: tuple[Rule, ...] = (
    the_namespace_refuses_what_is_not_confined,
    the_namespace_denies_by_default,
    the_deployer_may_do_little,
)
