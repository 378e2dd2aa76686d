"""Which objects are applied for a release, and what does their status say? Pure: manifests in, manifests out.

`deploy/kubernetes` says how models run in an environment; what is fitted here is what a release and the environment's
page decide: the version, the number of pods, the steps of a canary, the limits of its judge.
"""

import copy
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mlops.deploying.environments import Environment, Judge
from mlops.deploying.release import Release
from mlops.errors import Refusal

Manifest = dict[str, Any]

KINDS = {"Deployment": "deployments.apps", "Rollout": "rollouts.argoproj.io"}
"""What can be a workload, and how kubectl calls it."""
HASH = "rollouts-pod-template-hash"
"""What Argo Rollouts adds to the selector of a Service, to point it at one version."""
EDGES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The limits of the service's histogram of times, in seconds."""
SCRAPE = 15
"""Seconds between two looks of the judge, at least: Prometheus has nothing newer."""


def fitted(objects: Sequence[Manifest], release: Release, environment: Environment) -> list[Manifest]:
    """The manifests of an overlay for one release, with what the environment's page says about replicas and the judge.

    Raises `Refusal` where a manifest does not run this image, or belongs elsewhere.
    """
    done = copy.deepcopy(list(objects))
    where = f"deploy/kubernetes for {environment.name}"
    loads = [one for one in done if one["kind"] in KINDS]
    if len(loads) != 1:
        raise Refusal(f"{where} has {len(loads)} workloads.", do="It needs one: a Deployment or a Rollout.")
    template = loads[0]["spec"]["template"]
    container = next((one for one in template["spec"]["containers"] if one["image"] == release.image), None)
    if container is None:
        raise Refusal(
            f"{where}: no container runs the image of {release.model} {release.version}.",
            do="The container of the service needs `image: model`; `mlops deploy` puts the digest in its place.",
        )
    settings = [one for one in container.get("env", []) if one["name"] != "SERVE_VERSION"]
    container["env"] = [*settings, {"name": "SERVE_VERSION", "value": release.version}]
    about = template.setdefault("metadata", {})
    about.setdefault("labels", {})["app.kubernetes.io/version"] = release.version
    about.setdefault("annotations", {})["mlops/commit"] = release.commit
    for one in done:
        if one["kind"] == "HorizontalPodAutoscaler":
            one["spec"]["minReplicas"] = environment.replicas
            if one["spec"]["maxReplicas"] < environment.replicas:
                raise Refusal(
                    f"{where}: the autoscaler has at most {one['spec']['maxReplicas']} pods, and the environment's "
                    f"page asks for {environment.replicas}.",
                    do="Raise maxReplicas in the overlay, or lower `replicas` of the page.",
                )
        if one["kind"] == "AnalysisTemplate":
            values = judged(environment)
            for argument in one["spec"].get("args", []):
                if argument["name"] in values:
                    argument["value"] = values[argument["name"]]
    canary = loads[0]["spec"].get("strategy", {}).get("canary")
    if canary is not None:
        canary["steps"] = _steps(canary.get("steps", []), environment.canary.weights, where)
    return done


def _steps(steps: Sequence[Manifest], weights: Sequence[int], where: str) -> list[Manifest]:
    """For each weight: give it, then ask the judge that the manifest's first analysis names."""
    analysis = next((one for one in steps if "analysis" in one), None)
    if analysis is None:
        raise Refusal(f"{where}: the canary has no analysis.", do="Nobody would judge it: add the step back.")
    return [one for weight in weights for one in ({"setWeight": weight}, copy.deepcopy(analysis))]


def judged(environment: Environment) -> dict[str, str]:
    """The page's `[judge]`, as arguments of the AnalysisTemplate."""
    judge = environment.judge
    interval = _interval(judge)
    steps = len(environment.canary.weights)
    fast = [re.sub(r"[.]0$", "([.]0)?", str(edge)) for edge in EDGES if edge * 1000 < judge.fast_ms]
    return {
        "requests": str(judge.requests),
        "interval": f"{interval}s",
        "looks": str(_looks(judge)),
        "window": f"{judge.minutes * (steps + 1) + 60}m",
        "errors": f"{judge.errors:g}",
        "refusals": f"{judge.refusals:g}",
        "slow": f"{judge.slow:g}",
        "fast": "|".join(re.sub(r"(?<=\d)[.](?=\d)", "[.]", edge) for edge in fast) or "none",
        "shift": f"{judge.shift:g}",
    }


