"""The pages of unit labels, for adjudicators and the owners of studies."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import ValidationError
from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from services.annotation.answer import InvalidAnswer
from services.annotation.auth import check_csrf
from services.annotation.label_schemas import LabelCase, SettleLabelRequest
from services.annotation.pages import links
from services.annotation.pages.frame import Frame
from services.annotation.pages.links import number_of
from services.annotation.pages.overview import page_of, pages_of, window_of_page
from services.annotation.pages.reading import ReadingDraft, sent_form
from services.annotation.picture_responses import grey_response, image_response
from services.annotation.sources import Region
from services.annotation.workflow.readers import Reader
from services.common.errors import Conflict

LABELS_A_PAGE = 50
Key = tuple[str, int]


def routes(frame: Frame) -> APIRouter:
    """The routes of labels."""
    router = APIRouter(include_in_schema=False)
    signed_in = Annotated[Reader, Depends(frame.auth.page_reader)]
    place = "/labels/{study_id}/{version}"

    @router.get(place)
    def labels(request: Request, study_id: str, version: int, reader: signed_in) -> Response:
        page = page_of(request)
        part = frame.labels.all((study_id, version), may_settle(reader), window_of_page(page, LABELS_A_PAGE))
        protocol = frame.protocols.get((study_id, version))
        form = protocol.document.resolved_questionnaire()
        context: dict[str, Any] = {
            "part": part,
            "protocol": protocol,
            "questions": [question for question in form.questions if question.kind in ("choice", "terms")],
            "vocabulary": protocol.document.resolved_vocabulary(),
            "page": page,
            "pages": pages_of(part.total, LABELS_A_PAGE),
        }
        return frame.page("labels.html", request, reader, **context)

    @router.get(f"{place}/{{item}}")
    def label(request: Request, study_id: str, version: int, item: str, reader: signed_in, saved: str = "") -> Response:
        case = frame.labels.one((study_id, version), number_of(item), may_settle(reader))
        return _page(frame, request, reader, case, saved=saved == "yes")

    @router.post(f"{place}/{{item}}")
    def settle(
        request: Request,
        study_id: str,
        version: int,
        item: str,
        reader: signed_in,
        form: Annotated[FormData, Depends(sent_form)],
    ) -> Response:
        check_csrf(request, str(form.get("csrf", "")))
        key, draft, reason = (study_id, version), ReadingDraft.of_form(form), str(form.get("reason", ""))
        try:
            wanted = SettleLabelRequest(answers=draft.answers, reason=reason, base_version=draft.base_version)
            frame.labels.settle(key, number_of(item), reader, wanted, may_settle(reader))
        except (InvalidAnswer, Conflict, ValidationError) as error:
            case = frame.labels.one(key, number_of(item), may_settle(reader))
            faults = error.faults if isinstance(error, InvalidAnswer) else {}
            trouble = str(error) if isinstance(error, Conflict) else ""
            status = 409 if isinstance(error, Conflict) else 422
            shown: dict[str, Any] = {"draft": draft, "reason": reason, "faults": faults, "trouble": trouble}
            return _page(frame, request, reader, case, status, **shown)
        return RedirectResponse(f"{links.label(study_id, version, number_of(item))}?saved=yes", status_code=303)

    @router.get(f"{place}/{{item}}/pictures/{{number}}.jpg")
    def picture(study_id: str, version: int, item: str, number: str, reader: signed_in) -> Response:
        key = study_id, version
        return image_response(frame.labels.picture(key, number_of(item), number_of(number), may_settle(reader)))

    @router.get(f"{place}/{{item}}/mammograms/{{number}}.jpg")
    def mammogram(study_id: str, version: int, item: str, number: str, reader: signed_in) -> Response:
        key = study_id, version
        return image_response(frame.labels.mammogram(key, number_of(item), number_of(number), may_settle(reader)))

    @router.get(f"{place}/{{item}}/patches/{{number}}.grey")
    def source(study_id: str, version: int, item: str, number: str, reader: signed_in) -> Response:
        key = study_id, version
        return grey_response(frame.labels.source(key, number_of(item), number_of(number), may_settle(reader)))

    @router.get(f"{place}/{{item}}/mammograms/{{number}}.grey")
    def region_of_mammogram(
        study_id: str, version: int, item: str, number: str, reader: signed_in, region: str = ""
    ) -> Response:
        wanted = number_of(item), number_of(number), Region.parse(region)
        return grey_response(frame.labels.region((study_id, version), *wanted, may_settle(reader)))

    return router


def may_settle(reader: Reader) -> bool:
    """Whether a reader may see and settle labels."""
    return reader.adjudicates or reader.manages


def _page(
    frame: Frame, request: Request, reader: Reader, case: LabelCase, status: int = 200, **context: Any
) -> Response:
    label = case.label
    shown: dict[str, Any] = {"case": case, "list": case, "faults": {}, "trouble": ""}
    shown |= {"study": frame.studies.get(case.study_id), "saved": False, "reason": ""}
    shown |= {"draft": ReadingDraft(label.answers, base_version=label.label_version)}
    return frame.page("label.html", request, reader, status, **(shown | context))
