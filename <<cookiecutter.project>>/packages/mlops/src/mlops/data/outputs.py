"""What does a version say, as columns that have a profile? The reference is what it says of the holdout.

Regression: `prediction`. Classification: `label`, the class that it chooses, and `confidence`, the probability of it.
"""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops.data.contract import Column

BINS = 10


def columns(classes: list[Any] | None) -> tuple[Column, ...]:
    """The columns of `frame`, as a profile takes them."""
    if classes is None:
        return (Column(name="prediction", dtype="float"),)
    return Column(name="label", dtype="str"), Column(name="confidence", dtype="float")


def frame(prediction: NDArray[np.float64], classes: list[Any] | None) -> pl.DataFrame:
    """Predictions, (n,) values or (n, k) probabilities in the order of `classes`, as those columns."""
    if classes is None:
        return pl.DataFrame({"prediction": np.asarray(prediction, dtype=np.float64)})
    names = pl.Series("label", [str(label) for label in classes], dtype=pl.String)
    return pl.DataFrame(
        {"label": names.gather(prediction.argmax(axis=1)), "confidence": prediction.max(axis=1).astype(np.float64)}
    )
