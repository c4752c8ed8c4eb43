"""The gRPC side that every service has: health, reflection, errors as codes in one place, and messages from views."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

import grpc
from google.protobuf import json_format, message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from pydantic import BaseModel, ValidationError

from services.common import errors
from services.common.edge import Edge, Tls
from services.common.logs import get_logger
from services.common.tokens import Caller, Tokens

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

CALLS, STREAMS = 8, 32
"""Threads for calls with one answer, and for streams, each of which holds one until it ends. Health and reflection
stream too."""

_REFLECTION = (reflection.SERVICE_NAME, "grpc.reflection.v1.ServerReflection")

M = TypeVar("M", bound=message.Message)
V = TypeVar("V", bound=BaseModel)


def code_of(error: errors.PrimitivesError) -> grpc.StatusCode:
    """The gRPC status of an error; INTERNAL for what no caller can mend."""
    return next((code for kind, code in CODE_OF.items() if isinstance(error, kind)), grpc.StatusCode.INTERNAL)


def to_message(view: BaseModel, kind: type[M]) -> M:
    """A view (what HTTP answers) as a protobuf message of the same fields; absent ones keep their defaults, and a
    number that is absent from a list becomes NaN, since protobuf lists have no holes."""
    content = _fill_holes(view.model_dump(mode="json", exclude_none=True))
    return json_format.ParseDict(content, kind(), ignore_unknown_fields=True)


def to_request(content: message.Message, kind: type[V]) -> V:
    """A protobuf request as the model that HTTP takes; InvalidInput names the fields that do not fit."""
    try:
        return kind.model_validate(json_format.MessageToDict(content, preserving_proto_field_name=True))
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise errors.InvalidInput(faults) from error


def _fill_holes(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _fill_holes(item) for name, item in value.items()}
    if isinstance(value, list):
        return ["NaN" if item is None else _fill_holes(item) for item in value]
    return value


Around = Callable[[Any, grpc.ServicerContext], "AbstractContextManager[None]"]
"""What happens around a call, given its details and context; an answer of many messages is within it to its end."""


class _Around(grpc.ServerInterceptor):
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

        wrap, behaviour = {
            (False, False): (grpc.unary_unary_rpc_method_handler, one),
            (True, False): (grpc.stream_unary_rpc_method_handler, one),
            (False, True): (grpc.unary_stream_rpc_method_handler, many),
            (True, True): (grpc.stream_stream_rpc_method_handler, many),
        }[handler.request_streaming, handler.response_streaming]
        return wrap(behaviour, handler.request_deserializer, handler.response_serializer)


class _AroundStreams(_Around):
    """Likewise, around the calls alone that answer with many messages."""

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = continuation(details)
        if handler is None or not handler.response_streaming:
            return handler
        return super().intercept_service(lambda _: handler, details)


@contextmanager
def _errors_as_codes(details: Any, context: grpc.ServicerContext) -> Iterator[None]:
    """End a call with the code of the domain error that its handler raised."""
    try:
        yield
    except errors.PrimitivesError as error:
        context.abort(code_of(error), str(error)[:LONGEST_DETAILS])
    except Exception as error:  # a defect of ours: named to the caller, told in full to the log
        log.exception("call failed", method=details.method)
        context.abort(grpc.StatusCode.INTERNAL, type(error).__name__)


def _authentication(service: str, tokens: Tokens) -> Around:
    """Let a call in only if its metadata show a token whose scopes allow the method; health is open to all."""

    @contextmanager
    def authenticated(details: Any, context: grpc.ServicerContext) -> Iterator[None]:
        area, _, method = details.method.lstrip("/").partition("/")
        if area != health.SERVICE_NAME:
            reads = area in _REFLECTION or method.startswith(READING_METHODS)
            caller_of(tokens, context).check(service, "read" if reads else "write")
        yield

    return authenticated


def _bounded(most: int) -> Around:
    """Let so many calls in at a time; TooMany ends any other at once, so that it holds no thread."""
    places = threading.Semaphore(most)

    @contextmanager
    def bounded(_details: Any, _context: grpc.ServicerContext) -> Iterator[None]:
        if not places.acquire(blocking=False):
            raise errors.TooMany(f"{most} streams are open; ask again when some have ended")
        try:
            yield
        finally:
            places.release()

    return bounded


def caller_of(tokens: Tokens, context: grpc.ServicerContext) -> Caller:
    """Whose token a call's metadata show. NotSignedIn if none is valid."""
    shown = dict(context.invocation_metadata() or ()).get("authorization")
    return tokens.caller(shown if isinstance(shown, str) else None)


class GrpcServer:
    """A server for one service: `register` adds its servicer; health and reflection come with it."""

    def __init__(self, service_name: str, register: Callable[[grpc.Server], None], edge: Edge, port: int) -> None:
        self._service_name = service_name
        around: list[Around] = [_errors_as_codes]
        if edge.tokens is not None:
            around.append(_authentication(edge.service, edge.tokens))
        self._server = grpc.server(
            ThreadPoolExecutor(CALLS + STREAMS, "grpc"),
            interceptors=[*map(_Around, around), _AroundStreams(_bounded(STREAMS))],
            options=[("grpc.so_reuseport", 0)],  # a second server on the same port is an error, not a sharing
        )
        register(self._server)
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((service_name, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)
        try:
            self.port = self._bind(f"{edge.host}:{port}", edge.tls)
        except RuntimeError as error:
            told = f"gRPC port {edge.host}:{port} of {service_name} cannot be bound: {error}"
            raise errors.Unavailable(told) from error

    def _bind(self, address: str, tls: Tls | None) -> int:
        if tls is None:
            return int(self._server.add_insecure_port(address))
        pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
        return int(self._server.add_secure_port(address, grpc.ssl_server_credentials([pair])))

    def start(self) -> None:
        """Serve."""
        self._server.start()
        for name in ("", self._service_name):
            self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    def stop(self, grace_s: float = 5.0) -> None:
        """Say that it no longer serves, and end when the calls in hand are done or the grace is over."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_s).wait()
