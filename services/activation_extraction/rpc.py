"""The gRPC side of the activation extraction service: the same verbs as HTTP."""

from collections.abc import Iterator

import grpc
from primitives.activation_extraction.v1 import activation_extraction_pb2 as pb
from primitives.activation_extraction.v1 import activation_extraction_pb2_grpc

from services.activation_extraction.analyses.queries import AnalysisQueries
from services.activation_extraction.analyses.rpc import AnalysisMethods
from services.activation_extraction.analyses.workflow import Analyses
from services.activation_extraction.explanations.rpc import ExplanationMethods
from services.activation_extraction.explanations.workflow import Explanations
from services.activation_extraction.schemas import StartExtractionRequest, UnitsQuery
from services.activation_extraction.workflow.extractions import Extractions
from services.activation_extraction.workflow.queries import Queries
from services.activation_extraction.workflow.units import Units
from services.common.grpc import start_key, to_message, to_request
from services.common.grpc.task_methods import PlanMethods, TaskMethods
from services.common.http.streams import Streams
from services.common.paging import Window
from services.imaging.units import unit_channel


class ExtractionServicer(
    AnalysisMethods, ExplanationMethods, activation_extraction_pb2_grpc.ActivationExtractionServiceServicer
):
    """See proto/primitives/activation_extraction/v1/activation_extraction.proto."""

    def __init__(
        self,
        extractions: Extractions,
        queries: Queries,
        units: Units,
        analyses: Analyses,
        analysis_queries: AnalysisQueries,
        explanations: Explanations,
        streams: Streams,
    ) -> None:
        AnalysisMethods.__init__(self, analyses, analysis_queries, streams)
        ExplanationMethods.__init__(self, explanations, streams)
        self._extractions, self._queries, self._units = extractions, queries, units
        self._extraction = TaskMethods(pb.Extraction, queries.get, extractions.act, streams)
        self._plan = PlanMethods(queries.plan, extractions.act_on_plan, streams)

    def StartExtraction(
        self, request: pb.StartExtractionRequest, context: grpc.ServicerContext
    ) -> pb.StartExtractionResponse:
        extraction_id = self._extractions.start(to_request(request, StartExtractionRequest), start_key(context))
        return pb.StartExtractionResponse(extraction=self._extraction.get(extraction_id))

    def GetExtraction(self, request: pb.GetExtractionRequest, _: grpc.ServicerContext) -> pb.GetExtractionResponse:
        return pb.GetExtractionResponse(extraction=self._extraction.get(request.extraction_id))

    def ListExtractions(
        self, request: pb.ListExtractionsRequest, _: grpc.ServicerContext
    ) -> pb.ListExtractionsResponse:
        return to_message(self._queries.all(to_request(request, Window)), pb.ListExtractionsResponse)

    def PauseExtraction(
        self, request: pb.PauseExtractionRequest, _: grpc.ServicerContext
    ) -> pb.PauseExtractionResponse:
        return pb.PauseExtractionResponse(extraction=self._extraction.act("pause", request.extraction_id))

    def ResumeExtraction(
        self, request: pb.ResumeExtractionRequest, _: grpc.ServicerContext
    ) -> pb.ResumeExtractionResponse:
        return pb.ResumeExtractionResponse(extraction=self._extraction.act("resume", request.extraction_id))

    def CancelExtraction(
        self, request: pb.CancelExtractionRequest, _: grpc.ServicerContext
    ) -> pb.CancelExtractionResponse:
        return pb.CancelExtractionResponse(extraction=self._extraction.act("cancel", request.extraction_id))

    def WatchExtraction(
        self, request: pb.WatchExtractionRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchExtractionResponse]:
        for extraction in self._extraction.watch(context, request.extraction_id):
            yield pb.WatchExtractionResponse(extraction=extraction)

    def ListUnits(self, request: pb.ListUnitsRequest, _: grpc.ServicerContext) -> pb.ListUnitsResponse:
        query = to_request(request, UnitsQuery)
        return to_message(self._units.query(request.extraction_id, request.layer, query), pb.ListUnitsResponse)

    def GetUnit(self, request: pb.GetUnitRequest, _: grpc.ServicerContext) -> pb.GetUnitResponse:
        channel = unit_channel(request.unit_name or request.unit)
        unit = self._units.get(request.extraction_id, request.layer, channel)
        return pb.GetUnitResponse(unit=to_message(unit, pb.Unit))

    def GetPlan(self, request: pb.GetPlanRequest, _: grpc.ServicerContext) -> pb.GetPlanResponse:
        return self._plan.get(request.plan_id, pb.GetPlanResponse)

    def PausePlan(self, request: pb.PausePlanRequest, _: grpc.ServicerContext) -> pb.PausePlanResponse:
        return self._plan.act("pause", request.plan_id, pb.PausePlanResponse)

    def ResumePlan(self, request: pb.ResumePlanRequest, _: grpc.ServicerContext) -> pb.ResumePlanResponse:
        return self._plan.act("resume", request.plan_id, pb.ResumePlanResponse)

    def CancelPlan(self, request: pb.CancelPlanRequest, _: grpc.ServicerContext) -> pb.CancelPlanResponse:
        return self._plan.act("cancel", request.plan_id, pb.CancelPlanResponse)

    def WatchPlan(self, request: pb.WatchPlanRequest, context: grpc.ServicerContext) -> Iterator[pb.WatchPlanResponse]:
        yield from self._plan.watch(context, request.plan_id, pb.WatchPlanResponse)
