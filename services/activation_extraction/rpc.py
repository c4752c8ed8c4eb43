"""The gRPC side of the activation extraction service: the same verbs as HTTP."""

from collections.abc import Iterator

import grpc
from primitives.activation_extraction.v1 import activation_extraction_pb2 as pb
from primitives.activation_extraction.v1 import activation_extraction_pb2_grpc

from services.activation_extraction.analyses.rpc import AnalysisMethods
from services.activation_extraction.analyses.workflow import Analyses, AnalysisQueries
from services.activation_extraction.schemas import StartExtractionRequest, UnitsQuery
from services.activation_extraction.workflow.extractions import Extractions
from services.activation_extraction.workflow.queries import Queries
from services.activation_extraction.workflow.units import Units
from services.common.grpc import to_message, to_request
from services.common.http.streams import Streams
from services.common.work.tasks import Verb
from services.common.work.views import PlanStages, has_ended


class ExtractionServicer(AnalysisMethods, activation_extraction_pb2_grpc.ActivationExtractionServiceServicer):
    """See proto/primitives/activation_extraction/v1/activation_extraction.proto."""

    def __init__(
        self,
        extractions: Extractions,
        queries: Queries,
        units: Units,
        analyses: Analyses,
        analysis_queries: AnalysisQueries,
        streams: Streams,
    ) -> None:
        AnalysisMethods.__init__(self, analyses, analysis_queries, streams)
        self._extractions, self._queries, self._units, self._streams = extractions, queries, units, streams

    def StartExtraction(
        self, request: pb.StartExtractionRequest, _: grpc.ServicerContext
    ) -> pb.StartExtractionResponse:
        extraction_id = self._extractions.start(to_request(request, StartExtractionRequest))
        return pb.StartExtractionResponse(extraction=self._extraction(extraction_id))

    def GetExtraction(self, request: pb.GetExtractionRequest, _: grpc.ServicerContext) -> pb.GetExtractionResponse:
        return pb.GetExtractionResponse(extraction=self._extraction(request.extraction_id))

    def ListExtractions(self, _: pb.ListExtractionsRequest, __: grpc.ServicerContext) -> pb.ListExtractionsResponse:
        return to_message(self._queries.all(), pb.ListExtractionsResponse)

    def PauseExtraction(
        self, request: pb.PauseExtractionRequest, _: grpc.ServicerContext
    ) -> pb.PauseExtractionResponse:
        return pb.PauseExtractionResponse(extraction=self._act("pause", request.extraction_id))

    def ResumeExtraction(
        self, request: pb.ResumeExtractionRequest, _: grpc.ServicerContext
    ) -> pb.ResumeExtractionResponse:
        return pb.ResumeExtractionResponse(extraction=self._act("resume", request.extraction_id))

    def CancelExtraction(
        self, request: pb.CancelExtractionRequest, _: grpc.ServicerContext
    ) -> pb.CancelExtractionResponse:
        return pb.CancelExtractionResponse(extraction=self._act("cancel", request.extraction_id))

    def WatchExtraction(
        self, request: pb.WatchExtractionRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchExtractionResponse]:
        for extraction in self._streams.views(context, lambda: self._queries.get(request.extraction_id), has_ended):
            yield pb.WatchExtractionResponse(extraction=to_message(extraction, pb.Extraction))

    def ListUnits(self, request: pb.ListUnitsRequest, _: grpc.ServicerContext) -> pb.ListUnitsResponse:
        query = to_request(request, UnitsQuery)
        return to_message(self._units.part(request.extraction_id, request.layer, query), pb.ListUnitsResponse)

    def GetUnit(self, request: pb.GetUnitRequest, _: grpc.ServicerContext) -> pb.GetUnitResponse:
        unit = self._units.get(request.extraction_id, request.layer, request.unit)
        return pb.GetUnitResponse(unit=to_message(unit, pb.Unit))

    def GetPlan(self, request: pb.GetPlanRequest, _: grpc.ServicerContext) -> pb.GetPlanResponse:
        return to_message(self._queries.plan(request.plan_id), pb.GetPlanResponse)

    def PausePlan(self, request: pb.PausePlanRequest, _: grpc.ServicerContext) -> pb.PausePlanResponse:
        return to_message(self._act_on_plan("pause", request.plan_id), pb.PausePlanResponse)

    def ResumePlan(self, request: pb.ResumePlanRequest, _: grpc.ServicerContext) -> pb.ResumePlanResponse:
        return to_message(self._act_on_plan("resume", request.plan_id), pb.ResumePlanResponse)

    def CancelPlan(self, request: pb.CancelPlanRequest, _: grpc.ServicerContext) -> pb.CancelPlanResponse:
        return to_message(self._act_on_plan("cancel", request.plan_id), pb.CancelPlanResponse)

    def WatchPlan(self, request: pb.WatchPlanRequest, context: grpc.ServicerContext) -> Iterator[pb.WatchPlanResponse]:
        def ended(plan: PlanStages) -> bool:
            return plan.ended

        for plan in self._streams.views(context, lambda: self._queries.plan(request.plan_id), ended):
            yield to_message(plan, pb.WatchPlanResponse)

    def _extraction(self, extraction_id: str) -> pb.Extraction:
        return to_message(self._queries.get(extraction_id), pb.Extraction)

    def _act(self, verb: Verb, extraction_id: str) -> pb.Extraction:
        self._extractions.act(verb, extraction_id)
        return self._extraction(extraction_id)

    def _act_on_plan(self, verb: Verb, plan_id: str) -> PlanStages:
        self._extractions.act_on_plan(verb, plan_id)
        return self._queries.plan(plan_id)
