"""Code: `build` gives what the pipeline expects of it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.exceptions import NotFittedError

from mlops.config import ModelConfig
from mlops.errors import Refusal
from mlops.learning.loading import Build

ESTIMATORS = ("linear", "forest", "boosting", "neighbours")


@pytest.mark.parametrize("name", ESTIMATORS)
def test_build_gives_a_new_unfitted_estimator_for_every_name(
    build: Build, as_input: Callable[[pl.DataFrame], pd.DataFrame], rows: pl.DataFrame, name: str
) -> None:
    """Nothing is learnt before `fit`, and two builds share nothing."""
    first, second = build({"estimator": name, "seed": 1}), build({"estimator": name, "seed": 1})
    assert first is not second
    with pytest.raises(NotFittedError):
        first.predict(as_input(rows.head(3)))


def test_an_unknown_estimator_is_refused_with_the_known_ones(build: Build) -> None:
    """A typing error in `[train.params]` does not train something else."""
    with pytest.raises(Refusal) as refused:
        build({"estimator": "liner"})
    assert all(name in str(refused.value) for name in ESTIMATORS)


def test_an_unknown_parameter_is_refused(build: Build) -> None:
    """A parameter that nobody reads is a mistake, not a wish."""
    with pytest.raises(Refusal, match="treees"):
        build({"estimator": "forest", "treees": 10})


def test_the_parameters_of_model_toml_build(build: Build, config: ModelConfig) -> None:
    """What a reviewer reads is what is trained."""
    estimator = build({**config.train.params, "seed": config.train.seed})
    assert hasattr(estimator, "fit")


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_same_seed_gives_the_same_model(
    build: Build, as_input: Callable[[pl.DataFrame], pd.DataFrame], rows: pl.DataFrame, name: str
) -> None:
    """Two fits on the same rows predict the same, to the last bit."""
    X, y = as_input(rows), rows[_TARGET].to_numpy()
    answers: list[Any] = [build({"estimator": name, "trees": 10, "seed": 3}).fit(X, y).predict(X) for _ in range(2)]
    assert np.array_equal(answers[0], answers[1])


#? if cookiecutter.task == "classification"
_TARGET = "malignant"
#? else
_TARGET = "progression"
#? endif
