"""Shams, repeats and games."""

import numpy as np
import pytest

from services.annotation.agreement.bootstrap import Resampling
from services.annotation.agreement.controls import false_recognition, forced_choice, repeat_agreement
from services.annotation.agreement.proportions import wilson
from services.annotation.agreement.ratings import MISSING, Ratings
from tests.unit.annotation.agreement import slow


def test_agreement_with_oneself() -> None:
    """The percentage and kappa are those of the units that were answered twice."""
    first = np.array([0, 0, 1, 1, 2, 2, 0, 1, MISSING, 2])
    second = np.array([0, 1, 1, 1, 2, 0, 0, 1, 1, MISSING])
    found = repeat_agreement(first, second, 3, Resampling(1))
    assert (found.percent.successes, found.percent.trials, found.percent.value) == (6, 8, 0.75)
    assert (found.percent.low, found.percent.high) == (wilson(6, 8).low, wilson(6, 8).high)
    assert found.kappa.value == pytest.approx(slow.cohen(Ratings.of(np.column_stack([first, second]), 3)))
    assert found.kappa.low is not None and found.kappa.value is not None
    assert found.kappa.low < found.kappa.value


def test_a_reader_without_repeats() -> None:
    """Nothing has a value, and both say why."""
    found = repeat_agreement([], [], 3, Resampling(1))
    assert (found.percent.value, found.kappa.value) == (None, None)
    assert found.percent.reason and found.kappa.reason


def test_false_recognition() -> None:
    """Recognizing 2 of 10 shams is a rate of 0.2 with Wilson's interval."""
    found = false_recognition(2, 10)
    assert (found.value, found.low, found.high) == (0.2, wilson(2, 10).low, wilson(2, 10).high)


def test_the_intruder_game() -> None:
    """With 5 pictures chance is 0.2; 10 of 20 is better than chance, and its exact interval does not contain 0.2."""
    found = forced_choice(10, 20, options=5)
    assert found.chance == pytest.approx(0.2)
    assert found.p_value == pytest.approx(0.002594827, abs=1e-8)
    assert found.correct.low is not None and found.correct.low > 0.2


def test_a_game_that_nobody_played() -> None:
    """There is no p-value."""
    found = forced_choice(0, 0, options=5)
    assert (found.correct.value, found.p_value) == (None, None)
