"""Interceptors of every call: errors become codes, tokens are checked, the number of streams is limited."""

import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple
from urllib.parse import unquote

import grpc
from google.protobuf import message
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection
from opentelemetry.trace import INVALID_SPAN, SpanKind

from services.common import errors
from services.common.access.audit import Actor, Audit, acting_as, current_caller, name_caller
from services.common.access.tokens import Access, Caller, Tokens
from services.common.observability.logs import get_logger
from services.common.observability.metrics import GRPC_REQUESTS
from services.common.observability.tracing import span
from services.common.work.starts import HEADER, CallKey

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

UNKNOWN_FIELDS = "it has fields that this version of the service does not know"

READING_METHODS = ("Get", "List", "Watch")
"""Prefixes of the methods that change nothing; other methods need a token with the write scope, unless a service names
those that need another one."""

_REFLECTION = (reflection.SERVICE_NAME, "grpc.reflection.v1.ServerReflection")


def code_of(error: errors.PrimitivesError) -> grpc.StatusCode:
    """Return the gRPC status of an error; INTERNAL for errors that no caller can correct."""
    return next((code for kind, code in CODE_OF.items() if isinstance(error, kind)), grpc.StatusCode.INTERNAL)


CallScope = Callable[[Any, grpc.ServicerContext], "AbstractContextManager[None]"]
"""Makes a context manager for one call, from its details and context. It ends after the last message of the answer."""


class AroundCalls(grpc.ServerInterceptor):
    """Runs every call within a context manager, whether it answers with one message or with a stream."""

    def __init__(self, around: CallScope) -> None:
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


class AroundStreams(AroundCalls):
    """Does the same, but only for calls that send or answer with a stream."""

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = continuation(details)
        if handler is None or not (handler.request_streaming or handler.response_streaming):
            return handler
        return super().intercept_service(lambda _: handler, details)


class HealthThreads(grpc.ServerInterceptor):
    """Runs the calls of health in threads of their own, so that they do not wait for other calls.

    It must be the outermost interceptor: gRPC reads the threads from the function that it calls.
    """

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = continuation(details)
        if handler is None or _service_and_method(details)[0] != health.SERVICE_NAME:
            return handler

        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            return (handler.unary_unary or handler.unary_stream)(request, context)

        answer.experimental_thread_pool = self._threads  # type: ignore[attr-defined]
        return _handler_like(handler, answer, answer, handler.request_deserializer)


class _Unreadable(NamedTuple):
    """Replaces a request whose bytes are not a message of its type."""

    reason: str


class UnreadableRequests(grpc.ServerInterceptor):
    """Ends a call with an unreadable request as INVALID_ARGUMENT; gRPC itself would end it as INTERNAL.

    Of methods that change something, so are requests with fields that this version does not know. They come from a
    newer caller, and without them the work would not be what the caller meant. Reading methods ignore them.
    """

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = continuation(details)
        if handler is None or handler.request_deserializer is None:
            return handler
        area, method = _service_and_method(details)
        changes = area not in (*_REFLECTION, health.SERVICE_NAME) and not method.startswith(READING_METHODS)

        def read(content: bytes) -> Any:
            try:
                request = handler.request_deserializer(content)
            except message.DecodeError as error:
                return _Unreadable(str(error))
            return _Unreadable(UNKNOWN_FIELDS) if changes and _has_unknown_fields(request) else request

        streams = handler.request_streaming

        def one(sent: Any, context: grpc.ServicerContext) -> Any:
            if streams:
                return handler.stream_unary(map(_readable, sent), context)
            return handler.unary_unary(_readable(sent), context)

        def many(sent: Any, context: grpc.ServicerContext) -> Any:
            if streams:
                yield from handler.stream_stream(map(_readable, sent), context)
            else:
                yield from handler.unary_stream(_readable(sent), context)

        return _handler_like(handler, one, many, read)


def _has_unknown_fields(request: message.Message) -> bool:
    """Return whether a request, or a message in it, has fields that its type does not have."""
    known = type(request)()
    known.CopyFrom(request)
    known.DiscardUnknownFields()
    return known.ByteSize() != request.ByteSize()


def _readable(request: Any) -> Any:
    if isinstance(request, _Unreadable):
        raise errors.InvalidInput(f"the request cannot be read: {request.reason}")
    return request


