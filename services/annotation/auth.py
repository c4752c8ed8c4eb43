"""Who makes a request: a browser with a session, or a program that names its reader.

Where the service has tokens, a program must show one
(see services/common/http/app.py), and so must a reader who signs in.
A session ends when its token does (see `Sessions`).
"""

from dataclasses import dataclass

from fastapi import Request
from starlette.responses import Response

from services.annotation.sessions import Sessions, csrf_matches
from services.annotation.workflow.readers import Reader, Readers
from services.common.access.tokens import Caller, Tokens
from services.common.errors import Forbidden, InvalidInput, NotSignedIn
from services.common.http.app import SAFE_METHODS

COOKIE = "primitives_session"
READER_HEADER = "x-reader"
CSRF_HEADER = "x-csrf-token"


@dataclass
class Auth:
    """Finds the reader of a request."""

    readers: Readers
    sessions: Sessions
    tokens: Tokens | None = None

    def session_reader(self, request: Request) -> Reader | None:
        """The reader of the session's cookie."""
        return self.sessions.reader(token_of(request))

    def page_reader(self, request: Request) -> Reader:
        """The reader of a page or picture. NotSignedIn without a session."""
        reader = self.session_reader(request)
        if reader is None:
            raise NotSignedIn("Please sign in to see this page.")
        return reader

    def researcher(self, request: Request) -> Reader:
        """The reader of a page that shows classes and statistics of units. Forbidden for one whose access token is good
        for reading studies alone."""
        reader = self.page_reader(request)
        if not reader.sees_units:
            raise Forbidden(
                "These pages show what studies withhold from their readers. Sign in with an access token that has the "
                "scope activation_extraction:read to see them."
            )
        return reader

    def api_reader(self, request: Request) -> Reader:
        """The reader of an API call: named by the header, or of the session, whose token unsafe calls must carry."""
        reader = self.optional_reader(request)
        if reader is None:
            raise NotSignedIn(f"name the reader in the header {READER_HEADER}, or sign in")
        return reader

    def optional_reader(self, request: Request) -> Reader | None:
        """As `api_reader`, for calls that also answer without a reader."""
        caller: Caller | None = getattr(request.state, "caller", None)
        named = request.headers.get(READER_HEADER)
        if caller is not None or named is not None:
            return self.readers.of_call(caller, _utf8(named) if named is not None else None)
        reader = self.session_reader(request)
        if reader is not None and request.method not in SAFE_METHODS:
            check_csrf(request, request.headers.get(CSRF_HEADER, ""))
        return reader

    def sign_in(self, request: Request, name: str, access_token: str) -> tuple[Reader, str]:
        """Open a session for a name; its own token goes to the browser with `give_cookie`.

        InvalidInput for no name; where there are access tokens, NotSignedIn for none that is known, and Forbidden for
        one that may not write here or is of another reader.
        """
        caller = None
        if self.tokens is not None:
            caller = self.tokens.holder(access_token.strip())
            caller.check("annotation", "write")
        reader = self.readers.of_call(caller, name)
        if reader is None:
            raise InvalidInput("A reader has a name.")
        return reader, self.sessions.open(reader, token_of(request), caller)

    def give_cookie(self, response: Response, token: str) -> None:
        """Have the browser keep a session's token where no script reads it."""
        settings = self.sessions.settings
        response.set_cookie(
            COOKIE,
            token,
            max_age=int(settings.session_absolute_s),
            path="/",
            secure=settings.secure_cookies or settings.shared.tls_certificate is not None,
            httponly=True,
            samesite="lax",
        )

    def sign_out(self, request: Request, response: Response) -> None:
        """End the session."""
        self.sessions.close(token_of(request))
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")


def token_of(request: Request) -> str:
    """The session's token that a browser sent, or nothing."""
    return request.cookies.get(COOKIE, "")


def check_csrf(request: Request, given: str) -> None:
    """Forbidden unless a form or call carries the token of its session."""
    if not csrf_matches(token_of(request), given):
        raise Forbidden("This form is not of your present session. Load the page again, then send it once more.")


def _utf8(header: str) -> str:
    """Header bytes arrive as Latin-1; names are UTF-8."""
    try:
        return header.encode("latin-1").decode("utf-8")
    except UnicodeError as error:
        raise InvalidInput(f"the header {READER_HEADER} is not UTF-8") from error
