"""The gRPC side of the patch rendering service: the same verbs as HTTP."""

import grpc
from primitives.patch_rendering.v1 import patch_rendering_pb2 as pb
from primitives.patch_rendering.v1 import patch_rendering_pb2_grpc

from services.common.grpc import to_message, to_request
from services.patch_rendering.schemas import StartRenderingRequest
from services.patch_rendering.workflow.queries import Queries
from services.patch_rendering.workflow.renderings import Renderings


class RenderingServicer(patch_rendering_pb2_grpc.PatchRenderingServiceServicer):
    """See proto/primitives/patch_rendering/v1/patch_rendering.proto."""

    def __init__(self, renderings: Renderings, queries: Queries) -> None:
        self._renderings, self._queries = renderings, queries

    def StartRendering(self, request: pb.StartRenderingRequest, _: grpc.ServicerContext) -> pb.StartRenderingResponse:
        rendering_id = self._renderings.start(to_request(request, StartRenderingRequest))
        return pb.StartRenderingResponse(rendering=self._rendering(rendering_id))

    def GetRendering(self, request: pb.GetRenderingRequest, _: grpc.ServicerContext) -> pb.GetRenderingResponse:
        return pb.GetRenderingResponse(rendering=self._rendering(request.rendering_id))

    def ListRenderings(self, _: pb.ListRenderingsRequest, __: grpc.ServicerContext) -> pb.ListRenderingsResponse:
        return to_message(self._queries.all(), pb.ListRenderingsResponse)

    def CancelRendering(
        self, request: pb.CancelRenderingRequest, _: grpc.ServicerContext
    ) -> pb.CancelRenderingResponse:
        self._renderings.cancel(request.rendering_id)
        return pb.CancelRenderingResponse(rendering=self._rendering(request.rendering_id))

    def GetPicture(self, request: pb.GetPictureRequest, _: grpc.ServicerContext) -> pb.GetPictureResponse:
        picture = self._queries.picture(request.rendering_id, request.layer, request.unit, request.rank)
        return pb.GetPictureResponse(jpeg=picture)

    def GetPlan(self, request: pb.GetPlanRequest, _: grpc.ServicerContext) -> pb.GetPlanResponse:
        return to_message(self._queries.plan(request.plan_id), pb.GetPlanResponse)

    def _rendering(self, rendering_id: str) -> pb.Rendering:
        return to_message(self._queries.get(rendering_id), pb.Rendering)
