"""The client: the four services behind one object."""

import ssl
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self

import httpx

from primitives_client.addresses import find_addresses, find_token, find_trust
from primitives_client.annotation import Studies
from primitives_client.connection import Connection, Retries, path_of
from primitives_client.errors import InvalidInput
from primitives_client.extraction import Extractions
from primitives_client.games import OwnGame, own_games_of
from primitives_client.models.common import ServiceStatus
from primitives_client.pages import Pages
from primitives_client.plans import Plans
from primitives_client.reading import ReadingList, reading_lists_of
from primitives_client.rendering import Renderings
from primitives_client.resources import Connections
from primitives_client.training import Datasets, Evaluations, Runs
from primitives_client.version import __version__

TIMEOUT_S = 30.0
CONNECT_S = 10.0
READER = b"x-reader"
"""The header that names the reader of a call."""
SERVICES = ("training", "activation_extraction", "patch_rendering", "annotation")
"""The services in the order of a plan."""


class Primitives:
    """The services of Visual Primitives.

    Without arguments it reads the variables that the command `primitives` reads: PRIMITIVES_HOST and the ports of the
    services, PRIMITIVES_TOKEN, SSL_CERT_FILE and the client certificate. No call is made before a method needs one.
    """

    # Each is independent of the others and has a default.
    def __init__(
        self,
        url: str = "",
        *,
        token: str | None = None,
        reader: str = "",
        services: Mapping[str, str] | None = None,
        authorities: str | Path | ssl.SSLContext | None = None,
        timeout: float = TIMEOUT_S,
        retries: Retries | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Connect to the services at a URL: `http://HOST` or, with the port of the pages, `http://HOST:8000`.

        `reader` is the name of the reader whose studies and responses are read and written. `services` has the base
        URLs of single services by name. `authorities` is a PEM file, or a TLS context. `transport` sends the calls in
        place of the network, in tests.
        """
        self._http = httpx.Client(
            verify=find_trust(authorities) if transport is None else True,
            timeout=httpx.Timeout(timeout, connect=min(timeout, CONNECT_S)),
            transport=transport,
            headers={"user-agent": f"visual-primitives-client/{__version__}"},
        )
        secret, retries = find_token(token), retries or Retries()
        headers = {b"authorization": f"Bearer {secret}".encode()} if secret else {}
        addresses = find_addresses(url, services)

        def connect(base: str) -> Connection:
            return Connection(base, self._http, headers, retries)

        connections = Connections(
            training=connect(addresses.training),
            activation_extraction=connect(addresses.activation_extraction),
            patch_rendering=connect(addresses.patch_rendering),
            annotation=connect(addresses.annotation),
            wait=retries.wait,
            clock=retries.clock,
        )
        self._use(connections, reader)

    def as_reader(self, name: str) -> "Primitives":
        """Return a client that reads and writes the responses of another reader. It shares the connections of this
        one. A token that belongs to one reader allows no other."""
        other = object.__new__(type(self))
        other._http = self._http
        other._use(self._connections, name)
        return other

    def reading_lists(self) -> Pages[ReadingList]:
        """Return the reading lists of the reader under protocols, newest first."""
        return reading_lists_of(self._connections)

    def games(self) -> Pages[OwnGame]:
        """Return the games of the reader, newest first."""
        return own_games_of(self._connections)

    def status(self) -> dict[str, ServiceStatus]:
        """Read the state of each service: its tasks, queues and dependencies."""
        connections = zip(SERVICES, self._connections.all(), strict=True)
        return {name: connection.get(ServiceStatus, path_of("status")) for name, connection in connections}

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _use(self, connections: Connections, reader: str) -> None:
        if not reader.isprintable():
            raise InvalidInput(f"{reader!r} is not the name of a reader")
        if reader:
            annotation = connections.annotation
            headers = {**annotation.headers, READER: reader.encode()}
            connections = replace(connections, annotation=replace(annotation, headers=headers))
        self._connections = connections
        self.datasets = Datasets(connections)
        self.runs = Runs(connections)
        self.evaluations = Evaluations(connections)
        self.extractions = Extractions(connections)
        self.renderings = Renderings(connections)
        self.studies = Studies(connections)
        self.plans = Plans(connections)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Primitives({', '.join(one.base for one in self._connections.all())})"
