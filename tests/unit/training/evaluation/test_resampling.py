"""The bootstrap of an AUC with patients as clusters."""

from math import isnan

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from services.training.evaluation import resampling
from services.training.evaluation.resampling import draw_patients, drawn_aucs, estimate

REPLICATES = 50


def simulate(
    rng: np.random.Generator, patients: int, each: int, spread: float, shift: float
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.int64]]:
    """Simulate patches whose scores share a term of their patient. Most patches of a patient have the same class."""
    numbers = np.repeat(np.arange(patients), each)
    positive = (numbers % 2 == 0) ^ (rng.random(len(numbers)) < 0.1)
    scores = rng.normal(size=patients)[numbers] * spread + rng.normal(size=len(numbers)) + shift * positive
    return positive, scores, numbers


def auc_of_all_pairs(positive: list[float], negative: list[float]) -> float:
    """Compute the AUC by its definition: how often a positive has the larger score. A tie counts half."""
    if not positive or not negative:
        return float("nan")
    return sum((p > n) + (p == n) / 2 for p in positive for n in negative) / (len(positive) * len(negative))


def test_each_draw_is_the_auc_of_the_patients_drawn() -> None:
    """The AUC of a draw equals that of a loop that copies the patches of drawn patients and counts all pairs."""
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(5), (1, 4, 3, 2, 5))
    positive = np.isin(patients, (0, 3))
    positive[-1] = True
    scores = rng.integers(0, 4, len(patients)) / 4
    draws = draw_patients(patients, REPLICATES, seed=1)
    found = drawn_aucs(positive, scores, patients, draws)
    for auc, draw in zip(found, draws, strict=True):
        copies = np.repeat(np.arange(len(patients)), draw[patients])
        ours = [float(scores[i]) for i in copies if positive[i]]
        theirs = [float(scores[i]) for i in copies if not positive[i]]
        expected = auc_of_all_pairs(ours, theirs)
        assert auc == pytest.approx(expected, nan_ok=True)
    assert any(map(isnan, found)), "some draw must lack positives"


def test_it_equals_scikit_learns_with_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """It equals roc_auc_score with the patient's draws as the weight of each patch, for any size of the chunks."""
    positive, scores, patients = simulate(np.random.default_rng(1), 20, 7, 1.0, 1.0)
    draws = draw_patients(patients, REPLICATES, seed=2)
    expected = [roc_auc_score(positive, scores, sample_weight=draw[patients]) for draw in draws]
    np.testing.assert_allclose(drawn_aucs(positive, scores, patients, draws), expected, rtol=1e-12)
    monkeypatch.setattr(resampling, "CELLS", len(scores) * 3)
    np.testing.assert_allclose(drawn_aucs(positive, scores, patients, draws), expected, rtol=1e-12)


def test_draws_have_the_same_number_of_patients_and_a_seed() -> None:
    """A draw has as many patients as the split, all with the same chance. The same seed draws the same."""
    patients = np.array([0, 0, 0, 1, 2, 2, 3])
    draws = draw_patients(patients, 4000, seed=3)
    assert (draws.sum(axis=1) == 4).all()
    np.testing.assert_allclose(draws.mean(axis=0), 1.0, atol=0.06)
    assert (draw_patients(patients, 4000, seed=3) == draws).all()
    assert (draw_patients(patients, 4000, seed=4) != draws).any()


def test_intervals_cover_the_truth_if_patients_are_drawn() -> None:
    """About 95 of 100 intervals contain the true AUC. If patches are drawn as if they were independent, far fewer
    do."""
    truth = roc_auc_score(*simulate(np.random.default_rng(99), 4000, 10, 1.5, 1.0)[:2])
    by_patient = by_patch = 0
    for trial in range(100):
        positive, scores, patients = simulate(np.random.default_rng(trial), 40, 10, 1.5, 1.0)
        by_patient += covers(positive, scores, patients, truth)
        by_patch += covers(positive, scores, np.arange(len(patients)), truth)
    assert 88 <= by_patient <= 99
    assert by_patch < 75


def covers(positive: NDArray[np.bool_], scores: NDArray[np.float64], clusters: NDArray[np.int64], truth: float) -> bool:
    """Return whether the interval contains the truth."""
    drawn = drawn_aucs(positive, scores, clusters, draw_patients(clusters, 200, seed=5))
    found = estimate(0.0, drawn, 40)
    assert found.low is not None and found.high is not None
    return found.low <= truth <= found.high


def test_a_missing_interval_has_a_reason() -> None:
    """With one patient, or a class that most draws lack, there is a value and a reason, but no interval."""
    alone = estimate(0.7, np.array([0.7, 0.7]), 1)
    assert (alone.value, alone.low) == (0.7, None) and "one patient" in alone.reason
    rare = estimate(0.7, np.array([0.7, np.nan, np.nan]), 3)
    assert (rare.value, rare.high, rare.replicates) == (0.7, None, 1) and "2 of 3 draws" in rare.reason
