"""What does the service count? Requests, their time, and what was predicted, in the form that Prometheus reads.

Each series of its own carries the model and the version, so that counts of two versions are never taken together.
"""

import bisect
import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from serve.model import Model
from serve.prediction import Floats

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SHARES = tuple(round(number / 10, 1) for number in range(1, 10))
MOST_LABELS = 50
"""Labels beyond that many are not counted one by one."""
TOGETHER = 256
"""Predictions that are counted in one go: for one alone, that costs as much as a quick model."""
FORESEEN = (200, 500, 503)
"""Statuses that count from zero: a rate would miss the first failures of a series that begins with them."""


class Measures(Collector):
    """Plain numbers that a request adds to; only a scrape pays for their form."""

    def __init__(
        self, model: Model, *, in_flight: Callable[[], int], ready: Callable[[], bool], most_requests: int
    ) -> None:
        """For one model that is asked at most `most_requests` at once; callables say what holds during a scrape."""
        self.dropped = 0
        self._named = {"model": model.name, "version": model.version.name}
        self._runtime = model.runtime or "none"
        self._data_until = _data_until(model)
        self._in_flight, self._ready, self._most_requests = in_flight, ready, most_requests
        self._requests: dict[tuple[str, int], int] = {}
        self._times: dict[str, list[float]] = {}
        self._classes = model.classes
        self._edges = SHARES if model.classes else _edges(model)
        self._counts = np.zeros(len(self._edges) + 1, dtype=np.int64)
        self._sum = 0.0
        self._uncounted: list[Floats] = []
        self._rows = 0
        self._labels = np.zeros(len(model.classes or []), dtype=np.int64)
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.registry.register(self)

    def foresee(self, routes: Iterable[str]) -> None:
        """Count these routes' answers from zero."""
        for route in routes:
            for status in FORESEEN:
                self._requests.setdefault((route, status), 0)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a response."""
        key = (route, status)
        self._requests[key] = self._requests.get(key, 0) + 1
        times = self._times.get(route)
        if times is None:
            times = self._times[route] = [0.0] * (len(SECONDS) + 2)
        times[bisect.bisect_left(SECONDS, seconds)] += 1
        times[-1] += seconds

    def predicted(self, found: Floats) -> None:
        """Count predictions: the probability of the chosen class and the class, or the value."""
        self._uncounted.append(found)
        self._rows += len(found)
        if self._rows >= TOGETHER:
            self._count()

    def _count(self) -> None:
        if not self._rows:
            return
        found = np.concatenate(self._uncounted)
        self._uncounted, self._rows = [], 0
        if self._classes:
            best = found.argmax(axis=1)
            self._labels += np.bincount(best, minlength=len(self._labels))
            found = found[np.arange(len(found)), best]
        self._counts += np.bincount(np.searchsorted(self._edges, found), minlength=len(self._counts))
        self._sum += float(found.sum())

    def text(self) -> bytes:
        """What a scrape gets."""
        return generate_latest(self.registry)

    def describe(self) -> list[Metric]:
        """Nothing in advance: names are checked when they are collected."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The numbers in Prometheus' form."""
        for family in self._families():
            family.samples = [one._replace(labels={**self._named, **one.labels}) for one in family.samples]
            yield family

    def _families(self) -> Iterator[Metric]:
        self._count()
        info = GaugeMetricFamily("serve_model_info", "The version that serves.", labels=["runtime"])
        info.add_metric([self._runtime], 1)
        yield info
        if self._data_until is not None:
            what = "When the last day began whose rows made the version."
            yield GaugeMetricFamily("serve_model_data_timestamp_seconds", what, self._data_until)
        yield GaugeMetricFamily("serve_ready", "1 while requests may be sent here, else 0.", float(self._ready()))
        what = "Requests that were let in and are not answered yet."
        yield GaugeMetricFamily("serve_requests_in_flight", what, self._in_flight())
        yield GaugeMetricFamily("serve_requests_limit", "Requests that are let in at once.", self._most_requests)
        requests = CounterMetricFamily("serve_requests", "Responses, by route and status.", labels=["route", "code"])
        for (route, status), count in sorted(self._requests.items()):
            requests.add_metric([route, str(status)], count)
        yield requests
        times = HistogramMetricFamily(
            "serve_request_duration_seconds", "Time from a request's head to the end of its response.", labels=["route"]
        )
        for route, found in sorted(self._times.items()):
            times.add_metric([route], _buckets(SECONDS, found[:-1]), found[-1])
        yield times
        what = "Probability of the chosen class." if self._classes else "Predicted value."
        values = HistogramMetricFamily("serve_prediction", what)
        values.add_metric([], _buckets(self._edges, self._counts.tolist()), self._sum)
        yield values
        if self._classes and len(self._classes) <= MOST_LABELS:
            labels = CounterMetricFamily("serve_predicted_labels", "Rows, by the class chosen.", labels=["label"])
            for label, count in zip(self._classes, self._labels.tolist(), strict=True):
                labels.add_metric([str(label)], count)
            yield labels
        yield CounterMetricFamily("serve_log_dropped", "Lines that the prediction log could not take.", self.dropped)


def _data_until(model: Model) -> float | None:
    """The day `data.as_of` of the lineage in seconds since 1970; None for a version that does not say it."""
    try:
        day = dt.date.fromisoformat(model.manifest["lineage"]["as_of"])
    except (KeyError, TypeError, ValueError):
        return None
    return dt.datetime.combine(day, dt.time(), tzinfo=dt.UTC).timestamp()


def _edges(model: Model) -> tuple[float, ...]:
    """The bins of the target in the reference profile: where they fill otherwise, predictions have moved."""
    column: dict[str, Any] = model.version.profile.get("columns", {}).get(model.manifest["target"], {})
    return tuple(float(edge) for edge in column.get("edges", []))


def _buckets(edges: tuple[float, ...], counts: Sequence[float]) -> list[Any]:
    """Cumulative counts, as Prometheus wants them."""
    names = [*(str(edge) for edge in edges), "+Inf"]
    return [[name, float(total)] for name, total in zip(names, np.cumsum(counts).tolist(), strict=True)]
