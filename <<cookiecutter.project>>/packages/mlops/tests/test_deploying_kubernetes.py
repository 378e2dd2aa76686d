"""A release gets into a namespace or what served still serves, whoever is killed, and on whatever day; on a double."""

import datetime as dt
import itertools
import json
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import fake_kubectl
import pytest

from mlops.deploying import audit, command, environments, kubernetes, manifests
from mlops.deploying.kubernetes import Cluster
from mlops.deploying.namespace import Namespace
from mlops.deploying.release import Author, Clock, Release, State
from mlops.errors import Refusal
from mlops.workspace import Model
from serve.measures import SECONDS

NAMESPACE = "acme-production"
STRATEGIES = ("rolling", "canary", "blue-green")
PAGE = 'target = "kubernetes"\naddress = "cluster"\nreplicas = 2\n[canary]\nweights = [5, 20, 60]\n'


def release(number: int, model: str = "tumour") -> Release:
    digit = f"{number:x}"
    image = f"registry.example:5000/acme/{model}@sha256:{digit * 64}"
    return Release(model=model, version=digit * 12, image=image, commit=digit * 40)


def objects(strategy: str) -> list[dict[str, Any]]:
    """A small overlay: what the double's kustomize reads."""

    def one(kind: str, api: str, spec: dict[str, Any], name: str = "serve") -> dict[str, Any]:
        return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}

    argo = "argoproj.io/v1alpha1"
    template = {"metadata": {"labels": {}}, "spec": {"containers": [{"name": "serve", "image": "model", "env": []}]}}
    spec: dict[str, Any] = {"minReadySeconds": 5, "selector": {}, "template": template}
    judged = {"templates": [{"templateName": "judge"}], "args": []}
    if strategy == "canary":
        spec["strategy"] = {"canary": {"steps": [{"setWeight": 1}, {"analysis": judged}]}}
    if strategy == "blue-green":
        spec["strategy"] = {"blueGreen": {"activeService": "serve", "postPromotionAnalysis": judged}}
    known = [
        one("Service", "v1", {"selector": {"app": "serve"}}),
        one("HorizontalPodAutoscaler", "autoscaling/v2", {"minReplicas": 1, "maxReplicas": 9}),
        one("Deployment" if strategy == "rolling" else "Rollout", "apps/v1" if strategy == "rolling" else argo, spec),
    ]
    args = [{"name": "prometheus", "value": "http://x"}, {"name": "requests", "value": "1"}, {"name": "latest"}]
    return known + ([] if strategy == "rolling" else [one("AnalysisTemplate", argo, {"args": args}, "judge")])


class Killed(BaseException):
    """The process is gone: nothing that it would do afterwards happens."""


@dataclass
class Stage:
    """A repository, a cluster, and a hand that can kill."""

    root: Path
    cluster: fake_kubectl.Cluster
    now: float = 0.0
    calls: list[list[str]] = field(default_factory=list)
    kill: Callable[[list[str]], bool] = lambda words: False
    dead: bool = False
    after: bool = False
    said: list[str] = field(default_factory=list)

    def target(self, who: str = "ada", **changes: Any) -> Namespace:
        environment = environments.parse(PAGE, name="production", where="production.toml")
        environment = replace(environment, **changes)
        return Namespace(environment, root=self.root, author=Author(name=who), clock=self.clock())

    def clock(self) -> Clock:
        def sleep(seconds: float) -> None:
            self.now += seconds

        return Clock(monotonic=lambda: self.now, sleep=sleep)

    def deploy(self, number: int, strategy: str = "canary", who: str = "ada") -> Any:
        self.dead = False
        return self.target(who).deploy(release(number), strategy=strategy, say=self.said.append)

    def rollback(self, to: str | None = None, who: str = "ada") -> Any:
        self.dead = False
        return self.target(who).rollback(model="tumour", to=to, reason="it is wrong", say=self.said.append)

    def state(self) -> State:
        found = self.target().state("tumour")
        assert found is not None
        return found

    def set(self, **values: Any) -> None:
        with self.cluster.open() as value:
            value.update(values)

    def serving(self) -> dict[str, str]:
        """The image of each workload, by kind."""
        with self.cluster.open() as value:
            return {
                one["kind"]: one["spec"]["template"]["spec"]["containers"][0]["image"]
                for one in value["objects"].values()
                if one["kind"] in manifests.KINDS
            }

    def log(self) -> list[tuple[str, str, str]]:
        lines = self.target().audit("tumour")
        assert audit.verify(lines, known_head=self.state().head) is None
        return [(one["what"], one["from"][:1], one["to"][:1]) for one in audit.entries(lines)]

    def run(self, _: Cluster, words: list[str], given: str | None) -> "subprocess.CompletedProcess[str]":
        """Instead of a process: a call that kills us before it, or after it."""
        if self.dead:
            raise Killed
        self.dead = self.kill(words)
        if self.dead and not self.after:
            raise Killed
        self.calls.append(words)
        code, out, err = self.cluster.call(words[1:], given or "")
        if self.dead:
            raise Killed
        return subprocess.CompletedProcess(words, code, out, err)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return make_stage(tmp_path, monkeypatch)


