"""A deployment may be killed at any moment: what served still does, and one command ends where a clean one ends."""

import copy
import dataclasses
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from dockers import Killed, Made, World

from mlops.deploying import audit, environments, traffic
from mlops.deploying import host as hosts
from mlops.deploying.docker import STATE, Done, Engine
from mlops.deploying.environments import Environment
from mlops.deploying.host import Host
from mlops.deploying.release import STRATEGIES, Author, Release, Result, State
from mlops.errors import Refusal

PAGE = """
target = "docker"
replicas = 2
[canary]
weights = [10, 50]
[judge]
requests = 50
minutes = 1
seconds = 6
errors = 0.3
refusals = 0.3
slow = 0.5
shift = 0.9
[load]
requests = 4
rate = 100.0
"""
MODEL = "tumour"


def page(**changes: Any) -> Environment:
    """The environment of these tests."""
    found = environments.parse(PAGE, name="local", where="local.toml")
    return dataclasses.replace(found, **changes)


def release(world: World, name: str, **behaviour: Any) -> Release:
    """A release whose image is in the registry; `name` is one hex digit."""
    version, digest = name * 12, f"sha256:{name * 64}"
    manifest = {
        "model": MODEL,
        "features": [{"name": "x", "dtype": "float"}],
        "golden": {"row": {"x": 1.0}, "prediction": 0.5},
        "proof": {"rows": [], "predictions": []},
        "input_schema": {"required": ["x"]},
    }
    labels = {"mlops.model": MODEL, "mlops.version": version, "org.opencontainers.image.revision": name * 40}
    image = f"registry.example/{MODEL}@{digest}"
    world.registry[image] = Made(id=digest, labels=labels, manifest=manifest, **behaviour)
    return Release(model=MODEL, version=version, image=image, commit=name * 40)


def host(world: World, environment: Environment | None = None, *, who: str = "ann") -> Host:
    """The target, as one process sees it."""
    engine = Engine(world, project="shop", environment="local", host="", sleep=world.sleep)
    author = Author(name=who)
    return Host(engine, environment or page(), author=author, rows=lambda _: [], clock=world.clock)


def quiet(text: str) -> None:
    """Nobody listens."""


@pytest.fixture
def world() -> World:
    """An engine with a proxy's image and nothing else."""
    found = World()
    found.images["haproxy:3.2"] = Made(id="sha256:proxy", labels={}, manifest={})
    return found


@pytest.fixture
def served(world: World) -> World:
    """An engine on which the versions 1 and 2 were deployed; 2 serves."""
    for name in "12":
        assert deploy(world, release(world, name), "rolling").outcome == "deployed"
    assert world.violations == []
    return world


def deploy(world: World, wanted: Release, strategy: str, environment: Environment | None = None) -> Result:
    """One `mlops deploy`."""
    return host(world, environment).deploy(wanted, strategy=strategy, say=quiet)


def rollback(world: World, to: str | None = None, reason: str = "it is wrong") -> Result:
    """One `mlops rollback`."""
    return host(world).rollback(model=MODEL, to=to, reason=reason, say=quiet)


def state(world: World) -> State:
    """What is on record."""
    found = host(world).state(MODEL)
    assert found is not None
    return found


def running(world: World) -> set[str]:
    """The versions whose containers run."""
    return {box.labels["mlops.version"][:1] for box in world.boxes.values() if box.alias and box.status == "running"}


def serving(world: World) -> set[str]:
    """The versions that get requests."""
    return {name[1] for servers in world.routes(world.told).values() for name, weight in servers.items() if weight}


def killed(world: World, command: Callable[[World], object]) -> int:
    """How often a world can be killed during a command: the number of its calls."""
    probe = copy.deepcopy(world)
    probe.calls = 0
    command(probe)
    return probe.calls


def after_each_kill(world: World, command: Callable[[World], object]) -> list[World]:
    """For each call of a command, the world in which the command was killed right after it."""
    found = []
    for place in range(1, killed(world, command)):
        broken = copy.deepcopy(world)
        broken.calls, broken.fuse = 0, place
        # What is killed never ends.
        with pytest.raises(Killed):
            command(broken)
        broken.fuse = -1
        broken.locks.clear()
        found.append(broken)
    return found


