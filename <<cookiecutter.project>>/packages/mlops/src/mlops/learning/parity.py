"""Does the ONNX graph of a model say what the estimator says? On which rows that was compared, and how far it is off.

Three kinds of rows, because each finds what the others miss. All training rows: thresholds lie between their values.
Rows next to thresholds: between two values of a column the place is searched where the estimator's answer jumps, down
to two neighbouring numbers, and both must fall on their own side. Fresh rows: combinations that were never seen.
The graph is asked by the code that serves.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops.errors import Refusal, counted
from mlops.learning.metrics import Floats
from serve import onnx
from serve.loading import PARITY
from serve.prediction import predict
from serve.rows import Columns, Rows

BATCH = 1000
"""Rows for which the graph is asked at once; memory does not grow with the data."""
FRESH = 10_000
PROBES = 500
"""Places at which a jump is searched; each gives two rows."""
HALVINGS = 80
"""More than any two numbers of the same size are apart."""
UNKNOWN = "no such value"

Ask = Callable[[pd.DataFrame], Floats]


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What serves a version: `onnx` with its graph, or `sklearn`; `says` is the sentence for people."""

    name: str
    says: str
    graph: bytes | None = None
    rows: Mapping[str, int] | None = None
    worst: float | None = None

    def to_json(self) -> dict[str, Any]:
        """What the manifest records."""
        parity = None if self.rows is None else {"rows": dict(self.rows), "worst": self.worst}
        return {"runtime": self.name, "says": self.says, "parity": parity}


def runtime(wanted: str, estimator: Any, X: pd.DataFrame, *, manifest: Mapping[str, Any], seed: int) -> Runtime:
    """What will serve: ONNX Runtime where it was asked for and is proven on the training rows `X` and others.

    Refuses where ONNX was asked for and is not installed; where it cannot be had, scikit-learn serves, and says why.
    """
    if wanted != "onnx":
        return Runtime(name="sklearn", says="serves by scikit-learn")
    model, task = manifest["model"], manifest["task"]
    conversion = _conversion(model)
    columns = Columns(manifest)
    try:
        graph: bytes = conversion.graph(estimator, manifest["features"], task=task)
        plan = onnx.plan(graph, columns, task, model=model)
    except conversion.NotConverted as reason:
        return Runtime(name="sklearn", says=f"serves by scikit-learn: no ONNX graph can be made: {reason}")
    except Exception as error:  # What ONNX Runtime cannot read does not serve.
        says = " ".join(str(error).split())[:200]
        return Runtime(name="sklearn", says=f"serves by scikit-learn: its ONNX graph cannot be used: {says}")

    def ask(rows: pd.DataFrame) -> Floats:
        arrays = as_rows(rows, columns)
        parts = [plan(arrays.part(start, start + BATCH)) for start in range(0, len(arrays), BATCH)]
        return np.concatenate(parts)

    return compared(lambda rows: predict(estimator, rows, task), ask, X, graph=graph, seed=seed)


def compared(expected: Ask, found: Ask, X: pd.DataFrame, *, graph: bytes, seed: int) -> Runtime:
    """ONNX when `found` says what `expected` says on all kinds of rows, else scikit-learn with the first difference."""
    rows: dict[str, int] = {}
    worst = 0.0
    for kind, given in _kinds(expected, X, np.random.default_rng(seed)):
        try:
            off = differences(found(given), expected(given))
        except Exception as error:  # Whatever a runtime raises for rows that the estimator answers is a difference.
            says = " ".join(str(error).split())[:150]
            return Runtime(
                name="sklearn", says=f"serves by scikit-learn: ONNX failed on {_told(kind, len(given))}: {says}"
            )
        most, count = float(off.max(initial=0.0)), int((off > PARITY).sum())
        if count:
            says = f"ONNX differed by {most:.2g} on {count:,} of {_told(kind, len(given))}"
            return Runtime(name="sklearn", says=f"serves by scikit-learn: {says}")
        rows[kind], worst = len(given), max(worst, most)
    # A power of ten, so that the last bit of one processor is not another version.
    worst = 10.0 ** math.ceil(math.log10(worst)) if worst else 0.0
    told = ", ".join(_told(kind, count) for kind, count in rows.items())
    says = f"serves by ONNX Runtime, which differs by at most {worst:.0e} on {told}"
    return Runtime(name="onnx", says=says, graph=graph, rows=rows, worst=worst)


