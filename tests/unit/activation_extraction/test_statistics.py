"""Statistics and rankings, compared with slower and simpler code."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from services.activation_extraction.ranking import rank_by_influence, rank_by_selectivity
from services.activation_extraction.statistics import class_aucs, unit_statistics
from services.imaging.manifests import QUANTILES


@pytest.fixture
def maxima() -> np.ndarray:
    return np.random.default_rng(3).integers(-3, 4, (40, 6)).astype(np.float32)


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(4).integers(0, 3, 40)


def test_auc_equals_scikit_learns(maxima: np.ndarray, labels: np.ndarray) -> None:
    """class_aucs equals roc_auc_score for each class and unit, also with ties."""
    for class_, aucs in enumerate(class_aucs(maxima, labels, 3)):
        expected = [roc_auc_score(labels == class_, maxima[:, unit]) for unit in range(6)]
        np.testing.assert_allclose(aucs, expected, rtol=1e-12)


def test_a_class_without_both_sides_has_no_auc(maxima: np.ndarray) -> None:
    """class_aucs returns None for a class that all patches or no patches have."""
    assert class_aucs(maxima, np.zeros(40, dtype=np.int64), 2) == [None, None]


def test_statistics_equal_plain_arithmetic(maxima: np.ndarray, labels: np.ndarray) -> None:
    """Each unit has a row with mean, deviation, extremes, quantiles and the share above zero."""
    rows = unit_statistics(maxima, labels, 3)
    assert [row["unit"] for row in rows] == list(range(6))
    for unit, row in enumerate(rows):
        values = [float(value) for value in maxima[:, unit]]
        assert row["mean"] == pytest.approx(sum(values) / 40)
        assert row["deviation"] == pytest.approx((sum((v - sum(values) / 40) ** 2 for v in values) / 40) ** 0.5)
        assert (row["minimum"], row["maximum"]) == (min(values), max(values))
        assert row["active"] == sum(v > 0 for v in values) / 40
        np.testing.assert_allclose(row["quantiles"], [np.quantile(values, q) for q in QUANTILES])
        for label in range(3):
            of_class = [value for value, one in zip(values, labels, strict=True) if one == label]
            assert row["mean_by_class"][label] == pytest.approx(sum(of_class) / len(of_class))
            np.testing.assert_allclose(row["quantiles_by_class"][label], [np.quantile(of_class, q) for q in QUANTILES])


def test_a_class_without_patches_has_no_distribution(maxima: np.ndarray) -> None:
    """The figures of a class without patches are None, not zero."""
    row = unit_statistics(maxima, np.zeros(40, dtype=np.int64), 2, first=7)[1]
    assert row["unit"] == 8
    assert (row["mean_by_class"][1], row["quantiles_by_class"][1], row["auc_by_class"]) == (None, None, [None, None])


def test_influence_counts_the_top_eight_of_each_patch() -> None:
    """Influence is activation times weight. A unit is counted on each patch on which it is among the 8 largest, with
    ties to lower units."""
    rng = np.random.default_rng(5)
    maxima = rng.integers(0, 4, (30, 12)).astype(np.float32)
    weights = rng.integers(-2, 3, (2, 12)).astype(np.float32)
    rows = rank_by_influence([maxima[:7], maxima[7:]], weights)
    for label in range(2):
        counts = dict.fromkeys(range(12), 0)
        for patch in maxima:
            ranked = sorted(range(12), key=lambda unit: (-patch[unit] * weights[label, unit], unit))
            for unit in ranked[:8]:
                counts[unit] += 1
        means = (maxima * weights[label]).mean(0, dtype=np.float64)
        expected = sorted(range(12), key=lambda unit: (-counts[unit], -means[unit], unit))
        mine = [row for row in rows if row["label"] == label]
        assert [row["unit"] for row in mine] == expected
        assert [row["count"] for row in mine] == [counts[unit] for unit in expected]
        assert [row["rank"] for row in mine] == list(range(1, 13))


def test_selectivity_orders_by_auc(maxima: np.ndarray, labels: np.ndarray) -> None:
    """The units of a class are sorted by AUC, without counts."""
    aucs = [row["auc_by_class"] for row in unit_statistics(maxima, labels, 3)]
    rows = [row for row in rank_by_selectivity(aucs) if row["label"] == 1]
    assert sorted(row["score"] for row in rows) == sorted(auc[1] for auc in aucs)
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    assert all(row["count"] is None for row in rows)


def test_a_class_without_auc_is_not_ranked() -> None:
    """rank_by_selectivity leaves out a class without AUCs."""
    assert {row["label"] for row in rank_by_selectivity([[None, 0.5], [None, 0.75]])} == {1}
