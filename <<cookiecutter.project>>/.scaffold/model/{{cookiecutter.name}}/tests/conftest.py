"""What every test of this model shares: its own rows, as the pipeline would see them, and one fit per session.

No DVC, no network, no file of an earlier run: the rows come from `ingest.py`, their meaning from `contract.py`.
"""

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from mlops.config import ModelConfig
from mlops.data import sources
from mlops.data.compile import compile_contract
from mlops.data.contract import Contract
from mlops.data.split import assign, fit_boundary
from mlops.learning import export, frames
from mlops.learning.loading import Build, build_of
from mlops.workspace import Model

Predict = Callable[[pl.DataFrame], Any]
FOLDER = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def model() -> Model:
    """This model: its name and its files."""
    return Model(FOLDER.parents[1], FOLDER.name)


@pytest.fixture(scope="session")
def config(model: Model) -> ModelConfig:
    """`model.toml`."""
    return model.config()


@pytest.fixture(scope="session")
def contract(model: Model) -> Contract:
    """The data contract in `contract.py`."""
    return compile_contract(model.contract, cache=None)


@pytest.fixture(scope="session")
def rows(model: Model, config: ModelConfig) -> pl.DataFrame:
    """All rows up to `data.as_of` that `read` in `ingest.py` gives."""
    return sources.replay(model, dt.date.fromisoformat(config.data.as_of)).collect()


@pytest.fixture(scope="session")
def holdout_rows(rows: pl.DataFrame, contract: Contract, config: ModelConfig) -> pl.DataFrame:
    """The rows that the split keeps from training."""
    return rows.filter(assign(rows, fit_boundary(rows, contract, config.split)))


@pytest.fixture(scope="session")
def train_rows(rows: pl.DataFrame, contract: Contract, config: ModelConfig) -> pl.DataFrame:
    """The rows that the split trains on."""
    return rows.filter(~assign(rows, fit_boundary(rows, contract, config.split)))


@pytest.fixture(scope="session")
def build(model: Model) -> Build:
    """`build(params)` in `model.py`."""
    return build_of(model)


@pytest.fixture(scope="session")
def as_input(contract: Contract) -> Callable[[pl.DataFrame], pd.DataFrame]:
    """Rows as the estimator takes them."""
    return lambda frame: frames.features(frame, frames.of_contract(contract), where="the test's rows")


@pytest.fixture(scope="session")
def fit(
    build: Build, contract: Contract, config: ModelConfig, as_input: Callable[[pl.DataFrame], pd.DataFrame]
) -> Callable[[pl.DataFrame], Any]:
    """Fits a new estimator, with the parameters of `model.toml`, on the rows given."""
    name = frames.target_name(contract, where="this model")

    def fitted(frame: pl.DataFrame) -> Any:
        target = frames.target(frame, name, task=config.model.task, where="the test's rows")
        return build({**config.train.params, "seed": config.train.seed}).fit(as_input(frame), target)

    return fitted


@pytest.fixture(scope="session")
def predict_with(config: ModelConfig, as_input: Callable[[pl.DataFrame], pd.DataFrame]) -> Callable[..., Any]:
    """What an estimator says of rows, one number each: the chance of the second class, or the value."""

    def predict(estimator: Any, frame: pl.DataFrame) -> Any:
        found = export.predict(estimator, as_input(frame), config.model.task)
        return np.asarray(found[:, 1] if found.ndim == 2 else found)

    return predict


@pytest.fixture(scope="session")
def predict(fit: Callable[[pl.DataFrame], Any], predict_with: Callable[..., Any], train_rows: pl.DataFrame) -> Predict:
    """What the model, fitted once on the training rows, says of rows."""
    estimator = fit(train_rows)
    return lambda frame: predict_with(estimator, frame)
