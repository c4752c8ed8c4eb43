"""Gwet's AC1, and AC2 with weights."""

from services.annotation.agreement.ratings import Floats, Ratings
from services.annotation.agreement.statistic import Statistic, chance_corrected, observed_and_prevalences, pair_terms
from services.annotation.agreement.weights import Weighting, weights

NAMES: dict[Weighting, str] = {
    "identity": "gwet_ac1",
    "linear": "gwet_ac2_linear",
    "quadratic": "gwet_ac2_quadratic",
    "ordinal": "gwet_ac2_ordinal",
}


def gwet_ac(ratings: Ratings, weighting: Weighting = "identity") -> Statistic:
    """Gwet's AC1 (2008), or AC2 with weights (2014), for any number of readers and missing readings."""
    categories = ratings.categories
    weight = weights(weighting, categories)
    scale = weight.sum() / (categories * (categories - 1))

    def of_sums(sums: Floats) -> Floats:
        observed, prevalences = observed_and_prevalences(sums)
        return chance_corrected(observed, scale * (prevalences * (1 - prevalences)).sum(axis=-1))

    return Statistic(NAMES[weighting], pair_terms(ratings, weight), of_sums)
