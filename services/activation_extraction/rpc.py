"""The gRPC side of the activation extraction service: the same verbs as HTTP."""

import grpc
from primitives.activation_extraction.v1 import activation_extraction_pb2 as pb
from primitives.activation_extraction.v1 import activation_extraction_pb2_grpc

from services.activation_extraction.schemas import StartExtractionRequest
from services.activation_extraction.workflow.extractions import Extractions
from services.activation_extraction.workflow.queries import Queries
from services.common.grpc import to_message, to_request


class ExtractionServicer(activation_extraction_pb2_grpc.ActivationExtractionServiceServicer):
    """See proto/primitives/activation_extraction/v1/activation_extraction.proto."""

    def __init__(self, extractions: Extractions, queries: Queries) -> None:
        self._extractions, self._queries = extractions, queries

    def StartExtraction(
        self, request: pb.StartExtractionRequest, _: grpc.ServicerContext
    ) -> pb.StartExtractionResponse:
        extraction_id = self._extractions.start(to_request(request, StartExtractionRequest))
        return pb.StartExtractionResponse(extraction=self._extraction(extraction_id))

    def GetExtraction(self, request: pb.GetExtractionRequest, _: grpc.ServicerContext) -> pb.GetExtractionResponse:
        return pb.GetExtractionResponse(extraction=self._extraction(request.extraction_id))

    def ListExtractions(self, _: pb.ListExtractionsRequest, __: grpc.ServicerContext) -> pb.ListExtractionsResponse:
        return to_message(self._queries.all(), pb.ListExtractionsResponse)

    def CancelExtraction(
        self, request: pb.CancelExtractionRequest, _: grpc.ServicerContext
    ) -> pb.CancelExtractionResponse:
        self._extractions.cancel(request.extraction_id)
        return pb.CancelExtractionResponse(extraction=self._extraction(request.extraction_id))

    def GetUnit(self, request: pb.GetUnitRequest, _: grpc.ServicerContext) -> pb.GetUnitResponse:
        unit = self._queries.unit(request.extraction_id, request.layer, request.unit)
        return pb.GetUnitResponse(unit=to_message(unit, pb.Unit))

    def GetPlan(self, request: pb.GetPlanRequest, _: grpc.ServicerContext) -> pb.GetPlanResponse:
        return to_message(self._queries.plan(request.plan_id), pb.GetPlanResponse)

    def _extraction(self, extraction_id: str) -> pb.Extraction:
        return to_message(self._queries.get(extraction_id), pb.Extraction)
