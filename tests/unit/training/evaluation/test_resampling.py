"""The patient-clustered bootstrap of an AUC."""

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
    """Patches of patients who are each of one class, or of both: scores share what is the patient's own."""
    numbers = np.repeat(np.arange(patients), each)
    positive = (numbers % 2 == 0) ^ (rng.random(len(numbers)) < 0.1)
    scores = rng.normal(size=patients)[numbers] * spread + rng.normal(size=len(numbers)) + shift * positive
    return positive, scores, numbers


def auc_of_all_pairs(positive: list[float], negative: list[float]) -> float:
    """The definition: how often a positive has the larger score, a tie being half."""
    if not positive or not negative:
        return float("nan")
    return sum((p > n) + (p == n) / 2 for p in positive for n in negative) / (len(positive) * len(negative))


def test_each_draw_is_the_auc_of_the_patients_drawn() -> None:
    """Equal to a loop that copies the patches of every drawn patient and counts all pairs, ties and absences too."""
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
    assert any(map(isnan, found)), "the data are to hold a draw without positives"


def test_it_is_scikit_learns_with_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal to roc_auc_score with each patch weighted by its patient's draws, however the draws are cut into chunks."""
    positive, scores, patients = simulate(np.random.default_rng(1), 20, 7, 1.0, 1.0)
    draws = draw_patients(patients, REPLICATES, seed=2)
    expected = [roc_auc_score(positive, scores, sample_weight=draw[patients]) for draw in draws]
    np.testing.assert_allclose(drawn_aucs(positive, scores, patients, draws), expected, rtol=1e-12)
    monkeypatch.setattr(resampling, "CELLS", len(scores) * 3)
    np.testing.assert_allclose(drawn_aucs(positive, scores, patients, draws), expected, rtol=1e-12)


def test_draws_are_of_as_many_patients_and_seeded() -> None:
    """Every draw has as many patients as there are, each as often as the others; the same seed draws the same."""
    patients = np.array([0, 0, 0, 1, 2, 2, 3])
    draws = draw_patients(patients, 4000, seed=3)
    assert (draws.sum(axis=1) == 4).all()
    np.testing.assert_allclose(draws.mean(axis=0), 1.0, atol=0.06)
    assert (draw_patients(patients, 4000, seed=3) == draws).all()
    assert (draw_patients(patients, 4000, seed=4) != draws).any()


def test_intervals_cover_where_patches_of_a_patient_are_alike() -> None:
    """About 95 of 100 intervals hold the true AUC; drawing patches as if they were independent holds it far less
    often, which is why patients are drawn."""
    truth = roc_auc_score(*simulate(np.random.default_rng(99), 4000, 10, 1.5, 1.0)[:2])
    by_patient = by_patch = 0
    for trial in range(100):
        positive, scores, patients = simulate(np.random.default_rng(trial), 40, 10, 1.5, 1.0)
        by_patient += covers(positive, scores, patients, truth)
        by_patch += covers(positive, scores, np.arange(len(patients)), truth)
    assert 88 <= by_patient <= 99
    assert by_patch < 75


def covers(positive: NDArray[np.bool_], scores: NDArray[np.float64], clusters: NDArray[np.int64], truth: float) -> bool:
    """Whether the interval holds the truth."""
    drawn = drawn_aucs(positive, scores, clusters, draw_patients(clusters, 200, seed=5))
    found = estimate(0.0, drawn, 40)
    assert found.low is not None and found.high is not None
    return found.low <= truth <= found.high


def test_what_cannot_be_told_has_a_reason() -> None:
    """One patient, or a class that most draws lack: the value alone, and why."""
    alone = estimate(0.7, np.array([0.7, 0.7]), 1)
    assert (alone.value, alone.low) == (0.7, None) and "one patient" in alone.reason
    rare = estimate(0.7, np.array([0.7, np.nan, np.nan]), 3)
    assert (rare.value, rare.high, rare.replicates) == (0.7, None, 1) and "2 of 3 draws" in rare.reason