def timeless(summary: dict[str, Any]) -> str:
    """A summary as text."""
    return json.dumps(summary, sort_keys=True)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_deployment_killed_anywhere_is_finished_by_the_next_one(served: World, strategy: str) -> None:
    new = release(served, "3")

    def command(one: World) -> Result:
        return deploy(one, new, strategy)

    clean = copy.deepcopy(served)
    assert command(clean).outcome == "deployed"
    assert serving(clean) == running(clean) == {"3"}
    worlds = after_each_kill(served, command)
    assert len(worlds) > 40
    places = set()
    for broken in worlds:
        pending = state(broken).pending
        places.add(pending.step if pending else None)
        assert serving(broken)
        assert command(broken).outcome in ("deployed", "unchanged")
        assert broken.violations == []
        assert timeless(broken.summary()) == timeless(clean.summary())
    assert len(places) > 12


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_deployment_killed_anywhere_is_given_up_by_a_rollback(served: World, strategy: str) -> None:
    """Until it is committed; after that, going back is a rollback like any other."""
    new = release(served, "3")
    for broken in after_each_kill(served, lambda one: deploy(one, new, strategy)):
        begun = state(broken)
        rollback(broken)
        assert broken.violations == []
        now = state(broken)
        assert now.pending is None
        assert now.current is not None
        expected = "2" if begun.pending or (begun.current and begun.current.version[0] == "3") else "1"
        assert now.current.version[0] == expected
        assert serving(broken) == running(broken) == {expected}
        assert audit.verify(host(broken).audit(MODEL), known_head=now.head) is None


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_killed_deployment_gives_way_to_another_release(served: World, strategy: str) -> None:
    new, newer = release(served, "3"), release(served, "4")
    for broken in after_each_kill(served, lambda one: deploy(one, new, strategy)):
        assert deploy(broken, newer, "blue-green").outcome == "deployed"
        assert broken.violations == []
        assert serving(broken) == running(broken) == {"4"}
        assert state(broken).pending is None


def test_a_bad_release_killed_on_its_way_back_is_rolled_back_by_the_next_command(served: World) -> None:
    bad = release(served, "3", fails=0.9)

    def command(one: World) -> Result:
        return deploy(one, bad, "canary")

    clean = copy.deepcopy(served)
    assert command(clean).outcome == "rolled back"
    for broken in after_each_kill(served, command):
        before = state(broken)
        result = command(broken)
        assert broken.violations == []
        assert result.outcome == "rolled back"
        # Where it was killed after its last word, it is tried once more.
        if before.pending is not None or not audit.entries(host(served).audit(MODEL)):
            assert serving(broken) == running(broken) == {"2"}
        assert state(broken).pending is None


def test_a_rollback_killed_anywhere_is_finished_by_the_next_one(served: World) -> None:
    clean = copy.deepcopy(served)
    assert rollback(clean).outcome == "rolled back"
    assert serving(clean) == running(clean) == {"1"}
    for broken in after_each_kill(served, lambda one: rollback(one)):
        pending = state(broken).pending
        done = state(broken).current
        if pending is None and done is not None and done.version[0] == "1":
            continue
        rollback(broken)
        assert broken.violations == []
        assert timeless(broken.summary()) == timeless(clean.summary())


def test_a_first_deployment_killed_anywhere_is_finished(world: World) -> None:
    new = release(world, "1")
    clean = copy.deepcopy(world)
    assert deploy(clean, new, "canary").sentence == "tumour 111111111111 serves local."
    for broken in after_each_kill(world, lambda one: deploy(one, new, "canary")):
        deploy(broken, new, "canary")
        assert broken.violations == []
        assert timeless(broken.summary()) == timeless(clean.summary())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_proxy_that_dies_at_any_step_loses_no_deployment(served: World, strategy: str) -> None:
    """It comes back with the last configuration; the lock, which it held, is taken again."""
    new = release(served, "3")
    clean = copy.deepcopy(served)
    deploy(clean, new, strategy)
    steps = sum("replica" in text or "send" in text for text in said(copy.deepcopy(served), new, strategy))
    assert steps > 6
    for place in range(steps):
        one, count = copy.deepcopy(served), iter(range(1000))

        def say(text: str, one: World = one, count: Any = count, place: int = place) -> None:
            if next(count) == place:
                one.kill_proxy()

        assert host(one).deploy(new, strategy=strategy, say=say).outcome == "deployed"
        assert one.violations == []
        assert timeless(one.summary()) == timeless(clean.summary())
        assert one.locks == set()


def said(world: World, wanted: Release, strategy: str) -> list[str]:
    """What a deployment tells."""
    lines: list[str] = []
    host(world).deploy(wanted, strategy=strategy, say=lines.append)
    return lines


