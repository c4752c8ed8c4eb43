"""The HTTP side of explanations in the words of readers. They show the answers of all readers, so they are for the
owners of studies."""

from typing import Annotated

from fastapi import APIRouter, Depends

from services.annotation.auth import Auth
from services.annotation.clients.http import id_in_path, layer_in_path
from services.annotation.explanations.schemas import ExplainRequest, ExplanationInWords, StartedExplanation, UnitNames
from services.annotation.explanations.workflow import WordedExplanations
from services.annotation.workflow.readers import Reader
from services.common.http.idempotency import StartKey


def explanation_routes(auth: Auth, explanations: WordedExplanations) -> APIRouter:
    """The routes of version 1."""
    router = APIRouter(prefix="/v1", tags=["explanations"])
    owner = Annotated[Reader | None, Depends(auth.optional_reader)]

    @router.get("/names/{extraction_id}/{layer}")
    def list_unit_names(extraction_id: str, layer: str, _: owner) -> UnitNames:
        """The names that readers gave the units of a layer. Needs the scope annotation:manage."""
        return explanations.names(id_in_path("extraction", extraction_id), layer_in_path(layer))

    @router.post("/explanations", status_code=202)
    def explain_in_words(request: ExplainRequest, _: owner, key: StartKey) -> StartedExplanation:
        """Explain a mammogram that was uploaded to the extraction service. Needs the scope annotation:manage."""
        return explanations.start(request, key.key if key is not None else "")

    @router.get("/explanations/{explanation_id}")
    def get_explanation_in_words(explanation_id: str, _: owner) -> ExplanationInWords:
        """A completed explanation with the names that its units have now. Needs the scope annotation:manage."""
        return explanations.get(explanation_id)[1]

    return router
