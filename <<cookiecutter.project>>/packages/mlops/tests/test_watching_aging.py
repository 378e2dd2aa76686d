"""Does the age curve show how fast a model ages, and recommend what follows from it?"""

from typing import Any

import numpy as np
import pytest

from mlops.errors import Refusal
from mlops.learning.metrics import METRICS
from mlops.watching.aging import Curve, Point, curve, measure, rising


def points(*losses: float, width: float = 0.01) -> list[Point]:
    return [
        Point(days=30.0 * (n + 1), loss=loss, low=loss - width, high=loss + width, rows=100)
        for n, loss in enumerate(losses)
    ]


def test_the_recommended_age_is_where_the_expected_loss_passes_the_margin() -> None:
    """In proportion between two points; the alarm comes where the loss is surely beyond it."""
    found = curve(points(0.01, 0.02, 0.03, 0.04), margin=0.025)
    assert (found.recommended_days, found.alarm_days) == (75, 105)
    assert "After 75 days" in found.sentence
    assert "beyond 105 days" in found.sentence


@pytest.mark.parametrize(
    ("losses", "margin", "ages"),
    [
        ((0.0, 0.0, 0.0), 0.01, (None, None)),
        ((-0.05, -0.02, 0.0), 0.0, (None, None)),
        ((0.005, 0.012, 0.013), 0.01, (51, None)),
        ((0.5, 0.6, 0.7), 0.01, (1, 1)),
        ((0.03, 0.0, 0.03, 0.0), 0.02, (None, None)),
    ],
    ids=["never", "better with age", "expected and not sure", "at once", "noise is smoothed"],
)
def test_ages_that_the_curve_does_not_show_are_not_made_up(
    losses: tuple[float, ...], margin: float, ages: tuple[int | None, int | None]
) -> None:
    found = curve(points(*losses), margin=margin)
    assert (found.recommended_days, found.alarm_days) == ages
    assert isinstance(found, Curve)
    assert ("asks for no retraining" in found.sentence) == (ages[0] is None)


def test_the_smoothed_losses_never_fall_and_keep_their_mean() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        values, weights = rng.normal(size=12).tolist(), rng.integers(1, 9, 12).astype(float).tolist()
        found = rising(values, weights)
        assert found == sorted(found)
        assert np.average(found, weights=weights) == pytest.approx(np.average(values, weights=weights))
    assert rising([1.0, 2.0, 3.0], [1, 1, 1]) == [1.0, 2.0, 3.0]


def test_no_points_are_refused() -> None:
    with pytest.raises(Refusal):
        curve([], margin=0.1)


def world(per_year: float, rows: int = 3000) -> tuple[Any, Any, Any]:
    """Three years of rows in which the true slope turns by so much a year, and a model that learns the slope."""
    rng = np.random.default_rng(0)
    days = np.sort(rng.integers(0, 1095, rows))
    x = rng.normal(size=rows)
    y = (1 + per_year * days / 365) * x + 0.1 * rng.normal(size=rows)

    def answer(learned: Any, tested: Any) -> Any:
        assert not (learned & tested).any()
        assert days[learned].max() < days[tested].min()
        slope = (x[learned] * y[learned]).sum() / (x[learned] ** 2).sum()
        return slope * x[tested]

    return days, y, answer


def measured(per_year: float, **given: Any) -> list[Point]:
    days, y, answer = world(per_year)
    settings: dict[str, Any] = {"periods": 12, "least": 30, "resamples": 200, "confidence": 0.95, "seed": 7}
    return measure(days, y, answer, metric=METRICS["rmse"], **{**settings, **given})


def test_a_world_that_turns_ages_a_model_and_one_that_stands_does_not() -> None:
    """The older, the worse; and in a world that stands still no age is recommended."""
    turning, still = measured(0.5), measured(0.0)
    assert [round(point.days) for point in turning] == [91, 182, 274, 365, 456]
    assert [point.loss for point in turning] == sorted(point.loss for point in turning)
    assert all(point.low > 0 for point in turning)
    assert 100 < (curve(turning, margin=0.2).recommended_days or 0) < 200
    assert max(point.loss for point in still) < 0.01
    assert curve(still, margin=0.05).recommended_days is None


def test_the_faster_the_world_turns_the_sooner_a_model_is_due() -> None:
    slow, fast = (curve(measured(speed), margin=0.05).recommended_days for speed in (0.4, 1.0))
    assert slow is not None
    assert fast is not None
    assert fast < slow


def test_too_few_rows_give_no_point() -> None:
    assert measured(0.5, least=10**6) == []
