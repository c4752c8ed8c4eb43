"""The gRPC side of analyses: the same verbs as HTTP."""

from collections.abc import Iterator

import grpc
from google.protobuf import json_format
from primitives.activation_extraction.v1 import analysis_pb2 as pb
from pydantic import ValidationError

from services.activation_extraction.analyses.queries import AnalysisQueries
from services.activation_extraction.analyses.schemas import TableQuery
from services.activation_extraction.analyses.settings import AnalysisSettings
from services.activation_extraction.analyses.workflow import SETTINGS, Analyses
from services.common.errors import InvalidInput, describe_faults
from services.common.grpc import start_key, to_message, to_request
from services.common.grpc.task_methods import TaskMethods
from services.common.http.streams import Streams
from services.common.paging import Window


class AnalysisMethods:
    """The part of the servicer that analyses; see proto/primitives/activation_extraction/v1/analysis.proto."""

    def __init__(self, analyses: Analyses, queries: AnalysisQueries, streams: Streams) -> None:
        self._analyses, self._analysis_queries = analyses, queries
        self._analysis = TaskMethods(pb.Analysis, queries.get, analyses.act, streams)

    def StartAnalysis(
        self, request: pb.StartAnalysisRequest, context: grpc.ServicerContext
    ) -> pb.StartAnalysisResponse:
        analysis_id = self._analyses.start(request.extraction_id, _settings_of(request), start_key(context))
        return pb.StartAnalysisResponse(analysis=self._analysis.get(analysis_id))

    def GetAnalysis(self, request: pb.GetAnalysisRequest, _: grpc.ServicerContext) -> pb.GetAnalysisResponse:
        return pb.GetAnalysisResponse(analysis=self._analysis.get(request.analysis_id))

    def ListAnalyses(self, request: pb.ListAnalysesRequest, _: grpc.ServicerContext) -> pb.ListAnalysesResponse:
        found = self._analysis_queries.of(request.extraction_id, to_request(request, Window))
        return to_message(found, pb.ListAnalysesResponse)

    def PauseAnalysis(self, request: pb.PauseAnalysisRequest, _: grpc.ServicerContext) -> pb.PauseAnalysisResponse:
        return pb.PauseAnalysisResponse(analysis=self._analysis.act("pause", request.analysis_id))

    def ResumeAnalysis(self, request: pb.ResumeAnalysisRequest, _: grpc.ServicerContext) -> pb.ResumeAnalysisResponse:
        return pb.ResumeAnalysisResponse(analysis=self._analysis.act("resume", request.analysis_id))

    def CancelAnalysis(self, request: pb.CancelAnalysisRequest, _: grpc.ServicerContext) -> pb.CancelAnalysisResponse:
        return pb.CancelAnalysisResponse(analysis=self._analysis.act("cancel", request.analysis_id))

    def WatchAnalysis(
        self, request: pb.WatchAnalysisRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchAnalysisResponse]:
        for analysis in self._analysis.watch(context, request.analysis_id):
            yield pb.WatchAnalysisResponse(analysis=analysis)

    def GetAnalysisTable(
        self, request: pb.GetAnalysisTableRequest, _: grpc.ServicerContext
    ) -> pb.GetAnalysisTableResponse:
        query = to_request(request, TableQuery)
        table = self._analysis_queries.table(request.analysis_id, request.layer, query)
        return to_message(table, pb.GetAnalysisTableResponse)


def _settings_of(request: pb.StartAnalysisRequest) -> AnalysisSettings:
    """The settings in a request. The name of the field is their kind. InvalidInput if there are none."""
    kind = request.WhichOneof("settings")
    if kind is None:
        raise InvalidInput("settings: the settings of one kind of analysis are required")
    content = json_format.MessageToDict(getattr(request, kind), preserving_proto_field_name=True)
    try:
        return SETTINGS.validate_python(content | {"kind": kind})
    except ValidationError as error:
        raise InvalidInput(describe_faults(error.errors())) from error
