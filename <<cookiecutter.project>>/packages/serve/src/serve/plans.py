"""How is a model asked without building a frame? A fitted pipeline becomes functions on NumPy arrays.

A pipeline costs a few milliseconds for one row, nearly all of it in frames, names and checks that the request has
passed already. A plan runs the same fitted numbers in the same order: common steps as the one line of arithmetic that
they are, any other step by its own method. Nothing here is believed: a plan serves only after it gave the predictions
that the manifest holds (see `serve.model`), and a pipeline that is not understood is asked with a frame.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve.fitted import Fitted
from serve.prediction import Floats, predict
from serve.rows import Columns, Rows

Array = NDArray[Any]
Step = Callable[[Array], Array]
Plan = Callable[[Rows], Floats]


class NotUnderstood(Exception):
    """This pipeline has no plan of this kind."""


def swift(estimator: Any, columns: Columns, task: str) -> Plan:
    """Common steps and estimators as arithmetic, others by their own methods."""
    return _plan(estimator, columns, task, known=True)


def plain(estimator: Any, columns: Columns, task: str) -> Plan:
    """Every step by its own method, on arrays."""
    return _plan(estimator, columns, task, known=False)


def framed(estimator: Any, columns: Columns, task: str) -> Plan:
    """The estimator as it is, on a polars frame."""
    return lambda rows: predict(estimator, columns.frame(rows), task)


KINDS = {"swift": swift, "plain": plain, "framed": framed}


def _plan(estimator: Any, columns: Columns, task: str, *, known: bool) -> Plan:
    steps, last = _steps(estimator)
    first = _first(steps.pop(0) if steps else None, columns, known=known)
    transforms = [_transform(step, known=known) for step in steps]
    answer = (_known_answer(last, task) if known else None) or _own_answer(last, task)

    def plan(rows: Rows) -> Floats:
        matrix = first(rows)
        for transform in transforms:
            matrix = transform(matrix)
        return answer(matrix)

    return plan


def _steps(estimator: Any) -> tuple[list[Any], Any]:
    """The transformers of a pipeline, nested ones unfolded, and its last estimator."""
    if _kind(estimator) != "Pipeline":
        return [], estimator
    *before, (_, last) = estimator.steps
    inner, last = _steps(last)
    return [one for _, step in before for one in _unfolded(step)] + inner, last


def _unfolded(step: Any) -> list[Any]:
    if step is None or (isinstance(step, str) and step == "passthrough"):
        return []
    return [one for _, inner in step.steps for one in _unfolded(inner)] if _kind(step) == "Pipeline" else [step]


def _kind(estimator: Any) -> str:
    """The name of a class of scikit-learn itself; empty for a class of others, which may do otherwise."""
    if isinstance(estimator, Fitted):
        return estimator.kind
    return type(estimator).__name__ if type(estimator).__module__.startswith("sklearn.") else ""


def _first(step: Any, columns: Columns, *, known: bool) -> Callable[[Rows], Array]:
    """From rows to the first matrix: by a ColumnTransformer, or all columns to any other step."""
    if step is not None and _kind(step) == "ColumnTransformer":
        return _by_columns(step, columns, known=known)
    pick = _picked([one.name for one in columns.features], columns)
    if step is None:
        return pick
    transform = _transform(step, known=known)
    return lambda rows: transform(pick(rows))


def _by_columns(step: Any, columns: Columns, *, known: bool) -> Callable[[Rows], Array]:
    if step.sparse_output_ or getattr(step, "_sklearn_output_config", {}).get("transform") not in (None, "default"):
        raise NotUnderstood
    names = [one.name for one in columns.features]
    if list(step.feature_names_in_) != names:
        raise NotUnderstood
    parts = []
    for _, transformer, chosen in step.transformers_:
        picked = _names(chosen, names)
        if not picked or (isinstance(transformer, str) and transformer == "drop"):
            continue
        steps = [_transform(one, known=known) for one in _unfolded(transformer)]
        parts.append((_picked(picked, columns), steps))
    if not parts:
        raise NotUnderstood

    def first(rows: Rows) -> Array:
        blocks = []
        for pick, steps in parts:
            block = pick(rows)
            for transform in steps:
                block = transform(block)
            blocks.append(block)
        return blocks[0] if len(blocks) == 1 else np.hstack(blocks)

    return first


def _names(chosen: Any, names: list[str]) -> list[str]:
    """The columns that a transformer was fitted on, by name; one column as a vector is another thing."""
    if isinstance(chosen, slice):
        if any(isinstance(end, str) for end in (chosen.start, chosen.stop)):
            raise NotUnderstood
        return names[chosen]
    if isinstance(chosen, str) or np.isscalar(chosen):
        raise NotUnderstood
    found = list(chosen)
    if found and all(isinstance(one, bool | np.bool_) for one in found):
        return [name for name, taken in zip(names, found, strict=True) if taken]
    return [one if isinstance(one, str) else names[one] for one in found]


def _picked(names: Sequence[str], columns: Columns) -> Callable[[Rows], Array]:
    """The columns named as one array: float64 where all are numbers, else objects."""
    places = [columns.position(name) for name in names]
    at = np.array([place for _, place in places], dtype=np.intp)
    if all(is_number for is_number, _ in places):
        if len(at) == len(columns.numbers) and (at == np.arange(len(at))).all():
            return lambda rows: rows.numbers
        return lambda rows: rows.numbers[:, at]
    if not any(is_number for is_number, _ in places):
        return lambda rows: rows.texts[:, at]

    def mixed(rows: Rows) -> Array:
        found = np.empty((len(rows), len(places)), dtype=object)
        for column, (is_number, place) in enumerate(places):
            found[:, column] = rows.numbers[:, place] if is_number else rows.texts[:, place]
        return found

    return mixed


def _nameless(estimator: Any) -> Any:
    """A shallow copy that does not ask for column names; what was fitted is shared, not copied."""
    if not hasattr(estimator, "feature_names_in_") or "feature_names_in_" not in vars(estimator):
        return estimator
    bare = copy.copy(estimator)
    del bare.feature_names_in_
    return bare


def _transform(step: Any, *, known: bool) -> Step:
    if known and (step_known := _known_transform(step)) is not None:
        return step_known
    return _own_transform(_nameless(step))


def _own_transform(step: Any) -> Step:
    def transform(block: Array) -> Array:
        found = step.transform(block)
        return np.asarray(found.toarray() if hasattr(found, "toarray") else found)

    return transform


def _known_transform(step: Any) -> Step | None:
    """The arithmetic of a common step, for the settings whose arithmetic that is; None for others."""
    match _kind(step):
        case "SimpleImputer" if _is_nan(step.missing_values) and step.indicator_ is None and _numeric(step.statistics_):
            filling = np.asarray(step.statistics_, dtype=np.float64)
            return lambda block: np.where(np.isnan(block), filling, block)
        case "StandardScaler" if step.with_mean and step.with_std:
            mean, scale = step.mean_, step.scale_
            return lambda block: (block - mean) / scale
        case "MinMaxScaler" if not step.clip:
            factor, offset = step.scale_, step.min_
            return lambda block: block * factor + offset
        case "OneHotEncoder" if step.handle_unknown == "ignore" and step.drop_idx_ is None:
            return None if step._infrequent_enabled else _indicators(step.categories_)
    return None


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value


def _numeric(values: Any) -> bool:
    array = np.asarray(values)
    return array.dtype.kind == "f" and not np.isnan(array).any()


def _indicators(categories: Sequence[Array]) -> Step | None:
    """Ones where a column has a category; a value that is none of them has no one."""
    if any(known.dtype.kind not in "OU" for known in categories):
        return None
    width = sum(len(known) for known in categories)
    places: list[dict[Any, int]] = []
    start = 0
    for known in categories:
        places.append({_gapless(value): start + number for number, value in enumerate(known.tolist())})
        start += len(known)

    def transform(block: Array) -> Array:
        found = np.zeros((len(block), width))
        for number, row in enumerate(block.tolist()):
            for place, value in zip(places, row, strict=True):
                at = place.get(_gapless(value))
                if at is not None:
                    found[number, at] = 1.0
        return found

    return transform


def _gapless(value: Any) -> Any:
    """NaN equals nothing, not even itself; None is missing too, and is found."""
    return None if value != value else value


def _own_answer(last: Any, task: str) -> Callable[[Array], Floats]:
    bare = _nameless(last)
    return lambda matrix: predict(bare, matrix, task)


LINEAR = {"LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV", "HuberRegressor"}
FORESTS = {f"{name}{what}" for name in ("RandomForest", "ExtraTrees") for what in ("Classifier", "Regressor")}
BOOSTING = {"HistGradientBoostingClassifier", "HistGradientBoostingRegressor"}


def _known_answer(last: Any, task: str) -> Callable[[Array], Floats] | None:
    """The arithmetic of a common estimator; None for others."""
    kind = _kind(last)
    if kind in LINEAR and np.ndim(last.coef_) == 1:
        weights, offset = last.coef_, last.intercept_
        return lambda matrix: np.asarray(_finite(matrix) @ weights + offset)
    if kind in ("LogisticRegression", "LogisticRegressionCV"):
        return _logistic(last)
    if kind in FORESTS and last.n_outputs_ == 1:
        return _forest(last, task)
    if kind in BOOSTING:
        return _boosting(last, task)
    return None


def _finite(matrix: Array) -> Array:
    """The matrix, if the estimator itself would take it: arithmetic goes on where scikit-learn raises."""
    if not np.isfinite(matrix).all():
        raise ValueError("a number is missing or too large")
    return matrix


def _logistic(last: Any) -> Callable[[Array], Floats]:
    weights, offset = last.coef_.T, last.intercept_

    def answer(matrix: Array) -> Floats:
        scores = _finite(matrix) @ weights + offset
        if scores.shape[1] > 1:
            powers = np.exp(scores - scores.max(axis=1, keepdims=True))
            return np.asarray(powers / powers.sum(axis=1, keepdims=True))
        yes = 1 / (1 + np.exp(-scores))
        return np.hstack([1 - yes, yes])

    return answer


def _forest(last: Any, task: str) -> Callable[[Array], Floats]:
    trees = [one.tree_ for one in last.estimators_]
    width = last.n_classes_ if task == "classification" else 1

    def answer(matrix: Array) -> Floats:
        # Trees compare in single precision; the sum runs in the order in which the forest itself sums.
        single = _finite(np.ascontiguousarray(matrix, dtype=np.float32))
        total = np.zeros((len(single), width))
        for tree in trees:
            total += tree.predict(single)[:, :width]
        total /= len(trees)
        return total if task == "classification" else total[:, 0]

    return answer


def _boosting(last: Any, task: str) -> Callable[[Array], Floats] | None:
    """The trees one after another in this thread: for a row, starting threads costs more than all trees."""
    from sklearn.ensemble._hist_gradient_boosting._predictor import _predict_from_raw_data

    if last._preprocessor is not None:
        return None
    loss, start = last._loss, last._baseline_prediction
    known, places = last._bin_mapper.make_known_categories_bitsets()
    trees = [
        (column, tree.nodes, tree.raw_left_cat_bitsets)
        for iteration in last._predictors
        for column, tree in enumerate(iteration)
    ]

    def answer(matrix: Array) -> Floats:
        rows = np.ascontiguousarray(matrix, dtype=np.float64)
        raw = np.zeros((len(rows), start.shape[1]), order="F")
        raw += start
        leaves = np.empty(len(rows))
        for column, nodes, bits in trees:
            _predict_from_raw_data(nodes, rows, bits, known, places, 1, leaves)
            raw[:, column] += leaves
        return np.asarray(loss.predict_proba(raw) if task == "classification" else loss.link.inverse(raw.ravel()))

    return answer
