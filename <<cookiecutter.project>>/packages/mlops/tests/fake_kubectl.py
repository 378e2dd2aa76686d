"""A double of `kubectl`, and of a cluster behind it: objects in one file, controllers that work while they are watched.

It refuses what the real one refuses, in its words: a kind that is not installed, a namespace that is not there, an
object that exists already, one that was changed since it was read. As a program it stands on PATH; `call` is the same
without a process. A controller sees a workload at the second look at it, and ends at the fourth: well, unless `bad`
says how an image fails.
"""

import contextlib
import copy
import fcntl
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KINDS = {
    "configmap": "ConfigMap",
    "deployments.apps": "Deployment",
    "horizontalpodautoscalers.autoscaling": "HorizontalPodAutoscaler",
    "lease": "Lease",
    "rollouts.argoproj.io": "Rollout",
    "service": "Service",
}
OF_ARGO = ("Rollout", "AnalysisTemplate")
HASH = "rollouts-pod-template-hash"


class Refused(Exception):
    """What goes to standard error."""


EMPTY = {"namespaces": [], "argo": True, "bad": {}, "objects": {}, "version": 0}


class Cluster:
    """The cluster in a file, or in this process."""

    def __init__(self, file: Path | None = None) -> None:
        self.file, self._value = file, copy.deepcopy(EMPTY)
        if file is not None and not file.exists():
            file.write_text(json.dumps(EMPTY))

    @contextlib.contextmanager
    def open(self) -> Iterator[dict[str, Any]]:
        """What is in the cluster, to read and to change, by one at a time."""
        if self.file is None:
            yield self._value
            return
        with self.file.open("r+") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            value = json.load(stream)
            yield value
            stream.seek(0)
            stream.truncate()
            json.dump(value, stream)

    def object(self, kind: str, name: str) -> dict[str, Any] | None:
        """One object as it is."""
        with self.open() as value:
            found: dict[str, Any] | None = copy.deepcopy(value["objects"].get(f"{kind}/{name}"))
            return found

    def call(self, words: list[str], given: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of a call; `words` without the program's name."""
        try:
            if words[0] == "kustomize":
                return 0, _kustomize(Path(words[1])), ""
            with self.open() as value:
                return 0, _Call(value, words, given).run(), ""
        except Refused as refused:
            return 1, "", f"{refused}\n"


class _Call:
    def __init__(self, value: dict[str, Any], words: list[str], given: str) -> None:
        self.value, self.given = value, given
        self.flags: dict[str, str] = {}
        self.words: list[str] = []
        rest = iter(words)
        for word in rest:
            if word in ("--context", "--namespace", "--output", "--filename", "--field-manager", "--selector"):
                self.flags[word] = next(rest)
            elif word.startswith("--"):
                name, _, text = word.partition("=")
                self.flags[name] = text or "true"
            else:
                self.words.append(word)
        self.namespace = self.flags["--namespace"]
        if self.flags.get("--context", "") not in ("", "cluster"):
            raise Refused(f'error: context "{self.flags["--context"]}" does not exist')
        if value.get("away", 0) > 0:
            value["away"] -= 1
            raise Refused("Unable to connect to the server: dial tcp 10.0.0.1:443: i/o timeout")

    @property
    def objects(self) -> dict[str, Any]:
        found: dict[str, Any] = self.value["objects"]
        return found

    def run(self) -> str:
        verb = self.words[0]
        run = {"get": self.get, "create": self.create, "replace": self.replace, "apply": self.apply}
        return {**run, "delete": self.delete}[verb]()

    def kind(self, text: str) -> str:
        kind = KINDS.get(text)
        if kind is None or (kind in OF_ARGO and not self.value["argo"]):
            raise Refused(f'error: the server doesn\'t have a resource type "{text}"')
        return kind

    def get(self) -> str:
        kind = self.kind(self.words[1])
        if len(self.words) == 2:
            wanted = dict(one.split("=") for one in self.flags["--selector"].split(","))
            items = [one for key, one in self.objects.items() if key.startswith(f"{kind}/")]
            has = [one for one in items if wanted.items() <= one["metadata"].get("labels", {}).items()]
            return json.dumps({"kind": "List", "items": has})
        key = f"{kind}/{self.words[2]}"
        if key not in self.objects:
            if "--ignore-not-found" in self.flags:
                return ""
            raise Refused(f'Error from server (NotFound): {self.words[1]} "{self.words[2]}" not found')
        found: dict[str, Any] = self.objects[key]
        # Whoever looks at the workload lets its controller work a little.
        if kind in ("Deployment", "Rollout"):
            self.control(found)
        return json.dumps(found)

    def create(self) -> str:
        one = json.loads(self.given)
        self.check_namespace(one)
        key = _key(one)
        if key in self.objects:
            raise Refused(
                f'Error from server (AlreadyExists): error when creating "STDIN": {one["kind"].lower()}s '
                f'"{one["metadata"]["name"]}" already exists'
            )
        return json.dumps(self.store(key, one))

    def replace(self) -> str:
        one = json.loads(self.given)
        key = _key(one)
        if key not in self.objects:
            raise Refused(f'Error from server (NotFound): error when replacing "STDIN": {key} not found')
        if one["metadata"]["resourceVersion"] != self.objects[key]["metadata"]["resourceVersion"]:
            raise Refused(
                f'Error from server (Conflict): error when replacing "STDIN": Operation cannot be fulfilled on {key}: '
                "the object has been modified; please apply your changes to the latest version and try again"
            )
        return json.dumps(self.store(key, one))

    def apply(self) -> str:
        if not {"--server-side", "--force-conflicts"} <= self.flags.keys() or self.flags["--field-manager"] != "mlops":
            raise Refused("error: this double knows server-side apply only")
        items = json.loads(self.given)["items"]
        for one in items:
            self.check_namespace(one)
            if one["kind"] in OF_ARGO and not self.value["argo"]:
                raise Refused(
                    f'error: resource mapping not found for name: "{one["metadata"]["name"]}" from "STDIN": no matches '
                    f'for kind "{one["kind"]}" in version "{one["apiVersion"]}"\nensure CRDs are installed first'
                )
            if one["kind"] in ("Deployment", "Rollout"):
                image = one["spec"]["template"]["spec"]["containers"][0]["image"]
                if any(part in image for part, how in self.value["bad"].items() if how == "forbidden"):
                    raise Refused('Error from server (Forbidden): admission webhook "images" denied the request')
        if self.flags.get("--dry-run") != "server":
            for one in items:
                self.store(_key(one), one)
        return "".join(f"{_key(one)}\n" for one in items)

    def delete(self) -> str:
        key = f"{self.kind(self.words[1])}/{self.words[2]}"
        if self.objects.pop(key, None) is None and "--ignore-not-found" not in self.flags:
            raise Refused(f"Error from server (NotFound): {key} not found")
        return ""

    def check_namespace(self, one: dict[str, Any]) -> None:
        if one["metadata"]["namespace"] not in self.value["namespaces"]:
            name = one["metadata"]["namespace"]
            raise Refused(f'Error from server (NotFound): error when creating "STDIN": namespaces "{name}" not found')
        if one["metadata"]["namespace"] != self.namespace:
            raise Refused(f"error: the namespace of {_key(one)} is not {self.namespace}")

    def store(self, key: str, one: dict[str, Any]) -> dict[str, Any]:
        self.value["version"] += 1
        old = self.objects.get(key, {"metadata": {"generation": 0}})
        about = {**one["metadata"], "resourceVersion": str(self.value["version"])}
        same = old.get("spec") == one.get("spec")
        about["generation"] = old["metadata"]["generation"] + (not same)
        kept = {name: old[name] for name in ("status", "looks") if name in old}
        self.objects[key] = {**one, "metadata": about, **kept, **({} if same else {"looks": 0})}
        stored: dict[str, Any] = self.objects[key]
        return stored

    def control(self, load: dict[str, Any]) -> None:
        """Work as the controllers of Deployments and Rollouts do."""
        load["looks"] = load.get("looks", 0) + 1
        status = load.setdefault("status", {})
        if load["looks"] < 2:
            return
        spec, image = load["spec"], load["spec"]["template"]["spec"]["containers"][0]["image"]
        rollout = load["kind"] == "Rollout"
        generation = load["metadata"]["generation"]
        status["observedGeneration"] = str(generation) if rollout else generation
        status |= {"conditions": [], "pauseConditions": []}
        wanted = spec["replicas"]
        judged = rollout and _is_judged(spec) and status.get("stable") not in (None, image)
        how = next((how for part, how in self.value["bad"].items() if part in image), "")
        if how in ("worse", "unknown") and not judged:
            how = ""
        done = load["looks"] > 3 and how == ""
        status |= {"replicas": wanted + (not done), "updatedReplicas": wanted if done else 1}
        status |= {"availableReplicas": wanted}
        if done:
            status |= {"phase": "Healthy", "message": "", "stable": image}
            self.point(load, image)
        elif how == "broken" and load["looks"] > 3 and not rollout:
            late = {"type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "it timed out"}
            status["conditions"] = [late]
        elif how in ("broken", "worse") and load["looks"] > 3:
            status |= {"phase": "Degraded", "message": 'RolloutAborted: metric "errors" assessed Failed'}
        elif how == "unknown" and load["looks"] > 3:
            paused = {"reason": "InconclusiveAnalysisRun", "startTime": "2026-01-01T00:00:00Z"}
            status |= {"phase": "Paused", "message": "InconclusiveAnalysisRun", "pauseConditions": [paused]}
        else:
            status |= {"phase": "Progressing", "message": "more replicas need to be updated"}

    def point(self, load: dict[str, Any], image: str) -> None:
        """Point the active Service of a blue-green rollout at its newest pods."""
        green = load["spec"].get("strategy", {}).get("blueGreen")
        if green:
            self.objects[f"Service/{green['activeService']}"]["spec"]["selector"][HASH] = image[-10:]


def _is_judged(spec: dict[str, Any]) -> bool:
    strategy = spec.get("strategy", {})
    return bool(strategy.get("canary", {}).get("steps") or strategy.get("blueGreen", {}).get("postPromotionAnalysis"))


def _key(one: dict[str, Any]) -> str:
    return f"{one['kind']}/{one['metadata']['name']}"


def _kustomize(folder: Path) -> str:
    """The objects of the first resource, with names, labels and image: as much of kustomize as these tests need."""
    asked = json.loads((folder / "kustomization.yaml").read_text())
    objects = json.loads((folder / asked["resources"][0] / "objects.json").read_text())
    image, prefix = asked["images"][0], asked["namePrefix"]
    for one in objects:
        one["metadata"]["name"] = prefix + one["metadata"]["name"]
        one["metadata"]["labels"] = dict(asked["labels"][0]["pairs"])
        if "template" in one.get("spec", {}):
            container = one["spec"]["template"]["spec"]["containers"][0]
            container["image"] = f"{image['newName']}@{image['digest']}"
            green = one["spec"].get("strategy", {}).get("blueGreen", {})
            for key in green.keys() & {"activeService", "previewService"}:
                green[key] = prefix + green[key]
    return "\n---\n".join(json.dumps(one) for one in objects)


def put_on_path(folder: Path) -> Path:
    """Make the program `kubectl` in `folder`; it works on the cluster in `cluster.json` beside it."""
    program = folder / "kubectl"
    program.write_text(
        f"#!{sys.executable} -S\nimport sys\nsys.path.insert(0, {os.fspath(Path(__file__).parent)!r})\n"
        f"import fake_kubectl, pathlib\nsys.exit(fake_kubectl.main(pathlib.Path({os.fspath(folder)!r})))\n"
    )
    program.chmod(0o755)
    return program


def main(folder: Path) -> int:
    """As a program."""
    code, out, err = Cluster(folder / "cluster.json").call(sys.argv[1:], sys.stdin.read())
    sys.stdout.write(out)
    sys.stderr.write(err)
    return code
