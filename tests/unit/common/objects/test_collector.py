"""The collector and the cross-check over a service made up for them."""

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
    """A service whose records name some objects."""

    def collect_references(_: object, found: References) -> None:
        for ref in refs:
            found.add(ref, f"record of {service}")

    return Owner(service, bucket, collect_references)


def put(blobs: FolderBlobs, key: str, hours: float = 48) -> ObjectRef:
    """An object that was put so many hours ago."""
    ref = blobs.put(BUCKET, key, key.encode())
    moment = (now() - timedelta(hours=hours)).timestamp()
    path = Path(blobs.url.removeprefix("folder://")) / BUCKET / key
    os.utime(path, (moment, moment))
    return ref


OBJECTS = st.dictionaries(
    st.text("abc", min_size=1, max_size=4),
    st.tuples(st.booleans(), st.floats(0, 72).filter(lambda h: abs(h - 24) > 0.1)),
)


@settings(deadline=None)  # it is the disk that is slow
@given(objects=OBJECTS)
def test_what_stays_is_what_is_named_or_young(objects: dict[str, tuple[bool, float]]) -> None:
    """Of any objects, named or not and of any age, those go that are neither named nor younger than the grace."""
    with TemporaryDirectory() as folder:
        blobs = FolderBlobs(folder)
        refs = {key: put(blobs, key, hours) for key, (_, hours) in objects.items()}
        owner = owner_of(*(refs[key] for key, (named, _) in objects.items() if named))
        done = collect(owner, NO_RECORDS, blobs, now() - GRACE, accept_empty=True)
        assert done is not None
        expected = {key for key, (named, hours) in objects.items() if named or hours < 24}
        assert set(blobs.list(BUCKET)) == expected
        assert done.removed == len(objects) - len(expected)
        assert done.young == sum(not named and hours < 24 for named, hours in objects.values())
        assert done.faults == []


class Meanwhile(FolderBlobs):
    """A store to which somebody puts an object again right after it was listed."""

    def scan(self, bucket: str, prefix: str = "") -> Iterator[StoredObject]:
        listed = list(super().scan(bucket, prefix))
        self.put(bucket, "again", b"again")
        return iter(listed)


def test_an_object_that_is_put_again_meanwhile_stays(tmp_path: Path) -> None:
    """What was old garbage when it was listed is left alone when it is young by the time it would go."""
    blobs = Meanwhile(tmp_path)
    kept = put(blobs, "kept")
    for key in ("again", "garbage"):
        put(blobs, key)
    done = collect(owner_of(kept), NO_RECORDS, blobs, now() - GRACE)
    assert done is not None
    assert (done.removed, done.young) == (1, 1)
    assert list(blobs.list(BUCKET)) == ["again", "kept"]


def test_a_manifest_that_is_written_after_the_mark_keeps_its_objects(tmp_path: Path) -> None:
    """Even with no grace: what is put after the mark began is younger than it."""
    blobs = FolderBlobs(tmp_path)
    old = put(blobs, "old")

    def collect_references(_: object, found: References) -> None:
        found.add(old, "record")
        blobs.put(BUCKET, "part-of-the-next", b"x")

    before = now()
    done = collect(Owner("made_up", BUCKET, collect_references), NO_RECORDS, blobs, before)
    assert done is not None
    assert (done.removed, done.young) == (0, 1)


def test_records_that_reach_nothing_empty_no_bucket(tmp_path: Path) -> None:
    """Conflict over a full bucket; over an empty one there is nothing to refuse."""
    blobs = FolderBlobs(tmp_path)
    done = collect(owner_of(), NO_RECORDS, blobs, now())
    assert done is not None
    assert done.removed == 0
    put(blobs, "key")
    with pytest.raises(Conflict, match="the records of made_up reach none of the 1 objects in bucket made-up"):
        collect(owner_of(), NO_RECORDS, blobs, now())
    assert list(blobs.list(BUCKET)) == ["key"]


def test_records_of_another_store_empty_no_bucket(tmp_path: Path) -> None:
    """Conflict also where the records name objects, but none of those that are there."""
    blobs, elsewhere = FolderBlobs(tmp_path / "here"), FolderBlobs(tmp_path / "elsewhere")
    put(blobs, "key")
    with pytest.raises(Conflict, match="reach none of the 1 objects in bucket made-up"):
        collect(owner_of(put(elsewhere, "another")), NO_RECORDS, blobs, now())
    assert list(blobs.list(BUCKET)) == ["key"]


def test_a_service_without_a_bucket_has_nothing_to_collect(tmp_path: Path) -> None:
    """It is passed over, and the objects of others that it names are not its to remove."""
    blobs = FolderBlobs(tmp_path)
    ref = put(blobs, "key")
    assert collect(owner_of(ref, bucket=None), NO_RECORDS, blobs, now()) is None


def test_a_missing_object_is_told_and_hinders_nothing(tmp_path: Path) -> None:
    """The fault names object and record; garbage goes all the same."""
    blobs = FolderBlobs(tmp_path)
    gone, kept = put(blobs, "gone"), put(blobs, "kept")
    put(blobs, "garbage")
    blobs.delete(BUCKET, "gone")
    done = collect(owner_of(gone, kept), NO_RECORDS, blobs, now() - GRACE)
    assert done is not None
    assert [(fault.kind, fault.what, fault.named_by) for fault in done.faults] == [
        ("missing", "made-up/gone", "record of made_up")
    ]
    assert list(blobs.list(BUCKET)) == ["kept"]


def test_the_check_tells_what_only_a_sibling_names(tmp_path: Path) -> None:
    """An object that its owner no longer names, and another service does, is disowned: it will be collected."""
    blobs = FolderBlobs(tmp_path)
    owned, disowned = put(blobs, "owned"), put(blobs, "disowned.json")
    sibling = owner_of(owned, disowned, service="sibling", bucket=None)
    checked = cross_check([(owner_of(owned), NO_RECORDS), (sibling, NO_RECORDS)], blobs, tmp_path, deep=True)
    assert [(fault.kind, fault.what, fault.named_by) for fault in checked.faults] == [
        ("disowned", "made-up/disowned.json", "record of sibling")
    ]
    assert (checked.named, checked.bytes) == (2, owned.size + disowned.size)
    assert checked.unnamed[BUCKET].manifests == ["disowned.json"]


def test_only_a_deep_check_reads_what_objects_hold(tmp_path: Path) -> None:
    """Other bytes of the same size pass the quick check and not the deep one; each object is told once."""
    blobs = FolderBlobs(tmp_path)
    ref = put(blobs, "key")
    blobs.put(BUCKET, "key", b"yek")
    pairs = [(owner_of(ref), NO_RECORDS), (owner_of(ref, service="sibling", bucket=None), NO_RECORDS)]
    assert cross_check(pairs, blobs, tmp_path, deep=False).faults == []
    [fault] = cross_check(pairs, blobs, tmp_path, deep=True).faults
    assert (fault.kind, fault.what) == ("altered", "made-up/key")
    assert hashlib.sha256(b"yek").hexdigest() in fault.told
