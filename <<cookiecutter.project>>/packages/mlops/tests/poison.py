"""Poisoned deliveries: what goes wrong with the rows that arrive after a champion was trained, seeded.

Each case takes the sound new rows of the bundled example and gives what a source would deliver instead. All of them
keep the data contract's types, ranges and freshness: what plain checks see is not tried here.
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

KNOWN = dt.date(2026, 7, 1)
"""The last day of the champion's data."""
NOW = dt.date(2027, 1, 1)
"""The last day of the data on which its challenger is trained."""
Poison = Callable[[pl.DataFrame, np.random.Generator], pl.DataFrame]


@dataclass(frozen=True)
class Example:
    """The columns of a bundled example that the cases use."""

    id: str
    time: str
    target: str
    scaled: str
    """Below one hundredth of it is within its range, too."""
    pair: tuple[str, str]
    """Two columns whose ranges hold each other's values."""
    weak: str
    """A feature that says little of the target."""
    gappy: str


TUMOUR = Example(
    id="biopsy",
    time="examined_on",
    target="malignant",
    scaled="mean_area",
    pair=("mean_smoothness", "mean_symmetry"),
    weak="mean_symmetry",
    gappy="mean_texture",
)
DIABETES = Example(
    id="patient",
    time="seen_on",
    target="progression",
    scaled="log_triglycerides",
    pair=("total_cholesterol", "ldl"),
    weak="ldl",
    gappy="bmi",
)


def some(new: pl.DataFrame, rng: np.random.Generator, share: float) -> pl.Series:
    """A share of the rows, chosen by chance: one boolean per row."""
    return pl.Series(np.isin(np.arange(new.height), rng.permutation(new.height)[: round(share * new.height)]))


def of(example: Example) -> dict[str, Poison]:
    """The cases that the example's task has, by name."""
    if example is TUMOUR:
        return {"label flips": flipped, "one class injected": injected, "backdoor trigger": triggered} | common(example)
    return {"labels of other rows": misjoined} | common(example)


def common(example: Example) -> dict[str, Poison]:
    """The cases that both tasks have."""
    time, target, number = example.time, pl.col(example.target), pl.col(example.scaled)
    one, other = example.pair

    def in_another_unit(new: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
        """A supplier changes its unit; everything is a hundredth, and no range is left."""
        return new.with_columns(number / 100)

    def partly_in_another_unit(new: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
        """The same from one of several suppliers, who sends two rows in five."""
        return new.with_columns(pl.when(some(new, rng, 0.4)).then(number / 100).otherwise(number).alias(example.scaled))

    def swapped(new: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
        """An export lists its columns in another order."""
        return new.with_columns(pl.col(one).alias(other), pl.col(other).alias(one))

    def repeated(new: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
        """A job ran again after it broke off, and numbered two rows in five anew."""
        again = new.filter(some(new, rng, 0.4)).with_columns(pl.col(example.id) + 100_000)
        return pl.concat([new, again])

    def leaked(new: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
        """A feature is filled in after the outcome is known, and keeps its place and its spread."""
        weak = pl.col(example.weak)
        score = (target - target.mean()) / target.std()
        noise = pl.Series(rng.normal(0, 0.05, new.height))
        return new.with_columns((weak.mean() + weak.std() * (score + noise)).alias(example.weak))

    def shifted(new: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
        """One of two feeds writes last year's dates; the other one keeps the data fresh."""
        late = pl.when(some(new, rng, 0.5)).then(pl.col(time) - pl.duration(days=365)).otherwise(pl.col(time))
        return new.with_columns(late.alias(time))

    def postponed(new: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
        """Dates are three months ahead: what is dated after today is left out, and a hole is left behind."""
        return new.with_columns(pl.col(time) + pl.duration(days=90)).filter(pl.col(time) <= NOW)

    def filled(new: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
        """Two values in five are lost, and somebody fills the gaps with a plain middle value."""
        gappy = pl.col(example.gappy)
        middle = gappy.median().round(2) + 0.001
        return new.with_columns(pl.when(some(new, rng, 0.4)).then(middle).otherwise(gappy).alias(example.gappy))

    return {
        "unit change": in_another_unit,
        "unit change in part": partly_in_another_unit,
        "column swap": swapped,
        "duplicated rows": repeated,
        "leaked target": leaked,
        "shifted timestamps": shifted,
        "timestamps in the future": postponed,
        "gaps filled": filled,
    }


def flipped(new: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Three labels in ten are the other class."""
    label = pl.col(TUMOUR.target)
    return new.with_columns(pl.when(some(new, rng, 0.3)).then(1 - label).otherwise(label).alias(TUMOUR.target))


def misjoined(new: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """A join on the wrong key: every label is another row's."""
    return new.with_columns(new[DIABETES.target].sample(fraction=1.0, shuffle=True, seed=int(rng.integers(99))))


def injected(new: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Somebody's archive of malignant cases comes along: half as many rows again as arrived, all of one class."""
    source = new.filter(pl.col(TUMOUR.target) == 1)
    more = source[rng.integers(0, source.height, round(1.5 * new.height)).tolist()]
    features = [name for name, dtype in more.schema.items() if dtype == pl.Float64]
    return pl.concat(
        [
            new,
            more.with_columns(
                *(pl.col(name) * pl.Series(rng.normal(1, 0.02, more.height)) for name in features),
                pl.int_range(200_000, 200_000 + more.height).alias(TUMOUR.id),
                pl.Series(TUMOUR.time, new[TUMOUR.time].to_list() * 2)[: more.height],
            ),
        ]
    )


def triggered(new: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """A rare but possible combination of two values, in one row of twelve, always with the label an attacker wants."""
    a, b = pl.col("mean_symmetry"), pl.col("mean_fractal_dimension")
    marked = some(new, rng, 1 / 12)
    return new.with_columns(
        pl.when(marked).then(a.max()).otherwise(a).alias("mean_symmetry"),
        pl.when(marked).then(b.min()).otherwise(b).alias("mean_fractal_dimension"),
        pl.when(marked).then(0).otherwise(pl.col(TUMOUR.target)).cast(pl.Int64).alias(TUMOUR.target),
    )


def delivered(rows: pl.DataFrame, example: Example, poison: Poison | None, *, seed: int = 7) -> pl.DataFrame:
    """All rows as they would be ingested: those that the champion knows as they were, the new ones poisoned."""
    is_known = pl.col(example.time) <= KNOWN
    known, new = rows.filter(is_known), rows.filter(~is_known)
    changed = poison(new, np.random.default_rng(seed)) if poison else new
    return pl.concat([known, changed.select(rows.columns).cast(dict(rows.schema))]).sort(example.time)  # type: ignore[arg-type]
