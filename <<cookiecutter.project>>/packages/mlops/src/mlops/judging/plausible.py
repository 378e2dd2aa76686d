"""Can the world have made these rows? What arrived since the champion's data, against what the champion knows; pure.

Drift is why one trains anew, so it is no reason to refuse. A doubt is raised only by what drift hardly ever makes and
mistakes and attacks do: another unit, swapped columns, gaps filled with one value, repeated rows, a feature that knows
the outcome, dates that jump, classes that pour in, labels that contradict the champion. Like drift, each needs two
things: an effect that is large, and evidence that it is not chance. Each also holds against the latest rows before, so
that a change which a person has accepted once is known from then on.
"""

import datetime as dt
import functools
import itertools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops.data.check import HIDDEN, shown_value
from mlops.data.contract import Column, Contract
from mlops.data.profile import profile, tabled
from mlops.errors import counted
from mlops.watching.drift import chance

Profile = Mapping[str, Any]
Floats = NDArray[np.float64]

LEAST = 10
"""Fewer rows than this are an anecdote, and raise no doubt."""
CHANCE = 0.001
"""How often sound rows may be doubted by chance, all questions together."""
KINDS = 8
"""Questions that share `CHANCE`; what is asked of each column shares its part among the columns."""
MOVED = 3.0
"""Standard deviations. Drift alarms from half of one; at three, hardly a new row is where the middle used to be."""
STRETCHED = 5.0
"""How many times wider or narrower. A drifting column becomes twice as wide; another unit makes it ten times so."""
SWAPPED = 3.0
"""How many times nearer two columns must each be to what the other was."""
MANY = 0.2
"""The share of rows that have, in one column, what hardly occurred before: one value, or values far off."""
RARE = 0.01
"""What hardly occurred: less than one row in a hundred."""
REPEATED = 0.1
"""The share of rows that repeat another one, beyond what is usual."""
TOLD = 0.98
"""The share of rows of which one feature alone tells the target: no honest measurement is nearly perfect suddenly."""
FEWER = 5.0
"""How many times fewer mistakes that feature makes than before."""
POURED = 0.3
"""The share of rows that would need another class for the classes to be as common as they were."""
CONTRADICTED = 0.15
"""How much of the area under the ROC curve is lost: about what it costs when one label in seven is wrong."""
LATE = 0.2
"""The share of what arrived that may be dated before the newest day that the champion knew."""
LONGER = 3.0
"""How many times longer than ever a gap must be."""
FULLER = 10.0
"""How many times fuller than ever a day must be."""
ROWS = "rows"
"""What a doubt is about when it is about no column."""
_TREE = 2_000
"""Rows on which a feature is tried; more tell the same."""


@dataclass(frozen=True)
class Doubt:
    """Something that the world is unlikely to have made: the column it is about (or `rows`), and a whole sentence."""

    about: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """What is doubted about the data, and how many of its rows the champion's data did not have.

    `rows` is None where that is not known; `because` is why nobody could look, empty where one could.
    """

    rows: int | None = None
    doubts: tuple[Doubt, ...] = ()
    because: str = ""


