"""DeLong's paired test, compared with its definition and with permutation."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from services.training.evaluation.delong import aucs_with_covariance, paired_test

TIMES = 4000


def simulate(seed: int, patches: int, worse: float) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Simulate labels and the scores (2, patches) of two models, which agree in part and have ties."""
    rng = np.random.default_rng(seed)
    positive = rng.random(patches) < 0.4
    shared = rng.normal(size=patches)
    scores = np.stack([positive * shift + shared + rng.normal(size=patches) for shift in (1.5, 1.5 - worse)])
    return positive, scores.round(1)


def slow_covariance(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """DeLong's covariance by the formulas of the paper: every pair, one after the other."""
    m, n = int(positive.sum()), int((~positive).sum())
    won, lost = np.zeros((2, m)), np.zeros((2, n))
    for model in range(2):
        for i, x in enumerate(scores[model, positive]):
            for j, y in enumerate(scores[model, ~positive]):
                psi = 1.0 if x > y else 0.5 if x == y else 0.0
                won[model, i] += psi / n
                lost[model, j] += psi / m
    return np.cov(won) / m + np.cov(lost) / n


def test_it_equals_the_papers_covariance() -> None:
    """If every patch is a cluster, the AUCs are scikit-learn's, and the covariance is that over all pairs."""
    positive, scores = simulate(0, 60, 0.7)
    aucs, covariance = aucs_with_covariance(positive, scores, np.arange(60))
    np.testing.assert_allclose(aucs, [roc_auc_score(positive, one) for one in scores], rtol=1e-12)
    np.testing.assert_allclose(covariance, slow_covariance(positive, scores), rtol=1e-10)


@pytest.mark.parametrize("worse", [0.0, 0.5, 1.0])
def test_it_agrees_with_permutation(worse: float) -> None:
    """The p value is close to that of a permutation test, which assumes no distribution: it swaps ranks of a patch."""
    positive, scores = simulate(3, 120, worse)
    ranks = scores.argsort(axis=1).argsort(axis=1).astype(np.float64)
    found = paired_test(positive, *ranks, np.arange(120))
    rng = np.random.default_rng(1)
    swap = rng.random((TIMES, 120)) < 0.5
    first = np.where(swap, ranks[1], ranks[0])
    second = np.where(swap, ranks[0], ranks[1])
    differences = abs(mann_whitney(first, positive) - mann_whitney(second, positive))
    seen = abs(roc_auc_score(positive, ranks[0]) - roc_auc_score(positive, ranks[1]))
    assert found.p == pytest.approx((differences >= seen - 1e-12).mean(), abs=0.03)


def mann_whitney(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Compute the AUC of each row."""
    ours, theirs = scores[:, positive, None], scores[:, None, ~positive]
    return np.array([((a > b) + (a == b) / 2).mean() for a, b in zip(ours, theirs, strict=True)])


def test_clusters_count_once() -> None:
    """With five copies of every patch as patches of one patient, DeLong's error shrinks as if there were more patients.
    The clustered error does not change."""
    positive, scores = simulate(5, 80, 0.6)
    once = paired_test(positive, *scores, np.arange(80))
    copies = np.repeat(np.arange(80), 5)
    as_patches = paired_test(positive[copies], *scores[:, copies], np.arange(400))
    as_patients = paired_test(positive[copies], *scores[:, copies], copies)
    assert once.standard_error is not None and as_patches.standard_error is not None
    assert as_patients.standard_error == pytest.approx(once.standard_error)
    assert as_patches.standard_error == pytest.approx(once.standard_error / np.sqrt(5), rel=0.03)
    assert as_patients.p == pytest.approx(once.p)


def test_a_clustered_error_equals_the_spread_of_differences() -> None:
    """Over many data sets with patients of both classes, the computed error equals the observed one."""
    differences, errors = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        patients = np.repeat(np.arange(30), 8)
        positive = rng.random(240) < 0.4
        own = rng.normal(size=(2, 30))[:, patients]
        scores = own + rng.normal(size=(2, 240)) + positive
        found = paired_test(positive, *scores, patients)
        assert found.low is not None and found.high is not None and found.standard_error is not None
        differences.append((found.low + found.high) / 2)
        errors.append(found.standard_error)
    assert np.mean(errors) == pytest.approx(np.std(differences), rel=0.12)


def test_no_test_without_variation() -> None:
    """If both models rank alike, or all positives are of one patient, there is a reason and no p value."""
    positive, scores = simulate(7, 40, 0.5)
    same = paired_test(positive, scores[0], scores[0] * 2, np.arange(40))
    assert same.p is None and "rank all patches alike" in same.reason
    clusters = np.where(positive, 0, np.arange(40))
    single = paired_test(positive, *scores, clusters)
    assert single.p is None and "two patients" in single.reason