def make_stage(place: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    overlay = place / "deploy" / "kubernetes" / "overlays" / "production"
    for strategy in STRATEGIES:
        (overlay / strategy).mkdir(parents=True)
        (overlay / strategy / "kustomization.yaml").write_text("{}")
        (overlay / strategy / "objects.json").write_text(json.dumps(objects(strategy)))
    (overlay / "common").mkdir()
    (overlay / "common" / "kustomization.yaml").write_text(f'kind: Component\nnamespace: "{NAMESPACE}"\n')
    made = Stage(place, fake_kubectl.Cluster())
    made.set(namespaces=[NAMESPACE])
    monkeypatch.setattr(Cluster, "_run", lambda *given: made.run(*given))
    return made


# A clean day


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_release_serves_by_its_digest(stage: Stage, strategy: str) -> None:
    result = stage.deploy(1, strategy)
    assert (result.outcome, result.sentence) == ("deployed", "tumour 111111111111 serves production.")
    assert stage.state() == State(model="tumour", current=release(1), head=stage.state().head)
    assert list(stage.serving().values()) == [release(1).image]
    assert stage.log() == [("deploy", "", "1"), ("promote", "", "1")]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_next_one_takes_its_place_and_it_can_be_gone_back_to(stage: Stage, strategy: str) -> None:
    stage.deploy(1, strategy)
    result = stage.deploy(2, strategy)
    assert result.sentence == "tumour 222222222222 serves production instead of 111111111111."
    assert stage.state().previous == (release(1),)
    back = stage.rollback()
    assert back.outcome == "rolled back"
    assert back.facts["seconds"] < 30
    assert list(stage.serving().values()) == [release(1).image]
    assert stage.log()[-1] == ("rollback", "2", "1")


def test_deploying_what_serves_touches_nothing(stage: Stage) -> None:
    stage.deploy(1)
    result = stage.deploy(1)
    assert result.outcome == "unchanged"
    assert len(stage.log()) == 2


def test_deploying_what_serves_brings_other_manifests(stage: Stage) -> None:
    stage.deploy(1)
    path = stage.root / "deploy/kubernetes/overlays/production/canary/objects.json"
    path.write_text(path.read_text().replace('"minReadySeconds": 5', '"minReadySeconds": 7'))
    assert stage.deploy(1).outcome == "deployed"


def test_every_one_of_the_last_five_can_be_gone_back_to(stage: Stage) -> None:
    for number in range(1, 8):
        stage.deploy(number, "rolling")
    known = [one.version[0] for one in stage.state().previous]
    assert known == ["6", "5", "4", "3", "2"]
    for number in (6, 5, 4, 3, 2):
        assert stage.rollback(release(number).version).release == release(number)
        assert stage.serving() == {"Deployment": release(number).image}
        assert len(stage.state().previous) == 5


def test_a_rollback_needs_no_manifests(stage: Stage) -> None:
    """What served is on record in the namespace; the repository may have moved on, or be broken."""
    stage.deploy(1)
    stage.deploy(2)
    for path in (stage.root / "deploy/kubernetes/overlays/production/canary").iterdir():
        path.unlink()
    stage.rollback()
    assert stage.serving() == {"Rollout": release(1).image}
    assert not any("kustomize" in words for words in stage.calls[-10:])


def test_a_rollback_is_not_judged_again(stage: Stage) -> None:
    stage.deploy(1)
    stage.deploy(2)
    stage.set(bad={"1" * 64: "worse"})
    assert stage.rollback().outcome == "rolled back"


def test_the_steps_and_the_judge_are_those_of_the_page(stage: Stage) -> None:
    stage.deploy(1)
    load = stage.cluster.object("Rollout", "tumour-serve")
    judge = stage.cluster.object("AnalysisTemplate", "tumour-judge")
    scaler = stage.cluster.object("HorizontalPodAutoscaler", "tumour-serve")
    assert load is not None
    assert judge is not None
    assert scaler is not None
    steps = load["spec"]["strategy"]["canary"]["steps"]
    assert [one["setWeight"] for one in steps[::2]] == [5, 20, 60]
    assert all("analysis" in one for one in steps[1::2])
    assert judge["spec"]["args"][1] == {"name": "requests", "value": "300"}
    assert judge["spec"]["args"][2] == {"name": "latest"}
    assert scaler["spec"]["minReplicas"] == 2
    container = load["spec"]["template"]["spec"]["containers"][0]
    assert container["env"] == [{"name": "SERVE_VERSION", "value": "1" * 12}]


def test_as_many_pods_as_the_autoscaler_had(stage: Stage) -> None:
    stage.deploy(1)
    with stage.cluster.open() as value:
        value["objects"]["Rollout/tumour-serve"]["spec"]["replicas"] = 7
    stage.deploy(2)
    load = stage.cluster.object("Rollout", "tumour-serve")
    assert load is not None
    assert load["spec"]["replicas"] == 7


def test_a_service_keeps_pointing_at_the_pods_that_serve(stage: Stage) -> None:
    """Argo Rollouts points the Service of a blue-green rollout; an apply that forgot it would send requests to all."""
    stage.deploy(1, "blue-green")
    served = stage.cluster.object("Service", "tumour-serve")
    assert served is not None
    selector = served["spec"]["selector"]
    assert selector[fake_kubectl.HASH] == "1" * 10
    seen = []

    def watch(words: list[str]) -> bool:
        served = stage.cluster.object("Service", "tumour-serve")
        seen.append(served["spec"]["selector"] if served else None)
        return False

    stage.kill = watch
    stage.set(bad={"2" * 64: "worse"})
    assert stage.deploy(2, "blue-green").outcome == "rolled back"
    assert len(seen) > 20
    assert [one for one in seen if one != selector] == []


def test_two_models_do_not_know_each_other(stage: Stage) -> None:
    stage.deploy(1)
    other = replace(release(2), model="blood_pressure")
    stage.target().deploy(other, strategy="canary", say=stage.said.append)
    assert stage.state().current == release(1)
    assert stage.cluster.object("Rollout", "blood-pressure-serve") is not None


# A version that is not what it should be


@pytest.mark.parametrize(
    ("strategy", "how", "why"),
    [
        ("rolling", "broken", "it timed out"),
        ("canary", "broken", "assessed Failed"),
        ("canary", "worse", "assessed Failed"),
        ("canary", "unknown", "too little to go by"),
        ("blue-green", "worse", "assessed Failed"),
        ("canary", "slow", "it was not done after"),
        ("rolling", "forbidden", "denied the request"),
    ],
)
def test_it_is_rolled_back_by_itself(stage: Stage, strategy: str, how: str, why: str) -> None:
    stage.deploy(1, strategy)
    stage.set(bad={"2" * 64: how})
    if how == "forbidden":
        # The dry run would refuse it before anything is changed; here it comes later.
        assert_dry_run_is_skipped(stage)
    result = stage.deploy(2, strategy)
    assert result.outcome == "rolled back"
    assert "222222222222 was rolled back in production, 111111111111 serves" in result.sentence
    assert why in result.sentence
    assert list(stage.serving().values()) == [release(1).image]
    assert stage.state() == State(model="tumour", current=release(1), head=stage.state().head)
    assert stage.log()[-2:] == [("deploy", "1", "2"), ("automatic rollback", "2", "1")]


def assert_dry_run_is_skipped(stage: Stage) -> None:
    real = stage.cluster.call

    def call(words: list[str], given: str) -> tuple[int, str, str]:
        return (0, "", "") if "--dry-run=server" in words else real(words, given)

    stage.cluster.call = call  # type: ignore[method-assign]


def test_the_first_one_that_fails_leaves_nothing_behind(stage: Stage) -> None:
    stage.set(bad={"1" * 64: "broken"})
    result = stage.deploy(1, "rolling")
    assert result.outcome == "rolled back"
    assert "nothing serves" in result.sentence
    assert stage.serving() == {}
    assert stage.deploy(2, "rolling").outcome == "deployed"


def test_what_the_cluster_would_refuse_is_refused_before_anything_is_changed(stage: Stage) -> None:
    stage.deploy(1)
    before = stage.state()
    stage.set(bad={"2" * 64: "forbidden"})
    with pytest.raises(Refusal, match="denied the request"):
        stage.deploy(2)
    assert stage.state() == before


def test_another_strategy_moves_what_serves_first_so_that_it_can_be_compared(stage: Stage) -> None:
    """A Rollout that begins with the new version would compare it with nothing, and promote it."""
    stage.deploy(1, "rolling")
    stage.set(bad={"2" * 64: "worse"})
    result = stage.deploy(2, "canary")
    assert result.outcome == "rolled back"
    assert stage.serving() == {"Rollout": release(1).image}
    assert stage.deploy(3, "canary").outcome == "deployed"
    assert stage.deploy(4, "rolling").outcome == "deployed"
    assert stage.serving() == {"Deployment": release(4).image}
    assert stage.rollback(release(1).version).release == release(1)


# Killed, and two at once


def deployed(place: Path, patch: pytest.MonkeyPatch, *, strategy: str, bad: str = "") -> Stage:
    """Version 1 serves; version 2 is about to be deployed."""
    place.mkdir()
    stage = make_stage(place, patch)
    stage.deploy(1, "rolling" if strategy == "from rolling" else strategy)
    stage.set(bad={"2" * 64: bad} if bad else {})
    stage.calls.clear()
    return stage


def outcome(stage: Stage) -> Any:
    """What must be the same whether somebody was killed or not."""
    with stage.cluster.open() as value:
        known = value["objects"]
        kept = {key: one.get("spec") for key, one in known.items() if one["kind"] not in ("ConfigMap", "Lease")}
    state = stage.state()
    return kept, state.current, state.previous, state.pending, stage.log()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("strategy", "bad"),
    [("rolling", ""), ("canary", ""), ("canary", "worse"), ("from rolling", ""), ("blue-green", "")],
)
def test_a_deployment_killed_at_any_call_ends_like_a_clean_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str, bad: str, after: bool
) -> None:
    name = "canary" if strategy == "from rolling" else strategy
    clean = deployed(tmp_path / "clean", monkeypatch, strategy=strategy, bad=bad)
    clean.deploy(2, name)
    total = len(clean.calls)
    assert total >= 12
    expected = outcome(clean)
    for place in range(total):
        stage = deployed(tmp_path / f"killed-{place}", monkeypatch, strategy=strategy, bad=bad)
        stage.after = after
        stage.kill = lambda words, stage=stage, place=place: len(stage.calls) == place  # type: ignore[misc]
        with pytest.raises(Killed):
            stage.deploy(2, name)
        served = stage.serving()
        assert release(1).image in served.values() or release(2).image in served.values()
        stage.kill, stage.dead = lambda words: False, False
        # Killed when all was done: a bad version would only be tried again.
        if outcome(stage) != expected:
            stage.deploy(2, name)
        assert outcome(stage) == expected, place


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_rollback_killed_at_any_call_ends_like_a_clean_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    clean = deployed(tmp_path / "clean", monkeypatch, strategy="canary")
    clean.deploy(2)
    clean.calls.clear()
    clean.rollback(release(1).version)
    total, expected = len(clean.calls), outcome(clean)
    for place in range(total):
        stage = deployed(tmp_path / f"killed-{place}", monkeypatch, strategy="canary")
        stage.deploy(2)
        stage.calls.clear()
        stage.after = after
        stage.kill = lambda words, stage=stage, place=place: len(stage.calls) == place  # type: ignore[misc]
        with pytest.raises(Killed):
            stage.rollback(release(1).version)
        stage.kill = lambda words: False
        stage.rollback(release(1).version)
        assert outcome(stage) == expected, place


