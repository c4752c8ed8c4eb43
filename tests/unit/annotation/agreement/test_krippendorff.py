"""Krippendorff's alpha."""

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.annotation.agreement.krippendorff import NAMES, Level, krippendorff_alpha
from services.annotation.agreement.ratings import MISSING, Ratings
from services.common.errors import InvalidInput
from tests.unit.annotation.agreement import slow
from tests.unit.annotation.agreement.compare import same
from tests.unit.annotation.agreement.published import ABSTRACTORS, GWET_SIX, KRIPPENDORFF
from tests.unit.annotation.agreement.tables import random_ratings


def reference(ratings: Ratings, level: str) -> float:
    """Return the alpha of the package krippendorff."""
    codes = np.where(ratings.codes == MISSING, np.nan, ratings.codes.astype(float)).T
    domain = list(map(float, range(ratings.categories)))
    return float(krippendorff.alpha(reliability_data=codes, value_domain=domain, level_of_measurement=level))


@pytest.mark.parametrize(("level", "printed"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_published_values(level: Level, printed: float) -> None:
    """Krippendorff's own example, to the digits that he prints, and in full as another package computes it."""
    value = krippendorff_alpha(KRIPPENDORFF, level).value()
    assert round(value, 3) == printed
    assert value == pytest.approx(reference(KRIPPENDORFF, level), abs=1e-12)


def test_published_values_of_gwet() -> None:
    """Gwet's package prints these, of two and of six readers."""
    assert krippendorff_alpha(ABSTRACTORS).value() == pytest.approx(0.7972585, abs=1e-6)
    assert krippendorff_alpha(GWET_SIX).value() == pytest.approx(0.4204384, abs=1e-6)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(list(NAMES)))
def test_equals_the_definition(seed: int, level: Level) -> None:
    """On random tables with missing readings, at each level."""
    ratings = random_ratings(seed)
    assert same(krippendorff_alpha(ratings, level), slow.krippendorff(ratings, level))


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(list(NAMES)))
def test_equals_another_package(seed: int, level: Level) -> None:
    """On random tables with missing readings, where alpha is defined."""
    ratings = random_ratings(seed)
    if slow.krippendorff(ratings, level) is not None:
        assert same(krippendorff_alpha(ratings, level), reference(ratings, level))


def test_values_of_the_categories() -> None:
    """At interval level the distances between the values count, and not their origin or unit."""
    ratings = Ratings.of([[0, 0], [1, 2], [2, 2], [0, 1]], 3)
    plain = krippendorff_alpha(ratings, "interval").value()
    assert krippendorff_alpha(ratings, "interval", [10, 20, 30]).value() == pytest.approx(plain)
    assert krippendorff_alpha(ratings, "interval", [0, 1, 10]).value() != pytest.approx(plain)
    with pytest.raises(InvalidInput, match=r"values of shape \(2,\); expected 3"):
        krippendorff_alpha(ratings, "interval", [0, 1])
