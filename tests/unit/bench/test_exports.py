"""The bench of exports: its rows, and the shape of its figures. Durations and memory are not tested."""

import json
from pathlib import Path

import pytest
from sqlalchemy import inspect
from typer.testing import CliRunner

from bench import exports
from bench.commands import bench_app
from bench.exports import PATHS, RECORDS, Sizes, bench_exports
from services.common.records import open_records
from services.common.settings import Shared

TINY = Sizes(units=6, readers=3)


def test_the_figures_of_every_export(tmp_path: Path) -> None:
    """Every export has its time, size and memory, and no table is left behind."""
    shared = Shared(home=tmp_path)
    figures = bench_exports(shared, TINY)
    assert (figures["bench"], figures["records"], figures["readings"]) == ("exports", "sqlite", 18)
    assert figures["exports"].keys() == PATHS.keys()
    for name, one in figures["exports"].items():
        assert one["seconds"] >= 0 and one["mb"] > 0 and one["growth_mb"] >= 0 and one["before_mb"] > 0, name
    records = open_records(shared.records(RECORDS))
    assert inspect(records.engine).get_table_names() == []
    records.close()


def test_the_command_prints_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`primitives bench exports --quick --json` prints one JSON object as its last line."""
    monkeypatch.setattr(exports, "QUICK", TINY)
    monkeypatch.setenv("PRIMITIVES_HOME", str(tmp_path))
    output = CliRunner().invoke(bench_app, ["exports", "--quick", "--json"], catch_exceptions=False).output
    assert json.loads(output.splitlines()[-1])["responses"] == 18
