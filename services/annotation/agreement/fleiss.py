"""Fleiss' kappa."""

from services.annotation.agreement.ratings import Floats, Ratings
from services.annotation.agreement.statistic import Statistic, chance_corrected, observed_and_prevalences, pair_terms
from services.annotation.agreement.weights import weights


def fleiss_kappa(ratings: Ratings) -> Statistic:
    """Fleiss' kappa (1971) for any number of readers.

    Fleiss defines it for the same number of readings of every unit. Otherwise this is Gwet's extension (2014, chapter
    2): agreement is the mean over units with two readings or more, prevalences are means over all units.
    """
    return Statistic("fleiss_kappa", pair_terms(ratings, weights("identity", ratings.categories)), _of_sums)


def _of_sums(sums: Floats) -> Floats:
    observed, prevalences = observed_and_prevalences(sums)
    return chance_corrected(observed, (prevalences**2).sum(axis=-1))
