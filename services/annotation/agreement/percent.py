"""Percent agreement."""

from services.annotation.agreement.ratings import Floats, Ratings
from services.annotation.agreement.statistic import Statistic, observed_and_prevalences, pair_terms
from services.annotation.agreement.weights import weights


def percent_agreement(ratings: Ratings) -> Statistic:
    """The probability that two readers of a unit agree: the mean over units with two readings or more."""
    return Statistic("percent_agreement", pair_terms(ratings, weights("identity", ratings.categories)), _of_sums)


def _of_sums(sums: Floats) -> Floats:
    return observed_and_prevalences(sums)[0]
