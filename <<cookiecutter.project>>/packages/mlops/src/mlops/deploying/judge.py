"""Is the new version (the canary) as good as the one that serves? Promote, roll back, or hold: a pure function.

It is asked again every few seconds, and a test that may be asked only once would sooner or later say yes to anything.
What is collected here is evidence that may be looked at at any time: e-processes. Each bets, before a look, on how the
next requests will turn out, against a claim that it wants to refute; if the claim is true, the chance that its winnings
ever reach 1/risk is at most the risk (Ville's inequality), however often one looks and whenever one stops.

Two claims about each share (errors, refusals, slow answers, predictions under a cut):
- "worse by the limit or more": refuting it, for all of them, promotes. A version that bad is promoted with a chance of
  at most `RISK`, whatever else is true.
- "worse by no more than is tolerated": refuting it, for one of them, rolls back. The risk is divided among all of these
  claims and all steps, so that a version as good as the serving one is rolled back by them with a chance of at most
  `RISK`.

Both sides are compared within each look, so the day's ups and downs (which hit both) are no evidence. The bets are
those of Turner, Ly and Grünwald, "Generic E-variables for exact sequential k-sample tests that allow for optional
stopping" (2024), with the projection for a difference of two shares of Turner and Grünwald, "Exact anytime-valid
confidence intervals for contingency tables and beyond" (2023). Standard library only;
`docs/explanation/the-canary-judge.md` says it in words.
"""

import bisect
import collections
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from mlops.deploying.environments import Judge
from mlops.deploying.observe import Histogram, NoData, Window
from mlops.errors import counted

Answer = Literal["promote", "roll back", "hold"]

RISK = 0.01
"""The chance of each of the two errors, at most."""
TOLERATED = {"errors": 0.25, "refusals": 0.25, "slow": 0.25, "predictions": 0.5}
"""The part of a limit that is not worth a rollback. Predictions may move most: a new version is there to differ."""
USUAL = {"errors": 0.005, "refusals": 0.005, "slow": 0.03, "predictions": 0.5}
"""What a share is thought to be before anything was seen; it costs nothing but time where it is wrong."""
BELIEF = 20.0
"""How many requests that thought is worth."""
ALIKE = 100.0
"""How many requests the thought is worth that both sides are alike."""
LOG_CAUTION = math.log(0.001)
"""The part that is never bet (log), so that one odd look cannot ruin a process."""
SLOWEST = 0.95
"""Slow is beyond this quantile of the serving version."""
MORE, FEWER = "more often: ", "less often: "
SAID = {"errors": "fails on", "refusals": "refuses", "slow": "is slow on"}
CUTS = 9
"""Most places at which two distributions of predictions are compared."""
PROBABILITY = 2.0
"""The probability of the chosen class may move by so many times `shift`: another estimator is more, or less, sure."""
ENOUGH = math.log(1 / RISK)
"""The evidence (log) that refutes one claim."""
RESTARTS = 3
"""A canary that began anew so many times within a step is rolled back; its failed requests are counted nowhere."""
PACE = 12
"""Replay aims at so many times `judge.requests` by the deadline at least, evenly over the minutes."""
MOST = 2
"""Replay sends at most so many times `judge.requests` between two looks."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What both sides did since the look before. Look once before and once after a replay, so that rows do not mix."""

    canary: Window | NoData
    stable: Window | NoData
    replayed: int = 0
    """Requests of recorded rows that were sent to each side in between; they are part of the windows."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The answer, and why in whole sentences."""

    answer: Answer
    reasons: tuple[str, ...]
    replay: int = 0
    """Recorded rows to send to each side, one request each, because there is too little traffic to decide in time."""


Name = tuple[str, str]
"""A measure, and which of its shares in words: a cut, a class."""


