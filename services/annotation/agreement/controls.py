"""What the hidden controls of a study show about one reader: shams, repeats, and games with a known chance."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from services.annotation.agreement.bootstrap import Resampling
from services.annotation.agreement.cohen import cohen_kappa
from services.annotation.agreement.proportions import Proportion, clopper_pearson, p_value_above, proportion
from services.annotation.agreement.ratings import Ratings
from services.annotation.agreement.result import Agreement, agreements


@dataclass(frozen=True)
class RepeatAgreement:
    """How far a reader agrees with their own first answer, when a unit comes again."""

    percent: Proportion
    kappa: Agreement


@dataclass(frozen=True)
class ForcedChoice:
    """Correct answers in a game, with the exact interval, and the exact probability of at least that many by chance."""

    correct: Proportion
    chance: float
    p_value: float | None


def repeat_agreement(first: ArrayLike, second: ArrayLike, categories: int, resampling: Resampling) -> RepeatAgreement:
    """Return the agreement of first and second answers of one reader to the same units, MISSING where there is none.

    The units are independent of each other, so the percentage has a Wilson interval; kappa is resampled.
    """
    ratings = Ratings.of(np.column_stack([first, second]), categories)
    both = ratings.codes[ratings.pairable]
    (kappa,) = agreements(ratings.read(), [cohen_kappa(ratings.read())], resampling)
    return RepeatAgreement(proportion(int((both[:, 0] == both[:, 1]).sum()), len(both), resampling.level), kappa)


def false_recognition(recognized: int, shams: int, level: float = 0.95) -> Proportion:
    """Return the share of shams in which a reader recognized something, with its Wilson interval."""
    return proportion(recognized, shams, level)


def forced_choice(correct: int, trials: int, options: int, level: float = 0.95) -> ForcedChoice:
    """Return the result of a game in which one of `options` is right: the intruder game, or predict-the-unit."""
    chance = 1 / options
    if trials == 0:
        return ForcedChoice(proportion(correct, trials, level), chance, None)
    exact = clopper_pearson(correct, trials, level)
    result = Proportion(correct, trials, correct / trials, exact.low, exact.high)
    return ForcedChoice(result, chance, p_value_above(correct, trials, chance))
