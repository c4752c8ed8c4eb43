"""Cohen's kappa."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.inter_rater import cohens_kappa

from services.annotation.agreement.cohen import cohen_kappa
from services.annotation.agreement.ratings import MISSING, Ratings
from services.annotation.agreement.weights import Weighting
from services.common.errors import InvalidInput
from tests.unit.annotation.agreement import slow
from tests.unit.annotation.agreement.compare import same
from tests.unit.annotation.agreement.published import ABSTRACTORS, COHEN_1960, KRIPPENDORFF, PARADOX, SAS
from tests.unit.annotation.agreement.tables import random_ratings

WEIGHTINGS: tuple[Weighting, ...] = ("identity", "linear", "quadratic")


def test_published_values() -> None:
    """Cohen's own example, SAS's, and Gwet's."""
    assert cohen_kappa(COHEN_1960).value() == pytest.approx(0.29 / 0.59, abs=1e-6)
    assert cohen_kappa(ABSTRACTORS).value() == pytest.approx(0.7964094, abs=1e-6)
    assert round(cohen_kappa(SAS).value(), 4) == 0.4842
    assert round(cohen_kappa(SAS, "linear").value(), 4) == 0.4701
    assert round(cohen_kappa(PARADOX).value(), 4) == -0.0234


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(WEIGHTINGS))
def test_equals_the_definition(seed: int, weighting: Weighting) -> None:
    """On random tables with missing readings, with and without weights."""
    ratings = random_ratings(seed, readers=2)
    assert same(cohen_kappa(ratings, weighting), slow.cohen(ratings, weighting))


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(WEIGHTINGS))
def test_equals_statsmodels(seed: int, weighting: Weighting) -> None:
    """On random complete tables."""
    ratings = random_ratings(seed, readers=2, missing=False)
    expected = slow.cohen(ratings, weighting)
    if expected is not None:
        table = np.zeros((ratings.categories, ratings.categories))
        np.add.at(table, tuple(ratings.codes.T), 1)
        kind = None if weighting == "identity" else weighting
        with np.errstate(all="ignore"):
            assert same(cohen_kappa(ratings, weighting), cohens_kappa(table, wt=kind, return_results=False))


def test_a_unit_of_one_reader_does_not_count() -> None:
    """Neither for agreement nor for the readers' prevalences."""
    complete = Ratings.of([[0, 0], [0, 1], [1, 1]], 2)
    more = Ratings.of([[0, 0], [0, 1], [1, 1], [0, MISSING], [MISSING, 1]], 2)
    assert cohen_kappa(more).value() == cohen_kappa(complete).value()


def test_it_is_for_two_readers() -> None:
    """The error names the statistic and the number of readers."""
    with pytest.raises(InvalidInput, match="Cohen's kappa is defined for 2 readers; these ratings have 4"):
        cohen_kappa(KRIPPENDORFF)


def test_it_has_no_ordinal_weights() -> None:
    """Gwet's weights belong to AC2."""
    with pytest.raises(InvalidInput, match="no weights 'ordinal'"):
        cohen_kappa(SAS, "ordinal")