class Share(NamedTuple):
    """How often something happened on the side that is claimed to be worse, and on the other side.

    Counts may be fractions (see `_predictions`). Where histograms of the two sides have different edges, counts are not
    known but bounded: `most` and `least` are then how large the difference between the sides may, and must, be.
    """

    limit: float
    most: tuple[float, float]
    """(of the worse side, of the other side), so that the difference is as large as it may be."""
    least: tuple[float, float]
    """The same, as small as it may be."""
    of: tuple[float, float]
    """Out of so many, on the worse side and on the other."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that one step has seen; a side is None until both have said something."""

    canary: Window | None = None
    stable: Window | None = None
    shares: Mapping[Name, Share] = field(default_factory=dict)
    """What is compared, all looks together."""
    replayed: int = 0
    restarts: int = 0
    missing: str = "nobody has looked yet"
    """Why the last look says nothing; empty when it does."""
    fine: Mapping[Name, float] = field(default_factory=dict)
    """Per share, the evidence now (log) against "worse by the limit or more"."""
    harm: Mapping[Name, float] = field(default_factory=dict)
    """Per share, the evidence now (log) against "worse by no more than is tolerated"."""

    def after(self, look: Look, limits: Judge) -> "Evidence":
        """With one more look; one that says nothing, or does not fit the earlier ones, adds nothing."""
        canary, stable = look.canary, look.stable
        again = isinstance(canary, NoData) and canary.restarted
        if isinstance(canary, NoData):
            return self._missing(f"the new version says nothing: {canary.why}", restarts=self.restarts + again)
        if isinstance(stable, NoData):
            return self._missing(f"the serving version says nothing: {stable.why}")
        canaries = canary if self.canary is None else _add(self.canary, canary)
        stables = stable if self.stable is None else _add(self.stable, stable)
        if canaries is None or stables is None:
            return self._missing("a side counts in other bins or classes than before")
        fine, harm = dict(self.fine), dict(self.harm)
        # What is bet on depends on earlier looks only; on this one, only what is won or lost.
        for name, share in shares(canary, stable, self.stable, limits):
            before = self.shares.get(name)
            fine[name] = fine.get(name, 0.0) + _won(share, before, name[0], "fine")
            harm[name] = harm.get(name, 0.0) + _won(share, before, name[0], "harm")
        return Evidence(
            canary=canaries,
            stable=stables,
            shares=dict(shares(canaries, stables, stables, limits)),
            replayed=self.replayed + look.replayed,
            restarts=self.restarts,
            missing="",
            fine=fine,
            harm=harm,
        )

    def _missing(self, why: str, *, restarts: int | None = None) -> "Evidence":
        return replace(self, missing=why, restarts=self.restarts if restarts is None else restarts)


def judge(looks: Sequence[Look], *, limits: Judge, elapsed: float, steps: int) -> Judgement:
    """Judge a step of a rollout from all of its looks so far; `elapsed` is in seconds since the step began.

    `steps` is the number of steps that are judged in the whole rollout: the risk is divided among them.
    """
    evidence = functools.reduce(lambda known, look: known.after(look, limits), looks, Evidence())
    return decide(evidence, limits=limits, elapsed=elapsed, steps=steps)


def decide(evidence: Evidence, *, limits: Judge, elapsed: float, steps: int) -> Judgement:
    """The answer to what was seen so far; `judge` for those who keep the evidence instead of the looks."""
    measures = [name for name, limit in _limits(limits).items() if limit < 1]
    proofs = _proofs(evidence, len(measures) * max(1, steps))
    harmful = [name for name, found in evidence.harm.items() if found >= proofs[name[0]]]
    if harmful:
        return Judgement(answer="roll back", reasons=tuple(_says(name, evidence.shares[name]) for name in harmful[:3]))
    if evidence.restarts >= RESTARTS:
        what = f"The new version ended and began anew {counted(evidence.restarts, 'time')} in this step."
        return Judgement(answer="roll back", reasons=(what,))
    open_ = tuple(_open(evidence, limits, measures))
    if not open_:
        return Judgement(answer="promote", reasons=tuple(_fine(evidence, measures)))
    deadline = limits.minutes * 60
    if not elapsed < deadline:
        late = f"After {counted(limits.minutes, 'minute')} it is not shown to be as good as the serving version:"
        return Judgement(answer="roll back", reasons=(late, *open_))
    return Judgement(answer="hold", reasons=open_, replay=_replay(evidence, limits, elapsed))


