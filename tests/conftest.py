"""Fixtures for all tests, and one that every test uses."""

from collections.abc import Iterator

import pytest

from services.common.observability.logs import log_scope
from tests.servers import orthanc, postgres, rabbitmq, s3

__all__ = ["orthanc", "postgres", "rabbitmq", "s3"]


@pytest.fixture(autouse=True)
def _own_log_ids() -> Iterator[None]:
    """Log ids that a test adds end with it: handlers that it calls directly have no scope of a message."""
    with log_scope():
        yield