def killed_in_the_middle(stage: Stage, number: int = 2) -> None:
    """A deployment of that number dies while it waits for its pods."""
    applied = f"{number:x}" * 64

    def is_after_apply(words: list[str]) -> bool:
        return "rollouts.argoproj.io" in words and applied in str(stage.serving())

    stage.kill = is_after_apply
    with pytest.raises(Killed):
        stage.deploy(number)
    stage.kill, stage.dead = lambda words: False, False
    assert release(number).image in stage.serving().values()


def test_another_release_takes_the_unfinished_one_back_first(stage: Stage) -> None:
    stage.deploy(1)
    killed_in_the_middle(stage)
    assert stage.deploy(3).outcome == "deployed"
    assert stage.state().previous == (release(1),)
    assert ("rollback", "2", "1") in stage.log()


def test_a_rollback_gives_up_what_was_being_deployed(stage: Stage) -> None:
    stage.deploy(1)
    killed_in_the_middle(stage)
    began = stage.now
    result = stage.rollback()
    assert result.release == release(1)
    assert stage.serving() == {"Rollout": release(1).image}
    assert stage.state().pending is None
    # It takes the lock of a deployment at once, dead or alive.
    assert stage.now - began < kubernetes.LEASE


def test_a_deployment_under_way_stops_when_a_rollback_takes_over(stage: Stage) -> None:
    stage.deploy(1)
    stage.set(bad={"2" * 64: "slow"})
    other = {"done": False}

    def rollback_meanwhile(words: list[str]) -> bool:
        if stage.now > 20 and not other["done"]:
            other["done"] = True
            stage.rollback(who="grace")
        return False

    stage.kill = rollback_meanwhile
    with pytest.raises(Refusal, match="took over"):
        stage.deploy(2)
    # It notices within seconds, and not when its time is over.
    assert stage.now < 20 + 2 * kubernetes.LEASE
    assert stage.serving() == {"Rollout": release(1).image}
    assert stage.state().pending is None
    assert stage.log()[-1] == ("rollback", "2", "1")


