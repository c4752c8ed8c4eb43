"""The bench of annotation: its rows, its readers, and the shape of its figures. Durations and memory are not tested."""

import json
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select
from typer.testing import CliRunner

from bench import annotation
from bench.annotation import Sizes, fill_records, settings_of
from bench.annotation_readers import LIST, Answers, BrowsingReader, percentiles
from bench.annotation_rows import Rows, store_pack
from bench.commands import bench_app
from deploy.local.servers import Server
from services.annotation.tables import ItemRow, ReadingRow, ResponseLogRow, ResponseRow, UnitRow
from services.common.blobs import open_blobs
from services.common.records import open_records
from tests.servers import fresh_database

TINY = Sizes(Rows(items=12, to_do=4, surveys=2, units=8, readers=4, groups=2), seconds=1.0, item_s=0.5, waits=False)


def test_the_rows_are_those_that_the_sizes_say(postgres: Server, tmp_path: Path) -> None:
    """Every unit has the same number of answers of different readers, and every reader has readings left to do."""
    shared, rows = settings_of(tmp_path, fresh_database(postgres)), TINY.rows
    fill_records(shared, rows, store_pack(open_blobs(shared.blobs())))
    records = open_records(shared.records("annotation"))
    with records.reading() as session:
        counts = {
            table: session.scalar(select(func.count()).select_from(table))
            for table in (UnitRow, ItemRow, ReadingRow, ResponseRow, ResponseLogRow)
        }
        states = dict(session.execute(select(ReadingRow.state, func.count()).group_by(ReadingRow.state)).all())
        of_unit = select(func.count()).select_from(ResponseRow).group_by(ResponseRow.study_id, ResponseRow.unit)
        readers_of_units = set(session.scalars(of_unit))
    records.close()
    assert counts == {UnitRow: 28, ItemRow: 12, ReadingRow: 40, ResponseRow: 32, ResponseLogRow: 32}
    assert states == {"answered": rows.readings, "waiting": rows.readers * rows.to_do}
    assert (rows.all_units, rows.readings, rows.responses, readers_of_units) == (28, 24, 32, {2})


def test_the_command_prints_all_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """`primitives bench annotation --quick --json` prints one JSON object as its last line: each page, as many
    statements with many rows as with few, no error, no lost answer, and every export."""
    monkeypatch.setattr(annotation, "QUICK", TINY)
    # It would bind the loggers of this process to the output of this command, which is closed afterwards.
    monkeypatch.setattr(annotation, "configure_logs", lambda *_: None)
    output = CliRunner().invoke(bench_app, ["annotation", "--quick", "--json"], catch_exceptions=False).output
    figures = json.loads(output.splitlines()[-1])
    assert (figures["errors"], figures["lost"], figures["messages"]) == (0, 0, [])
    assert figures["statements"] == figures["statements_of_few"]
    assert {"home", "reading list", "save a reading", "save a unit"} <= figures["statements"].keys()
    assert figures["list_p95_ms"] > 0 and figures["save_p95_ms"] > 0
    assert 0 < figures["items"] <= figures["items_due"]
    assert all(one["seconds"] >= 0 and one["mb"] > 0 for one in figures["exports"].values())


def test_errors_are_counted_and_not_timed() -> None:
    """A call without an answer and one with another code are errors with their text, and have no time."""
    answers = Answers()

    def refused() -> httpx.Response:
        raise httpx.ConnectError("refused")

    assert answers.timed(LIST, "home", refused, 200) is None
    assert answers.timed(LIST, "home", lambda: httpx.Response(500, text="planted"), 200) is None
    assert answers.timed(LIST, "home", lambda: httpx.Response(200), 200) is not None
    assert answers.errors == ["home: ConnectError('refused')", "home: 500 planted"]
    assert percentiles(answers.of_group(LIST))["calls"] == 1 and percentiles([]) == {"calls": 0}


def test_the_items_that_are_due() -> None:
    """A reader begins an item every `item_s` seconds, from a moment within the first interval."""
    due = {BrowsingReader(httpx.Client(), number, Answers()).due(60.0, 15.0) for number in range(20)}
    assert due == {4}
