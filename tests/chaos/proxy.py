"""A proxy of the object store that refuses calls, or truncates or alters uploads, when a test requests it."""

import http.client
import http.server
import threading
from typing import Any

FULL = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>XMinioStorageFull</Code>
<Message>Storage backend has reached its minimum free drive threshold.</Message></Error>
"""
"""The body of MinIO's response when its disk is full, with status 507."""


class FaultyStore:
    """Forwards calls to a store. `mode` is pass, refuse (503), full (507 for uploads), cut (the connection ends in the
    middle of an upload), alter (one bit of an upload is flipped) or error (`error`: a status and a code of S3). After
    `left` faults it only forwards; with None faults never end."""

    def __init__(self, host: str, port: int) -> None:
        outer = self
        self.mode = "pass"
        self.error = (503, "SlowDown")
        self.left: int | None = None
        self.faults = 0

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _forward(self) -> None:
                length = int(self.headers.get("content-length", 0))
                if self.command == "PUT" and outer._fault("cut"):
                    self.rfile.read(length // 2)
                    self.close_connection = True
                    self.connection.close()
                    return
                body = self.rfile.read(length)
                if outer._fault("error"):
                    status, code = outer.error
                    answer = f"<Error><Code>{code}</Code><Message>{code} of the test</Message></Error>".encode()
                    self._answer(status, {"Content-Type": "application/xml"}, answer)
                    return
                if outer._fault("refuse"):
                    self._answer(503, {}, b"")
                    return
                if self.command == "PUT" and outer._fault("full"):
                    self._answer(507, {"Content-Type": "application/xml"}, FULL)
                    return
                if self.command == "PUT" and body and outer._fault("alter"):
                    body = bytes([body[0] ^ 1]) + body[1:]
                connection = http.client.HTTPConnection(host, port, timeout=60)
                try:
                    connection.request(self.command, self.path, body, dict(self.headers))
                    response = connection.getresponse()
                    self._answer(response.status, dict(response.getheaders()), response.read())
                finally:
                    connection.close()

            def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response_only(status)
                for name, value in headers.items():
                    if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(name, value)
                length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
                self.send_header("Content-Length", length)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _forward

            def log_message(self, *_: Any) -> None:
                """Log nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def _fault(self, mode: str) -> bool:
        """Whether to cause a fault of this mode now. Count it."""
        if self.mode != mode or self.left == 0:
            return False
        self.faults += 1
        self.left = None if self.left is None else self.left - 1
        return True

    def close(self) -> None:
        """Stop the proxy."""
        self._server.shutdown()
        self._server.server_close()
