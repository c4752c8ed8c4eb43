"""A small OpenID provider on a port of its own, for tests: discovery, authorization, token and keys, signed with RS256.

It follows the standard as far as our client uses it, and refuses what a good one refuses: a code that was used, a wrong
redirect, a wrong PKCE verifier, wrong credentials. Tests change `claims`, `sign` and other fields to make it lie.
"""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

CLIENT_ID, SECRET = "pages", "the client's secret: 50% of it"

KEY = RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"})


class FakeProvider:
    """The provider, with one person who is signed in there already."""

    def __init__(self) -> None:
        self.key = KEY
        self.published = [self.key]
        self.claims: dict[str, Any] = {"sub": "subject-1", "name": "Ana of the provider"}
        """What the provider says about the person; also what a test makes it say wrongly."""
        self.sign: Callable[[dict[str, Any]], str] = self.signed
        self.methods = ["client_secret_basic"]
        self.needs_consent = False
        """Whether a person has to press a button at the provider."""
        self.codes: dict[str, dict[str, str]] = {}
        self.calls: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.issuer = f"http://127.0.0.1:{self.server.server_port}"

    def signed(self, claims: dict[str, Any], key: RSAKey | None = None, **header: str) -> str:
        """A token with claims, signed by the provider's key or by another."""
        return jwt.encode({"alg": "RS256", "kid": "one"} | header, claims, key or self.key)

    def description(self) -> dict[str, Any]:
        """The discovery document."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "token_endpoint_auth_methods_supported": self.methods,
        }

    def redirect(self, query: dict[str, str]) -> str:
        """The way back to the client, with a new code. AssertionError for a request that the standard forbids."""
        assert (query["response_type"], query["client_id"]) == ("code", CLIENT_ID)
        assert "openid" in query["scope"].split() and query["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self.codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state'], 'iss': self.issuer})}"

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """The answer of the token endpoint."""
        query = self.codes.pop(form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        if not self._knows(form, authorization):
            return 401, {"error": "invalid_client"}
        if query is None or query["redirect_uri"] != form["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        if query["code_challenge"] != challenge.decode():
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": query["nonce"]}
        return 200, {"access_token": "unused", "token_type": "Bearer", "id_token": self.sign(claims | self.claims)}

    def _knows(self, form: dict[str, str], authorization: str) -> bool:
        if self.methods == ["none"]:
            return form.get("client_id") == CLIENT_ID
        if self.methods == ["client_secret_post"]:
            return (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, SECRET)
        name, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        return (unquote(name), unquote(secret)) == (CLIENT_ID, SECRET)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                provider.calls.append(parts.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                if parts.path == "/.well-known/openid-configuration":
                    self._answer(200, provider.description())
                elif parts.path == "/keys":
                    self._answer(200, KeySet(provider.published).as_dict(private=False))  # type: ignore[arg-type]
                elif parts.path == "/authorize" and provider.needs_consent:
                    form = f'<form method="post" action="{self.path.replace("&", "&amp;")}"><button>I am Ana</button>'
                    self._send(200, "text/html", f"<!doctype html><title>Provider</title>{form}</form>".encode())
                elif parts.path == "/authorize":
                    self._redirect(provider.redirect(query))
                else:
                    self._answer(404, {})

            def do_POST(self) -> None:
                parts = urlsplit(self.path)
                provider.calls.append(parts.path)
                body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
                if parts.path == "/authorize":
                    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                    return self._redirect(provider.redirect(query))
                form = {name: values[0] for name, values in parse_qs(body).items()}
                return self._answer(*provider.token(form, self.headers.get("authorization", "")))

            def _redirect(self, address: str) -> None:
                self.send_response(302)
                self.send_header("location", address)
                self.send_header("content-length", "0")
                self.end_headers()

            def _answer(self, status: int, content: Any) -> None:
                self._send(status, "application/json", json.dumps(content).encode())

            def _send(self, status: int, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Print nothing."""

        return Handler


@contextmanager
def running_provider() -> Iterator[FakeProvider]:
    """Run a provider."""
    provider = FakeProvider()
    thread = threading.Thread(target=provider.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        provider.server.shutdown()
        thread.join()
        provider.server.server_close()
