"""How good is a version on rows that it never saw? Overall, by slice and by group, against a baseline, under noise.

Pure: a version, rows and settings in, the value of `evaluation.json` out. Only `cost` looks at a clock.
"""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from fairlearn.metrics import MetricFrame, demographic_parity_difference, equalized_odds_difference
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import precision_recall_curve, roc_curve
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from mlops.config import ModelConfig
from mlops.data import outputs
from mlops.data.contract import Contract, shorten
from mlops.data.profile import profile
from mlops.errors import Refusal
from mlops.learning import bootstrap, export, frames, slices
from mlops.learning.metrics import Floats, Metric, encode

MOST_POINTS = 200
BINS = 10
FEW = 5
"""Fewest rows of a fairness group that is named."""
RARE = f"(groups of fewer than {FEW} rows)"
LABEL = 80
"""Most characters of a group's name."""

Table = tuple[list[str], list[list[float]]]


def evaluate(
    exported: export.Exported,
    holdout: pl.DataFrame,
    train: pl.DataFrame,
    *,
    contract: Contract,
    config: ModelConfig,
    metrics: tuple[Metric, ...],
) -> dict[str, Any]:
    """The value of `evaluation.json`; a score that has no meaning on its rows is NaN, which JSON writes as null."""
    name, task, settings = exported.manifest["model"], config.model.task, config.evaluate
    y = outcome(exported, holdout, contract, where=f"{name}: the holdout")
    draw: dict[str, Any] = {
        "resamples": settings.resamples,
        "confidence": settings.confidence,
        "seed": settings.seed,
    }
    with threadpool_limits(1, user_api="blas"):
        X = exported.features(holdout)
        prediction = exported.answer(X)
        if not np.isfinite(prediction).all():
            raise Refusal(
                f"{name}: the model predicts no number for {(~np.isfinite(prediction)).sum()} values.",
                do="Mend build() in model.py, then train again.",
            )
        others = {
            kind: _other(estimator, exported, train, X, contract, config)
            for kind, estimator in (("baseline", _dumb(task)), ("linear", _linear(task)))
        }
        sensitivity = _sensitivity(exported, X, prediction, config)
    labels = {"baseline": {"classification": "prior", "regression": "mean"}[task], "linear": "linear"}
    parts = []
    for part in settings.slices:
        inside = slices.mask(holdout, name=part.name, where=part.where, model=name)
        scores = bootstrap.score(metrics, y[inside], prediction[inside], **draw)
        parts.append({"name": part.name, "where": part.where, "rows": int(inside.sum()), "metrics": _json(scores)})
    return {
        "rows": len(y),
        "primary": metrics[0].name,
        "confidence": settings.confidence,
        "overall": _json(bootstrap.score(metrics, y, prediction, **draw)),
        "slices": parts,
        "calibration": calibration(y, prediction),
        "sensitivity": sensitivity,
        "fairness": [
            _fairness(group, slices.labels(holdout, name=group, expression=by, model=name), y, prediction, metrics[0])
            for group, by in settings.groups.items()
        ],
        "curves": _curves(y, prediction) if task == "classification" else {"roc": [], "precision_recall": []},
        "confusion": _confusion(y, prediction, exported.classes),
        "residuals": _residuals(y, prediction) if task == "regression" else None,
        # What `watch` compares with what is served.
        "outputs": profile(
            outputs.frame(prediction, exported.classes), outputs.columns(exported.classes), outputs.BINS
        ),
    } | {
        kind: {
            "name": labels[kind],
            "metrics": {metric.name: metric.value(y, other) for metric in metrics},
            "difference": bootstrap.differences(metrics[:1], y, prediction, other, **draw)[metrics[0].name].to_json(),
        }
        for kind, other in others.items()
    }


def outcome(exported: export.Exported, frame: pl.DataFrame, contract: Contract, *, where: str) -> NDArray[Any]:
    """What really happened in each row, as metrics take it: codes into the model's classes, or numbers."""
    task = exported.manifest["task"]
    values = frames.target(frame, frames.target_name(contract, where=where), task=task, where=where)
    if exported.classes is None:
        return np.asarray(values, dtype=np.float64)
    return encode(values.tolist(), exported.classes, where=where)


