"""Fleiss' kappa."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.inter_rater import fleiss_kappa as reference

from services.annotation.agreement.fleiss import fleiss_kappa
from tests.unit.annotation.agreement import slow
from tests.unit.annotation.agreement.compare import same
from tests.unit.annotation.agreement.published import FLEISS_1971, FLEISS_FOURTEEN, GWET_SIX, KRIPPENDORFF
from tests.unit.annotation.agreement.tables import random_ratings


def test_published_values() -> None:
    """Fleiss' own example, computed by irr; the example of encyclopedias; and Gwet's, one with missing readings."""
    assert fleiss_kappa(FLEISS_1971).value() == pytest.approx(0.4302445, abs=1e-6)
    assert round(fleiss_kappa(FLEISS_FOURTEEN).value(), 3) == 0.210
    assert fleiss_kappa(GWET_SIX).value() == pytest.approx(0.4139265, abs=1e-6)
    assert fleiss_kappa(KRIPPENDORFF).value() == pytest.approx(0.76117, abs=5e-6)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_equals_the_definition(seed: int) -> None:
    """On random tables with missing readings."""
    ratings = random_ratings(seed)
    assert same(fleiss_kappa(ratings), slow.fleiss(ratings))


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_equals_statsmodels(seed: int) -> None:
    """On random complete tables."""
    ratings = random_ratings(seed, missing=False)
    if slow.fleiss(ratings) is not None:
        assert same(fleiss_kappa(ratings), reference(ratings.counts))
