"""The gRPC side of analyses, and the kinds that it accepts."""

from typing import Any, get_args

import pytest
from primitives.activation_extraction.v1 import analysis_pb2 as pb
from pydantic import TypeAdapter, ValidationError

from services.activation_extraction.analyses.kinds import KINDS
from services.activation_extraction.analyses.rpc import AnalysisMethods
from services.activation_extraction.analyses.schemas import TableQuery
from services.activation_extraction.analyses.settings import AnalysisSettings, DissectionSettings, InfluenceSettings
from services.activation_extraction.tables import AnalysisRow
from services.common.errors import InvalidInput
from services.common.http.streams import Streams
from services.common.work.plan_options import AnalysisKind
from services.common.work.starts import CallKey
from tests.fakes.serving import DirectCall
from tests.unit.activation_extraction.analyses.extracted import Analysis


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
        methods.StartAnalysis(pb.StartAnalysisRequest(extraction_id="extraction-1"), DirectCall())  # type: ignore[arg-type]
    options = pb.StartAnalysisRequest(extraction_id="extraction-1", dissection=pb.DissectionSettings(tail=0.02))
    with pytest.raises(InvalidInput, match="tail"):
        methods.StartAnalysis(options, DirectCall())  # type: ignore[arg-type]
    options.dissection.tail = 0.05
    started = methods.StartAnalysis(options, DirectCall()).analysis  # type: ignore[arg-type]
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
    started = methods.StartAnalysis(options, DirectCall()).analysis  # type: ignore[arg-type]
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


def test_the_kind_of_an_analysis_is_a_part_of_the_request(analysis: Analysis) -> None:
    """The same key with the same settings finds the analysis, over gRPC and HTTP; another kind or another extraction is
    another request, although both kinds have only defaults."""
    methods = AnalysisMethods(analysis.analyses, analysis.queries, Streams())
    call: Any = DirectCall(idempotency_key="key-1")
    options = pb.StartAnalysisRequest(extraction_id="extraction-1", dissection=pb.DissectionSettings())
    first = methods.StartAnalysis(options, call).analysis.analysis_id
    assert methods.StartAnalysis(options, call).analysis.analysis_id == first
    key = CallKey.of("", "key-1")
    assert analysis.analyses.start("extraction-1", DissectionSettings(), key) == first
    for extraction_id, settings in (("extraction-1", InfluenceSettings()), ("extraction-2", DissectionSettings())):
        with pytest.raises(InvalidInput, match=f"key 'key-1' was sent before with another request, .*{first}"):
            analysis.analyses.start(extraction_id, settings, key)
