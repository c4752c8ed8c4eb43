"""The contract of every form of the object store."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from services.common.blobs import Blobs, open_blobs
from services.common.blobs.port import read_verified
from services.common.errors import InvalidInput, NotFound
from services.common.records import now

BUCKET = "contract-bucket"


def test_a_get_returns_the_bytes_of_the_put(blobs: Blobs) -> None:
    """The bytes come back unchanged, and the reference describes them."""
    content = bytes(range(256)) * 33
    ref = blobs.put(BUCKET, "a/b/c.bin", content)
    assert blobs.get(BUCKET, "a/b/c.bin") == content
    assert (ref.bucket, ref.key, ref.size) == (BUCKET, "a/b/c.bin", len(content))
    assert ref.sha256 == hashlib.sha256(content).hexdigest()
    assert read_verified(blobs, ref) == content


def test_an_empty_object_is_an_object(blobs: Blobs) -> None:
    """An object of zero bytes exists."""
    blobs.put(BUCKET, "empty", b"")
    assert blobs.get(BUCKET, "empty") == b""
    assert blobs.size(BUCKET, "empty") == 0


def test_a_file_goes_in_and_out(blobs: Blobs, tmp_path: Path) -> None:
    """A file of several megabytes is stored and fetched unchanged."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"0123456789abcdef" * 300_000)
    ref = blobs.put_file(BUCKET, "large", source)
    blobs.get_file(BUCKET, "large", target)
    assert target.read_bytes() == source.read_bytes()
    assert ref.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert blobs.size(BUCKET, "large") == source.stat().st_size


def test_a_ranged_get_returns_the_requested_bytes(blobs: Blobs) -> None:
    """It returns `length` bytes from `offset`, fewer at the end of the object."""
    blobs.put(BUCKET, "digits", b"0123456789")
    assert blobs.get_range(BUCKET, "digits", 3, 4) == b"3456"
    assert blobs.get_range(BUCKET, "digits", 8, 10) == b"89"
    assert blobs.get_range(BUCKET, "digits", 0, 1) == b"0"
    assert blobs.get_range(BUCKET, "digits", 20, 5) == b""
    assert blobs.get_range(BUCKET, "digits", 3, 0) == b""


def test_a_put_replaces(blobs: Blobs) -> None:
    """After a second put the key holds the newer bytes."""
    blobs.put(BUCKET, "key", b"older and longer")
    blobs.put(BUCKET, "key", b"newer")
    assert blobs.get(BUCKET, "key") == b"newer"


def test_a_missing_object_is_not_found(blobs: Blobs, tmp_path: Path) -> None:
    """Every read of a missing object raises NotFound, which names it, and writes no file."""
    blobs.put(BUCKET, "there", b"x")
    for read in (
        lambda: blobs.get(BUCKET, "missing"),
        lambda: blobs.get_range(BUCKET, "missing", 0, 1),
        lambda: blobs.get_file(BUCKET, "missing", tmp_path / "target"),
    ):
        with pytest.raises(NotFound, match="missing"):
            read()
    assert not list(tmp_path.glob("*target*"))
    assert blobs.size(BUCKET, "missing") is None


def test_keys_are_listed_in_order_by_prefix(blobs: Blobs) -> None:
    """Listing returns the complete keys of a prefix, sorted, and nothing for a prefix without keys."""
    for key in ("b/2", "a/1", "b/10", "bc"):
        blobs.put(BUCKET, key, b"x")
    assert list(blobs.list(BUCKET, "b/")) == ["b/10", "b/2"]
    assert list(blobs.list(BUCKET)) == ["a/1", "b/10", "b/2", "bc"]
    assert list(blobs.list(BUCKET, "none")) == []


