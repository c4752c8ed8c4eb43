"""What stands around every call: errors become codes, callers show tokens, streams have a limit."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import grpc
from google.protobuf import message
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection
from opentelemetry.trace import INVALID_SPAN, SpanKind

from services.common import errors
from services.common.access.tokens import Caller, Tokens
from services.common.observability.logs import get_logger
from services.common.observability.metrics import GRPC_REQUESTS
from services.common.observability.tracing import span

log = get_logger(__name__)

CODE_OF: dict[type[errors.PrimitivesError], grpc.StatusCode] = {
    errors.InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.Conflict: grpc.StatusCode.ABORTED,
    errors.NotSignedIn: grpc.StatusCode.UNAUTHENTICATED,
    errors.Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    errors.TooMany: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
}

LONGEST_DETAILS = 4000
"""Characters of an error's words: they travel in a header, which has a limit."""

READING_METHODS = ("Get", "List", "Watch")
"""How the names of methods begin that change nothing; every other method needs a token that may write."""

_REFLECTION = (reflection.SERVICE_NAME, "grpc.reflection.v1.ServerReflection")


def code_of(error: errors.PrimitivesError) -> grpc.StatusCode:
    """The gRPC status of an error; INTERNAL for what no caller can mend."""
    return next((code for kind, code in CODE_OF.items() if isinstance(error, kind)), grpc.StatusCode.INTERNAL)


Around = Callable[[Any, grpc.ServicerContext], "AbstractContextManager[None]"]
"""What happens around a call, given its details and context; an answer of many messages is within it to its end."""


class CallsWithin(grpc.ServerInterceptor):
    """Puts a context manager around every call, whether it answers with one message or with many."""

    def __init__(self, around: Around) -> None:
        self._around = around

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = continuation(details)
        if handler is None:
            return None

        def one(request: Any, context: grpc.ServicerContext) -> Any:
            with self._around(details, context):
                return (handler.unary_unary or handler.stream_unary)(request, context)

        def many(request: Any, context: grpc.ServicerContext) -> Any:
            with self._around(details, context):
                yield from (handler.unary_stream or handler.stream_stream)(request, context)

        return _handler_like(handler, one, many, handler.request_deserializer)


class StreamsWithin(CallsWithin):
    """Likewise, around the calls alone that answer with many messages."""

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = continuation(details)
        if handler is None or not handler.response_streaming:
            return handler
        return super().intercept_service(lambda _: handler, details)


class _Unreadable(NamedTuple):
    """Stands for a request whose bytes are no message of its type."""

    reason: str


class ReadableRequests(grpc.ServerInterceptor):
    """Ends a call whose request cannot be read as its caller's fault; gRPC itself would call it ours."""

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = continuation(details)
        if handler is None or handler.request_streaming or handler.request_deserializer is None:
            return handler

        def read(content: bytes) -> Any:
            try:
                return handler.request_deserializer(content)
            except message.DecodeError as error:
                return _Unreadable(str(error))

        def one(request: Any, context: grpc.ServicerContext) -> Any:
            return handler.unary_unary(_readable(request), context)

        def many(request: Any, context: grpc.ServicerContext) -> Any:
            yield from handler.unary_stream(_readable(request), context)

        return _handler_like(handler, one, many, read)


def _readable(request: Any) -> Any:
    if isinstance(request, _Unreadable):
        raise errors.InvalidInput(f"the request cannot be read: {request.reason}")
    return request


def _handler_like(handler: Any, one: Any, many: Any, deserializer: Any) -> Any:
    """A handler of the same kind that answers with `one` or with `many`."""
    make, behaviour = {
        (False, False): (grpc.unary_unary_rpc_method_handler, one),
        (True, False): (grpc.stream_unary_rpc_method_handler, one),
        (False, True): (grpc.unary_stream_rpc_method_handler, many),
        (True, True): (grpc.stream_stream_rpc_method_handler, many),
    }[handler.request_streaming, handler.response_streaming]
    return make(behaviour, deserializer, handler.response_serializer)


@contextmanager
def errors_as_codes(details: Any, context: grpc.ServicerContext) -> Iterator[None]:
    """End a call with the code of the domain error that its handler raised."""
    try:
        yield
    except errors.PrimitivesError as error:
        context.abort(code_of(error), str(error)[:LONGEST_DETAILS])
    except Exception as error:  # a defect of ours: named to the caller, told in full to the log
        log.exception("call failed", method=details.method)
        context.abort(grpc.StatusCode.INTERNAL, type(error).__name__)


def observed(service: str) -> Around:
    """A span and a duration a call. Streams have no span, which would last as long as somebody watches; nor have health
    and reflection."""

    @contextmanager
    def seen(details: Any, context: grpc.ServicerContext) -> Iterator[None]:
        area, method = _named(details)
        spanless = method.startswith("Watch") or area in (*_REFLECTION, health.SERVICE_NAME)
        answered: Any = context  # its type has no `code`, which every context of a server has
        shown = dict(context.invocation_metadata() or ()).get("traceparent", "")
        began = time.perf_counter()
        with (
            nullcontext(INVALID_SPAN)
            if spanless
            else span(f"{area}/{method}", service, SpanKind.SERVER, str(shown)) as current
        ):
            try:
                yield
            finally:
                code = (answered.code() or grpc.StatusCode.OK).name
                GRPC_REQUESTS.labels(service, f"{area}/{method}", code).observe(time.perf_counter() - began)
                current.set_attribute("rpc.grpc.status", code)

    return seen


def authentication(service: str, tokens: Tokens) -> Around:
    """Let a call in only if its metadata show a token whose scopes allow the method; health is open to all."""

    @contextmanager
    def authenticated(details: Any, context: grpc.ServicerContext) -> Iterator[None]:
        area, method = _named(details)
        if area != health.SERVICE_NAME:
            reads = area in _REFLECTION or method.startswith(READING_METHODS)
            caller_of(tokens, context).check(service, "read" if reads else "write")
        yield

    return authenticated


def bounded_streams(most: int, most_of_health: int) -> Around:
    """Let so many calls in at a time, those of health counted apart; TooMany ends any other at once, so that it holds
    no thread."""
    of_callers, of_health = threading.Semaphore(most), threading.Semaphore(most_of_health)

    @contextmanager
    def bounded(details: Any, _context: grpc.ServicerContext) -> Iterator[None]:
        places = of_health if _named(details)[0] == health.SERVICE_NAME else of_callers
        if not places.acquire(blocking=False):
            raise errors.TooMany("as many streams as there may be are open; ask again when some have ended")
        try:
            yield
        finally:
            places.release()

    return bounded


def _named(details: Any) -> tuple[str, str]:
    """The service and the method of a call."""
    area, _, method = details.method.lstrip("/").partition("/")
    return area, method


def caller_of(tokens: Tokens, context: grpc.ServicerContext) -> Caller:
    """Whose token a call's metadata show. NotSignedIn if none is valid."""
    shown = dict(context.invocation_metadata() or ()).get("authorization")
    return tokens.caller(shown if isinstance(shown, str) else None)
