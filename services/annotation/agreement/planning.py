"""What a study can measure: the expected interval of kappa for a design, before anybody reads.

The variance is the large-sample variance of Fleiss' kappa by linearization (Gwet 2021): var(l) / units, where

    l = (agreement of the unit - 2 * (1 - kappa) * mean prevalence of its answers) / (1 - pe).

Its moments need the joint distribution of the readings of a unit. Kappa and the prevalences determine it for two
readers only. For more readers two models are computed, and the wider interval counts:

- trait: a unit has a true category; each reader sees it with probability sqrt(kappa), and else guesses by prevalence;
- Dirichlet: each unit has its own prevalences, drawn from a Dirichlet distribution with concentration 1 / kappa - 1.

For two categories and two readers both give the variance of Bloch and Kraemer (1989) exactly.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from services.annotation.agreement.bootstrap import NORMAL
from services.annotation.agreement.ratings import Floats
from services.common.errors import InvalidInput

FEWEST_UNITS = 10
"""Units with the rarest answer below which the formula is too optimistic (docs/lab/agreement.md)."""


@dataclass(frozen=True)
class Design:
    """A planned study: the readers of each unit may differ, their number does not."""

    units: int
    readers: int
    """Readers a unit."""
    kappa: float
    """The agreement that is expected."""
    prevalences: Sequence[float]
    """The expected share of each answer. They are scaled to a sum of 1."""

    def __post_init__(self) -> None:
        if self.units < 2 or self.readers < 2:
            raise InvalidInput(
                f"The design has {self.units} units with {self.readers} readers each; expected at least 2 of both"
            )
        if not 0 <= self.kappa < 1:
            raise InvalidInput(f"The expected kappa is {self.kappa}; expected 0 or more, and less than 1")
        if len(self.prevalences) < 2 or min(self.prevalences) <= 0:
            raise InvalidInput(f"The prevalences are {list(self.prevalences)}; expected two or more positive numbers")


@dataclass(frozen=True)
class ExpectedInterval:
    """The expected interval of Fleiss' kappa, and of nominal alpha, which differs by about 1 / readings."""

    standard_error: float
    half_width: float
    low: float
    high: float
    caution: str = ""
    """Why the real interval may be wider; empty if the design is large enough for the formula."""


@dataclass(frozen=True, eq=False)
class Joint:
    """Probabilities of the answers of some readers of one unit, who are exchangeable.

    `same(a)` is the probability that `a` given readers all answer c, for each c. `two(a, b)` is the probability that
    `a` given readers answer c and `b` others answer k, for each c (rows) and k (columns) that differ; 0 if c is k.
    """

    same: Callable[[int], Floats]
    two: Callable[[int, int], Floats]


Model = Callable[[Floats, float], Joint]
"""The joint probabilities for prevalences and kappa."""


def expected_interval(design: Design, level: float = 0.95) -> ExpectedInterval:
    """Return the interval that a design is expected to have."""
    error = max(standard_error(design, trait_model), standard_error(design, dirichlet_model))
    half = NORMAL.inv_cdf((1 + level) / 2) * error
    return ExpectedInterval(
        error, half, max(-1.0, design.kappa - half), min(1.0, design.kappa + half), _caution(design)
    )


def _caution(design: Design) -> str:
    rarest = design.units * min(design.prevalences) / sum(design.prevalences)
    if rarest >= FEWEST_UNITS:
        return ""
    return (
        f"about {rarest:.1f} units have the rarest answer; with fewer than {FEWEST_UNITS} the interval may be wider "
        "than planned, or not exist"
    )


def units_needed(design: Design, half_width: float, level: float = 0.95) -> int:
    """Return the units with which the half-width is at most `half_width`; the units of `design` do not count."""
    if half_width <= 0:
        raise InvalidInput(f"The half-width is {half_width}; expected a positive number")
    wanted = expected_interval(design, level).half_width / half_width
    return max(2, int(np.ceil(design.units * wanted**2 - 1e-9)))


def standard_error(design: Design, model: Model) -> float:
    """Return the large-sample standard error of Fleiss' kappa if readings follow a model."""
    prevalences = np.asarray(design.prevalences, dtype=np.float64)
    prevalences = prevalences / prevalences.sum()
    joint = model(prevalences, design.kappa)
    readers, chance = design.readers, float((prevalences**2).sum())
    slope = 2 * (1 - design.kappa)
    variance = (
        _agreement_variance(joint, readers)
        - 2 * slope * _covariance(joint, readers, prevalences)
        + slope**2 * _expected_variance(joint, readers, prevalences)
    )
    return sqrt(max(variance, 0.0) / design.units) / (1 - chance)


def trait_model(prevalences: Floats, kappa: float) -> Joint:
    """The trait model: given the true category, readings are independent."""
    seen = sqrt(kappa)
    # Rows are true categories, columns are answers.
    answers = seen * np.eye(len(prevalences)) + (1 - seen) * prevalences

    def same(order: int) -> Floats:
        return np.asarray(prevalences @ answers**order)

    def two(first: int, second: int) -> Floats:
        return _off_diagonal((answers**first).T @ (prevalences[:, None] * answers**second))

    return Joint(same, two)


def dirichlet_model(prevalences: Floats, kappa: float) -> Joint:
    """The Dirichlet-multinomial model; independent readings if kappa is 0."""
    spread = kappa / (1 - kappa)

    def rising(order: int) -> Floats:
        return np.asarray(np.prod([prevalences + step * spread for step in range(order)], axis=0))

    def total(order: int) -> float:
        return float(np.prod([1 + step * spread for step in range(order)]))

    def same(order: int) -> Floats:
        return rising(order) / total(order)

    def two(first: int, second: int) -> Floats:
        return _off_diagonal(np.outer(rising(first), rising(second)) / total(first + second))

    return Joint(same, two)


def _off_diagonal(values: Floats) -> Floats:
    return np.asarray(values - np.diag(np.diag(values)))


def _falling(readers: int, order: int) -> float:
    """Return readers * (readers - 1) * ..., `order` factors."""
    return float(np.prod([readers - step for step in range(order)]))


def _agreement_variance(joint: Joint, readers: int) -> float:
    """Return the variance of the agreement of a unit: the share of its pairs of readings that agree."""
    pairs = _falling(readers, 2)
    square = (
        _falling(readers, 4) * (joint.same(4).sum() + joint.two(2, 2).sum())
        + 4 * _falling(readers, 3) * joint.same(3).sum()
        + 2 * pairs * joint.same(2).sum()
    ) / pairs**2
    return float(square - joint.same(2).sum() ** 2)


def _covariance(joint: Joint, readers: int, prevalences: Floats) -> float:
    """Return the covariance of the agreement of a unit and the mean prevalence of its answers."""
    pairs = _falling(readers, 2)
    product = (
        _falling(readers, 3) * (joint.same(3) @ prevalences + (joint.two(2, 1) @ prevalences).sum())
        + 2 * pairs * joint.same(2) @ prevalences
    ) / (pairs * readers)
    return float(product - joint.same(2).sum() * (prevalences**2).sum())


def _expected_variance(joint: Joint, readers: int, prevalences: Floats) -> float:
    """Return the variance of the mean prevalence of the answers of a unit."""
    square = (
        _falling(readers, 2) * (joint.same(2) @ prevalences**2 + prevalences @ joint.two(1, 1) @ prevalences)
        + readers * joint.same(1) @ prevalences**2
    ) / readers**2
    return float(square - (prevalences**2).sum() ** 2)
