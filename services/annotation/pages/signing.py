"""Signing in and out."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from services.annotation.auth import check_csrf
from services.annotation.pages import links
from services.annotation.pages.frame import Frame
from services.common.errors import Forbidden, InvalidInput, NotSignedIn, PrimitivesError
from services.common.http.app import status_of

SIGN_IN_FAULTS = (InvalidInput, NotSignedIn, Forbidden)
"""The errors of a name or an access token when a reader signs in."""


def faults_of(error: PrimitivesError | None) -> dict[str, str]:
    """The error message of the name (`fault`) and of the access token (`token_fault`)."""
    is_name = isinstance(error, InvalidInput)
    return {"fault": str(error) if is_name else "", "token_fault": "" if error is None or is_name else str(error)}


def routes(frame: Frame) -> APIRouter:
    """The routes of signing in and out."""
    router = APIRouter(include_in_schema=False)

    @router.get("/sign-in")
    def sign_in_page(request: Request, next: str = "/") -> Response:
        reader = frame.auth.session_reader(request)
        context: dict[str, Any] = {"next": links.local_path(next), "typed": ""} | faults_of(None)
        return frame.page("sign_in.html", request, reader, **context)

    @router.post("/sign-in")
    def sign_in(
        request: Request,
        name: Annotated[str, Form()] = "",
        access_token: Annotated[str, Form()] = "",
        next: Annotated[str, Form()] = "/",
    ) -> Response:
        target = links.local_path(next)
        try:
            _, token = frame.auth.sign_in(request, name, access_token)
        except SIGN_IN_FAULTS as error:
            context: dict[str, Any] = {"next": target, "typed": name} | faults_of(error)
            return frame.page("sign_in.html", request, None, status=status_of(error), **context)
        response = RedirectResponse(target, status_code=303)
        frame.auth.set_cookie(response, token)
        return response

    @router.post("/sign-out")
    def sign_out(request: Request, csrf: Annotated[str, Form()] = "") -> Response:
        # The browser keeps pictures of patients for a year. They go with the session, also one that has ended already.
        response = RedirectResponse("/sign-in", status_code=303, headers={"clear-site-data": '"cache"'})
        if frame.auth.session_reader(request) is not None:
            check_csrf(request, csrf)
            frame.auth.sign_out(request, response)
        return response

    return router
