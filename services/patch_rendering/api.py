"""The HTTP side of the patch rendering service."""

from fastapi import APIRouter, FastAPI, Request, Response

from services.common.records import ENDED
from services.common.streams import EventStream, Streams
from services.common.tasks import Verb
from services.common.views import PlanStages
from services.patch_rendering.schemas import RenderingList, RenderingView, StartRenderingRequest
from services.patch_rendering.workflow.queries import Queries
from services.patch_rendering.workflow.renderings import Renderings


def add_routes(app: FastAPI, renderings: Renderings, queries: Queries, streams: Streams) -> None:
    """Add the routes of version 1."""
    router = APIRouter(prefix="/v1")

    @router.post("/renderings", status_code=202, tags=["renderings"])
    def start_rendering(request: StartRenderingRequest) -> RenderingView:
        """Render all layers of a completed extraction."""
        return queries.get(renderings.start(request))

    @router.get("/renderings", tags=["renderings"])
    def list_renderings() -> RenderingList:
        """All renderings, newest first."""
        return queries.all()

    @router.get("/renderings/{rendering_id}", tags=["renderings"])
    def get_rendering(rendering_id: str) -> RenderingView:
        """One rendering."""
        return queries.get(rendering_id)

    @router.post("/renderings/{rendering_id}/{verb}", status_code=202, tags=["renderings"])
    def act_on_rendering(rendering_id: str, verb: Verb) -> RenderingView:
        """Pause, resume or cancel; a job at work on it stops within five seconds. What is done is kept."""
        renderings.act(verb, rendering_id)
        return queries.get(rendering_id)

    @router.get("/renderings/{rendering_id}/events", response_class=EventStream, tags=["renderings"])
    def watch_rendering(rendering_id: str, request: Request) -> Response:
        """Server-sent events: the rendering, again whenever it has changed, until it has ended."""
        return streams.events(request, lambda: queries.get(rendering_id), lambda view: view.state in ENDED)

    @router.get(
        "/renderings/{rendering_id}/layers/{layer}/units/{unit}/pictures/{rank}.jpg",
        tags=["pictures"],
        response_class=Response,
        responses={200: {"content": {"image/jpeg": {}}}},
    )
    def get_picture(rendering_id: str, layer: str, unit: int, rank: int) -> Response:
        """One picture of a unit (channel from 0), rank from 1; rank 0 is the contact sheet."""
        return Response(queries.picture(rendering_id, layer, unit, rank), media_type="image/jpeg")

    @router.get("/plans/{plan_id}", tags=["plans"])
    def get_plan(plan_id: str) -> PlanStages:
        """The stage of a plan that this service does."""
        return queries.plan(plan_id)

    @router.post("/plans/{plan_id}/{verb}", status_code=202, tags=["plans"])
    def act_on_plan(plan_id: str, verb: Verb) -> PlanStages:
        """Pause, resume or cancel what this service does for a plan. Later stages do not begin while it is paused, nor
        once it is cancelled."""
        renderings.act_on_plan(verb, plan_id)
        return queries.plan(plan_id)

    @router.get("/plans/{plan_id}/events", response_class=EventStream, tags=["plans"])
    def watch_plan(plan_id: str, request: Request) -> Response:
        """Server-sent events: the stages that this service does, again whenever they have changed, until they have
        ended."""
        return streams.events(request, lambda: queries.plan(plan_id), lambda stages: stages.ended)

    app.include_router(router)
