"""Cohen's kappa of two readers, also weighted."""

import numpy as np
from numpy.typing import NDArray

from services.annotation.agreement.ratings import MISSING, Floats, Integers, Ratings
from services.annotation.agreement.statistic import Statistic, chance_corrected, ratio
from services.annotation.agreement.weights import Weighting, weights
from services.common.errors import InvalidInput
from services.common.redaction import quoted

NAMES: dict[Weighting, str] = {
    "identity": "cohen_kappa",
    "linear": "cohen_kappa_linear",
    "quadratic": "cohen_kappa_quadratic",
}


def cohen_kappa(ratings: Ratings, weighting: Weighting = "identity") -> Statistic:
    """Cohen's kappa (1960), or his weighted kappa (1968), over the units that both readers read."""
    if ratings.readers != 2:
        raise InvalidInput(f"Cohen's kappa is defined for 2 readers; these ratings have {ratings.readers}")
    if weighting not in NAMES:
        raise InvalidInput(f"Cohen's kappa has no weights {quoted(weighting)}; expected one of {list(NAMES)}")
    weight = weights(weighting, ratings.categories)
    first, second = ratings.codes.T
    both = (first != MISSING) & (second != MISSING)
    agreement = np.where(both, weight[first, second], 0.0)
    marginals = [_one_hot(codes, both, ratings.categories) for codes in (first, second)]
    terms = np.column_stack([agreement, both, *marginals])

    def of_sums(sums: Floats) -> Floats:
        shares = ratio(sums, sums[..., 1:2])
        rows, columns = np.split(shares[..., 2:], 2, axis=-1)
        expected = np.einsum("...c,ck,...k->...", rows, weight, columns, optimize=True)
        return chance_corrected(shares[..., 0], expected)

    return Statistic(NAMES[weighting], terms, of_sums)


def _one_hot(codes: Integers, both: NDArray[np.bool_], categories: int) -> Floats:
    """Return a column for each category: 1 where a reader gave it to a unit that both read."""
    return np.asarray((codes[:, None] == np.arange(categories)) & both[:, None], dtype=np.float64)