def test_a_deployment_under_way_says_that_it_lives(stage: Stage) -> None:
    """Its Lease is renewed well before it would be free, however long the pods take."""
    stage.deploy(1)
    stage.set(bad={"2" * 64: "slow"})
    seen: dict[str, float] = {}

    def watch(words: list[str]) -> bool:
        lease = stage.cluster.object("Lease", "tumour-deploy")
        assert lease is not None
        seen.setdefault(lease["metadata"]["resourceVersion"], stage.now)
        return False

    stage.kill = watch
    stage.deploy(2)
    moments = list(seen.values())
    assert stage.now - moments[0] > 600
    assert max(after - before for before, after in itertools.pairwise(moments)) < kubernetes.LEASE / 2


def test_a_way_back_that_was_begun_is_finished_and_not_tried_again(stage: Stage) -> None:
    stage.deploy(1)
    stage.set(bad={"2" * 64: "worse"})
    stage.kill = lambda words: "apply" in words and any("is taken back" in one for one in stage.said)
    with pytest.raises(Killed):
        stage.deploy(2)
    stage.kill = lambda words: False
    # It would pass now; what was decided stays decided.
    stage.set(bad={})
    result = stage.deploy(2)
    assert result.outcome == "rolled back"
    assert stage.serving() == {"Rollout": release(1).image}
    assert stage.log()[-2:] == [("deploy", "1", "2"), ("automatic rollback", "2", "1")]


