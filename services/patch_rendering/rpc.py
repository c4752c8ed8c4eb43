"""The gRPC side of the patch rendering service: the same verbs as HTTP."""

from collections.abc import Iterator

import grpc
from primitives.patch_rendering.v1 import patch_rendering_pb2 as pb
from primitives.patch_rendering.v1 import patch_rendering_pb2_grpc

from services.common.grpc import to_message, to_request
from services.common.http.streams import Streams
from services.common.work.tasks import Verb
from services.common.work.views import PlanStages, has_ended
from services.imaging.media import media_type
from services.patch_rendering.schemas import StartRenderingRequest, UnitPictureRequest, UnitSheetRequest
from services.patch_rendering.workflow.pictures import UnitPictures
from services.patch_rendering.workflow.queries import Queries
from services.patch_rendering.workflow.renderings import Renderings


class RenderingServicer(patch_rendering_pb2_grpc.PatchRenderingServiceServicer):
    """See proto/primitives/patch_rendering/v1/patch_rendering.proto."""

    def __init__(self, renderings: Renderings, queries: Queries, pictures: UnitPictures, streams: Streams) -> None:
        self._renderings, self._queries, self._pictures, self._streams = renderings, queries, pictures, streams

    def StartRendering(self, request: pb.StartRenderingRequest, _: grpc.ServicerContext) -> pb.StartRenderingResponse:
        rendering_id = self._renderings.start(to_request(request, StartRenderingRequest))
        return pb.StartRenderingResponse(rendering=self._rendering(rendering_id))

    def GetRendering(self, request: pb.GetRenderingRequest, _: grpc.ServicerContext) -> pb.GetRenderingResponse:
        return pb.GetRenderingResponse(rendering=self._rendering(request.rendering_id))

    def ListRenderings(self, _: pb.ListRenderingsRequest, __: grpc.ServicerContext) -> pb.ListRenderingsResponse:
        return to_message(self._queries.all(), pb.ListRenderingsResponse)

    def PauseRendering(self, request: pb.PauseRenderingRequest, _: grpc.ServicerContext) -> pb.PauseRenderingResponse:
        return pb.PauseRenderingResponse(rendering=self._act("pause", request.rendering_id))

    def ResumeRendering(
        self, request: pb.ResumeRenderingRequest, _: grpc.ServicerContext
    ) -> pb.ResumeRenderingResponse:
        return pb.ResumeRenderingResponse(rendering=self._act("resume", request.rendering_id))

    def CancelRendering(
        self, request: pb.CancelRenderingRequest, _: grpc.ServicerContext
    ) -> pb.CancelRenderingResponse:
        return pb.CancelRenderingResponse(rendering=self._act("cancel", request.rendering_id))

    def WatchRendering(
        self, request: pb.WatchRenderingRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchRenderingResponse]:
        for rendering in self._streams.views(context, lambda: self._queries.get(request.rendering_id), has_ended):
            yield pb.WatchRenderingResponse(rendering=to_message(rendering, pb.Rendering))

    def GetPicture(self, request: pb.GetPictureRequest, _: grpc.ServicerContext) -> pb.GetPictureResponse:
        picture = self._queries.picture(request.rendering_id, request.layer, request.unit, request.rank)
        return pb.GetPictureResponse(jpeg=picture, media_type=media_type(picture))

    def GetUnitPicture(self, request: pb.GetUnitPictureRequest, _: grpc.ServicerContext) -> pb.GetUnitPictureResponse:
        wanted = self._pictures.look_up(to_request(request, UnitPictureRequest))
        return pb.GetUnitPictureResponse(
            content=self._pictures.draw(wanted), media_type=wanted.media_type, etag=wanted.etag
        )

    def GetUnitSheet(self, request: pb.GetUnitSheetRequest, _: grpc.ServicerContext) -> pb.GetUnitSheetResponse:
        wanted = self._pictures.look_up(to_request(request, UnitSheetRequest))
        return pb.GetUnitSheetResponse(
            content=self._pictures.draw(wanted), media_type=wanted.media_type, etag=wanted.etag
        )

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

    def _rendering(self, rendering_id: str) -> pb.Rendering:
        return to_message(self._queries.get(rendering_id), pb.Rendering)

    def _act(self, verb: Verb, rendering_id: str) -> pb.Rendering:
        self._renderings.act(verb, rendering_id)
        return self._rendering(rendering_id)

    def _act_on_plan(self, verb: Verb, plan_id: str) -> PlanStages:
        self._renderings.act_on_plan(verb, plan_id)
        return self._queries.plan(plan_id)
