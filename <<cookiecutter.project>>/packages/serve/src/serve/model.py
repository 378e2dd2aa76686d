"""What does this version say of a row? The fastest plan that gives the manifest's own predictions; its self-test."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from serve import loading, onnx, plans
from serve.errors import Refused
from serve.loading import Version
from serve.prediction import Floats
from serve.rows import Columns, Rows

REPEATS = 3
LONG = 0.1
"""Seconds after which a measurement is not repeated: nobody waits for a start."""
GAPS = (float("nan"), None)
"""What pandas puts where a text is missing: the first since its third version, the second before."""


class Model:
    """A verified version that answers rows.

    `runtime` names the plan that serves (`onnx`, or `swift`, `plain` or `framed` of scikit-learn); `problem` says why
    none may, or is empty.
    """

    def __init__(self, version: Version) -> None:
        """Choose the plan; a model that no plan makes say what it said when it was exported has a `problem`."""
        self.manifest = version.manifest
        self.name: str = self.manifest["model"]
        self.task: str = self.manifest["task"]
        self.classes: list[Any] | None = self.manifest["classes"]
        self.columns = Columns(self.manifest)
        golden, proof = self.manifest["golden"], self.manifest["proof"]
        self._asked = [self.columns.filled(row) for row in (golden["row"], *proof["rows"])]
        self._expected = [_flat(one) for one in (golden["prediction"], *proof["predictions"])]
        self.runtime, self.problem = "", ""
        self._plan: plans.Plan = _no_plan
        self._tolerance = loading.TOLERANCE
        if version.graph is not None:
            # The one runtime that was proven for it: where it fails here, nothing else serves in its place.
            self._tolerance = loading.PARITY
            asked = onnx.plan(version.graph, self.columns, self.task, model=self.name)
            self._choose("onnx", None, lambda: asked)
        elif version.fitted is None or not self._is_planned(version.fitted, ["swift"]):
            version = loading.deserialised(version)
            self._is_planned(version.estimator, plans.KINDS)
        # The plan keeps what it asks; the memory of the rest is given back.
        self.version = dataclasses.replace(version, estimator=None, fitted=None)
        self.golden = self.columns.of(self._asked[:1])
        self.self_test()

    def _is_planned(self, estimator: Any, runtimes: Iterable[str]) -> bool:
        """Whether one of these plans is the model's; the first that is, serves."""
        gaps = GAPS if self.columns.texts else GAPS[:1]
        return any(
            self._choose(runtime, gap, partial(plans.KINDS[runtime], estimator, self.columns, self.task))
            for runtime, gap in itertools.product(runtimes, gaps)
        )

    def _choose(self, runtime: str, gap: float | None, make: Callable[[], plans.Plan]) -> bool:
        """Take this plan when it gives every prediction that the manifest holds."""
        self.columns.gap = gap
        try:
            plan = make()
            with np.errstate(all="ignore"):
                found = plan(self.columns.of(self._asked))
            proven = all(self._agree(a, b) for a, b in zip(found, self._expected, strict=True))
        except Exception:  # Whatever a library raises here says the same: this plan is not for this model.
            return False
        if proven:
            self.runtime, self._plan = runtime, plan
        return proven

    def self_test(self) -> bool:
        """Whether the golden row is answered as it was at export; the answer stands in `problem` too."""
        try:
            same = self._agree(self._plan(self.golden)[0], self._expected[0])
        except Exception:
            same = False
        self.problem = "" if same else "the model does not predict its golden row as it did when it was exported"
        return same

    def _agree(self, found: Any, expected: list[float]) -> bool:
        return loading.agree(_flat(found), expected, tolerance=self._tolerance)

    def predict(self, rows: Rows) -> Floats:
        """Probabilities (n, k) in the order of `classes`, or values (n,) for regression.

        Raises `Refused` for rows that the model cannot answer with finite numbers.
        """
        if np.isinf(rows.numbers).any():
            raise _unanswered()
        try:
            with np.errstate(all="ignore"):
                found = self._plan(rows)
        except Exception:  # An estimator may raise anything for values that it never saw.
            raise _unanswered() from None
        if not np.isfinite(found).all():
            raise _unanswered()
        return found

    def cost(self, n: int) -> float:
        """Seconds that `n` rows take, measured here and now; the best of a few runs."""
        rows = Rows(np.repeat(self.golden.numbers, n, axis=0), np.repeat(self.golden.texts, n, axis=0))
        best = float("inf")
        for _ in range(REPEATS):
            started = time.perf_counter()
            self.predict(rows)
            best = min(best, time.perf_counter() - started)
            if best > LONG:
                break
        return best


def _unanswered() -> Refused:
    return Refused(422, "The model has no answer for these rows: a value is missing or too large for it.")


def _no_plan(rows: Rows) -> Floats:
    raise ValueError("no plan serves this model")


def _flat(prediction: Any) -> list[float]:
    """A prediction of one row as a list: its probabilities, or its one value."""
    return [float(value) for value in np.atleast_1d(np.asarray(prediction, dtype=np.float64))]
