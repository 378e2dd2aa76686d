"""What is in a namespace of a cluster, and orders to it? The only module that calls `kubectl`.

All that is written over something else carries the version that was read, so that of two writers one is refused. One
change at a time holds a Lease and keeps renewing it; a killed one leaves a Lease that nobody renews.
"""

import contextlib
import datetime as dt
import io
import json
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from mlops.deploying.manifests import Manifest
from mlops.deploying.release import Clock, Say
from mlops.errors import Refusal

OWNER = "mlops"
"""The field manager: what this name has applied, its next apply may change or take away."""
CALL = 15
"""Seconds that the cluster has for one answer."""
LEASE = 20
"""Seconds after which a Lease that nobody renews is free."""
LOOK = 2.0
"""Seconds between two looks at something."""
PAUSES = (1.0, 3.0)
"""Seconds before a question is asked again that the cluster could not be asked."""

_REASON = re.compile(r"Error from server \((\w+)\)")
_AWAY = ("Unable to connect", "connection refused", "was refused", "timeout", "deadline exceeded", "EOF", "no route")
_NO_KIND = ("doesn't have a resource type", "no matches for kind", "could not find the requested resource")


class Failure(Refusal):
    """What the cluster did not do; `reason` is its own word for it, such as `Conflict`."""

    def __init__(self, what: str, *, do: str = "", reason: str = "") -> None:
        super().__init__(what, do=do)
        self.reason = reason


class Cluster:
    """One namespace, asked through `kubectl`; `context` is empty for the one at hand."""

    def __init__(self, *, context: str, namespace: str, clock: Clock) -> None:
        """Nothing is called yet."""
        self.namespace = namespace
        self._words = ["kubectl", *(["--context", context] if context else [])]
        self.clock = clock

    def get(self, kind: str, name: str) -> Manifest | None:
        """An object; None where there is none."""
        try:
            said = self._ask("get", kind, name, "--output", "json", "--ignore-not-found")
        except Failure as failure:
            if failure.reason == "NoKind":
                return None
            raise
        return json.loads(said) if said.strip() else None

    def having(self, kind: str, labels: str) -> list[Manifest]:
        """All objects with these labels."""
        return list(json.loads(self._ask("get", kind, "--selector", labels, "--output", "json"))["items"])

    def create(self, value: Manifest) -> Manifest:
        """Make an object; one that is there already is a `Failure`."""
        return self._put("create", value)

    def replace(self, value: Manifest) -> Manifest:
        """Write an object that was read; one that changed in between is a `Failure`."""
        return self._put("replace", value)

    def _put(self, verb: str, value: Manifest) -> Manifest:
        # What is written so is ours: to fetch the schema of all kinds for it would take longer than all the rest.
        words = (verb, "--validate=false", "--filename", "-", "--output", "json")
        return dict(json.loads(self._order(*words, given=json.dumps(value))))

    def apply(self, objects: Sequence[Manifest], *flags: str) -> None:
        """Let these objects be as they are here; what was applied before and is not here any more is taken away."""
        given = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        words = ("--server-side", "--force-conflicts", "--field-manager", OWNER, "--filename", "-", "--output", "name")
        self._ask("apply", *words, *flags, given=given)

    def delete(self, kind: str, name: str) -> None:
        """Take an object away; one that is gone is no failure."""
        try:
            self._ask("delete", kind, name, "--ignore-not-found", "--wait=false")
        except Failure as failure:
            if failure.reason != "NoKind":
                raise

    def build(self, folder: Path) -> list[Manifest]:
        """The objects that kustomize makes of a folder."""
        done = self._run(["kubectl", "kustomize", str(folder)], None)
        if done.returncode:
            raise Failure(f"kustomize cannot build deploy/kubernetes: {_last(done.stderr)}", do="Mend that file.")
        # Not at the top: a rollback builds nothing, and runs on a bare Python.
        from ruamel.yaml import YAML

        return [one for one in YAML(typ="safe", pure=True).load_all(io.StringIO(done.stdout)) if one]

    def _ask(self, *words: str, given: str | None = None) -> str:
        """A call that can be made again without harm."""
        for pause in (*PAUSES, None):
            try:
                return self._order(*words, given=given)
            except Failure as failure:
                if failure.reason != "Unreachable" or pause is None:
                    raise
                self.clock.sleep(pause)
        raise AssertionError("the last pause ends the loop")

    def _order(self, *words: str, given: str | None = None) -> str:
        common = ["--namespace", self.namespace, f"--request-timeout={CALL}s"]
        done = self._run([*self._words, *common, *words], given)
        if done.returncode:
            raise self._failure(done.stderr, words)
        return done.stdout

    def _run(self, words: list[str], given: str | None) -> "subprocess.CompletedProcess[str]":
        try:
            return subprocess.run(
                words,
                input=given or "",
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=4 * CALL,
                check=False,
            )
        except FileNotFoundError:
            raise Failure("The program `kubectl` is not installed.", do="Install it; see kubernetes.io.") from None
        except subprocess.TimeoutExpired:
            raise Failure(
                f"The cluster did not answer within {4 * CALL} seconds.",
                do="Type the same again: what was begun goes on.",
                reason="Unreachable",
            ) from None

    def _failure(self, said: str, words: Sequence[str]) -> Failure:
        found = _REASON.search(said)
        last = _last(said)
        if any(one in said for one in _NO_KIND):
            do = "Install what it belongs to (docs/how-to/deploy-to-kubernetes.md), or deploy with --strategy rolling."
            return Failure(f"The cluster does not know a kind of object: {last}", do=do, reason="NoKind")
        if "namespaces" in said and found and found[1] == "NotFound":
            do = "An administrator makes it once: `kubectl apply -k deploy/kubernetes/overlays/<environment>/access`."
            return Failure(f"There is no namespace {self.namespace}.", do=do, reason="NoNamespace")
        if found and found[1] == "Forbidden":
            do = "deploy/kubernetes/access/deployer.yaml holds all rights that it needs."
            return Failure(f"The cluster does not allow to {words[0]}: {last}", do=do, reason="Forbidden")
        if found:
            return Failure(f"The cluster refuses to {words[0]}: {last}", reason=found[1])
        if any(one in said for one in _AWAY):
            do = "Mend the way to it, then type the same again: what was begun goes on."
            return Failure(f"The cluster does not answer: {last}", do=do, reason="Unreachable")
        return Failure(f"kubectl cannot {words[0]}: {last}")


