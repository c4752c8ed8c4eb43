"""How often the intervals of agreement contain the true value, by simulation, and planned widths next to real ones.

Readers follow the trait model: a unit has a true category, drawn by prevalence. Reader j sees it with probability
`seen[j]`, and else guesses by prevalence. Two readers i and j then have the kappa seen[i] * seen[j], and all statistics
of a design have known true values. In an incomplete design every unit is read by readers drawn at random from the pool.
"""

from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any, Literal, get_args

import numpy as np

from bench.machine import machine_facts
from services.annotation.agreement.bootstrap import Interval, Resampling, interval, replicates
from services.annotation.agreement.fleiss import fleiss_kappa
from services.annotation.agreement.gwet import gwet_ac
from services.annotation.agreement.krippendorff import krippendorff_alpha
from services.annotation.agreement.percent import percent_agreement
from services.annotation.agreement.planning import Design, expected_interval
from services.annotation.agreement.ratings import MISSING, Ratings
from services.annotation.agreement.statistic import Statistic

Method = Literal["percentile", "bca"]
METHODS: tuple[Method, ...] = get_args(Method)
LEVEL = 0.95
SEED = 15


@dataclass(frozen=True)
class Simulation:
    """A design and how its readers behave."""

    units: int
    readers: int
    """Readers of each unit, drawn from the pool."""
    seen: tuple[float, ...]
    """For each reader of the pool, the probability to see the true category."""
    prevalences: tuple[float, ...]

    @property
    def kappa(self) -> float:
        """The true kappa, over all pairs of readers."""
        return float(np.mean([one * other for one, other in combinations(self.seen, 2)]))


@dataclass(frozen=True)
class Sizes:
    """The designs, the simulated studies of each design, and the bootstrap replicates of each study."""

    simulations: tuple[Simulation, ...]
    studies: int
    replicates: int


def designs(units: tuple[int, ...]) -> tuple[Simulation, ...]:
    """Return all combinations of units, readers, kappa and prevalences."""
    pools = ((2, 2), (3, 3), (5, 5), (3, 6), (2, 5))
    mixtures = ((0.5, 0.3, 0.2), (0.9, 0.1))
    alike = tuple(
        Simulation(number, readers, (kappa**0.5,) * pool, prevalences)
        for number, (readers, pool), kappa, prevalences in product(units, pools, (0.4, 0.7), mixtures)
    )
    different = tuple(Simulation(number, 3, (0.95, 0.8, 0.5), mixtures[0]) for number in units)
    return alike + different


FULL = Sizes(designs((50, 100, 400)), studies=500, replicates=1000)
QUICK = Sizes(designs((50,)), studies=40, replicates=200)


def bench_agreement(sizes: Sizes) -> dict[str, Any]:
    """Return the figures that docs/bench.md explains."""
    machine = machine_facts()
    return {
        "bench": "agreement",
        "studies": sizes.studies,
        "replicates": sizes.replicates,
        "level": LEVEL,
        "designs": [
            measure(simulation, sizes, np.random.default_rng((SEED, place)))
            for place, simulation in enumerate(sizes.simulations)
        ],
        "machine": machine,
    }


def measure(simulation: Simulation, sizes: Sizes, random: np.random.Generator) -> dict[str, Any]:
    """Simulate the studies of a design, and compare their intervals with the true values."""
    truth = true_values(simulation)
    intervals: dict[tuple[str, Method], list[Interval]] = {pair: [] for pair in product(truth, METHODS)}
    for study in range(sizes.studies):
        statistics = statistics_of(simulate(simulation, random))
        resampling = Resampling(seed=study, replicates=sizes.replicates, level=LEVEL)
        for statistic, values in zip(statistics, replicates(statistics, resampling), strict=True):
            for method in METHODS:
                found = interval(statistic, values, replace(resampling, method=method))
                intervals[statistic.name, method].append(found)
    return {
        "units": simulation.units,
        "readers": simulation.readers,
        "pool": len(simulation.seen),
        "kappa": round(simulation.kappa, 3),
        "prevalences": simulation.prevalences,
        "alike": len(set(simulation.seen)) == 1,
        "planned_half_width": round(planned_half_width(simulation), 4),
        "statistics": {
            name: {
                "true": round(value, 4),
                **{method: summary(value, intervals[name, method]) for method in METHODS},
            }
            for name, value in truth.items()
        },
    }


def summary(truth: float, intervals: list[Interval]) -> dict[str, float | int | None]:
    """Return how often the intervals contain the true value, their mean half-width, and how many there are not."""
    ends = [(one.low, one.high) for one in intervals if one.low is not None and one.high is not None]
    inside = [low <= truth <= high for low, high in ends]
    return {
        "coverage": round(float(np.mean(inside)), 4) if ends else None,
        "half_width": round(float(np.mean([(high - low) / 2 for low, high in ends])), 4) if ends else None,
        "without_interval": len(intervals) - len(ends),
    }


def statistics_of(ratings: Ratings) -> list[Statistic]:
    """The statistics whose intervals are measured."""
    return [percent_agreement(ratings), fleiss_kappa(ratings), krippendorff_alpha(ratings), gwet_ac(ratings)]


def true_values(simulation: Simulation) -> dict[str, float]:
    """Return the value of each statistic over infinitely many units."""
    prevalences = np.array(simulation.prevalences)
    chance = float((prevalences**2).sum())
    percent = simulation.kappa + (1 - simulation.kappa) * chance
    chance_ac1 = float((prevalences * (1 - prevalences)).sum()) / (len(prevalences) - 1)
    return {
        "percent_agreement": percent,
        "fleiss_kappa": simulation.kappa,
        "krippendorff_alpha": simulation.kappa,
        "gwet_ac1": (percent - chance_ac1) / (1 - chance_ac1),
    }


def planned_half_width(simulation: Simulation) -> float:
    """Return the half-width that the planning of a study shows for this design."""
    design = Design(simulation.units, simulation.readers, simulation.kappa, simulation.prevalences)
    return expected_interval(design, LEVEL).half_width


def simulate(simulation: Simulation, random: np.random.Generator) -> Ratings:
    """Simulate the readings of one study."""
    shape = (simulation.units, len(simulation.seen))
    categories = len(simulation.prevalences)
    truth = random.choice(categories, simulation.units, p=simulation.prevalences)
    guesses = random.choice(categories, shape, p=simulation.prevalences)
    codes = np.where(random.random(shape) < np.array(simulation.seen), truth[:, None], guesses)
    assigned = random.random(shape).argsort(axis=1).argsort(axis=1) < simulation.readers
    return Ratings.of(np.where(assigned, codes, MISSING), categories)
