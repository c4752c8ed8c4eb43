"""The bootstrap over units."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from services.annotation.agreement import bootstrap as module
from services.annotation.agreement.bootstrap import (
    Resampling,
    bca_tails,
    bootstrap_intervals,
    jackknife,
    replicates,
    resample_counts,
)
from services.annotation.agreement.fleiss import fleiss_kappa
from services.annotation.agreement.gwet import gwet_ac
from services.annotation.agreement.krippendorff import krippendorff_alpha
from services.annotation.agreement.percent import percent_agreement
from services.annotation.agreement.ratings import Ratings
from services.annotation.agreement.statistic import Statistic
from services.common.errors import InvalidInput
from tests.unit.annotation.agreement import slow
from tests.unit.annotation.agreement.published import FLEISS_1971, KRIPPENDORFF
from tests.unit.annotation.agreement.tables import random_ratings

FLEISS_BCA = (0.33082891111865415, 0.5623497445603582)
FLEISS_PERCENTILE = (0.3145845058383219, 0.5301180104174088)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_replicates_equal_statistics_of_resampled_tables(seed: int) -> None:
    """Each replicate is the statistic of the table whose units were drawn one by one, undefined ones included."""
    ratings = random_ratings(seed).read()
    statistics = [
        percent_agreement(ratings),
        fleiss_kappa(ratings),
        gwet_ac(ratings, "ordinal"),
        krippendorff_alpha(ratings),
        krippendorff_alpha(ratings, "ordinal"),
        krippendorff_alpha(ratings, "interval"),
    ]
    values = replicates(statistics, Resampling(seed, replicates=8))
    for place in range(8):
        drawn = slow.resampled(ratings, seed, place) if len(ratings.codes) else ratings
        expected = [
            slow.percent(drawn),
            slow.fleiss(drawn),
            slow.gwet(drawn, "ordinal"),
            slow.krippendorff(drawn),
            slow.krippendorff(drawn, "ordinal"),
            slow.krippendorff(drawn, "interval"),
        ]
        np.testing.assert_allclose(values[:, place], np.array(expected, dtype=float), atol=1e-9)


def test_the_same_seed_gives_the_same_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another seed gives another interval. Blocks of another size change no more than the last bits: a matrix product
    may add in another order when the matrix has another shape."""
    statistics = [fleiss_kappa(FLEISS_1971)]
    (first,) = bootstrap_intervals(statistics, Resampling(seed=7, replicates=500))
    assert bootstrap_intervals(statistics, Resampling(seed=7, replicates=500)) == [first]
    (other,) = bootstrap_intervals(statistics, Resampling(seed=8, replicates=500))
    assert (other.low, other.high) != pytest.approx((first.low, first.high), rel=1e-6)
    monkeypatch.setattr(module, "DRAWS_AT_ONCE", 100)
    (blocks,) = bootstrap_intervals(statistics, Resampling(seed=7, replicates=500))
    assert (blocks.low, blocks.high) == pytest.approx((first.low, first.high), rel=1e-12)


def test_an_interval_that_must_not_change() -> None:
    """The interval of Fleiss' example with seed 1, by both methods. Another value means that old reports change."""
    statistic = fleiss_kappa(FLEISS_1971)
    (bca,) = bootstrap_intervals([statistic], Resampling(seed=1, replicates=1000))
    (percentile,) = bootstrap_intervals([statistic], Resampling(seed=1, replicates=1000, method="percentile"))
    assert (bca.low, bca.high) == pytest.approx(FLEISS_BCA, abs=1e-9)
    assert (percentile.low, percentile.high) == pytest.approx(FLEISS_PERCENTILE, abs=1e-9)


def test_each_replicate_has_all_its_draws() -> None:
    """Every row of counts sums to the number of units."""
    rows = np.concatenate(list(resample_counts(13, Resampling(seed=2, replicates=40))))
    assert rows.shape == (40, 13)
    assert (rows.sum(axis=1) == 13).all()


