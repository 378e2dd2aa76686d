"""Which rows are kept from training? A boundary that is fitted once and says of any row on which side it lies.

The boundary, not a list of rows, is what a version remembers: it tells of rows that arrived later, and of another
version's data, whether that version may have been trained on them. Hashes are our own (splitmix64, BLAKE2), because
those of libraries change between their versions and would move rows across the boundary.
"""

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from mlops.config import Split
from mlops.data.contract import Contract
from mlops.errors import Refusal, counted

BINS = 10
"""Strata of a target that is a quantity."""
MOST_CLASSES = 50
"""A whole-number target with more values than this counts as a quantity."""


@dataclass(frozen=True, kw_only=True)
class Boundary:
    """Where train ends and holdout begins.

    `time`: rows later than `cutoff` (ISO text) are the holdout.
    `stratified`: u, a hash of (seed, `column`) in [0, 1), is compared with the threshold of the row's stratum: its
    value of `target` as text, or the number of the bin between `edges`; strata that are not listed have `default`.
    `grouped`: u is a hash of (seed, `column`), compared with `default`.
    """

    method: str
    column: str
    seed: int
    cutoff: str | None = None
    target: str | None = None
    edges: tuple[float, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    default: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The value that `split.json` and the manifest hold; `from_json` gives an equal boundary back."""
        return {
            "method": self.method,
            "column": self.column,
            "seed": self.seed,
            "cutoff": self.cutoff,
            "target": self.target,
            "edges": list(self.edges),
            "thresholds": dict(self.thresholds),
            "default": self.default,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Boundary":
        """A boundary from what `to_json` gave; raises KeyError or TypeError for anything else."""
        return Boundary(
            method=value["method"],
            column=value["column"],
            seed=value["seed"],
            cutoff=value["cutoff"],
            target=value["target"],
            edges=tuple(value["edges"]),
            thresholds=dict(value["thresholds"]),
            default=value["default"],
        )


def fit_boundary(frame: pl.DataFrame, contract: Contract, split: Split) -> Boundary:
    """The boundary that leaves `split.holdout` of the rows (of the groups when grouped) in the holdout.

    Raises `Refusal` where the contract lacks the column that the method needs, where the target has missing values or
    one value only, and where one side would be empty.
    """
    target = contract.target
    if target is None:
        raise Refusal("The contract names no target.", do='Give it metadata={"role": "target"} in contract.py.')
    needed = {"time": contract.time, "stratified": contract.id, "grouped": contract.group}[split.method]
    if needed is None:
        role = {"time": "time", "stratified": "id", "grouped": "group"}[split.method]
        raise Refusal(
            f'split.method = "{split.method}" needs a column with the role {role}, and the contract has none.',
            do="Give one column that role in contract.py, or choose another split.method in model.toml.",
        )
    for column in (target, needed):
        missing = _missing(frame, column.name)
        if missing:
            raise Refusal(
                f"{column.name} (the {column.role}) is missing in {missing:,} of {counted(frame.height, 'row')}.",
                do="Leave such rows out in ingest; a row without it can be neither learned from nor scored.",
            )
    if frame[target.name].n_unique() < 2:
        raise Refusal(
            f"{target.name} (the target) has one value only in {counted(frame.height, 'row')}.",
            do="Nothing can be learned from it; use more data (data.as_of).",
        )
    boundary = {"time": _by_time, "stratified": _stratified, "grouped": _grouped}[split.method](
        frame, needed.name, target.name, split
    )
    holdout = int(assign(frame, boundary).sum())
    if not 0 < holdout < frame.height:
        side = "holdout" if holdout == 0 else "training data"
        raise Refusal(
            f"The {side} would be empty: {counted(frame.height, 'row')}, split.holdout = {split.holdout}.",
            do="Use more data (data.as_of), or another split.holdout or split.method in model.toml.",
        )
    return boundary


def assign(frame: pl.DataFrame, boundary: Boundary) -> pl.Series:
    """One boolean per row: True for the holdout. Rows whose column is missing are False (they are training's)."""
    _require(frame, boundary.column)
    column = frame[boundary.column]
    if boundary.method == "time":
        cutoff = dt.datetime.fromisoformat(str(boundary.cutoff))
        later = column > (cutoff if column.dtype == pl.Datetime else cutoff.date())
        return later.fill_null(False).alias("holdout")
    u = uniform(column, boundary.seed)
    thresholds = np.full(frame.height, boundary.default)
    if boundary.method == "stratified":
        _require(frame, str(boundary.target))
        strata = _strata(frame[str(boundary.target)], boundary.edges)
        known = dict(boundary.thresholds)
        thresholds = strata.replace_strict(known, default=boundary.default, return_dtype=pl.Float64).to_numpy()
    return pl.Series("holdout", (u < thresholds) & column.is_not_null().to_numpy())


def seen(frame: pl.DataFrame, boundary: Boundary) -> pl.Series:
    """One boolean per row: True where a model trained under this boundary may have been trained on the row.

    It holds for rows that the model's data had, and for later ones that would have been training's: leaving those out
    as well costs a few rows and no honesty.
    """
    return (~assign(frame, boundary)).alias("seen")


def uniform(column: pl.Series, seed: int) -> np.ndarray:
    """A number in [0, 1) per value, shape (n,), that depends on the value and the seed, and on nothing else, ever.

    Equal values have equal numbers: whole numbers of any width, text, booleans, days and times. Floats are hashed by
    their bits (0.0 and -0.0 as one).
    """
    if column.dtype == pl.String or column.dtype in (pl.Categorical, pl.Enum):
        unique = column.cast(pl.String).unique().drop_nulls()
        key = seed.to_bytes(8, "little", signed=True)
        words = [
            int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, key=key).digest(), "little") for text in unique
        ]
        table = pl.DataFrame({"value": unique, "word": pl.Series(words, dtype=pl.UInt64)})
        values = pl.DataFrame({"value": column.cast(pl.String)})
        found = values.join(table, on="value", how="left", maintain_order="left")
        return _unit(found["word"].fill_null(0).to_numpy())
    if column.dtype.is_float():
        bits = (column.cast(pl.Float64).fill_null(0.0).to_numpy() + 0.0).view(np.uint64)
    else:
        whole = column.to_physical() if column.dtype.is_temporal() else column
        bits = whole.cast(pl.Int64).fill_null(0).to_numpy().view(np.uint64)
    start = _splitmix(np.array([seed], dtype=np.int64).view(np.uint64))
    return _unit(_splitmix(bits ^ start))


