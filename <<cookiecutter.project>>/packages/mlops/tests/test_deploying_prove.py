"""Does a good service pass every proof, and does each kind of wrong one fail the proof that is made for it?

The service is the real one, asked in this process; what is wrong is put between it and the proofs.
"""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from toys import exported, prepared

from mlops.deploying import prove
from mlops.deploying.environments import Load
from mlops.deploying.prove import Proof, Reply, Send, contract, load, paced, passed, smoke
from mlops.learning import export
from serve import app
from serve.loading import load_to_serve
from serve.model import Model
from serve.service import Service
from serve.settings import Settings


@dataclass(frozen=True)
class Served:
    """A version, and a way to ask it."""

    send: Send
    manifest: dict[str, Any]
    version: str


def served(folder: Path) -> Iterator[Served]:
    service = Service(Model(load_to_serve(folder)), Settings())
    door = app.create(service)
    loop = asyncio.new_event_loop()

    def send(path: str, body: Any) -> Reply:
        data = b"" if body is None else json.dumps(body).encode()
        scope = {
            "type": "http",
            "method": "GET" if body is None else "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"content-type", b"application/json")],
        }
        said: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": data, "more_body": False}

        async def answer(message: Any) -> None:
            said.append(message)

        started = time.perf_counter()
        loop.run_until_complete(door(scope, receive, answer))
        text = b"".join(message.get("body", b"") for message in said)
        return Reply(said[0]["status"], time.perf_counter() - started, json.loads(text))

    yield Served(send, json.loads((folder / "manifest.json").read_text()), export.version(folder))
    service.close()
    loop.close()


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A classification."""
    folder = tmp_path_factory.mktemp("toy") / "export"
    exported(folder, prepared(LogisticRegression(max_iter=1000)))
    yield from served(folder)


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A regression."""
    folder = tmp_path_factory.mktemp("numbers") / "export"
    exported(folder, prepared(Ridge()), task="regression", name="numbers")
    yield from served(folder)


def failed(proofs: Iterable[Proof]) -> list[str]:
    return [proof.name for proof in proofs if not proof.passed]


def bent(send: Send, path: str, change: Callable[[Reply], Reply]) -> Send:
    """A service that says something else on one route."""
    return lambda asked, body: change(send(asked, body)) if asked == path else send(asked, body)


def test_a_good_classification_passes_every_proof(toy: Served) -> None:
    proofs = (
        *smoke(toy.send, model="toy", version=toy.version),
        *contract(toy.send, manifest=toy.manifest),
    )
    assert failed(proofs) == []
    assert [proof.sentence for proof in proofs] == [
        "It lives.",
        "It is ready.",
        f"It is toy {toy.version}.",
        "It predicts the golden row as it did at export.",
        "It refuses a row with an unknown field.",
        "It refuses a row with values of another type.",
        "It refuses a row with no fields.",
        "/openapi.json names every field of the contract.",
    ]


def test_a_good_regression_passes_every_proof(numbers: Served) -> None:
    proofs = (
        *smoke(numbers.send, model="numbers", version=numbers.version),
        *contract(numbers.send, manifest=numbers.manifest),
    )
    assert failed(proofs) == []


def test_another_version_or_model_fails_the_identity(toy: Served) -> None:
    """The image that was asked for is the one that was started, or nothing is."""
    proofs = smoke(toy.send, model="toy", version="0" * 12)
    assert failed(proofs) == ["identity"]
    assert toy.version in proofs[-1].sentence
    assert "not toy 000000000000" in proofs[-1].sentence
    assert failed(smoke(toy.send, model="other", version=toy.version)) == ["identity"]


@pytest.mark.parametrize(("route", "name"), [("/v2/health/live", "live"), ("/v2/health/ready", "ready")])
def test_a_service_that_is_not_ready_or_does_not_live_fails(toy: Served, route: str, name: str) -> None:
    """With the words that it gives itself."""
    no = bent(toy.send, route, lambda reply: Reply(503, 0.0, {"error": "the model is not ready"}))
    proofs = smoke(no, model="toy", version=toy.version)
    assert failed(proofs) == [name]
    assert f"{route} answers 503: the model is not ready." in [proof.sentence for proof in proofs]


def test_nobody_there_fails_everything(toy: Served) -> None:
    """And raises nothing."""

    def nobody(path: str, body: Any) -> Reply:
        return Reply(0, 0.0, None)

    assert len(failed(smoke(nobody, model="toy", version="v"))) == 3
    assert len(failed(contract(nobody, manifest=toy.manifest))) == 5