def _interval(judge: Judge) -> int:
    return max(judge.seconds, SCRAPE)


def _looks(judge: Judge) -> int:
    return max(2, math.ceil(judge.minutes * 60 / _interval(judge)))


def minutes(environment: Environment, strategy: str) -> float:
    """How long the judge may take in all."""
    judge = environment.judge
    steps = {"rolling": 0, "blue-green": 1, "canary": len(environment.canary.weights)}[strategy]
    return steps * _looks(judge) * _interval(judge) * 1.2 / 60


def unjudged(workload: Manifest) -> Manifest:
    """A workload that changes its pods at once: for a version that served before, and was judged then."""
    done = copy.deepcopy(workload)
    spec = done["spec"]
    spec["minReadySeconds"] = 0
    strategy = spec.get("strategy", {})
    if "canary" in strategy:
        strategy["canary"].pop("steps", None)
        strategy["canary"] |= {"maxSurge": "100%", "maxUnavailable": 0}
    elif "blueGreen" in strategy:
        for key in ("prePromotionAnalysis", "postPromotionAnalysis"):
            strategy["blueGreen"].pop(key, None)
        strategy["blueGreen"]["autoPromotionEnabled"] = True
    else:
        spec["strategy"] = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0}}
    return done


def with_template(objects: Sequence[Manifest], template: Manifest) -> list[Manifest]:
    """The same objects, with other pods, which come without being judged."""
    done = []
    for one in objects:
        if one["kind"] in KINDS:
            one = unjudged(one)
            one["spec"]["template"] = copy.deepcopy(template)
        done.append(one)
    return done


@dataclass(frozen=True)
class Progress:
    """How far a workload is: `done`, `failed`, or `going`; and why, in the controller's words."""

    is_: Literal["going", "done", "failed"]
    why: str = ""


def progress(workload: Manifest | None) -> Progress:
    """What the status of a Deployment or a Rollout says about its newest pods."""
    if workload is None:
        return Progress("failed", "it is gone")
    status = workload.get("status", {})
    if str(status.get("observedGeneration", "")) != str(workload["metadata"].get("generation", "")):
        return Progress("going", "the controller has not seen it yet")
    return _of_rollout(status) if workload["kind"] == "Rollout" else _of_deployment(workload["spec"], status)


def _of_deployment(spec: Manifest, status: Manifest) -> Progress:
    for one in status.get("conditions", []):
        if one.get("type") == "Progressing" and one.get("reason") == "ProgressDeadlineExceeded":
            return Progress("failed", one.get("message") or "its pods did not become ready in time")
    wanted = spec.get("replicas", 1)
    counts = [status.get(key, 0) for key in ("updatedReplicas", "availableReplicas", "replicas")]
    if counts == [wanted] * 3:
        return Progress("done")
    return Progress("going", f"{counts[0]} of {wanted} pods are new, {counts[1]} can answer")


def _of_rollout(status: Manifest) -> Progress:
    phase, message = status.get("phase", ""), status.get("message", "")
    if phase == "Healthy":
        return Progress("done")
    if phase == "Degraded":
        return Progress("failed", message or "Argo Rollouts ended it")
    if any(one.get("reason") == "InconclusiveAnalysisRun" for one in status.get("pauseConditions") or []):
        return Progress("failed", "the judge had too little to go by until its time was over")
    return Progress("going", message or "it begins")


def workload(objects: Sequence[Manifest]) -> Manifest:
    """The Deployment or Rollout among some objects."""
    return next(one for one in objects if one["kind"] in KINDS)


def name(model: str) -> str:
    """A model's name as Kubernetes takes it."""
    return model.replace("_", "-")


def share(workload: Manifest) -> float:
    """The percentage of the requests that its newest pods get, by what its status says."""
    status = workload.get("status", {})
    green = status.get("blueGreen") or {}
    if "blueGreen" in workload["spec"].get("strategy", {}) and green.get("activeSelector"):
        return 100.0 if green["activeSelector"] == status.get("currentPodHash") else 0.0
    total = status.get("replicas", 0)
    return 100.0 * status.get("updatedReplicas", 0) / total if total else 0.0
