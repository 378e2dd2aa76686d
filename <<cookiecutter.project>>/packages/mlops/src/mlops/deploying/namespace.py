"""How is a release brought into a Kubernetes namespace, and back? Manifests are applied, and their controllers watched.

Kubernetes and Argo Rollouts exchange the pods and judge them; what is decided here: when that is done, when it has
failed, and what is put back then. On record, for each model: the ConfigMap `<model>-releases` (the state, and the pods
of everything that a rollback can go to, so that it needs nothing but `kubectl`), and the audit log in
`<model>-audit-0001`, ….

What is asked for is written down before it is ordered, and orders can be given again. A command that was killed is
therefore finished, or taken back, by the next one.
"""

import contextlib
import copy
import json
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mlops.deploying import audit, manifests
from mlops.deploying.audit import What
from mlops.deploying.environments import Environment
from mlops.deploying.kubernetes import LOOK, Cluster, Failure, Lock, Lost, taken_over, unless_lost
from mlops.deploying.manifests import HASH, KINDS, Manifest, Progress
from mlops.deploying.release import (
    STRATEGIES,
    Author,
    Clock,
    Pending,
    Release,
    Result,
    Say,
    State,
    committed,
    earlier,
    left,
    read_state,
    returned,
)
from mlops.errors import Refusal

START = 10
"""Minutes that pods have to come up, in all."""
BACK = 2
"""Minutes after which a rollback is said to hang; it goes on."""
PAGE = 500_000
"""Characters of the audit log in one ConfigMap, which may have a million bytes."""
ENDS = ("done", "failed")
"""What a new version can come to; one that has served before is given its time, whatever a status still says."""
LONGEST_NAME = 40
"""Characters of a model's name: Kubernetes cuts the names of pods, and the judge knows pods by their names."""
FOLDER = Path("deploy") / "kubernetes"