def test_a_second_deployment_is_refused_while_the_first_lives(stage: Stage) -> None:
    stage.deploy(1)
    stage.set(bad={"2" * 64: "slow"})
    refusals: list[str] = []

    def second(words: list[str]) -> bool:
        if stage.now > 20 and not refusals:
            refusals.append("")
            other = stage.target("grace")
            other._cluster.clock = Clock(monotonic=lambda: stage.now, sleep=first_goes_on)
            with pytest.raises(Refusal) as caught:
                other.deploy(release(3), strategy="canary", say=stage.said.append)
            refusals[0] = str(caught.value)
        return False

    def first_goes_on(seconds: float) -> None:
        """While the second one waits, the first one renews its lease."""
        stage.now += seconds
        with stage.cluster.open() as value:
            value["objects"]["Lease/tumour-deploy"]["metadata"]["resourceVersion"] += "9"

    stage.kill = second
    with pytest.raises(Refusal, match="took over"):
        stage.deploy(2)
    assert refusals[0].startswith("A deploy by ada is under way in acme-production.")


def test_two_at_once_end_with_one_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real processes, the real program on PATH: both type the same at the same moment."""
    stage = make_stage(tmp_path, monkeypatch)
    monkeypatch.undo()
    fake_kubectl.put_on_path(tmp_path)
    stage.cluster = fake_kubectl.Cluster(tmp_path / "cluster.json")
    stage.set(namespaces=[NAMESPACE])
    code = (
        "import sys, pathlib\n"
        "from mlops.deploying import environments, kubernetes\n"
        "from mlops.deploying.namespace import Namespace\n"
        "from mlops.deploying.release import Author, Release\n"
        "from mlops.errors import Refusal\n"
        "kubernetes.LOOK, kubernetes.LEASE = 0.05, 2\n"
        "page = environments.parse('target = \"kubernetes\"', name='production', where='page')\n"
        "n = sys.argv[1]\n"
        "release = Release(model='tumour', version=n * 12, image='r/tumour@sha256:' + n * 64, commit=n * 40)\n"
        "target = Namespace(page, root=pathlib.Path(sys.argv[2]), author=Author(name=n))\n"
        "try:\n"
        "    print(target.deploy(release, strategy='rolling', say=lambda text: None).outcome)\n"
        "except Refusal as refusal:\n"
        "    print('refused', refusal)\n"
    )
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [os.sys.executable, "-c", code]  # type: ignore[attr-defined]
    both = [
        subprocess.Popen([*command, number, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment)
        for number in ("1", "2")
    ]
    said = sorted(one.communicate(timeout=60)[0].split()[0] for one in both)
    monkeypatch.setattr(Cluster, "_run", lambda *given: stage.run(*given))
    assert said in (["deployed", "refused"], ["deployed", "deployed"])
    state = stage.state()
    assert state.pending is None
    assert state.current is not None
    assert list(stage.serving().values()) == [f"r/tumour@sha256:{state.current.version[0] * 64}"]
    assert len(state.previous) == said.count("deployed") - 1


def test_a_state_that_was_changed_meanwhile_is_not_written_over(stage: Stage) -> None:
    stage.deploy(1)

    def meddle(words: list[str]) -> bool:
        with stage.cluster.open() as value:
            about = value["objects"].get("ConfigMap/tumour-releases", {}).get("metadata")
            if about and "replace" in words:
                about["resourceVersion"] = "999"
        return False

    stage.kill = meddle
    with pytest.raises(Refusal, match="took over"):
        stage.deploy(2)
    assert stage.state().current == release(1)


# A cluster that is away, or lacks something


def test_a_cluster_that_is_away_for_a_moment_ends_nothing(stage: Stage) -> None:
    stage.deploy(1)
    waits, began = {"left": 3}, stage.now

    def away(words: list[str]) -> bool:
        if "rollouts.argoproj.io" in words and stage.now > began and waits["left"]:
            waits["left"] -= 1
            stage.set(away=3)
        return False

    stage.kill = away
    assert stage.deploy(2).outcome == "deployed"
    assert waits["left"] == 0


def test_a_cluster_that_does_not_answer_is_named(stage: Stage) -> None:
    stage.set(away=10)
    with pytest.raises(Refusal, match=r"The cluster does not answer: .* i/o timeout"):
        stage.deploy(1)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"argo": False}, "does not know a kind of object: .*Rollout"),
        ({"namespaces": []}, "There is no namespace acme-production"),
    ],
)
def test_what_the_cluster_lacks_is_said_with_what_to_do(stage: Stage, values: dict[str, Any], says: str) -> None:
    stage.set(**values)
    with pytest.raises(Refusal, match=says) as caught:
        stage.deploy(1)
    assert caught.value.do
    assert stage.serving() == {}


def test_rolling_needs_no_argo_rollouts(stage: Stage) -> None:
    stage.set(argo=False)
    assert stage.deploy(1, "rolling").outcome == "deployed"
    assert stage.deploy(2, "rolling").outcome == "deployed"
    assert stage.rollback().release == release(1)


def test_an_unknown_context_is_refused(stage: Stage) -> None:
    with pytest.raises(Refusal, match='context "elsewhere" does not exist'):
        stage.target(address="elsewhere").state("tumour")


def test_without_kubectl_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = make_stage(tmp_path, monkeypatch)
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refusal, match="`kubectl` is not installed"):
        stage.target().state("tumour")


# What is refused


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"image": "sha256:" + "1" * 64}, "no image that a cluster could pull"),
        ({"image": "registry.example/tumour:latest"}, "no image that a cluster could pull"),
        ({"image": "registry.example/tumour@sha256:12"}, "no image that a cluster could pull"),
        ({"image": 'x@sha256:{"a"}' + "1" * 64}, "no image that a cluster could pull"),
        ({"model": "../tumour"}, "no version of a model"),
        ({"model": "tumour: {}"}, "no version of a model"),
        ({"version": "latest"}, "no version of a model"),
        ({"model": "a" * 41}, "too long"),
    ],
)
def test_a_release_that_no_cluster_could_run_is_refused(stage: Stage, wrong: dict[str, str], says: str) -> None:
    with pytest.raises(Refusal, match=says):
        stage.target().deploy(replace(release(1), **wrong), strategy="canary", say=stage.said.append)
    assert stage.calls == []


def test_an_unknown_strategy_and_an_unknown_environment_are_refused(stage: Stage) -> None:
    with pytest.raises(Refusal, match="no strategy 'yolo'"):
        stage.deploy(1, "yolo")
    with pytest.raises(Refusal, match="names no namespace"):
        stage.target(name="moon")


def test_going_back_to_what_is_not_on_record_is_refused(stage: Stage) -> None:
    with pytest.raises(Refusal, match="never deployed to production"):
        stage.rollback()
    stage.deploy(1)
    with pytest.raises(Refusal, match="no earlier version"):
        stage.rollback()
    stage.deploy(2)
    with pytest.raises(Refusal, match="cannot go back to 'ffffffffffff'") as caught:
        stage.rollback("f" * 12)
    assert "111111111111" in caught.value.do
    assert stage.serving() == {"Rollout": release(2).image}
    assert stage.rollback(release(2).version).outcome == "unchanged"


def test_a_state_that_nobody_wrote_here_is_refused(stage: Stage) -> None:
    stage.deploy(1)
    with stage.cluster.open() as value:
        value["objects"]["ConfigMap/tumour-releases"]["data"]["state.json"] = "[]"
    with pytest.raises(Refusal, match="not one that mlops wrote"):
        stage.deploy(2)


def test_objects_of_another_namespace_are_refused(stage: Stage) -> None:
    path = stage.root / "deploy/kubernetes/overlays/production/canary/objects.json"
    path.write_text(path.read_text().replace(NAMESPACE, "kube-system"))
    with pytest.raises(Refusal, match="is not in the namespace acme-production"):
        stage.deploy(1)


def test_the_autoscaler_must_allow_what_the_page_asks_for(stage: Stage) -> None:
    with pytest.raises(Refusal, match="at most 9 pods"):
        stage.target(replicas=10).deploy(release(1), strategy="canary", say=stage.said.append)


def test_a_canary_that_nobody_judges_is_refused(stage: Stage) -> None:
    path = stage.root / "deploy/kubernetes/overlays/production/canary/objects.json"
    path.write_text(path.read_text().replace('"analysis"', '"pause"'))
    with pytest.raises(Refusal, match="no analysis"):
        stage.deploy(1)


# The log


def test_a_line_that_was_changed_is_found(stage: Stage) -> None:
    stage.deploy(1)
    stage.deploy(2)
    with stage.cluster.open() as value:
        data = value["objects"]["ConfigMap/tumour-audit-0001"]["data"]
        data["log"] = data["log"].replace("ada", "eve", 1)
    assert audit.verify(stage.target().audit("tumour"), known_head=stage.state().head) == 0


def test_a_long_log_goes_on_in_another_page_and_stays_one_chain(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops.deploying.namespace.PAGE", 1000)
    for number in range(1, 5):
        stage.deploy(number, "rolling")
    assert stage.cluster.object("ConfigMap", "tumour-audit-0002") is not None
    assert len(stage.log()) == 8


def test_an_override_is_on_record(stage: Stage) -> None:
    environment = environments.parse(PAGE, name="production", where="production.toml")
    author = Author(name="ada", run="https://example/1", override="the lamp is red")
    target = Namespace(environment, root=stage.root, author=author, clock=stage.clock())
    target.deploy(release(1), strategy="canary", say=stage.said.append)
    found = audit.entries(target.audit("tumour"))
    assert [one["what"] for one in found] == ["override", "deploy", "promote"]
    assert found[0]["reason"] == "the lamp is red"
    assert found[0]["run"] == "https://example/1"


# What is shown


def test_status_shows_who_gets_which_part(stage: Stage) -> None:
    assert stage.target().shares("tumour") == {}
    assert stage.target().healthy("tumour") == (0, 0)
    stage.deploy(1)
    assert stage.target().shares("tumour") == {"1" * 12: 100.0}
    killed_in_the_middle(stage)
    for _ in range(3):
        shares = stage.target().shares("tumour")
    assert sum(shares.values()) == 100.0
    assert 0 < shares["2" * 12] < 100
    assert stage.target().healthy("tumour") == (2, 2)


def test_status_speaks_of_pods_and_of_no_steps_that_kubernetes_makes_by_itself(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = stage.root / environments.FOLDER
    pages.mkdir(parents=True, exist_ok=True)
    (pages / "production.toml").write_text(PAGE)
    monkeypatch.setattr(command, "_target", lambda *_: stage.target())
    stage.deploy(1)
    killed_in_the_middle(stage)
    said = command.status(Model(stage.root, "tumour"), "production").text
    assert "2 of 2 pods ready" in said
    assert re.search(r"canary of 222222222222, begun by ada at [-\d]+ [:\d]+ UTC\n", said)
    assert "step" not in said


def test_the_edges_are_those_of_the_service() -> None:
    assert manifests.EDGES == SECONDS


def test_what_is_not_slow_is_named_by_the_limits_below_it() -> None:
    page = environments.parse(PAGE, name="production", where="page")
    assert manifests.judged(page)["fast"] == "0[.]001|0[.]0025|0[.]005|0[.]01"
    slow = replace(page, judge=replace(page.judge, fast_ms=2000.0))
    assert manifests.judged(slow)["fast"].endswith("|0[.]5|1([.]0)?")
    never = replace(page, judge=replace(page.judge, fast_ms=0.0))
    assert manifests.judged(never)["fast"] == "none"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_served_before_comes_back_without_a_judge_and_with_no_pod_less(strategy: str) -> None:
    load = manifests.workload(objects(strategy))
    load["spec"]["strategy"] = load["spec"].get("strategy", {"type": "RollingUpdate"})
    if strategy == "blue-green":
        load["spec"]["strategy"]["blueGreen"] |= {"autoPromotionEnabled": False, "maxUnavailable": 0}
    text = json.dumps(back := manifests.unjudged(load)["spec"])
    assert "judge" not in text
    assert '"maxUnavailable": 0' in text
    assert back["minReadySeconds"] == 0
    if strategy == "blue-green":
        assert back["strategy"]["blueGreen"]["autoPromotionEnabled"] is True
    else:
        assert '"maxSurge": "100%"' in text
    assert load["spec"]["minReadySeconds"] == 5


def test_a_status_of_an_older_generation_says_nothing() -> None:
    """The controller has not seen the change yet: what it says is about the version before."""
    healthy = {"observedGeneration": "1", "phase": "Healthy"}
    load = {"kind": "Rollout", "metadata": {"generation": 2}, "spec": {}, "status": healthy}
    assert manifests.progress(load).is_ == "going"
    assert manifests.progress({**load, "metadata": {"generation": 1}}).is_ == "done"
    assert manifests.progress(None).is_ == "failed"


def test_moments_are_in_utc(stage: Stage) -> None:
    stage.deploy(1)
    lease = stage.cluster.object("Lease", "tumour-deploy")
    assert lease is not None
    moment = dt.datetime.strptime(lease["spec"]["renewTime"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=dt.UTC)
    assert abs((dt.datetime.now(dt.UTC) - moment).total_seconds()) < 60
