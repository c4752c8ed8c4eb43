"""A service as a running thing: its ports opened, its servers and consumers started and stopped in the right order."""

import signal
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Protocol

import uvicorn
from fastapi import FastAPI

from services.common.access.edge import Edge
from services.common.bus import Bus, Consumer
from services.common.errors import Unavailable
from services.common.grpc import GrpcServer
from services.common.http.known_hosts import KnownHosts
from services.common.http.streams import Streams
from services.common.observability.instrumentation import ObservedHttp
from services.common.observability.logs import get_logger
from services.common.work.ports import Ports
from services.common.work.runner import JobRunner
from services.common.work.warm_up import warm_up

log = get_logger(__name__)


class HttpServer:
    """uvicorn in a thread, on a socket that is bound before anything starts."""

    def __init__(self, app: FastAPI, edge: Edge, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((edge.host, port))
            self._socket.listen(128)
        except OSError as error:
            self._socket.close()
            raise Unavailable(f"HTTP port {edge.host}:{port} cannot be bound: {error.strerror}") from error
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            ObservedHttp(KnownHosts(app, edge.allowed_hosts) if edge.tokens is None else app, edge.service),
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=5,
            ssl_certfile=edge.tls.certificate if edge.tls else None,
            ssl_keyfile=edge.tls.key if edge.tls else None,
            ssl_ca_certs=str(edge.tls.client_ca) if edge.tls and edge.tls.client_ca else None,
            ssl_cert_reqs=ssl.CERT_REQUIRED if edge.tls and edge.tls.client_ca else ssl.CERT_NONE,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name=f"http:{self.port}", daemon=True
        )

    def start(self) -> None:
        """Serve."""
        self._thread.start()

    def stop(self) -> None:
        """End when the calls in hand are done."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()


class Background(Protocol):
    """Something that is at work beside a service."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End, or be of no more effect, at once."""


@dataclass
class Service:
    """One service of the four; a runner goes by the module of the jobs that it runs."""

    name: str
    ports: Ports
    http: HttpServer
    grpc: GrpcServer
    consumers: Sequence[Consumer]
    runners: Mapping[str, JobRunner] = field(default_factory=dict)
    recover: Callable[[], None] = field(default=lambda: None)
    streams: Streams = field(default_factory=Streams)
    background: Sequence[Background] = ()

    def start(self) -> None:
        """Serve, take messages, and send again what an earlier process left undone where the bus forgot it."""
        if not self.ports.bus.durable:
            self.ports.leases.clear()
            self.recover()
        for module, runner in self.runners.items():
            warm_up(runner, module)
        for consumer in self.consumers:
            consumer.start()
        self.ports.outbox.start()
        for beside in self.background:
            beside.start()
        self.http.start()
        self.grpc.start()
        log.info("service started", service=self.name, http=self.http.port, grpc=self.grpc.port)

    def stop(self) -> None:
        """Take no more work, give the work in hand back, and let go of everything but the bus, which may be shared."""
        for consumer in self.consumers:
            consumer.stop()
        for runner in self.runners.values():
            runner.close()
        for beside in self.background:
            beside.stop()
        self.streams.close()
        self.http.stop()
        self.grpc.stop()
        self.ports.outbox.stop()
        log.info("service stopped", service=self.name)


def serve(services: Sequence[Service], bus: Bus, until: threading.Event | None = None) -> None:
    """Run services until SIGINT, SIGTERM or `until`, then stop them in order."""
    stop = until or threading.Event()

    def on_signal(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    for service in services:
        service.start()
    try:
        stop.wait()
    finally:
        bus.stop_taking()
        for service in services:
            service.stop()
        bus.close()
        for service in services:
            service.ports.records.close()