def _limits(limits: Judge) -> dict[str, float]:
    return {"errors": limits.errors, "refusals": limits.refusals, "slow": limits.slow, "predictions": limits.shift}


def _proofs(evidence: Evidence, parts: int) -> dict[str, float]:
    """By measure, the evidence (log) that rolls back: the risk is divided among `parts`, and a measure's shares."""
    counts = collections.Counter(measure for measure, _ in evidence.harm)
    return {measure: math.log(parts * count / RISK) for measure, count in counts.items()}


def _replay(evidence: Evidence, limits: Judge, elapsed: float) -> int:
    """What is lacking, on the side that has less, of an even pace; so much at most, then it is looked at again."""
    pace = max(limits.replay, PACE * limits.requests / (limits.minutes * 60))
    sides = (evidence.canary, evidence.stable)
    least = min(0 if side is None else side.requests for side in sides)
    return min(MOST * limits.requests, max(0, math.ceil(round(pace * elapsed, 6)) - least))


def _open(evidence: Evidence, limits: Judge, measures: Sequence[str]) -> Iterator[str]:
    """Why the step cannot be passed yet, in sentences."""
    if evidence.missing:
        yield f"The last look found no data: {evidence.missing}."
    for who, side in (("new", evidence.canary), ("serving", evidence.stable)):
        had = 0 if side is None else side.requests
        if had < limits.requests:
            yield f"The {who} version has had {had:,} of {counted(limits.requests, 'request')}."
    lacking: dict[str, Name] = {}
    for name, found in evidence.fine.items():
        if found < ENOUGH:
            lacking.setdefault(name[0], name)
    known = {name[0] for name in evidence.fine}
    for measure in measures if known else ():
        if measure in lacking:
            yield f"Not certain yet: {_says(lacking[measure], evidence.shares[lacking[measure]])}"
        elif measure not in known:
            yield f"Nothing can be compared about its {measure}."


def _fine(evidence: Evidence, measures: Sequence[str]) -> Iterator[str]:
    """Why the step is passed: for each measure, the share that differs most."""
    if evidence.replayed:
        what = counted(evidence.replayed, "request")
        yield f"{what} for each side were replayed from recorded rows, because there was little traffic."
    for measure in measures:
        name = max((name for name in evidence.shares if name[0] == measure), key=lambda n: _gap(evidence.shares[n]))
        yield _says(name, evidence.shares[name])


def _gap(share: Share) -> float:
    return share.most[0] / max(share.of[0], 1) - share.most[1] / max(share.of[1], 1)


def _says(name: Name, share: Share) -> str:
    """One comparison in numbers, the new version's first."""
    measure, what = name
    fewer = what.startswith(FEWER)
    of, counts = (share.of[::-1], share.most[::-1]) if fewer else (share.of, share.most)
    new, serving = (_percent(count, total) for count, total in zip(counts, of, strict=True))
    limit = f"the limit is {share.limit * 100:g} points {'less' if fewer else 'more'}"
    if measure == "predictions":
        what = what.removeprefix(FEWER).removeprefix(MORE)[:80]
        return f"It predicts {what} for {new}, the serving version for {serving}; {limit}."
    requests = counted(round(of[0]), "request")
    return f"It {SAID[measure]} {new} of {requests}, the serving version {serving} of {round(of[1]):,}; {limit}."


def _percent(count: float, total: float) -> str:
    return f"{100 * count / max(total, 1):.1f} %"


def shares(canary: Window, stable: Window, reference: Window | None, limits: Judge) -> Iterator[tuple[Name, Share]]:
    """Everything that is compared. `reference` is what the serving version did earlier: it says what slow is."""
    of = (float(canary.requests), float(stable.requests))
    if limits.errors < 1:
        counts = (float(canary.errors), float(stable.errors))
        yield ("errors", ""), Share(limits.errors, counts, counts, of)
    if limits.refusals < 1:
        counts = (float(canary.refusals), float(stable.refusals))
        yield ("refusals", ""), Share(limits.refusals, counts, counts, of)
    if limits.slow < 1:
        yield ("slow", ""), _slow(canary, stable, reference, limits)
    if limits.shift < 1:
        yield from _predictions(canary, stable, limits.shift)


