"""A server of archives for each test."""

from collections.abc import Iterator

import pytest

from tests.fakes.archive_server import ArchiveServer, serving_archive


@pytest.fixture
def server() -> Iterator[ArchiveServer]:
    """A server without files."""
    with serving_archive() as running:
        yield running
