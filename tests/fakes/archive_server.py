"""A server of archives that cuts, stalls, corrupts, changes its files and lies about them, as a test says."""

import csv
import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

PIECE = 1 << 14


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one answer.

    `cut` and `stall` end or halt the body after a number of bytes. `flip` changes the byte at a place of the file.
    `status` answers with this status instead, with `headers`; for a redirect too. `extra` adds bytes to the body, whose
    size is then not stated. `ignore_range` answers with the whole file. `shift` answers a range that begins a number of
    bytes later. `page` answers with a page in HTML. `ignore_if_range` answers with the rest of the file as it is now.
    `then` is the content and the ETag of the file after this answer.
    """

    cut: int | None = None
    stall: int | None = None
    flip: int | None = None
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    extra: int = 0
    ignore_range: bool = False
    shift: int = 0
    page: bool = False
    ignore_if_range: bool = False
    then: tuple[bytes, str] | None = None


@dataclass
class Served:
    """A file of the server: its content, its validators (none are sent if empty), and what goes wrong with its first
    answers, one after the other; afterwards `always`, if there is one."""

    content: bytes
    etag: str = '"1"'
    modified: str = ""
    faults: list[Fault | None] = field(default_factory=list)
    always: Fault | None = None


@dataclass
class Request:
    """A request as it arrived, and the bytes of the body that were sent so far."""

    path: str
    range: str | None
    if_range: str | None
    sent: int = 0


class ArchiveServer(ThreadingHTTPServer):
    """Serves `files` by path and query. `requests` is what was requested, in the order of arrival.

    `stalled` is set while an answer waits, until `release`.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, Served] = {}
        self.requests: list[Request] = []
        self.stalled = threading.Event()
        self.release = threading.Event()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """The address of the server."""
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, path: str, content: bytes, *faults: Fault | None, **more: object) -> Served:
        """Serve a file at a path."""
        self.files[path] = Served(content, faults=list(faults), **more)  # type: ignore[arg-type]
        return self.files[path]

    def sent(self, path: str) -> int:
        """The bytes that were sent for a path."""
        return sum(request.sent for request in self.requests if request.path == path)


@contextmanager
def serving_archive() -> Iterator[ArchiveServer]:
    """A server for the block."""
    server = ArchiveServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.release.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    """Answers one request on each connection."""

    server: ArchiveServer

    def do_GET(self) -> None:
        """Answer with a file, or as its next fault says."""
        path = unquote(self.path)
        self.request_seen = Request(path, self.headers.get("Range"), self.headers.get("If-Range"))
        with self.server.lock:
            self.server.requests.append(self.request_seen)
        served = self.server.files.get(path)
        if served:
            self._answer_fault(served)
        else:
            self._answer(404, {}, b"", None)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def _answer_fault(self, served: Served) -> None:
        with self.server.lock:
            fault = (served.faults.pop(0) if served.faults else served.always) or Fault()
        if fault.status:
            self._answer(fault.status, fault.headers, b"", None)
        elif fault.page:
            self._answer(200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>", 6)
        else:
            self._answer_file(served, fault)

    def _answer_file(self, served: Served, fault: Fault) -> None:
        content, etag = bytearray(served.content), served.etag
        first = 0 if fault.ignore_range else self._first(served, fault.ignore_if_range)
        if fault.then:
            served.content, served.etag = fault.then
        if fault.flip is not None:
            content[fault.flip] ^= 0x40
        headers = {"ETag": etag} if etag else {}
        headers |= {"Last-Modified": served.modified} if served.modified else {}
        if first is None:
            self._answer(416, {"Content-Range": f"bytes */{len(content)}"}, b"", 0)
        elif not first:
            body = bytes(content) + bytes(fault.extra)
            self._answer(200, headers, body, None if fault.extra else len(body), fault)
        else:
            first += fault.shift
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
            self._answer(206, headers, bytes(content[first:]), len(content) - first, fault)

    def _first(self, served: Served, unconditional: bool) -> int | None:
        """The first byte that is requested, 0 for the whole file; None if the file has no such byte."""
        requested, condition = self.headers.get("Range"), self.headers.get("If-Range")
        current = unconditional or condition in (None, served.etag, served.modified)
        if requested is None or not current:
            return 0
        first = int(requested.removeprefix("bytes=").removesuffix("-"))
        return first if first < len(served.content) else None

    def _answer(
        self, status: int, headers: Mapping[str, str], body: bytes, length: int | None, fault: Fault | None = None
    ) -> None:
        """Send an answer, as far as the fault lets it."""
        fault = fault or Fault()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        end = next((place for place in (fault.cut, fault.stall) if place is not None), len(body))
        try:
            for first in range(0, end, PIECE):
                piece = body[first : min(first + PIECE, end)]
                self.request_seen.sent += len(piece)
                self.wfile.write(piece)
            self.wfile.flush()
            if fault.stall is not None:
                self.server.stalled.set()
                self.server.release.wait()
        except OSError:
            return  # the client has closed the connection


def series_zip(images: Sequence[bytes], hashes: Mapping[str, str] | None = None) -> bytes:
    """The ZIP of a series as NBIA makes it: images named by number, and their MD5 hashes, or other ones."""
    named = {f"{number:08d}.dcm": image for number, image in enumerate(images, 1)}
    stated = {name: hashlib.md5(image).hexdigest() for name, image in named.items()} if hashes is None else hashes
    table = io.StringIO()
    csv.writer(table).writerows([("Filename", "MD5Hash"), *stated.items()])
    return zip_of({**named, "md5hashes.csv": table.getvalue().encode()})


def zip_of(members: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A ZIP with members."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def serve_series(
    server: ArchiveServer, rows: Sequence[tuple[str, str, str, Sequence[bytes]]], collection: str = "CBIS-DDSM"
) -> None:
    """Serve a collection as version 1 of NBIA's API does: rows of patient, study, series and images."""
    listed = [
        {"PatientID": p, "StudyInstanceUID": s, "SeriesInstanceUID": u, "Modality": "MG", "ImageCount": len(images)}
        for p, s, u, images in rows
    ]
    server.add(f"/getSeries?Collection={collection}&format=json", json.dumps(listed).encode(), etag="")
    for _, _, uid, images in rows:
        server.add(series_path(uid), series_zip(images), etag="")


def series_path(uid: str) -> str:
    """The path of a series on the server."""
    return f"/getImageWithMD5Hash?SeriesInstanceUID={uid}"