def _splitmix(words: np.ndarray) -> np.ndarray:
    """The splitmix64 finaliser: a bijection of 64-bit words whose every output bit depends on every input bit."""
    with np.errstate(over="ignore"):
        mixed = words + np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ np.right_shift(mixed, np.uint64(shift))) * np.uint64(factor)
        return np.asarray(mixed ^ np.right_shift(mixed, np.uint64(31)))


def _unit(words: np.ndarray) -> np.ndarray:
    """Words of 64 bits as numbers in [0, 1): the upper 53 bits, which a float holds exactly."""
    return np.asarray(np.right_shift(words, np.uint64(11)) * 2.0**-53)


def _by_time(frame: pl.DataFrame, column: str, target: str, split: Split) -> Boundary:
    """The cutoff, among the times there are, that leaves nearest to the wanted share after it; both sides have rows."""
    counts = frame.group_by(column).len().sort(column)
    after = frame.height - counts["len"].cum_sum()
    # The last time leaves nothing after it; it stays a candidate only where there is no other.
    distance = (after / frame.height - split.holdout).abs()
    candidates = counts.with_columns(distance=distance).head(max(1, counts.height - 1))
    cutoff = candidates.row(int(candidates["distance"].arg_min() or 0), named=True)[column]
    return Boundary(method="time", column=column, seed=split.seed, cutoff=cutoff.isoformat())


def _stratified(frame: pl.DataFrame, column: str, target: str, split: Split) -> Boundary:
    u = uniform(frame[column], split.seed)
    edges = _edges(frame[target])
    strata = _strata(frame[target], edges)
    thresholds = {}
    for stratum in sorted(strata.unique().to_list()):
        members = np.sort(u[(strata == stratum).to_numpy()])
        thresholds[stratum] = _threshold(members, round(split.holdout * len(members)))
    return Boundary(
        method="stratified",
        column=column,
        seed=split.seed,
        target=target,
        edges=edges,
        thresholds=thresholds,
        default=split.holdout,
    )


def _grouped(frame: pl.DataFrame, column: str, target: str, split: Split) -> Boundary:
    u = np.sort(uniform(frame[column].unique(), split.seed))
    threshold = _threshold(u, min(max(1, round(split.holdout * len(u))), len(u) - 1))
    return Boundary(method="grouped", column=column, seed=split.seed, default=threshold)


def _threshold(ordered: np.ndarray, count: int) -> float:
    """The number that exactly `count` of the ordered values lie below (equal values are not separated)."""
    return float(ordered[count]) if count < len(ordered) else 1.0


def _edges(target: pl.Series) -> tuple[float, ...]:
    """Inner edges of the strata of a target that is a quantity; none for a target with classes."""
    is_quantity = target.dtype.is_float() or (target.dtype.is_integer() and target.n_unique() > MOST_CLASSES)
    if not is_quantity:
        return ()
    edges = np.quantile(target.cast(pl.Float64).to_numpy(), np.linspace(0, 1, BINS + 1)[1:-1])
    return tuple(float(edge) for edge in np.unique(edges))


def _strata(target: pl.Series, edges: tuple[float, ...]) -> pl.Series:
    """The name of each row's stratum."""
    if edges:
        bins = np.searchsorted(np.asarray(edges), target.cast(pl.Float64).fill_null(0.0).to_numpy(), side="left")
        return pl.Series("stratum", bins).cast(pl.String)
    return target.cast(pl.String).alias("stratum")


def _missing(frame: pl.DataFrame, name: str) -> int:
    _require(frame, name)
    column = frame[name]
    return column.null_count() + (int(column.is_nan().sum() or 0) if column.dtype.is_float() else 0)


def _require(frame: pl.DataFrame, name: str) -> None:
    if name not in frame.columns:
        raise Refusal(f"The data has no column {name}, by which it is split.", do="Run ingest and check again.")
