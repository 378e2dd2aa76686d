"""Which steps bring a release in, and which undo them? Pure: a state and the containers that there are in, steps out.

Every way keeps two promises that the tests hold it to. At no step do requests go to a container that was not ready, nor
to none while something served before. And each step can be made again, so that whoever finds a list half done goes on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from mlops.deploying.environments import Strategy
from mlops.deploying.release import Release, Server, State, Step, committed, returned

FULL = 100


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The way forward, and the way back that holds as long as the release is not committed."""

    steps: tuple[Step, ...]
    back: tuple[Step, ...]


def deploying(
    state: State,
    release: Release,
    *,
    strategy: Strategy,
    replicas: int,
    weights: Sequence[int],
    serving: Sequence[int],
) -> Plan:
    """The way of a new release; `serving` are the replicas of the current one, `weights` percentages of a canary."""
    old, new = _servers(state.current, serving), _servers(release, range(1, replicas + 1))
    after = committed(state, release)
    end = [*_leave(old), _tidy(state, after, keep=(after.current, *after.previous[:1]))]
    come = [*_bring(new), Step(do="prove", unit=release.unit)]
    commit = Step(do="commit", unit=release.unit)
    match strategy if old else "blue-green":
        case "rolling":
            steps = [*_one_by_one(old, new), commit, end[-1]]
        case "canary":
            steps = come
            for share in weights:
                steps += [_route(split(old, new, share)), Step(do="observe", unit=release.unit, share=share)]
            steps += [_route(new), commit, *end]
        case _:
            watched = [Step(do="observe", unit=release.unit, share=FULL)] if old else []
            steps = [*come, _route(new), *watched, commit, *end]
    return Plan(steps=tuple(steps), back=_back(state, release, old=old, new=new))


def returning(state: State, release: Release, *, replicas: int, serving: Sequence[int]) -> Plan:
    """The way back to an earlier release: it comes as it was judged before, so that nothing is waited for."""
    old, new = _servers(state.current, serving), _servers(release, range(1, replicas + 1))
    after = returned(state, release)
    steps = [
        *_bring(new),
        _route(new),
        Step(do="commit", unit=release.unit),
        *_leave(old),
        # What was left stays, for a look at it.
        _tidy(state, after, keep=(after.current, *after.previous[:1], state.current)),
    ]
    return Plan(steps=tuple(steps), back=_back(state, release, old=old, new=new))


def converging(state: State, *, replicas: int, serving: Sequence[int]) -> Plan:
    """The way of the current release to another number of replicas, or back to those that it should have."""
    old, new = _servers(state.current, serving), _servers(state.current, range(1, replicas + 1))
    extra = [one for one in old if one not in new]
    added = [one for one in new if one not in old]
    steps = [*_bring(new), _route(new), *_leave(extra), *_remove(extra)]
    back = [_route(old), *_leave(added), *_remove(added)]
    return Plan(steps=tuple(steps), back=tuple(back))


def split(old: Sequence[Server], new: Sequence[Server], share: int) -> tuple[Server, ...]:
    """Both sides' servers, weighted so that the new side gets `share` percent whatever the numbers of servers are."""
    # A server's weight is its side's percentage over its side's number of servers, in a proxy's whole numbers.
    sides = [(one, (FULL - share) * len(new)) for one in old] + [(one, share * len(old)) for one in new]
    largest = max(weight for _, weight in sides)
    scale = min(1.0, 256 / largest)
    return tuple(Server(unit=one.unit, replica=one.replica, weight=max(1, round(w * scale))) for one, w in sides)


def share(servers: Iterable[Server], unit: str) -> float:
    """The percentage of the requests that a unit gets."""
    known = list(servers)
    whole = sum(one.weight for one in known)
    return 100 * sum(one.weight for one in known if one.unit == unit) / whole if whole else 0.0


def _servers(release: Release | None, replicas: Iterable[int]) -> list[Server]:
    return [] if release is None else [Server(unit=release.unit, replica=number) for number in replicas]


def _route(servers: Iterable[Server]) -> Step:
    return Step(do="route", servers=tuple(servers))


def _bring(servers: Sequence[Server]) -> list[Step]:
    started = [Step(do="start", unit=one.unit, replica=one.replica) for one in servers]
    return [*started, *(replace(one, do="ready") for one in started)]


def _leave(servers: Sequence[Server]) -> list[Step]:
    """For servers that no new request goes to: wait for the last answer, then stop."""
    if not servers:
        return []
    return [Step(do="drain"), *(Step(do="stop", unit=one.unit, replica=one.replica) for one in servers)]


def _one_by_one(old: Sequence[Server], new: Sequence[Server]) -> list[Step]:
    """Replace one server after the other, so that there is one more than before at most."""
    steps: list[Step] = []
    for place in range(max(len(old), len(new))):
        if place < len(new):
            steps += _bring(new[place : place + 1])
        if place == 0:
            steps.append(Step(do="prove", unit=new[0].unit))
        steps.append(_route([*new[: place + 1], *old[place + 1 :]]))
        steps += _leave(old[place : place + 1])
    return steps


def _back(state: State, release: Release, *, old: Sequence[Server], new: Sequence[Server]) -> tuple[Step, ...]:
    """What served gets all requests again, and what came is stopped; then its containers go."""
    # A rolling update may have stopped some of them.
    steps = [*_bring(old), _route(old), *_leave(new)]
    return (*steps, _tidy(state, state, keep=(state.current, *state.previous), candidate=release))


def _remove(servers: Sequence[Server]) -> list[Step]:
    return [Step(do="remove", unit=one.unit, replica=one.replica) for one in servers]


def _tidy(before: State, after: State, *, keep: Sequence[Release | None], candidate: Release | None = None) -> Step:
    """Containers stay of the releases in `keep`, and images of all that can be gone back to."""
    units = [one for one in keep if one is not None]
    kept = {one.image for one in (after.current, *after.previous) if one is not None}
    known = [one for one in (before.current, *before.previous, candidate) if one is not None]
    # An image that only this engine has may be somebody's work; one that never served is taken from a registry again.
    gone = [one.image for one in known if one.image not in kept and (one is not candidate or "@" in one.image)]
    return Step(do="tidy", keep=tuple(dict.fromkeys(one.unit for one in units)), images=tuple(dict.fromkeys(gone)))
