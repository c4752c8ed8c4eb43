"""Fixtures that all tests may ask for, and one that all have."""

from collections.abc import Iterator

import pytest

from services.common.observability.logs import log_scope
from tests.servers import postgres, rabbitmq, s3

__all__ = ["postgres", "rabbitmq", "s3"]


@pytest.fixture(autouse=True)
def _own_log_ids() -> Iterator[None]:
    """What a test has log lines carry ends with it: handlers that it calls itself are in no message's scope."""
    with log_scope():
        yield
