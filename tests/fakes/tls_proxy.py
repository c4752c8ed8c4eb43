"""A proxy that ends TLS and sends plain HTTP on, with the Host of the service: what hospitals put before a service."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

from tests.fakes.certificates import Authority

HOP = {"connection", "content-encoding", "content-length", "date", "host", "keep-alive", "server", "transfer-encoding"}
"""Headers that belong to one connection, or that each side writes itself."""


@contextmanager
def tls_proxy(authority: Authority, target: str, port: int) -> Iterator[None]:
    """Serve https://localhost:PORT for the block; each request goes to the target, such as http://127.0.0.1:8000."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._forward()

        def do_POST(self) -> None:
            self._forward()

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            headers = [(name, value) for name, value in self.headers.items() if name.lower() not in HOP]
            answer = httpx.request(self.command, f"{target}{self.path}", headers=headers, content=body, timeout=30)
            self.send_response(answer.status_code)
            for name, value in answer.headers.multi_items():
                if name not in HOP:
                    self.send_header(name, value)
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
