"""Signing in and out."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from services.annotation.auth import check_csrf
from services.annotation.pages import links
from services.annotation.pages.frame import Frame
from services.annotation.sign_in_limits import SignInDelayed
from services.annotation.workflow.password_sign_in import WrongPassword
from services.common.errors import Forbidden, InvalidInput, NotSignedIn, PrimitivesError, TooMany
from services.common.http.app import status_of

SIGN_IN_FAULTS = (InvalidInput, NotSignedIn, Forbidden, TooMany)
"""The errors of a name, a password or an access token when a reader signs in."""


def faults_of(error: PrimitivesError | None) -> dict[str, str]:
    """The error messages of the name (`fault`), of the password, and of the access token."""
    faults = {"fault": "", "password_fault": "", "token_fault": ""}
    if error is None:
        return faults
    if isinstance(error, InvalidInput):
        return faults | {"fault": str(error)}
    of_password = isinstance(error, WrongPassword | TooMany)
    return faults | {"password_fault" if of_password else "token_fault": str(error)}


def add_retry_after(response: Response, error: PrimitivesError) -> None:
    """Say in the header Retry-After how long the next attempt to sign in has to wait."""
    if isinstance(error, SignInDelayed):
        response.headers["retry-after"] = str(error.wait_s)


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
        password: Annotated[str, Form()] = "",
        next: Annotated[str, Form()] = "/",
    ) -> Response:
        target = links.local_path(next)
        try:
            _, token = frame.auth.sign_in(request, name, access_token, password)
        except SIGN_IN_FAULTS as error:
            context: dict[str, Any] = {"next": target, "typed": name} | faults_of(error)
            refused = frame.page("sign_in.html", request, None, status=status_of(error), **context)
            add_retry_after(refused, error)
            return refused
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
