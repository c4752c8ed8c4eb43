"""Client of an OpenID provider: the authorization code flow with PKCE, state and nonce.

The provider's answers come over a direct connection, but an ID token is believed only if it is signed by a key of the
provider, for this client, for this sign-in (its nonce), and has not expired.
"""

import base64
import hashlib
import hmac
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import httpx
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from pydantic import BaseModel, SecretStr, ValidationError

from services.common.access.addresses import check_address
from services.common.errors import Forbidden, InvalidInput, Unavailable, describe_faults
from services.common.observability.logs import get_logger
from services.common.redaction import quoted

log = get_logger(__name__)

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
"""Signatures with a pair of keys. `none` is no signature, and a secret of HS256 would be the provider's public key."""
SCOPE = "openid profile email"
TIMEOUT = httpx.Timeout(10.0, connect=5.0)
READ_AGAIN_S = 3600.0
"""Seconds after which the provider's description is read again."""
LEEWAY_S = 60
"""Seconds by which the clocks may differ."""
LONGEST_SUBJECT = 255


class Description(BaseModel):
    """What the provider says about itself in `/.well-known/openid-configuration`, as far as it is needed."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: list[str] = ["client_secret_basic"]


@dataclass(frozen=True)
class Secrets:
    """The random values of one sign-in."""

    state: str
    nonce: str
    verifier: str

    @property
    def challenge(self) -> str:
        """The PKCE challenge (S256) of the verifier."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@dataclass
class OpenIdProvider:
    """An OpenID provider. Its description and its keys are read when they are first needed, and kept.

    Every method may raise Unavailable if the provider does not answer, or answers something else than expected.
    """

    issuer: str
    client_id: str
    redirect_uri: str
    secret: SecretStr | None = None
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=TIMEOUT))

    def __post_init__(self) -> None:
        check_address(self.issuer, "PRIMITIVES_ANNOTATION_OIDC_ISSUER")
        self._lock = threading.Lock()
        self._description: tuple[float, Description] | None = None
        self._keys: KeySet | None = None

    def address(self, secrets: Secrets) -> str:
        """The address at the provider to which the browser goes to sign in."""
        endpoint = self._described().authorization_endpoint
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": SCOPE,
            "state": secrets.state,
            "nonce": secrets.nonce,
            "code_challenge": secrets.challenge,
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    def claims(self, code: str, secrets: Secrets) -> Mapping[str, Any]:
        """The claims of the ID token that the provider gives for a code. Forbidden if it gives none for this code, or
        one that cannot be believed."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": secrets.verifier,
        }
        answer = self._send("POST", self._described().token_endpoint, form)
        token = answer.get("id_token")
        if not isinstance(token, str):
            log.warning("provider gave no token", error=quoted(answer.get("error")))
            raise Forbidden("The provider did not confirm this sign-in. Sign in again.")
        try:
            return self._checked(token, secrets.nonce)
        except (JoseError, ValueError) as error:  # the reason is for operators; it helps nobody who signs in
            log.warning("ID token refused", reason=str(error))
            raise Forbidden("The provider's answer cannot be trusted, so nobody was signed in.") from error

    def _checked(self, token: str, nonce: str) -> Mapping[str, Any]:
        claims = self._decoded(token)
        registry = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_S,
            iss={"essential": True, "value": self.issuer},
            aud={"essential": True, "value": self.client_id},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
        )
        registry.validate(claims)
        audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        if claims.get("azp", self.client_id) != self.client_id or (len(audiences) > 1 and "azp" not in claims):
            raise ValueError("the token was issued to another client")
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
            raise ValueError("the token is of another sign-in: its nonce differs")
        if not 1 <= len(claims["sub"]) <= LONGEST_SUBJECT:
            raise ValueError("the subject is empty or too long")
        return claims

    def _decoded(self, token: str) -> dict[str, Any]:
        """The claims of a token with a valid signature. The keys are read again for a key that is not known yet."""
        try:
            return jwt.decode(token, self._key_set(), ALGORITHMS).claims
        except InvalidKeyIdError:
            return jwt.decode(token, self._key_set(again=True), ALGORITHMS).claims

    def _described(self) -> Description:
        with self._lock:
            if self._description is None or time.monotonic() - self._description[0] > READ_AGAIN_S:
                self._description = time.monotonic(), self._describe()
            return self._description[1]

    def _describe(self) -> Description:
        answer = self._send("GET", f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
        try:
            found = Description.model_validate(answer)
        except ValidationError as error:
            raise Unavailable(
                f"the OpenID provider describes itself wrongly: {describe_faults(error.errors())}"
            ) from None
        if found.issuer != self.issuer:
            raise Unavailable(f"the OpenID provider calls itself {quoted(found.issuer)}; expected {self.issuer}")
        for address in (found.authorization_endpoint, found.token_endpoint, found.jwks_uri):
            try:
                check_address(address, "an address of the OpenID provider")
            except InvalidInput as error:
                raise Unavailable(str(error)) from None
        return found

    def _key_set(self, again: bool = False) -> KeySet:
        uri = self._described().jwks_uri
        with self._lock:
            if self._keys is None or again:
                answer = self._send("GET", uri)
                try:
                    self._keys = KeySet.import_key_set({"keys": answer["keys"]})
                except (JoseError, KeyError, TypeError, ValueError, AttributeError) as error:
                    raise Unavailable("the keys of the OpenID provider cannot be read") from error
            return self._keys

    def _send(self, method: str, address: str, form: dict[str, str] | None = None) -> dict[str, Any]:
        """The JSON object of an answer. 4xx answers to a form are OAuth errors, which are JSON too."""
        headers = {"accept": "application/json"}
        if form is not None:
            form, headers = self._with_credentials(form, headers)
        try:
            answer = self.client.request(method, address, data=form, headers=headers)
            content = answer.json() if answer.is_success or (form is not None and answer.is_client_error) else None
        except (httpx.HTTPError, ValueError) as error:
            raise Unavailable(f"the OpenID provider does not answer: {type(error).__name__}") from error
        if not isinstance(content, dict):
            raise Unavailable(f"the OpenID provider answers {answer.status_code} to {quoted(address)}")
        return content

    def _with_credentials(self, form: dict[str, str], headers: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """A form and its headers with the client's id and secret, in the way that the provider accepts."""
        if self.secret is None:
            return form | {"client_id": self.client_id}, headers
        secret = self.secret.get_secret_value()
        if "client_secret_basic" not in self._described().token_endpoint_auth_methods_supported:
            return form | {"client_id": self.client_id, "client_secret": secret}, headers
        pair = f"{quote(self.client_id, '')}:{quote(secret, '')}".encode()
        return form, headers | {"authorization": f"Basic {base64.b64encode(pair).decode()}"}
