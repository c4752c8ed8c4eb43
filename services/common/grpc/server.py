"""A gRPC server for one service, with health, reflection, tokens and TLS."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.common import errors
from services.common.access.edge import Edge, Tls
from services.common.grpc.interceptors import (
    AroundCalls,
    AroundStreams,
    CallScope,
    HealthThreads,
    UnreadableRequests,
    authentication,
    bounded_streams,
    errors_as_codes,
    observed,
)

LARGEST_REQUEST = 1 << 20
"""Bytes of a request, the same as over HTTP. gRPC itself ends a call with a larger one as RESOURCE_EXHAUSTED."""
CALLS, STREAMS, HEALTH_CALLS, HEALTH_STREAMS = 8, 32, 4, 8
"""Threads for calls with one answer, and for streams: a stream, also one of reflection, holds a thread until it ends.
Health has threads of its own: it answers while all others wait, and needs no token, so it takes none from callers."""
IDLE_S = 300.0
"""Seconds without a call after which a connection is closed. Clients connect again by themselves."""


class GrpcServer:
    """A server for one service with health and reflection. `register` adds the servicer of the service."""

    def __init__(self, service_name: str, register: Callable[[grpc.Server], None], edge: Edge, port: int) -> None:
        self._service_name = service_name
        around: list[CallScope] = [observed(edge.service), errors_as_codes]
        if edge.tokens is not None:
            around.append(authentication(edge.service, edge.tokens))
        self._server = grpc.server(
            ThreadPoolExecutor(CALLS + STREAMS, "grpc"),
            interceptors=[
                HealthThreads(ThreadPoolExecutor(HEALTH_CALLS + HEALTH_STREAMS, "grpc-health")),
                *map(AroundCalls, around),
                AroundStreams(bounded_streams(STREAMS, HEALTH_STREAMS)),
                UnreadableRequests(),
            ],
            options=[
                ("grpc.so_reuseport", 0),  # a second server on the same port is an error
                ("grpc.max_receive_message_length", LARGEST_REQUEST),
                ("grpc.server_handshake_timeout_ms", round(edge.limits.header_s * 1000)),
                ("grpc.max_connection_idle_ms", round(IDLE_S * 1000)),
                ("grpc.max_allowed_incoming_connections", edge.limits.connections),
            ],
        )
        register(self._server)
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((service_name, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)
        try:
            self.port = self._bind(f"{edge.host}:{port}", edge.tls)
        except RuntimeError as error:
            message = f"gRPC port {edge.host}:{port} of {service_name} cannot be bound: {error}"
            raise errors.Unavailable(message) from error

    def _bind(self, address: str, tls: Tls | None) -> int:
        if tls is None:
            return int(self._server.add_insecure_port(address))
        pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
        authorities = tls.client_ca.read_bytes() if tls.client_ca is not None else None
        credentials = grpc.ssl_server_credentials([pair], authorities, require_client_auth=authorities is not None)
        return int(self._server.add_secure_port(address, credentials))

    def start(self) -> None:
        """Serve."""
        self._server.start()
        for name in ("", self._service_name):
            self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    def stop(self, grace_s: float = 5.0) -> None:
        """Report that it no longer serves, and return when the running calls have ended or the grace period is over."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_s).wait()
