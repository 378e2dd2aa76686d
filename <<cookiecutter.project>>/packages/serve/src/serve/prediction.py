"""What does a fitted estimator say? One function for every estimator, whether rows come as arrays or as a frame."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def predict(estimator: Any, rows: Any, task: str) -> Floats:
    """What a fitted estimator says of `rows`: (n, k) probabilities for classification, (n,) values for regression.

    A classifier without `predict_proba` gives its decision function squeezed into probabilities, which keeps its
    ranking and its decisions; one that has neither gives 0 and 1.
    """
    if task == "regression":
        return np.asarray(estimator.predict(rows), dtype=np.float64).reshape(len(rows))
    if hasattr(estimator, "predict_proba"):
        return np.asarray(estimator.predict_proba(rows), dtype=np.float64)
    if hasattr(estimator, "decision_function"):
        raw = np.asarray(estimator.decision_function(rows), dtype=np.float64)
        raw = np.column_stack([np.zeros(len(rows)), raw]) if raw.ndim == 1 else raw
        powers = np.exp(raw - raw.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
    labels = np.asarray(estimator.predict(rows))
    return np.asarray(labels[:, None] == np.asarray(estimator.classes_)[None, :], dtype=np.float64)