def calibration(y: NDArray[Any], prediction: Floats) -> dict[str, Any]:
    """Predicted against observed in bins, and their mean distance weighted by rows.

    Two classes: the chance of the second in ten bins of equal width (the error is the ECE). More classes: the chance
    of the predicted class, and how often it was right. Regression: ten bins of equal rows, in the target's unit.
    """
    if prediction.ndim == 1:
        predicted, observed = prediction, y.astype(float)
        edges = np.unique(np.quantile(predicted, np.linspace(0, 1, BINS + 1)[1:-1]))
    else:
        if prediction.shape[1] == 2:
            predicted, observed = prediction[:, 1], (y == 1).astype(float)
        else:
            predicted, observed = prediction.max(axis=1), (prediction.argmax(axis=1) == y).astype(float)
        edges = np.linspace(0, 1, BINS + 1)[1:-1]
    places = np.searchsorted(edges, predicted, side="right")
    bins = []
    for place in np.unique(places):
        rows = places == place
        bins.append(
            {
                "predicted": float(predicted[rows].mean()),
                "observed": float(observed[rows].mean()),
                "count": int(rows.sum()),
            }
        )
    error = sum(one["count"] * abs(one["predicted"] - one["observed"]) for one in bins) / len(y)
    return {"bins": bins, "error": error}


def cost(exported: export.Exported, frame: pl.DataFrame, *, repeats: int = 50) -> dict[str, Any]:
    """Milliseconds for one row and for a thousand (median and 95th percentile), and the bytes of the export."""
    latency = {}
    for rows in (1, 1000):
        sample = frame[np.arange(rows) % frame.height]
        exported.predict(sample)
        times = [_milliseconds(lambda: exported.predict(sample)) for _ in range(repeats)]  # noqa: B023
        p50, p95 = np.quantile(times, [0.5, 0.95])
        latency[f"rows_{rows}"] = {"p50": round(float(p50), 3), "p95": round(float(p95), 3)}
    size = sum(path.stat().st_size for path in exported.folder.iterdir())
    return {"latency_ms": latency, "size_bytes": size}


def plots(evaluation: Mapping[str, Any]) -> dict[str, Table]:
    """The tables that dvc.yaml names: name to header and lines."""
    bins = evaluation["calibration"]["bins"]
    tables: dict[str, Table] = {
        "calibration": (["predicted", "observed"], [[one["predicted"], one["observed"]] for one in bins])
    }
    if evaluation["residuals"] is not None:
        tables["residuals"] = (["predicted", "residual"], evaluation["residuals"])
    else:
        curves = evaluation["curves"]
        tables["roc"] = (["false_positive_rate", "true_positive_rate"], curves["roc"])
        tables["precision_recall"] = (["recall", "precision"], curves["precision_recall"])
    return tables


def _json(scores: Mapping[str, bootstrap.Interval]) -> dict[str, Any]:
    return {name: interval.to_json() for name, interval in scores.items()}


def _dumb(task: str) -> Any:
    return DummyClassifier(strategy="prior") if task == "classification" else DummyRegressor(strategy="mean")


def _linear(task: str) -> Any:
    numbers = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
    prepare = ColumnTransformer(
        [
            ("numbers", numbers, make_column_selector(dtype_include="number")),
            ("text", OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude="number")),
        ]
    )
    return make_pipeline(prepare, LogisticRegression(max_iter=2000) if task == "classification" else Ridge())


def _other(
    estimator: Any,
    exported: export.Exported,
    train: pl.DataFrame,
    X: pd.DataFrame,
    contract: Contract,
    config: ModelConfig,
) -> Floats:
    """What a simple estimator, fitted on the training rows, predicts for `X`, in the shape of the model's own."""
    where = f"{exported.manifest['model']}: the training rows"
    y = outcome(exported, train, contract, where=where)
    with warnings.catch_warnings():
        # A linear model that has not quite converged is still a fair comparison.
        warnings.simplefilter("ignore")
        estimator.fit(exported.features(train), y)
        found = export.predict(estimator, X, config.model.task)
    if exported.classes is None:
        return found
    aligned = np.zeros((len(X), len(exported.classes)))
    aligned[:, np.asarray(estimator.classes_, dtype=int)] = found
    return aligned


