"""Finds the reader of a request: a browser has a session, a program names its reader.

If the service has access tokens, a program must send one (see services/common/http/app.py), and a reader must enter one
to sign in, or the password of an account where accounts are in use. A session ends when its token or its account does
(see `Sessions`).
"""

from dataclasses import dataclass, field

from fastapi import Request
from starlette.responses import Response

from services.annotation.account_sign_in import AccountSignIn
from services.annotation.sessions import HOST_TOKEN, Sessions, csrf_matches
from services.annotation.workflow.account_rows import Account
from services.annotation.workflow.readers import Reader, Readers, sees_units
from services.common.access.audit import Actor, Audit, current_caller, name_caller
from services.common.access.tokens import Access, Caller, Tokens
from services.common.errors import Forbidden, InvalidInput, NotSignedIn
from services.common.http.app import SAFE_METHODS

COOKIE = "primitives_session"
HOST_COOKIE = "__Host-primitives_session"
"""The cookie over TLS. Browsers accept a cookie of this name only from this host over TLS, so neither another host of
the domain nor somebody in the network can plant a session of their own."""
READER_HEADER = "x-reader"
CSRF_HEADER = "x-csrf-token"


@dataclass
class Auth:
    """Finds the reader of a request."""

    readers: Readers
    sessions: Sessions
    tokens: Tokens | None = None
    audit: Audit = field(default_factory=lambda: Audit("annotation"))
    by_account: AccountSignIn | None = None
    """The use cases of accounts, if they are in use."""

    def session_reader(self, request: Request) -> Reader | None:
        """The reader of the session's cookie."""
        reader = self.sessions.reader(token_of(request))
        if reader is not None:
            request.state.reader = reader.name
        return reader

    def page_reader(self, request: Request) -> Reader:
        """The reader of a page or picture. NotSignedIn if there is no session."""
        reader = self.session_reader(request)
        if reader is None:
            raise NotSignedIn("Please sign in to see this page.")
        return reader

    def may_read_status(self, request: Request) -> None:
        """Raise Forbidden if the token of a call is a reader's without the scope for units: counts and errors may
        contain what studies withhold."""
        caller: Caller | None = getattr(request.state, "caller", None)
        if caller is not None and caller.reader and not sees_units(caller):
            raise Forbidden("A reader's token does not allow reading the status of the service.")

    def researcher(self, request: Request) -> Reader:
        """The reader of a page that shows classes, statistics or the state of services. Forbidden if the access token
        of the session only allows reading studies."""
        reader = self.page_reader(request)
        if not reader.sees_units:
            raise Forbidden(
                "These pages show what studies withhold from their readers. To see them, sign in as a researcher, or "
                "with an access token that has the scope activation_extraction:read."
            )
        return reader

    def manager(self, request: Request) -> Reader:
        """The reader of a page for the owners of studies. Forbidden if the role does not allow managing studies."""
        reader = self.page_reader(request)
        if not reader.manages:
            raise Forbidden("This page is for the owners of studies. Sign in as a researcher or an administrator.")
        return reader

    def trainer(self, request: Request) -> Reader:
        """The reader of a page that imports data sets, or starts or controls runs or plans. Forbidden if the session
        does not allow it."""
        reader = self.researcher(request)
        if not reader.trains:
            raise Forbidden(
                "To do this, sign in as a researcher or an administrator, or with an access token that has the scope "
                "training:write and belongs to no reader."
            )
        return reader

    def check_control(self, request: Request, service: str, csrf: str) -> None:
        """Raise Forbidden unless the session allows a form to change the runs, plans or data sets of a service."""
        check_csrf(request, csrf)
        if not self.sessions.controls(token_of(request), service):
            raise Forbidden(f"To do this, sign in with an access token that has the scope {service}:write.")

    def check_manager(self, request: Request, reader: Reader, csrf: str) -> None:
        """Raise Forbidden unless the form belongs to the session. What follows in the audit log is the manager's."""
        check_csrf(request, csrf)
        name_caller(current_caller(), reader.name)

    def still_researcher(self, request: Request) -> bool:
        """Whether the session of a stream that is still open still allows it. It does not keep the session open."""
        reader = self.sessions.reader(token_of(request), by_person=False)
        return reader is not None and reader.sees_units

    def administrator(self, request: Request) -> Reader:
        """The reader of a page that manages accounts. Forbidden if the session is not an administrator's."""
        reader = self.page_reader(request)
        if not reader.administers:
            raise Forbidden("Only administrators manage accounts.")
        return reader

    def may_operate(self, request: Request, service: str, access: Access = "write") -> bool:
        """Whether the session allows reading the parked messages of a service, or replaying and discarding them: its
        access token must allow that there, and belong to no reader."""
        return self.sessions.allows(token_of(request), service, access)

    def check_operator(self, request: Request, service: str, csrf: str) -> None:
        """Raise Forbidden unless the session allows a form to act on the parked messages of a service."""
        check_csrf(request, csrf)
        if not self.may_operate(request, service):
            raise Forbidden(f"To do this, sign in with an access token that has the scope {service}:write.")

    def api_reader(self, request: Request) -> Reader:
        """The reader of an API call: the one that the header names, or the one of the session. NotSignedIn if there is
        neither. With a session, calls that change something must carry its CSRF token."""
        reader = self.optional_reader(request)
        if reader is None:
            raise NotSignedIn(f"name the reader in the header {READER_HEADER}, or sign in")
        return reader

    def optional_reader(self, request: Request) -> Reader | None:
        """As `api_reader`, but None if there is no reader."""
        caller: Caller | None = getattr(request.state, "caller", None)
        named = request.headers.get(READER_HEADER)
        if caller is not None or named is not None:
            reader = self.readers.of_call(
                caller, _utf8(named) if named is not None else None, reads=request.method in SAFE_METHODS
            )
            request.state.reader = reader.name if reader is not None else ""
            return reader
        reader = self.session_reader(request)
        if reader is not None and request.method not in SAFE_METHODS:
            check_csrf(request, request.headers.get(CSRF_HEADER, ""))
        return reader

    def sign_in(self, request: Request, name: str, access_token: str, password: str = "") -> tuple[Reader, str]:
        """Open a session for a name and record it. Returns the reader and the session's token, for `set_cookie`.

        InvalidInput if the name is not valid. If the service has access tokens: NotSignedIn if this one is unknown,
        Forbidden if it does not allow writing or belongs to another reader. Where accounts are in use, a name without
        an access token needs the password of its account: WrongPassword, or SignInDelayed after failures.
        """
        if self.by_account is not None and not access_token.strip():
            return self._sign_in_with_password(request, self.by_account, name, password)
        caller = None
        try:
            if self.tokens is not None:
                caller = self.tokens.holder(access_token.strip())
                caller.check("annotation", "write")
            reader = self.readers.of_call(caller, name, reads=False)
        except (NotSignedIn, Forbidden) as error:  # without the name: a person may type a secret into its field
            self.record_refusal(error, caller.name if caller is not None else "")
            raise
        if reader is None:
            raise InvalidInput("A reader has a name.")
        token = self.sessions.open(reader, token_of(request), caller, browser=browser_of(request))
        self.audit.record("sign_in", actor=Actor(caller.name if caller is not None else "", reader.name))
        return reader, token

    def sign_in_to(self, request: Request, account: Account) -> tuple[Reader, str]:
        """Open a session of an account, whose holder has proved who they are, and record it."""
        token = self.sessions.open(account.reader, token_of(request), account=account, browser=browser_of(request))
        self.audit.record("sign_in", actor=Actor(reader=account.reader.name))
        return account.reader, token

    def _sign_in_with_password(
        self, request: Request, by_account: AccountSignIn, name: str, password: str
    ) -> tuple[Reader, str]:
        try:
            account = by_account.by_password.verified(name, password, address_of(request))
        except NotSignedIn as error:
            self.record_refusal(error)
            raise
        return self.sign_in_to(request, account)

    def record_refusal(self, error: Exception, caller: str = "") -> None:
        """Record that a sign-in was refused."""
        self.audit.record("sign_in", outcome=f"refused: {type(error).__name__}", actor=Actor(caller))

    def set_cookie(self, response: Response, token: str) -> None:
        """Send a session's token to the browser, in a cookie that scripts cannot read."""
        settings = self.sessions.settings
        response.set_cookie(
            HOST_COOKIE if settings.over_tls else COOKIE,
            token,
            max_age=int(settings.session_absolute_s),
            path="/",
            secure=settings.over_tls,
            httponly=True,
            samesite="lax",
        )
        if settings.over_tls:  # the new session replaces one that was opened under the name before
            response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="lax")

    def sign_out(self, request: Request, response: Response) -> None:
        """End the session and record it."""
        reader = self.session_reader(request)
        self.sessions.close(token_of(request))
        self.audit.record("sign_out", actor=Actor(reader=reader.name if reader is not None else ""))
        secure = self.sessions.settings.over_tls
        for name in (COOKIE, HOST_COOKIE) if secure else (COOKIE,):
            response.delete_cookie(name, path="/", secure=secure, httponly=True, samesite="lax")