def test_the_jackknife_leaves_out_one_unit() -> None:
    """Each value is that of the table without the unit."""
    expected = [
        slow.krippendorff(Ratings.of(np.delete(KRIPPENDORFF.codes, unit, axis=0), 5), "ordinal") for unit in range(12)
    ]
    np.testing.assert_allclose(jackknife(krippendorff_alpha(KRIPPENDORFF, "ordinal")), expected, atol=1e-12)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_intervals_of_a_mean_are_those_of_scipy(method: str) -> None:
    """Within the noise of 20,000 replicates, for a skewed sample of 40."""
    sample = np.random.default_rng(5).exponential(size=40)
    statistic = Statistic("mean", np.column_stack([sample, np.ones(40)]), lambda sums: sums[..., 0] / sums[..., 1])
    (ours,) = bootstrap_intervals([statistic], Resampling(seed=3, replicates=20_000, method=method))
    theirs = bootstrap((sample,), np.mean, n_resamples=20_000, method=method, rng=np.random.default_rng(6))
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.02)


def test_the_corrected_tails_without_bias_and_skew() -> None:
    """They are the plain tails."""
    values = np.linspace(-1, 1, 2001)
    left_out = np.array([-1.0, 0.0, 1.0])
    assert bca_tails(0.0, values, left_out, (0.025, 0.975)) == pytest.approx((0.025, 0.975))


def test_the_corrected_tails_with_bias() -> None:
    """With bias z0 alone the tails are the normal probabilities of 2 * z0 + z (Efron 1987)."""
    normal = NormalDist()
    values = np.arange(1000) / 1000
    bias = normal.inv_cdf(0.6005)
    expected = [normal.cdf(2 * bias + normal.inv_cdf(tail)) for tail in (0.025, 0.975)]
    assert bca_tails(0.6, values, np.zeros(3), (0.025, 0.975)) == pytest.approx(expected)


def test_no_interval_without_a_value() -> None:
    """The reason is that of the statistic."""
    (found,) = bootstrap_intervals([fleiss_kappa(Ratings.of([[1, 1], [1, 1]], 2))], Resampling(1))
    assert (found.low, found.high, found.reason) == (None, None, "the statistic is undefined")


def test_no_interval_if_resamples_are_undefined() -> None:
    """With one dissent in 10 units, a third of the resamples have a single category."""
    ratings = Ratings.of([[0, 0]] * 9 + [[0, 1]], 2)
    (found,) = bootstrap_intervals([fleiss_kappa(ratings)], Resampling(1, replicates=1000))
    assert found.low is None
    assert found.reason.startswith("the statistic is undefined in 3")
    assert found.reason.endswith("of 1000 resamples")


def test_no_interval_of_complete_agreement() -> None:
    """Every resample agrees as well, and an interval of width 0 would claim a certainty that nobody has."""
    ratings = Ratings.of([[0, 0], [1, 1]] * 10, 2)
    (found,) = bootstrap_intervals([fleiss_kappa(ratings)], Resampling(1))
    assert (found.low, found.high) == (None, None)
    assert "same value" in found.reason


def test_many_resamples_of_many_units() -> None:
    """1,000 replicates of 2,000 units with 5 readers have finite values, in blocks of bounded size."""
    ratings = Ratings.of(np.random.default_rng(1).integers(0, 4, (2000, 5)), 4)
    statistics = [fleiss_kappa(ratings), krippendorff_alpha(ratings, "ordinal")]
    values = replicates(statistics, Resampling(1, replicates=1000))
    assert values.shape == (2, 1000)
    assert np.isfinite(values).all()


@pytest.mark.parametrize(
    ("options", "message"), [({"replicates": 0}, "0 replicates"), ({"level": 1.0}, "level of the interval is 1.0")]
)
def test_wrong_options_are_refused(options: dict[str, float], message: str) -> None:
    """The error names the option."""
    with pytest.raises(InvalidInput, match=message):
        Resampling(1, **options)


def test_statistics_of_different_units_are_refused() -> None:
    """They cannot share resamples."""
    with pytest.raises(InvalidInput, match=r"\[12, 30\] units"):
        replicates([fleiss_kappa(FLEISS_1971), fleiss_kappa(KRIPPENDORFF)], Resampling(1))
