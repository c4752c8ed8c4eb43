"""The page of a study's protocol, for the study's owner: versions, progress, and a new version with a preview."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import ValidationError
from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from services.annotation.auth import check_csrf
from services.annotation.pages import links
from services.annotation.pages.frame import Frame
from services.annotation.pages.reading import sent_form
from services.annotation.protocol.document import ProtocolDocument
from services.annotation.protocol.questionnaire import shipped_questionnaires
from services.annotation.protocol_schemas import OpenProtocolRequest
from services.annotation.workflow.readers import Reader
from services.common.errors import Conflict, InvalidInput, NotFound, PrimitivesError, describe_faults

NUMBERS = ("patches", "readers_per_unit", "shared_units", "shams", "repeats")
"""The fields of the form that are numbers of the document."""
FIRST: dict[str, Any] = {
    "title": "", "instructions": "", "choose": "subset", "top": "20", "layers": [], "questionnaire": "structured 1",
    "readers": "", "readers_per_unit": "2", "shared_units": "0", "patches": "16", "shams": "4", "repeats": "4",
    "reveal": "never", "split_units": "no", "document": "",
}  # fmt: skip
"""The fields of an empty form."""


def routes(frame: Frame) -> APIRouter:
    """The routes of the page of a protocol."""
    router = APIRouter(include_in_schema=False)
    manager = Annotated[Reader, Depends(frame.auth.manager)]
    sent = Annotated[FormData, Depends(sent_form)]
    path = "/studies/{study_id}/protocol"

    @router.get(path)
    def show(request: Request, study_id: str, reader: manager) -> Response:
        return _page(frame, request, reader, study_id, FIRST)

    @router.post(f"{path}/preview")
    def preview(request: Request, study_id: str, reader: manager, form: sent) -> Response:
        check_csrf(request, str(form.get("csrf", "")))
        fields = _fields(form)
        try:
            wanted = read_form(fields)
            found = frame.protocols.preview(study_id, wanted)
        except (InvalidInput, NotFound) as error:
            return _page(frame, request, reader, study_id, fields, error)
        return _page(frame, request, reader, study_id, fields, preview=found, readers=wanted.readers)

    @router.post(path)
    def open_version(request: Request, study_id: str, reader: manager, form: sent) -> Response:
        check_csrf(request, str(form.get("csrf", "")))
        fields = _fields(form)
        try:
            frame.protocols.open(study_id, read_form(fields))
        except (InvalidInput, NotFound, Conflict) as error:
            return _page(frame, request, reader, study_id, fields, error)
        return RedirectResponse(links.protocols(study_id), status_code=303)

    @router.post(f"{path}/{{version}}/close", dependencies=[Depends(frame.auth.manager)])
    def close_version(request: Request, study_id: str, version: int, form: sent) -> Response:
        check_csrf(request, str(form.get("csrf", "")))
        frame.protocols.close((study_id, version))
        return RedirectResponse(links.protocols(study_id), status_code=303)

    return router


def read_form(fields: dict[str, Any]) -> OpenProtocolRequest:
    """The request in a form: the document in its text field, or the one that its other fields describe.

    InvalidInput names what is wrong.
    """
    readers = [line.strip() for line in fields["readers"].splitlines() if line.strip()]
    try:
        if fields["document"].strip():
            document = ProtocolDocument.model_validate_json(fields["document"])
        else:
            document = ProtocolDocument.model_validate(_document_of(fields))
        return OpenProtocolRequest(document=document, readers=readers)
    except ValidationError as error:
        raise InvalidInput(describe_faults(error.errors())) from error


def _document_of(fields: dict[str, Any]) -> dict[str, Any]:
    name, _, version = fields["questionnaire"].partition(" ")
    units: dict[str, Any] = {"choose": fields["choose"], "layers": fields["layers"]}
    if fields["choose"] == "ranked":
        units["top"] = fields["top"]
    return {
        "title": fields["title"],
        "instructions": fields["instructions"],
        "units": units,
        "questionnaire": {"name": name, "version": version},
        "reveal": fields["reveal"],
        "split_units": fields["split_units"] == "yes",
    } | {name: fields[name] for name in NUMBERS}


def _fields(form: FormData) -> dict[str, Any]:
    """The fields of a sent form, with those of FIRST that it lacks."""
    texts = {name: str(form.get(name, first)) for name, first in FIRST.items() if name != "layers"}
    texts["instructions"] = re.sub("\r\n?", "\n", texts["instructions"])
    return texts | {"layers": [str(layer) for layer in form.getlist("layers")]}


def _page(
    frame: Frame,
    request: Request,
    reader: Reader,
    study_id: str,
    fields: dict[str, Any],
    error: PrimitivesError | None = None,
    **context: Any,
) -> Response:  # the parts of a page that is shown again after an error or a preview
    shown: dict[str, Any] = {"preview": None, "readers": []} | context
    shown |= {"study": frame.studies.get(study_id, reader), "protocols": frame.protocols.all(study_id).protocols}
    shown |= {"fields": fields, "trouble": str(error) if error is not None else ""}
    shown |= {"questionnaires": shipped_questionnaires().values()}
    return frame.page("protocol.html", request, reader, 422 if error is not None else 200, **shown)
