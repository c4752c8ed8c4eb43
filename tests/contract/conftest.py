"""The forms of each port. A new form is added only here, and must pass the tests of this folder."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.common.blobs import Blobs, open_blobs
from services.common.blobs.s3 import S3Blobs
from services.common.bus import Bus, open_bus
from services.common.records import Records, open_records
from tests.servers import fresh_schema, fresh_vhost


@pytest.fixture(params=["memory", "rabbitmq"])
def bus(request: pytest.FixtureRequest) -> Iterator[Bus]:
    """A new bus of each form."""
    url = "memory://" if request.param == "memory" else fresh_vhost(request.getfixturevalue("rabbitmq"))
    bus = open_bus(url)
    yield bus
    bus.close()


@pytest.fixture(params=["folder", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    """An object store of each form, in which the bucket of these tests is empty or missing."""
    if request.param == "folder":
        return open_blobs(f"folder://{tmp_path / 'blobs'}")
    blobs = open_blobs(request.getfixturevalue("s3").url)
    for key in list(blobs.list("contract-bucket")):
        blobs.delete("contract-bucket", key)
    return blobs


@pytest.fixture
def remove_bucket(blobs: Blobs) -> Callable[[str], None]:
    """A function that removes a bucket with its objects without the store's knowledge, as an administrator might."""

    def remove(bucket: str) -> None:
        for key in list(blobs.list(bucket)):
            blobs.delete(bucket, key)
        if isinstance(blobs, S3Blobs):
            blobs._client.remove_bucket(bucket)
        else:
            shutil.rmtree(Path(blobs.url.removeprefix("folder://")) / bucket)

    return remove


@pytest.fixture(params=["sqlite", "postgres"])
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Records]:
    """New records of each form."""
    sqlite = f"sqlite:///{tmp_path / 'records.sqlite'}"
    url = sqlite if request.param == "sqlite" else fresh_schema(request.getfixturevalue("postgres"))
    records = open_records(url)
    yield records
    records.close()