@dataclass(frozen=True, kw_only=True)
class Dates:
    """What the champion's data says of time: its number of rows, its newest day, and the last day that was complete."""

    rows: int
    newest: dt.date
    complete: dt.date


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a version predicts of rows, and what became of them: codes of classes and chances (n, k), or numbers."""

    truth: NDArray[Any]
    prediction: Floats


def moved(
    new: pl.DataFrame, columns: Sequence[Column], references: Sequence[Profile], *, bins: int, noun: str = "new row"
) -> tuple[Doubt, ...]:
    """Numbers in another place, on another scale, or in each other's column, than in every one of the `references`.

    The first reference is the champion's; a column that it does not have is not asked about.
    """
    rows = counted(new.height, noun)
    numbers = [column for column in columns if column.dtype in ("int", "float") and column.name in new.columns]
    own = profile(new, numbers, bins)["columns"]
    sides = [_Against.of(new, numbers, reference, own=own, bins=bins) for reference in references]
    sure = CHANCE / KINDS / max(1, len(numbers))
    asked = [one.name for one in numbers if sides and all(side.knows(one.name) for side in sides)]
    apart = [name for name in asked if all(side.is_apart(name, sure) for side in sides)]
    found: dict[str, Doubt] = {}
    for one, other in itertools.combinations(apart, 2):
        if all(side.is_swapped(one, other) for side in sides):
            said = f"{one} and {other} look swapped: in {rows} each is what the other was."
            found[one] = found[other] = Doubt(one, said)
    for name in asked:
        if name in found:
            continue
        if name in apart and all(side.is_moved(name) for side in sides):
            found[name] = Doubt(name, sides[0].sentence(name, rows))
            continue
        values = new[name].cast(pl.Float64)
        count = int(functools.reduce(operator.and_, (side.is_off(values) for side in sides)).sum())
        if count >= max(LEAST, MANY * new.height) and binomial_above(count, new.height, RARE) < sure:
            said = f"{name} is far beyond all that was in {count} of {rows}: are some in another unit?"
            found[name] = Doubt(name, said)
    return tuple(dict.fromkeys(found.values()))


def filled(new: pl.DataFrame, before: Sequence[pl.DataFrame], contract: Contract) -> tuple[Doubt, ...]:
    """One number in many of the new rows that was rare in each of the frames `before`: gaps that someone filled."""
    numbers = [one for one in contract.features if one.dtype in ("int", "float") and one.name in new.columns]
    doubts = []
    for column in numbers:
        value, count = _commonest(new[column.name])
        sides = [frame[column.name] for frame in before if column.name in frame.columns]
        if value is None or count < LEAST or not sides:
            continue
        usual = max(_share(side == value) for side in sides)
        # Some columns have a commonest value by nature; it may become another one, and no more common.
        least = MANY + max(_commonest(side)[1] / max(1, len(side)) for side in sides)
        if usual >= RARE or count < least * new.height:
            continue
        if binomial_above(count, new.height, RARE) < CHANCE / KINDS / len(numbers):
            shown = shown_value(value, column.name, contract)
            what = "has one value" if shown == HIDDEN else f"is {shown:g}"
            doubts.append(
                Doubt(
                    column.name,
                    f"{column.name} {what} in {count} of {_new(new.height)}, and in {usual:.1%} of the rows before: "
                    "are gaps filled with it?",
                )
            )
    return tuple(doubts)


def repeated(new: int, repeats: int, usual: float | None) -> tuple[Doubt, ...]:
    """So many of the new rows repeat another row; `usual` is the share that did before, None where that is unknown."""
    least = (usual or 0.0) + REPEATED
    if repeats < LEAST or repeats < least * new:
        return ()
    if usual and binomial_above(repeats, new, usual) >= CHANCE / KINDS:
        return ()
    before = "" if usual is None else f", and {usual:.0%} did before"
    said = f"{repeats} of {_new(new) if usual is not None else counted(new, 'row')} repeat another row in every feature"
    return (Doubt(ROWS, f"{said}{before}: was something delivered twice?"),)


def told(
    new: pl.DataFrame, before: Sequence[pl.DataFrame], features: Sequence[Column], target: Column, *, task: str
) -> tuple[Doubt, ...]:
    """A feature that alone tells the target nearly always, and did not in any of the frames `before`.

    Without frames before, nearly always is enough.
    """
    doubts = []
    for column in features:
        now = _tell(new, column, target, task)
        if now is None or now.share < TOLD:
            continue
        was = [one for one in (_tell(frame, column, target, task) for frame in before) if one is not None]
        if before and not (was and all(now.is_beyond(one, CHANCE / KINDS / len(features)) for one in was)):
            continue
        ending = f" before it was {max(one.shown for one in was)}:" if was else ""
        rows = counted(now.rows, "new row" if was else "row")
        said = f"{column.name} alone tells {target.name} in {rows}, {now.shown};{ending}"
        doubts.append(Doubt(column.name, f"{said} is it known only after the outcome?"))
    return tuple(doubts)


def dated(times: pl.Series, name: str, known: Dates, *, freshness_days: int | None) -> tuple[Doubt, ...]:
    """Rows that arrive dated in the past, gaps among the new ones, and days on which they pile up.

    `times` are those of all rows. How long ago the newest may be is the data contract's `freshness_days`.
    """
    days = times.cast(pl.Date).drop_nulls().sort()
    arrived = len(days) - known.rows
    late = int((days <= known.complete).sum()) - known.rows
    found = []
    if late >= LEAST and late > LATE * arrived:
        found.append(
            f"At least {late} of {counted(arrived, 'row')} that arrived have {name} up to {known.complete}, "
            "of which the champion's data held all rows: are the times shifted?"
        )
    counts = days.value_counts().sort(days.name)
    old, new = counts.filter(pl.col(days.name) <= known.newest), counts.filter(pl.col(days.name) > known.newest)
    if old.height > 1 and new.height and int(new["count"].sum()) >= LEAST:
        usual = int(old[days.name].diff().dt.total_days().max() or 0)  # type: ignore[arg-type]
        edges = pl.concat([old[days.name].tail(1), new[days.name]])
        gaps = edges.diff().dt.total_days()
        longest = int(gaps.max() or 0)  # type: ignore[arg-type]
        if longest > max(LONGER * usual, freshness_days or 0):
            end = edges[int(gaps.arg_max() or 0)]
            start = end - dt.timedelta(days=longest)
            found.append(
                f"No row has {name} between {start} and {end}; the longest gap before was {counted(usual, 'day')}: "
                "are rows lost, or the times shifted?"
            )
        fullest, most = int(new["count"].max()), int(old["count"].max())  # type: ignore[arg-type]
        if fullest >= LEAST and fullest > FULLER * most:
            day = new.filter(pl.col("count") == fullest)[days.name][0]
            found.append(
                f"{counted(fullest, 'new row')} have the {name} {day}, and no day had more than {most} before: "
                "is it the time of the delivery?"
            )
    return tuple(Doubt(name, said) for said in found)


def poured(new: pl.DataFrame, target: Column, before: Sequence[pl.DataFrame]) -> tuple[Doubt, ...]:
    """Classes that are far more common in the new rows than in each of the frames `before`."""
    now = _classes(new, target.name)
    tables = []
    for frame in before:
        was = _classes(frame, target.name)
        names = sorted(now.keys() | was.keys())
        tables.append((names, np.array([[side.get(one, 0) for one in names] for side in (was, now)], float)))
    if not tables or min(table.sum(axis=1).min() for _, table in tables) < LEAST:
        return ()
    for _, table in tables:
        shares = table / table.sum(axis=1, keepdims=True)
        if np.abs(np.diff(shares, axis=0)).sum() / 2 < POURED or chance(table) >= CHANCE / KINDS:
            return ()
    names, table = tables[0]
    shares = table / table.sum(axis=1, keepdims=True)
    most = int(np.argmax(shares[1] - shares[0]))
    return (
        Doubt(
            target.name,
            f"{target.name} is {names[most]} in {shares[1][most]:.0%} of {_new(new.height)}, and in "
            f"{shares[0][most]:.0%} of the rows before: did rows of one class pour in?",
        ),
    )


def contradicted(new: Said, before: Said, again: Callable[[], Said | None], target: str) -> tuple[Doubt, ...]:
    """New labels whose order the champion cannot give any more, though it could on rows that it had not seen.

    `again` gives what the champion's estimator says of the new rows when it learns from others of them. Where it finds
    an order, the relation has changed, and that is for training to follow; where it finds none, the labels are wrong.
    So they are where the order is the opposite, as of classes that changed their names.
    """
    now, was = _order(new), _order(before)
    if now is None or was is None:
        return ()
    if new.prediction.ndim == 2:
        spread = math.hypot(_auc_error(was, new.truth), _auc_error(was, before.truth))
        middle, name = 0.5, "area under the ROC curve"
        least, sure = was - CONTRADICTED, (was - now) / spread
    else:
        spread = math.hypot(*(1 / math.sqrt(len(side.truth) - 3) for side in (new, before)))
        # Of a correlation half must be lost: few rows give no better measure of it.
        middle, name = 0.0, "correlation"
        least, sure = was / 2, (math.atanh(min(was, 0.999)) - math.atanh(max(now, -0.999))) / spread
    if was <= middle or now > least or _normal_above(sure) >= CHANCE / KINDS:
        return ()
    said = (
        f"{target} contradicts what the champion says of {_new(len(new.truth))}: the {name} is {now:.2f}, and was "
        f"{was:.2f} on {counted(len(before.truth), 'row')} that it had not learnt from"
    )
    if now < 2 * middle - least:
        return (Doubt(target, f"{said}; the labels say the opposite: did they change their names?"),)
    learnt = again()
    order = _order(learnt) if learnt else None
    if order is not None and order > least:
        return ()
    shown = f" ({order:.2f})" if order is not None else ""
    return (Doubt(target, f"{said}; nor can it be learnt from these rows{shown}: are labels wrong?"),)


def binomial_above(hits: int, rows: int, share: float) -> float:
    """The chance of at least so many hits in so many rows, when each is one with the chance `share`."""
    if hits <= 0 or share >= 1:
        return 1.0
    if share <= 0:
        return 0.0
    total = 0.0
    for k in range(hits, rows + 1):
        ways = math.lgamma(rows + 1) - math.lgamma(k + 1) - math.lgamma(rows - k + 1)
        term = math.exp(ways + k * math.log(share) + (rows - k) * math.log1p(-share))
        total += term
        if k > rows * share and term < total * 1e-12:
            break
    return min(1.0, total)


@dataclass(frozen=True, kw_only=True)
class _Against:
    """The new rows against one reference: by column, its profile, and the new rows binned like it and by themselves."""

    reference: Mapping[str, Profile]
    like: Mapping[str, Profile]
    own: Mapping[str, Profile]

    @staticmethod
    def of(
        new: pl.DataFrame, columns: Sequence[Column], reference: Profile, *, own: Mapping[str, Profile], bins: int
    ) -> "_Against":
        known = {name: one for name, one in reference["columns"].items() if one["kind"] == "number" and one["counts"]}
        asked = [column for column in columns if column.name in known]
        like = profile(new, asked, bins, like={"columns": known})["columns"]
        return _Against(reference=known, like=like, own=own)

    def knows(self, name: str) -> bool:
        """Whether both sides have values that are finite, and the reference more than one."""
        sides = (self.reference.get(name), self.own.get(name))
        return all(one is not None and one["mean"] is not None for one in sides) and _spread(self.reference[name]) > 0

    def is_apart(self, name: str, sure: float) -> bool:
        """Whether the counts differ beyond chance."""
        table = tabled(self.reference[name], self.like[name])
        # Missing values are drift; where the values lie is asked of those that are there.
        bins = len(self.reference[name]["counts"])
        return chance(table[:, :bins]) < sure

    def is_moved(self, name: str) -> bool:
        """Whether the middle lies elsewhere, or the values on another scale."""
        was, now = self.reference[name], self.own[name]
        spread = _spread(was)
        if abs(_middle(now) - _middle(was)) > MOVED * spread:
            return True
        width = _width(was)
        # Most rows had one value: how wide the others lie is not known well enough.
        return bool(width) and not width / STRETCHED < _width(now) < width * STRETCHED

    def is_off(self, values: pl.Series) -> pl.Series:
        """One boolean per value: whether it lies beyond the reference by more than four fifths of it are wide.

        Where all of it is above zero, a value is off too that is so many times smaller: a hundredth of a length is no
        great distance, and no length that was ever seen.
        """
        was = self.reference[str(values.name)]
        (low, high), width = _ends(was), _width(was)
        off = (values < low - width) | (values > high + width) | ((values > 0) & (values < low / STRETCHED))
        return off.fill_null(False)

    def is_swapped(self, one: str, other: str) -> bool:
        """Whether each column is far from what it was, and much nearer to what the other was."""
        pairs = ((one, other), (other, one))
        return all(
            _distance(self.own[a], self.reference[a]) > _spread(self.reference[a]) / 2
            and _distance(self.own[a], self.reference[b]) * SWAPPED < _distance(self.own[a], self.reference[a])
            for a, b in pairs
        )

    def sentence(self, name: str, rows: str) -> str:
        """How far the column is from what it was."""
        was, now = self.reference[name], self.own[name]
        width, wide = _width(was), _width(now)
        scale = ""
        if width and wide and not width / STRETCHED < wide < width * STRETCHED:
            scale = f", {wide / width:.3g} times as wide" if wide > width else f", 1/{width / wide:.3g} as wide"
        elif width and not wide:
            scale = ", all of them alike"
        return (
            f"{name} is not what it was: the middle of {rows} is {_middle(now):.3g}{scale}, and was "
            f"{_middle(was):.3g}: is it in another unit?"
        )


def _quantile(side: Profile, share: float) -> float:
    """The value below which that share of a profile's rows lies, even within a bin."""
    counts, (low, high) = side["counts"], _ends(side)
    ends = [low, *side["edges"], high]
    wanted, passed = share * sum(counts), 0
    for n, count in enumerate(counts):
        if count and passed + count >= wanted:
            return float(ends[n] + (ends[n + 1] - ends[n]) * (wanted - passed) / count)
        passed += count
    return float(high)