def predicting(change: Callable[[list[float]], Any]) -> Callable[[Reply], Reply]:
    def bend(reply: Reply) -> Reply:
        if reply.status != 200:
            return reply
        one = {"label": 1, "probabilities": change(reply.body["predictions"][0]["probabilities"])}
        return Reply(200, 0.0, {**reply.body, "predictions": [one]})

    return bend


@pytest.mark.parametrize(
    "change",
    [
        lambda found: [found[0] + 2e-4, found[1] - 2e-4],
        lambda found: found[::-1],
        lambda found: [*found, 0.0],
        lambda found: found[:1],
        lambda found: [None, None],
        lambda found: ["0.5", "0.5"],
        lambda found: [True, False],
        lambda found: None,
    ],
)
def test_another_prediction_of_the_golden_row_fails(toy: Served, change: Callable[[list[float]], Any]) -> None:
    """Swapped classes, another model, no number: whatever it is, it is not what was judged."""
    assert failed(contract(bent(toy.send, "/predict", predicting(change)), manifest=toy.manifest)) == ["golden row"]


def test_the_rounding_of_another_runtime_passes(toy: Served) -> None:
    """Parity at export is proven to 1e-5."""
    near = bent(toy.send, "/predict", predicting(lambda found: [found[0] + 5e-6, found[1] - 5e-6]))
    assert failed(contract(near, manifest=toy.manifest)) == []


@pytest.mark.parametrize(
    "body", [None, [], {}, {"predictions": []}, {"predictions": "x"}, {"predictions": [1, 2]}, "x"]
)
def test_an_answer_of_another_form_fails_and_raises_nothing(numbers: Served, body: Any) -> None:
    def strange(path: str, asked: Any) -> Reply:
        return Reply(200, 0.0, body)

    assert len(failed(contract(strange, manifest=numbers.manifest))) == 5
    assert len(failed(smoke(strange, model="numbers", version="v"))) == 1


def test_a_truth_is_no_number(numbers: Served) -> None:
    """Python would say that they are equal."""
    golden = {**numbers.manifest["golden"], "prediction": 1.0}
    yes = bent(numbers.send, "/predict", lambda reply: Reply(reply.status, 0.0, {"predictions": [{"value": True}]}))
    assert failed(contract(yes, manifest={**numbers.manifest, "golden": golden})) == ["golden row"]


def test_a_service_that_takes_anything_fails(toy: Served) -> None:
    """Bad rows must be refused by it (4xx); breaking down over them (5xx) is no refusal."""
    golden = toy.manifest["golden"]["row"]
    for status in (200, 500, 0):

        def loose(path: str, body: Any, status: int = status) -> Reply:
            is_bad = path == "/predict" and body["rows"][0] != golden
            return Reply(status, 0.0, {}) if is_bad else toy.send(path, body)

        names = ["an unknown field", "values of another type", "no fields"]
        assert failed(contract(loose, manifest=toy.manifest)) == names


def test_a_contract_without_required_fields_may_be_sent_an_empty_row(toy: Served) -> None:
    """That is no bad row then."""
    schema = {key: value for key, value in toy.manifest["input_schema"].items() if key != "required"}
    names = [proof.name for proof in contract(toy.send, manifest={**toy.manifest, "input_schema": schema})]
    assert "no fields" not in names
    assert "an unknown field" in names


def test_a_field_that_is_called_like_the_unknown_one_is_not_sent(toy: Served) -> None:
    """Else a good service would be said to take anything."""
    asked: list[Any] = []
    golden = {"row": {prove.UNKNOWN: 1.0, f"{prove.UNKNOWN}_": 1.0}, "prediction": 1.0}

    def send(path: str, body: Any) -> Reply:
        asked.append(body)
        return Reply(422, 0.0, None)

    list(contract(send, manifest={**toy.manifest, "golden": golden}))
    assert f"{prove.UNKNOWN}__" in asked[1]["rows"][0]


def test_a_description_that_lacks_a_field_fails_and_names_it(toy: Served) -> None:
    more = {**toy.manifest, "features": [*toy.manifest["features"], {"name": "weight", "dtype": "float"}]}
    proofs = contract(toy.send, manifest=more)
    assert failed(proofs) == ["description"]
    assert proofs[-1].sentence == "/openapi.json lacks 1 field of the contract: weight."


# ---- load ----------------------------------------------------------------------------------------------------------

