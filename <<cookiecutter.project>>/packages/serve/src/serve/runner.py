"""When is the model asked? Requests that wait are asked together, in turns, so that the event loop never waits long.

A quick model is asked where the request is read. A slower one is asked in turns: all rows that wait are one call, which
costs hardly more than one row. A turn that would take long runs in a thread, so that health routes answer meanwhile.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from serve.errors import Refused
from serve.model import Model
from serve.prediction import Floats
from serve.rows import Rows, together

AT_ONCE = 0.0001
"""Seconds for which nobody waits for others that may come."""
SHORT = 0.005
"""Seconds that a turn may keep the event loop; a longer one runs in a thread."""
TOGETHER = 256
"""Most rows of several requests in one turn; a single request may have more."""

Asked = tuple[Rows, "asyncio.Future[Floats]"]


class Runner:
    """Asks one model; used from one event loop. `is_alone` says whether at most one client is connected."""

    def __init__(self, model: Model) -> None:
        """Measure the model, to know what is quick."""
        self._model = model
        self._first = self._each = 0.0
        if not model.problem:
            self._first = model.cost(1)
            self._each = max(0.0, model.cost(TOGETHER) - self._first) / TOGETHER
        self.is_alone: Callable[[], bool] = lambda: False
        self._waiting: deque[Asked] = deque()
        self._running = False
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")

    @property
    def idle(self) -> bool:
        """Whether nobody waits and nothing runs."""
        return not self._running

    def seconds(self, n: int) -> float:
        """What `n` rows will take, as measured when the model was loaded."""
        return self._first + n * self._each

    async def predict(self, rows: Rows) -> Floats:
        """What `Model.predict` gives; raises `Refused` as it does. A caller that is cancelled is not asked for."""
        if not self._running and self.seconds(len(rows)) <= (SHORT if self.is_alone() else AT_ONCE):
            return self._model.predict(rows)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Floats] = loop.create_future()
        self._waiting.append((rows, future))
        if not self._running:
            self._running = True
            loop.call_soon(self._turn)
        return await future

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _turn(self) -> None:
        batch = self._next()
        if not batch:
            self._running = False
            return
        loop = asyncio.get_running_loop()
        if self.seconds(sum(len(rows) for rows, _ in batch)) <= SHORT:
            self._settle(batch, self._ask(batch))
            loop.call_soon(self._turn)
        else:
            self._task = loop.create_task(self._in_thread(batch))

    async def _in_thread(self, batch: list[Asked]) -> None:
        loop = asyncio.get_running_loop()
        self._settle(batch, await loop.run_in_executor(self._thread, self._ask, batch))
        self._turn()

    def _next(self) -> list[Asked]:
        """Who is asked for in the next turn: at least one, without those that gave up."""
        batch: list[Asked] = []
        total = 0
        while self._waiting and (not batch or total + len(self._waiting[0][0]) <= TOGETHER):
            rows, future = self._waiting.popleft()
            if not future.done():
                batch.append((rows, future))
                total += len(rows)
        return batch

    def _ask(self, batch: list[Asked]) -> list[Floats | Exception]:
        """One answer for each; rows that have none must not spoil the answers of others."""
        try:
            found = self._model.predict(together([rows for rows, _ in batch]))
        except Refused:
            return [self._alone(rows) for rows, _ in batch]
        answers: list[Floats | Exception] = []
        start = 0
        for rows, _ in batch:
            answers.append(found[start : start + len(rows)])
            start += len(rows)
        return answers

    def _alone(self, rows: Rows) -> Floats | Exception:
        try:
            return self._model.predict(rows)
        except Refused as refused:
            return refused

    def _settle(self, batch: list[Asked], answers: list[Floats | Exception]) -> None:
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
