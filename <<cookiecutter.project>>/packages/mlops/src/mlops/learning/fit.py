"""Which parameters, and how good is a fit? Cross-validation, successive halving, and the final estimator.

Every result depends on the rows, the parameters and the seeds alone: not on cores, threads or the engine.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.experimental import enable_halving_search_cv  # noqa: F401  it makes the next import possible
from sklearn.model_selection import (
    GroupKFold,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    KFold,
    ParameterGrid,
    StratifiedKFold,
    TimeSeriesSplit,
)
from threadpoolctl import threadpool_limits

from mlops.config import ModelConfig
from mlops.data.contract import Contract
from mlops.errors import Refusal, counted
from mlops.learning import frames
from mlops.learning.export import predict
from mlops.learning.loading import Build
from mlops.learning.metrics import METRICS, Floats, Metric, better

# A grid of more candidates than this is sampled; successive halving then starts with as many as the rows allow.
MOST_CANDIDATES = 64


@dataclass(frozen=True)
class Rows:
    """Rows to learn from, in the order of time where there is one: X (n, features), y (n,), groups (n,) or None."""

    X: pd.DataFrame
    y: pd.Series
    groups: NDArray[Any] | None
    classes: list[Any] | None


def rows_of(frame: pl.DataFrame, contract: Contract, config: ModelConfig, *, where: str) -> Rows:
    """The training rows as an estimator takes them; refuses rows without a target and a target of one class."""
    if config.split.method == "time" and contract.time is not None:
        frame = frame.sort(contract.time.name, maintain_order=True)
    target = frames.target(frame, frames.target_name(contract, where=where), task=config.model.task, where=where)
    classes = None
    if config.model.task == "classification":
        classes = sorted(target.unique().tolist())
        if len(classes) < 2:
            raise Refusal(
                f"{where}: every row has the same {target.name}, {classes}; there is nothing to learn.",
                do="Get rows of at least two classes (data.as_of, the source), or do regression.",
            )
    group = contract.group
    grouped = config.split.method == "grouped" and group is not None
    return Rows(
        X=frames.features(frame, frames.of_contract(contract), where=where),
        y=target,
        groups=np.array(frame[group.name].to_list(), dtype=object).astype(str) if grouped and group else None,
        classes=classes,
    )


def splitter(config: ModelConfig, rows: Rows, *, where: str) -> Any:
    """The folds that suit the split: in the order of time, by group, by class, or plain; refuses too many of them."""
    folds, seed, n = config.train.folds, config.train.seed, len(rows.y)
    available = n if rows.groups is None else len(np.unique(rows.groups))
    if folds >= available:
        things = "rows" if rows.groups is None else "groups"
        raise Refusal(f"{where}: train.folds is {folds}, for {available} {things}.", do="Use fewer folds or more data.")
    if config.split.method == "time":
        return TimeSeriesSplit(n_splits=folds)
    if rows.groups is not None:
        return GroupKFold(n_splits=folds)
    kind = KFold if rows.classes is None else StratifiedKFold
    return kind(n_splits=folds, shuffle=True, random_state=seed)


class Built(BaseEstimator):  # type: ignore[misc]
    """`build(params)` as an estimator whose parameters are those of `build`, for scikit-learn's searches.

    `params` are fixed, every other keyword is one value of the space. A part of the data that holds one class only
    teaches nothing and is answered with that class.
    """

    def __init__(self, build: Build, params: Mapping[str, Any], classes: list[Any] | None, **chosen: Any) -> None:
        self.build = build
        self.params = params
        self.classes = classes
        self.chosen = chosen

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """What makes an equal one: the arguments of the constructor."""
        return {"build": self.build, "params": self.params, "classes": self.classes, **self.chosen}

    def set_params(self, **values: Any) -> "Built":
        """Choose values of the space."""
        for name, value in values.items():
            if name in ("build", "params", "classes"):
                setattr(self, name, value)
            else:
                self.chosen[name] = value
        return self

    def fit(self, X: pd.DataFrame, y: pd.Series) -> "Built":
        """Build the estimator and fit it."""
        self.only_ = None
        if self.classes is not None and y.nunique() == 1:
            self.only_ = y.iloc[0]
            return self
        with threadpool_limits(1, user_api="blas"):
            self.estimator_ = self.build({**self.params, **self.chosen}).fit(X, y)
        return self

    def predict(self, X: pd.DataFrame) -> Floats:
        """Probabilities (n, k) in the order of `classes`, or values (n,)."""
        if self.classes is None:
            return predict(self.estimator_, X, "regression")
        aligned = np.zeros((len(X), len(self.classes)))
        if self.only_ is not None:
            aligned[:, self.classes.index(self.only_)] = 1.0
            return aligned
        found = predict(self.estimator_, X, "classification")
        for column, label in enumerate(self.estimator_.classes_):
            aligned[:, self.classes.index(label)] = found[:, column]
        return aligned


def coded(y: pd.Series, classes: list[Any] | None) -> NDArray[Any]:
    """The outcome as metrics take it: codes of classes, or numbers."""
    if classes is None:
        return np.asarray(y, dtype=np.float64)
    return np.array([classes.index(label) for label in y], dtype=np.int64)


def cross_validate(
    build: Build,
    params: Mapping[str, Any],
    rows: Rows,
    *,
    config: ModelConfig,
    metrics: tuple[Metric, ...],
    where: str,
    progress: Callable[[int, int], None],
) -> dict[str, dict[str, Any]]:
    """Per metric `{"mean", "std", "folds"}` over the folds (None where a fold has no value); `progress(done, all)`."""
    folds = list(splitter(config, rows, where=where).split(rows.X, rows.y, rows.groups))
    # Metrics travel to other processes by name, because their functions do not.
    names = [metric.name for metric in metrics]
    jobs = (joblib.delayed(_fold)(build, params, rows, train, test, names) for train, test in folds)
    scores = []
    for done, one in enumerate(_run(jobs, rows, where), start=1):
        scores.append(one)
        progress(done, len(folds))
    table = {metric.name: np.array([one[metric.name] for one in scores]) for metric in metrics}
    return {name: _spread(values) for name, values in table.items()}


def _run(jobs: Iterator[Any], rows: Rows, where: str) -> Iterator[dict[str, float]]:
    try:
        yield from joblib.Parallel(return_as="generator")(jobs)
    except Refusal:
        raise
    except Exception as error:
        raise _fit_failed(error, rows.X, where) from None


def _fit_failed(error: BaseException, X: pd.DataFrame, where: str) -> Refusal:
    """The estimator's own words, and the columns whose values it may mean, which it does not name."""
    said = " ".join(str(error).split())[:300]
    what = f"{where}: the estimator cannot be fitted: {type(error).__name__}: {said}"
    numbers = X.select_dtypes("number")
    infinite = _holding(numbers.isin([np.inf, -np.inf]))
    if infinite:
        do = "Give them bounds in contract.py (ge, le), so that the check refuses such rows, or mend ingest.py."
        return Refusal(f"{what} Infinite values: {infinite}.", do=do)
    missing = _holding(numbers.isna()) if "nan" in str(error).lower() else ""
    if missing:
        do = "Fill them in build() in model.py, or make the columns not nullable in contract.py."
        return Refusal(f"{what} Missing values: {missing}.", do=do)
    return Refusal(what, do="Mend [train.params] in model.toml, build() in model.py, or the data.")


