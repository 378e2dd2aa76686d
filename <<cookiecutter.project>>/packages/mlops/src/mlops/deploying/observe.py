"""What did one side of a rollout do between two looks? The difference of counters, read from the text of `/metrics`.

Pure: texts in, a `Window` or `NoData` out. A text may be cut off, come from another service or be made to mislead:
nothing is guessed, and what does not add up is no data, which never promotes anything. Only requests for predictions
count; health checks and scrapes would dilute every share. Standard library only.
"""

import bisect
import functools
import itertools
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

LARGEST = 4_000_000
"""Characters of a text that is still read."""
MOST = 2**53
"""Counters beyond this cannot be counted in floats any more."""
GAVE_UP = 499
"""The status under which the service counts a client that did not wait for the answer."""

_SAMPLE = re.compile(r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>.*)\})?[ \t]+(?P<value>\S+)(?:[ \t]+-?\d+)?")
_LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)', re.ASCII)
_ESCAPED = re.compile(r'\\([\\"n])')
_READ = (
    "process_start_time_seconds",
    "serve_model_info",
    "serve_requests_total",
    "serve_request_duration_seconds_bucket",
    "serve_prediction_bucket",
    "serve_predicted_labels_total",
)
Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class NoData:
    """Why a side says nothing; `restarted` when a process began anew in between."""

    why: str
    restarted: bool = False


@dataclass(frozen=True)
class Histogram:
    """Counts between edges, not cumulative: `counts[0]` is up to `edges[0]`, the last one beyond the last edge."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @functools.cached_property
    def totals(self) -> tuple[int, ...]:
        """How many are up to each edge, and in all."""
        return tuple(itertools.accumulate(self.counts))

    @property
    def total(self) -> int:
        """All of them."""
        return self.totals[-1]

    def up_to(self, value: float) -> tuple[int, int]:
        """How many are at most `value`: surely, and possibly. The same number where it is an edge."""
        surely = bisect.bisect_right(self.edges, value)
        possibly = bisect.bisect_left(self.edges, value)
        return self.totals[surely - 1] if surely else 0, self.totals[possibly]


@dataclass(frozen=True, kw_only=True)
class Window:
    """What one side did between two looks, all of its replicas together."""

    version: str
    requests: int
    """Requests for predictions that came to an end."""
    errors: int
    """Of them: 5xx, and clients that did not wait for the answer."""
    refusals: int
    """Of them: other 4xx."""
    seconds: Histogram
    """Time that each of the requests took."""
    predictions: Histogram
    """Rows by the predicted value; for classification by the probability of the chosen class."""
    labels: Mapping[str, int] | None
    """Rows by the chosen class; None for regression, and for more classes than the service counts."""

    @property
    def answered(self) -> int:
        """Requests that got predictions."""
        return self.requests - self.errors - self.refusals


@dataclass(frozen=True, kw_only=True)
class Scrape:
    """What one process has counted since it began."""

    version: str
    started: float | None
    codes: Mapping[int, int]
    """Requests for predictions, by status."""
    seconds: Histogram | None
    """None before the first of them."""
    predictions: Histogram
    labels: Mapping[str, int] | None


class _Broken(Exception):
    """A text that says nothing, and why."""


def window(before: Mapping[str, str | None], after: Mapping[str, str | None], *, version: str) -> Window | NoData:
    """What the replicas of one side did from one scrape to the next; `None` is a scrape that failed.

    Keys are names of replicas: both scrapes must know the same ones, and all must serve `version`.
    """
    if not after or before.keys() != after.keys():
        return NoData("its replicas changed")
    parts: list[Window] = []
    for name in sorted(after):
        first, last = parse(before[name]), parse(after[name])
        for one in (first, last):
            if isinstance(one, NoData):
                return NoData(f"{name}: {one.why}")
        assert isinstance(first, Scrape)
        assert isinstance(last, Scrape)
        if {first.version, last.version} != {version}:
            return NoData(f"{name} serves {last.version[:20]}, not {version}")
        try:
            parts.append(_between(first, last))
        except _Broken as broken:
            return NoData(f"{name} {broken}", restarted=True)
    try:
        return _together(parts)
    except _Broken as broken:
        return NoData(str(broken))


def parse(text: str | None) -> Scrape | NoData:
    """The text of one process's `/metrics`; never raises."""
    if text is None:
        return NoData("it did not answer")
    try:
        return _scrape(text)
    except _Broken as broken:
        return NoData(f"its metrics cannot be read: {broken}")