def _handler_like(handler: Any, one: Any, many: Any, deserializer: Any) -> Any:
    """Make a handler of the same kind that answers with `one` message or with `many`."""
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
        context.abort(code_of(error), str(error))
    except Exception as error:  # a defect: the caller receives its name, the log its traceback
        log.exception("call failed", method=details.method)
        context.abort(grpc.StatusCode.INTERNAL, type(error).__name__)


def observed(service: str) -> CallScope:
    """Record a span and a duration for each call.

    Streams have no span, since it would last as long as the stream. Health and reflection have none either.
    """

    @contextmanager
    def around(details: Any, context: grpc.ServicerContext) -> Iterator[None]:
        area, method = _service_and_method(details)
        spanless = method.startswith("Watch") or area in (*_REFLECTION, health.SERVICE_NAME)
        with_code: Any = context  # every context of a server has `code`, but its type does not declare it
        parent = _metadata(context, "traceparent")
        began = time.perf_counter()
        with (
            nullcontext(INVALID_SPAN)
            if spanless
            else span(f"{area}/{method}", service, SpanKind.SERVER, parent) as current
        ):
            try:
                yield
            finally:
                code = (with_code.code() or grpc.StatusCode.OK).name
                GRPC_REQUESTS.labels(service, f"{area}/{method}", code).observe(time.perf_counter() - began)
                current.set_attribute("rpc.grpc.status", code)

    return around


def authentication(service: str, tokens: Tokens, managing: Collection[str] = ()) -> CallScope:
    """Refuse a call unless the token in its metadata allows the method. Health needs no token; the methods in
    `managing` need the scope to manage."""

    @contextmanager
    def around(details: Any, context: grpc.ServicerContext) -> Iterator[None]:
        area, method = _service_and_method(details)
        if area != health.SERVICE_NAME:
            reads = area in _REFLECTION or method.startswith(READING_METHODS)
            access: Access = "manage" if method in managing else "read" if reads else "write"
            caller = caller_of(tokens, context)
            name_caller(caller.name, caller.reader)
            caller.check(service, access)
        yield

    return around


def audited(audit: Audit) -> CallScope:
    """Record refused calls, and make the address of the caller known to what a call records."""

    @contextmanager
    def around(details: Any, context: grpc.ServicerContext) -> Iterator[None]:
        with acting_as(Actor(address=address_of(context.peer()))):
            try:
                yield
            except (errors.NotSignedIn, errors.Forbidden) as error:
                audit.record("refusal", details.method, outcome=type(error).__name__)
                raise

    return around


def address_of(peer: str) -> str:
    """The network address in gRPC's name of a peer, such as `ipv4:10.0.0.1:5555` or `ipv6:%5B::1%5D:5555`."""
    address = unquote(peer.partition(":")[2]).rpartition(":")[0]
    return address.strip("[]")


def bounded_streams(limit: int, health_limit: int) -> CallScope:
    """Limit the number of open calls; calls of health have a limit of their own.

    TooMany ends a call above the limit at once, so that it holds no thread.
    """
    of_callers, of_health = threading.Semaphore(limit), threading.Semaphore(health_limit)

    @contextmanager
    def around(details: Any, _context: grpc.ServicerContext) -> Iterator[None]:
        places = of_health if _service_and_method(details)[0] == health.SERVICE_NAME else of_callers
        if not places.acquire(blocking=False):
            raise errors.TooMany("the maximum number of streams is open; retry when some have ended")
        try:
            yield
        finally:
            places.release()

    return around


def _service_and_method(details: Any) -> tuple[str, str]:
    area, _, method = details.method.lstrip("/").partition("/")
    return area, method


def caller_of(tokens: Tokens, context: grpc.ServicerContext) -> Caller:
    """Return the holder of the token in a call's metadata. NotSignedIn if there is no valid one."""
    return tokens.caller(_metadata(context, "authorization"))


def start_key(context: grpc.ServicerContext) -> CallKey | None:
    """Return the idempotency key in the metadata of a call; None without one. InvalidInput if it is not valid."""
    return CallKey.of(current_caller(), _metadata(context, HEADER) or None)


def _metadata(context: grpc.ServicerContext, name: str) -> str:
    value = dict(context.invocation_metadata() or ()).get(name)
    return value if isinstance(value, str) else ""
