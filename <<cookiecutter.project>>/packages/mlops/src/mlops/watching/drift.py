"""Have the inputs or the outputs of a version moved? Two profiles in, a verdict with sentences out; pure.

A column has moved when two things hold. The **effect**: its PSI against the reference window is at least `[drift] psi`,
so that much data does not alarm on nothing. The **evidence**: counts as far apart as these would be rare if both
windows were drawn from one source (a test that knows how many rows there are), so that little data does not alarm on
noise. Columns are corrected for their number (Holm), and looks for how many there are in a week, so that the chance of
any alarm in a week in which nothing has changed is at most `[drift] false_alarms`. A column with too few rows is not
evaluated.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mlops.data.profile import psi, tabled
from mlops.errors import counted

Side = Literal["input", "output"]
Outcome = Literal["steady", "moved", "not evaluated"]
EXPECTED = 10.0
"""Fewest rows that are expected in a cell of the test; rarer neighbours are taken together."""
PARTS = 3
"""What may be spent on false alarms is shared by drift and performance; a third stays, for both tests approximate."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """When a column counts as moved; `chance` is what one look may spend on false alarms, over all columns."""

    psi: float
    minimum_rows: int
    chance: float


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One column of the reference profile, and of the current one that was made with `like=` the first."""

    column: str
    side: Side
    reference: Mapping[str, Any]
    current: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What is known of one column: `chance` is after the correction, None where it was not evaluated."""

    column: str
    side: Side
    outcome: Outcome
    sentence: str
    rows: int
    psi: float | None = None
    chance: float | None = None


@dataclass(frozen=True, kw_only=True)
class Drift:
    """The verdict on a model: `moved` when any column has, `not evaluated` when none could be."""

    outcome: Outcome
    sentence: str
    columns: tuple[Found, ...]


def look_chance(false_alarms: float, *, runs_per_week: int) -> float:
    """What one look may spend on one family of tests, so that all looks of a week spend `false_alarms` at most.

    The looks overlap and depend on each other; dividing holds whatever their dependence is (Bonferroni).
    """
    return false_alarms / (runs_per_week * PARTS)


def judge(pairs: Sequence[Pair], rules: Rules) -> Drift:
    """The verdict on all columns together: `pairs` are one family, over which the correction goes."""
    tables = {(pair.side, pair.column): tabled(pair.reference, pair.current) for pair in pairs}
    enough = {key: float(table.sum(axis=1).min()) >= rules.minimum_rows for key, table in tables.items()}
    judged = [key for key, is_enough in enough.items() if is_enough]
    apart = {(pair.side, pair.column): _apart(pair) for pair in pairs}
    chances = dict(zip(judged, holm([chance(tables[key], apart=apart[key]) for key in judged]), strict=True))
    columns = tuple(_found(pair, tables[pair.side, pair.column], chances, rules) for pair in pairs)
    moved = [one.column for one in columns if one.outcome == "moved"]
    if moved:
        names = ", ".join(moved[:5]) + (f" and {len(moved) - 5} more" if len(moved) > 5 else "")
        said = f"{counted(len(moved), 'column')} of {len(judged)} moved: {names}."
        return Drift(outcome="moved", sentence=said, columns=columns)
    if not judged:
        why = f"no column has {counted(rules.minimum_rows, 'row')} in both windows" if pairs else "there is no column"
        return Drift(outcome="not evaluated", sentence=f"Drift is not evaluated: {why}.", columns=columns)
    said = f"None of {counted(len(judged), 'column')} moved."
    return Drift(outcome="steady", sentence=said, columns=columns)


def chance(table: np.ndarray, *, apart: int = 0) -> float:
    """How rare counts (2, bins) that differ this much are when both rows are drawn from one source.

    Pearson's chi-squared test of homogeneity over the bins, neighbours taken together until `EXPECTED` rows are
    expected on the smaller side. The last `apart` bins (other categories, missing values) are often empty at training,
    so each is tested against all the rest by itself, exactly; the rarest counts, times the number of tests.
    """
    bins = table.shape[1] - apart
    sizes = table.sum(axis=1)
    found = [_homogeneous(table[:, :bins])]
    found += [_exact(int(a), int(b), int(sizes[0]), int(sizes[1])) for a, b in table[:, bins:].T]
    return min(1.0, len(found) * min(found))


def _homogeneous(table: np.ndarray) -> float:
    sizes = table.sum(axis=1, keepdims=True)
    if not sizes.all():
        return 1.0
    smaller = float(sizes.min() / sizes.sum())
    cells: list[np.ndarray] = []
    waiting, left = np.zeros(2), float(sizes.sum())
    for pair in table.T:
        waiting = waiting + pair
        left -= float(pair.sum())
        # What comes after must be enough for a cell of its own; otherwise it belongs to this one.
        if waiting.sum() * smaller >= EXPECTED and (left == 0 or left * smaller >= EXPECTED):
            cells.append(waiting)
            waiting = np.zeros(2)
    if len(cells) < 2:
        return 1.0
    counts = np.stack(cells, axis=1)
    expected = sizes * counts.sum(axis=0) / sizes.sum()
    return chi_squared_above(float(((counts - expected) ** 2 / expected).sum()), len(cells) - 1)


def _exact(one: int, other: int, rows: int, others: int) -> float:
    """Twice the smaller tail of the hypergeometric distribution: `one` of `rows` against `other` of `others`."""
    hits, whole = one + other, rows + others
    first = max(0, hits - rows)
    last = min(hits, others)

    def ways(of: int, taken: int) -> float:
        return math.lgamma(of + 1) - math.lgamma(taken + 1) - math.lgamma(of - taken + 1)

    def tail(step: int) -> float:
        """The chance of `other` and everything further away in one direction."""
        at, total = other, 0.0
        share = math.exp(ways(hits, at) + ways(whole - hits, others - at) - ways(whole, others))
        while share > total * 1e-12 and share > 0:
            total += share
            if at + step < first or at + step > last:
                break
            up, down = (hits - at) * (others - at), (at + 1) * (whole - hits - others + at + 1)
            back = at * (whole - hits - others + at), (hits - at + 1) * (others - at + 1)
            share *= up / down if step > 0 else back[0] / back[1]
            at += step
        return total

    return min(1.0, 2 * min(tail(1), tail(-1)))


def chi_squared_above(value: float, degrees: int) -> float:
    """The chance that a chi-squared variable of so many (whole) degrees of freedom exceeds `value`; exact."""
    half = value / 2
    if half <= 0:
        return 1.0
    if degrees % 2:
        term, total = math.sqrt(half / math.pi) * 2 * math.exp(-half), math.erfc(math.sqrt(half))
        first = 1.5
    else:
        term, total = math.exp(-half), 0.0
        first = 1.0
    for step in range(degrees // 2):
        total += term
        term *= half / (first + step)
    return min(total, 1.0)


def _apart(pair: Pair) -> int:
    """How many of the last bins are no value that the reference knows."""
    sides = (pair.reference, pair.current)
    return sum(any(side.get(name) for side in sides) for name in ("other", "missing"))


def holm(chances: Sequence[float]) -> list[float]:
    """Holm's correction: each chance as if it were the only one, in the order given."""
    order = sorted(range(len(chances)), key=lambda place: chances[place])
    corrected, least = [0.0] * len(chances), 0.0
    for done, place in enumerate(order):
        least = max(least, min(1.0, chances[place] * (len(chances) - done)))
        corrected[place] = least
    return corrected


