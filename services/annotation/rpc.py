"""The gRPC API of the annotation service. It has the same methods as the HTTP API."""

import grpc
from primitives.annotation.v1 import annotation_pb2 as pb
from primitives.annotation.v1 import annotation_pb2_grpc

from services.annotation.answer import Answer
from services.annotation.repository import UnitKey
from services.annotation.schemas import (
    MOST_UNITS,
    ChangeStudyRequest,
    OpenStudyRequest,
    Place,
    PutResponseRequest,
    SummaryQuery,
)
from services.annotation.workflow.readers import Reader, Readers
from services.annotation.workflow.responses import Responses
from services.annotation.workflow.studies import Studies
from services.annotation.workflow.units import Units
from services.common.access.tokens import Tokens
from services.common.errors import InvalidInput, NotSignedIn
from services.common.grpc import caller_of, start_key, to_message, to_request
from services.common.paging import Window

UnitRequest = pb.GetUnitRequest | pb.PutResponseRequest

MANAGING = ("OpenStudy", "ChangeStudy", "GetMembers")
"""The methods that need the scope annotation:manage."""
_KEY_FIELDS = ("study_id", "layer", "unit")


class AnnotationServicer(annotation_pb2_grpc.AnnotationServiceServicer):
    """See proto/primitives/annotation/v1/annotation.proto."""

    def __init__(
        self, readers: Readers, studies: Studies, units: Units, responses: Responses, tokens: Tokens | None = None
    ) -> None:
        self._readers, self._studies, self._units, self._responses = readers, studies, units, responses
        self._tokens = tokens

    def OpenStudy(self, request: pb.OpenStudyRequest, context: grpc.ServicerContext) -> pb.OpenStudyResponse:
        study = self._studies.start(to_request(request, OpenStudyRequest), start_key(context))
        return pb.OpenStudyResponse(study=to_message(study, pb.Study))

    def ChangeStudy(self, request: pb.ChangeStudyRequest, _: grpc.ServicerContext) -> pb.ChangeStudyResponse:
        study_id = request.study_id
        request.ClearField("study_id")
        study = self._studies.change(study_id, to_request(request, ChangeStudyRequest))
        return pb.ChangeStudyResponse(study=to_message(study, pb.Study))

    def GetMembers(self, request: pb.GetMembersRequest, _: grpc.ServicerContext) -> pb.GetMembersResponse:
        return pb.GetMembersResponse(members=to_message(self._studies.members(request.study_id), pb.Members))

    def GetStudy(self, request: pb.GetStudyRequest, context: grpc.ServicerContext) -> pb.GetStudyResponse:
        study = self._studies.get(request.study_id, self._optional_reader(context))
        return pb.GetStudyResponse(study=to_message(study, pb.Study))

    def ListStudies(self, request: pb.ListStudiesRequest, context: grpc.ServicerContext) -> pb.ListStudiesResponse:
        studies = self._studies.all(self._optional_reader(context), to_request(request, Window))
        return to_message(studies, pb.ListStudiesResponse)

    def ListUnits(self, request: pb.ListUnitsRequest, context: grpc.ServicerContext) -> pb.ListUnitsResponse:
        place, window = to_request(request, Place), _window(request.offset, request.limit, 24)
        part = self._units.part(self._reader(context), request.study_id, request.layer, place, window)
        return to_message(part, pb.ListUnitsResponse)

    def GetUnit(self, request: pb.GetUnitRequest, context: grpc.ServicerContext) -> pb.GetUnitResponse:
        unit = self._units.get(self._reader(context), _key(request))
        return pb.GetUnitResponse(unit=to_message(unit, pb.Unit))

    def PutResponse(self, request: pb.PutResponseRequest, context: grpc.ServicerContext) -> pb.PutResponseResponse:
        reader, key = self._reader(context, reads=False), _key(request)
        for name in _KEY_FIELDS:
            request.ClearField(name)
        options = to_request(request, PutResponseRequest)
        answer = Answer(options.recognizable, options.associated, options.multiplicity, options.description)
        saved = self._responses.put(reader, key, answer, options.base_version, options.idempotency_key)
        return pb.PutResponseResponse(response=to_message(saved, pb.Response))

    def ListResponses(
        self, request: pb.ListResponsesRequest, context: grpc.ServicerContext
    ) -> pb.ListResponsesResponse:
        offset, limit = _window(request.offset, request.limit, 50)
        return to_message(self._responses.own(self._reader(context), offset, limit), pb.ListResponsesResponse)

    def GetSummary(self, request: pb.GetSummaryRequest, context: grpc.ServicerContext) -> pb.GetSummaryResponse:
        query = to_request(request, SummaryQuery)
        summary = self._responses.summary(self._reader(context), query.study_id, query)
        return to_message(summary, pb.GetSummaryResponse)

    def GetPlan(self, request: pb.GetPlanRequest, context: grpc.ServicerContext) -> pb.GetPlanResponse:
        return to_message(self._studies.plan(request.plan_id, self._optional_reader(context)), pb.GetPlanResponse)

    def _reader(self, context: grpc.ServicerContext, reads: bool = True) -> Reader:
        reader = self._optional_reader(context, reads)
        if reader is None:
            raise NotSignedIn("name the reader in the metadata: reader, or reader-bin for a name that is not ASCII")
        return reader

    def _optional_reader(self, context: grpc.ServicerContext, reads: bool = True) -> Reader | None:
        metadata = dict(context.invocation_metadata() or ())
        name = metadata.get("reader-bin", metadata.get("reader"))
        caller = caller_of(self._tokens, context) if self._tokens is not None else None
        try:
            return self._readers.of_call(caller, name.decode() if isinstance(name, bytes) else name, reads)
        except UnicodeDecodeError as error:
            raise InvalidInput("the metadata reader-bin is not UTF-8") from error


def _key(request: UnitRequest) -> UnitKey:
    if request.unit < 0:
        raise InvalidInput(f"unit is {request.unit}; channels start at 0")
    return request.study_id, request.layer, request.unit


def _window(offset: int, limit: int, default: int) -> tuple[int, int]:
    if offset < 0 or not 0 <= limit <= MOST_UNITS:
        raise InvalidInput(f"offset is {offset} and limit {limit}; expected 0 or more, and 0 to {MOST_UNITS}")
    return offset, limit or default
