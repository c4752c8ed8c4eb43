"""Real servers for tests: one of each a test process, started when first asked for and stopped when it ends.

A server that cannot be started fails the test that needs it; nothing skips.
"""

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from deploy.local.servers import Server, start_postgres, start_rabbitmq, start_s3


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A broker with its management API."""
    server = start_rabbitmq(tmp_path_factory.mktemp("rabbitmq"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An S3 server."""
    server = start_s3(tmp_path_factory.mktemp("s3"))
    yield server
    server.kill()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A database server."""
    with reachable_folder() as folder:
        server = start_postgres(folder)
        yield server
        server.stop()


@contextmanager
def reachable_folder() -> Iterator[Path]:
    """A folder that PostgreSQL's unprivileged user reaches, which pytest's own are not; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="primitives-test-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def fresh_vhost(server: Server) -> str:
    """The URL of a virtual host of its own, in which no queue exists."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    management = server.environment["MANAGEMENT"]
    httpx.put(f"{management}/api/vhosts/{name}", timeout=30).raise_for_status()
    return server.url.removesuffix("%2F") + name


def fresh_database(server: Server) -> str:
    """The URL of a database of its own, in which no schema exists."""
    name = f"test_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server.url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.url.removesuffix("primitives") + name


def fresh_schema(server: Server) -> str:
    """The URL of a schema of its own."""
    return f"{server.url}?schema=test_{uuid.uuid4().hex[:8]}"
