"""A server in front of a PACS, as hospitals have it: TLS, client certificates, tokens of OAuth2, and faults.

It forwards to the PACS what it does not answer itself. Tests put faults into `faults`, for the next requests of an
instance: see `Front.fail`.
"""

import base64
import json
import ssl
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote

import httpx

from tests.fakes.certificates import Authority

CLIENT_ID, SECRET = "import client", "the secret: 50% of it"
ENDLESS_BLOCK = bytes(1 << 20)


class Front:
    """The front. `target` is the root of DICOMweb behind it."""

    def __init__(self, target: str, tls: Authority | None = None, mutual: bool = False, tokens: bool = False) -> None:
        self.target, self.needs_token = target, tokens
        self.faults: defaultdict[str, list[str]] = defaultdict(list)
        self.calls: list[str] = []
        """The paths of all requests."""
        self.forms: list[dict[str, str]] = []
        """What was sent to the token endpoint."""
        self.valid: set[str] = set()
        self.life: float | None = 300
        """What the token endpoint says of expiry."""
        self.sent = 0
        """Bytes of instances that were sent."""
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        scheme = "http"
        if tls is not None:
            scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls.certificate, tls.key)
            if mutual:
                context.load_verify_locations(tls.bundle)
                context.verify_mode = ssl.CERT_REQUIRED
            self.server.socket = context.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.root = f"{scheme}://localhost:{self.server.server_port}"

    def fail(self, instance: str, *faults: str) -> None:
        """Have the next requests of an instance fail: a status such as 503, `cut` for half of the body, `other` for
        another instance, `endless` for a body without end, or the like."""
        self.faults[instance] += faults

    def revoke(self) -> None:
        """Refuse all tokens that were given."""
        self.valid.clear()

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """The answer of the token endpoint."""
        self.forms.append(form)
        pair = base64.b64encode(f"{quote(CLIENT_ID, '')}:{quote(SECRET, '')}".encode()).decode()
        if authorization != f"Basic {pair}":
            return 401, {"error": "invalid_client", "error_description": f"wrong: {authorization}"}
        if form.get("grant_type") != "client_credentials":
            return 400, {"error": "unsupported_grant_type"}
        token = f"token-{len(self.forms)}"
        self.valid.add(token)
        answer = {"access_token": token, "token_type": "Bearer"}
        return 200, answer | ({} if self.life is None else {"expires_in": self.life})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                front.calls.append(self.path)
                token = self.headers.get("authorization", "").removeprefix("Bearer ")
                if front.needs_token and token not in front.valid:
                    return self._answer(401, b"{}")
                instance = self.path.rpartition("/")[2]
                faults = front.faults.get(instance)
                if faults:
                    return self._fail(faults.pop(0))
                return self._forward()

            def do_POST(self) -> None:
                front.calls.append(self.path)
                body = self.rfile.read(int(self.headers.get("content-length", "0"))).decode()
                form = {name: values[0] for name, values in parse_qs(body).items()}
                status, answer = front.token(form, self.headers.get("authorization", ""))
                self._answer(status, json.dumps(answer).encode())

            def log_message(self, format: str, *args: object) -> None:
                """Print nothing."""

            def _fetch(self, path: str) -> httpx.Response:
                headers = {"accept": self.headers["accept"], "accept-encoding": "identity"}
                return httpx.get(f"{front.target}{path}", headers=headers, timeout=30)

            def _forward(self) -> None:
                answer = self._fetch(self.path)
                self._answer(answer.status_code, answer.content, answer.headers.get("content-type", ""))

            def _fail(self, fault: str) -> None:
                if fault.isdigit():
                    return self._answer(int(fault), b"PAT1 is not here")
                answer = self._fetch(self.path)
                kind, body = answer.headers["content-type"], answer.content
                if fault == "cut":
                    self._begin(200, kind, len(body))
                    self._write(body[: len(body) // 2])
                    self.close_connection = True
                elif fault == "cut part":
                    self._answer(200, body[: len(body) // 2], kind)
                elif fault == "busy":
                    self._answer(503, b"", extra={"retry-after": "7"})
                elif fault == "other":
                    before, _, instance = self.path.rpartition("/")
                    other = self._fetch(f"{before}/{instance[:-1]}{'2' if instance[-1] == '1' else '1'}")
                    self._answer(200, other.content, other.headers["content-type"])
                elif fault == "endless":
                    self._begin(200, kind, None)
                    self._write(body[: len(body) // 2])
                    while self._write(ENDLESS_BLOCK):
                        front.sent += len(ENDLESS_BLOCK)
                elif fault == "redirect":
                    self._answer(302, b"", extra={"location": "http://127.0.0.1:1/elsewhere"})
                elif fault == "gzip":
                    self._answer(200, body, kind, {"content-encoding": "gzip"})
                elif fault == "page":
                    self._answer(200, b"<html>sign in</html>", "text/html")
                else:
                    raise ValueError(fault)
                return None

            def _answer(self, status: int, body: bytes, kind: str = "", extra: dict[str, str] | None = None) -> None:
                self._begin(status, kind, len(body), extra)
                self._write(body)

            def _begin(self, status: int, kind: str, length: int | None, extra: dict[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in ({"content-type": kind} if kind else {}).items():
                    self.send_header(name, value)
                for name, value in (extra or {}).items():
                    self.send_header(name, value)
                if length is None:
                    self.send_header("connection", "close")
                    self.close_connection = True
                else:
                    self.send_header("content-length", str(length))
                self.end_headers()

            def _write(self, body: bytes) -> bool:
                try:
                    self.wfile.write(body)
                except OSError:  # the client has left
                    self.close_connection = True
                    return False
                return True

            def handle(self) -> None:
                with suppress(OSError, ssl.SSLError):  # a client without certificate
                    super().handle()

            def finish(self) -> None:
                with suppress(OSError, ssl.SSLError):
                    super().finish()

        return Handler


@contextmanager
def running_front(
    target: str, tls: Authority | None = None, mutual: bool = False, tokens: bool = False
) -> Iterator[Front]:
    """Run a front."""
    front = Front(target, tls, mutual, tokens)
    thread = threading.Thread(target=front.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield front
    finally:
        front.server.shutdown()
        thread.join()
        front.server.server_close()
