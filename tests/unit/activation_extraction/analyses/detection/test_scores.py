"""Scores of detectors, compared with plain loops and with scipy."""

import numpy as np
import pytest
from scipy.stats import pearsonr

from services.activation_extraction.analyses.detection.scores import (
    Sample,
    average_precisions,
    best_thresholds,
    correlations,
    score,
)
from services.activation_extraction.analyses.patient_draws import draw_patients
from tests.fakes.data import ignore_progress


def make_sample(patients: int = 12, size: int = 20, units: int = 5, seed: int = 0, effect: float = 1.0) -> Sample:
    """A sample with ties, a constant unit 0, and unit 1 that detects concept 1."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), size)
    labels = rng.random((len(patient), 3)) < rng.uniform(0.1, 0.5, (patients, 3))[patient]
    activations = np.round(rng.normal(size=(len(patient), units)) + rng.normal(size=(patients, units))[patient], 1)
    activations[:, 0] = 2
    activations[:, 1] += effect * labels[:, 1]
    return Sample(activations, labels, patient)


def slow_average_precision(values: np.ndarray, shown: np.ndarray) -> float:
    """The sum over distinct values, from the largest, of precision times the recall gained."""
    area = recall = 0.0
    for value in sorted(set(values.tolist()), reverse=True):
        called = values >= value
        gained = (called & shown).sum() / shown.sum()
        area += (called & shown).sum() / called.sum() * (gained - recall)
        recall = gained
    return area


def slow_f1(values: np.ndarray, shown: np.ndarray, threshold: float) -> float:
    called = values >= threshold
    return 2 * (called & shown).sum() / (called.sum() + shown.sum())


def test_scores_equal_plain_loops() -> None:
    """Correlation, AUPRC, F1 at the best threshold, and IoU, for every unit and concept."""
    sample = make_sample()
    thresholds = best_thresholds(sample.activations, sample.labels)
    scores = score(sample, thresholds, 100, ignore_progress)
    for concept, shown in enumerate(sample.labels.T):
        for unit, values in enumerate(sample.activations.T):
            place = concept, unit
            expected = 0 if unit == 0 else pearsonr(values, shown.astype(float)).statistic
            assert scores.correlation.value[place] == pytest.approx(expected, abs=1e-12)
            assert correlations(sample.activations, sample.labels)[place] == pytest.approx(expected, abs=1e-12)
            assert scores.auprc.value[place] == pytest.approx(slow_average_precision(values, shown))
            best = max(slow_f1(values, shown, one) for one in values)
            assert scores.f1.value[place] == pytest.approx(best) == slow_f1(values, shown, thresholds[place])
            assert scores.iou.value[place] == pytest.approx(best / (2 - best))


def test_intervals_equal_scores_of_drawn_patients() -> None:
    """The ends are quantiles of the scores of samples in which patients occur as often as they were drawn."""
    sample = make_sample()
    thresholds = best_thresholds(sample.activations, sample.labels)
    scores = score(sample, thresholds, 100, ignore_progress)
    drawn: dict[str, list[float]] = {"correlation": [], "f1": [], "auprc": []}
    for times in draw_patients(sample.patient_count, 100).astype(int):
        rows = np.repeat(np.arange(len(sample.patients)), times[sample.patients])
        values, shown = sample.activations[rows, 1], sample.labels[rows, 1]
        drawn["correlation"].append(pearsonr(values, shown.astype(float)).statistic)
        drawn["f1"].append(slow_f1(values, shown, thresholds[1, 1]))
        drawn["auprc"].append(slow_average_precision(values, shown))
    for name, values_ in drawn.items():
        found, tolerance = getattr(scores, name), 0.005 if name == "auprc" else 1e-9
        expected = np.quantile(values_, [0.025, 0.975])
        assert [found.low[1, 1], found.high[1, 1]] == pytest.approx(expected, abs=tolerance)


def test_units_are_scored_in_groups_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing depends on how many units are scored together."""
    sample = make_sample()
    thresholds = best_thresholds(sample.activations, sample.labels)
    expected = score(sample, thresholds, 100, ignore_progress)
    monkeypatch.setattr("services.activation_extraction.analyses.detection.scores.UNITS", 2)
    found = score(sample, thresholds, 100, ignore_progress)
    for name in ("correlation", "f1", "auprc", "iou"):
        for end in ("value", "low", "high"):
            np.testing.assert_allclose(getattr(getattr(found, name), end), getattr(getattr(expected, name), end))
    np.testing.assert_allclose(found.p, expected.p)


def test_p_values_are_uniform_without_an_association() -> None:
    """Although the patches of a patient are alike, about 5% of the p values are below 0.05, and not more than 7%."""
    p = np.concatenate([_p_values(make_sample(30, 20, 100, seed, effect=0))[:, 1:].ravel() for seed in range(5)])
    assert 0.03 < np.mean(p < 0.05) < 0.07 and np.mean(p < 0.01) < 0.02
    assert _p_values(make_sample(30))[1, 1] < 1e-6


def _p_values(sample: Sample) -> np.ndarray:
    return score(sample, best_thresholds(sample.activations, sample.labels), 100, ignore_progress).p


@pytest.mark.parametrize("patients", [1, 2])
def test_too_few_patients_give_neither_intervals_nor_p_values(patients: int) -> None:
    """The scores are there; their ends are NaN, and p is 1."""
    sample = make_sample(patients)
    scores = score(sample, best_thresholds(sample.activations, sample.labels), 100, ignore_progress)
    assert np.isnan(scores.correlation.low).all() and np.isnan(scores.auprc.high).all()
    assert (scores.p == 1).all() and not np.isnan(scores.iou.value).any()


def test_a_concept_of_two_patients_has_no_p_value() -> None:
    """The variance of two contributions says nothing."""
    sample = make_sample()
    sample.labels[sample.patients > 1, 1] = False
    assert _p_values(sample)[1, 1] == 1 > _p_values(sample)[0, 1]


def test_average_precision_without_positives_is_zero() -> None:
    assert average_precisions(np.ones((4, 2)), np.zeros((4, 1), dtype=np.bool_)).tolist() == [[0, 0]]
