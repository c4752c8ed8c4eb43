"""What the S3 form makes of a store, or a way to it, that does not keep what it is given."""

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from deploy.local.servers import Server
from services.common.blobs import Blobs, open_blobs
from services.common.blobs.s3 import ATTEMPTS, PART_BYTES, S3Blobs
from services.common.errors import Unavailable
from services.common.records import now
from tests.chaos.proxy import FaultyStore

BUCKET = "fault-bucket"
CONTENT = bytes(range(256)) * 40


@pytest.fixture
def front(s3: Server) -> Iterator[FaultyStore]:
    """A proxy of the store that can be made to spoil what it passes on."""
    host, port = s3.url.split("@")[1].split("?")[0].split(":")
    front = FaultyStore(host, int(port))
    yield front
    front.close()


@pytest.fixture
def blobs(front: FaultyStore, s3: Server, monkeypatch: pytest.MonkeyPatch) -> Blobs:
    """The store behind that way, with short waits between attempts."""
    monkeypatch.setattr("services.common.blobs.s3.FIRST_WAIT_S", 0.01)
    address = s3.url.split("@")[1].split("?")[0]
    blobs = open_blobs(s3.url.replace(address, f"127.0.0.1:{front.port}"))
    blobs.ensure_bucket(BUCKET)
    return blobs


@pytest.mark.parametrize("mode", ["cut", "alter"])
@pytest.mark.parametrize("size", [len(CONTENT), PART_BYTES + 7])
def test_a_spoilt_upload_is_sent_again(
    front: FaultyStore, blobs: Blobs, s3: Server, tmp_path: Path, mode: str, size: int
) -> None:
    """An upload that is cut or altered once, in one part or several, is noticed; the store then holds what was sent."""
    content = (CONTENT * (size // len(CONTENT) + 1))[:size]
    source = tmp_path / "source"
    source.write_bytes(content)
    front.mode, front.left = mode, 1
    ref = blobs.put_file(BUCKET, "key", source)
    assert front.faults == 1
    assert ref.sha256 == hashlib.sha256(content).hexdigest()
    assert open_blobs(s3.url).get(BUCKET, "key") == content


@pytest.mark.parametrize("mode", ["cut", "alter"])
def test_uploads_that_are_always_spoilt_are_given_up(front: FaultyStore, blobs: Blobs, mode: str) -> None:
    """After ATTEMPTS spoilt uploads the put raises Unavailable and returns no reference."""
    front.mode = mode
    with pytest.raises(Unavailable, match=f"{BUCKET}/key"):
        blobs.put(BUCKET, "key", CONTENT)
    assert front.faults == ATTEMPTS


@pytest.mark.parametrize("size", [len(CONTENT), PART_BYTES + 7])
def test_a_full_store_is_tried_again_then_given_up_and_left_clean(
    front: FaultyStore, blobs: Blobs, s3: Server, tmp_path: Path, size: int
) -> None:
    """To a store that says that it is full a put is made ATTEMPTS times and raises Unavailable, so that its job is
    tried later. It leaves neither an object nor parts of one, and is done once there is room."""
    source, key = tmp_path / "source", f"full-{size}"
    source.write_bytes((CONTENT * (size // len(CONTENT) + 1))[:size])
    front.mode = "full"
    with pytest.raises(Unavailable, match=f"{BUCKET}/{key}.*XMinioStorageFull"):
        blobs.put_file(BUCKET, key, source)
    assert front.faults >= ATTEMPTS  # parts are sent in parallel
    store = open_blobs(s3.url)
    assert store.size(BUCKET, key) is None
    assert store.discard_unfinished(BUCKET, now() + timedelta(minutes=1)) == 0
    front.left = 2
    ref = blobs.put_file(BUCKET, key, source)
    assert store.get(BUCKET, key) == source.read_bytes() and ref.size == size


def test_what_is_left_of_an_upload_is_discarded_when_it_is_old(s3: Server) -> None:
    """The parts of an upload whose process was killed are taken away, once the upload began before the moment named."""
    blobs = open_blobs(s3.url)
    assert isinstance(blobs, S3Blobs)
    bucket = "unfinished-bucket"
    blobs.put(bucket, "whole", CONTENT)
    upload = blobs._client._create_multipart_upload(bucket, "half", {})
    blobs._client._upload_part(bucket, "half", bytes(PART_BYTES), None, upload, 1)
    assert blobs.discard_unfinished(bucket, now() - timedelta(hours=1)) == 0
    assert blobs.discard_unfinished(bucket, now() + timedelta(seconds=5)) == 1
    assert blobs.discard_unfinished(bucket, now() + timedelta(seconds=5)) == 0
    assert list(blobs.list(bucket)) == ["whole"]
