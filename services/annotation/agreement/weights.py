"""Weights of agreement between two categories: 1 for the same category, less the further two are apart."""

from typing import Literal, assert_never

import numpy as np

from services.annotation.agreement.ratings import Floats

Weighting = Literal["identity", "linear", "quadratic", "ordinal"]


def weights(weighting: Weighting, categories: int) -> Floats:
    """Return the (categories, categories) weights.

    Linear and quadratic are those of weighted kappa (Cicchetti and Allison 1971; Fleiss and Cohen 1973). Ordinal are
    Gwet's (2014, chapter 3): 1 - C(d + 1, 2) / C(categories, 2) for categories that are d apart.
    """
    places = np.arange(categories, dtype=np.float64)
    apart = np.abs(places[:, None] - places)
    match weighting:
        case "identity":
            weight = np.eye(categories)
        case "linear":
            weight = 1 - apart / (categories - 1)
        case "quadratic":
            weight = 1 - (apart / (categories - 1)) ** 2
        case "ordinal":
            weight = 1 - apart * (apart + 1) / (categories * (categories - 1))
        case other:
            assert_never(other)
    return weight
