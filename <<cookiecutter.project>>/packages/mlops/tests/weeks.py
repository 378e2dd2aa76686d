"""Weeks of looks at a model, simulated on counts: no rows are drawn, so thousands of weeks take seconds.

The verdict of `mlops.watching.drift` is written again here for many tables at once; test_watching_drift.py shows that
both agree. Edges are quantiles of the reference rows, as in a profile, so the true share of a bin varies around its
even one.
"""

import math

import numpy as np
from numpy.typing import NDArray

from mlops.data.profile import FLOOR
from mlops.watching.drift import EXPECTED, Rules, chi_squared_above

Counts = NDArray[np.float64]
LOOKS = 7


def psis(reference: Counts, current: Counts) -> Counts:
    """PSI of counts (..., bins)."""
    p, q = (side / side.sum(axis=-1, keepdims=True) for side in (reference, current))
    p, q = np.where(p == 0, FLOOR, p), np.where(q == 0, FLOOR, q)
    return np.asarray(((p - q) * np.log(p / q)).sum(axis=-1))


def chances(reference: Counts, current: Counts) -> Counts:
    """The chance of each pair of counts (..., bins), neighbours taken together until enough rows are expected."""
    sides = [
        np.broadcast_to(side, np.broadcast_shapes(reference.shape, current.shape)) for side in (reference, current)
    ]
    sizes = [side.sum(axis=-1) for side in sides]
    whole, smaller = sizes[0] + sizes[1], np.minimum(*sizes)
    shape = whole.shape
    statistic, cells = np.zeros(shape), np.zeros(shape, dtype=int)
    waiting = [np.zeros(shape), np.zeros(shape)]
    left = whole.copy()
    for place in range(sides[0].shape[-1]):
        waiting = [held + side[..., place] for held, side in zip(waiting, sides, strict=True)]
        total = waiting[0] + waiting[1]
        left = left - sides[0][..., place] - sides[1][..., place]
        # What comes after must be enough for a cell of its own; otherwise it belongs to this one.
        full = (total * smaller / whole >= EXPECTED) & ((left * smaller / whole >= EXPECTED) | (left == 0))
        for held, size in zip(waiting, sizes, strict=True):
            hope = total * size / whole
            statistic += np.where(full & (hope > 0), (held - hope) ** 2 / np.where(hope > 0, hope, 1), 0)
        cells += full
        waiting = [np.where(full, 0, held) for held in waiting]
    found = np.ones(shape)
    above = np.vectorize(chi_squared_above, otypes=[float])
    for degrees in np.unique(cells - 1):
        if degrees > 0:
            mine = (cells - 1 == degrees) & (statistic > degrees)
            found[mine] = above(statistic[mine], int(degrees))
    return found


def moved(reference: Counts, current: Counts, rules: Rules) -> NDArray[np.bool_]:
    """Which columns (..., columns, bins) have moved, by Holm's correction over the columns."""
    found, far = chances(reference, current), psis(reference, current) >= rules.psi
    order = np.argsort(found, axis=-1, kind="stable")
    left = found.shape[-1] - np.arange(found.shape[-1])
    corrected = np.maximum.accumulate(np.minimum(np.take_along_axis(found, order, axis=-1) * left, 1), axis=-1)
    sure = np.empty(found.shape, dtype=bool)
    np.put_along_axis(sure, order, corrected <= rules.chance, axis=-1)
    return sure & far


def shares_of_quantiles(rng: np.random.Generator, rows: int, size: tuple[int, ...], bins: int) -> Counts:
    """True shares of bins whose edges are quantiles of so many rows: spacings of uniform numbers."""
    return rng.dirichlet(np.full(bins, rows / bins), size=size)


def alarms(
    rng: np.random.Generator, *, weeks: int, columns: int, reference: int, window: int, rules: Rules, bins: int = 10
) -> int:
    """Weeks with an alarm in any of the looks, when nothing has changed; windows of a week that moves by a day."""
    shares = shares_of_quantiles(rng, reference, (weeks, columns), bins)
    old = np.full((weeks, columns, bins), reference / bins)
    days = rng.multinomial(math.ceil(window / LOOKS), shares[:, :, None, :], size=(weeks, columns, 2 * LOOKS - 1))
    raised = np.zeros(weeks, dtype=bool)
    for look in range(LOOKS):
        current = days[:, :, look : look + LOOKS].sum(axis=2).astype(float)
        raised |= moved(old, current, rules).any(axis=-1)
    return int(raised.sum())


def detected(
    rng: np.random.Generator, now: Counts, *, trials: int, columns: int, reference: int, window: int, rules: Rules
) -> float:
    """Share of single looks that see the first column move to the shares `now`, while all others stay."""
    bins = len(now)
    old = np.full((trials, columns, bins), reference / bins)
    shares = shares_of_quantiles(rng, reference, (trials, columns), bins)
    # The reference bins vary; what moves varies with them.
    shares[:, 0] *= now * bins
    shares /= shares.sum(axis=-1, keepdims=True)
    current = rng.multinomial(window, shares).astype(float)
    return float(moved(old, current, rules)[:, 0].mean())