def _scrape(text: str) -> Scrape:
    if len(text) > LARGEST:
        raise _Broken("the text is too long")
    if not text.endswith("\n"):
        raise _Broken("the text is cut off")
    found = _samples(text)
    info = found["serve_model_info"]
    if len(info) != 1:
        raise _Broken("it does not say which version serves")
    version = dict(next(iter(info))).get("version", "")
    if any(dict(key).get("version", version) != version for series in found.values() for key in series):
        raise _Broken("it counts for two versions")
    begun = list(found["process_start_time_seconds"].values())
    codes = _codes(found["serve_requests_total"])
    times: dict[str, dict[str, float]] = {}
    for (route, edge), value in _by(found["serve_request_duration_seconds_bucket"], "route", "le").items():
        times.setdefault(route, {})[edge] = value
    seconds = _sum(_histogram(buckets) for route, buckets in times.items() if _predicts(route))
    if sum(codes.values()) != (seconds.total if seconds else 0):
        raise _Broken("requests and their times do not add up")
    labels = {name: _count(value) for (name,), value in _by(found["serve_predicted_labels_total"], "label").items()}
    predictions = _histogram({edge: value for (edge,), value in _by(found["serve_prediction_bucket"], "le").items()})
    if labels and sum(labels.values()) != predictions.total:
        raise _Broken("predictions and their classes do not add up")
    return Scrape(
        version=version,
        started=begun[0] if begun else None,
        codes=codes,
        seconds=seconds,
        predictions=predictions,
        labels=labels or None,
    )


def _samples(text: str) -> dict[str, dict[Labels, float]]:
    """Every sample of a metric that is read, by metric and labels."""
    found: dict[str, dict[Labels, float]] = {name: {} for name in _READ}
    for line in text.split("\n"):
        if not line.startswith(_READ):
            continue
        sample = _SAMPLE.fullmatch(line.rstrip())
        if sample is None:
            raise _Broken("a line has no form")
        series = found.get(sample["name"])
        if series is None:
            continue
        key, value = _labels(sample["labels"] or ""), _number(sample["value"])
        if key in series:
            raise _Broken(f"{sample['name']} is there twice")
        series[key] = value
    return found


def _labels(text: str) -> Labels:
    pairs, at = [], 0
    while at < len(text):
        pair = _LABEL.match(text, at)
        if pair is None:
            raise _Broken("a line has no form")
        pairs.append((pair[1], _ESCAPED.sub(lambda sign: "\n" if sign[1] == "n" else sign[1], pair[2])))
        at = pair.end()
    return tuple(sorted(pairs))


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise _Broken("a value is no number") from None
    if not math.isfinite(value) or "_" in text:
        raise _Broken("a value is no number")
    return value


def _count(value: float) -> int:
    if value != int(value) or not 0 <= value <= MOST:
        raise _Broken("a count is no whole number")
    return int(value)


def _predicts(route: str) -> bool:
    return route == "/predict" or route.endswith("/infer")


def _codes(series: Mapping[Labels, float]) -> dict[int, int]:
    """Requests for predictions by status, over all their routes."""
    codes: dict[int, int] = {}
    for (route, code), value in _by(series, "route", "code").items():
        if not re.fullmatch(r"\d{1,3}", code, re.ASCII):
            raise _Broken("a status is no number")
        if _predicts(route):
            codes[int(code)] = codes.get(int(code), 0) + _count(value)
    return codes


