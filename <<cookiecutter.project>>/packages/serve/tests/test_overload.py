"""Too many requests: those that can be served are, the others are told at once, and health routes never wait."""

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_requests import GOOD
from toys import Answer, Running, Start

from serve.errors import Refused
from serve.loading import load
from serve.model import Model
from serve.rows import Rows
from serve.runner import Runner
from serve.server import Server
from serve.service import Service

LET_IN = 8


class Held:
    """Makes every call of the model wait until it is let go, and counts the rows that were asked for."""

    def __init__(self) -> None:
        self.entered, self.leave, self.rows = threading.Event(), threading.Event(), 0

    def __call__(self, service: Service) -> None:
        right = service.model._plan

        def plan(rows: Rows) -> Any:
            self.entered.set()
            assert self.leave.wait(60)
            self.rows += len(rows)
            return right(rows)

        # A first call that is known to be slow goes to a thread, beside the event loop.
        service.runner._first = 1.0
        service.model._plan = plan


def until(holds: Callable[[], bool]) -> None:
    """Wait for what must come, on a busy machine too."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def asking(running: Running, clients: int, answers: list[Answer]) -> list[threading.Thread]:
    """So many clients that ask once, at the same time."""
    threads = [threading.Thread(target=lambda: answers.append(running.post("/predict", GOOD))) for _ in range(clients)]
    for thread in threads:
        thread.start()
    return threads


def test_under_ten_times_the_load_exactly_what_can_be_served_is(start: Start, toy: Path) -> None:
    """As many as are let in get their prediction; the rest is told at once, and costs the model nothing."""
    held = Held()
    running = start(toy, spoil=held, max_requests=LET_IN)
    answers: list[Answer] = []
    threads = asking(running, LET_IN * 10, answers)
    until(lambda: len(answers) == LET_IN * 9)
    assert {one.status for one in answers} == {503}
    assert all(int(one.headers["retry-after"]) >= 1 and one.headers["model-version"] for one in answers)
    assert running.service.in_flight == LET_IN
    held.leave.set()
    for thread in threads:
        thread.join()
    assert [one.status for one in answers[LET_IN * 9 :]] == [200] * LET_IN
    assert held.rows == LET_IN * len(json.loads(GOOD)["rows"])
    assert running.service.in_flight == 0
    assert running.post("/predict", GOOD).status == 200


def test_health_is_answered_at_once_while_everything_else_waits(start: Start, toy: Path) -> None:
    """A call of the model that takes long runs beside the event loop; nothing waits for it that need not."""
    held = Held()
    running = start(toy, spoil=held, max_requests=4)
    answers: list[Answer] = []
    threads = asking(running, 4, answers)
    assert held.entered.wait(30)
    until(lambda: running.service.in_flight == 4)
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
    held.leave.set()
    for thread in threads:
        thread.join()
    assert [one.status for one in answers] == [200] * 4


def test_an_answer_that_takes_too_long_is_given_up(start: Start, toy: Path) -> None:
    held = Held()
    running = start(toy, spoil=held, timeout=0.2)
    answer = running.post("/predict", GOOD)
    held.leave.set()
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    until(lambda: running.service.runner.idle)
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


def test_a_new_connection_is_accepted_while_many_others_are_busy(running: Running) -> None:
    """A probe comes on a connection of its own; a loop that serves only those it has would let it wait for seconds."""
    over = threading.Event()
    counts: list[int] = []

    def busy() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
        asked = 0
        while not over.is_set():
            connection.request("POST", "/predict", GOOD, {"Content-Type": "application/json"})
            assert connection.getresponse().read()
            asked += 1
        connection.close()
        counts.append(asked)

    threads = [threading.Thread(target=busy) for _ in range(150)]
    for thread in threads:
        thread.start()
    statuses = [running.get("/v2/health/live").status for _ in range(5)]
    over.set()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 5
    assert len(counts) == 150
    assert Server(running.service, "").config.loop == "asyncio"
