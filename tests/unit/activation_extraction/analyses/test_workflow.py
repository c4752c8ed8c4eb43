"""The use cases of analyses."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
from primitives.activation_extraction.v1 import analysis_pb2 as pb
from primitives.activation_extraction.v1 import events_pb2
from primitives.common.v1 import object_pb2, plan_pb2
from pydantic import TypeAdapter, ValidationError

from services.activation_extraction import merge_progress
from services.activation_extraction.analyses.dissection import DissectionSettings
from services.activation_extraction.analyses.job import analyse_piece, merge_analysis
from services.activation_extraction.analyses.kinds import KINDS
from services.activation_extraction.analyses.queries import AnalysisQueries
from services.activation_extraction.analyses.rpc import AnalysisMethods
from services.activation_extraction.analyses.schemas import TableQuery
from services.activation_extraction.analyses.settings import AnalysisSettings
from services.activation_extraction.analyses.specs import MergeSpec
from services.activation_extraction.analyses.workflow import Analyses
from services.activation_extraction.references import collect_references
from services.activation_extraction.settings import ExtractionSettings
from services.activation_extraction.tables import AnalysisRow, Base, ExtractionRow
from services.common.blobs import FolderBlobs, ObjectRef
from services.common.errors import Conflict, InvalidInput, JobStopped, NotFound
from services.common.grpc import to_message
from services.common.http.streams import Streams
from services.common.objects.references import References
from services.common.work.plan_options import AnalysisKind
from services.imaging.manifests import ExtractionManifest
from tests.fakes.data import RecordingJob, SilentJob
from tests.fakes.outlined import extract_outlined, store_outlined
from tests.fakes.ports import FakeRunner, World

SETTINGS = DissectionSettings(tail=0.05)


@dataclass(frozen=True)
class Extracted:
    """A folder of blobs with a completed extraction."""

    folder: Path
    manifest: ExtractionManifest
    ref: ObjectRef

    @classmethod
    def make(cls, folder: Path, outlined: bool) -> "Extracted":
        """Extract a data set of four shards."""
        blobs = FolderBlobs(folder / "blobs")
        data, dataset = store_outlined(blobs, shard_patches=3, outlined=outlined)
        return cls(folder / "blobs", *extract_outlined(blobs, folder, data, dataset))


class Analysis(World):
    """The use cases, over a completed extraction. Jobs run in this process instead of a child."""

    def __init__(self, folder: Path, extracted: Extracted) -> None:
        shutil.copytree(extracted.folder, folder / "blobs")
        super().__init__(folder, Base.metadata)
        self.runner = FakeRunner()
        self.analyses = Analyses(self.ports, self.runner, ExtractionSettings())  # type: ignore[arg-type]
        self.queries = AnalysisQueries(self.ports)
        self.manifest, self.ref = extracted.manifest, extracted.ref
        row = ExtractionRow(
            extraction_id="extraction-1", run_id="run-1", dataset=self.manifest.dataset,
            checkpoint=self.manifest.network.checkpoint, split="val", layers=["layer3", "layer4"], top_k=4,
            batch_size=5, shards=4, patches=12, state="completed", manifest=self.ref,
        )  # fmt: skip
        with self.ports.records.transaction() as session:
            session.add(row)
        self.runner.answers["analyse_piece"] = lambda spec: analyse_piece(SilentJob(), spec)
        self.runner.answers["merge_analysis"] = lambda spec: merge_analysis(SilentJob(), spec)

    def begin(self) -> list[Any]:
        """Start an analysis, and return the commands that follow."""
        self.analyses.start("extraction-1", SETTINGS)
        return self.sent()

    def complete(self) -> events_pb2.AnalysisCompleted:
        """Perform a complete analysis, and return its event."""
        for command in self.begin():
            self.analyses.analyse_piece(command)
        [merge] = self.sent()
        self.analyses.merge_pieces(merge)
        [event] = self.sent()
        assert isinstance(event, events_pb2.AnalysisCompleted)
        return event

    def event(self, *kinds: str) -> events_pb2.ExtractionCompleted:
        """The event that the extraction of a plan with these analyses is completed."""
        return events_pb2.ExtractionCompleted(
            extraction_id="extraction-1",
            plan=plan_pb2.Plan(plan_id="plan-1", extraction=plan_pb2.PlanExtraction(analyses=kinds)),
            manifest=to_message(self.ref, object_pb2.ObjectRef),
        )

    def state(self, analysis_id: str) -> str:
        return self.queries.get(analysis_id).state

    def referenced(self) -> set[str]:
        """The keys below analyses/ to which the records refer."""
        found = References(self.blobs)
        collect_references(self.ports.records, found)
        assert not found.incomplete
        return {one.key for one in found.objects if one.key.startswith("analyses/")}


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Extracted:
    return Extracted.make(tmp_path_factory.mktemp("outlined"), outlined=True)


@pytest.fixture(scope="module")
def without_outlines(tmp_path_factory: pytest.TempPathFactory) -> Extracted:
    return Extracted.make(tmp_path_factory.mktemp("bare"), outlined=False)


@pytest.fixture
def analysis(tmp_path: Path, extracted: Extracted) -> Analysis:
    return Analysis(tmp_path, extracted)


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


@pytest.mark.parametrize("kind", KINDS)
def test_a_setting_that_a_kind_lacks_is_refused(kind: str) -> None:
    """A misspelt setting raises an error that names it, instead of being ignored."""
    TypeAdapter(AnalysisSettings).validate_python({"kind": kind})
    with pytest.raises(ValidationError, match="tial"):
        TypeAdapter(AnalysisSettings).validate_python({"kind": kind, "tial": 0.01})


def test_grpc_starts_lists_and_acts(analysis: Analysis) -> None:
    """The field of the settings determines the kind. Each verb returns the new state. Rows are structs."""
    methods = AnalysisMethods(analysis.analyses, analysis.queries, Streams())
    with pytest.raises(InvalidInput, match="settings of one kind of analysis are required"):
        methods.StartAnalysis(pb.StartAnalysisRequest(extraction_id="extraction-1"), None)  # type: ignore[arg-type]
    options = pb.StartAnalysisRequest(extraction_id="extraction-1", dissection=pb.DissectionSettings(tail=0.02))
    with pytest.raises(InvalidInput, match="tail"):
        methods.StartAnalysis(options, None)  # type: ignore[arg-type]
    options.dissection.tail = 0.05
    started = methods.StartAnalysis(options, None).analysis  # type: ignore[arg-type]
    assert (started.kind, started.settings["tail"], started.settings["over"]) == ("dissection", 0.05, "outlined")
    for verb, state in (("Pause", "paused"), ("Resume", "queued"), ("Cancel", "cancelled")):
        request = getattr(pb, f"{verb}AnalysisRequest")(analysis_id=started.analysis_id)
        assert getattr(methods, f"{verb}Analysis")(request, None).analysis.state == state
    listed = methods.ListAnalyses(pb.ListAnalysesRequest(extraction_id="extraction-1"), None)  # type: ignore[arg-type]
    assert [one.analysis_id for one in listed.analyses] == [started.analysis_id]
    analysis.sent()
    done = pb.GetAnalysisTableRequest(analysis_id=analysis.complete().analysis_id, layer="layer4", limit=1)
    answer = methods.GetAnalysisTable(done, None)  # type: ignore[arg-type]
    row = answer.rows[0]
    assert (row["unit"], row["name"], row["phenomenon"]) == (0, "unit_0001", "mass")


@pytest.mark.parametrize(
    ("options", "units"),
    [
        (pb.StartAnalysisRequest(influence=pb.InfluenceSettings(scale=2, layers=["layer4"])), None),
        (pb.StartAnalysisRequest(gradient=pb.GradientSettings(patches=8, seed=1, batch_size=3)), None),
        (pb.StartAnalysisRequest(ablation=pb.AblationSettings(patches=0, units=[3, 5])), {3, 5}),
    ],
)
def test_rankings_are_analyses(analysis: Analysis, options: pb.StartAnalysisRequest, units: set[int] | None) -> None:
    """Each kind of ranking, with the settings of the request, has a rank for every unit and class. Only ablation has no
    counts."""
    methods = AnalysisMethods(analysis.analyses, analysis.queries, Streams())
    options.extraction_id = "extraction-1"
    started = methods.StartAnalysis(options, None).analysis  # type: ignore[arg-type]
    for command in analysis.sent():
        analysis.analyses.analyse_piece(command)
    [merge] = analysis.sent()
    analysis.analyses.merge_pieces(merge)
    view = analysis.queries.get(started.analysis_id)
    assert view.layers == (list(options.influence.layers) or ["layer3", "layer4"])
    for layer in view.layers:
        rows = analysis.queries.table(started.analysis_id, layer, TableQuery(limit=1000)).rows
        expected = units or set(range(analysis.manifest.layers[-1 if layer == "layer4" else 0].units))
        for label in range(2):
            mine = [row for row in rows if row["label"] == label]
            assert [row["rank"] for row in mine] == list(range(1, len(expected) + 1))
            assert {row["unit"] for row in mine} == expected
        assert all((row["count"] is None) == (view.kind == "ablation") for row in rows)


def test_a_kind_has_the_same_name_everywhere() -> None:
    """Plans, requests, settings and the column all use the name of every kind."""
    assert list(get_args(AnalysisKind)) == list(KINDS)
    assert [field.name for field in pb.StartAnalysisRequest.DESCRIPTOR.oneofs_by_name["settings"].fields] == list(KINDS)
    length = AnalysisRow.__table__.columns["kind"].type.length  # type: ignore[attr-defined]
    for name, kind in KINDS.items():
        assert kind.name == name and len(name) <= length
        assert kind.settings().model_dump()["kind"] == name
