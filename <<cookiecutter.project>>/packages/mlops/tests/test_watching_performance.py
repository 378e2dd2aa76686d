"""Is a promise that is broken seen, is one that is kept left alone, and is a row at serving what it was at training?"""

from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from mlops.learning.metrics import METRICS
from mlops.watching.drift import look_chance
from mlops.watching.findings import Finding, overall
from mlops.watching.performance import Promise, Rules, chance_of_fall, judge, of_promise
from mlops.watching.skew import compared, replayed

RULES = Rules(minimum_rows=50, chance=look_chance(0.01, runs_per_week=7))
PROMISE = Promise(value=0.9, low=0.84, high=0.96, rows=100, confidence=0.95, margin=0.01, resamples=200, seed=7)


def answered(right: float, rows: int, seed: int = 0) -> tuple[Any, Any]:
    """Outcomes and predictions of which a share is right."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, rows)
    said = np.where(rng.random(rows) < right, y, 1 - y)
    return y, np.stack([1 - said, said], axis=1).astype(float)


def test_a_broken_promise_alarms_and_says_both_scores() -> None:
    found = judge(METRICS["accuracy"], *answered(0.6, 300), promise=PROMISE, rules=RULES)
    assert found.outcome == "alarm"
    assert "on 300 new rows; it was 0.9 (0.84 to 0.96) on the holdout, and the margin is 0.01." in found.sentence
    assert found.detail["now"]["value"] == pytest.approx(0.6, abs=0.1)


@pytest.mark.parametrize(
    ("right", "rows", "outcome"),
    [(0.9, 300, "quiet"), (1.0, 300, "quiet"), (0.85, 60, "quiet"), (0.1, 49, "not evaluated")],
    ids=["kept", "better than promised", "worse, by chance perhaps", "too few rows to tell"],
)
def test_what_is_no_broken_promise_does_not_alarm(right: float, rows: int, outcome: str) -> None:
    assert judge(METRICS["accuracy"], *answered(right, rows), promise=PROMISE, rules=RULES).outcome == outcome


def test_a_fall_within_the_margin_does_not_alarm_however_sure_it_is() -> None:
    promise = Promise(value=0.9, low=0.899, high=0.901, rows=10**6, confidence=0.95, margin=0.1, resamples=100, seed=7)
    found = judge(METRICS["accuracy"], *answered(0.85, 20_000), promise=promise, rules=RULES)
    assert found.detail["chance"] < 1e-6
    assert found.outcome == "quiet"


def test_an_error_that_grows_is_worse() -> None:
    """A metric of which less is better."""
    rng = np.random.default_rng(0)
    y, promise = (
        rng.normal(size=400),
        Promise(value=1.0, low=0.9, high=1.1, rows=400, confidence=0.95, margin=0.1, resamples=200, seed=7),
    )
    for spread, outcome in ((1.0, "quiet"), (0.3, "quiet"), (2.0, "alarm")):
        prediction = y + rng.normal(size=400) * spread
        assert judge(METRICS["rmse"], y, prediction, promise=promise, rules=RULES).outcome == outcome


def test_a_score_without_a_value_is_not_evaluated() -> None:
    """One class only has no ROC curve."""
    y, prediction = np.zeros(100, dtype=int), np.full((100, 2), 0.5)
    assert judge(METRICS["roc_auc"], y, prediction, promise=PROMISE, rules=RULES).outcome == "not evaluated"


def test_the_promise_is_that_of_the_first_metric() -> None:
    evaluation = {
        "primary": "brier",
        "confidence": 0.9,
        "rows": 80,
        "overall": {"brier": {"value": 0.1, "low": 0, "high": 0.2}},
    }
    found = of_promise(evaluation, margin=0.5, resamples=100, seed=1)
    assert found is not None
    assert (found.value, found.low, found.high, found.rows, found.confidence) == (0.1, 0, 0.2, 80, 0.9)
    evaluation["overall"]["brier"]["low"] = None  # type: ignore[index]
    assert of_promise(evaluation, margin=0.5, resamples=100, seed=1) is None


@pytest.mark.parametrize("share", [0.6, 0.9, 0.97])
@pytest.mark.parametrize("then", [80, 300, 2000])
@pytest.mark.parametrize("now", [50, 100, 500])
def test_a_version_that_stays_as_good_alarms_in_one_week_of_a_hundred_at_most(
    share: float, then: int, now: int
) -> None:
    """Both scores drawn alike, 100,000 times, with the widths that a bootstrap gives; seven looks a week."""
    rng = np.random.default_rng([then, now])

    def drawn(rows: int) -> tuple[Any, Any]:
        hits = np.arange(rows + 1)
        widths = stats.binom.ppf(0.975, rows, hits / rows) - stats.binom.ppf(0.025, rows, hits / rows)
        found = rng.binomial(rows, share, 100_000)
        return found / rows, (widths / rows / (2 * stats.norm.ppf(0.975)))[found]

    (old, error), (new, other) = drawn(then), drawn(now)
    # The formula of chance_of_fall, for many at once; that it is the same is asserted on some.
    both = np.maximum(error * then**0.5, other * now**0.5) * (1 / then + 1 / now) ** 0.5
    chances = np.where(both > 0, stats.norm.sf((old - new) / np.where(both > 0, both, 1)), old <= new)
    for place in range(20):
        assert chances[place] == pytest.approx(
            chance_of_fall(old[place] - new[place], now=(other[place], now), then=(error[place], then)), abs=1e-12
        )
    assert 7 * ((chances <= RULES.chance) & (old - new >= 0.01)).mean() <= 0.005


def test_a_perfect_score_on_few_rows_is_not_believed_to_be_certain() -> None:
    """The breaker: its interval has no width, and the first mistake on many rows would break it."""
    assert chance_of_fall(0.03, now=(0.0076, 500), then=(0.0, 80)) > RULES.chance


# Skew.


def test_a_service_that_says_what_the_version_says_is_quiet() -> None:
    again = np.random.default_rng(0).random((500, 2))
    assert replayed(again + 1e-9, again).outcome == "quiet"


def test_a_service_that_says_something_else_alarms() -> None:
    """Another library, or another model under the same name."""
    again = np.random.default_rng(0).random(500)
    found = replayed(again + np.where(np.arange(500) < 5, 0.25, 0), again)
    assert found.outcome == "alarm"
    assert "5 of 500 logged rows, predicted again, differ (by up to 0.25)" in found.sentence


def test_one_rounded_row_of_many_is_no_alarm_and_no_row_is_not_evaluated() -> None:
    again = np.zeros(2000)
    once = again.copy()
    once[3] = 0.5
    assert replayed(once, again).outcome == "quiet"
    assert replayed(np.zeros(0), np.zeros(0)).outcome == "not evaluated"


def rows(**changed: Any) -> pl.DataFrame:
    frame = pl.DataFrame(
        {"id": [str(n) for n in range(100)], "x": [n / 7 for n in range(100)], "c": ["a", "b"] * 50, "n": range(100)}
    )
    return frame.with_columns(**changed)


@pytest.mark.parametrize(
    ("changed", "outcome", "named"),
    [
        ({}, "quiet", ""),
        ({"x": pl.col("x") + 1e-9}, "quiet", ""),
        ({"x": pl.col("x").cast(pl.Float32)}, "quiet", ""),
        ({"n": pl.col("n").cast(pl.Float64)}, "quiet", ""),
        ({"x": pl.col("x") * 100}, "alarm", "x in 99%"),
        ({"c": pl.lit("a")}, "alarm", "c in 50%"),
        ({"x": pl.when(pl.int_range(100) < 10).then(None).otherwise(pl.col("x"))}, "alarm", "x in 10%"),
        ({"x": pl.when(pl.int_range(100) < 3).then(None).otherwise(pl.col("x"))}, "quiet", ""),
    ],
)
def test_features_that_were_served_otherwise_than_the_source_has_them_alarm(
    changed: dict[str, Any], outcome: str, named: str
) -> None:
    found = compared(rows(**changed), rows(), ["x", "c", "n"], on="id", minimum_rows=50)
    assert found.outcome == outcome
    assert named in found.sentence


def test_rows_that_are_not_found_are_not_evaluated() -> None:
    found = compared(rows(id=pl.lit("none")), rows(), ["x"], on="id", minimum_rows=50)
    assert found.outcome == "not evaluated"


def test_unknown_is_not_quiet() -> None:
    """A look is quiet where something was judged, an alarm where anything alarms."""
    quiet, alarm, unknown = (
        Finding(kind="drift", outcome=one, sentence="") for one in ("quiet", "alarm", "not evaluated")
    )  # type: ignore[arg-type]
    assert overall([]) == overall([unknown]) == "not evaluated"
    assert overall([quiet, unknown]) == "quiet"
    assert overall([quiet, unknown, alarm]) == "alarm"
    blind = Finding(kind="drift", outcome="not evaluated", sentence="", blind=True)
    assert overall([quiet, blind]) == "not evaluated"
    assert overall([quiet, blind, alarm]) == "alarm"
