"""Behaviour: what the model must do whatever its scores are. Change these with the meaning of your columns.

Invariance: what must not matter does not. Direction: what must matter does, the right way round.
Minimum functionality: cases that anyone would get right.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

Predict = Callable[[pl.DataFrame], Any]


def test_the_order_of_rows_does_not_matter(predict: Predict, holdout_rows: pl.DataFrame) -> None:
    """Invariance: a row is judged by itself."""
    assert predict(holdout_rows.reverse())[::-1] == pytest.approx(predict(holdout_rows), rel=1e-9)


def test_columns_that_are_no_features_do_not_matter(predict: Predict, holdout_rows: pl.DataFrame) -> None:
    """Invariance: another number of the row, another day and another outcome change nothing."""
    other = holdout_rows.with_columns(pl.lit(0).alias(ID), pl.lit(0).alias(TARGET), unheard_of=pl.lit("x"))
    assert np.array_equal(predict(other), predict(holdout_rows))


def test_the_order_of_training_rows_hardly_matters(
    fit: Callable[[pl.DataFrame], Any],
    predict_with: Callable[[Any, pl.DataFrame], Any],
    predict: Predict,
    train_rows: pl.DataFrame,
    holdout_rows: pl.DataFrame,
) -> None:
    """Invariance: fitted on the same rows in another order, the model says about the same."""
    other = predict_with(fit(train_rows.sample(fraction=1.0, shuffle=True, seed=1)), holdout_rows)
    assert np.abs(other - predict(holdout_rows)).mean() < ORDER_TOLERANCE


def test_a_tiny_error_of_measurement_hardly_matters(predict: Predict, holdout_rows: pl.DataFrame) -> None:
    """Invariance: a tenth of a percent on every measure moves the prediction very little on average."""
    noisy = holdout_rows.with_columns(pl.col(MEASURES) * 1.001)
    assert np.abs(predict(noisy) - predict(holdout_rows)).mean() < NOISE_TOLERANCE


#? if cookiecutter.task == "classification"
ID, TARGET = "biopsy", "malignant"
MEASURES = ["mean_radius", "mean_texture", "mean_perimeter", "mean_area", "mean_concave_points"]
ORDER_TOLERANCE, NOISE_TOLERANCE = 0.02, 0.02


def test_larger_and_more_ragged_nuclei_are_more_suspicious(predict: Predict, holdout_rows: pl.DataFrame) -> None:
    """Direction: nuclei a fifth larger and more concave raise the chance of malignancy on average."""
    larger = pl.col("mean_radius", "mean_perimeter", "mean_concavity", "mean_concave_points") * 1.2
    worse = holdout_rows.with_columns(larger, pl.col("mean_area") * 1.44)
    assert predict(worse).mean() > predict(holdout_rows).mean() + 0.02


def test_the_plainest_cases_are_told_apart(predict: Predict, rows: pl.DataFrame) -> None:
    """Minimum functionality: the typical benign mass is called benign, the typical malignant one malignant."""
    typical = rows.group_by(TARGET).agg(pl.exclude(TARGET).median()).sort(TARGET)
    benign, malignant = predict(typical)
    assert benign < 0.2
    assert malignant > 0.8


def test_chances_are_chances(predict: Predict, holdout_rows: pl.DataFrame) -> None:
    """Minimum functionality: every answer is a number from 0 to 1."""
    found = predict(holdout_rows)
    assert ((found >= 0) & (found <= 1)).all()
#? else
ID, TARGET = "patient", "progression"
MEASURES = ["bmi", "blood_pressure", "total_cholesterol", "log_triglycerides", "glucose"]
ORDER_TOLERANCE, NOISE_TOLERANCE = 10.0, 3.0


@pytest.mark.parametrize(("measure", "step"), [("bmi", 5.0), ("log_triglycerides", 0.5)])
def test_a_worse_measure_means_more_progression(
    predict: Predict, holdout_rows: pl.DataFrame, measure: str, step: float
) -> None:
    """Direction: a higher body mass index, or more triglycerides, raise the predicted progression on average."""
    worse = holdout_rows.with_columns(pl.col(measure) + step)
    assert predict(worse).mean() > predict(holdout_rows).mean() + 1


def test_the_plainest_cases_are_told_apart(predict: Predict, rows: pl.DataFrame) -> None:
    """Minimum functionality: the typical patient of the worst fifth is predicted far worse than one of the best."""
    typical = pl.concat(
        [
            rows.filter(pl.col(TARGET) <= rows[TARGET].quantile(0.2)).select(pl.all().sort().gather(pl.len() // 2)),
            rows.filter(pl.col(TARGET) >= rows[TARGET].quantile(0.8)).select(pl.all().sort().gather(pl.len() // 2)),
        ]
    )
    best, worst = predict(typical)
    assert worst > best + 40


def test_predictions_stay_in_a_possible_range(predict: Predict, holdout_rows: pl.DataFrame) -> None:
    """Minimum functionality: nobody is predicted a progression that nobody ever had."""
    found = predict(holdout_rows)
    assert ((found > -50) & (found < 450)).all()
#? endif
