"""The use cases of analyses."""

from pathlib import Path
from typing import Any

import pytest
from primitives.activation_extraction.v1 import events_pb2

from services.activation_extraction import merge_progress
from services.activation_extraction.analyses.job import merge_analysis
from services.activation_extraction.analyses.schemas import TableQuery
from services.activation_extraction.analyses.settings import DissectionSettings
from services.activation_extraction.analyses.specs import MergeSpec
from services.activation_extraction.tables import ExtractionRow
from services.common.blobs import ObjectRef
from services.common.errors import Conflict, InvalidInput, JobStopped, NotFound
from services.common.work.replays import EVENT_SENT
from tests.fakes.data import RecordingJob
from tests.unit.activation_extraction.analyses.extracted import SETTINGS, Analysis, Extracted


def test_pieces_in_any_order_lead_to_one_result(analysis: Analysis) -> None:
    """Each piece is computed once, however often it is enqueued. The last piece enqueues the merge, and there is one
    event."""
    commands = analysis.begin()
    assert [command.piece for command in commands] == [0, 1, 2, 3]
    merges = []
    for number in (2, 0, 2, 3, 1, 1):
        analysis.analyses.analyse_piece(commands[number])
        merges += analysis.sent()
    [merge] = merges
    analysis.analyses.merge_pieces(merge)
    analysis.analyses.merge_pieces(merge)
    [event] = analysis.sent()
    assert (event.kind, event.extraction_id, event.plan_id) == ("dissection", "extraction-1", "")
    assert [name for name, _ in analysis.runner.calls] == ["analyse_piece"] * 4 + ["merge_analysis"]
    view = analysis.queries.get(event.analysis_id)
    assert (view.state, view.layers, view.pieces_done, view.settings["tail"]) == (
        "completed", ["layer3", "layer4"], 4, 0.05,
    )  # fmt: skip


