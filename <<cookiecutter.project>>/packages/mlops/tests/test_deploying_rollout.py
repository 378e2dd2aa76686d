"""The steps of every strategy, and what the proxy is told: pure, so that promises are checked on the lists."""

from collections.abc import Sequence

import pytest

from mlops.deploying import rollout, traffic
from mlops.deploying.environments import Strategy
from mlops.deploying.release import (
    KEPT,
    STRATEGIES,
    Pending,
    Release,
    Server,
    State,
    Step,
    committed,
    earlier,
    read_state,
    returned,
)
from mlops.errors import Refusal


def release(name: str) -> Release:
    """A release whose version and image are one digit."""
    return Release(model="tumour", version=name * 12, image=f"r/t@sha256:{name * 64}", commit=name * 40)


OLD, NEW = release("1"), release("2")


def plan(strategy: Strategy, *, old: int = 2, new: int = 2, current: Release | None = OLD) -> rollout.Plan:
    """From `old` containers to `new` ones."""
    state = State(model="tumour", current=current)
    serving = range(1, old + 1)
    return rollout.deploying(state, NEW, strategy=strategy, replicas=new, weights=[10, 50], serving=serving)


def follow(steps: Sequence[Step], *, up: set[Server], served: tuple[Server, ...]) -> tuple[set[Server], list[Server]]:
    """Make the steps on paper; fails where a request would meet a container that is not ready, or none."""
    up, ready, routed, drained = set(up), set(up), list(served), True
    for step in steps:
        one = Server(unit=step.unit, replica=step.replica)
        match step.do:
            case "start":
                up.add(one)
            case "ready":
                assert one in up
                ready.add(one)
            case "route":
                routed, drained = list(step.servers), False
            case "drain":
                drained = True
            case "stop" | "remove":
                assert drained, "stopped while clients may wait for its answer"
                assert one.name not in {server.name for server in routed}
                up.discard(one)
                ready.discard(one)
        names = {server.name for server in ready}
        assert all(server.name in names for server in routed), step
        assert routed or not served, step
    return up, routed


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(("old", "new"), [(2, 2), (1, 1), (1, 3), (3, 1), (4, 2)])
def test_requests_always_meet_a_ready_container(strategy: Strategy, old: int, new: int) -> None:
    before = tuple(Server(unit=OLD.unit, replica=number) for number in range(1, old + 1))
    wanted = {Server(unit=NEW.unit, replica=number) for number in range(1, new + 1)}
    made = plan(strategy, old=old, new=new)
    up, routed = follow(made.steps, up=set(before), served=before)
    assert up == set(routed) == wanted


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(("old", "new"), [(2, 2), (1, 3), (3, 1)])
def test_the_way_back_leads_back_from_every_step(strategy: Strategy, old: int, new: int) -> None:
    before = tuple(Server(unit=OLD.unit, replica=number) for number in range(1, old + 1))
    made = plan(strategy, old=old, new=new)
    last = next(place for place, step in enumerate(made.steps) if step.do == "commit")
    for place in range(last + 1):
        up, routed = follow(made.steps[:place], up=set(before), served=before)
        up, routed = follow(made.back, up=up, served=tuple(routed))
        assert up == set(routed) == set(before)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_rollout_has_a_dozen_steps_to_be_killed_at(strategy: Strategy) -> None:
    assert len(plan(strategy).steps) >= 12


def test_a_rolling_update_has_one_container_more_at_most() -> None:
    before = {Server(unit=OLD.unit, replica=number) for number in (1, 2, 3)}
    steps = plan("rolling", old=3, new=3).steps
    for place in range(len(steps)):
        up, routed = follow(steps[:place], up=before, served=tuple(before))
        assert len(up) <= 4
        assert len(routed) == 3


def test_a_canary_is_observed_at_each_share_before_it_gets_more() -> None:
    told = [
        (step.do, step.share or round(rollout.share(step.servers, NEW.unit)))
        for step in plan("canary").steps
        if step.do in ("route", "observe")
    ]
    assert told == [("route", 10), ("observe", 10), ("route", 50), ("observe", 50), ("route", 100)]


def test_blue_green_switches_at_once_and_keeps_the_old_ones_until_it_is_judged() -> None:
    steps = [step.do for step in plan("blue-green").steps]
    assert steps.count("route") == 1
    assert steps.index("route") < steps.index("observe") < steps.index("commit") < steps.index("stop")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_first_deployment_is_compared_with_nothing(strategy: Strategy) -> None:
    made = plan(strategy, old=0, current=None)
    assert "observe" not in [step.do for step in made.steps]
    up, routed = follow(made.steps, up=set(), served=())
    assert len(up) == len(routed) == 2
    up, routed = follow(made.back, up=up, served=())
    assert not up
    assert not routed


