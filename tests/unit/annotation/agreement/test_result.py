"""Results: what they rest on, and reasons."""

from services.annotation.agreement.bootstrap import Resampling
from services.annotation.agreement.fleiss import fleiss_kappa
from services.annotation.agreement.percent import percent_agreement
from services.annotation.agreement.ratings import MISSING, Ratings
from services.annotation.agreement.result import agreements
from services.annotation.agreement.statistic import NO_PAIRS, ONE_CATEGORY
from tests.unit.annotation.agreement.published import KRIPPENDORFF


def test_what_a_result_rests_on() -> None:
    """Units with two readings or more, their readers, and the pairs of readings."""
    (found,) = agreements(KRIPPENDORFF, [fleiss_kappa(KRIPPENDORFF)], Resampling(1))
    assert (found.statistic, found.units, found.readers, found.pairs) == ("fleiss_kappa", 11, 4, 55)
    assert found.value is not None
    assert found.low is not None and found.high is not None
    assert found.low < found.value < found.high
    assert found.reason == ""


def test_without_resampling() -> None:
    """There is a value and no interval."""
    (found,) = agreements(KRIPPENDORFF, [percent_agreement(KRIPPENDORFF)], None)
    assert found.value is not None
    assert (found.low, found.high) == (None, None)


def test_no_pairable_unit() -> None:
    """The value is None, and the reason names it; also for an empty table."""
    for ratings in (Ratings.of([[0, MISSING], [MISSING, 1]], 2), Ratings.of([[MISSING, MISSING]], 2).read()):
        (found,) = agreements(ratings, [fleiss_kappa(ratings)], Resampling(1))
        assert (found.value, found.low, found.high, found.units, found.pairs) == (None, None, None, 0, 0)
        assert found.reason == NO_PAIRS


def test_no_readings_at_all() -> None:
    """A study without answers has a table without rows and columns."""
    ratings = Ratings.of_readings([], ["yes", "no"])
    (found,) = agreements(ratings, [fleiss_kappa(ratings)], Resampling(1))
    assert (found.value, found.readers, found.reason) == (None, 0, NO_PAIRS)


def test_one_category() -> None:
    """Kappa is None with its reason; percent agreement is 1."""
    ratings = Ratings.of([[0, 0], [0, 0]], 2)
    kappa, percent = agreements(ratings, [fleiss_kappa(ratings), percent_agreement(ratings)], Resampling(1))
    assert (kappa.value, kappa.reason) == (None, ONE_CATEGORY)
    assert percent.value == 1
