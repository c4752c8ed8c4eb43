"""Gwet's AC1 and AC2."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.annotation.agreement.cohen import cohen_kappa
from services.annotation.agreement.gwet import NAMES, gwet_ac
from services.annotation.agreement.ratings import Ratings
from services.annotation.agreement.weights import Weighting
from tests.unit.annotation.agreement import slow
from tests.unit.annotation.agreement.compare import same
from tests.unit.annotation.agreement.published import (
    ABSTRACTORS,
    FIVE_OBSERVERS,
    GWET_SIX,
    KRIPPENDORFF,
    PARADOX,
)
from tests.unit.annotation.agreement.tables import random_ratings


def test_published_values() -> None:
    """Gwet's own examples: two readers, six readers, and missing readings."""
    assert gwet_ac(ABSTRACTORS).value() == pytest.approx(0.8493305, abs=1e-6)
    assert gwet_ac(GWET_SIX).value() == pytest.approx(0.4448007, abs=1e-6)
    assert gwet_ac(KRIPPENDORFF).value() == pytest.approx(0.77544, abs=5e-6)
    assert round(gwet_ac(FIVE_OBSERVERS).value(), 3) == 0.497


@pytest.mark.parametrize(
    ("weighting", "two_readers", "missing"),
    [("linear", 0.900, 0.859), ("ordinal", 0.925, 0.899), ("quadratic", 0.940, 0.914)],
)
def test_published_values_with_weights(weighting: Weighting, two_readers: float, missing: float) -> None:
    """AC2 of two readers, and of four with missing readings, as Gwet's package computes it."""
    assert round(gwet_ac(ABSTRACTORS, weighting).value(), 3) == two_readers
    assert round(gwet_ac(KRIPPENDORFF, weighting).value(), 3) == missing


def test_the_paradox_of_kappa() -> None:
    """If 94% of answers agree on a rare finding, kappa is below 0 and AC1 close to the agreement."""
    assert gwet_ac(PARADOX).value() == pytest.approx(0.9408, abs=5e-5)
    assert cohen_kappa(PARADOX).value() < 0


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(list(NAMES)))
def test_equals_the_definition(seed: int, weighting: Weighting) -> None:
    """On random tables with missing readings, with and without weights."""
    ratings = random_ratings(seed)
    assert same(gwet_ac(ratings, weighting), slow.gwet(ratings, weighting))


def test_categories_that_nobody_chose_count() -> None:
    """Chance agreement is lower if the question has more answers."""
    codes = [[0, 0], [0, 1], [1, 1]]
    assert gwet_ac(Ratings.of(codes, 2)).value() < gwet_ac(Ratings.of(codes, 4)).value()


def test_one_category_gives_one() -> None:
    """AC1 is defined where kappa is not: all readers agree, and chance agreement is 0."""
    assert gwet_ac(Ratings.of([[1, 1], [1, 1]], 2)).value() == 1