_IMAGE = re.compile(r"(?P<name>[a-z0-9][\w.:/-]{0,254})@(?P<digest>sha256:[0-9a-f]{64})", re.ASCII)
_MODEL = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", re.ASCII)
_VERSION = re.compile(r"[0-9a-f]{12}")
_NAMESPACE = re.compile(r"""^namespace: ["']?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)["']?\s*$""", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a model's ConfigMap says."""

    state: State
    applied: tuple[Manifest, ...] = ()
    """All objects, as they were applied for what serves."""
    templates: dict[str, Manifest] = field(default_factory=dict)
    """The pods of every release on record, by unit."""
    version: str = ""
    """Of the ConfigMap when it was read; empty where there is none."""

    def template(self, release: Release) -> Manifest:
        """The pods of a release."""
        try:
            return self.templates[release.unit]
        except KeyError:
            raise Refusal(
                f"The pods of {release.model} {release.version} are not on record.", do="Deploy that version."
            ) from None


class Namespace:
    """One environment in a Kubernetes cluster: a `Target`."""

    def __init__(self, environment: Environment, *, root: Path, author: Author, clock: Clock | None = None) -> None:
        """Nothing is called yet; `root` is the repository's, for its manifests."""
        self._environment, self._folder, self._author = environment, root / FOLDER, author
        self._clock = clock or Clock()
        namespace = _namespace(self._folder, environment.name)
        self._cluster = Cluster(context=environment.host or "", namespace=namespace, clock=self._clock)

    # What can be asked

    def objects(self, release: Release, strategy: str) -> list[Manifest]:
        """All objects that a release is applied as; `Refusal` for one that no cluster could run."""
        _check(release, strategy)
        return manifests.fitted(self._render(release, strategy), release, self._environment)

    def state(self, model: str) -> State | None:
        """What is on record for a model; None where it was never deployed here."""
        record = self._read(model)
        return record.state if record.version else None

    def audit(self, model: str) -> list[str]:
        """The lines of the audit log, the oldest first."""
        return [line for page in self._pages(model) for line in page["data"]["log"].splitlines()]

    def shares(self, model: str) -> dict[str, float]:
        """The percentage of the requests that each running version gets."""
        record = self._read(model)
        current, pending, live = record.state.current, record.state.pending, self._live(model)
        if live is None:
            return {}
        newest = live["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/version"]
        part = manifests.share(live)
        if pending is None or current is None or newest == current.version:
            return {newest: 100.0}
        return {newest: part, current.version: 100.0 - part}

    def healthy(self, model: str) -> tuple[int, int]:
        """How many pods can answer, and how many there should be."""
        live = self._live(model)
        if live is None:
            return 0, 0
        return live.get("status", {}).get("availableReplicas", 0), live["spec"].get("replicas", 1)

    # What can be done

    def deploy(self, release: Release, *, strategy: str, say: Say) -> Result:
        """Let a release serve; where it turns out to be worse, what served still does."""
        model, objects = release.model, self.objects(release, strategy)
        self._cluster.apply(objects, "--dry-run=server")
        with self._locked(model, "deploy", say) as lock:
            record = self._read(model)
            record, told = self._finish_before_deploy(record, release, lock, say)
            if told is not None:
                return told
            before = self._generation(model)
            if record.state.pending is None:
                record = self._begin(record, release, strategy, lock)
            record, moved = self._turn_kind(record, objects, lock, say)
            if moved.is_ == "done":
                say(f"{strategy} of {model} {release.version} in {self._cluster.namespace}")
                minutes = START + manifests.minutes(self._environment, strategy)
                moved = self._bring(objects, lock, say, minutes=minutes)
            if moved.is_ != "done":
                return self._told(self._undo(record, lock, say, why=moved.why), release, moved.why)
            old = record.state.current
            same = old is not None and old.unit == release.unit
            self._commit(record, objects, release, strategy, lock)
            if same:
                touched = before != self._generation(model)
                how = "with other manifests" if touched else "already; nothing was touched"
                sentence = f"{model} {release.version} serves {self._name} {how}."
                return Result(outcome="deployed" if touched else "unchanged", sentence=sentence, release=release)
            instead = f" instead of {old.version}" if old else ""
            sentence = f"{model} {release.version} serves {self._name}{instead}."
            facts = {"left": old.version if old else ""}
            return Result(outcome="deployed", sentence=sentence, release=release, facts=facts)

    def rollback(self, *, model: str, to: str | None, reason: str, say: Say) -> Result:
        """Let an earlier release serve again; what is being deployed is given up."""
        started = self._clock.monotonic()
        with self._locked(model, "rollback", say) as lock:
            record = self._read(model)
            if not record.version:
                raise Refusal(f"{model} was never deployed to {self._name}.", do="Deploy it first: `mlops deploy`.")
            before, pending = record.state, record.state.pending
            if pending is not None and pending.strategy == "rollback":
                record = self._return(record, lock, say)
            elif pending is not None:
                why = pending.undoing or reason or "asked for"
                record = self._undo(record, lock, say, why=why, asked=reason)
            serves = record.state.current
            if pending is not None and to in (None, *_names(serves)):
                now = f"{serves.version} serves {self._name} again" if serves else f"nothing serves {self._name}"
                back = Result(outcome="rolled back", sentence=f"{model} {now}.", release=serves)
                return self._timed(back, started, before)
            if to is not None and to in _names(serves):
                sentence = f"{model} {to} serves {self._name} already."
                return Result(outcome="unchanged", sentence=sentence, release=serves)
            target = earlier(record.state, to)
            record.template(target)
            record = self._begin(record, target, "rollback", lock, reason=reason)
            self._return(record, lock, say)
            instead = f" instead of {serves.version}" if serves else ""
            sentence = f"{model} {target.version} serves {self._name}{instead}."
            return self._timed(Result(outcome="rolled back", sentence=sentence, release=target), started, before)

    # Before anything is changed

    @property
    def _name(self) -> str:
        return self._environment.name

    def _render(self, release: Release, strategy: str) -> list[Manifest]:
        """The overlay's objects, with the model's names and labels, and the image by its digest."""
        overlay = f"overlays/{self._name}/{strategy}"
        if not (self._folder / overlay / "kustomization.yaml").is_file():
            raise Refusal(f"There is no {FOLDER / overlay}.", do="Copy that folder of another environment.")
        image = _IMAGE.fullmatch(release.image)
        assert image is not None
        name = manifests.name(release.model)
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [overlay],
            "configurations": ["rollout-fields.yaml"],
            "namePrefix": f"{name}-",
            "labels": [{"pairs": {"app.kubernetes.io/name": name}, "includeSelectors": True}],
            "images": [{"name": "model", "newName": image["name"], "digest": image["digest"]}],
        }
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "kubernetes"
            shutil.copytree(self._folder, folder, ignore=shutil.ignore_patterns("tests", "__pycache__"))
            # JSON is YAML, and nothing has to be quoted by hand.
            (folder / "kustomization.yaml").write_text(json.dumps(kustomization), encoding="utf-8")
            objects = self._cluster.build(folder)
        for one in objects:
            if one["metadata"].get("namespace") != self._cluster.namespace:
                raise Refusal(
                    f"{FOLDER / overlay}: {one['kind']} {one['metadata']['name']} is not in the namespace "
                    f"{self._cluster.namespace}.",
                    do="The folder `common` beside it names the namespace of all objects.",
                )
        return objects

    @contextlib.contextmanager
    def _locked(self, model: str, what: str, say: Say) -> Iterator[Lock]:
        name, token = f"{manifests.name(model)}-deploy", uuid.uuid4().hex
        lock = Lock.take(self._cluster, name, what=what, who=self._author.name, token=token, say=say)
        try:
            yield lock
        finally:
            lock.release()

    # What was begun before

    def _finish_before_deploy(
        self, record: Record, release: Release, lock: Lock, say: Say
    ) -> tuple[Record, Result | None]:
        """Take back what is pending, unless it is this deployment; the result, where that ended with its way back."""
        pending = record.state.pending
        if pending is None:
            return record, None
        say(f"go on with what {pending.by} began at {pending.started}: {pending.strategy} of {pending.release.version}")
        if pending.strategy == "rollback":
            return self._return(record, lock, say), None
        same = pending.release.unit == release.unit
        if same and not pending.undoing:
            return record, None
        why = pending.undoing or f"{release.version} is deployed instead"
        record = self._undo(record, lock, say, why=why, asked=pending.asked or ("" if pending.undoing else why))
        return record, self._told(record, release, why) if same else None

    # The parts

    def _begin(self, record: Record, release: Release, strategy: str, lock: Lock, *, reason: str = "") -> Record:
        """Write down what is going to be done, before it is."""
        state = record.state
        origin = state.current.version if state.current else ""
        again = state.current is not None and state.current.unit == release.unit
        if strategy != "rollback" and not again:
            if self._author.override:
                state = self._noted(state, "override", origin=origin, to=release.version, reason=self._author.override)
            state = self._noted(state, "deploy", origin=origin, to=release.version, reason=strategy)
        pending = Pending(
            release=release,
            strategy=strategy,
            step=0,
            started=self._clock.now().strftime("%Y-%m-%d %H:%M:%S UTC"),
            by=self._author.name,
            steps=(),
            back=(),
            asked=reason,
        )
        return self._write(replace(record, state=replace(state, pending=pending)), lock)

    def _turn_kind(self, record: Record, objects: Sequence[Manifest], lock: Lock, say: Say) -> tuple[Record, Progress]:
        """Where a Deployment serves and a Rollout comes, or the reverse: what serves now moves first, unchanged.

        The new version would otherwise be the first of its kind, and Argo Rollouts would compare it with nothing.
        """
        current, kind = record.state.current, manifests.workload(objects)["kind"]
        others = [one for one in KINDS if one != kind and self._live(record.state.model, one)]
        if current is None or not others:
            return record, Progress("done")
        say(f"{current.version} served as a {others[0]} and becomes a {kind} first")
        objects = manifests.with_template(objects, record.template(current))
        moved = self._bring(objects, lock, say, minutes=START)
        if moved.is_ == "done":
            record = self._write(replace(record, applied=tuple(objects)), lock)
        return record, moved

    def _bring(
        self, objects: Sequence[Manifest], lock: Lock, say: Say, *, minutes: float, ends: Sequence[str] = ENDS
    ) -> Progress:
        """Apply, and wait until the newest pods serve or will not; then take away what another strategy left."""
        load = manifests.workload(objects)
        kind, name = load["kind"], load["metadata"]["name"]
        lock.renew()
        try:
            self._cluster.apply(self._as_it_stands(objects))
        except Failure as failure:
            if failure.reason == "Unreachable":
                raise
            return Progress("failed", failure.what.rstrip("."))
        end, seen, told = self._clock.monotonic() + minutes * 60, Progress("going"), ""
        while seen.is_ not in ends:
            if self._clock.monotonic() > end:
                return Progress("failed", f"it was not done after {round(minutes)} minutes ({seen.why})")
            if seen.why != told:
                say(f"  {seen.why}")
                told = seen.why
            self._clock.sleep(LOOK)
            try:
                lock.keep()
                seen = manifests.progress(self._cluster.get(KINDS[kind], name))
            except Failure as failure:
                # A cluster that is away for a moment ends nothing; that somebody else took over does.
                if failure.reason != "Unreachable":
                    raise
        # What is seen may be somebody else's by now: nothing is said or taken away on behalf of a lock that is lost.
        lock.renew()
        if seen.is_ == "done":
            for other in KINDS.keys() - {kind}:
                self._cluster.delete(KINDS[other], name)
        return seen

    def _as_it_stands(self, objects: Sequence[Manifest]) -> list[Manifest]:
        """The objects with the two fields that belong to others while they serve.

        The number of pods is the autoscaler's; left out, Kubernetes would make it one. Which pods the Services of a
        blue-green rollout point at is Argo Rollouts'; left out, they would point at all of them for a moment.
        """
        done = copy.deepcopy(list(objects))
        load = manifests.workload(done)
        least = [one["spec"]["minReplicas"] for one in done if one["kind"] == "HorizontalPodAutoscaler"]
        lives = [self._cluster.get(kind, load["metadata"]["name"]) for kind in KINDS.values()]
        load["spec"]["replicas"] = max([1, *least, *(one["spec"].get("replicas", 1) for one in lives if one)])
        if "blueGreen" in load["spec"].get("strategy", {}):
            for one in done:
                live = self._cluster.get("service", one["metadata"]["name"]) if one["kind"] == "Service" else None
                if live and HASH in live["spec"].get("selector", {}):
                    one["spec"]["selector"][HASH] = live["spec"]["selector"][HASH]
        return done

    def _commit(self, record: Record, objects: Sequence[Manifest], release: Release, strategy: str, lock: Lock) -> None:
        state = record.state
        if state.current is None or state.current.unit != release.unit:
            origin = state.current.version if state.current else ""
            state = self._noted(state, "promote", origin=origin, to=release.version, reason=strategy)
        state = replace(committed(state, release), pending=None)
        templates = {**record.templates, release.unit: manifests.workload(objects)["spec"]["template"]}
        self._write(replace(record, state=state, applied=tuple(objects), templates=templates), lock)

    def _undo(self, record: Record, lock: Lock, say: Say, *, why: str, asked: str = "") -> Record:
        """Put back what served; where nothing did, take away what does not work."""
        state = record.state
        assert state.pending is not None
        bad, current = state.pending.release, state.current
        if not state.pending.undoing:
            state = replace(state, pending=replace(state.pending, undoing=why, asked=asked))
            record = self._write(replace(record, state=state), lock)
        say(f"{bad.model} {bad.version} is taken back: {why}")
        if current is None:
            self._clear(bad.model)
        else:
            objects = manifests.with_template(record.applied, record.template(current))
            self._settle(objects, lock, say, current)
        what: What = "rollback" if asked else "automatic rollback"
        state = self._noted(state, what, origin=bad.version, to=current.version if current else "", reason=why)
        return self._write(replace(record, state=replace(state, pending=None)), lock)

    def _return(self, record: Record, lock: Lock, say: Say) -> Record:
        """Go back to the release that is pending."""
        state = record.state
        assert state.pending is not None
        release, current = state.pending.release, state.current
        say(f"{release.model} goes back to {release.version} in {self._cluster.namespace}")
        self._settle(manifests.with_template(record.applied, record.template(release)), lock, say, release)
        origin = current.version if current else ""
        state = self._noted(state, "rollback", origin=origin, to=release.version, reason=state.pending.asked)
        return self._write(replace(record, state=replace(returned(state, release), pending=None)), lock)

    def _settle(self, objects: Sequence[Manifest], lock: Lock, say: Say, release: Release) -> None:
        """Bring back what has served before; it is not judged again."""
        moved = self._bring(objects, lock, say, minutes=BACK, ends=ENDS[:1])
        if moved.is_ != "done":
            raise Refusal(
                f"{release.model} {release.version} was ordered back into {self._name} and does not serve yet: "
                f"{moved.why}.",
                do="Look at its pods. The same command goes on; `mlops status` names the other versions.",
                code=1,
            )

    def _clear(self, model: str) -> None:
        name = f"{manifests.name(model)}-serve"
        for kind in (*KINDS.values(), "horizontalpodautoscalers.autoscaling"):
            self._cluster.delete(kind, name)

    def _live(self, model: str, kind: str = "") -> Manifest | None:
        """A model's workload in the cluster, of that kind or of any."""
        name = f"{manifests.name(model)}-serve"
        found = (self._cluster.get(KINDS[one], name) for one in ([kind] if kind else KINDS))
        return next((one for one in found if one is not None), None)

    def _generation(self, model: str) -> tuple[str, int] | None:
        live = self._live(model)
        return None if live is None else (live["kind"], live["metadata"].get("generation", 0))

    # What is said

    def _told(self, record: Record, release: Release, why: str) -> Result:
        serves = record.state.current
        now = f"{serves.version} serves" if serves else "nothing serves"
        sentence = f"{release.model} {release.version} was rolled back in {self._name}, {now}: {why.rstrip('.')}."
        return Result(outcome="rolled back", sentence=sentence, release=serves)

    def _timed(self, result: Result, started: float, before: State) -> Result:
        seconds = round(self._clock.monotonic() - started, 1)
        sentence = f"{result.sentence[:-1]}, after {seconds:g} seconds."
        return replace(result, sentence=sentence, facts={"seconds": seconds, "left": left(before, result.release)})

    # What is on record

    def _read(self, model: str) -> Record:
        name = f"{manifests.name(model)}-releases"
        found = self._cluster.get("configmap", name)
        if found is None:
            return Record(state=State(model=model))
        where = f"the ConfigMap {name} of {self._cluster.namespace}"
        try:
            data = found["data"]
            state = read_state(json.loads(data["state.json"]), where=where)
            return Record(
                state=state,
                applied=tuple(json.loads(data["applied.json"])),
                templates=dict(json.loads(data["templates.json"])),
                version=found["metadata"]["resourceVersion"],
            )
        except (KeyError, ValueError, TypeError):
            raise Refusal(
                f"What is in {where} was not written by mlops.", do="Restore it; `kubectl get` shows what it says."
            ) from None

    def _write(self, record: Record, lock: Lock) -> Record:
        lock.renew()
        state = record.state
        kept = {one.unit for one in (state.current, *state.previous) if one is not None}
        data = {
            "state.json": json.dumps(state.to_json()),
            "applied.json": json.dumps(record.applied),
            "templates.json": json.dumps({unit: one for unit, one in record.templates.items() if unit in kept}),
        }
        written = self._put(f"{manifests.name(state.model)}-releases", "releases", state.model, data, record.version)
        return replace(record, version=written["metadata"]["resourceVersion"])

    def _put(self, name: str, what: str, model: str, data: dict[str, str], version: str) -> Manifest:
        """Write a ConfigMap that was read in that version; with none, one that must not exist."""
        labels = {"app.kubernetes.io/name": manifests.name(model), "mlops/record": what}
        about = {"name": name, "namespace": self._cluster.namespace, "labels": labels}
        about |= {"resourceVersion": version} if version else {}
        value = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": data}
        try:
            return unless_lost(self._cluster.replace if version else self._cluster.create, value)
        except Lost:
            raise taken_over() from None

    def _pages(self, model: str) -> list[Manifest]:
        """The ConfigMaps of the audit log, the oldest first."""
        labels = f"app.kubernetes.io/name={manifests.name(model)},mlops/record=audit"
        return sorted(self._cluster.having("configmap", labels), key=lambda one: str(one["metadata"]["name"]))

    def _noted(self, state: State, what: What, *, origin: str, to: str, reason: str) -> State:
        """Add a line to the audit log, once however often it is tried; the state with the new head of its chain."""
        pages = self._pages(state.model)
        text = pages[-1]["data"]["log"] if pages else ""
        lines = text.splitlines()
        last = (audit.entries(lines[-1:]) or [{}])[0]
        said = (last.get("what"), last.get("from"), last.get("to"))
        if lines and audit.head(lines) != state.head and said == (what, origin, to):
            # Written by a run that was killed before it could write so into the state.
            return replace(state, head=audit.head(lines))
        entry = audit.Entry(
            time=self._clock.now(),
            who=self._author.name,
            what=what,
            environment=self._name,
            model=state.model,
            origin=origin,
            to=to,
            reason=reason,
            run=self._author.run,
        )
        line = audit.append(lines, entry)
        if pages and len(text) + len(line) < PAGE:
            name, log, version = pages[-1]["metadata"]["name"], text, pages[-1]["metadata"]["resourceVersion"]
        else:
            name, log, version = f"{manifests.name(state.model)}-audit-{len(pages) + 1:04d}", "", ""
        self._put(name, "audit", state.model, {"log": f"{log}{line}\n"}, version)
        return replace(state, head=audit.head([line]))


