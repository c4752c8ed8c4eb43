"""The bench of lists: its rows and calls, and the shape of its figures. Durations are not tested."""

import json
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from bench import lists
from bench.commands import bench_app
from bench.lists import Sizes, bench_lists, fill
from services.annotation.tables import Base, ResponseRow
from tests.fakes.ports import World

TINY = Sizes(studies=20, layers=2, units=6, answers=200, readers=2, rounds=2)


def test_answers_are_spread_evenly(tmp_path: Path) -> None:
    """Every reader answers the same number of units of every study."""
    world = World(tmp_path, Base.metadata)
    fill(world.ports.records, Sizes(studies=5, layers=2, units=4, answers=80, readers=2, rounds=1))
    with world.ports.records.reading() as session:
        rows = session.execute(select(ResponseRow.reader_id, ResponseRow.study_id))
        answers = Counter((reader_id, study_id) for reader_id, study_id in rows)
    assert set(answers.values()) == {8}
    assert len(answers) == 10


def test_the_figures_of_every_call() -> None:
    """Every call has its durations, their growth, and as many statements with many rows as with few."""
    figures = bench_lists(TINY)
    assert (figures["bench"], figures["answers"]) == ("lists", 200)
    assert {"list", "home page", "summary", "page of the summary", "list, gRPC"} <= figures["calls"].keys()
    for name, call in figures["calls"].items():
        assert 0 < call["p50_ms"] <= call["max_ms"], name
        assert call["statements"] == call["statements_of_tenth"] > 0, name


def test_the_command_prints_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """`primitives bench lists --quick --json` prints one JSON object as its last line."""
    monkeypatch.setattr(lists, "QUICK", TINY)
    output = CliRunner().invoke(bench_app, ["lists", "--quick", "--json"], catch_exceptions=False).output
    assert json.loads(output.splitlines()[-1])["studies"] == 20
