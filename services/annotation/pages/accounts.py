"""The page on which administrators manage accounts."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import Response

from services.annotation.auth import check_csrf
from services.annotation.pages import links
from services.annotation.pages.frame import Frame
from services.annotation.roles import Role
from services.annotation.workflow.account_rows import AccountView
from services.annotation.workflow.accounts import Accounts, Invitation
from services.annotation.workflow.readers import Reader
from services.common.access.audit import current_caller, name_caller
from services.common.errors import Conflict, InvalidInput
from services.common.http.app import status_of

RIGHTS_IN_WORDS = {
    Role.ADMINISTRATOR: "everything, and these accounts",
    Role.RESEARCHER: "opens studies; sees units, ranks and the state of the services",
    Role.READER: "reads studies and answers",
    Role.ADJUDICATOR: "reads, answers, and settles conflicts between answers",
}

Verb = Literal["role", "disable", "enable", "end-sessions", "invite"]


def routes(frame: Frame, accounts: Accounts) -> APIRouter:
    """The routes of accounts."""
    router = APIRouter(include_in_schema=False)
    administrator = Annotated[Reader, Depends(frame.auth.administrator)]

    def page(request: Request, reader: Reader, status: int = 200, **shown: Any) -> Response:
        context: dict[str, Any] = {
            "invitation": None,
            "link": "",
            "typed": "",
            "fault": "",
            "outcome": "",
            "trouble": "",
        }
        context |= {"accounts": accounts.all(), "roles": RIGHTS_IN_WORDS, "typed_role": Role.READER} | shown
        return frame.page("accounts.html", request, reader, status, **context)

    def invited(request: Request, reader: Reader, invitation: Invitation) -> Response:
        origin = frame.auth.sessions.settings.public_origin or str(request.base_url).rstrip("/")
        return page(request, reader, invitation=invitation, link=links.invitation(origin, invitation.token))

    @router.get("/accounts")
    def show(request: Request, reader: administrator) -> Response:
        return page(request, reader)

    @router.post("/accounts")
    def invite(
        request: Request,
        reader: administrator,
        name: Annotated[str, Form()] = "",
        role: Annotated[Role, Form()] = Role.READER,
        csrf: Annotated[str, Form()] = "",
    ) -> Response:
        _check(request, reader, csrf)
        try:
            invitation = accounts.invite(name, role)
        except (InvalidInput, Conflict) as error:
            return page(request, reader, status_of(error), typed=name, typed_role=role, fault=str(error))
        return invited(request, reader, invitation)

    @router.post("/accounts/{account_id}/{verb}")
    def act(
        request: Request,
        reader: administrator,
        account_id: str,
        verb: Verb,
        role: Annotated[Role | None, Form()] = None,
        csrf: Annotated[str, Form()] = "",
    ) -> Response:
        _check(request, reader, csrf)
        try:
            if verb == "invite":
                return invited(request, reader, accounts.invite_again(account_id))
            return page(request, reader, outcome=_outcome(verb, _changes(accounts, role)[verb](account_id)))
        except Conflict as error:
            return page(request, reader, status_of(error), trouble=str(error))

    return router


def _check(request: Request, reader: Reader, csrf: str) -> None:
    """Raise Forbidden unless the form belongs to the session. What follows in the audit log is the administrator's."""
    check_csrf(request, csrf)
    name_caller(current_caller(), reader.name)


def _changes(accounts: Accounts, role: Role | None) -> dict[str, Callable[[str], AccountView]]:
    """By verb, the change of an account."""
    return {
        "role": lambda account_id: accounts.change(account_id, role=role),
        "disable": lambda account_id: accounts.change(account_id, enabled=False),
        "enable": lambda account_id: accounts.change(account_id, enabled=True),
        "end-sessions": accounts.end_sessions,
    }


def _outcome(verb: str, view: AccountView) -> str:
    if verb == "role":
        return f"{view.name} has the role {view.role} now."
    if verb == "end-sessions":
        return f"All sessions of {view.name} have ended."
    return f"The account of {view.name} is {view.state} now."
