"""The gRPC side of the patch rendering service: the same verbs as HTTP."""

from collections.abc import Iterator

import grpc
from primitives.patch_rendering.v1 import patch_rendering_pb2 as pb
from primitives.patch_rendering.v1 import patch_rendering_pb2_grpc

from services.common.grpc import start_key, to_message, to_request
from services.common.grpc.task_methods import PlanMethods, TaskMethods
from services.common.http.streams import Streams
from services.common.paging import Window
from services.imaging.media import media_type
from services.imaging.units import unit_channel
from services.patch_rendering.schemas import StartRenderingRequest, UnitPictureRequest, UnitSheetRequest
from services.patch_rendering.workflow.pictures import UnitPictures
from services.patch_rendering.workflow.queries import Queries
from services.patch_rendering.workflow.renderings import Renderings


class RenderingServicer(patch_rendering_pb2_grpc.PatchRenderingServiceServicer):
    """See proto/primitives/patch_rendering/v1/patch_rendering.proto."""

    def __init__(self, renderings: Renderings, queries: Queries, pictures: UnitPictures, streams: Streams) -> None:
        self._renderings, self._queries, self._pictures = renderings, queries, pictures
        self._rendering = TaskMethods(pb.Rendering, queries.get, renderings.act, streams)
        self._plan = PlanMethods(queries.plan, renderings.act_on_plan, streams)

    def StartRendering(
        self, request: pb.StartRenderingRequest, context: grpc.ServicerContext
    ) -> pb.StartRenderingResponse:
        rendering_id = self._renderings.start(to_request(request, StartRenderingRequest), start_key(context))
        return pb.StartRenderingResponse(rendering=self._rendering.get(rendering_id))

    def GetRendering(self, request: pb.GetRenderingRequest, _: grpc.ServicerContext) -> pb.GetRenderingResponse:
        return pb.GetRenderingResponse(rendering=self._rendering.get(request.rendering_id))

    def ListRenderings(self, request: pb.ListRenderingsRequest, _: grpc.ServicerContext) -> pb.ListRenderingsResponse:
        return to_message(self._queries.all(to_request(request, Window)), pb.ListRenderingsResponse)

    def PauseRendering(self, request: pb.PauseRenderingRequest, _: grpc.ServicerContext) -> pb.PauseRenderingResponse:
        return pb.PauseRenderingResponse(rendering=self._rendering.act("pause", request.rendering_id))

    def ResumeRendering(
        self, request: pb.ResumeRenderingRequest, _: grpc.ServicerContext
    ) -> pb.ResumeRenderingResponse:
        return pb.ResumeRenderingResponse(rendering=self._rendering.act("resume", request.rendering_id))

    def CancelRendering(
        self, request: pb.CancelRenderingRequest, _: grpc.ServicerContext
    ) -> pb.CancelRenderingResponse:
        return pb.CancelRenderingResponse(rendering=self._rendering.act("cancel", request.rendering_id))

    def WatchRendering(
        self, request: pb.WatchRenderingRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchRenderingResponse]:
        for rendering in self._rendering.watch(context, request.rendering_id):
            yield pb.WatchRenderingResponse(rendering=rendering)

    def GetPicture(self, request: pb.GetPictureRequest, _: grpc.ServicerContext) -> pb.GetPictureResponse:
        picture = self._queries.picture(request.rendering_id, request.layer, _channel(request), request.rank)
        return pb.GetPictureResponse(jpeg=picture, media_type=media_type(picture))

    def GetUnitPicture(self, request: pb.GetUnitPictureRequest, _: grpc.ServicerContext) -> pb.GetUnitPictureResponse:
        options = to_request(request, UnitPictureRequest).model_copy(update={"unit": _channel(request)})
        found = self._pictures.find(options)
        return pb.GetUnitPictureResponse(
            content=self._pictures.draw(found), media_type=found.media_type, etag=found.etag
        )

    def GetUnitSheet(self, request: pb.GetUnitSheetRequest, _: grpc.ServicerContext) -> pb.GetUnitSheetResponse:
        options = to_request(request, UnitSheetRequest).model_copy(update={"unit": _channel(request)})
        found = self._pictures.find(options)
        return pb.GetUnitSheetResponse(content=self._pictures.draw(found), media_type=found.media_type, etag=found.etag)

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


def _channel(request: pb.GetPictureRequest | pb.GetUnitPictureRequest | pb.GetUnitSheetRequest) -> int:
    """Return the channel of the unit that a request names, or of its `unit` if the name is empty."""
    return unit_channel(request.unit_name or request.unit)
