"""HTTP requests to a DICOMweb server: bounded in size and time, repeated after passing failures, and with credentials.

Messages name the server by its name in the settings. They contain no address, because addresses of instances contain
identifiers, and nothing of an answer.
"""

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import TypeVar

import httpx

from services.common.errors import Forbidden, InvalidInput, Unavailable
from services.training.raw.source.dicomweb.servers import DicomwebServer
from services.training.raw.source.dicomweb.tokens import ClientCredentials

TIMEOUT = httpx.Timeout(60.0, connect=10.0)
"""Longest silence within an answer: a PACS may fetch an instance from tape first."""
WAITS_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0)
"""Seconds between attempts."""
LONGEST_WAIT_S = 60.0
"""Longest wait that a server may request with Retry-After."""
LONGEST_ANSWER_S = 900.0
"""Longest time for a whole answer."""
LARGEST_TOKEN_ANSWER = 1 << 16
PASSING = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed."""
AWAY = frozenset({429, 502, 503, 504})
"""Those of them that speak of the server and not of what is requested."""

PLAIN = {"accept-encoding": "identity"}
"""A small compressed answer can unpack to more than the memory."""
_TLS_FAULT = re.compile(r"\[SSL: ([A-Z0-9_]+)\]")

T = TypeVar("T")
Query = Mapping[str, str | int]
Blocks = Iterator[bytes]
Receive = Callable[[httpx.Headers, Blocks], T]
"""Receives an answer with status 200. It may leave before the last block; then the connection is closed."""


class ServerAway(Unavailable):
    """The DICOMweb server does not answer. The same import may succeed later."""


class Refused(InvalidInput):
    """The server answers a request with an error, or not with what was requested. `reason` is the same for all such
    answers, for reports; `status` is 0 if the status is not the fault."""

    def __init__(self, server: str, reason: str, status: int = 0) -> None:
        super().__init__(f"DICOMweb server {server}: {reason}")
        self.reason, self.status = reason, status


CUT = "the answer ends early, or stalls"
TOO_SLOW = f"the answer takes longer than {LONGEST_ANSWER_S:.0f} seconds"
ENCODED = "the answer is compressed, although no compression was accepted"


class _Passing(Exception):
    """A failure that may pass: what to raise if it does not, and the seconds that the server wants to wait."""

    def __init__(self, lasting: ServerAway | Refused, wait_s: float = 0.0) -> None:
        super().__init__(str(lasting))
        self.lasting, self.wait_s = lasting, wait_s


class DicomwebClient:
    """A client of one server, to be closed after use."""

    def __init__(
        self,
        name: str,
        server: DicomwebServer,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        timeout: httpx.Timeout = TIMEOUT,
    ) -> None:
        logging.getLogger("httpx").setLevel(logging.WARNING)  # below, it logs the addresses of instances
        self.name = name
        self._root, self._pause, self._clock = server.url.rstrip("/"), pause, clock
        # Redirects are not followed: only the operator decides where credentials go.
        self._http = httpx.Client(timeout=timeout, verify=server.trust(), follow_redirects=False)
        self._credentials = ClientCredentials(server, self._post_form, clock) if server.token_url else None

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, path: str, accept: str, receive: Receive[T], query: Query | None = None) -> T | None:
        """What `receive` makes of the answer to a request; None for 204, No Content.

        ServerAway if the server does not answer, also later; Forbidden if it refuses the client; Refused if it refuses
        this request.
        """
        headers = {"accept": accept, **PLAIN}

        def attempt() -> T | None:
            request = self._http.build_request("GET", f"{self._root}/{path}", params=query, headers=headers)
            return self._send(request, receive)

        return self._repeat(attempt)

    def _repeat(self, attempt: Callable[[], T]) -> T:
        for wait_s in WAITS_S:
            try:
                return attempt()
            except _Passing as failure:
                self._pause(max(wait_s, failure.wait_s))
        try:
            return attempt()
        except _Passing as failure:
            raise failure.lasting from None

    def _send(self, request: httpx.Request, receive: Receive[T]) -> T | None:
        for last in (False, True):
            if self._credentials is not None:
                request.headers.update(self._credentials.header())
            with self._answer(request) as answer:
                if answer.status_code == httpx.codes.UNAUTHORIZED and self._credentials is not None and not last:
                    self._credentials.forget()
                    continue
                return self._received(answer, receive)
        raise AssertionError("the second attempt returns or raises")

    def _answer(self, request: httpx.Request) -> "closing[httpx.Response]":
        """Send a request. Where the block ends before the answer does, its connection is closed."""
        try:
            return closing(self._http.send(request, stream=True))
        except httpx.TransportError as error:
            if found := _TLS_FAULT.search(str(error)):
                raise Forbidden(f"DICOMweb server {self.name}: TLS fails with {found[1]}") from None
            raise _Passing(self._away(type(error).__name__)) from None

    def _received(self, answer: httpx.Response, receive: Receive[T]) -> T | None:
        status = answer.status_code
        if status == httpx.codes.NO_CONTENT:
            return None
        if status != httpx.codes.OK:
            raise self._error_of(answer)
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            raise Refused(self.name, ENCODED)
        try:
            return receive(answer.headers, self._blocks(answer))
        except httpx.TransportError:
            raise _Passing(Refused(self.name, CUT)) from None

    def _blocks(self, answer: httpx.Response) -> Blocks:
        deadline = self._clock() + LONGEST_ANSWER_S
        for block in answer.iter_raw():  # as they arrive: larger blocks would wait for a slow server
            if self._clock() > deadline:
                raise Refused(self.name, TOO_SLOW)
            yield block

    def _error_of(self, answer: httpx.Response) -> Exception:
        status = answer.status_code
        reason = f"the server answers with status {status}"
        if status == httpx.codes.UNAUTHORIZED:
            return Forbidden(f"DICOMweb server {self.name} refuses the client: status 401")
        if status in PASSING:
            lasting = self._away(f"status {status}") if status in AWAY else Refused(self.name, reason, status)
            return _Passing(lasting, _retry_after(answer))
        if answer.has_redirect_location:
            reason += ", a redirect; redirects are not followed"
        return Refused(self.name, reason, status)

    def _away(self, why: str) -> ServerAway:
        return ServerAway(f"DICOMweb server {self.name} does not answer: {why}")

    def _post_form(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> tuple[int, bytes]:
        def attempt() -> tuple[int, bytes]:
            request = self._http.build_request("POST", url, data=dict(form), headers={**headers, **PLAIN})
            with self._answer(request) as answer:
                if answer.status_code in PASSING:
                    raise _Passing(self._away(f"status {answer.status_code} of its token server"))
                try:
                    body = b"".join(_limited(self._blocks(answer), LARGEST_TOKEN_ANSWER))
                except httpx.TransportError:
                    raise _Passing(self._away("the answer of its token server ends early")) from None
                return answer.status_code, body

        return self._repeat(attempt)


def _limited(blocks: Blocks, most: int) -> Blocks:
    size = 0
    for block in blocks:
        size += len(block)
        if size > most:
            raise InvalidInput(f"an answer has more than {most} bytes")
        yield block


def read_answer(blocks: Blocks, most: int) -> bytes:
    """A whole answer. InvalidInput if it has more than `most` bytes."""
    return b"".join(_limited(blocks, most))


def _retry_after(answer: httpx.Response) -> float:
    """The seconds of Retry-After. Dates, and what is neither, count as none."""
    text = answer.headers.get("retry-after", "")
    return min(float(text), LONGEST_WAIT_S) if text.isascii() and text.isdigit() and len(text) < 10 else 0.0
