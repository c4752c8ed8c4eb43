"""The expected interval of a design."""

from itertools import product
from math import sqrt

import numpy as np
import pytest

from services.annotation.agreement.fleiss import fleiss_kappa
from services.annotation.agreement.planning import (
    Design,
    Model,
    dirichlet_model,
    expected_interval,
    standard_error,
    trait_model,
    units_needed,
)
from services.annotation.agreement.ratings import Ratings
from services.common.errors import InvalidInput


@pytest.mark.parametrize("model", [trait_model, dirichlet_model])
@pytest.mark.parametrize(("kappa", "prevalence"), [(0.0, 0.5), (0.4, 0.3), (0.8, 0.05)])
def test_two_readers_and_two_categories(model: Model, kappa: float, prevalence: float) -> None:
    """Both models give the published variance of Bloch and Kraemer (1989)."""
    spread = 2 * prevalence * (1 - prevalence)
    published = (1 - kappa) / 100 * ((1 - kappa) * (1 - 2 * kappa) + kappa * (2 - kappa) / spread)
    design = Design(100, 2, kappa, (prevalence, 1 - prevalence))
    assert standard_error(design, model) == pytest.approx(sqrt(published), rel=1e-10)


@pytest.mark.parametrize("readers", [2, 3, 5])
@pytest.mark.parametrize("prevalences", [(0.5, 0.5), (0.7, 0.2, 0.1)])
def test_equals_the_sum_over_all_answers(readers: int, prevalences: tuple[float, ...]) -> None:
    """The variance of the trait model, from the probability of every combination of answers to a unit."""
    kappa, categories = 0.36, range(len(prevalences))
    chance = sum(share**2 for share in prevalences)
    terms, probabilities = [], []
    for answers in product(categories, repeat=readers):
        pairs = [one == other for i, one in enumerate(answers) for j, other in enumerate(answers) if i != j]
        expected = np.mean([prevalences[answer] for answer in answers])
        terms.append((np.mean(pairs) - 2 * (1 - kappa) * expected) / (1 - chance))
        probabilities.append(
            sum(
                prevalences[true] * np.prod([0.6 * (answer == true) + 0.4 * prevalences[answer] for answer in answers])
                for true in categories
            )
        )
    variance = np.average(np.square(terms), weights=probabilities) - np.average(terms, weights=probabilities) ** 2
    found = standard_error(Design(50, readers, kappa, prevalences), trait_model)
    assert sum(probabilities) == pytest.approx(1)
    assert found == pytest.approx(sqrt(variance / 50), rel=1e-10)


@pytest.mark.parametrize("prevalences", [(0.5, 0.3, 0.2), (0.9, 0.1)])
def test_close_to_simulated_studies(prevalences: tuple[float, ...]) -> None:
    """The standard error of the Dirichlet model is that of 400 simulated studies, within 15%."""
    kappa, units, readers = 0.5, 300, 4
    random = np.random.default_rng(3)
    values = []
    for _ in range(400):
        shares = random.dirichlet(np.array(prevalences) * (1 / kappa - 1), units)
        codes = (random.random((units, readers, 1)) > shares.cumsum(axis=1)[:, None, :-1]).sum(axis=2)
        values.append(fleiss_kappa(Ratings.of(codes, len(prevalences))).value())
    design = Design(units, readers, kappa, prevalences)
    assert standard_error(design, dirichlet_model) == pytest.approx(np.std(values), rel=0.15)


def test_the_wider_interval_counts() -> None:
    """The models differ for more than two readers. The interval is symmetric about the expected kappa."""
    design = Design(200, 10, 0.6, (0.25,) * 4)
    errors = [standard_error(design, model) for model in (trait_model, dirichlet_model)]
    found = expected_interval(design)
    assert found.standard_error == max(errors) > min(errors)
    assert found.half_width == pytest.approx(1.959964 * max(errors), rel=1e-6)
    assert (found.low, found.high) == (0.6 - found.half_width, 0.6 + found.half_width)


def test_ends_stay_within_their_range() -> None:
    """Kappa is at most 1, however few units there are."""
    found = expected_interval(Design(5, 2, 0.9, (0.95, 0.05)))
    assert found.high == 1


def test_more_units_and_readers_give_a_narrower_interval() -> None:
    """Four times the units halve the width."""
    few, many, readers = (expected_interval(Design(*numbers, 0.5, (1, 1))) for numbers in ((50, 2), (200, 2), (50, 5)))
    assert many.half_width == pytest.approx(few.half_width / 2)
    assert readers.half_width < few.half_width


def test_a_rare_answer_has_a_caution() -> None:
    """With a finding in 10% of the units, 100 units are enough and 50 are not."""
    assert expected_interval(Design(100, 2, 0.5, (0.9, 0.1))).caution == ""
    assert "about 5.0 units" in expected_interval(Design(50, 2, 0.5, (0.9, 0.1))).caution


def test_units_for_a_width() -> None:
    """They are enough, and one less is not."""
    design = Design(2, 3, 0.5, (0.5, 0.3, 0.2))
    units = units_needed(design, 0.1)
    widths = [expected_interval(Design(number, 3, 0.5, design.prevalences)).half_width for number in (units, units - 1)]
    assert widths[0] <= 0.1 < widths[1]


@pytest.mark.parametrize(
    ("design", "message"),
    [
        ((1, 2, 0.5, (1, 1)), "1 units with 2 readers"),
        ((10, 1, 0.5, (1, 1)), "10 units with 1 readers"),
        ((10, 2, 1.0, (1, 1)), "expected kappa is 1.0"),
        ((10, 2, -0.1, (1, 1)), "expected kappa is -0.1"),
        ((10, 2, 0.5, (1,)), r"prevalences are \[1\]"),
        ((10, 2, 0.5, (1, 0)), r"prevalences are \[1, 0\]"),
    ],
)
def test_a_wrong_design_is_refused(design: tuple[int, int, float, tuple[float, ...]], message: str) -> None:
    """The error names what was found."""
    with pytest.raises(InvalidInput, match=message):
        Design(*design)


def test_a_wrong_width_is_refused() -> None:
    """The error names it."""
    with pytest.raises(InvalidInput, match="half-width is 0"):
        units_needed(Design(10, 2, 0.5, (1, 1)), 0)
