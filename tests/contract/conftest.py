"""The forms of each port. A new form is added here and nowhere else, and has to pass what stands in this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.common.blobs import Blobs, FolderBlobs
from services.common.bus import Bus, MemoryBus
from services.common.records import Records, open_records


@pytest.fixture(params=["memory"])
def bus(request: pytest.FixtureRequest) -> Iterator[Bus]:
    """A fresh bus of each form."""
    bus = MemoryBus()
    yield bus
    bus.close()


@pytest.fixture(params=["folder"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    """A fresh object store of each form."""
    return FolderBlobs(tmp_path / "blobs")


@pytest.fixture(params=["sqlite"])
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Records]:
    """Fresh records of each form."""
    records = open_records(f"sqlite:///{tmp_path / 'records.sqlite'}")
    yield records
    records.close()