def _ends(side: Profile) -> tuple[float, float]:
    """The least and the greatest value; of personal columns, which hide them, the outer edges."""
    edges = side["edges"] or [side["mean"]]
    return (
        side["min"] if side["min"] is not None else edges[0],
        side["max"] if side["max"] is not None else edges[-1],
    )


def _middle(side: Profile) -> float:
    return _quantile(side, 0.5)


def _width(side: Profile) -> float:
    """Where the middle four fifths of the rows lie."""
    return _quantile(side, 0.9) - _quantile(side, 0.1)


def _spread(side: Profile) -> float:
    """A standard deviation that a few wild values do not touch."""
    # 2.563 standard deviations hold the middle four fifths of a normal distribution.
    return _width(side) / 2.563 or float(side["std"] or 0.0)


def _distance(one: Profile, other: Profile) -> float:
    """How far apart two columns lie, on average over their tenths."""
    return float(np.mean([abs(_quantile(one, k / 10) - _quantile(other, k / 10)) for k in range(1, 10)]))


@dataclass(frozen=True)
class _Tell:
    """How well one feature tells the target: a share of rows, or for numbers the rank correlation without its sign."""

    share: float
    rows: int
    task: str

    @property
    def shown(self) -> str:
        """For a sentence."""
        what = f"right in {self.share:.0%}" if self.task == "classification" else f"rank correlation {self.share:.2f}"
        return what

    def is_beyond(self, before: "_Tell", sure: float) -> bool:
        """Whether mistakes are so many times fewer than before, and that is no chance."""
        if self.task == "classification":
            few = (1 - self.share) * FEWER <= 1 - before.share
            return few and binomial_above(round(self.share * self.rows), self.rows, before.share) < sure
        few = (1 - self.share**2) * FEWER <= 1 - before.share**2
        spread = math.hypot(*(1 / math.sqrt(side.rows - 3) for side in (self, before)))
        return few and _normal_above((math.atanh(min(self.share, 0.9999)) - math.atanh(before.share)) / spread) < sure


