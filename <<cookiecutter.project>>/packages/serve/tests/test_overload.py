"""Too many requests: those that can be served are, the others are told at once, and health routes never wait."""

import asyncio
import collections
import http.client
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_requests import GOOD
from toys import Running, Start

from serve.errors import Refused
from serve.loading import load
from serve.model import Model
from serve.rows import Rows
from serve.runner import Runner
from serve.service import Service

WORK = 0.004
"""Seconds that one call of the slowed model takes."""
LET_IN = 8


def slowed(service: Service) -> None:
    """Make every call of the model take `WORK`, as many rows as it may have, so that its capacity is known."""
    right = service.model._plan

    def plan(rows: Rows) -> Any:
        until = time.perf_counter() + WORK
        found = right(rows)
        while time.perf_counter() < until:
            pass
        return found

    service.model._plan = plan
    service.runner = Runner(service.model)


def burst(
    running: Running, clients: int, seconds: float
) -> tuple[collections.Counter[int], list[http.client.HTTPMessage]]:
    """So many clients ask again and again; the statuses that they got, and the headers of refusals.

    A client that is refused waits a little, as it was told to, though not as long.
    """
    counts: collections.Counter[int] = collections.Counter()
    refusals: list[http.client.HTTPMessage] = []
    until = time.monotonic() + seconds

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
        while time.monotonic() < until:
            connection.request("POST", "/predict", GOOD, {"Content-Type": "application/json"})
            response = connection.getresponse()
            response.read()
            counts[response.status] += 1
            if response.status == 503:
                refusals.append(response.headers)
                time.sleep(0.1)
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return counts, refusals


def test_under_ten_times_the_load_what_can_be_served_is(start: Start, toy: Path) -> None:
    """As many as are let in are served; the rest is 503 with Retry-After, and nothing is an error."""
    running = start(toy, spoil=slowed, max_requests=LET_IN)
    calm, _ = burst(running, LET_IN, 0.8)
    full, refusals = burst(running, LET_IN * 10, 0.8)
    assert set(calm) == {200}
    assert set(full) == {200, 503}
    assert all(int(headers["retry-after"]) >= 1 for headers in refusals)
    assert all(headers["model-version"] for headers in refusals)
    assert running.service.in_flight == 0


def test_health_is_answered_at_once_while_everything_else_waits(start: Start, toy: Path) -> None:
    """A call of the model that takes long runs beside the event loop; nothing waits for it that need not."""
    entered, leave = threading.Event(), threading.Event()

    def stuck(service: Service) -> None:
        right = service.model._plan

        def plan(rows: Rows) -> Any:
            entered.set()
            assert leave.wait(60)
            return right(rows)

        service.runner._first = 1.0
        service.model._plan = plan

    running = start(toy, spoil=stuck, max_requests=4)
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(running.post("/predict", GOOD).status)) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert entered.wait(30)
    deadline = time.monotonic() + 30
    while running.service.in_flight < 4:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    times = []
    for _ in range(20):
        started = time.perf_counter()
        assert running.get("/v2/health/live").status == 200
        assert running.get("/v2/health/ready").status == 200
        times.append(time.perf_counter() - started)
    # The median, and far more than it needs: a busy machine must not make this fail.
    assert float(np.median(times)) < 0.1
    refused = running.post("/predict", GOOD)
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    leave.set()
    for thread in threads:
        thread.join()
    assert answers == [200] * 4


def test_an_answer_that_takes_too_long_is_given_up(start: Start, toy: Path) -> None:
    leave = threading.Event()

    def stuck(service: Service) -> None:
        service.runner._first = 1.0
        right = service.model._plan

        def plan(rows: Rows) -> Any:
            assert leave.wait(60)
            return right(rows)

        service.model._plan = plan

    running = start(toy, spoil=stuck, timeout=0.2)
    answer = running.post("/predict", GOOD)
    leave.set()
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    deadline = time.monotonic() + 30
    while not running.service.runner.idle:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert running.post("/predict", GOOD).status == 200


class Counting:
    """A model that notes how many rows each call had, and refuses a row whose first number is negative."""

    problem = ""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.calls = seconds, []  # type: ignore[var-annotated]

    def cost(self, n: int) -> float:
        return self.seconds

    def predict(self, rows: Rows) -> Any:
        self.calls.append(len(rows))
        if (rows.numbers[:, 0] < 0).any():
            raise Refused(422, "no answer")
        return rows.numbers[:, 0] * 2


def _row(*values: float) -> Rows:
    return Rows(np.array([[value] for value in values]), np.empty((len(values), 0), dtype=object))


@pytest.mark.parametrize("seconds", [0.0, 0.001, 1.0], ids=["at once", "in turns", "in a thread"])
def test_requests_that_wait_are_asked_together_and_each_gets_its_own(seconds: float) -> None:
    """In whichever way the model is asked; one that has no answer spoils no other."""
    model = Counting(seconds)

    async def ask() -> list[Any]:
        runner = Runner(model)  # type: ignore[arg-type]
        asked = [runner.predict(_row(*values)) for values in ([1, 2], [3], [-1], [4, 5, 6], [7])]
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert runner.idle
        runner.close()
        return found

    found = asyncio.run(ask())
    assert isinstance(found[2], Refused)
    assert [one.tolist() for place, one in enumerate(found) if place != 2] == [[2, 4], [6], [8, 10, 12], [14]]
    if seconds:
        assert model.calls[0] == 8


def test_who_gave_up_is_not_asked_for() -> None:
    model = Counting(0.001)

    async def ask() -> None:
        runner = Runner(model)  # type: ignore[arg-type]
        tasks = [asyncio.create_task(runner.predict(_row(float(n)))) for n in range(4)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        runner.close()

    asyncio.run(ask())
    assert model.calls == [3]


def test_rows_together_are_answered_as_rows_alone(slow: Path) -> None:
    """To the last bit but a few: a batch must not be another model."""
    model = Model(load(slow))
    row = model.columns.of(model._asked[1:20])
    together = model.predict(row)
    alone = np.concatenate([model.predict(row.part(n, n + 1)) for n in range(len(row))])
    np.testing.assert_allclose(together, alone, rtol=1e-13)


def test_a_client_that_is_alone_waits_for_nobody() -> None:
    """One connection gets its answer at once; where there may be others, their rows are waited for."""

    async def ask(alone: bool) -> int:
        model = Counting(0.001)
        runner = Runner(model)  # type: ignore[arg-type]
        runner.is_alone = lambda: alone
        await asyncio.gather(*(runner.predict(_row(1.0)) for _ in range(4)))
        runner.close()
        return len(model.calls)

    assert asyncio.run(ask(True)) == 4
    assert asyncio.run(ask(False)) == 1
