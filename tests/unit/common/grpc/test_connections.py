"""Connections of the gRPC server."""

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from primitives.training.v1 import training_pb2_grpc

from services.common.access.edge import ConnectionLimits, Edge
from tests.fakes.halves import connect, received
from tests.fakes.serving import serving_grpc

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def test_a_handshake_has_a_limit_of_time() -> None:
    """Connections whose HTTP/2 handshake does not end are closed; meanwhile others are served."""
    edge = Edge("training", limits=ConnectionLimits(header_s=0.5))
    with serving_grpc(training_pb2_grpc.TrainingServiceServicer(), edge) as address:
        port = int(address.rpartition(":")[2])
        halves = [connect(port, content) for content in (b"", PREFACE[:5], PREFACE)]
        with grpc.insecure_channel(address) as channel:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
        assert all(b"handshake timeout" in received(half) for half in halves)


def test_connections_have_a_limit() -> None:
    """A connection above the limit is closed at once."""
    edge = Edge("training", limits=ConnectionLimits(connections=5, header_s=600.0))
    with serving_grpc(training_pb2_grpc.TrainingServiceServicer(), edge) as address:
        port = int(address.rpartition(":")[2])
        held = [connect(port) for _ in range(5)]
        assert all(half.recv(1) for half in held)  # the server's settings
        assert received(connect(port)) == b""
