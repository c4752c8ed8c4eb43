"""Access tokens of OAuth2 client credentials (RFC 6749, section 4.4)."""

import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from services.common.errors import Forbidden, InvalidInput
from services.training.raw.source.dicomweb.servers import DicomwebServer

EARLY_S = 30.0
"""A token is replaced this long before it expires, or after nine tenths of a short life."""
DEFAULT_LIFE_S = 300.0
"""Of a token whose life the server does not state."""
REFUSALS = {"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "invalid_scope"}
"""Error codes of the standard. Other text of the server is not quoted."""


class PostForm(Protocol):
    """Sends a form to a token server. Returns status and body."""

    def __call__(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> tuple[int, bytes]: ...


class _Answer(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    access_token: SecretStr = Field(min_length=1, max_length=1 << 14)
    token_type: str
    expires_in: float = Field(default=DEFAULT_LIFE_S, gt=0, le=1e9, allow_inf_nan=False)


class _Refusal(BaseModel):
    error: str = ""


@dataclass(frozen=True)
class _Token:
    value: SecretStr
    until: float


class ClientCredentials:
    """The tokens of a client, fetched when they are needed."""

    def __init__(self, server: DicomwebServer, post: PostForm, clock: Callable[[], float] = time.monotonic) -> None:
        self._server, self._post, self._clock = server, post, clock
        self._token: _Token | None = None

    def header(self) -> dict[str, str]:
        """The header of a request. Forbidden if the token server refuses the client."""
        if self._token is None or self._clock() >= self._token.until:
            self._token = self._fetch()
        return {"authorization": f"Bearer {self._token.value.get_secret_value()}"}

    def forget(self) -> None:
        """Drop the token, because a server has refused it."""
        self._token = None

    def _fetch(self) -> _Token:
        form = {"grant_type": "client_credentials"} | ({"scope": self._server.scope} if self._server.scope else {})
        pair = f"{quote(self._server.client_id, '')}:{quote(self._server.secret(), '')}".encode()
        headers = {"accept": "application/json", "authorization": f"Basic {base64.b64encode(pair).decode()}"}
        status, body = self._post(self._server.token_url, form, headers)
        if status != 200:
            raise Forbidden(f"the token server refuses the client: status {status}{_code_of(body)}")
        try:
            answer = _Answer.model_validate_json(body)
        except ValidationError:
            raise InvalidInput("the token server answers without a usable access_token") from None
        value = answer.access_token.get_secret_value()
        if answer.token_type.lower() != "bearer" or not (value.isascii() and value.isprintable() and " " not in value):
            raise InvalidInput("the token server answers with a token of another type; expected Bearer")
        early = min(EARLY_S, answer.expires_in / 10)
        return _Token(answer.access_token, self._clock() + answer.expires_in - early)


def _code_of(body: bytes) -> str:
    try:
        code = _Refusal.model_validate_json(body).error
    except ValidationError:
        return ""
    return f", {code}" if code in REFUSALS else ""