def _by(series: Mapping[Labels, float], *names: str) -> dict[tuple[str, ...], float]:
    """A metric's samples by these labels only, which must tell them apart."""
    found: dict[tuple[str, ...], float] = {}
    for key, value in series.items():
        labels = dict(key)
        place = tuple(labels.get(name, "") for name in names)
        if place in found:
            raise _Broken("a count is there twice")
        found[place] = value
    return found


def _histogram(buckets: Mapping[str, float]) -> Histogram:
    """Cumulative buckets by their edge, as counts between edges."""
    edges, totals = [], []
    for edge, total in buckets.items():
        edges.append(math.inf if edge == "+Inf" else _number(edge))
        totals.append(_count(total))
    if not edges or edges[-1] != math.inf or any(a >= b for a, b in itertools.pairwise(edges)):
        raise _Broken("a histogram has no order or no end")
    counts = [totals[0], *(b - a for a, b in itertools.pairwise(totals))]
    if min(counts) < 0:
        raise _Broken("a histogram goes down")
    return Histogram(tuple(edges[:-1]), tuple(counts))


def _sum(histograms: Iterable[Histogram]) -> Histogram | None:
    """All of them together; None for none."""
    known = list(histograms)
    if not known:
        return None
    if len({one.edges for one in known}) > 1:
        raise _Broken("its histograms have different edges")
    return Histogram(known[0].edges, tuple(map(sum, zip(*(one.counts for one in known), strict=True))))


def _between(first: Scrape, last: Scrape) -> Window:
    """What one process counted in between; a process that began anew has no such thing."""
    if first.started != last.started:
        raise _Broken("began anew")
    codes = {
        code: last.codes.get(code, 0) - first.codes.get(code, 0) for code in first.codes.keys() | last.codes.keys()
    }
    labels = None
    if (first.labels is None) != (last.labels is None):
        raise _Broken("began anew with other classes")
    if first.labels is not None and last.labels is not None:
        if first.labels.keys() != last.labels.keys():
            raise _Broken("began anew with other classes")
        labels = {name: count - first.labels[name] for name, count in last.labels.items()}
    if min([0, *codes.values(), *(labels or {}).values()]) < 0:
        raise _Broken("counts less than before")
    errors = sum(count for code, count in codes.items() if not 200 <= code < 500 or code == GAVE_UP)
    refusals = sum(count for code, count in codes.items() if 400 <= code < 500 and code != GAVE_UP)
    return Window(
        version=last.version,
        requests=sum(codes.values()),
        errors=errors,
        refusals=refusals,
        seconds=_less(last.seconds, first.seconds),
        predictions=_less(last.predictions, first.predictions),
        labels=labels,
    )


def _less(last: Histogram | None, first: Histogram | None) -> Histogram:
    if last is None:
        if first is not None:
            raise _Broken("counts less than before")
        return Histogram((), (0,))
    if first is None:
        return last
    if first.edges != last.edges:
        raise _Broken("began anew with other edges")
    counts = tuple(b - a for a, b in zip(first.counts, last.counts, strict=True))
    if min(counts) < 0:
        raise _Broken("counts less than before")
    return Histogram(last.edges, counts)


def _together(parts: list[Window]) -> Window:
    """All replicas of one side as one."""
    if len({None if one.labels is None else frozenset(one.labels) for one in parts}) > 1:
        raise _Broken("its replicas know different classes")
    # A replica without a request has no times yet, and no edges.
    seconds = _sum(one.seconds for one in parts if one.seconds.edges or one.seconds.total)
    predictions = _sum(one.predictions for one in parts)
    assert predictions is not None
    names = parts[0].labels
    return Window(
        version=parts[0].version,
        requests=sum(one.requests for one in parts),
        errors=sum(one.errors for one in parts),
        refusals=sum(one.refusals for one in parts),
        seconds=seconds or Histogram((), (0,)),
        predictions=predictions,
        labels=None if names is None else {name: sum((one.labels or {})[name] for one in parts) for name in names},
    )