def _tell(frame: pl.DataFrame, column: Column, target: Column, task: str) -> _Tell | None:
    """Try one feature alone; None where there are too few rows, or one class only."""
    if column.name not in frame.columns or target.name not in frame.columns:
        return None
    pair = frame.select(column.name, target.name).drop_nulls(target.name)
    pair = pair.gather_every(max(1, pair.height // _TREE))
    x = _codes(pair[column.name])
    if pair.height < 2 * LEAST:
        return None
    if task == "regression":
        y = pair[target.name].cast(pl.Float64)
        sound = np.isfinite(x) & y.is_finite().to_numpy()
        if column.dtype == "str" or sound.sum() < 2 * LEAST:
            return None
        ranks = [pl.Series(one[sound]).rank().to_numpy() for one in (x, y.to_numpy())]
        found = abs(_correlation(*ranks))
        return None if math.isnan(found) else _Tell(found, int(sound.sum()), task)
    return _told_by_tree(x, pair[target.name].cast(pl.String).rank("dense").to_numpy())


def _told_by_tree(x: Floats, y: NDArray[Any]) -> _Tell | None:
    """A small tree learns from every other row and tells the rest; classes weigh alike, however rare one is."""
    from sklearn.tree import DecisionTreeClassifier

    halves = [np.arange(start, len(y), 2) for start in (0, 1)]
    if any(min(np.unique(y[half], return_counts=True)[1]) < 3 or len(np.unique(y[half])) < 2 for half in halves):
        return None
    tree = DecisionTreeClassifier(max_leaf_nodes=20, min_samples_leaf=3, class_weight="balanced", random_state=0)
    known = np.where(np.isfinite(x), x, np.nan).reshape(-1, 1)
    hits = [tree.fit(known[one], y[one]).predict(known[other]) == y[other] for one, other in (halves, halves[::-1])]
    return _Tell(float(np.concatenate(hits).mean()), len(y), "classification")


def _codes(values: pl.Series) -> Floats:
    """A column as numbers: texts by their order."""
    if values.dtype == pl.String:
        values = values.rank("dense")
    return values.cast(pl.Float64).fill_null(math.nan).to_numpy()


def _order(said: Said) -> float | None:
    """How well a prediction orders what became of the rows; None where that cannot be said."""
    from mlops.learning.metrics import METRICS

    if said.prediction.ndim == 2:
        classes = np.bincount(said.truth, minlength=said.prediction.shape[1]) if len(said.truth) else np.zeros(1)
        if classes.min() < 5 or len(said.truth) < 2 * LEAST:
            return None
        found = METRICS["roc_auc"].value(said.truth, said.prediction)
    else:
        found = _correlation(said.truth, said.prediction) if len(said.truth) >= 2 * LEAST else math.nan
    return found if math.isfinite(found) and np.isfinite(said.prediction).all() else None


def _auc_error(area: float, truth: NDArray[Any]) -> float:
    """The standard error of an area under the ROC curve on rows with this truth (Hanley and McNeil, 1982).

    Of several classes the rarest counts; an area near 1 is taken as 0.95, because its error is not known so well.
    """
    area = min(max(area, 0.5), 0.95)
    few = int(np.bincount(truth)[np.bincount(truth) > 0].min())
    many = len(truth) - few
    one, other = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (few - 1) * (one - area**2) + (many - 1) * (other - area**2)
    return math.sqrt(spread / (few * many))


def _correlation(one: Floats, other: Floats) -> float:
    """Pearson's, NaN where one side is constant."""
    a, b = one - one.mean(), other - other.mean()
    size = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
    return float((a * b).sum()) / size if size else math.nan


def _normal_above(value: float) -> float:
    return math.erfc(value / math.sqrt(2)) / 2


def _classes(frame: pl.DataFrame, target: str) -> dict[str, int]:
    if target not in frame.columns:
        return {}
    values = frame[target].drop_nulls().cast(pl.String).rename("class")
    return dict(values.value_counts().iter_rows())


def _commonest(values: pl.Series) -> tuple[float | None, int]:
    """The value that most rows have, the greatest one of several, and how many have it."""
    known = values.cast(pl.Float64).drop_nulls()
    known = known.filter(known.is_finite())
    if known.is_empty():
        return None, 0
    value, count = known.value_counts().sort("count", known.name, descending=True).row(0)
    return float(value), int(count)


def _share(is_it: pl.Series) -> float:
    return float(is_it.fill_null(False).mean() or 0.0)  # type: ignore[arg-type]


def _new(count: int) -> str:
    return counted(count, "new row")
