"""Imports of raw mammograms: the form that starts one, and the page that follows it.

The source is one that the operator allows: a folder of the import folder, a bucket or a DICOMweb server. See
docs/browser.md.
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, Request
from pydantic import Field
from starlette.responses import RedirectResponse, Response

from services.annotation.pages import links
from services.annotation.pages.forms import Line, SentForm
from services.annotation.pages.frame import Frame
from services.annotation.workflow.readers import Reader
from services.common.errors import Conflict, InvalidInput, PrimitivesError
from services.common.http.app import status_of
from services.common.observability.logs import get_logger
from services.common.redaction import quoted
from services.common.work.tasks import Verb
from services.common.work.views import has_ended

SOURCES = ("folder", "bucket", "dicomweb")
"""Kinds of sources, as fields of StartImportRequest."""

log = get_logger(__name__)


class RawImportForm(SentForm):
    """The form that imports raw mammograms, with the options of the recipe that most imports change. `source` is the
    kind of the source and its name: `folder cbis`, `bucket raw`, `dicomweb pacs`. `labels` is a folder with the table
    of labels of a server's mammograms."""

    layout: Line
    source: Line
    prefix: Line = ""
    since: Line = ""
    until: Line = ""
    labels: Line = ""
    name: Line = ""
    classes: Line = "three"
    kinds: Line = "any"
    malignant_only: Literal["", "yes"] = ""
    assessment_least: Annotated[int, Field(ge=0, le=6)] = 0

    def request(self) -> dict[str, Any]:
        """The StartImportRequest of the training service."""
        recipe = {
            "classes": self.classes,
            "kinds": self.kinds,
            "malignant_only": self.malignant_only == "yes",
            "assessment_least": self.assessment_least,
        }
        kind, _, name = self.source.partition(" ")
        if kind not in SOURCES:
            raise InvalidInput(f"source {quoted(self.source)}; expected {', '.join(SOURCES)} and a name")
        if kind == "folder" and self.labels:
            raise InvalidInput("a folder has its own table of labels; leave that field empty")
        optional = {"folder": self.labels, "prefix": self.prefix, "since": self.since, "until": self.until}
        chosen = {field: value for field, value in optional.items() if value}
        return {"layout": self.layout, **chosen, kind: name, "name": self.name, "recipe": recipe}


def routes(frame: Frame) -> APIRouter:
    """The routes of the page of an import."""
    router = APIRouter(include_in_schema=False)
    researcher = Annotated[Reader, Depends(frame.auth.researcher)]
    trainer = Annotated[Reader, Depends(frame.auth.trainer)]

    def page(request: Request, reader: Reader, import_id: str, error: PrimitivesError | None = None) -> Response:
        found = frame.training.raw_import(import_id)
        context: dict[str, Any] = {"found": found, "ended": has_ended(found)}
        context["trouble"] = str(error) if error is not None else ""
        return frame.page("import.html", request, reader, status_of(error) if error is not None else 200, **context)

    @router.get("/imports/{import_id}")
    def raw_import(request: Request, import_id: str, reader: researcher) -> Response:
        return page(request, reader, import_id)

    @router.get("/imports/{import_id}/events")
    async def events(request: Request, import_id: str, _: researcher) -> Response:
        return await frame.training.events("import", import_id, request.headers.get("last-event-id", ""))

    @router.post("/imports/{import_id}/{verb}")
    def act(
        request: Request, import_id: str, verb: Verb, reader: trainer, csrf: Annotated[str, Form()] = ""
    ) -> Response:
        frame.auth.check_control(request, "training", csrf)
        try:
            frame.training.act_on_raw_import(verb, import_id)
        except Conflict as error:
            return page(request, reader, import_id, error)
        log.info("import of raw mammograms controlled on a page", task=import_id, verb=verb, reader=reader.name)
        return RedirectResponse(links.raw_import(import_id), status_code=303)

    return router
