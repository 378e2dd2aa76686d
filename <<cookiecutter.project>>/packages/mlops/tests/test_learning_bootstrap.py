"""Intervals come from seeded resamples that two models share."""

import numpy as np
import pytest

from mlops.learning import bootstrap
from mlops.learning.metrics import METRICS


def test_resamples_draw_n_rows_and_are_the_same_for_the_same_seed() -> None:
    """Counts sum to n; seed and row decide them alone."""
    counts = bootstrap.weights(50, 200, 7)
    assert counts.shape == (200, 50)
    assert (counts.sum(axis=1) == 50).all()
    assert (counts == bootstrap.weights(50, 200, 7)).all()
    assert (counts[:20] == bootstrap.weights(50, 20, 7)).all()
    assert (counts != bootstrap.weights(50, 200, 8)).any()
    # Drawn with replacement, each row is left out of about 1/e of the resamples.
    assert (counts == 0).mean() == pytest.approx(np.exp(-1), abs=0.02)


def test_batches_give_the_same_resamples_in_less_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many resamples are made at a time changes nothing."""
    whole = bootstrap.weights(30, 25, 1)
    monkeypatch.setattr(bootstrap, "BATCH_CELLS", 70)
    parts = list(bootstrap.batches(30, 25, 1))
    assert max(len(part) for part in parts) == 2
    assert (np.concatenate(parts) == whole).all()


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Of 200 samples with a known mean error, about 90 % of the 90 % intervals hold it."""
    rng = np.random.default_rng(0)
    mae = (METRICS["mae"],)
    truth = np.sqrt(2 / np.pi)
    covered = 0
    for _ in range(200):
        y = rng.normal(size=80)
        found = bootstrap.score(mae, y, np.zeros(80), resamples=200, confidence=0.9, seed=7)["mae"]
        assert found.low <= found.value <= found.high
        covered += found.low <= truth <= found.high
    assert 0.83 <= covered / 200 <= 0.97


def test_a_paired_difference_is_positive_for_the_better_model_and_tighter_than_two_intervals() -> None:
    """Both models see the same resamples, so what they share cancels out."""
    rng = np.random.default_rng(1)
    y = rng.normal(0, 10, 300)
    shared = y + rng.normal(0, 5, 300)
    metrics = (METRICS["rmse"], METRICS["r2"])
    how = {"resamples": 300, "confidence": 0.95, "seed": 7}
    gap = bootstrap.differences(metrics, y, shared, shared + 2, **how)
    alone = bootstrap.score(metrics, y, shared, **how)["rmse"]
    for difference in gap.values():
        assert 0 < difference.low <= difference.value <= difference.high
    assert gap["rmse"].high - gap["rmse"].low < alone.high - alone.low
    same = bootstrap.differences(metrics, y, shared, shared, **how)["rmse"]
    assert (same.low, same.value, same.high) == (0, 0, 0)
    worse = bootstrap.differences(metrics, y, shared + 2, shared, **how)["rmse"]
    assert worse.high < 0


def test_resamples_of_one_class_are_left_out_and_counted() -> None:
    """With two positives in twelve rows some resamples have none: the interval comes from the others, and says so."""
    y = np.r_[1, 1, np.zeros(10, dtype=int)]
    prediction = np.column_stack([1 - np.linspace(0.9, 0.1, 12), np.linspace(0.9, 0.1, 12)])
    found = bootstrap.score((METRICS["roc_auc"],), y, prediction, resamples=500, confidence=0.95, seed=7)["roc_auc"]
    assert 0 < found.undefined < 250
    assert found.to_json()["undefined"] == found.undefined
    assert found.low <= found.value == 1.0
    one = bootstrap.score((METRICS["roc_auc"],), y[2:], prediction[2:], resamples=100, confidence=0.95, seed=7)
    assert np.isnan([one["roc_auc"].value, one["roc_auc"].low, one["roc_auc"].high]).all()
    assert one["roc_auc"].undefined == 100


def test_no_rows_have_no_interval() -> None:
    """An empty slice is undefined, not an error."""
    found = bootstrap.score((METRICS["mae"],), np.empty(0), np.empty(0), resamples=100, confidence=0.95, seed=7)["mae"]
    assert np.isnan([found.value, found.low, found.high]).all()
