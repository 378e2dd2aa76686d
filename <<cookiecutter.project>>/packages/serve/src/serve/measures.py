"""What does the service count? Requests, their time, and what was predicted, in the form that Prometheus reads."""

import bisect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Gauge, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from serve.model import Model
from serve.prediction import Floats

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SHARES = tuple(round(number / 10, 1) for number in range(1, 10))
MOST_LABELS = 50
"""Labels beyond that many are not counted one by one."""


class Measures(Collector):
    """Plain numbers that a request adds to; only a scrape pays for their form."""

    def __init__(self, model: Model, *, in_flight: Callable[[], int], ready: Callable[[], bool]) -> None:
        """For one model; two callables say what holds at the moment of a scrape."""
        self.dropped = 0
        self._requests: dict[tuple[str, int], int] = {}
        self._times: dict[str, list[float]] = {}
        self._classes = model.classes
        self._edges = SHARES if model.classes else _edges(model)
        self._counts = np.zeros(len(self._edges) + 1, dtype=np.int64)
        self._sum = 0.0
        self._labels = np.zeros(len(model.classes or []), dtype=np.int64)
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        own = self.registry
        info = Gauge("serve_model_info", "The version that serves.", ["model", "version", "runtime"], registry=own)
        info.labels(model.name, model.version.name, model.runtime or "none").set(1)
        busy = Gauge("serve_requests_in_flight", "Requests that were let in and are not answered yet.", registry=own)
        busy.set_function(in_flight)
        state = Gauge("serve_ready", "1 while requests may be sent here, else 0.", registry=own)
        state.set_function(lambda: float(ready()))
        own.register(self)

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


def _edges(model: Model) -> tuple[float, ...]:
    """The bins of the target in the reference profile: where they fill otherwise, predictions have moved."""
    column: dict[str, Any] = model.version.profile.get("columns", {}).get(model.manifest["target"], {})
    return tuple(float(edge) for edge in column.get("edges", []))


def _buckets(edges: tuple[float, ...], counts: Sequence[float]) -> list[Any]:
    """Cumulative counts, as Prometheus wants them."""
    names = [*(str(edge) for edge in edges), "+Inf"]
    return [[name, float(total)] for name, total in zip(names, np.cumsum(counts).tolist(), strict=True)]
