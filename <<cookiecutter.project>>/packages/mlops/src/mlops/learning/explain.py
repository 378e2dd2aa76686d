"""Which inputs matter? Permutation importance in the metric that the gate compares, and SHAP where it is installed."""

import importlib.util
import warnings
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from sklearn.inspection import permutation_importance
from threadpoolctl import threadpool_limits

from mlops.config import ModelConfig
from mlops.data.contract import Contract
from mlops.learning import export
from mlops.learning.evaluate import outcome
from mlops.learning.metrics import Floats, Metric, better

REPEATS = 10
# Importance is a mean over rows; more rows than this cost time and change no order.
MOST_ROWS = 20_000
SHAP_ROWS, SHAP_BACKGROUND, SHAP_PERMUTATIONS = 50, 25, 3


def explain(
    exported: export.Exported, holdout: pl.DataFrame, *, contract: Contract, config: ModelConfig, metric: Metric
) -> dict[str, Any]:
    """The value of `explanation.json`: how much worse the metric gets when a feature is shuffled, the worst first."""
    seed = config.evaluate.seed
    holdout = holdout.sample(MOST_ROWS, seed=seed) if holdout.height > MOST_ROWS else holdout
    y = outcome(exported, holdout, contract, where=f"{exported.manifest['model']}: the holdout")
    X = exported.features(holdout)

    def score(estimator: Any, rows: pd.DataFrame, truth: Any) -> float:
        return float(better(metric, metric.value(truth, exported.answer(rows)), 0.0))

    with threadpool_limits(1, user_api="blas"):
        found = permutation_importance(
            exported.estimator, X, y, scoring=score, n_repeats=REPEATS, random_state=seed, n_jobs=1
        )
        shap = mean_shap(exported, X, seed=seed) if importlib.util.find_spec("shap") else None
    features = [
        {"feature": name, "importance": float(mean), "std": float(std)}
        for name, mean, std in zip(X.columns, found.importances_mean, found.importances_std, strict=True)
    ]
    return {
        "method": "permutation",
        "metric": metric.name,
        "features": sorted(features, key=lambda one: (-one["importance"], one["feature"])),
        "shap": shap,
    }


def mean_shap(exported: export.Exported, X: pd.DataFrame, *, seed: int) -> list[dict[str, Any]]:
    """Mean |SHAP value| per feature over a sample of rows against a background of others; needs the package shap.

    In the unit of the prediction; with more than two classes the mean over classes.
    """
    import shap

    texts = {
        column.name: sorted(X[column.name].dropna().unique()) for column in exported.columns if column.dtype == "str"
    }
    # SHAP mixes values of two rows, so text becomes its number and is read back before the model sees it.
    coded = np.column_stack(
        [
            X[name].map({text: code for code, text in enumerate(texts[name])}).to_numpy(dtype=float)
            if name in texts
            else X[name].to_numpy(dtype=float)
            for name in X.columns
        ]
    )

    def answer(rows: Floats) -> Floats:
        frame = pd.DataFrame({name: _decoded(rows[:, place], texts.get(name)) for place, name in enumerate(X.columns)})
        found = exported.answer(frame)
        return found[:, 1] if found.ndim == 2 and found.shape[1] == 2 else found

    chosen = np.random.default_rng(seed).permutation(len(coded))
    background = coded[np.sort(chosen[:SHAP_BACKGROUND])]
    rows = coded[np.sort(chosen[:SHAP_ROWS])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        masker = shap.maskers.Independent(background, max_samples=SHAP_BACKGROUND)
        explainer = shap.Explainer(answer, masker, algorithm="permutation", seed=seed)
        calls = SHAP_PERMUTATIONS * (2 * len(X.columns) + 1)
        values = np.abs(explainer(rows, max_evals=calls, silent=True).values)
    means = values.reshape(len(rows), len(X.columns), -1).mean(axis=(0, 2))
    found = [{"feature": name, "mean_absolute": float(mean)} for name, mean in zip(X.columns, means, strict=True)]
    return sorted(found, key=lambda one: (-one["mean_absolute"], one["feature"]))


def _decoded(codes: Floats, texts: list[str] | None) -> Any:
    if texts is None:
        return codes
    return np.array([None if np.isnan(code) else texts[int(code)] for code in codes], dtype=object)
