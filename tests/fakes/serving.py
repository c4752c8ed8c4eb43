"""Applications and servicers of tests, served on free ports as the services serve theirs."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from fastapi import FastAPI
from primitives.training.v1 import training_pb2_grpc

from services.common.access.edge import Edge
from services.common.grpc import GrpcServer
from services.common.runtime.service import HttpServer

NAME = "primitives.training.v1.TrainingService"
PLAIN = Edge("training")
"""An edge without tokens and TLS."""


class DirectCall:
    """The context of a method that a test calls directly, with metadata."""

    def __init__(self, **metadata: str) -> None:
        self._metadata = tuple((name.replace("_", "-"), value) for name, value in metadata.items())

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata as gRPC passes it."""
        return self._metadata


@contextmanager
def serving_http(app: FastAPI, edge: Edge = PLAIN) -> Iterator[str]:
    """Serve an application for the block; yields its address, such as http://127.0.0.1:8001."""
    server = HttpServer(app, edge, 0)
    server.start()
    try:
        yield f"https://localhost:{server.port}" if edge.tls else f"http://127.0.0.1:{server.port}"
    finally:
        server.stop()


@contextmanager
def serving_grpc(servicer: training_pb2_grpc.TrainingServiceServicer, edge: Edge = PLAIN) -> Iterator[str]:
    """Serve the methods of the training service for the block; yields the address, such as 127.0.0.1:9001."""
    register = training_pb2_grpc.add_TrainingServiceServicer_to_server
    server = GrpcServer(NAME, lambda to: register(servicer, to), edge, 0)
    server.start()
    try:
        yield f"localhost:{server.port}" if edge.tls else f"127.0.0.1:{server.port}"
    finally:
        server.stop()


@contextmanager
def training_channel(servicer: training_pb2_grpc.TrainingServiceServicer, edge: Edge = PLAIN) -> Iterator[grpc.Channel]:
    """Serve the methods of the training service for the block; yields a channel to them, in the clear."""
    with serving_grpc(servicer, edge) as address, grpc.insecure_channel(address) as channel:
        yield channel
