"""The HTTP side of explanations."""

from typing import Annotated

from fastapi import APIRouter, Body, FastAPI, Query, Response

from services.activation_extraction.explanations.schemas import (
    Explanation,
    ExplanationList,
    ExplanationView,
    MammogramView,
    StartExplanationRequest,
)
from services.activation_extraction.explanations.workflow import Explanations
from services.common.http.idempotency import StartKey
from services.common.http.streams import Streams
from services.common.http.task_routes import TaskRoutes

UPLOAD_PATH = "/v1/mammograms"
FILE, JPEG = "application/octet-stream", "image/jpeg"


def add_explanation_routes(app: FastAPI, explanations: Explanations, streams: Streams) -> None:
    """Add the routes of version 1."""
    router = APIRouter(prefix="/v1")

    @router.post("/mammograms", status_code=201, tags=["explanations"])
    def upload_mammogram(
        content: Annotated[bytes, Body(media_type=FILE, description="A DICOM, PNG or JPEG file.")],
    ) -> MammogramView:
        """Store a mammogram, without anything in its file that identifies a patient. It is removed after a while unless
        an explanation refers to it."""
        return explanations.upload(content)

    @router.post("/explanations", status_code=202, tags=["explanations"])
    def start_explanation(request: StartExplanationRequest, key: StartKey) -> ExplanationView:
        """Explain an uploaded mammogram with the network of a completed extraction."""
        return explanations.start(request, key)

    routes = TaskRoutes(
        "explanation",
        "explanations",
        ExplanationView,
        explanations.get,
        explanations.act,
        streams,
        kept="A resumed one starts again.",
    )
    routes.add_list(router, ExplanationList, explanations.all)
    routes.add(router)

    @router.get("/explanations/{explanation_id}/result", tags=["explanations"])
    def get_explanation_result(explanation_id: str) -> Explanation:
        """What the network predicts for the mammogram, and which units the prediction rests on."""
        return explanations.result(explanation_id)

    @router.get(
        "/explanations/{explanation_id}/picture.jpg",
        tags=["explanations"],
        response_class=Response,
        responses={200: {"content": {JPEG: {}}}},
    )
    def get_explanation_picture(explanation_id: str, preview: Annotated[bool, Query()] = False) -> Response:
        """The mammogram in 8 bits, at its full size or as a preview."""
        return Response(explanations.picture(explanation_id, preview), media_type=JPEG)

    app.include_router(router)
