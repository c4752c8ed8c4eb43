"""The S3 form on a store, or a connection to it, that damages or loses uploads."""

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from deploy.local.servers import Server
from services.common.blobs import Blobs, open_blobs
from services.common.blobs.s3 import ATTEMPTS, PART_BYTES, S3Blobs
from services.common.errors import InvalidInput, Unavailable
from services.common.records import now
from tests.chaos.proxy import FaultyStore

BUCKET = "fault-bucket"
CONTENT = bytes(range(256)) * 40


@pytest.fixture
def front(s3: Server) -> Iterator[FaultyStore]:
    """A proxy of the store that can damage what it forwards."""
    host, port = s3.url.split("@")[1].split("?")[0].split(":")
    front = FaultyStore(host, int(port))
    yield front
    front.close()


@pytest.fixture
def blobs(front: FaultyStore, s3: Server, monkeypatch: pytest.MonkeyPatch) -> Blobs:
    """The store behind the proxy, with short waits between attempts."""
    monkeypatch.setattr("services.common.blobs.s3.FIRST_WAIT_S", 0.01)
    address = s3.url.split("@")[1].split("?")[0]
    blobs = open_blobs(s3.url.replace(address, f"127.0.0.1:{front.port}"))
    blobs.ensure_bucket(BUCKET)
    return blobs


@pytest.mark.parametrize("mode", ["cut", "alter"])
@pytest.mark.parametrize("size", [len(CONTENT), PART_BYTES + 7])
def test_a_damaged_upload_is_sent_again(
    front: FaultyStore, blobs: Blobs, s3: Server, tmp_path: Path, mode: str, size: int
) -> None:
    """An upload that is truncated or altered once, in one part or several, is detected and sent again. The store then
    holds the sent bytes."""
    content = (CONTENT * (size // len(CONTENT) + 1))[:size]
    source = tmp_path / "source"
    source.write_bytes(content)
    front.mode, front.left = mode, 1
    ref = blobs.put_file(BUCKET, "key", source)
    assert front.faults == 1
    assert ref.sha256 == hashlib.sha256(content).hexdigest()
    assert open_blobs(s3.url).get(BUCKET, "key") == content


PASSING = [
    (500, "InternalError"),
    (502, "BadGateway"),
    (503, "SlowDown"),
    (503, "SlowDownRead"),
    (503, "SlowDownWrite"),
    (503, "XMinioBackendDown"),
    (503, "NobodyHasHeardOfIt"),
    (504, "GatewayTimeout"),
    (507, "XMinioStorageFull"),
    (408, "RequestTimeout"),
    (400, "RequestTimeout"),
    (429, "TooManyRequests"),
    (409, "OperationAborted"),
]


@pytest.mark.parametrize(("status", "code"), PASSING)
def test_a_passing_fault_is_retried(front: FaultyStore, blobs: Blobs, status: int, code: str) -> None:
    """A call that the store refuses for now is sent again until it succeeds."""
    ref = blobs.put(BUCKET, "passing", CONTENT)
    front.mode, front.error, front.left = "error", (status, code), 2
    assert blobs.get(BUCKET, "passing") == CONTENT
    assert front.faults == 2
    front.left = None
    with pytest.raises(Unavailable, match=code):
        blobs.put(BUCKET, "passing", CONTENT)
    assert front.faults == 2 + ATTEMPTS
    front.mode = "pass"
    assert blobs.put(BUCKET, "passing", CONTENT) == ref


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "ExpiredToken"),
        (401, "Unauthorized"),
        (403, "AccessDenied"),
        (403, "InvalidAccessKeyId"),
        (403, "RequestTimeTooSkewed"),
        (403, "SignatureDoesNotMatch"),
    ],
)
def test_a_denied_call_waits_for_new_keys(front: FaultyStore, blobs: Blobs, status: int, code: str) -> None:
    """Keys that have expired or are denied make the store unavailable at once: a job waits until they are replaced."""
    blobs.put(BUCKET, "denied", CONTENT)
    front.mode, front.error = "error", (status, code)
    with pytest.raises(Unavailable, match=code):
        blobs.get(BUCKET, "denied")
    assert front.faults == 1


@pytest.mark.parametrize(
    ("status", "code"), [(400, "InvalidArgument"), (405, "MethodNotAllowed"), (411, "MissingContentLength")]
)
def test_a_lasting_fault_is_not_retried(front: FaultyStore, blobs: Blobs, status: int, code: str) -> None:
    """A call that would fail again is InvalidInput at the first refusal."""
    front.mode, front.error = "error", (status, code)
    with pytest.raises(InvalidInput, match=code):
        blobs.get(BUCKET, "lasting")
    assert front.faults == 1


@pytest.mark.parametrize("mode", ["cut", "alter"])
def test_uploads_that_are_always_damaged_are_abandoned(front: FaultyStore, blobs: Blobs, mode: str) -> None:
    """After ATTEMPTS damaged uploads the put raises Unavailable and returns no reference."""
    front.mode = mode
    with pytest.raises(Unavailable, match=f"{BUCKET}/key"):
        blobs.put(BUCKET, "key", CONTENT)
    assert front.faults == ATTEMPTS


@pytest.mark.parametrize("size", [len(CONTENT), PART_BYTES + 7])
def test_a_full_store_is_retried_and_left_clean(
    front: FaultyStore, blobs: Blobs, s3: Server, tmp_path: Path, size: int
) -> None:
    """A put to a full store is attempted ATTEMPTS times and raises Unavailable, so that its job is retried later. It
    leaves neither an object nor parts of one, and succeeds once there is room."""
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


def test_old_parts_of_an_unfinished_upload_are_discarded(s3: Server) -> None:
    """discard_unfinished removes the parts of an upload whose process was killed, if it began before the given
    moment."""
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