def token_of(request: Request) -> str:
    """The token of the session from the request's cookie; empty if there is none.

    Under COOKIE, a token that was made for HOST_COOKIE is not accepted: somebody else has put it there.
    """
    if HOST_COOKIE in request.cookies:
        return request.cookies[HOST_COOKIE]
    token = request.cookies.get(COOKIE, "")
    return "" if token.startswith(HOST_TOKEN) else token


def address_of(request: Request) -> str:
    """The network address of a request. Behind a proxy that FORWARDED_ALLOW_IPS names, it is the proxy's caller."""
    return request.client.host if request.client is not None else ""


def browser_of(request: Request) -> str:
    """What the browser of a request calls itself."""
    return "".join(letter for letter in request.headers.get("user-agent", "") if letter.isprintable())


def check_csrf(request: Request, csrf: str) -> None:
    """Forbidden unless `csrf` is the CSRF token of the request's session."""
    if not csrf_matches(token_of(request), csrf):
        raise Forbidden("This form belongs to an earlier session. Reload the page and send it again.")


def _utf8(header: str) -> str:
    """A header as UTF-8: names are UTF-8, but header bytes arrive decoded as Latin-1."""
    try:
        return header.encode("latin-1").decode("utf-8")
    except UnicodeError as error:
        raise InvalidInput(f"the header {READER_HEADER} is not UTF-8") from error
