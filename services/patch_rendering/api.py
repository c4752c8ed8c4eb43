"""The HTTP side of the patch rendering service."""

from fastapi import APIRouter, FastAPI, Response

from services.common.views import PlanStages
from services.patch_rendering.schemas import RenderingList, RenderingView, StartRenderingRequest
from services.patch_rendering.workflow.queries import Queries
from services.patch_rendering.workflow.renderings import Renderings


def add_routes(app: FastAPI, renderings: Renderings, queries: Queries) -> None:
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

    @router.post("/renderings/{rendering_id}/cancel", status_code=202, tags=["renderings"])
    def cancel_rendering(rendering_id: str) -> RenderingView:
        """Stop a rendering."""
        renderings.cancel(rendering_id)
        return queries.get(rendering_id)

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

    app.include_router(router)
