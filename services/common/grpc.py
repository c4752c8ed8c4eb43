"""The gRPC side that every service has: health, reflection, errors as codes in one place, and messages from views."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import grpc
from google.protobuf import json_format, message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from pydantic import BaseModel, ValidationError

from services.common import errors
from services.common.logs import get_logger

log = get_logger(__name__)

CODE_OF: dict[type[errors.PrimitivesError], grpc.StatusCode] = {
    errors.InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.Conflict: grpc.StatusCode.ABORTED,
    errors.NotSignedIn: grpc.StatusCode.UNAUTHENTICATED,
    errors.Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
}

LONGEST_DETAILS = 4000
"""Characters of an error's words: they travel in a header, which has a limit."""

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


class _ErrorsToCodes(grpc.ServerInterceptor):
    """Ends a call with the code of the domain error that its handler raised."""

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler

        def call(request: Any, context: grpc.ServicerContext) -> Any:
            try:
                return handler.unary_unary(request, context)
            except errors.PrimitivesError as error:
                context.abort(code_of(error), str(error)[:LONGEST_DETAILS])
            except Exception as error:  # a defect of ours: named to the caller, told in full to the log
                log.exception("call failed", method=details.method)
                context.abort(grpc.StatusCode.INTERNAL, type(error).__name__)

        return grpc.unary_unary_rpc_method_handler(call, handler.request_deserializer, handler.response_serializer)


class GrpcServer:
    """A server for one service: `register` adds its servicer; health and reflection come with it."""

    def __init__(self, service_name: str, register: Callable[[grpc.Server], None], host: str, port: int) -> None:
        self._service_name = service_name
        self._server = grpc.server(
            ThreadPoolExecutor(8, "grpc"),
            interceptors=[_ErrorsToCodes()],
            options=[("grpc.so_reuseport", 0)],  # a second server on the same port is an error, not a sharing
        )
        register(self._server)
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((service_name, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)
        try:
            self.port = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise errors.Unavailable(f"gRPC port {host}:{port} of {service_name} cannot be bound: {error}") from error

    def start(self) -> None:
        """Serve."""
        self._server.start()
        for name in ("", self._service_name):
            self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    def stop(self, grace_s: float = 5.0) -> None:
        """Say that it no longer serves, and end when the calls in hand are done or the grace is over."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_s).wait()
