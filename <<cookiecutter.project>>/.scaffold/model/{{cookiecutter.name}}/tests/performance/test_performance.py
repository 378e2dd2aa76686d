"""Performance: the model is worth having. The gate compares versions; these are the floors below all of them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from mlops.config import ModelConfig
from mlops.learning.metrics import METRICS, better

Predict = Callable[[pl.DataFrame], Any]


def test_the_model_beats_the_dumbest_answer_by_far(
    predict: Predict, train_rows: pl.DataFrame, holdout_rows: pl.DataFrame
) -> None:
    """On rows that it never saw, against always giving the training rows' mean."""
    y = holdout_rows[TARGET].to_numpy()
    dumb = np.full(len(y), train_rows[TARGET].cast(pl.Float64).to_numpy().mean())
    found, floor = (METRICS[METRIC].value(y, _shaped(answer)) for answer in (predict(holdout_rows), dumb))
    assert better(METRIC, found, floor) > MARGIN


def test_the_floors_of_the_gate_are_kept(predict: Predict, holdout_rows: pl.DataFrame, config: ModelConfig) -> None:
    """What `[gate.floors]` in model.toml promises holds on rows that the model never saw."""
    y, answer = holdout_rows[TARGET].to_numpy(), _shaped(predict(holdout_rows))
    assert config.gate.floors
    for name, floor in config.gate.floors.items():
        assert better(name, METRICS[name].value(y, answer), floor) >= 0, name


def test_a_thousand_rows_are_predicted_at_once(predict: Predict, rows: pl.DataFrame) -> None:
    """One call, one finite number per row, the same as one row at a time."""
    thousand = rows[np.arange(1000) % rows.height]
    found = predict(thousand)
    assert found.shape == (1000,)
    assert np.isfinite(found).all()
    assert np.allclose(found[:5], [predict(thousand[place : place + 1])[0] for place in range(5)], rtol=1e-9)


#? if cookiecutter.task == "classification"
TARGET, METRIC, MARGIN = "malignant", "roc_auc", 0.3


def _shaped(chance: Any) -> Any:
    return np.column_stack([1 - chance, chance])
#? else
TARGET, METRIC, MARGIN = "progression", "rmse", 5.0


def _shaped(value: Any) -> Any:
    return np.asarray(value, dtype=float)
#? endif