def test_two_at_once_are_one_and_a_refusal(served: World) -> None:
    new, second = release(served, "3"), release(served, "4")
    refusals: list[str] = []

    def say(text: str) -> None:
        if text.startswith("wait until") and not refusals:
            with pytest.raises(Refusal) as refused:
                host(served, who="bob").deploy(second, strategy="rolling", say=quiet)
            refusals.append(refused.value.what)
            with pytest.raises(Refusal, match="is being changed"):
                rollback(served)

    assert host(served).deploy(new, strategy="rolling", say=say).outcome == "deployed"
    assert refusals == ["tumour is being changed in local by ann since 2026-11-18 12:00:06 UTC."] or (
        refusals[0].startswith("tumour is being changed in local by ann since 2026-11-18 12:00:")
    )
    assert serving(served) == {"3"}


def test_the_lock_of_one_model_leaves_others_alone(served: World) -> None:
    served.locks.add(f"{STATE}/diabetes")
    assert deploy(served, release(served, "3"), "rolling").outcome == "deployed"


@pytest.mark.parametrize("moment", ["start 333333333333, replica 2", "try", "send", "stop"])
def test_who_lost_the_lock_to_another_stops(served: World, moment: str) -> None:
    """The proxy dies and somebody else is faster: the first one writes nothing more."""
    new, second = release(served, "3"), release(served, "4")
    done: list[str] = []

    def say(text: str) -> None:
        if text.startswith(moment) and not done:
            done.append(text)
            served.kill_proxy()
            host(served, who="bob").deploy(second, strategy="blue-green", say=quiet)
            # Bob is done; had he not been, the lock would be refused.

    with pytest.raises(Refusal, match="changed by somebody else"):
        host(served).deploy(new, strategy="rolling", say=say)
    assert serving(served) == {"4"}
    assert state(served).current == second
    assert served.violations == []