def _told(kind: str, count: int) -> str:
    """How many rows of a kind, as a sentence says it."""
    return counted(count, "row") + " next to thresholds" if kind == "thresholds" else counted(count, f"{kind} row")


def differences(found: Floats, expected: Floats) -> Floats:
    """How far two answers are apart, for each row (n,): absolute, or relative where values are larger than 1.

    An answer that is not there is infinitely far.
    """
    off = np.abs(found - expected) / np.maximum(1.0, np.abs(expected))
    found = np.where(np.isnan(off), np.inf, off).reshape(len(off), -1).max(axis=1)
    return np.asarray(found)


def as_rows(frame: pd.DataFrame, columns: Columns) -> Rows:
    """The arrays that the service would make of these rows."""
    texts = frame[list(columns.texts)].to_numpy(dtype=object, copy=True)
    # Whatever pandas puts where a text is missing, the service has None there.
    texts[pd.isna(texts)] = None
    return Rows(frame[list(columns.numbers)].to_numpy(dtype=np.float64), texts)


def _kinds(expected: Ask, X: pd.DataFrame, random: np.random.Generator) -> Iterator[tuple[str, pd.DataFrame]]:
    yield "training", X
    yield "thresholds", _next_to_jumps(expected, X, random)
    yield "fresh", _fresh(expected, X, random)


def _next_to_jumps(expected: Ask, X: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """Pairs of rows, (2 × probes, features), that differ in one number by as little as numbers can.

    Each half in which the answer changes more is kept, until no number lies between: for trees that is a threshold.
    """
    numbers = [name for name in X.columns if X[name].dtype.kind == "f" and X[name].nunique() > 1]
    if not numbers:
        return X.iloc[:0]
    rows = X.iloc[random.integers(len(X), size=PROBES)].reset_index(drop=True)
    chosen = random.integers(len(numbers), size=PROBES)
    values = {name: X[name].dropna().to_numpy() for name in numbers}
    pairs = np.array([random.choice(values[numbers[column]], size=2) for column in chosen])
    low, high = pairs.min(axis=1), pairs.max(axis=1)

    def at(where: NDArray[np.float64]) -> pd.DataFrame:
        found = rows.copy()
        for column, name in enumerate(numbers):
            found[name] = np.where(chosen == column, where, found[name])
        return found

    below, above = expected(at(low)), expected(at(high))
    for _ in range(HALVINGS):
        middle = low + (high - low) / 2
        if ((middle <= low) | (middle >= high)).all():
            break
        between = expected(at(middle))
        left = _change(below, between) > _change(between, above)
        low, high = np.where(left, low, middle), np.where(left, middle, high)
        keep = left.reshape(-1, *[1] * (below.ndim - 1))
        below, above = np.where(keep, below, between), np.where(keep, between, above)
    return pd.concat([at(low), at(high)], ignore_index=True)


def _change(one: Floats, other: Floats) -> Floats:
    return np.asarray(np.abs(one - other).reshape(len(one), -1).max(axis=1))


def _fresh(expected: Ask, X: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """Rows (n, features) whose values are drawn column by column: known ones, numbers between them, unknown texts."""

    def drawn(unknown: bool) -> pd.DataFrame:
        return pd.DataFrame({name: _column(X[name], random, unknown=unknown) for name in X.columns})

    found = drawn(unknown=True)
    try:
        expected(found.iloc[:BATCH])
    except Exception:  # This estimator refuses texts that it does not know, as the service will.
        return drawn(unknown=False)
    return found


def _column(column: pd.Series, random: np.random.Generator, *, unknown: bool) -> Any:
    values = column.to_numpy()
    found = random.choice(values, size=FRESH)
    other = random.random(FRESH) < (0.5 if column.dtype.kind == "f" else 0.01)
    if column.dtype.kind == "f":
        known = values[np.isfinite(values)]
        if len(known):
            between = random.uniform(known.min(), known.max(), size=FRESH)
            found = np.where(other & ~np.isnan(found), between, found)
    elif unknown:
        found = np.where(other, UNKNOWN, found)
    return found


def _conversion(model: str) -> Any:
    try:
        import onnxruntime  # noqa: F401

        from mlops.learning import conversion
    except ImportError as error:
        raise Refusal(
            f"{model}: serve.runtime in model.toml is onnx, and {error.name or 'ONNX'} is not installed.",
            do=f'Write "mlops[onnx]" in models/{model}/pyproject.toml in place of "mlops"; then `make setup`.',
        ) from None
    return conversion