def _slow(canary: Window, stable: Window, reference: Window | None, limits: Judge) -> Share:
    """Requests beyond the edge under which 95 % of the serving version's earlier ones were, and beyond `fast_ms`."""
    edges = stable.seconds.edges
    place = bisect.bisect_left(edges, limits.fast_ms / 1000)
    if reference is not None and reference.seconds.edges == edges:
        enough = SLOWEST * reference.seconds.total
        place = max(place, bisect.bisect_left(reference.seconds.totals, enough))
    edge = edges[min(place, len(edges) - 1)] if edges else math.inf
    low, high = canary.seconds.up_to(edge)
    total, other = canary.seconds.total, stable.seconds.total
    slow = float(other - stable.seconds.up_to(edge)[0])
    return Share(limits.slow, (float(total - low), slow), (float(total - high), slow), (float(total), float(other)))


def _predictions(canary: Window, stable: Window, shift: float) -> Iterator[tuple[Name, Share]]:
    """Predictions under each cut, and of each class, in both directions.

    Rows of one request are alike, and a request may have a thousand of them: shares are those of the rows, and they
    count for as many as there were requests. Edges are the bins of each version's own training target: where they
    differ, the counts under a cut are bounded by the neighbouring edges.
    """
    of = (float(canary.answered), float(stable.answered))
    rows = (canary.predictions.total, stable.predictions.total)
    if 0 in rows:
        of = (0.0, 0.0)
    scale = (of[0] / max(rows[0], 1), of[1] / max(rows[1], 1))
    limit = shift if stable.labels is None else shift * PROBABILITY
    if limit < 1:
        for edge, more, fewer in _cuts(stable.predictions.edges, is_class=stable.labels is not None):
            low, high = canary.predictions.up_to(edge)
            other = stable.predictions.up_to(edge)[0] * scale[1]
            yield more, Share(limit, (high * scale[0], other), (low * scale[0], other), of)
            yield fewer, Share(limit, (other, low * scale[0]), (other, high * scale[0]), of[::-1])
    if stable.labels is not None:
        known = canary.labels or {}
        names = sorted({*stable.labels, *known})
        # Of two classes one says it all.
        for name in names[:1] if len(names) == 2 else names:
            mine, other = known.get(name, 0) * scale[0], stable.labels.get(name, 0) * scale[1]
            yield ("predictions", f"{MORE}the class {name}"), Share(shift, (mine, other), (mine, other), of)
            yield ("predictions", f"{FEWER}the class {name}"), Share(shift, (other, mine), (other, mine), of[::-1])


@functools.lru_cache(maxsize=16)
def _cuts(edges: Sequence[float], *, is_class: bool) -> list[tuple[float, Name, Name]]:
    """At most `CUTS` edges, evenly among them, and how both directions are called."""
    if len(edges) > CUTS:
        edges = [edges[round((place + 1) * (len(edges) - 1) / (CUTS + 1))] for place in range(CUTS)]
    word = "its class with a probability" if is_class else "a value"
    names = ((edge, f"{word} up to {edge!r}") for edge in edges)
    return [(edge, ("predictions", MORE + what), ("predictions", FEWER + what)) for edge, what in names]


def _add(known: Window, more: Window) -> Window | None:
    """Two windows of one side as one; None where they do not fit."""
    seconds = _sum(known.seconds, more.seconds)
    predictions = _sum(known.predictions, more.predictions)
    names = None if more.labels is None else more.labels.keys()
    if seconds is None or predictions is None or known.version != more.version:
        return None
    if names != (None if known.labels is None else known.labels.keys()):
        return None
    return Window(
        version=more.version,
        requests=known.requests + more.requests,
        errors=known.errors + more.errors,
        refusals=known.refusals + more.refusals,
        seconds=seconds,
        predictions=predictions,
        labels=None
        if names is None
        else {name: (known.labels or {})[name] + (more.labels or {})[name] for name in names},
    )


