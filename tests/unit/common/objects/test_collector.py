"""The collector and the cross-check, over a made-up service."""

import hashlib
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.blobs import FolderBlobs, ObjectRef, StoredObject
from services.common.errors import Conflict
from services.common.objects.collector import collect
from services.common.objects.cross_check import cross_check
from services.common.objects.references import Owner, References
from services.common.records import now

BUCKET = "made-up"
GRACE = timedelta(hours=24)
NO_RECORDS: Any = None


def owner_of(*refs: ObjectRef, service: str = "made_up", bucket: str | None = BUCKET) -> Owner:
    """Return a service whose records refer to some objects."""

    def collect_references(_: object, found: References) -> None:
        for ref in refs:
            found.add(ref, f"record of {service}")

    return Owner(service, bucket, collect_references)


def put(blobs: FolderBlobs, key: str, hours: float = 48) -> ObjectRef:
    """Put an object and set its age in hours."""
    ref = blobs.put(BUCKET, key, key.encode())
    moment = (now() - timedelta(hours=hours)).timestamp()
    path = Path(blobs.url.removeprefix("folder://")) / BUCKET / key
    os.utime(path, (moment, moment))
    return ref


OBJECTS = st.dictionaries(
    st.text("abc", min_size=1, max_size=4),
    st.tuples(st.booleans(), st.floats(0, 72).filter(lambda h: abs(h - 24) > 0.1)),
)


@settings(deadline=None)  # the disk may be slow
@given(objects=OBJECTS)
def test_referenced_and_recent_objects_stay(objects: dict[str, tuple[bool, float]]) -> None:
    """Exactly the objects that are neither referenced nor newer than the grace period are removed."""
    with TemporaryDirectory() as folder:
        blobs = FolderBlobs(folder)
        refs = {key: put(blobs, key, hours) for key, (_, hours) in objects.items()}
        owner = owner_of(*(refs[key] for key, (referenced, _) in objects.items() if referenced))
        done = collect(owner, NO_RECORDS, blobs, now() - GRACE, accept_empty=True)
        assert done is not None
        expected = {key for key, (referenced, hours) in objects.items() if referenced or hours < 24}
        assert set(blobs.list(BUCKET)) == expected
        assert done.removed == len(objects) - len(expected)
        assert done.recent == sum(not referenced and hours < 24 for referenced, hours in objects.values())
        assert done.faults == []


class PutAgain(FolderBlobs):
    """A store in which an object is put again right after it was listed."""

    def scan(self, bucket: str, prefix: str = "") -> Iterator[StoredObject]:
        listed = list(super().scan(bucket, prefix))
        self.put(bucket, "again", b"again")
        return iter(listed)


def test_an_object_that_is_put_again_after_the_listing_stays(tmp_path: Path) -> None:
    """The age is read again before the removal: old garbage that has been put again stays."""
    blobs = PutAgain(tmp_path)
    referenced = put(blobs, "referenced")
    for key in ("again", "garbage"):
        put(blobs, key)
    done = collect(owner_of(referenced), NO_RECORDS, blobs, now() - GRACE)
    assert done is not None
    assert (done.removed, done.recent) == (1, 1)
    assert list(blobs.list(BUCKET)) == ["again", "referenced"]


def test_objects_of_a_manifest_that_is_written_after_the_mark_stay(tmp_path: Path) -> None:
    """Even without a grace period, objects that are put after the mark began are newer than it."""
    blobs = FolderBlobs(tmp_path)
    old = put(blobs, "old")

    def collect_references(_: object, found: References) -> None:
        found.add(old, "record")
        blobs.put(BUCKET, "part-of-the-next", b"x")

    before = now()
    done = collect(Owner("made_up", BUCKET, collect_references), NO_RECORDS, blobs, before)
    assert done is not None
    assert (done.removed, done.recent) == (0, 1)


def test_records_without_references_do_not_empty_a_bucket(tmp_path: Path) -> None:
    """Conflict if the bucket holds objects; an empty bucket is collected."""
    blobs = FolderBlobs(tmp_path)
    done = collect(owner_of(), NO_RECORDS, blobs, now())
    assert done is not None
    assert done.removed == 0
    put(blobs, "key")
    with pytest.raises(Conflict, match="the records of made_up refer to none of the 1 objects in bucket made-up"):
        collect(owner_of(), NO_RECORDS, blobs, now())
    assert list(blobs.list(BUCKET)) == ["key"]


