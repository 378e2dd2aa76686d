"""Is what the service counts read as it was counted, and is everything else no data?"""

import math
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.deploying import observe
from mlops.deploying.observe import Histogram, NoData, Scrape, Window, parse, window
from serve.measures import Measures

VERSION = "3f2a9c01d47b"
CLASSES = ['be"nign}', "mali\\g\nnant", "le=0.5"]


def service(
    *, classes: list[str] | None = None, edges: tuple[float, ...] = (1.5, 2.5), version: str = VERSION
) -> Measures:
    """What the service counts with, without the service."""
    model: Any = SimpleNamespace(
        name="tumour",
        version=SimpleNamespace(name=version, profile={"columns": {"y": {"edges": edges}}}),
        runtime="swift",
        classes=classes,
        manifest={"target": "y"},
    )
    return Measures(model, in_flight=lambda: 0, ready=lambda: True, most_requests=64)


def text(measures: Measures) -> str:
    return measures.text().decode()


def between(before: str | None, after: str | None, *, version: str = VERSION) -> Window | NoData:
    return window({"a-1": before}, {"a-1": after}, version=version)


def seen(found: Window | NoData) -> Window:
    assert isinstance(found, Window), found
    return found


def test_requests_predictions_and_times_between_two_scrapes_are_read_as_they_were_counted() -> None:
    """From the service's own text; health checks, scrapes and other routes are none of it."""
    measures = service()
    measures.answered("/predict", 200, 0.3)
    measures.predicted(np.array([1.0]))
    before = text(measures)
    for route, status in [("/predict", 200), ("/v2/models/tumour/infer", 500), ("/predict", 422), ("/predict", 503)]:
        measures.answered(route, status, 0.004)
    measures.answered("/predict", 499, 20.0)
    for route in ("/v2/health/ready", "/metrics", "/explain", "other"):
        measures.answered(route, 500, 0.001)
    measures.predicted(np.array([2.0, 9.0, 1.5]))
    found = seen(between(before, text(measures)))
    assert (found.requests, found.errors, found.refusals, found.answered) == (5, 3, 1, 1)
    assert found.seconds.counts == (0, 0, 4, *[0] * 10, 1)
    assert found.predictions == Histogram((1.5, 2.5), (1, 1, 1))
    assert (found.labels, found.version) == (None, VERSION)


def test_classes_are_read_whatever_their_names_are() -> None:
    """Quotes, backslashes, line ends and what looks like another label."""
    measures = service(classes=CLASSES)
    before = text(measures)
    measures.predicted(np.eye(3)[[0, 1, 1, 2]])
    found = seen(between(before, text(measures)))
    assert found.labels == {CLASSES[0]: 1, CLASSES[1]: 2, CLASSES[2]: 1}
    assert found.predictions.total == 4


def test_a_service_that_was_never_asked_is_no_request_and_not_no_data() -> None:
    """No traffic is something that is known."""
    found = seen(between(text(service()), text(service())))
    assert (found.requests, found.seconds, found.predictions.total) == (0, Histogram((), (0,)), 0)


def test_replicas_are_added_up_also_where_one_had_no_request() -> None:
    """One of three served nobody yet."""
    sides = [service() for _ in range(3)]
    before = {f"a-{n}": text(one) for n, one in enumerate(sides)}
    for one in sides[:2]:
        one.answered("/predict", 200, 0.004)
        one.predicted(np.array([2.0]))
    found = seen(window(before, {f"a-{n}": text(one) for n, one in enumerate(sides)}, version=VERSION))
    assert (found.requests, found.seconds.total, found.predictions.counts) == (2, 2, (0, 2, 0))


def used(**settings: Any) -> str:
    """The text of a service that has been asked."""
    measures = service(**settings)
    measures.answered("/predict", 200, 0.004)
    measures.answered("/predict", 500, 0.004)
    measures.predicted(np.array([2.0]))
    return text(measures)


USED = used()


def changed(series: str, value: str, *, of: str = USED) -> str:
    """A text with another value for the one sample whose labels hold `series` (a name, and parts of labels)."""
    name, *parts = series.split()
    marks = "".join(f"(?=[^\n]*{re.escape(part)})" for part in parts)
    found, times = re.subn(rf"(?m)^({name}{marks}.*) \S+$", lambda match: f"{match[1]} {value}", of)
    assert times == 1
    return found


def without(old: str, new: str, *, of: str = USED) -> str:
    """A text with other words, everywhere."""
    assert old in of
    return of.replace(old, new)


def predicting() -> tuple[str, str]:
    """Before and after a prediction."""
    measures = service()
    before = text(measures)
    measures.predicted(np.array([2.0]))
    return before, text(measures)


FAILED = changed('serve_requests_total code="500"', "0.0")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (USED, text(service())),
        (USED, without("} 2.0", "} 1.0", of=FAILED)),
        (USED, changed("process_start_time_seconds", "1.0")),
        (USED, changed('serve_requests_total code="200"', "2.0", of=FAILED)),
        predicting()[::-1],
        (USED, used(edges=(1.5, 2.6))),
        (text(service(classes=["a", "b"])), text(service(classes=["a", "c"]))),
        (text(service(classes=["a", "b"])), text(service())),
    ],
)
def test_counters_that_go_back_or_change_are_a_process_that_began_anew(before: str, after: str) -> None:
    """Its difference means nothing, and that it began anew is known."""
    found = between(before, after)
    assert isinstance(found, NoData)
    assert found.restarted, found.why


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ({"a": USED}, {"a": None}, "did not answer"),
        ({"a": None}, {"a": USED}, "did not answer"),
        ({"a": USED}, {"a": USED, "b": USED}, "replicas changed"),
        ({"a": USED, "b": USED}, {"a": USED}, "replicas changed"),
        ({}, {}, "replicas changed"),
        ({"a": USED}, {"a": used(version="ffffffffffff")}, "not 3f2a9c01d47b"),
        ({"a": USED, "b": used(edges=(1.0,))}, {"a": USED, "b": used(edges=(1.0,))}, "different edges"),
    ],
)
def test_sides_that_are_not_whole_are_no_data(before: Any, after: Any, why: str) -> None:
    """And not a restart."""
    found = window(before, after, version=VERSION)
    assert isinstance(found, NoData)
    assert why in found.why
    assert not found.restarted


