"""A reader's own page: password and sessions. And the page of an invitation, where an account begins."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from services.annotation.auth import address_of, check_csrf, token_of
from services.annotation.pages.frame import Frame
from services.annotation.pages.signing import add_retry_after
from services.annotation.passwords import LONGEST, SHORTEST
from services.annotation.sessions import digest_of
from services.annotation.workflow.account_rows import Account
from services.annotation.workflow.accounts import Accounts
from services.annotation.workflow.password_sign_in import PasswordSignIn, WrongPassword
from services.annotation.workflow.readers import Reader
from services.common.errors import Conflict, InvalidInput, TooMany
from services.common.http.app import status_of

LENGTHS = {"shortest": SHORTEST, "longest_password": LONGEST}


def routes(frame: Frame) -> APIRouter:
    """The routes of one's own sessions."""
    router = APIRouter(include_in_schema=False)
    signed_in = Annotated[Reader, Depends(frame.auth.page_reader)]

    @router.get("/account")
    def show(request: Request, reader: signed_in) -> Response:
        return own_page(frame, request, reader)

    @router.post("/account/sessions/end")
    def end_others(request: Request, reader: signed_in, csrf: Annotated[str, Form()] = "") -> Response:
        check_csrf(request, csrf)
        frame.auth.sessions.close_others(reader, token_of(request))
        frame.auth.audit.record("sessions_ended", reader.name)
        return own_page(frame, request, reader, outcome="Your other sessions have ended.")

    @router.post("/account/sessions/{session_id}/end")
    def end(request: Request, reader: signed_in, session_id: str, csrf: Annotated[str, Form()] = "") -> Response:
        check_csrf(request, csrf)
        frame.auth.sessions.close_own(reader, session_id)
        frame.auth.audit.record("sessions_ended", reader.name)
        return own_page(frame, request, reader, outcome="The session has ended.")

    return router


def password_routes(frame: Frame, by_password: PasswordSignIn) -> APIRouter:
    """The route to change one's own password."""
    router = APIRouter(include_in_schema=False)

    @router.post("/account/password")
    def change(
        request: Request,
        reader: Annotated[Reader, Depends(frame.auth.page_reader)],
        old: Annotated[str, Form()] = "",
        new: Annotated[str, Form()] = "",
        csrf: Annotated[str, Form()] = "",
    ) -> Response:
        check_csrf(request, csrf)
        try:
            by_password.change(reader, old, new, address_of(request), digest_of(token_of(request)))
        except (WrongPassword, TooMany) as error:
            fault = str(error) if isinstance(error, TooMany) else "This is not your password."
            refused = own_page(frame, request, reader, status_of(error), old_fault=fault)
            add_retry_after(refused, error)
            return refused
        except (InvalidInput, Conflict) as error:
            return own_page(frame, request, reader, status_of(error), new_fault=str(error))
        return own_page(
            frame, request, reader, outcome="Your password has changed, and your other sessions have ended."
        )

    return router


def invitation_routes(frame: Frame, accounts: Accounts) -> APIRouter:
    """The routes of an invitation. Its token is in the query of the link and in the form, never in a path: paths are in
    the audit log."""
    router = APIRouter(include_in_schema=False)

    def page(request: Request, token: str, status: int = 200, fault: str = "") -> Response:
        context: dict[str, Any] = {"invited": accounts.invited(token), "invitation_token": token, "fault": fault}
        context |= LENGTHS
        return frame.page("invitation.html", request, None, status, **context)

    @router.get("/invitation")
    def show(request: Request, token: Annotated[str, Query()] = "") -> Response:
        return page(request, token)

    @router.post("/invitation")
    def accept(request: Request, token: Annotated[str, Form()] = "", password: Annotated[str, Form()] = "") -> Response:
        try:
            account: Account = accounts.accept(token, password)
        except (InvalidInput, TooMany) as error:
            return page(request, token, status_of(error), str(error))
        response = RedirectResponse("/", status_code=303)
        frame.auth.set_cookie(response, frame.auth.sign_in_to(request, account)[1])
        return response

    return router


def own_page(frame: Frame, request: Request, reader: Reader, status: int = 200, **shown: Any) -> Response:
    """The page of a reader's own account or name."""
    context: dict[str, Any] = {"outcome": "", "old_fault": "", "new_fault": ""} | LENGTHS | shown
    context["sessions"] = frame.auth.sessions.own(reader, token_of(request))
    return frame.page("account.html", request, reader, status, **context)