def _sensitivity(
    exported: export.Exported, X: pd.DataFrame, prediction: Floats, config: ModelConfig
) -> list[dict[str, Any]]:
    """Per numeric feature, how far predictions move on average when it is disturbed; the largest first."""
    found = []
    for place, column in enumerate(exported.columns):
        if column.dtype not in ("int", "float"):
            continue
        values = X[column.name].to_numpy()
        spread = float(np.nanstd(values)) if not np.isnan(values).all() else 0.0
        noise = np.random.default_rng([config.evaluate.seed, place]).normal(0, 1, len(X))
        disturbed = X.assign(**{column.name: values + config.evaluate.noise * spread * noise})
        moved = np.abs(exported.answer(disturbed) - prediction)
        # Chances sum to one, so half the sum over classes is how much of the chance has moved.
        change = moved.sum(axis=1) / 2 if moved.ndim == 2 else moved
        found.append({"feature": column.name, "change": float(change.mean())})
    return sorted(found, key=lambda one: (-one["change"], one["feature"]))


def _fairness(
    group: str, labels: NDArray[np.str_], y: NDArray[Any], prediction: Floats, metric: Metric
) -> dict[str, Any]:
    """The metric by group and its widest gap; for two classes also the gaps in what is decided.

    Groups of fewer than `FEW` rows are one group, so that no table singles out a person, or grows with the data.
    """
    labels = _pooled(labels)
    frame = MetricFrame(
        metrics={
            "score": lambda true, rows: metric.value(true, prediction[rows]),
            "rows": lambda true, rows: len(rows),
        },
        y_true=y,
        y_pred=np.arange(len(y)),
        sensitive_features=pd.Series(labels, name=group),
    )
    table = frame.by_group.sort_index()
    by = [
        {"value": shorten(str(value), LABEL), "rows": int(row["rows"]), "score": float(row["score"])}
        for value, row in table.iterrows()
    ]
    scores = np.array([one["score"] for one in by], dtype=float)
    defined = scores[~np.isnan(scores)]
    gap = float(defined.max() - defined.min()) if len(defined) else float("nan")
    extra: dict[str, float] = {}
    if prediction.ndim == 2 and prediction.shape[1] == 2 and len(by) > 1:
        decided = prediction.argmax(axis=1)
        extra["demographic_parity_difference"] = float(
            demographic_parity_difference(y, decided, sensitive_features=labels)
        )
        # Equalised odds compares rates among positives and among negatives: every group needs some of both.
        if all(len(np.unique(y[labels == value])) == 2 for value in np.unique(labels)):
            extra["equalized_odds_difference"] = float(equalized_odds_difference(y, decided, sensitive_features=labels))
    return {"group": group, "metric": metric.name, "by": by, "gap": gap, "extra": extra}


def _pooled(labels: NDArray[np.str_]) -> NDArray[np.str_]:
    names, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return np.where(counts[places] < FEW, RARE, names[places])


def _curves(y: NDArray[Any], prediction: Floats) -> dict[str, Any]:
    """ROC and precision-recall; with more than two classes each class against the rest, pooled. Empty without both."""
    classes = prediction.shape[1]
    truth = (y == 1) if classes == 2 else (y[:, None] == np.arange(classes)).ravel()
    score = prediction[:, 1] if classes == 2 else prediction.ravel()
    if truth.all() or not truth.any():
        return {"roc": [], "precision_recall": []}
    false_positive, true_positive, _ = roc_curve(truth, score)
    precision, recall, _ = precision_recall_curve(truth, score)
    return {
        "roc": _thinned(false_positive, true_positive),
        "precision_recall": _thinned(recall[::-1], precision[::-1]),
    }


def _thinned(x: NDArray[Any], y: NDArray[Any]) -> list[list[float]]:
    """At most 200 of the points, evenly chosen, the first and the last among them."""
    chosen = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_POINTS)).round().astype(int))
    return [[float(x[one]), float(y[one])] for one in chosen]


def _confusion(y: NDArray[Any], prediction: Floats, classes: Sequence[Any] | None) -> dict[str, Any] | None:
    """Rows are what happened, columns what was predicted."""
    if classes is None:
        return None
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(counts, (y, prediction.argmax(axis=1)), 1)
    return {"labels": [str(label) for label in classes], "counts": counts.tolist()}


def _residuals(y: NDArray[Any], prediction: Floats) -> list[list[float]]:
    order = np.argsort(prediction, kind="stable")
    return _thinned(prediction[order], (y - prediction)[order])


def _milliseconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000