@pytest.mark.parametrize(("old", "new", "wanted"), [(2, 2, 10), (1, 5, 10), (20, 1, 50), (100, 3, 1), (3, 100, 99)])
def test_the_shares_are_right_whatever_the_numbers_of_containers(old: int, new: int, wanted: int) -> None:
    sides = [[Server(unit=unit, replica=n) for n in range(count)] for unit, count in ((OLD.unit, old), (NEW.unit, new))]
    servers = rollout.split(sides[0], sides[1], wanted)
    assert all(1 <= one.weight <= 256 for one in servers)
    assert rollout.share(servers, NEW.unit) == pytest.approx(wanted, abs=1.5)


def test_a_rollback_is_not_judged() -> None:
    """What it goes back to was judged when it came; each second counts."""
    state = State(model="tumour", current=NEW, previous=(OLD,))
    before = tuple(Server(unit=NEW.unit, replica=number) for number in (1, 2))
    made = rollout.returning(state, OLD, replicas=2, serving=[1, 2])
    assert not {"observe", "prove"} & {step.do for step in made.steps}
    up, routed = follow(made.steps, up=set(before), served=before)
    assert up == set(routed) == {Server(unit=OLD.unit, replica=number) for number in (1, 2)}


@pytest.mark.parametrize(("had", "wanted"), [([1, 2], 3), ([1, 2, 3], 1), ([2], 2), ([], 2)])
def test_a_number_of_containers_is_reached_without_a_gap(had: list[int], wanted: int) -> None:
    state = State(model="tumour", current=OLD)
    before = tuple(Server(unit=OLD.unit, replica=number) for number in had)
    made = rollout.converging(state, replicas=wanted, serving=had)
    up, routed = follow(made.steps, up=set(before), served=before)
    assert {one.replica for one in up} == {one.replica for one in routed} == set(range(1, wanted + 1))


def test_five_releases_can_be_gone_back_to_and_no_image_of_them_is_removed() -> None:
    state = State(model="tumour")
    removed: list[str] = []
    for name in "12345678":
        new = release(name)
        made = rollout.deploying(state, new, strategy="rolling", replicas=1, weights=[], serving=[1])
        removed += made.steps[-1].images
        state = committed(state, new)
    assert [one.version[0] for one in state.previous] == list("76543")
    assert len(state.previous) == KEPT
    assert removed == [release("1").image, release("2").image]


def test_what_was_rolled_back_from_is_gone_back_to_last() -> None:
    state = State(model="tumour")
    for name in "123":
        state = committed(state, release(name))
    state = returned(state, earlier(state, None))
    assert (state.current, [one.version[0] for one in state.previous]) == (release("2"), ["1", "3"])
    assert earlier(state, "3" * 12) == release("3")
    with pytest.raises(Refusal, match="cannot go back to '9'"):
        earlier(state, "9")


def test_a_state_is_the_same_after_it_was_stored() -> None:
    made = plan("canary")
    pending = Pending(
        release=NEW,
        strategy="canary",
        step=3,
        started="now",
        by="ann",
        steps=made.steps,
        back=made.back,
        undoing="slow",
    )
    state = State(model="tumour", current=OLD, previous=(release("0"),), pending=pending, head="sha256:1")
    assert read_state(state.to_json(), where="here") == state
    for broken in ({}, [], {"format": 1}, None):
        with pytest.raises(Refusal, match="not one that mlops wrote"):
            read_state(broken, where="here")


def test_the_proxy_is_told_the_servers_and_weights_and_tells_them_itself() -> None:
    servers = (Server(unit=OLD.unit, replica=1, weight=90), Server(unit=NEW.unit, replica=1, weight=10))
    text = traffic.backend("tumour", servers)
    assert f"    server {servers[0].name} {servers[0].name}:8080 weight 90\n" in text
    assert f"    server {servers[1].name} {servers[1].name}:8080 weight 10\n" in text
    assert traffic.report("tumour", servers) in text
    assert traffic.report("tumour", servers) != traffic.report("tumour", servers[:1])
    assert len({len(one.name) <= 63 for one in servers}) == 1


def test_two_images_of_one_version_are_two_units() -> None:
    again = Release(model="tumour", version=NEW.version, image="r/t@sha256:" + "9" * 64, commit=NEW.commit)
    assert again.unit != NEW.unit
    assert again.unit.startswith(NEW.version)