def _last(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["it says nothing"]
    told = next((line for line in lines if any(one in line for one in _NO_KIND)), lines[-1])
    return "".join(sign for sign in told if sign.isprintable())[:300]


# One at a time


class Lost(Exception):
    """Somebody else wrote in between."""


def unless_lost(write: Callable[[Manifest], Manifest], value: Manifest) -> Manifest:
    """What was written; `Lost` where the cluster says that somebody else was first."""
    try:
        return write(value)
    except Failure as failure:
        if failure.reason in ("Conflict", "AlreadyExists", "NotFound"):
            raise Lost from None
        raise


class Lock:
    """A Lease, held as long as it is renewed; a rollback takes it from a deployment, which then stops."""

    def __init__(self, cluster: Cluster, lease: Manifest) -> None:
        """Held already: `take` makes one."""
        self._cluster, self._lease = cluster, lease
        self._written = cluster.clock.monotonic()

    @classmethod
    def take(cls, cluster: Cluster, name: str, *, what: str, who: str, token: str, say: Say) -> "Lock":
        """The lock of that name for `what` (`deploy`, `rollback`), or `Refusal` where somebody alive has it."""
        clock = cluster.clock
        spec = {"holderIdentity": f"{what} {token} {who}", "leaseDurationSeconds": LEASE}
        seen = ("", 0.0)
        while True:
            spec |= {"acquireTime": _now(), "renewTime": _now()}
            lease = cluster.get("lease", name)
            with contextlib.suppress(Lost):
                if lease is None:
                    about = {"name": name, "namespace": cluster.namespace}
                    made = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": about, "spec": spec}
                    return cls(cluster, unless_lost(cluster.create, made))
                holder, version = lease["spec"].get("holderIdentity") or "", lease["metadata"]["resourceVersion"]
                urgent = what == "rollback" and not holder.startswith("rollback ")
                if not holder or urgent or (seen[0] == version and clock.monotonic() - seen[1] >= LEASE):
                    return cls(cluster, unless_lost(cluster.replace, {**lease, "spec": spec}))
                if seen[0] and seen[0] != version:
                    raise _busy(holder, cluster.namespace)
                if not seen[0]:
                    say(f"Somebody began this before; in {LEASE} seconds it is clear whether they go on.")
                    seen = (version, clock.monotonic())
            clock.sleep(LOOK)

    def keep(self) -> None:
        """Renew it, where that is due."""
        if self._cluster.clock.monotonic() - self._written >= LEASE / 4:
            self.renew()

    def renew(self) -> None:
        """Say that we are alive; `Refusal` when somebody else has it now."""
        self._write({**self._lease["spec"], "renewTime": _now()})

    def release(self) -> None:
        """Let the next one have it at once."""
        with contextlib.suppress(Refusal):
            self._write({**self._lease["spec"], "holderIdentity": ""})

    def _write(self, spec: Manifest) -> None:
        try:
            self._lease = unless_lost(self._cluster.replace, {**self._lease, "spec": spec})
            self._written = self._cluster.clock.monotonic()
        except Lost:
            raise taken_over() from None


def taken_over() -> Refusal:
    """Why one that has lost its lock goes no further."""
    return Refusal(
        "Somebody else took over, such as a rollback; nothing more is done here.",
        do="`mlops status` shows what serves.",
    )


def _busy(holder: str, namespace: str) -> Refusal:
    what, _, rest = holder.partition(" ")
    who = rest.partition(" ")[2]
    return Refusal(
        f"A {what} by {who or 'somebody'} is under way in {namespace}.",
        do="Wait for its end. `mlops rollback` ends a deployment that goes wrong.",
    )


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
