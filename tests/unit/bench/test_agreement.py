"""The bench of agreement: its true values, and the coverage of a few simulated studies."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from bench import agreement
from bench.agreement import Simulation, Sizes, measure, simulate, statistics_of, true_values
from bench.commands import bench_app

MIXED = Simulation(60, 3, (0.9, 0.8, 0.7, 0.6, 0.5), (0.5, 0.3, 0.2))
TINY = Sizes((MIXED,), studies=2, replicates=50)


@pytest.mark.parametrize("readers", [2, 3, 5])
def test_the_true_values_are_those_of_many_units(readers: int) -> None:
    """With readers that differ, complete and incomplete, on 200,000 units."""
    simulation = Simulation(200_000, readers, MIXED.seen, MIXED.prevalences)
    ratings = simulate(simulation, np.random.default_rng(1))
    assert set(ratings.readings) == {readers}
    found = {statistic.name: statistic.value() for statistic in statistics_of(ratings)}
    assert found == pytest.approx(true_values(simulation), abs=0.006)


@pytest.mark.parametrize("readers", [3, 5])
def test_intervals_contain_the_true_value(readers: int) -> None:
    """95% intervals of 150 small studies do so in 89 to 99% of them, and the planned width of alike readers is near."""
    simulation = Simulation(60, readers, (0.8,) * 5, (0.5, 0.3, 0.2))
    found = measure(simulation, Sizes((simulation,), studies=150, replicates=300), np.random.default_rng(2))
    for name, figures in found["statistics"].items():
        for method in agreement.METHODS:
            assert 0.89 <= figures[method]["coverage"] <= 0.99, (name, method)
    real = found["statistics"]["fleiss_kappa"]["bca"]["half_width"]
    assert found["planned_half_width"] == pytest.approx(real, rel=0.2)


def test_the_command_prints_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """`primitives bench agreement --quick --json` prints one JSON object as its last line."""
    monkeypatch.setattr(agreement, "QUICK", TINY)
    output = CliRunner().invoke(bench_app, ["agreement", "--quick", "--json"], catch_exceptions=False).output
    figures = json.loads(output.splitlines()[-1])
    assert (figures["studies"], figures["designs"][0]["pool"]) == (2, 5)