def _check(release: Release, strategy: str) -> None:
    """Refuse what no cluster could run."""
    if strategy not in STRATEGIES:
        raise Refusal(f"There is no strategy {strategy[:50]!r}.", do=f"Take one of {', '.join(STRATEGIES)}.")
    if not _MODEL.fullmatch(release.model) or not _VERSION.fullmatch(release.version):
        raise Refusal(f"{release.model[:60]!r} {release.version[:60]!r} is no version of a model.")
    if len(release.model) > LONGEST_NAME:
        raise Refusal(
            f"The name of {release.model} is too long for Kubernetes, which cuts the names of pods.",
            do=f"A model that is deployed there has at most {LONGEST_NAME} characters.",
        )
    if not _IMAGE.fullmatch(release.image):
        raise Refusal(
            f"{release.model} {release.version}: {release.image[:100]!r} is no image that a cluster could pull.",
            do="Push it, `mlops package --push REGISTRY/NAME`: it is named by its digest then.",
        )


def _names(release: Release | None) -> tuple[str, ...]:
    return () if release is None else (release.version, release.unit)


def _namespace(folder: Path, environment: str) -> str:
    path = folder / "overlays" / environment / "common" / "kustomization.yaml"
    found = _NAMESPACE.search(path.read_text(encoding="utf-8")) if path.is_file() else None
    if found is None:
        raise Refusal(
            f"{FOLDER}/overlays/{environment}/common/kustomization.yaml names no namespace.",
            do="It needs a line `namespace: …`; the other environments have one.",
        )
    return found[1]
