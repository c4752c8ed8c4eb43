"""Signing in by name, and out."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from services.annotation.auth import check_csrf
from services.annotation.pages import links
from services.annotation.pages.frame import Frame
from services.common.errors import InvalidInput


def routes(frame: Frame) -> APIRouter:
    """The routes of signing in and out."""
    router = APIRouter(include_in_schema=False)

    @router.get("/sign-in")
    def sign_in_page(request: Request, next: str = "/") -> Response:
        reader = frame.auth.session_reader(request)
        return frame.page("sign_in.html", request, reader, next=links.local_path(next), typed="", fault="")

    @router.post("/sign-in")
    def sign_in(request: Request, name: Annotated[str, Form()] = "", next: Annotated[str, Form()] = "/") -> Response:
        target = links.local_path(next)
        try:
            _, token = frame.auth.sign_in(request, name)
        except InvalidInput as error:
            facts = {"next": target, "typed": name, "fault": str(error)}
            return frame.page("sign_in.html", request, None, status=422, **facts)
        response = RedirectResponse(target, status_code=303)
        frame.auth.give_cookie(response, token)
        return response

    @router.post("/sign-out")
    def sign_out(request: Request, csrf: Annotated[str, Form()] = "") -> Response:
        response = RedirectResponse("/sign-in", status_code=303)
        if frame.auth.session_reader(request) is not None:
            check_csrf(request, csrf)
            frame.auth.sign_out(request, response)
        return response

    return router