def _holding(found: pd.DataFrame) -> str:
    """The columns in which something was found, and in how many rows: the first few, in words."""
    counts = [(name, int(count)) for name, count in found.sum().items() if count]
    named = ", ".join(f"{name} in {counted(count, 'row')}" for name, count in counts[:5])
    return f"{named}, and {len(counts) - 5} more" if len(counts) > 5 else named


def _fold(
    build: Build,
    params: Mapping[str, Any],
    rows: Rows,
    train: NDArray[Any],
    test: NDArray[Any],
    metrics: list[str],
) -> dict[str, float]:
    model = Built(build, params, rows.classes).fit(rows.X.iloc[train], rows.y.iloc[train])
    with threadpool_limits(1, user_api="blas"):
        prediction = model.predict(rows.X.iloc[test])
    y = coded(rows.y.iloc[test], rows.classes)
    return {name: METRICS[name].value(y, prediction) for name in metrics}


def _spread(values: Floats) -> dict[str, Any]:
    """Mean and sample standard deviation of the folds that have a value."""
    defined = values[~np.isnan(values)]
    return {
        "mean": float(defined.mean()) if len(defined) else None,
        "std": float(defined.std(ddof=1)) if len(defined) > 1 else None,
        "folds": [None if math.isnan(value) else float(value) for value in values],
    }


@dataclass(frozen=True)
class Tuned:
    """What the search chose: the parameters of `build` with the best of the space, and how many it tried."""

    params: dict[str, Any]
    candidates: int


def tune(build: Build, rows: Rows, *, config: ModelConfig, metric: Metric, where: str) -> Tuned:
    """Successive halving over `tune.space` in `metric`; without a space, the parameters as they are."""
    fixed = {**config.train.params, "seed": config.train.seed}
    space = config.tune.space
    if not space:
        return Tuned(fixed, 0)
    for name, values in space.items():
        if not values:
            raise Refusal(f"{where}: tune.space.{name} is empty.", do="List at least one value, or take it out.")
    # What build refuses, it refuses now and with its own words: a search counts a failure as a bad score.
    first = {name: values[0] for name, values in space.items()}
    for name, values in space.items():
        for value in values:
            build({**fixed, **first, name: value})
    is_sampled = len(ParameterGrid(space)) > MOST_CANDIDATES
    settings: dict[str, Any] = {
        "cv": splitter(config, rows, where=where),
        "factor": config.tune.factor,
        "scoring": _Scorer(metric.name),
        "random_state": config.train.seed,
        "min_resources": "exhaust" if not is_sampled else "smallest",
        "refit": False,
        # Few rows may be too few for one candidate; it loses the round and the search goes on.
        "error_score": -np.inf,
    }
    model = Built(build, fixed, rows.classes)
    if is_sampled:
        search = HalvingRandomSearchCV(model, space, n_candidates="exhaust", **settings)
    else:
        search = HalvingGridSearchCV(model, space, **settings)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            search.fit(rows.X, rows.y, groups=rows.groups)
    except Exception as error:
        raise _fit_failed(error, rows.X, where) from None
    return Tuned({**fixed, **search.best_params_}, int(search.n_candidates_[0]))


@dataclass(frozen=True)
class _Scorer:
    """A metric as scikit-learn's searches want it: greater is better, one number."""

    metric: str

    def __call__(self, model: Built, X: pd.DataFrame, y: pd.Series) -> float:
        with threadpool_limits(1, user_api="blas"):
            prediction = model.predict(X)
        value = METRICS[self.metric].value(coded(y, model.classes), prediction)
        # Few rows may hold one class. Such a fold has no score; it counts alike for every candidate of the round.
        return 0.0 if math.isnan(value) else float(better(self.metric, value, 0.0))


def final(build: Build, params: Mapping[str, Any], rows: Rows, *, where: str) -> Any:
    """The estimator of these parameters, fitted on all rows."""
    estimator = build(dict(params))
    try:
        with threadpool_limits(1, user_api="blas"):
            return estimator.fit(rows.X, rows.y)
    except Exception as error:
        raise _fit_failed(error, rows.X, where) from None
