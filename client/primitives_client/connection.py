"""Calls of one service: sent again while it is away, and answered with models or one of our errors."""

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx
from pydantic import BaseModel, ValidationError

from primitives_client.errors import InvalidInput, ServiceError, Unavailable, UnexpectedAnswer, Untrusted, error_of

M = TypeVar("M", bound=BaseModel)

PASSING = (429, 502, 503, 504)
"""Answers that a later attempt may change."""
LONGEST_RETRY_AFTER_S = 60.0
LONGEST_ANSWER = 500
"""Characters that an error quotes of an answer that is no problem of ours: a proxy answers with whole pages."""
KEY = b"idempotency-key"


@dataclass(frozen=True)
class Retries:
    """How often a call is sent, and the waits in between, which double. `wait` and `clock` are for tests."""

    attempts: int = 5
    first_wait_s: float = 0.5
    longest_wait_s: float = 8.0
    wait: Callable[[float], None] = field(default=time.sleep, repr=False)
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)

    def pause(self, attempt: int, retry_after: str = "") -> None:
        """Wait after an attempt, counted from 0: as long as the service requests, or else a random part of the wait."""
        seconds = min(self.longest_wait_s, self.first_wait_s * 2.0**attempt) * random.uniform(0.5, 1.0)
        if retry_after.isdecimal():
            seconds = min(float(retry_after[:9]), LONGEST_RETRY_AFTER_S)
        self.wait(seconds)


@dataclass(frozen=True)
class Connection:
    """The HTTP API of one service."""

    base: str
    http: httpx.Client = field(repr=False)
    headers: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    retries: Retries = Retries()

    def get(self, model: type[M], path: str, **query: Any) -> M:
        """Read something."""
        return self._parsed(model, self._call("GET", path, query=query))

    def content(self, path: str, **query: Any) -> bytes:
        """Read the bytes of a file, such as a picture."""
        return self._call("GET", path, query=query).content

    def start(self, model: type[M], path: str, body: BaseModel, key: str = "") -> M:
        """Send a POST that starts a task, with an idempotency key, so that it can be sent again."""
        return self._parsed(model, self._call("POST", path, body, {KEY: (key or new_key()).encode()}))

    def put(self, model: type[M], path: str, body: BaseModel) -> M:
        """Send a PUT. It must have the same effect when it arrives twice."""
        return self._parsed(model, self._call("PUT", path, body))

    def change(self, model: type[M], path: str, body: BaseModel) -> M:
        """Send a PATCH. It must have the same effect when it arrives twice."""
        return self._parsed(model, self._call("PATCH", path, body))

    def put_only(self, path: str, body: BaseModel) -> None:
        """Send a PUT whose answer is empty. It must have the same effect when it arrives twice."""
        self._call("PUT", path, body)

    def act(self, model: type[M], path: str, body: BaseModel | None = None) -> M:
        """Send a POST that has no key, so it cannot be sent again once it may have arrived."""
        return self._parsed(model, self._call("POST", path, body))

    def _call(
        self,
        method: str,
        path: str,
        body: BaseModel | None = None,
        headers: Mapping[bytes, bytes] | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> httpx.Response:
        sent = {**self.headers, **(headers or {})}
        is_repeatable = method != "POST" or KEY in sent
        content = None
        if body is not None:
            content = body.model_dump_json(exclude_unset=True)
            sent[b"content-type"] = b"application/json"
        request = self.http.build_request(
            method, f"{self.base}{path}", content=content, headers=sent, params=_written(query or {})
        )
        attempt = 0
        while True:
            is_last = attempt >= self.retries.attempts - 1
            retry_after = ""
            try:
                response = self.http.send(request)
            except httpx.RequestError as error:
                if is_last or not _may_pass(error, is_repeatable):
                    raise _unanswered(self.base, error) from error
            else:
                if response.is_success:
                    return response
                if is_last or not is_repeatable or response.status_code not in PASSING:
                    raise _refusal(response)
                retry_after = response.headers.get("retry-after", "")
            self.retries.pause(attempt, retry_after)
            attempt += 1

    def _parsed(self, model: type[M], response: httpx.Response) -> M:
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:5])
            raise UnexpectedAnswer(
                f"the answer to {_name(response.request)} is not what this client expects ({faults}); "
                "are client and services of the same version?"
            ) from error


def new_key() -> str:
    """Return a new idempotency key."""
    return uuid4().hex


def path_of(*parts: str | int) -> str:
    """Return the path of a call from its parts. InvalidInput for a part that would lead to another path."""
    for part in parts:
        if str(part) in ("", ".", ".."):
            raise InvalidInput(f"{part!r} is not a name or an id")
    return "/v1/" + "/".join(quote(str(part), safe="") for part in parts)


def _written(query: Mapping[str, Any]) -> dict[str, str | list[str]]:
    """Return the parameters of an address; those that are None or empty are left out."""
    return {
        name.removesuffix("_"): [str(one) for one in value] if isinstance(value, list | tuple) else _word(value)
        for name, value in query.items()
        if value is not None and value not in ("", [], ())
    }


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _may_pass(error: httpx.RequestError, is_repeatable: bool) -> bool:
    """Whether a later attempt may succeed. Without a connection nothing has arrived, so any call can be sent again."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return not _is_untrusted(error)
    return is_repeatable and isinstance(error, httpx.NetworkError | httpx.TimeoutException | httpx.RemoteProtocolError)


def _is_untrusted(error: Exception) -> bool:
    return "CERTIFICATE_VERIFY_FAILED" in str(error)


def _unanswered(base: str, error: Exception) -> Unavailable:
    kind = Untrusted if _is_untrusted(error) else Unavailable
    return kind(f"{base} does not answer: {error or type(error).__name__}")


def _refusal(response: httpx.Response) -> ServiceError:
    name, message = "", response.text[:LONGEST_ANSWER]
    try:
        problem = json.loads(response.content)
        name, message = str(problem["error"]), str(problem["message"])
    except (ValueError, KeyError, TypeError):
        message = message or response.reason_phrase  # not a problem of ours: a proxy has answered
    return error_of(response.status_code)(message, response.status_code, name, _name(response.request))


def _name(request: httpx.Request) -> str:
    return f"{request.method} {request.url}"
