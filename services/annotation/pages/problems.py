"""Errors, as pages for readers and as JSON for programs."""

from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response

from services.annotation.guard import HEADERS
from services.annotation.pages import links
from services.annotation.pages.frame import Frame
from services.common.errors import NotSignedIn, PrimitivesError
from services.common.http.app import Problem, problem_of, status_of
from services.common.observability.logs import get_logger
from services.common.redaction import quoted

log = get_logger(__name__)

FOR_PROGRAMS = ("/v1", "/static/", "/healthz", "/readyz", "/metrics", "/openapi.json")
"""Beginnings of the addresses that programs and scripts call."""
PICTURES_AND_DRAFTS = (".jpg", ".webp", ".grey", "/draft")
"""Ends of the addresses of parts of a page."""
TITLES = {
    401: "Please sign in",
    403: "Not possible",
    404: "Not found",
    405: "Not possible",
    409: "Changed in the meantime",
    422: "Not understood",
    429: "Too many at once",
    503: "Not available",
}


def is_for_programs(path: str) -> bool:
    """Whether errors of an address are answered with JSON, not with a page."""
    return path.startswith(FOR_PROGRAMS) or path.endswith(PICTURES_AND_DRAFTS)


def add_problem_pages(app: FastAPI, frame: Frame) -> None:
    """Answer errors of pages with an error page.

    The handlers run in threads, because a page reads the session from the records.
    """

    def page(request: Request, status: int, message: str) -> Response:
        title = TITLES.get(status, "Something went wrong")
        try:
            reader = frame.auth.session_reader(request)
        except PrimitivesError:  # the records do not answer: show the error without a reader
            reader = None
        return frame.page("problem.html", request, reader, status, title=title, message=message)

    @app.exception_handler(PrimitivesError)
    def problem(request: Request, error: PrimitivesError) -> Response:
        if is_for_programs(request.url.path):
            return problem_of(error)
        if isinstance(error, NotSignedIn) and request.method == "GET":
            target = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
            return RedirectResponse(f"/sign-in?next={quote(links.local_path(target), '')}", status_code=303)
        return page(request, status_of(error), str(error))

    @app.exception_handler(HTTPException)
    def http_problem(request: Request, error: HTTPException) -> Response:
        if is_for_programs(request.url.path):
            return problem_of(error)
        return page(request, error.status_code, "There is no such page." if error.status_code == 404 else error.detail)

    @app.exception_handler(RequestValidationError)
    def not_understood(request: Request, error: RequestValidationError) -> Response:
        if is_for_programs(request.url.path):
            return problem_of(error)
        return page(request, 422, "The address or the form contains a value that this page does not accept.")

    @app.exception_handler(Exception)
    def defect(request: Request, error: Exception) -> Response:
        log.error("request failed", path=quoted(request.url.path), exc_info=error)
        if is_for_programs(request.url.path):
            body = Problem(error="Defect", message="The service has a defect; its log has the details.")
            return JSONResponse(body.model_dump(), status_code=500, headers=HEADERS)
        answer = page(request, 500, "The service has a defect; its log has the details. Nothing was saved.")
        answer.headers.update(HEADERS)  # this response does not pass through the guard
        return answer
