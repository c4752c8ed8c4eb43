"""The HTTP API of the annotation service."""

from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Query
from fastapi import Path as InPath

from services.annotation.answer import Answer
from services.annotation.auth import Auth
from services.annotation.schemas import (
    MOST_UNITS,
    ChangeStudyRequest,
    Members,
    OpenStudyRequest,
    Place,
    PutResponseRequest,
    ResponseList,
    ResponseView,
    StudyList,
    StudyView,
    Summary,
    SummaryQuery,
    UnitList,
    UnitView,
)
from services.annotation.workflow.readers import Reader
from services.annotation.workflow.responses import Responses
from services.annotation.workflow.studies import Studies
from services.annotation.workflow.units import Units
from services.common.access.tokens import Access
from services.common.http.app import SAFE_METHODS, method_access
from services.common.http.idempotency import StartKey
from services.common.paging import Window
from services.common.work.views import PlanStages

Channel = Annotated[int, InPath(ge=0, lt=2**31, description="Channel from 0.")]
Offset = Annotated[int, Query(ge=0, lt=2**31)]
Limit = Annotated[int, Query(ge=1, le=MOST_UNITS)]


def add_routes(app: FastAPI, auth: Auth, studies: Studies, units: Units, responses: Responses) -> None:
    """Add the routes of version 1."""
    app.include_router(_study_routes(auth, studies))
    app.include_router(_unit_routes(auth, units, responses))


def _study_routes(auth: Auth, studies: Studies) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["studies"])

    @router.get("/plans/{plan_id}", tags=["plans"])
    def get_plan(plan_id: str, reader: Annotated[Reader | None, Depends(auth.optional_reader)]) -> PlanStages:
        """The stages of a plan that this service performs."""
        return studies.plan(plan_id, reader)

    @router.post("/studies", status_code=202)
    def open_study(
        request: OpenStudyRequest, _: Annotated[Reader | None, Depends(auth.optional_reader)], key: StartKey
    ) -> StudyView:
        """Open a study of a rendering. Needs the scope annotation:manage."""
        return studies.start(request, key)

    @router.patch("/studies/{study_id}")
    def change_study(
        study_id: str, request: ChangeStudyRequest, _: Annotated[Reader | None, Depends(auth.optional_reader)]
    ) -> StudyView:
        """Change the title or the members of a study, or show its labels earlier. 409 if labels would be withheld
        again. Needs the scope annotation:manage."""
        return studies.change(study_id, request)

    @router.get("/studies/{study_id}/members")
    def get_members(study_id: str) -> Members:
        """The readers of a study. Needs the scope annotation:manage."""
        return studies.members(study_id)

    @router.get("/studies")
    def list_studies(
        reader: Annotated[Reader | None, Depends(auth.optional_reader)], window: Annotated[Window, Query()]
    ) -> StudyList:
        """A page of all studies, newest first, with the progress of the reader if one is named; then only of those that
        the reader sees."""
        return studies.all(reader, window)

    @router.get("/studies/{study_id}")
    def get_study(study_id: str, reader: Annotated[Reader | None, Depends(auth.optional_reader)]) -> StudyView:
        """One study with its layers."""
        return studies.get(study_id, reader)

    return router


def _unit_routes(auth: Auth, units: Units, responses: Responses) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["units and responses"])

    @router.get("/studies/{study_id}/layers/{layer}/units")
    def list_units(
        study_id: str,
        layer: str,
        reader: Annotated[Reader, Depends(auth.api_reader)],
        place: Annotated[Place, Depends(place_of)],
        window: Annotated[tuple[int, int], Depends(window_of)],
    ) -> UnitList:
        """A part of a list of units of a layer."""
        return units.part(reader, study_id, layer, place, window)

    @router.get("/studies/{study_id}/layers/{layer}/units/{unit}")
    def get_unit(
        study_id: str, layer: str, unit: Channel, reader: Annotated[Reader, Depends(auth.api_reader)]
    ) -> UnitView:
        """A unit with all its pictures; with classes and names once the study shows labels to the reader."""
        return units.get(reader, (study_id, layer, unit))

    @router.put("/studies/{study_id}/layers/{layer}/units/{unit}/response")
    def put_response(
        study_id: str,
        layer: str,
        unit: Channel,
        request: PutResponseRequest,
        reader: Annotated[Reader, Depends(auth.api_reader)],
    ) -> ResponseView:
        """Save the reader's answer. 409 if the answer was changed since `base_version`."""
        answer = Answer(request.recognizable, request.associated, request.multiplicity, request.description)
        return responses.put(reader, (study_id, layer, unit), answer, request.base_version, request.idempotency_key)

    @router.get("/responses")
    def list_responses(
        reader: Annotated[Reader, Depends(auth.api_reader)], offset: Offset = 0, limit: Limit = 50
    ) -> ResponseList:
        """The reader's own answers."""
        return responses.own(reader, offset, limit)

    @router.get("/summary")
    def get_summary(
        reader: Annotated[Reader, Depends(auth.api_reader)],
        query: Annotated[SummaryQuery, Query()],
    ) -> Summary:
        """A page of the readers of the studies that this reader sees, and the units that each of them answered."""
        return responses.summary(reader, query.study_id, query)

    return router


OWNER_PATHS = ("members", "protocols", "protocol-preview", "responses", "games")
"""Parts of a study that only its owner may read: who reads it, and the answers of all readers."""


def access_of(method: str, path: str) -> Access:
    """The access that a call needs. Opening and changing studies and their protocols, reading who may see them, and the
    names that readers gave units are for the owners of studies."""
    parts = path.strip("/").split("/")
    if parts[:2] in (["v1", "explanations"], ["v1", "names"]):
        return "manage"
    if parts[:2] != ["v1", "studies"]:
        return method_access(method, path)
    changes_study = len(parts) in (2, 3) and method not in SAFE_METHODS
    for_owner = len(parts) > 3 and parts[3] in OWNER_PATHS
    return "manage" if changes_study or for_owner else method_access(method, path)


def window_of(offset: Offset = 0, limit: Limit = 24) -> tuple[int, int]:
    """The offset and limit of a query string."""
    return offset, limit


def place_of(
    list: Annotated[str, Query(pattern="^(subset|ranked|all)$")] = "all",
    label: Annotated[int | None, Query(ge=0, lt=1000)] = None,
    sort: Annotated[str, Query(pattern="^(unit|class)$")] = "unit",
    filter: Annotated[str, Query(pattern="^(all|unanswered|answered)$")] = "all",
) -> Place:
    """The list, class, order and filter of a query string."""
    return Place.model_validate({"list": list, "label": label, "sort": sort, "filter": filter})
