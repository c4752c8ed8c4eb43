"""The gRPC side of explanations: the same verbs as HTTP."""

from collections.abc import Iterator

import grpc
from primitives.activation_extraction.v1 import explanation_pb2 as pb

from services.activation_extraction.explanations.schemas import StartExplanationRequest
from services.activation_extraction.explanations.workflow import LARGEST_UPLOAD, Explanations
from services.common.errors import InvalidInput
from services.common.grpc import start_key, to_message, to_request
from services.common.grpc.task_methods import TaskMethods
from services.common.http.streams import Streams
from services.common.paging import Window

CHUNK = 1 << 19


class ExplanationMethods:
    """The part of the servicer that explains; see proto/primitives/activation_extraction/v1/explanation.proto."""

    def __init__(self, explanations: Explanations, streams: Streams) -> None:
        self._explanations = explanations
        self._explanation = TaskMethods(pb.Explanation, explanations.get, explanations.act, streams)

    def UploadMammogram(
        self, requests: Iterator[pb.UploadMammogramRequest], _: grpc.ServicerContext
    ) -> pb.UploadMammogramResponse:
        return to_message(self._explanations.upload(_joined(requests)), pb.UploadMammogramResponse)

    def StartExplanation(
        self, request: pb.StartExplanationRequest, context: grpc.ServicerContext
    ) -> pb.StartExplanationResponse:
        started = self._explanations.start(to_request(request, StartExplanationRequest), start_key(context))
        return pb.StartExplanationResponse(explanation=to_message(started, pb.Explanation))

    def GetExplanation(self, request: pb.GetExplanationRequest, _: grpc.ServicerContext) -> pb.GetExplanationResponse:
        return pb.GetExplanationResponse(explanation=self._explanation.get(request.explanation_id))

    def ListExplanations(
        self, request: pb.ListExplanationsRequest, _: grpc.ServicerContext
    ) -> pb.ListExplanationsResponse:
        return to_message(self._explanations.all(to_request(request, Window)), pb.ListExplanationsResponse)

    def PauseExplanation(
        self, request: pb.PauseExplanationRequest, _: grpc.ServicerContext
    ) -> pb.PauseExplanationResponse:
        return pb.PauseExplanationResponse(explanation=self._explanation.act("pause", request.explanation_id))

    def ResumeExplanation(
        self, request: pb.ResumeExplanationRequest, _: grpc.ServicerContext
    ) -> pb.ResumeExplanationResponse:
        return pb.ResumeExplanationResponse(explanation=self._explanation.act("resume", request.explanation_id))

    def CancelExplanation(
        self, request: pb.CancelExplanationRequest, _: grpc.ServicerContext
    ) -> pb.CancelExplanationResponse:
        return pb.CancelExplanationResponse(explanation=self._explanation.act("cancel", request.explanation_id))

    def WatchExplanation(
        self, request: pb.WatchExplanationRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchExplanationResponse]:
        for explanation in self._explanation.watch(context, request.explanation_id):
            yield pb.WatchExplanationResponse(explanation=explanation)

    def GetExplanationResult(
        self, request: pb.GetExplanationResultRequest, _: grpc.ServicerContext
    ) -> pb.GetExplanationResultResponse:
        result = self._explanations.result(request.explanation_id)
        return pb.GetExplanationResultResponse(result=to_message(result, pb.ExplanationResult))

    def GetExplanationPicture(
        self, request: pb.GetExplanationPictureRequest, _: grpc.ServicerContext
    ) -> Iterator[pb.GetExplanationPictureResponse]:
        picture = self._explanations.picture(request.explanation_id, request.preview)
        for first in range(0, len(picture), CHUNK):
            yield pb.GetExplanationPictureResponse(chunk=picture[first : first + CHUNK])


def _joined(requests: Iterator[pb.UploadMammogramRequest]) -> bytes:
    """The chunks of an upload, one after the other. InvalidInput if they are too large together."""
    content = bytearray()
    for request in requests:
        content += request.chunk
        if len(content) > LARGEST_UPLOAD:
            raise InvalidInput(f"a mammogram has at most {LARGEST_UPLOAD} bytes")
    return bytes(content)