def _found(pair: Pair, table: np.ndarray, chances: Mapping[tuple[Side, str], float], rules: Rules) -> Found:
    rows = int(table[1].sum())
    corrected = chances.get((pair.side, pair.column))
    name = f"{'The output' if pair.side == 'output' else 'The input'} {pair.column}"
    if corrected is None:
        side = "the current window" if table[1].sum() < rules.minimum_rows else "the reference window"
        few = int(min(table.sum(axis=1)))
        said = f"{name} is not evaluated: {side} has {counted(few, 'row')}, and {rules.minimum_rows} are needed."
        return Found(column=pair.column, side=pair.side, outcome="not evaluated", sentence=said, rows=rows)
    found = psi(pair.reference, pair.current)
    is_large, is_sure = found >= rules.psi, corrected <= rules.chance
    outcome: Outcome = "moved" if is_large and is_sure else "steady"
    how = _how(pair)
    sure = "less than 1 in a million" if corrected < 1e-6 else f"{corrected:.2g}"
    if outcome == "moved":
        said = (
            f"{name} moved: PSI {found:.3g} (limit {rules.psi:g}) in {counted(rows, 'row')}; chance of this without "
            f"a change, after correction: {sure}{f'; {how}' if how else ''}."
        )
    elif is_sure:
        said = f"{name} differs surely and little: PSI {found:.3g} (limit {rules.psi:g}){f'; {how}' if how else ''}."
    elif is_large:
        said = f"{name} may differ by chance: PSI {found:.3g} in {counted(rows, 'row')} has a chance of {sure}."
    else:
        said = f"{name} is steady: PSI {found:.3g} in {counted(rows, 'row')}."
    return Found(
        column=pair.column, side=pair.side, outcome=outcome, sentence=said, rows=rows, psi=found, chance=corrected
    )


def _how(pair: Pair) -> str:
    """The largest change in a unit that a person knows: missing values, the mean, or a category's share."""
    old, new = pair.reference, pair.current
    sizes = [sum(_all(side)) + side["missing"] for side in (old, new)]
    gaps = [side["missing"] / size for side, size in zip((old, new), sizes, strict=True)]
    if abs(gaps[1] - gaps[0]) >= 0.1:
        return f"{gaps[0]:.0%} of its values were missing and {gaps[1]:.0%} are"
    if old["kind"] == "number":
        if old["mean"] is None or new["mean"] is None or not old["std"]:
            return ""
        by = (new["mean"] - old["mean"]) / old["std"]
        return f"the mean went from {old['mean']:.4g} to {new['mean']:.4g}, {abs(by):.2g} standard deviations"
    shares = {name: (count / sizes[0], new["counts"].get(name, 0) / sizes[1]) for name, count in old["counts"].items()}
    shares["any other value"] = (old["other"] / sizes[0], new["other"] / sizes[1])
    name, (before, now) = max(shares.items(), key=lambda item: abs(item[1][1] - item[1][0]))
    return f"{name} was {before:.0%} of the rows and is {now:.0%}"


def _all(side: Mapping[str, Any]) -> list[int]:
    return list(side["counts"]) if side["kind"] == "number" else [*side["counts"].values(), side["other"]]