def test_a_merge_reports_within_a_layer(analysis: Analysis, monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge repeats its newest progress while it reads states and works on a layer. It reports only once at the
    beginning and once per layer if all that takes less than HEARTBEAT_S."""
    for command in analysis.begin():
        analysis.analyses.analyse_piece(command)
    [merge] = analysis.sent()
    quick, long = RecordingJob(), RecordingJob()

    def answer(spec: MergeSpec) -> ObjectRef:
        monkeypatch.setattr(merge_progress, "HEARTBEAT_S", 3600.0)
        merge_analysis(quick, spec)
        monkeypatch.setattr(merge_progress, "HEARTBEAT_S", 0.0)
        return merge_analysis(long, spec)

    analysis.runner.answers["merge_analysis"] = answer
    analysis.analyses.merge_pieces(merge)
    assert quick.done == [0, 1, 2]
    states, phenomena = 4, 2
    assert long.done == [0] * (states + phenomena) + [1] * (1 + phenomena) + [2]


def test_a_table_is_returned_in_parts(analysis: Analysis) -> None:
    """table returns the requested rows, with the names of their units. NotFound names the layers that exist."""
    analysis_id = analysis.complete().analysis_id
    full = analysis.queries.table(analysis_id, "layer4", TableQuery(limit=1000))
    units = analysis.manifest.layers[1].units
    assert (len(full.rows), full.total) == (2 * units, 2 * units)
    assert {row["phenomenon"] for row in full.rows} == {"mass", "vessel"}
    part = analysis.queries.table(analysis_id, "layer4", TableQuery(offset=3, limit=2))
    assert part.rows == full.rows[3:5]
    assert [(row["unit"], row["name"]) for row in part.rows] == [(1, "unit_0002"), (2, "unit_0003")]
    assert analysis.queries.table(analysis_id, "layer4", TableQuery(offset=10_000)).rows == []
    with pytest.raises(NotFound, match="has no layer 'layer9'; it has layer3, layer4"):
        analysis.queries.table(analysis_id, "layer9", TableQuery())


def test_only_a_completed_extraction_is_analysed(analysis: Analysis) -> None:
    """start raises Conflict for an unfinished extraction, and NotFound for an unknown one."""
    with analysis.ports.records.transaction() as session:
        row = session.get_one(ExtractionRow, "extraction-1")
        row.state, row.manifest = "running", None
    with pytest.raises(Conflict, match="extraction-1 is running; only a completed one can be analysed"):
        analysis.begin()
    with pytest.raises(NotFound, match="no extraction 'none'"):
        analysis.analyses.start("none", SETTINGS)
    with pytest.raises(NotFound, match="no extraction 'none'"):
        analysis.queries.of("none")


def test_a_data_set_without_outlines_is_refused(tmp_path: Path, without_outlines: Extracted) -> None:
    """start raises InvalidInput and records nothing."""
    analysis = Analysis(tmp_path, without_outlines)
    with pytest.raises(InvalidInput, match="has outlines"):
        analysis.begin()
    assert (analysis.queries.of("extraction-1").analyses, analysis.sent()) == ([], [])


def test_a_plan_starts_its_analyses_once(analysis: Analysis) -> None:
    """ExtractionCompleted starts each kind of its plan once, with default settings. Without a plan it starts none."""
    analysis.analyses.extraction_completed(events_pb2.ExtractionCompleted(extraction_id="extraction-1"))
    assert analysis.sent() == []
    for _ in range(2):
        analysis.analyses.extraction_completed(analysis.event("dissection", "dissection"))
    assert [command.piece for command in analysis.sent()] == [0, 1, 2, 3]
    [view] = analysis.queries.of("extraction-1").analyses
    assert (view.plan_id, view.kind, view.settings) == ("plan-1", "dissection", DissectionSettings().model_dump())


def test_a_plans_analysis_that_cannot_begin_is_recorded_as_failed(tmp_path: Path, without_outlines: Extracted) -> None:
    """The record and the event contain the reason, and the plan continues. The same holds for a parked event."""
    analysis = Analysis(tmp_path, without_outlines)
    analysis.analyses.extraction_completed(analysis.event("dissection", "divination"))
    analysis.analyses.plan_failed(analysis.event("dissection"), "later")
    published = {event.kind: event.error for event in analysis.sent()}
    views = {view.kind: view for view in analysis.queries.of("extraction-1").analyses}
    assert {kind: view.state for kind, view in views.items()} == {"dissection": "failed", "divination": "failed"}
    assert published == {kind: view.error for kind, view in views.items()}
    assert "has outlines" in published["dissection"]
    assert "no analysis of kind 'divination'" in published["divination"]


def test_a_parked_piece_fails_the_analysis(analysis: Analysis) -> None:
    """A parked command fails the analysis once, with its reason. Later commands do nothing."""
    commands = analysis.begin()
    analysis.analyses.command_parked(commands[1], "shard 1 is gone")
    analysis.analyses.command_parked(commands[2], "later")
    [event] = analysis.sent()
    assert (event.error, event.kind) == ("shard 1 is gone", "dissection")
    analysis.analyses.analyse_piece(commands[0])
    assert analysis.runner.calls == []


def test_a_replayed_piece_sends_the_missing_pieces(analysis: Analysis) -> None:
    """The analysis is queued again, and the pieces that are not done are sent."""
    commands = analysis.begin()
    analysis.analyses.analyse_piece(commands[0])
    analysis.analyses.command_parked(commands[1], "shard 1 is gone")
    analysis.sent()
    assert not analysis.analyses.command_replayed(commands[1]).needed
    assert analysis.sent() == commands[1:]


def test_a_replayed_event_begins_the_plans_analyses(analysis: Analysis) -> None:
    """Each analysis that could not begin begins. Those that have begun are left alone."""
    event = analysis.event("dissection", "influence")
    analysis.analyses.plan_failed(event, "later")
    replay = analysis.analyses.plan_replayed(event)
    assert replay.needed and replay.effect.count("It could not begin before: later") == 2
    analysis.sent()
    analysis.analyses.extraction_completed(event)
    assert {view.state for view in analysis.queries.of("extraction-1").analyses} == {"queued"}
    assert analysis.analyses.plan_replayed(event) is EVENT_SENT


def test_a_paused_analysis_resumes_with_the_missing_pieces(analysis: Analysis) -> None:
    """Finished pieces are kept, a resume enqueues the others, and the result has the same rows."""
    expected = analysis.complete()
    commands = analysis.begin()
    analysis_id = commands[0].analysis_id

    def pause_meanwhile(_: Any) -> Any:
        analysis.analyses.act("pause", analysis_id)
        raise JobStopped("requested")

    answer = analysis.runner.answers["analyse_piece"]
    analysis.analyses.analyse_piece(commands[1])
    analysis.runner.answers["analyse_piece"] = pause_meanwhile
    analysis.analyses.analyse_piece(commands[0])
    analysis.analyses.analyse_piece(commands[2])
    assert analysis.state(analysis_id) == "paused"
    analysis.runner.answers["analyse_piece"] = answer
    analysis.analyses.act("resume", analysis_id)
    again = analysis.sent()
    assert [command.piece for command in again] == [0, 2, 3]
    for command in again:
        analysis.analyses.analyse_piece(command)
    [merge] = analysis.sent()
    analysis.analyses.merge_pieces(merge)
    [event] = analysis.sent()
    for layer in ("layer3", "layer4"):
        tables = [
            analysis.queries.table(one, layer, TableQuery(limit=1000)).rows
            for one in (expected.analysis_id, event.analysis_id)
        ]
        assert tables[0] == tables[1]


def test_a_restart_enqueues_missing_pieces_or_the_merge(analysis: Analysis) -> None:
    """recover enqueues missing pieces, then the merge, then publishes the event again. A merge that comes too early
    does nothing."""
    commands = analysis.begin()
    analysis.analyses.analyse_piece(commands[0])
    analysis.analyses.merge_pieces(events_pb2.MergeAnalysis(analysis_id=commands[0].analysis_id))
    analysis.analyses.recover()
    again = analysis.sent()
    assert [command.piece for command in again] == [1, 2, 3]
    for command in again:
        analysis.analyses.analyse_piece(command)
    [merge] = analysis.sent()
    analysis.analyses.recover()
    assert analysis.sent() == [merge]
    analysis.analyses.merge_pieces(merge)
    [event] = analysis.sent()
    analysis.analyses.recover()
    assert analysis.sent() == [event]


def test_records_refer_to_pieces_and_then_to_results(analysis: Analysis) -> None:
    """An unfinished analysis refers to the states of its pieces, a completed one to its manifest and tables, and a
    cancelled one to nothing."""
    commands = analysis.begin()
    analysis_id = commands[0].analysis_id
    analysis.analyses.analyse_piece(commands[0])
    [piece] = analysis.referenced()
    assert piece.startswith(f"analyses/{analysis_id}/pieces/00000-")
    for command in commands[1:]:
        analysis.analyses.analyse_piece(command)
    [merge] = analysis.sent()
    analysis.analyses.merge_pieces(merge)
    names = sorted(key.removeprefix(f"analyses/{analysis_id}/").partition("-")[0] for key in analysis.referenced())
    assert names == ["layer3", "layer4", "manifest"]
    analysis.sent()
    other = analysis.begin()[0]
    analysis.analyses.analyse_piece(other)
    analysis.analyses.act("cancel", other.analysis_id)
    assert not any(key.startswith(f"analyses/{other.analysis_id}/") for key in analysis.referenced())
