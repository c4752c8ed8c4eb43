"""Data sets: the list, one with its balance and its patches, and imports.

An import names a folder of the operator's import folder on the machine of the training service. No page takes an
address, a path or a file: see docs/browser.md.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Query, Request
from pydantic import Field
from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from services.annotation.clients.training import Balance
from services.annotation.pages import links
from services.annotation.pages.forms import Line, SentForm, new_key
from services.annotation.pages.frame import Frame
from services.annotation.pages.imports import RawImportForm
from services.annotation.pages.links import number_of
from services.annotation.pages.overview import page_of, pages_of, window_of_page
from services.annotation.pages.reading import sent_form
from services.annotation.picture_responses import CACHING
from services.annotation.workflow.readers import Reader
from services.common.errors import Conflict, Forbidden, InvalidInput, NotFound, PrimitivesError
from services.common.http.app import status_of
from services.common.observability.logs import get_logger
from services.common.paging import Window
from services.common.work.tasks import Verb
from services.common.work.views import has_ended

log = get_logger(__name__)

DATASETS_A_PAGE = 50
LATEST_BUILDS = 10
PATCHES_A_PAGE = 48


class ImportForm(SentForm):
    """The form that builds the sample, or imports a folder."""

    folder: Line = ""
    classes: Annotated[int, Field(ge=2, le=3)] = 2
    mammograms: Line = ""

    def request(self) -> dict[str, Any]:
        """The StartBuildRequest of the training service."""
        if not self.folder:
            return {}
        return {"folder": self.folder, "classes": self.classes, "mammograms": self.mammograms}


class PatchFilter(Window):
    """Which patches of a data set are shown."""

    split: str = Field(default="", max_length=8)
    label: int | None = Field(default=None, ge=0, lt=1000)


def routes(frame: Frame) -> APIRouter:
    """The routes of the pages of data sets."""
    router = APIRouter(include_in_schema=False)
    router.include_router(_list_routes(frame))
    router.include_router(_dataset_routes(frame))
    router.include_router(_build_routes(frame))
    return router


def _list_routes(frame: Frame) -> APIRouter:
    router = APIRouter()
    researcher = Annotated[Reader, Depends(frame.auth.researcher)]
    trainer = Annotated[Reader, Depends(frame.auth.trainer)]

    def page(request: Request, reader: Reader, error: PrimitivesError | None = None) -> Response:
        number = page_of(request)
        part = frame.training.datasets(window_of_page(number, DATASETS_A_PAGE))
        context: dict[str, Any] = {
            "datasets": part.datasets,
            "total": part.total,
            "page": number,
            "pages": pages_of(part.total, DATASETS_A_PAGE),
            "builds": frame.training.builds(Window(limit=LATEST_BUILDS)).builds,
            "imports": frame.training.raw_imports(Window(limit=LATEST_BUILDS)).imports,
            "folders": frame.training.import_folders(),
            "raw": frame.training.layouts(),
            "key": new_key(),
            "trouble": str(error) if error is not None else "",
        }
        return frame.page("datasets.html", request, reader, status_of(error) if error is not None else 200, **context)

    @router.get("/datasets")
    def datasets(request: Request, reader: researcher) -> Response:
        return page(request, reader)

    @router.post("/datasets")
    def start(request: Request, reader: trainer, form: Annotated[FormData, Depends(sent_form)]) -> Response:
        frame.auth.check_control(request, "training", str(form.get("csrf", "")))
        try:
            started, address = _start(frame, form)
        except (InvalidInput, NotFound, Conflict, Forbidden) as error:
            return page(request, reader, error)
        log.info("data set import started on a page", task=started, reader=reader.name)
        return RedirectResponse(address, status_code=303)

    return router


def _start(frame: Frame, form: FormData) -> tuple[str, str]:
    """Start what a form describes: the import of raw mammograms if it names a layout. Return the id and the page of the
    task."""
    if form.get("layout"):
        raw = RawImportForm.read(form)
        import_id = frame.training.start_raw_import(raw.request(), raw.key).import_id
        return import_id, links.raw_import(import_id)
    sent = ImportForm.read(form)
    build_id = frame.training.start_build(sent.request(), sent.key).build_id
    return build_id, links.build(build_id)


def _dataset_routes(frame: Frame) -> APIRouter:
    router = APIRouter()
    researcher = Annotated[Reader, Depends(frame.auth.researcher)]

    @router.get("/datasets/{dataset_id}")
    def dataset(request: Request, dataset_id: str, reader: researcher) -> Response:
        found, balance = frame.training.dataset(dataset_id), frame.training.balance(dataset_id)
        card, report = frame.training.card(dataset_id) or (None, None)
        context: dict[str, Any] = {"dataset": found, "balance": balance, "rows": balance_rows(balance)}
        context |= {"card": card, "report": report}
        return frame.page("dataset.html", request, reader, **context)

    @router.get("/datasets/{dataset_id}/patches")
    def patches(
        request: Request, dataset_id: str, reader: researcher, wanted: Annotated[PatchFilter, Query()]
    ) -> Response:
        number = page_of(request)
        query = window_of_page(number, PATCHES_A_PAGE).model_dump() | {"split": wanted.split}
        if wanted.label is not None:
            query["label"] = wanted.label
        part = frame.training.patches(dataset_id, query)
        context: dict[str, Any] = {
            "dataset": frame.training.dataset(dataset_id),
            "notice": frame.training.balance(dataset_id).notice,
            "patches": part.patches,
            "total": part.total,
            "wanted": wanted,
            "page": number,
            "pages": pages_of(part.total, PATCHES_A_PAGE),
        }
        return frame.page("dataset_patches.html", request, reader, **context)

    @router.get("/dataset-patches/{dataset_id}/{number}.jpg")
    async def picture(dataset_id: str, number: str, _: researcher) -> Response:
        answer = await frame.training.patch_picture(dataset_id, number_of(number))
        answer.headers["cache-control"] = CACHING
        return answer

    return router


def _build_routes(frame: Frame) -> APIRouter:
    router = APIRouter()
    researcher = Annotated[Reader, Depends(frame.auth.researcher)]
    trainer = Annotated[Reader, Depends(frame.auth.trainer)]

    def page(request: Request, reader: Reader, build_id: str, error: PrimitivesError | None = None) -> Response:
        found = frame.training.build(build_id)
        context: dict[str, Any] = {"build": found, "ended": has_ended(found)}
        context["trouble"] = str(error) if error is not None else ""
        return frame.page("build.html", request, reader, status_of(error) if error is not None else 200, **context)

    @router.get("/builds/{build_id}")
    def build(request: Request, build_id: str, reader: researcher) -> Response:
        return page(request, reader, build_id)

    @router.get("/builds/{build_id}/events")
    async def events(request: Request, build_id: str, _: researcher) -> Response:
        return await frame.training.events("build", build_id, request.headers.get("last-event-id", ""))

    @router.post("/builds/{build_id}/{verb}")
    def act(
        request: Request, build_id: str, verb: Verb, reader: trainer, csrf: Annotated[str, Form()] = ""
    ) -> Response:
        frame.auth.check_control(request, "training", csrf)
        try:
            frame.training.act_on_build(verb, build_id)
        except Conflict as error:
            return page(request, reader, build_id, error)
        log.info("data set import controlled on a page", build=build_id, verb=verb, reader=reader.name)
        return RedirectResponse(links.build(build_id), status_code=303)

    return router


def balance_rows(balance: Balance) -> list[dict[str, Any]]:
    """A row for each split: its patients and patches, and by class the patches, patients and share."""
    rows: dict[str, dict[str, Any]] = {}
    for one in balance.classes:
        row = rows.setdefault(one.split, {"split": one.split, "classes": [], "patches": 0})
        row["classes"].append(one)
        row["patches"] += one.patches
    for split, row in rows.items():
        row["patients"] = balance.patients.get(split, 0)
        row["shares"] = [one.patches / max(row["patches"], 1) for one in row["classes"]]
    return list(rows.values())