def _sum(known: Histogram, more: Histogram) -> Histogram | None:
    if not more.edges and not more.total:
        return known
    if not known.edges and not known.total:
        return more
    if known.edges != more.edges:
        return None
    return Histogram(known.edges, tuple(a + b for a, b in zip(known.counts, more.counts, strict=True)))


def _won(share: Share, before: Share | None, measure: str, aim: Literal["fine", "harm"]) -> float:
    """What one look wins or loses (log) for one of the two claims about a share.

    The bet: the odds of the look under what is expected from earlier looks, over its odds under the point of the claim
    that is nearest to that (Kullback-Leibler). If the claim is true, the expected winnings are at most 1: for
    independent requests they are a product of terms `1 + (p - r)(q - r) / (r (1 - r))`, and the nearest point of a
    convex claim is where their weighted sum does not grow towards any other point of it. So it holds for any number of
    requests on each side, and for shares that change from look to look.
    """
    of_worse, of_other = share.of
    if not of_worse or not of_other:
        return 0.0
    worse, other = share.most if aim == "fine" else share.least
    seen = (0.0, 0.0) if before is None else before.most if aim == "fine" else before.least
    seen_of = (0.0, 0.0) if before is None else before.of
    if aim == "fine":
        # Both sides are thought to be alike, until they are seen to differ.
        claim = share.limit
        alike = (seen[0] + seen[1] + BELIEF * USUAL[measure]) / (seen_of[0] + seen_of[1] + BELIEF)
        there = (seen[1] + ALIKE * alike) / (seen_of[1] + ALIKE)
        here = (seen[0] + ALIKE * alike) / (seen_of[0] + ALIKE)
        is_claimed = here - there >= claim
    else:
        # The new version is thought to be worse by the limit, until it is seen to be better than that.
        claim = share.limit * TOLERATED[measure]
        there = (seen[1] + BELIEF * USUAL[measure]) / (seen_of[1] + BELIEF)
        here = (seen[0] + BELIEF * min(there + share.limit, 0.999)) / (seen_of[0] + BELIEF)
        is_claimed = here - there <= claim
    if is_claimed:
        # What is expected is part of the claim: there is nothing to bet.
        return 0.0
    near = nearest(there, here, of_other, of_worse, claim)
    won = _odds(other, of_other, there, near) + _odds(worse, of_worse, here, near + claim)
    return _log_sum(LOG_CAUTION, won)


def _odds(count: float, of: float, expected: float, claimed: float) -> float:
    won = count * math.log(expected / claimed) if count else 0.0
    return won + ((of - count) * math.log((1 - expected) / (1 - claimed)) if of > count else 0.0)


def _log_sum(kept: float, won: float) -> float:
    """The log of what was kept and what became of the rest."""
    rest = math.log1p(-math.exp(kept)) + won
    large, small = (kept, rest) if kept > rest else (rest, kept)
    return large + math.log1p(math.exp(small - large))


def nearest(other: float, worse: float, of_other: float, of_worse: float, more: float) -> float:
    """The share `r` on the other side for which (r, r + more) is nearest to (other, worse), weighted with the requests.

    It is the root of a cubic, which is negative at the lower end of its bracket and positive at the upper one.
    """
    low, high = sorted((other, worse - more))
    low, high = max(low, 0.0), min(high, 1.0 - more)
    r = (of_other * other + of_worse * (worse - more)) / (of_other + of_worse)
    for _ in range(100):
        if not low < r < high:
            r = (low + high) / 2
        moved = r + more
        here, there = r * (1 - r), moved * (1 - moved)
        value = of_other * (r - other) * there + of_worse * (moved - worse) * here
        if value > 0:
            high = r
        else:
            low = r
        slope = of_other * (there + (r - other) * (1 - 2 * moved)) + of_worse * (here + (moved - worse) * (1 - 2 * r))
        step = value / slope if slope else 0.0
        if abs(step) <= 1e-12 * r or high - low <= 1e-15 * high:
            break
        r -= step
    return r
