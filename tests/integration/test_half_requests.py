"""Half requests use up neither the files of a service nor its time."""

from pathlib import Path

import httpx

from tests.fakes.halves import connect
from tests.fakes.limited_service import limited_service

FILES = 256


def test_half_requests_do_not_use_up_the_files_of_a_service(tmp_path: Path) -> None:
    """A service that may open 256 files answers new callers while 300 callers keep half a request open."""
    with limited_service(tmp_path, FILES) as port:
        halves = [connect(port, b"GET /heal") for _ in range(FILES + 44)]
        assert httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=60).status_code == 200
        last = halves[-1]
        last.sendall(b"thz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert last.recv(15) == b"HTTP/1.1 200 OK"
