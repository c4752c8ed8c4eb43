"""The statistics again, written from their definitions with loops and exact fractions, independent of the code."""

from collections import Counter
from fractions import Fraction
from itertools import permutations

from services.annotation.agreement.ratings import MISSING, Ratings

MASK = 2**64 - 1


def readings_of(ratings: Ratings) -> list[list[int]]:
    """Return the readings of each unit, without missing ones and units that nobody read."""
    units = [[int(code) for code in row if code != MISSING] for row in ratings.codes]
    return [unit for unit in units if unit]


def quotient(numerator: Fraction, denominator: Fraction) -> float | None:
    """Return a quotient, or None if it is undefined."""
    return float(numerator / denominator) if denominator else None


def mean(values: list[Fraction]) -> Fraction:
    """Return the mean of some fractions."""
    return sum(values, Fraction(0)) / len(values)


def observed(ratings: Ratings, weight: list[list[Fraction]]) -> Fraction | None:
    """Return the mean over units of the mean weight over ordered pairs of readings."""
    units = [
        mean([weight[one][other] for one, other in permutations(unit, 2)])
        for unit in readings_of(ratings)
        if len(unit) > 1
    ]
    return mean(units) if units else None


def prevalences(ratings: Ratings) -> list[Fraction]:
    """Return the mean share of each category over units."""
    units = readings_of(ratings)
    return [mean([Fraction(unit.count(code), len(unit)) for unit in units]) for code in range(ratings.categories)]


def weights(kind: str, categories: int) -> list[list[Fraction]]:
    """Return the weights of a kind."""

    def weight(apart: int) -> Fraction:
        if kind == "identity":
            return Fraction(apart == 0)
        if kind == "linear":
            return 1 - Fraction(apart, categories - 1)
        if kind == "quadratic":
            return 1 - Fraction(apart**2, (categories - 1) ** 2)
        return 1 - Fraction(apart * (apart + 1), categories * (categories - 1))

    return [[weight(abs(one - other)) for other in range(categories)] for one in range(categories)]


def percent(ratings: Ratings) -> float | None:
    """Percent agreement."""
    agreeing = observed(ratings, weights("identity", ratings.categories))
    return None if agreeing is None else float(agreeing)


def fleiss(ratings: Ratings) -> float | None:
    """Fleiss' kappa."""
    agreeing = observed(ratings, weights("identity", ratings.categories))
    if agreeing is None:
        return None
    chance = sum(share**2 for share in prevalences(ratings))
    return quotient(agreeing - chance, 1 - chance)


def gwet(ratings: Ratings, kind: str = "identity") -> float | None:
    """Gwet's AC1 and AC2."""
    weight = weights(kind, ratings.categories)
    agreeing = observed(ratings, weight)
    if agreeing is None:
        return None
    total = sum((sum(row, Fraction(0)) for row in weight), Fraction(0))
    spread = sum(share * (1 - share) for share in prevalences(ratings))
    chance = total * spread / (ratings.categories * (ratings.categories - 1))
    return quotient(agreeing - chance, 1 - chance)


def cohen(ratings: Ratings, kind: str = "identity") -> float | None:
    """Cohen's kappa, from the pairs of the two readers."""
    pairs = [(int(one), int(other)) for one, other in ratings.codes if MISSING not in (one, other)]
    if not pairs:
        return None
    weight = weights(kind, ratings.categories)
    agreeing = mean([weight[one][other] for one, other in pairs])
    chance = mean([weight[one][other] for one, _ in pairs for _, other in pairs])
    return quotient(agreeing - chance, 1 - chance)


def krippendorff(ratings: Ratings, level: str = "nominal") -> float | None:
    """Krippendorff's alpha: the mean difference within units, divided by that of all readings of these units."""
    units = [unit for unit in readings_of(ratings) if len(unit) > 1]
    everything = [code for unit in units for code in unit]
    if not everything:
        return None
    counts = Counter(everything)

    def difference(one: int, other: int) -> Fraction:
        if level == "nominal":
            return Fraction(one != other)
        if level == "interval":
            return Fraction((one - other) ** 2)
        low, high = min(one, other), max(one, other)
        between = sum(counts[code] for code in range(low, high + 1))
        return (between - Fraction(counts[low] + counts[high], 2)) ** 2

    within = sum(
        sum(difference(one, other) for one, other in permutations(unit, 2)) / Fraction(len(unit) - 1) for unit in units
    ) / len(everything)
    apart = sum(
        Fraction(counts[one] * (counts[other] - (one == other))) * difference(one, other)
        for one in counts
        for other in counts
    ) / Fraction(len(everything) * (len(everything) - 1))
    return float(1 - within / apart) if apart else None


def splitmix(seed: int, place: int) -> int:
    """Return output `place` of SplitMix64, in whole numbers of Python."""
    z = (seed + (place + 1) * 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def resampled(ratings: Ratings, seed: int, replicate: int) -> Ratings:
    """Return the ratings of one bootstrap replicate, as its documentation says."""
    units = len(ratings.codes)
    rows = [((splitmix(seed, replicate * units + draw) >> 32) * units) >> 32 for draw in range(units)]
    return Ratings.of(ratings.codes[rows], ratings.categories)