def test_records_of_another_store_do_not_empty_a_bucket(tmp_path: Path) -> None:
    """Conflict also if the records refer to objects, but to none that exists in this bucket."""
    blobs, elsewhere = FolderBlobs(tmp_path / "here"), FolderBlobs(tmp_path / "elsewhere")
    put(blobs, "key")
    with pytest.raises(Conflict, match="refer to none of the 1 objects in bucket made-up"):
        collect(owner_of(put(elsewhere, "another")), NO_RECORDS, blobs, now())
    assert list(blobs.list(BUCKET)) == ["key"]


def test_a_service_without_a_bucket_has_nothing_to_collect(tmp_path: Path) -> None:
    """It is skipped, and it does not remove the objects of other services to which it refers."""
    blobs = FolderBlobs(tmp_path)
    ref = put(blobs, "key")
    assert collect(owner_of(ref, bucket=None), NO_RECORDS, blobs, now()) is None


def test_a_missing_object_is_reported_and_garbage_is_removed(tmp_path: Path) -> None:
    """The fault names the object and the record."""
    blobs = FolderBlobs(tmp_path)
    gone, referenced = put(blobs, "gone"), put(blobs, "referenced")
    put(blobs, "garbage")
    blobs.delete(BUCKET, "gone")
    done = collect(owner_of(gone, referenced), NO_RECORDS, blobs, now() - GRACE)
    assert done is not None
    assert [(fault.kind, fault.what, fault.referenced_by) for fault in done.faults] == [
        ("missing", "made-up/gone", "record of made_up")
    ]
    assert list(blobs.list(BUCKET)) == ["referenced"]


def test_reports_print_the_earlier_names_too(tmp_path: Path) -> None:
    """Scripts that read the JSON of earlier releases find their fields, with the same values, until v2."""
    blobs = FolderBlobs(tmp_path)
    owner = owner_of(put(blobs, "referenced"), ObjectRef(bucket=BUCKET, key="gone", sha256="", size=1))
    put(blobs, "recent", hours=0)
    done = collect(owner, NO_RECORDS, blobs, now() - GRACE)
    assert done is not None
    printed = done.model_dump()
    assert (printed["referenced"], printed["reached"], printed["recent"], printed["young"]) == (2, 2, 1, 1)
    [fault] = printed["faults"]
    assert fault["told"] == fault["description"] == "there is no object made-up/gone"
    assert fault["named_by"] == fault["referenced_by"] == "record of made_up"
    checked = cross_check([(owner, NO_RECORDS)], blobs, tmp_path, deep=False).model_dump()
    assert (checked["named"], checked["referenced"]) == (2, 2)
    assert checked["unnamed"] == checked["unreferenced"] == {BUCKET: {"objects": 1, "bytes": 6, "manifests": []}}


def test_the_check_reports_objects_to_which_only_a_sibling_refers(tmp_path: Path) -> None:
    """An object to which another service refers, but not its owner, is disowned: it will be collected."""
    blobs = FolderBlobs(tmp_path)
    owned, disowned = put(blobs, "owned"), put(blobs, "disowned.json")
    sibling = owner_of(owned, disowned, service="sibling", bucket=None)
    checked = cross_check([(owner_of(owned), NO_RECORDS), (sibling, NO_RECORDS)], blobs, tmp_path, deep=True)
    assert [(fault.kind, fault.what, fault.referenced_by) for fault in checked.faults] == [
        ("disowned", "made-up/disowned.json", "record of sibling")
    ]
    assert (checked.referenced, checked.bytes) == (2, owned.size + disowned.size)
    assert checked.unreferenced[BUCKET].manifests == ["disowned.json"]


def test_only_a_deep_check_reads_the_objects(tmp_path: Path) -> None:
    """Other bytes of the same size pass the quick check, but not the deep one, which reports each object once."""
    blobs = FolderBlobs(tmp_path)
    ref = put(blobs, "key")
    blobs.put(BUCKET, "key", b"yek")
    pairs = [(owner_of(ref), NO_RECORDS), (owner_of(ref, service="sibling", bucket=None), NO_RECORDS)]
    assert cross_check(pairs, blobs, tmp_path, deep=False).faults == []
    [fault] = cross_check(pairs, blobs, tmp_path, deep=True).faults
    assert (fault.kind, fault.what) == ("altered", "made-up/key")
    assert hashlib.sha256(b"yek").hexdigest() in fault.description
