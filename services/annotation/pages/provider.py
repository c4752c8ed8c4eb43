"""Signing in at the OpenID provider: two redirects, there and back.

The first is a link and no form, because the content security policy lets forms of ours lead to no other origin, also
by a redirect. The state in the cookie ties the way back to the browser that began.
"""

import hmac
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from services.annotation.account_sign_in import CALLBACK
from services.annotation.pages import links
from services.annotation.pages.frame import Frame
from services.annotation.workflow.provider_sign_in import LASTS, ProviderSignIn
from services.common.errors import Forbidden, NotSignedIn
from services.common.redaction import quoted

STATE_COOKIE = "primitives_sign_in"
HOST_STATE_COOKIE = f"__Host-{STATE_COOKIE}"
"""The cookie over TLS, which no other host of the domain can set."""
LONGEST = 4000
"""Characters of a code."""

Text = Annotated[str, Query(max_length=LONGEST)]


def routes(frame: Frame, sign_in: ProviderSignIn) -> APIRouter:
    """The routes to the provider and back."""
    router = APIRouter(include_in_schema=False)
    over_tls = frame.auth.sessions.settings.over_tls
    cookie = HOST_STATE_COOKIE if over_tls else STATE_COOKIE

    @router.get("/sign-in/provider")
    def begin(next: Text = "/", token: Text = "") -> Response:
        begun = sign_in.begin(links.local_path(next), token)
        response = RedirectResponse(begun.address, status_code=303)
        response.set_cookie(
            cookie,
            begun.state,
            max_age=int(LASTS.total_seconds()),
            path="/",
            secure=over_tls,
            httponly=True,
            samesite="lax",
        )
        return response

    @router.get(CALLBACK)
    def end(request: Request, state: Text = "", code: Text = "", error: Text = "", iss: Text = "") -> Response:
        try:
            target, token = sign_in_with(request, state, code, error, iss)
        except (Forbidden, NotSignedIn) as refused:
            frame.auth.record_refusal(refused)
            raise Forbidden(str(refused)) from refused  # a 401 would send the browser to the page to sign in
        response = RedirectResponse(target, status_code=303)
        response.delete_cookie(cookie, path="/", secure=over_tls, httponly=True, samesite="lax")
        frame.auth.set_cookie(response, token)
        return response

    def sign_in_with(request: Request, state: str, code: str, error: str, iss: str) -> tuple[str, str]:
        """The target and the token of a new session."""
        expected = request.cookies.get(cookie, "")
        if not expected or not hmac.compare_digest(expected.encode(), state.encode()):
            raise Forbidden("This sign-in was not begun in this browser. Sign in again.")
        if iss not in ("", sign_in.provider.issuer):
            raise Forbidden("The answer is not one of our provider.")
        if error or not code:
            raise Forbidden(f"The provider did not sign you in: {quoted(error or 'no code')}")
        account, target = sign_in.end(state, code)
        return target, frame.auth.sign_in_to(request, account)[1]

    return router