def test_what_fails_after_a_release_was_committed_is_not_undone(served: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It serves: what is left is cleared away by the next command."""
    new = release(served, "3")
    real, broken = World._order, [True]

    def order(self: World, words: list[str]) -> Any:
        return Done(1, "", "the engine is busy") if words[0] == "stop" and broken[0] else real(self, words)

    monkeypatch.setattr(World, "_order", order)
    with pytest.raises(Refusal, match=r"cannot stop .*: the engine is busy"):
        deploy(served, new, "blue-green")
    assert state(served).current == new
    assert serving(served) == {"3"}
    broken[0] = False
    assert deploy(served, new, "blue-green").outcome == "deployed"
    assert running(served) == {"3"}
    assert state(served).pending is None


def test_what_was_going_back_by_itself_is_on_record_so_whoever_finishes_it(served: World) -> None:
    bad, other = release(served, "3", crashes=True), release(served, "4")
    seen = 0
    for broken in after_each_kill(served, lambda one: deploy(one, bad, "rolling")):
        pending = state(broken).pending
        if pending is not None and pending.undoing:
            seen += 1
            deploy(broken, other, "rolling")
            found = [(one["what"], one["from"][0]) for one in audit.entries(host(broken).audit(MODEL)) if one["from"]]
            assert found[-3:] == [("automatic rollback", "3"), ("deploy", "2"), ("promote", "2")]
    assert seen > 5


def test_a_full_disk_is_refused_before_anything_changes(served: World) -> None:
    new = release(served, "3")
    before = timeless(served.summary() | {"images": []})
    served.full = True
    with pytest.raises(Refusal, match="disk of the Docker engine at hand is full"):
        deploy(served, new, "canary")
    assert timeless(served.summary() | {"images": []}) == before
    assert served.violations == []


def test_a_disk_that_fills_up_on_the_way_leaves_a_version_that_serves(served: World) -> None:
    new = release(served, "3")
    for place in range(len(said(copy.deepcopy(served), new, "canary"))):
        one, count = copy.deepcopy(served), iter(range(1000))

        def say(text: str, one: World = one, count: Any = count, place: int = place) -> None:
            one.full = one.full or next(count) == place

        with pytest.raises(Refusal, match=r"written|configuration|is full"):
            host(one).deploy(new, strategy="canary", say=say)
        assert one.violations == []
        one.full = False
        assert deploy(one, new, "canary").outcome in ("deployed", "rolled back")
        assert one.violations == []


@pytest.mark.parametrize("trouble", ["hangs", "missing"])
def test_a_registry_that_does_not_give_the_image_changes_nothing(served: World, trouble: str) -> None:
    new = release(served, "3")
    before = timeless(served.summary())
    if trouble == "hangs":
        served.registry_hangs = True
    else:
        served.registry.clear()
    with pytest.raises(Refusal, match=r"registry did not give|cannot be pulled") as refused:
        deploy(served, new, "rolling")
    assert "Nothing was changed" in refused.value.do
    assert timeless(served.summary()) == before


def test_an_image_of_another_version_is_refused(served: World) -> None:
    new = release(served, "3")
    served.registry[new.image].labels["mlops.version"] = "4" * 12
    with pytest.raises(Refusal, match="is for tumour 444444444444, not tumour 333333333333"):
        deploy(served, new, "rolling")
    assert serving(served) == {"2"}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [({"ready": False}, "is not ready after 60 seconds"), ({"crashes": True}, "it ends: serve:")],
)
def test_a_release_that_never_becomes_ready_gets_no_request(
    served: World, strategy: str, behaviour: dict[str, Any], reason: str
) -> None:
    result = deploy(served, release(served, "3", **behaviour), strategy)
    assert result.outcome == "rolled back"
    assert reason in result.sentence
    assert "222222222222 serves" in result.sentence
    assert "\n" not in result.sentence
    assert served.violations == []
    assert serving(served) == running(served) == {"2"}
    assert state(served).pending is None


@pytest.mark.parametrize("strategy", ["blue-green", "canary"])
def test_a_release_that_fails_more_is_rolled_back(served: World, strategy: str) -> None:
    result = deploy(served, release(served, "3", fails=0.9), strategy)
    assert result.outcome == "rolled back"
    assert "fails" in result.sentence
    assert served.violations == []
    assert serving(served) == running(served) == {"2"}
    last = audit.entries(host(served).audit(MODEL))[-1]
    assert (last["what"], last["from"], last["to"]) == ("automatic rollback", "3" * 12, "2" * 12)


def test_a_canary_without_traffic_is_judged_by_replay(served: World) -> None:
    served.rate = 0.0
    lines = said(served, release(served, "3"), "canary")
    assert serving(served) == {"3"}
    shown = [line for line in lines if line.startswith("333333333333 is as good at ")]
    assert [line.split()[5] for line in shown] == ["10", "50"]
    assert all("replayed from recorded rows" in line and "It fails on 0.0 %" in line for line in shown)


def test_a_canary_is_decided_as_soon_as_its_replay_is_fast(served: World) -> None:
    """Where nobody asks, a pace of its own spares the wait; what is replayed at once is bounded."""
    served.rate = 0.0
    seconds = []
    for name, replay in (("3", 0.0), ("4", 200.0)):
        before, limits = served.time, environments.Judge(seconds=3, replay=replay)
        assert deploy(served, release(served, name), "canary", page(judge=limits)).outcome == "deployed"
        seconds.append(served.time - before)
    assert seconds[0] > 180
    assert seconds[1] < 18
    assert served.violations == []


@pytest.mark.parametrize("how", ["an error", "too late"])
def test_metrics_that_cannot_be_had_are_asked_for_again(
    served: World, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A busy host answers late: that alone is no reason to go back."""
    real, asked = World._get, [0]

    def get(self: World, box: Any, made: Any, path: str) -> Any:
        asked[0] += path == "/metrics"
        if path != "/metrics" or asked[0] % 3 == 0:
            return real(self, box, made, path)
        if how == "too late":
            raise TimeoutError
        return Done(1, "", "Nothing answers")

    monkeypatch.setattr(World, "_get", get)
    monkeypatch.setattr(hosts, "ThreadPoolExecutor", lambda workers: ThreadPoolExecutor(1))
    assert deploy(served, release(served, "3"), "canary").outcome == "deployed"
    assert asked[0] >= 3 * 4


def test_a_canary_that_is_never_decided_is_rolled_back(served: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data at all: the deadline goes back."""
    monkeypatch.setattr(World, "_get", without_metrics(World._get))
    result = deploy(served, release(served, "3"), "canary")
    assert result.outcome == "rolled back"
    assert "1 minute" in result.sentence
    assert serving(served) == {"2"}


def without_metrics(real: Callable[..., Any]) -> Callable[..., Any]:
    """A service whose metrics cannot be had."""

    def get(self: World, box: Any, made: Any, path: str) -> Any:
        found = real(self, box, made, path)
        return dataclasses.replace(found, code=1) if path == "/metrics" else found

    return get


def test_ctrl_c_goes_back(served: World) -> None:
    def say(text: str) -> None:
        if text.startswith("observe"):
            served.sleep = interrupt  # type: ignore[method-assign]

    def interrupt(seconds: float) -> None:
        del served.__dict__["sleep"]
        raise KeyboardInterrupt

    one = host(served)
    object.__setattr__(one._clock, "sleep", lambda seconds: served.sleep(seconds))
    result = one.deploy(release(served, "3"), strategy="canary", say=say)
    assert result.outcome == "rolled back"
    assert "interrupted" in result.sentence
    assert serving(served) == running(served) == {"2"}


def test_the_same_release_again_touches_nothing(served: World) -> None:
    again = release(served, "2")
    before = timeless(served.summary())
    served.words.clear()
    result = deploy(served, again, "canary")
    assert result.outcome == "unchanged"
    assert timeless(served.summary()) == before
    assert not {"create --name", "rm --force"} & set(served.words)


@pytest.mark.parametrize("replicas", [1, 3])
def test_another_number_of_replicas_is_reached(served: World, replicas: int) -> None:
    again = release(served, "2")
    more = page(replicas=replicas)
    for broken in [copy.deepcopy(served), *after_each_kill(served, lambda one: deploy(one, again, "rolling", more))]:
        assert deploy(broken, again, "rolling", more).outcome in ("deployed", "unchanged")
        assert broken.violations == []
        mine = [box.status for box in broken.boxes.values() if box.labels.get("mlops.version") == again.version]
        assert mine == ["running"] * replicas
        assert deploy(broken, again, "rolling", more).outcome == "unchanged"
    # What was left out is not counted on by the next release.
    assert deploy(broken, release(broken, "3"), "rolling", page()).outcome == "deployed"
    assert broken.violations == []


def test_a_container_that_was_stopped_by_hand_comes_back(served: World) -> None:
    next(box for name, box in served.boxes.items() if name.endswith("222222-2")).status = "exited"
    assert deploy(served, release(served, "2"), "canary").outcome == "deployed"
    assert running(served) == {"2"}


def test_a_rollback_goes_to_any_of_the_last_five(world: World) -> None:
    for name in "1234567":
        deploy(world, release(world, name), "blue-green")
    assert [one.version[0] for one in state(world).previous] == list("65432")
    assert rollback(world, to="3" * 12).release is not None
    assert serving(world) == running(world) == {"3"}
    with pytest.raises(Refusal, match="cannot go back to '111111111111'") as refused:
        rollback(world, to="1" * 12)
    assert "666666666666" in refused.value.do
    assert world.violations == []


def test_images_of_the_last_five_are_kept_and_older_ones_go(world: World) -> None:
    wanted = [release(world, name) for name in "12345678"]
    for one in wanted:
        deploy(world, one, "rolling")
    kept = {name for name in world.images if "@" in name}
    assert kept == {one.image for one in wanted[2:]}


def test_the_containers_of_the_version_before_stay_stopped(served: World) -> None:
    boxes = {(box.labels["mlops.version"][0], box.status) for box in served.boxes.values() if box.alias}
    assert boxes == {("1", "exited"), ("2", "running")}
    deploy(served, release(served, "3"), "rolling")
    boxes = {(box.labels["mlops.version"][0], box.status) for box in served.boxes.values() if box.alias}
    assert boxes == {("2", "exited"), ("3", "running")}


def test_a_failed_release_leaves_the_containers_that_a_rollback_would_start(served: World) -> None:
    boxes = {name: box.status for name, box in served.boxes.items()}
    assert deploy(served, release(served, "3", crashes=True), "rolling").outcome == "rolled back"
    assert {name: box.status for name, box in served.boxes.items()} == boxes


def test_prediction_logs_go_with_the_versions_that_left_the_last_five(world: World) -> None:
    for name in "1234567":
        deploy(world, release(world, name), "blue-green")
    assert {one[0] for one in world.logs} == set("234567")
    assert deploy(world, release(world, "8", fails=0.9), "canary").outcome == "rolled back"
    assert {one[0] for one in world.logs} == set("2345678"), "what was given up can be looked into"
    deploy(world, release(world, "9"), "blue-green")
    assert {one[0] for one in world.logs} == set("345679")


def test_a_rollback_says_what_it_left(served: World) -> None:
    """For the issue that holds that version back, and the pull request."""
    assert rollback(served).facts["left"] == "2" * 12
    new = release(served, "3")
    broken = after_each_kill(served, lambda one: deploy(one, new, "canary"))[40]
    assert state(broken).pending is not None
    assert rollback(broken).facts["left"] == "3" * 12


def test_a_second_rollback_does_not_go_to_what_was_left(served: World) -> None:
    deploy(served, release(served, "3"), "rolling")
    assert [rollback(served).release.version[0] for _ in range(2)] == ["2", "1"]  # type: ignore[union-attr]
    assert [one.version[0] for one in state(served).previous] == ["3", "2"]


def test_a_rollback_needs_no_registry(served: World) -> None:
    served.registry.clear()
    served.registry_hangs = True
    assert rollback(served).sentence.startswith("tumour 111111111111 serves local instead of 222222222222, after")


def test_a_rollback_to_a_version_that_does_not_start_leaves_what_serves(served: World) -> None:
    served.images[release(served, "1").image].ready = False
    with pytest.raises(Refusal, match="could not go back to 111111111111") as refused:
        rollback(served)
    assert refused.value.code == 1
    assert serving(served) == running(served) == {"2"}
    assert served.violations == []


def test_the_same_version_in_a_new_image_is_another_release(served: World) -> None:
    """A new base image changes no model; it is deployed and rolled back like one."""
    again = release(served, "2")
    rebuilt = dataclasses.replace(again, image=again.image.replace("sha256:2222222", "sha256:2222abc"))
    made = served.registry[again.image]
    served.registry[rebuilt.image] = dataclasses.replace(made, id="sha256:2222abc" + "2" * 57)
    assert deploy(served, rebuilt, "canary").outcome == "deployed"
    assert state(served).previous[0] == again
    assert state(served).earlier == (again.unit, "1" * 12)
    assert rollback(served, to=again.unit).release == again
    assert served.violations == []


def test_a_failed_first_deployment_leaves_nothing_behind(world: World) -> None:
    result = deploy(world, release(world, "1", ready=False), "canary")
    assert "nothing serves" in result.sentence
    assert running(world) == serving(world) == set()
    assert [name for name in world.boxes if "tumour" in name] == []


def test_the_audit_log_tells_all_and_shows_edits(served: World) -> None:
    deploy(served, release(served, "3", fails=0.9), "canary")
    rollback(served, reason="people complain")
    lines = host(served).audit(MODEL)
    found = [(one["what"], one["from"][:1], one["to"][:1]) for one in audit.entries(lines)]
    assert found == [
        ("deploy", "", "1"),
        ("promote", "", "1"),
        ("deploy", "1", "2"),
        ("promote", "1", "2"),
        ("deploy", "2", "3"),
        ("automatic rollback", "3", "2"),
        ("rollback", "2", "1"),
    ]
    head = state(served).head
    assert audit.verify(lines, known_head=head) is None
    assert audit.verify(lines[:-1], known_head=head) == 6
    edited = [line.replace("people complain", "planned") for line in lines]
    assert audit.verify(edited, known_head=head) is not None


def test_a_state_of_another_format_is_left_alone(served: World) -> None:
    path = f"{STATE}/{MODEL}/state.json"
    served.files[path] = served.files[path].replace('"format": 1', '"format": 2')
    with pytest.raises(Refusal, match="has the format 2"):
        deploy(served, release(served, "3"), "rolling")
    served.files[path] = "{"
    with pytest.raises(Refusal, match="not valid JSON"):
        rollback(served)


def test_a_token_is_kept_over_a_rollback_and_is_in_no_list_of_processes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVE_TOKEN", "0123456789abcdef")
    for name in "123":
        deploy(world, release(world, name), "rolling")
    monkeypatch.delenv("SERVE_TOKEN")
    rollback(world, to="1" * 12)
    now = [box for box in world.boxes.values() if box.alias and box.status == "running"]
    assert {box.labels["mlops.version"][0] for box in now} == {"1"}
    assert all(box.env == ["SERVE_TOKEN=0123456789abcdef"] for box in now)
    assert "0123456789abcdef" not in " ".join(word for box in world.boxes.values() for word in box.words)


def test_a_new_form_of_the_proxys_configuration_arrives(served: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "_BASE", "global\n    maxconn 9\n")
    deploy(served, release(served, "3"), "rolling")
    assert served.told[traffic.BASE] == "global\n    maxconn 9\n"


def test_containers_are_confined(served: World) -> None:
    for box in served.boxes.values():
        words = " ".join(box.words)
        for flag in ("--read-only", "--cap-drop ALL", "--security-opt no-new-privileges", "--pids-limit", "--memory"):
            assert flag in words
        assert "--user 65532:65532" in words
        assert "--restart unless-stopped" in words
