"""A service as a process: its servers and consumers, started and stopped in the right order."""

import gc
import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from types import FrameType
from typing import Protocol

import uvicorn
from fastapi import FastAPI

from services.common.access.edge import Edge
from services.common.bus import Bus, Consumer, open_bus
from services.common.errors import Unavailable
from services.common.grpc import GrpcServer
from services.common.http.connections import LARGEST_HEADER, Connection, Room
from services.common.http.known_hosts import KnownHosts
from services.common.http.streams import Streams
from services.common.observability.instrumentation import ObservedHttp
from services.common.observability.logs import configure_logs, get_logger
from services.common.observability.tracing import configure_tracing
from services.common.settings import ServiceSettings
from services.common.work.ports import Ports
from services.common.work.runner import JobRunner
from services.common.work.warm_up import warm_up

log = get_logger(__name__)


BACKLOG = 256
"""Connections that wait to be accepted, and that are accepted before the running calls get their turn."""


class HttpServer:
    """uvicorn in a thread, on a socket that is bound before anything starts."""

    def __init__(self, app: FastAPI, edge: Edge, port: int) -> None:
        limits, tls = edge.limits, edge.tls.context() if edge.tls else None
        self.room = Room(limits.connections)
        """The open connections."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it. Without it the body of an answer waits up to 40 ms for the receipt of its head.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._socket.bind((edge.host, port))
            self._socket.listen(BACKLOG)
        except OSError as error:
            self._socket.close()
            raise Unavailable(f"HTTP port {edge.host}:{port} cannot be bound: {error.strerror}") from error
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            ObservedHttp(KnownHosts(app, edge.allowed_hosts) if edge.tokens is None else app, edge.service),
            http=partial(Connection, edge.service, self.room, limits, tls),  # type: ignore[arg-type]  # it is only called
            ws="none",
            h11_max_incomplete_event_size=LARGEST_HEADER,
            timeout_keep_alive=ceil(limits.keep_alive_s),
            backlog=BACKLOG,
            log_level="error",  # a line for each malformed request would fill the log
            access_log=False,
            timeout_graceful_shutdown=5,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name=f"http:{self.port}", daemon=True
        )

    def start(self) -> None:
        """Serve."""
        self._thread.start()

    def stop(self) -> None:
        """Stop when the running calls have ended."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()


class Background(Protocol):
    """Work in the background of a service."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End, or have no further effect, at once."""


class Recoverable(Protocol):
    """Tasks, plans or studies that an earlier process may have left unfinished."""

    def recover(self) -> None:
        """Send again what is unfinished or unpublished."""


@dataclass
class Service:
    """One of the four services. `runners` are keyed by the module of their jobs."""

    name: str
    ports: Ports
    http: HttpServer
    grpc: GrpcServer
    consumers: Sequence[Consumer]
    runners: Mapping[str, JobRunner] = field(default_factory=dict)
    recoverable: Sequence[Recoverable] = ()
    streams: Streams = field(default_factory=Streams)
    background: Sequence[Background] = ()

    def start(self) -> None:
        """Serve and consume messages. If the bus is in memory, first send the unfinished work of an earlier process."""
        if not self.ports.bus.durable:
            self.ports.leases.clear()
            self.recover()
        for module, runner in self.runners.items():
            warm_up(runner, module)
        for consumer in self.consumers:
            consumer.start()
        self.ports.outbox.start()
        for work in self.background:
            work.start()
        self.http.start()
        self.grpc.start()
        log.info("service started", service=self.name, http=self.http.port, grpc=self.grpc.port)

    def recover(self) -> None:
        """Send again what an earlier process left unfinished or unpublished."""
        for tasks in self.recoverable:
            tasks.recover()

    def stop(self) -> None:
        """Accept no more work, return the current work to the bus, and close everything but the bus and the records."""
        for consumer in self.consumers:
            consumer.stop()
        for runner in self.runners.values():
            runner.close()
        for work in self.background:
            work.stop()
        self.streams.close()
        self.http.stop()
        self.grpc.stop()
        self.ports.outbox.stop()
        log.info("service stopped", service=self.name)


def run_alone(
    name: str,
    settings: ServiceSettings,
    create: Callable[[Bus], Service],
    until: threading.Event | None = None,
) -> None:
    """Run one service in a process of its own until it is stopped, or until `until` is set."""
    configure_logs(settings.shared.log_format, settings.shared.log_level)
    configure_tracing(name, settings.shared.otlp_endpoint)
    bus = open_bus(settings.shared.bus_url)
    serve([create(bus)], bus, until)


def serve(services: Sequence[Service], bus: Bus, until: threading.Event | None = None) -> None:
    """Run services until SIGINT, SIGTERM or `until`, then stop them in order."""
    stop = until or threading.Event()

    def on_signal(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    for service in services:
        service.start()
    leave_out_of_collections()
    try:
        stop.wait()
    finally:
        bus.stop_deliveries()
        for service in services:
            service.stop()
        bus.close()
        for service in services:
            service.ports.records.close()


def leave_out_of_collections() -> None:
    """Leave all objects that exist now out of later garbage collections. Some 500,000 of them, mostly of modules, stay
    until the process ends; a full collection would look at all of them, and no thread runs meanwhile."""
    gc.collect()
    gc.freeze()