def test_replicas_that_know_different_classes_are_no_data() -> None:
    """They do not serve one model."""
    texts = {"a": text(service(classes=["a", "b"])), "b": text(service(classes=["a", "c"]))}
    assert isinstance(window(texts, texts, version=VERSION), NoData)


REQUESTS = 'serve_requests_total code="200"'
ALL_PREDICTIONS = 'serve_prediction_bucket le="+Inf"'
SAMPLE = next(line for line in USED.splitlines() if line.startswith("serve_requests_total") and '"200"' in line)
FIRST_BIN = next(line for line in USED.splitlines() if line.startswith("serve_prediction_bucket"))
HOSTILE = {
    "empty": "",
    "a page": "<html><body>502 Bad Gateway</body></html>\n",
    "cut off": USED[:-1],
    "cut in the middle": USED[: USED.index("serve_prediction_bucket") + 30] + "\n",
    "cut between lines": USED[: USED.index(FIRST_BIN)],
    "another service": "python_info 1.0\n",
    "no version": without("serve_model_info{", "serve_model_other{"),
    "two versions": USED + 'serve_model_info{version="b"} 1.0\n',
    "counts of two versions": USED + without(VERSION, "ffffffffffff", of=SAMPLE) + "\n",
    "counts of another version": without(SAMPLE, SAMPLE.replace(VERSION, "ffffffffffff")),
    "counts of two models": USED + without("tumour", "other", of=SAMPLE) + "\n",
    "NaN": changed(REQUESTS, "NaN"),
    "infinite": changed(REQUESTS, "+Inf"),
    "negative": changed(REQUESTS, "-1.0"),
    "half": changed(ALL_PREDICTIONS, "1.5"),
    "huge": changed(ALL_PREDICTIONS, "1e300"),
    "no number": changed(ALL_PREDICTIONS, "one"),
    "underscores": changed(ALL_PREDICTIONS, "1_0"),
    "twice": USED + SAMPLE + "\n",
    "no status": without('code="200"', 'code="ok"'),
    "requests without times": changed(REQUESTS, "1000.0"),
    "times without requests": without("serve_requests_total{", "serve_requests_other{"),
    "a histogram that goes down": changed('serve_request_duration_seconds_bucket le="0.005"', "9.0"),
    "edges out of order": without('le="1.5"', 'le="9.5"'),
    "no last edge": without('le="+Inf"', 'le="70"'),
    "an edge that is none": without('le="1.5"', 'le="x"'),
    "labels without an end": without('le="1.5"', 'le="1.5'),
    "a line without a form": USED + "serve_requests_total\n",
    "too long": USED + "#" * observe.LARGEST + "\n",
    "classes that do not add up": changed(
        'serve_predicted_labels_total label="a"', "7.0", of=text(service(classes=["a", "b"]))
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_text_that_is_broken_or_made_to_mislead_is_no_data(name: str) -> None:
    """Each of them differs from a text that is read."""
    assert HOSTILE[name] != USED
    found = parse(HOSTILE[name])
    assert isinstance(found, NoData)
    assert found.why.startswith("its metrics cannot be read: ")
    assert len(found.why) < 120


def test_other_lines_time_stamps_and_spaces_do_not_matter() -> None:
    """What Prometheus' text form allows."""
    other = changed(REQUESTS, " 1.0 1700000000000") + "\nother_metric{broken 1\n"
    assert parse(other) == parse(USED)
    assert isinstance(parse(USED), Scrape)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(USED)), st.integers(0, 40), st.text(max_size=20))
def test_any_edit_of_a_text_gives_counts_or_no_data(place: int, length: int, put: str) -> None:
    """Never an exception, and never a count that is no count."""
    found = parse(USED[:place] + put + USED[place + length :])
    if isinstance(found, Scrape):
        assert all(count >= 0 for count in found.codes.values())
        assert found.seconds is None or found.seconds.total == sum(found.codes.values())
        assert all(math.isfinite(edge) for edge in found.predictions.edges)


@settings(max_examples=100, deadline=None)
@given(st.sets(st.integers(-50, 50), max_size=8), st.lists(st.integers(-60, 60), max_size=30), st.integers(-60, 60))
def test_counts_up_to_a_value_are_bounded_by_its_edges(edges: set[int], values: list[int], at: int) -> None:
    """The truth lies between what is sure and what is possible, and they meet on an edge."""
    ordered = tuple(float(edge) for edge in sorted(edges))
    counts = (
        np.bincount(np.searchsorted(ordered, values), minlength=len(ordered) + 1) if values else [0] * (len(edges) + 1)
    )
    surely, possibly = Histogram(ordered, tuple(int(n) for n in counts)).up_to(float(at))
    assert surely <= sum(value <= at for value in values) <= possibly
    assert at not in edges or surely == possibly