def test_a_scan_returns_size_and_age(blobs: Blobs) -> None:
    """Scanning returns the listed objects with size and time of the put, in UTC; `stat` returns the same of one."""
    before = now() - timedelta(seconds=2)  # a store may round to whole seconds
    for key, content in (("b/2", b"four"), ("a/1", b""), ("c", b"x")):
        blobs.put(BUCKET, key, content)
    found = list(blobs.scan(BUCKET))
    assert [(stored.key, stored.size) for stored in found] == [("a/1", 0), ("b/2", 4), ("c", 1)]
    assert all(before <= stored.modified <= now() for stored in found)
    assert [stored.key for stored in blobs.scan(BUCKET, "b/")] == ["b/2"]
    stored = blobs.stat(BUCKET, "b/2")
    assert stored is not None
    assert (stored.key, stored.size) == ("b/2", 4)
    assert abs(stored.modified - found[1].modified) < timedelta(seconds=2)
    assert blobs.stat(BUCKET, "missing") is None
    assert list(blobs.scan("no-such-bucket")) == []


def test_a_put_of_the_same_bytes_renews_the_age(blobs: Blobs) -> None:
    """The collector decides by age: an object that is put again counts as new."""
    blobs.put(BUCKET, "key", b"x")
    first = blobs.stat(BUCKET, "key")
    assert first is not None
    deadline = now() + timedelta(seconds=10)
    second = first
    while second.modified <= first.modified and now() < deadline:
        blobs.put(BUCKET, "key", b"x")
        again = blobs.stat(BUCKET, "key")
        assert again is not None
        second = again
    assert second.modified > first.modified


def test_ensuring_a_bucket_keeps_its_objects(blobs: Blobs, remove_bucket: Callable[[str], None]) -> None:
    """A missing bucket is made, an existing one is unchanged, and an invalid name is refused."""
    blobs.ensure_bucket(BUCKET)
    remove_bucket(BUCKET)
    blobs.ensure_bucket(BUCKET)
    blobs.put(BUCKET, "key", b"x")
    blobs.ensure_bucket(BUCKET)
    assert list(blobs.list(BUCKET)) == ["key"]
    with pytest.raises(InvalidInput):
        blobs.ensure_bucket("..")


def test_a_bucket_that_vanished_loses_no_put(blobs: Blobs, remove_bucket: Callable[[str], None]) -> None:
    """If the bucket is removed after a store has used it, the next put makes it again."""
    blobs.put(BUCKET, "before", b"x")
    remove_bucket(BUCKET)
    blobs.put(BUCKET, "after", b"y")
    assert list(blobs.list(BUCKET)) == ["after"]


def test_deleting_is_final_and_repeatable(blobs: Blobs) -> None:
    """A deleted object is gone; deleting it again is harmless."""
    blobs.put(BUCKET, "key", b"x")
    blobs.delete(BUCKET, "key")
    blobs.delete(BUCKET, "key")
    assert blobs.size(BUCKET, "key") is None


@pytest.mark.parametrize("key", ["../outside", "a/../../outside", "a//b", "", "/absolute", "a/./b"])
def test_a_key_that_leaves_the_bucket_is_refused(blobs: Blobs, key: str) -> None:
    """Keys with empty, '.' or '..' parts raise InvalidInput and store nothing."""
    with pytest.raises(InvalidInput):
        blobs.put(BUCKET, key, b"x")


@pytest.mark.parametrize("bucket", ["..", "a/b", "Upper", "x", ""])
def test_an_invalid_bucket_name_is_refused(blobs: Blobs, bucket: str) -> None:
    """Names that S3 would refuse raise InvalidInput."""
    with pytest.raises(InvalidInput):
        blobs.put(bucket, "key", b"x")


def test_a_changed_object_is_noticed(blobs: Blobs) -> None:
    """Reading by a reference raises InvalidInput if the object has other bytes now."""
    ref = blobs.put(BUCKET, "key", b"first")
    blobs.put(BUCKET, "key", b"second")
    with pytest.raises(InvalidInput, match="sha256"):
        read_verified(blobs, ref)


def test_concurrent_puts_leave_one_complete_object(blobs: Blobs) -> None:
    """Of many writers of one key, one wins, and no reader sees a mixture."""
    contents = [bytes([number]) * 50_000 for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: blobs.put(BUCKET, "key", content), contents))
    assert blobs.get(BUCKET, "key") in contents


def test_a_url_opens_the_same_store(blobs: Blobs) -> None:
    """Another process finds an object by the URL of the store."""
    blobs.put(BUCKET, "key", b"x")
    assert open_blobs(blobs.url).get(BUCKET, "key") == b"x"
