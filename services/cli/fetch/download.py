"""Downloads one file: continues where an earlier attempt ended, and gives it its name only when its hash is right."""

import gzip
import re
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from services import __version__
from services.cli.fetch.manifest import RemoteFile
from services.cli.fetch.part import Note, Part
from services.cli.fetch.retries import Limits, retry_after
from services.cli.fetch.target import Target, digest_of

LARGEST_FILE = 1 << 37
"""Bytes of a file whose size is not known before it is fetched."""
MOST_REDIRECTS = 5

_TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_LARGEST_UNPACKED = 1 << 40
_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")


class TryAgain(Exception):
    """The attempt failed; what has arrived is good. `after` is the pause in seconds that the server requested."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class StartOver(Exception):
    """The bytes that have arrived are wrong, or of another version."""


class Refused(Exception):
    """The file cannot be had; another attempt would not help."""


class Stopped(Exception):
    """The command ends, so the download stops. What has arrived stays for the next time."""


@dataclass(frozen=True)
class Fetched:
    """A finished file: with its size and hash, the bytes that this run received for it, whether it continued an earlier
    part, and how often it began again."""

    file: RemoteFile
    received: int
    resumed: bool
    restarts: int


class Downloader:
    """Downloads files into a target folder; usable from several threads. `on_bytes` gets the number of each piece."""

    def __init__(
        self,
        target: Target,
        limits: Limits,
        on_bytes: Callable[[int], None] = lambda _: None,
        stop: threading.Event | None = None,
    ) -> None:
        timeout = httpx.Timeout(limits.silence_s, connect=limits.connect_s, pool=None)
        headers = {"User-Agent": f"visual-primitives/{__version__}", "Accept-Encoding": "identity"}
        self.target = target
        self.limits = limits
        self.stop = stop or threading.Event()
        self._on_bytes = on_bytes
        self._client = httpx.Client(timeout=timeout, headers=headers, follow_redirects=False)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def download(self, file: RemoteFile, largest: int = LARGEST_FILE) -> Fetched:
        """Download a file of at most `largest` bytes to its place. Refused says why it cannot be had; then nothing new
        is in its place."""
        path = self.target.path(file.name)
        attempt = Attempt(self._client, file, Part(path), largest, self.limits, self._on_bytes, self.stop)
        failures = restarts = 0
        while True:
            furthest = attempt.furthest
            try:
                attempt.run()
                known = _check(file, attempt.part)
                attempt.part.finish()
                return Fetched(known, attempt.received, attempt.resumed, restarts)
            except TryAgain as error:
                failures = 1 if attempt.furthest - furthest >= self.limits.least_progress else failures + 1
                if failures > self.limits.retries:
                    raise Refused(f"{error}; abandoned after {failures} attempts") from error
                self._pause(failures, error.after)
            except StartOver as error:
                attempt.part.discard()
                restarts += 1
                if restarts > self.limits.restarts:
                    raise Refused(f"{error}; abandoned after {restarts} attempts") from error
                self._pause(restarts, None)

    def _pause(self, failures: int, requested: float | None) -> None:
        if self.stop.wait(self.limits.pause(failures, requested)):
            raise Stopped


class Attempt:
    """The attempts at one file. `received` counts bytes over all of them. `furthest` is the longest part so far: an
    attempt that only repeats earlier ones is no progress."""

    def __init__(
        self,
        client: httpx.Client,
        file: RemoteFile,
        part: Part,
        largest: int,
        limits: Limits,
        on_bytes: Callable[[int], None],
        stop: threading.Event,
    ) -> None:
        self.part = part
        self.received = 0
        self.furthest = part.length()
        self.resumed = False
        self._client = client
        self._file = file
        self._largest = largest
        self._limits = limits
        self._on_bytes = on_bytes
        self._stop = stop

    def run(self) -> None:
        """Fetch the bytes that are missing. Afterwards all are there, as far as sizes say."""
        if not self._is_usable():
            self.part.discard()
        have, note = self.part.length(), self.part.note()
        size = self._file.size if self._file.size is not None else note.size
        if size is not None and have == size > 0:
            return
        headers = {}
        if have:
            headers["Range"] = f"bytes={have}-"
            if note.validator:
                headers["If-Range"] = note.validator
        try:
            with self._open(headers) as answer:
                self._read(answer, have, note)
        except httpx.TimeoutException as error:
            raise TryAgain(f"the server sent nothing for {self._limits.silence_s:g} s") from error
        except httpx.TransportError as error:
            raise TryAgain(f"the connection broke: {error}") from error

    def _is_usable(self) -> bool:
        """Whether the part can be continued: it is from the same address and not too long, and a wrong piece would be
        noticed, by the server or by the hash."""
        note = self.part.note()
        longest = self._file.size if self._file.size is not None else self._largest
        checked = bool(note.validator or self._file.digest)
        return checked and note.url == self._file.url and self.part.length() <= longest

    @contextmanager
    def _open(self, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """The answer of the server, after redirects to the same scheme."""
        request: httpx.Request | None = self._client.build_request("GET", self._file.url, headers=headers)
        scheme = httpx.URL(self._file.url).scheme
        for _ in range(MOST_REDIRECTS + 1):
            if request is None:
                break
            if request.url.scheme != scheme:
                raise Refused(f"the server redirects from {scheme} to {request.url.scheme}, which is not followed")
            answer = self._client.send(request, stream=True)
            try:
                if not answer.has_redirect_location:
                    yield answer
                    return
                request = answer.next_request
            finally:
                answer.close()
        raise Refused(f"the server redirects more than {MOST_REDIRECTS} times")

    def _read(self, answer: httpx.Response, have: int, note: Note) -> None:
        """Add the body of an answer to the part."""
        if answer.status_code == 206 and have:
            size = _continued(answer, have, note)
        elif answer.status_code == 200:
            have, size = 0, _content_length(answer)
        else:
            raise _refusal(answer)
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise Refused(f"the server compresses the file: {answer.headers['Content-Encoding'][:40]}")
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            raise Refused("the server sends a page in HTML; expected a file")
        expected = self._expected(size)
        if answer.status_code == 200:
            self.part.begin(Note(url=self._file.url, validator=_validator(answer), size=size))
        else:
            self.resumed = True
        self._append(answer, have, expected)

    def _expected(self, size: int | None) -> int | None:
        """The size of the file, from the manifest or else from the server. Refused if the two differ, or if it is too
        large."""
        if size is not None and self._file.size is not None and size != self._file.size:
            raise Refused(f"the server has {size} bytes; expected {self._file.size}")
        expected = self._file.size if size is None else size
        if expected is not None and expected > self._largest:
            raise Refused(f"the file has {expected} bytes; at most {self._largest} are fetched")
        return expected

    def _append(self, answer: httpx.Response, have: int, expected: int | None) -> None:
        most = self._largest if expected is None else expected
        with self.part.append() as out:
            for piece in answer.iter_raw():
                if self._stop.is_set():
                    raise Stopped
                have += len(piece)
                if have > most:
                    raise StartOver(f"the server sends more than {most} bytes")
                out.write(piece)
                out.flush()  # a process that is killed loses nothing that has arrived
                self.received += len(piece)
                self.furthest = max(self.furthest, have)
                self._on_bytes(len(piece))
        if expected is not None and have < expected:
            raise TryAgain(f"the body ended after {have} of {expected} bytes")


def _continued(answer: httpx.Response, have: int, note: Note) -> int | None:
    """Check that an answer continues the part, and return the size of the whole file. StartOver if it is another
    piece, or of another version."""
    text = answer.headers.get("Content-Range", "")
    found = _RANGE.fullmatch(text)
    if found is None or int(found[1]) != have:
        raise StartOver(f"the server answers with the range {text[:80]!r}; expected one from byte {have}")
    validator = _validator(answer)
    if note.validator and validator and validator != note.validator:
        raise StartOver("the file on the server has changed")
    return None if found[3] == "*" else int(found[3])


def _refusal(answer: httpx.Response) -> Exception:
    """What to do about an answer without the file."""
    status = f"the server answers {answer.status_code}"
    if answer.status_code in _TRY_AGAIN:
        return TryAgain(status, retry_after(answer.headers.get("Retry-After")))
    if answer.status_code in (206, 416):
        return StartOver(f"{status} to a request for the rest")
    return Refused(status)


def _content_length(answer: httpx.Response) -> int | None:
    text = answer.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() and len(text) <= 18 else None


def _validator(answer: httpx.Response) -> str:
    """The name of this version of the file, for If-Range: a strong ETag, else the date of its last change, or empty."""
    tag = str(answer.headers.get("ETag", ""))
    return tag if tag and not tag.startswith("W/") else str(answer.headers.get("Last-Modified", ""))


def _check(file: RemoteFile, part: Part) -> RemoteFile:
    """Return the file with the size and hash of a complete part. StartOver if they are not those of the archive. A gzip
    file without a published hash is unpacked to compare its own checksums."""
    size, digest = part.length(), digest_of(part.path, file.digest)
    if file.digest and digest != file.digest:
        kind = "MD5" if len(digest) == 32 else "SHA-256"
        raise StartOver(f"{kind} {digest} of what arrived; expected {file.digest}")
    if not file.digest and file.name.endswith(".gz"):
        _check_gzip(part.path)
    return replace(file, size=size, digest=digest)


def _check_gzip(path: Path) -> None:
    unpacked = 0
    try:
        with gzip.open(path) as content:
            while block := content.read(1 << 20):
                unpacked += len(block)
                if unpacked > _LARGEST_UNPACKED:
                    raise Refused(f"the file unpacks to more than {_LARGEST_UNPACKED} bytes")
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise StartOver(f"what arrived is not a complete gzip file: {error}") from error
