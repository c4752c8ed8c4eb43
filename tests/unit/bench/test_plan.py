"""The arithmetic of the bench of plans."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bench import machine
from bench.machine import await_quiet, machine_facts
from bench.plan import MeasuredPlan, place_stages, summarise
from bench.specs import PlanFloor, PlanResults

BEGIN = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
RESULTS = PlanResults(val_loss=[0.5], pictures=8, units=4)


def stage(started_s: float, finished_s: float) -> dict[str, Any]:
    """A stage as a service reports it, by seconds since the plan was requested."""
    moments = (BEGIN + timedelta(seconds=seconds) for seconds in (started_s, finished_s))
    return dict(zip(("started", "finished"), (moment.isoformat() for moment in moments), strict=True))


def pair(compute_s: float, wall_s: float, results: PlanResults = RESULTS) -> tuple[PlanFloor, MeasuredPlan]:
    """A floor and a plan of two stages. Half of each is training, and the plan has a gap of one second."""
    half = (wall_s - 1.5) / 2
    stages = {"training": stage(0.25, 0.25 + half), "study": stage(1.0 + half, 1.0 + 2 * half)}
    floor = PlanFloor(seconds={"training": compute_s / 2, "study": compute_s / 2}, results=RESULTS)
    return floor, MeasuredPlan(wall_s, place_stages(BEGIN, stages), results)


def test_stages_are_placed_in_the_order_of_a_plan() -> None:
    """place_stages returns the seconds of each stage and the gap before it, the first since the plan was requested."""
    placed = place_stages(BEGIN, {"study": stage(9.5, 10), "training": stage(1, 5), "extraction": stage(5.25, 9)})
    assert placed == {
        "training": {"wall_s": 4.0, "gap_s": 1.0},
        "extraction": {"wall_s": 3.75, "gap_s": 0.25},
        "study": {"wall_s": 0.5, "gap_s": 0.5},
    }


def test_overhead_is_the_wall_time_over_the_floor() -> None:
    """Overhead is (wall - compute) / compute. Stages, gaps and the time until the end was seen add up to the wall
    time."""
    found = summarise([pair(100.0, 104.0)])
    assert (found["compute_s"], found["wall_s"], found["overhead"]) == (100.0, 104.0, 0.04)
    parts = sum(one["wall_s"] + one["gap_s"] for one in found["stages"].values())
    assert parts + found["seen_s"] == pytest.approx(104.0, abs=0.005)
    assert found["stages"]["training"] == {"compute_s": 50.0, "wall_s": 51.25, "gap_s": 0.25}
    assert found["same_results"]


def test_medians_count_over_several_runs() -> None:
    """One slow run among three changes neither figure. The overhead of each run is reported too."""
    found = summarise([pair(100.0, 105.0), pair(101.0, 300.0), pair(102.0, 106.0)])
    assert (found["compute_s"], found["wall_s"]) == (101.0, 106.0)
    assert found["overhead"] == round(5 / 101, 4)
    assert found["overheads"] == [0.05, round(199 / 101, 4), round(4 / 102, 4)]


def test_different_results_are_reported() -> None:
    """same_results is false if the plan's results differ from the floor's: the overhead then means nothing."""
    assert not summarise([pair(100.0, 104.0, RESULTS.model_copy(update={"pictures": 9}))])["same_results"]


def test_the_wait_for_a_busy_machine_is_bounded_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """await_quiet returns the share of busy ticks once it is small, or at the deadline."""
    monkeypatch.setattr(machine, "WATCH_S", 0.0)
    readings = iter([(0, 0), (90, 200), (100, 400), (104, 600)])
    monkeypatch.setattr(machine, "_cpu_times", lambda: next(readings))
    assert await_quiet() == 0.02
    monkeypatch.setattr(machine, "QUIET_LIMIT_S", -1.0)
    monkeypatch.setattr(machine, "_cpu_times", iter([(0, 0), (90, 200)]).__next__)
    assert await_quiet() == 0.45


def test_the_machine_is_described() -> None:
    """machine_facts names the processor, its cores and the versions."""
    facts = machine_facts()
    assert facts["cpu"]
    assert facts["cores"] >= 1
    assert set(facts) == {"cpu", "cores", "load", "system", "python", "version"}