LIMITS = Load(requests=200, rate=100.0, p99_ms=50.0)


def pouring(*, slow: int = 0, bad: int = 0, lost: int = 0) -> prove.Pour:
    """So many of the requests are slow, fail, or have no answer at all."""

    def pour(path: str, bodies: Sequence[Any], rate: float) -> Iterable[Reply]:
        assert (path, len(bodies), rate) == ("/predict", LIMITS.requests, LIMITS.rate)
        for place in range(len(bodies) - lost):
            yield Reply(503 if place < bad else 200, 0.06 if place < slow else 0.01, {})

    return pour


@pytest.mark.parametrize(
    ("pour", "sentence"),
    [
        (pouring(), "It answered 200 requests at 100 per second, 99 of 100 within 10 ms."),
        (pouring(slow=2), "It answered 200 requests at 100 per second, 99 of 100 within 10 ms."),
        (pouring(slow=3), "Of 200 requests at 100 per second, 1 in 100 took 60 ms or more; the limit is 50 ms."),
        (pouring(bad=1), "Of 200 requests at 100 per second, 1 failed: /predict answers 503."),
        (pouring(lost=1), "Of 200 requests at 100 per second, 1 failed: an answer is missing."),
        (pouring(bad=2, lost=1), "Of 200 requests at 100 per second, 3 failed: /predict answers 503."),
        (pouring(lost=200), "Of 200 requests at 100 per second, 200 failed: an answer is missing."),
    ],
)
def test_load_wants_every_answer_and_ninety_nine_of_a_hundred_in_time(pour: prove.Pour, sentence: str) -> None:
    """Not one error; two of two hundred may be late, three may not."""
    found = load(pour, rows=[{"a": 1}], limits=LIMITS)
    assert found.sentence == sentence
    assert found.passed == sentence.startswith("It answered")


def test_rows_are_sent_one_by_one_and_again_from_the_first() -> None:
    sent: list[Any] = []

    def pour(path: str, bodies: Sequence[Any], rate: float) -> Iterable[Reply]:
        sent.extend(bodies)
        return [Reply(200, 0.0, {}) for _ in bodies]

    load(pour, rows=[{"a": 1}, {"a": 2}], limits=replace(LIMITS, requests=3))
    assert sent == [{"rows": [{"a": 1}]}, {"rows": [{"a": 2}]}, {"rows": [{"a": 1}]}]


@dataclass
class Clock:
    """A time that passes only while somebody sleeps, each thread by itself."""

    local: threading.local = field(default_factory=threading.local)

    def now(self) -> float:
        return getattr(self.local, "now", 0.0)

    def sleep(self, seconds: float) -> None:
        self.local.now = self.now() + seconds


def test_requests_start_at_a_constant_rate_whatever_the_answers_take() -> None:
    """A service that is slow gets no fewer requests than its users would send."""
    clock, starts = Clock(), []

    def send(path: str, body: Any) -> Reply:
        starts.append((body, clock.now()))
        return Reply(200, 5.0, {})

    replies = list(paced(send, clock=clock.now, sleep=clock.sleep)("/predict", list(range(20)), 10.0))
    assert [round(start * 10) for _, start in sorted(starts)] == list(range(20))
    assert {reply.seconds for reply in replies} == {5.0}


def test_a_request_that_starts_late_has_kept_its_client_waiting() -> None:
    """Else the slowest service would show the best times, because it is asked least."""

    class Stopped(Clock):
        def now(self) -> float:
            return 0.0 if not getattr(self.local, "asked", False) else 3.0

        def sleep(self, seconds: float) -> None:
            self.local.asked = True

    clock = Stopped()
    replies = list(paced(lambda *_: Reply(200, 0.5, {}), clock=clock.now, sleep=clock.sleep)("/predict", [1, 2], 1.0))
    assert replies[1].seconds == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [([1, 2, 3, 4], 0.5, 2), ([1, 2, 3, 4], 0.51, 3), ([1], 0.99, 1), ([3, 1, 2], 1.0, 3), ([3, 1, 2], 0.0, 1)],
)
def test_a_quantile_is_one_of_the_values(values: list[float], share: float, found: float) -> None:
    assert prove.quantile(values, share) == found


def test_no_proof_at_all_is_not_a_pass() -> None:
    """Unknown is not a pass."""
    yes, no = (Proof(name="a", passed=answer, sentence="") for answer in (True, False))
    assert (passed([]), passed([yes]), passed([yes, no])) == (False, True, False)
