"""The arithmetic of the bench of plans."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bench import machine
from bench.machine import await_quiet, machine_facts
from bench.plan import place_stages, summarise

BEGIN = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
RESULTS = {"val_loss": [0.5], "pictures": 8, "units": 4}


def stage(started_s: float, finished_s: float) -> dict[str, Any]:
    """A stage as a service tells of it, by seconds since the plan was asked for."""
    moments = (BEGIN + timedelta(seconds=seconds) for seconds in (started_s, finished_s))
    return dict(zip(("started", "finished"), (moment.isoformat() for moment in moments), strict=True))


def pair(compute_s: float, wall_s: float, results: dict[str, Any] = RESULTS) -> tuple[dict[str, Any], dict[str, Any]]:
    """A floor and a plan of two stages; half of each is training, and one second of the plan is a gap."""
    half = (wall_s - 1.5) / 2
    stages = {"training": stage(0.25, 0.25 + half), "study": stage(1.0 + half, 1.0 + 2 * half)}
    floor = {"seconds": {"training": compute_s / 2, "study": compute_s / 2}, "results": RESULTS}
    return floor, {"wall_s": wall_s, "stages": place_stages(BEGIN, stages), "results": results}


def test_stages_are_placed_in_the_order_of_a_plan() -> None:
    """Each has its seconds, and the gap since the one before ended, the first since the plan was asked for."""
    placed = place_stages(BEGIN, {"study": stage(9.5, 10), "training": stage(1, 5), "extraction": stage(5.25, 9)})
    assert placed == {
        "training": {"wall_s": 4.0, "gap_s": 1.0},
        "extraction": {"wall_s": 3.75, "gap_s": 0.25},
        "study": {"wall_s": 0.5, "gap_s": 0.5},
    }


def test_overhead_is_the_wall_time_over_the_floor() -> None:
    """(wall - compute) / compute; stages, gaps and the time until the end was seen add up to the wall time."""
    found = summarise([pair(100.0, 104.0)])
    assert (found["compute_s"], found["wall_s"], found["overhead"]) == (100.0, 104.0, 0.04)
    parts = sum(one["wall_s"] + one["gap_s"] for one in found["stages"].values())
    assert parts + found["seen_s"] == pytest.approx(104.0, abs=0.005)
    assert found["stages"]["training"] == {"compute_s": 50.0, "wall_s": 51.25, "gap_s": 0.25}
    assert found["same_results"]


def test_of_several_runs_the_medians_count() -> None:
    """One slow run among three changes neither figure; the overhead of each run is told beside them."""
    found = summarise([pair(100.0, 105.0), pair(101.0, 300.0), pair(102.0, 106.0)])
    assert (found["compute_s"], found["wall_s"]) == (101.0, 106.0)
    assert found["overhead"] == round(5 / 101, 4)
    assert found["overheads"] == [0.05, round(199 / 101, 4), round(4 / 102, 4)]


def test_another_result_is_told() -> None:
    """A plan that came to something else than its floor did other work: its overhead means nothing."""
    assert not summarise([pair(100.0, 104.0, RESULTS | {"pictures": 9})])["same_results"]


def test_a_machine_that_stays_busy_is_waited_for_so_long_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The share of busy ticks between two looks is returned, at once when it is small, else at the deadline."""
    monkeypatch.setattr(machine, "WATCH_S", 0.0)
    looks = iter([(0, 0), (90, 200), (100, 400), (104, 600)])
    monkeypatch.setattr(machine, "_cpu_times", lambda: next(looks))
    assert await_quiet() == 0.02
    monkeypatch.setattr(machine, "QUIET_LIMIT_S", -1.0)
    monkeypatch.setattr(machine, "_cpu_times", iter([(0, 0), (90, 200)]).__next__)
    assert await_quiet() == 0.45


def test_the_machine_has_a_name() -> None:
    """Figures come with the processor, its cores and the versions."""
    facts = machine_facts()
    assert facts["cpu"]
    assert facts["cores"] >= 1
    assert set(facts) == {"cpu", "cores", "load", "system", "python", "version"}
