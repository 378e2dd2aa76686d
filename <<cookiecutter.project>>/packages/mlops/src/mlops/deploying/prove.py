"""Is a version that was just started what it should be, before it gets traffic? Smoke, contract and load.

Everything goes through `Send` or `Pour`, so that a container without a port, a pod and an address are proven by the
same code, and a deployment without a network can be tested. Each check gives a sentence. Standard library only.
"""

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from mlops.deploying.environments import Load
from mlops.errors import counted

CLOSE = 1e-5
"""A prediction may differ from the manifest's by so much: the parity that a faster runtime must have at export."""
UNKNOWN = "no_such_field"
"""A field that no contract has; one that has it, has another one with more underscores."""
MOST_WORKERS = 64


@dataclass(frozen=True)
class Reply:
    """What came back for one request: `status` 0 where nothing did."""

    status: int
    seconds: float
    """From the request's start to the end of the answer."""
    body: Any
    """The JSON value; None where it is none."""


Send = Callable[[str, Any], Reply]
"""`send(path, body)`: GET where the body is None, else POST it as JSON. A reply for every status; raises for none."""
Pour = Callable[[str, Sequence[Any], float], Iterable[Reply]]
"""`pour(path, bodies, rate)`: POST each body, `rate` per second whether answers come or not; one reply for each."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """One check and what it found."""

    name: str
    passed: bool
    sentence: str


def smoke(send: Send, *, model: str, version: str) -> tuple[Proof, ...]:
    """It lives, is ready, and is the model and version that were asked for."""
    live, ready = send("/v2/health/live", None), send("/v2/health/ready", None)
    card = send("/model", None)
    said = _at(card.body, "model"), _at(card.body, "version")
    known = card.status == 200 and said == (model, version)
    who = f"It is {model} {version}." if known else f"It says that it is {_brief(said)}, not {model} {version}."
    return (
        _status("live", live, "It lives."),
        _status("ready", ready, "It is ready."),
        Proof(name="identity", passed=known, sentence=who if card.status == 200 else _failed("/model", card)),
    )


def contract(send: Send, *, manifest: Mapping[str, Any]) -> tuple[Proof, ...]:
    """It predicts the golden row as the manifest says, refuses rows that break the contract, and describes every field.

    `manifest` is the release's, from the image; keys `golden`, `features`, `input_schema`.
    """
    return (_golden(send, manifest), *_refusals(send, manifest), _described(send, manifest))


def _golden(send: Send, manifest: Mapping[str, Any]) -> Proof:
    reply = send("/predict", {"rows": [manifest["golden"]["row"]]})
    if reply.status != 200:
        return Proof(name="golden row", passed=False, sentence=_failed("/predict", reply))
    wanted, found = manifest["golden"]["prediction"], _prediction(reply.body)
    if _is_close(found, wanted):
        return Proof(name="golden row", passed=True, sentence="It predicts the golden row as it did at export.")
    what = f"It predicts {_brief(found)} for the golden row, and said {_brief(wanted)} at export."
    return Proof(name="golden row", passed=False, sentence=what)


def _refusals(send: Send, manifest: Mapping[str, Any]) -> Iterator[Proof]:
    """Rows that break any contract: a field too many, no fields at all, a value of no type that a feature can have."""
    row, unknown = manifest["golden"]["row"], UNKNOWN
    while unknown in row:
        unknown += "_"
    bad: dict[str, Any] = {"an unknown field": {**row, unknown: 1}}
    bad["values of another type"] = {name: {"deep": [None]} for name in row}
    if manifest["input_schema"].get("required"):
        bad["no fields"] = {}
    for name, one in bad.items():
        reply = send("/predict", {"rows": [one]})
        said = f"answers {reply.status}" if reply.status else "does not answer"
        passed = 400 <= reply.status < 500
        sentence = (
            f"It refuses a row with {name}." if passed else f"It must refuse a row with {name} (4xx), and {said}."
        )
        yield Proof(name=name, passed=passed, sentence=sentence)


def _described(send: Send, manifest: Mapping[str, Any]) -> Proof:
    reply = send("/openapi.json", None)
    if reply.status != 200:
        return Proof(name="description", passed=False, sentence=_failed("/openapi.json", reply))
    post = _at(reply.body, "paths", "/predict", "post", "requestBody", "content", "application/json", "schema")
    fields = _at(post, "properties", "rows", "items", "properties")
    missing = [one["name"] for one in manifest["features"] if one["name"] not in (fields or {})]
    if missing:
        sentence = (
            f"/openapi.json lacks {counted(len(missing), 'field')} of the contract: {', '.join(missing[:5])[:200]}."
        )
        return Proof(name="description", passed=False, sentence=sentence)
    return Proof(name="description", passed=True, sentence="/openapi.json names every field of the contract.")


def load(pour: Pour, *, rows: Sequence[Mapping[str, Any]], limits: Load) -> Proof:
    """It answers `limits.requests` requests, `limits.rate` per second, without an error and fast enough.

    `rows` are sent one per request, from the first again when they are used up; the golden row alone will do.
    """
    bodies = [{"rows": [rows[place % len(rows)]]} for place in range(limits.requests)]
    replies = list(pour("/predict", bodies, limits.rate))
    failed = [reply for reply in replies if reply.status != 200]
    lost = limits.requests - len(replies)
    p99 = quantile([reply.seconds for reply in replies], 0.99) * 1000
    about = f"{counted(limits.requests, 'request')} at {limits.rate:g} per second"
    if failed or lost:
        first = _failed("/predict", failed[0]) if failed else "an answer is missing."
        sentence = f"Of {about}, {len(failed) + lost:,} failed: {first}"
    elif not p99 <= limits.p99_ms:
        sentence = f"Of {about}, 1 in 100 took {p99:.0f} ms or more; the limit is {limits.p99_ms:g} ms."
    else:
        sentence = f"It answered {about}, 99 of 100 within {p99:.0f} ms."
    return Proof(name="load", passed=not failed and not lost and p99 <= limits.p99_ms, sentence=sentence)


def paced(
    send: Send, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
) -> Pour:
    """A `Pour` made of a `Send` that may be called by several threads.

    Each request has its moment, whatever the ones before take; a late start counts as time that the client waited.
    """

    def pour(path: str, bodies: Sequence[Any], rate: float) -> Iterable[Reply]:
        began = clock()

        def one(place: int) -> Reply:
            due = began + place / rate
            if (wait := due - clock()) > 0:
                sleep(wait)
            late = max(0.0, clock() - due)
            reply = send(path, bodies[place])
            return Reply(reply.status, reply.seconds + late, reply.body)

        with ThreadPoolExecutor(max_workers=min(MOST_WORKERS, max(1, len(bodies)))) as pool:
            return list(pool.map(one, range(len(bodies))))

    return pour


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least `share` of them do not exceed; NaN for none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def passed(proofs: Iterable[Proof]) -> bool:
    """Whether all of them passed; none at all is not a pass."""
    found = [proof.passed for proof in proofs]
    return bool(found) and all(found)


def _status(name: str, reply: Reply, sentence: str) -> Proof:
    return Proof(
        name=name,
        passed=reply.status == 200,
        sentence=sentence if reply.status == 200 else _failed(f"/v2/health/{name}", reply),
    )


def _failed(path: str, reply: Reply) -> str:
    if not reply.status:
        return f"{path} does not answer."
    said = _at(reply.body, "error")
    return f"{path} answers {reply.status}{f': {said[:200]}' if isinstance(said, str) else ''}."


def _prediction(body: Any) -> Any:
    """What `/predict` says of its only row, in the manifest's form: a number, or a probability for each class."""
    found = _at(body, "predictions")
    one = found[0] if isinstance(found, list) and len(found) == 1 else None
    return _at(one, "value") if _at(one, "probabilities") is None else _at(one, "probabilities")


def _is_close(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(_is_close, found, wanted))
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (found, wanted))
    return numbers and math.isclose(found, wanted, rel_tol=CLOSE, abs_tol=CLOSE)


def _at(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _brief(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 120 else f"{text[:120]}…"
