"""The gRPC side of analyses: the same verbs as HTTP."""

from collections.abc import Iterator

import grpc
from google.protobuf import json_format
from primitives.activation_extraction.v1 import analysis_pb2 as pb
from pydantic import TypeAdapter, ValidationError

from services.activation_extraction.analyses.kinds import AnalysisSettings
from services.activation_extraction.analyses.schemas import TableQuery
from services.activation_extraction.analyses.workflow import Analyses, AnalysisQueries
from services.common.errors import InvalidInput, describe_faults
from services.common.grpc import to_message, to_request
from services.common.http.streams import Streams
from services.common.work.tasks import Verb
from services.common.work.views import has_ended

SETTINGS: TypeAdapter[AnalysisSettings] = TypeAdapter(AnalysisSettings)


class AnalysisMethods:
    """The part of the servicer that analyses; see proto/primitives/activation_extraction/v1/analysis.proto."""

    def __init__(self, analyses: Analyses, queries: AnalysisQueries, streams: Streams) -> None:
        self._analyses, self._analysis_queries, self._analysis_streams = analyses, queries, streams

    def StartAnalysis(self, request: pb.StartAnalysisRequest, _: grpc.ServicerContext) -> pb.StartAnalysisResponse:
        analysis_id = self._analyses.start(request.extraction_id, _settings_of(request))
        return pb.StartAnalysisResponse(analysis=self._analysis(analysis_id))

    def GetAnalysis(self, request: pb.GetAnalysisRequest, _: grpc.ServicerContext) -> pb.GetAnalysisResponse:
        return pb.GetAnalysisResponse(analysis=self._analysis(request.analysis_id))

    def ListAnalyses(self, request: pb.ListAnalysesRequest, _: grpc.ServicerContext) -> pb.ListAnalysesResponse:
        return to_message(self._analysis_queries.of(request.extraction_id), pb.ListAnalysesResponse)

    def PauseAnalysis(self, request: pb.PauseAnalysisRequest, _: grpc.ServicerContext) -> pb.PauseAnalysisResponse:
        return pb.PauseAnalysisResponse(analysis=self._act_on_analysis("pause", request.analysis_id))

    def ResumeAnalysis(self, request: pb.ResumeAnalysisRequest, _: grpc.ServicerContext) -> pb.ResumeAnalysisResponse:
        return pb.ResumeAnalysisResponse(analysis=self._act_on_analysis("resume", request.analysis_id))

    def CancelAnalysis(self, request: pb.CancelAnalysisRequest, _: grpc.ServicerContext) -> pb.CancelAnalysisResponse:
        return pb.CancelAnalysisResponse(analysis=self._act_on_analysis("cancel", request.analysis_id))

    def WatchAnalysis(
        self, request: pb.WatchAnalysisRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchAnalysisResponse]:
        views = self._analysis_streams.views(
            context, lambda: self._analysis_queries.get(request.analysis_id), has_ended
        )
        for analysis in views:
            yield pb.WatchAnalysisResponse(analysis=to_message(analysis, pb.Analysis))

    def GetAnalysisTable(
        self, request: pb.GetAnalysisTableRequest, _: grpc.ServicerContext
    ) -> pb.GetAnalysisTableResponse:
        query = to_request(request, TableQuery)
        table = self._analysis_queries.table(request.analysis_id, request.layer, query)
        return to_message(table, pb.GetAnalysisTableResponse)

    def _analysis(self, analysis_id: str) -> pb.Analysis:
        return to_message(self._analysis_queries.get(analysis_id), pb.Analysis)

    def _act_on_analysis(self, verb: Verb, analysis_id: str) -> pb.Analysis:
        self._analyses.act(verb, analysis_id)
        return self._analysis(analysis_id)


def _settings_of(request: pb.StartAnalysisRequest) -> AnalysisSettings:
    """The settings that a request holds, whose name in it is their kind. InvalidInput where it holds none."""
    kind = request.WhichOneof("settings")
    if kind is None:
        raise InvalidInput("settings: give those of one kind of analysis")
    content = json_format.MessageToDict(getattr(request, kind), preserving_proto_field_name=True)
    try:
        return SETTINGS.validate_python(content | {"kind": kind})
    except ValidationError as error:
        raise InvalidInput(describe_faults(error.errors())) from error
