"""Figures of agreement, compared with plain arithmetic."""

import numpy as np
import pytest

from services.activation_extraction.analyses import agreement
from services.activation_extraction.analyses.agreement import Counts, agreement_rows
from services.activation_extraction.analyses.patient_draws import SEED
from tests.fakes.data import ignore_progress

PHENOMENA = ("a", "b", "unseen")


def random_counts(rng: np.random.Generator, patients: int, units: int) -> Counts:
    """Consistent counts, in which no patch shows the last phenomenon."""
    both = rng.integers(0, 50, (patients, len(PHENOMENA), units))
    both[:, -1] = 0
    inside = both.max(2) + rng.integers(0, 50, (patients, len(PHENOMENA)))
    inside[:, -1] = 0
    return Counts(both.max(1) + rng.integers(0, 50, (patients, units)), inside, both)


def test_figures_are_ratios_of_sums() -> None:
    """IoU, precision and recall are over all patients. One phenomenon of a unit is its best. A phenomenon that no patch
    shows has no rows."""
    counts = random_counts(np.random.default_rng(0), patients=5, units=7)
    rows = agreement_rows(counts, PHENOMENA, np.arange(7.0), 100, ignore_progress)
    assert [(row["unit"], row["phenomenon"]) for row in rows] == [(u, p) for u in range(7) for p in "ab"]
    for row in rows:
        unit, number = row["unit"], PHENOMENA.index(row["phenomenon"])
        both = int(counts.both[:, number, unit].sum())
        above, inside = int(counts.above[:, unit].sum()), int(counts.inside[:, number].sum())
        assert row["iou"] == both / (above + inside - both)
        assert (row["precision"], row["recall"]) == (both / above, both / inside)
        assert row["threshold"] == unit
        assert row["best"] == (row["iou"] == max(r["iou"] for r in rows if r["unit"] == unit))


def test_a_unit_without_overlap_has_no_best_phenomenon() -> None:
    """A unit that is nowhere above its threshold has no precision. A unit that is above it only outside the outlines
    has IoU 0. Neither has a best phenomenon."""
    counts = Counts(np.asarray([[0, 9]]), np.asarray([[4]]), np.zeros((1, 1, 2), dtype=np.int64))
    silent, elsewhere = agreement_rows(counts, ["a"], np.zeros(2), 100, ignore_progress)
    assert (silent["iou"], silent["precision"], silent["recall"], silent["best"]) == (0, None, 0, False)
    assert (elsewhere["iou"], elsewhere["precision"], elsewhere["best"]) == (0, 0, False)


@pytest.mark.parametrize(("patients", "has_interval"), [(1, False), (2, False), (3, True)])
def test_few_patients_have_no_interval(patients: int, has_interval: bool) -> None:
    """The ends of the interval are null for fewer than three patients."""
    rows = agreement_rows(
        random_counts(np.random.default_rng(1), patients, 2), PHENOMENA, np.zeros(2), 100, ignore_progress
    )
    for end in ("iou_low", "iou_high"):
        assert {row[end] is not None for row in rows} == {has_interval}


def test_intervals_are_quantiles_over_drawn_patients(monkeypatch: pytest.MonkeyPatch) -> None:
    """The intervals equal those of single draws with plain sums, for any size of arrays."""
    counts, replicates = random_counts(np.random.default_rng(2), patients=6, units=5), 200
    rows = agreement_rows(counts, PHENOMENA, np.zeros(5), replicates, ignore_progress)
    monkeypatch.setattr(agreement, "CELLS", replicates)
    assert agreement_rows(counts, PHENOMENA, np.zeros(5), replicates, ignore_progress) == rows
    draws = np.random.default_rng(SEED).multinomial(6, np.full(6, 1 / 6), replicates)
    for row in rows:
        unit, number = row["unit"], PHENOMENA.index(row["phenomenon"])
        drawn = []
        for draw in draws:
            both = sum(int(n) * int(c) for n, c in zip(draw, counts.both[:, number, unit], strict=True))
            above = sum(int(n) * int(c) for n, c in zip(draw, counts.above[:, unit], strict=True))
            inside = sum(int(n) * int(c) for n, c in zip(draw, counts.inside[:, number], strict=True))
            drawn.append(both / (above + inside - both))
        low, high = np.quantile(drawn, [0.025, 0.975])
        assert (row["iou_low"], row["iou_high"]) == pytest.approx((low, high), rel=1e-14)
        assert row["iou_low"] <= row["iou"] <= row["iou_high"]
