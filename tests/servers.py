"""Real servers for tests: one of each kind per test process, started for the first test that needs it.

A server that cannot be started fails the test that needs it; no test is skipped.
"""

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest

from deploy.local.servers import Server, start_orthanc, start_postgres, start_rabbitmq, start_s3


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A broker with its management API."""
    server = start_rabbitmq(tmp_path_factory.mktemp("rabbitmq"))
    yield server
    server.stop()


@dataclass(frozen=True)
class GivenStore:
    """A store that runs already: tests make buckets and objects in it, and leave them there."""

    url: str


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server | GivenStore]:
    """An S3 server: the one that `make test S3=URL` names, or else a new one."""
    if given := os.environ.get("TEST_S3_URL"):
        yield GivenStore(given)
        return
    server = start_s3(tmp_path_factory.mktemp("s3"))
    yield server
    server.kill()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A database server."""
    with accessible_folder() as folder:
        server = start_postgres(folder)
        yield server
        server.stop()


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A PACS with DICOMweb."""
    server = start_orthanc(tmp_path_factory.mktemp("orthanc"))
    yield server
    server.stop()


@contextmanager
def accessible_folder() -> Iterator[Path]:
    """Make a folder that PostgreSQL's unprivileged user can use, unlike those of pytest; remove it afterwards."""
    with tempfile.TemporaryDirectory(prefix="primitives-test-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def fresh_vhost(server: Server) -> str:
    """Make an empty virtual host and return its URL."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    management = server.environment["MANAGEMENT"]
    httpx.put(f"{management}/api/vhosts/{name}", timeout=30).raise_for_status()
    return server.url.removesuffix("%2F") + name


def fresh_database(server: Server) -> str:
    """Make an empty database and return its URL."""
    name = f"test_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server.url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.url.removesuffix("primitives") + name


def fresh_schema(server: Server) -> str:
    """Return the URL of a new schema."""
    return f"{server.url}?schema=test_{uuid.uuid4().hex[:8]}"
