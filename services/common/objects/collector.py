"""The garbage collector: removes the objects in a service's bucket to which its records do not refer."""

from datetime import datetime
from typing import ClassVar

from services.common.blobs import Blobs, StoredObject
from services.common.errors import Conflict
from services.common.objects.references import Fault, Owner, References, Report
from services.common.records import Records


class CollectionReport(Report):
    """What the collector found and did in the bucket of one service.

    `swept` is false if a manifest could not be read. `recent` counts unreferenced objects that were put so recently
    that a record may yet refer to them. `unfinished` counts uploads that were begun and never ended. `faults` are
    referenced objects that do not exist, and manifests that cannot be read.
    """

    EARLIER: ClassVar = {"referenced": "reached", "recent": "young"}

    service: str
    bucket: str
    swept: bool = False
    referenced: int = 0
    removed: int = 0
    bytes: int = 0
    recent: int = 0
    unfinished: int = 0
    faults: list[Fault]


def collect(
    owner: Owner, records: Records, blobs: Blobs, before: datetime, dry_run: bool = False, accept_empty: bool = False
) -> CollectionReport | None:
    """Remove unreferenced objects that were last put before a moment. Return None for a service without a bucket.

    `dry_run` only counts. If a manifest cannot be read, nothing is removed, since its references are unknown. Conflict
    if records refer to none of the objects in the bucket, as records of another store would, unless `accept_empty`.

    The collector first marks, then sweeps, and the service may be at work meanwhile:
    - A manifest that is written after the mark is safe. Before a service commits a record, it puts all of its objects
      to which the record newly refers, even those that exist already, and a put renews `modified`. So these objects are
      newer than `before`, as long as the time from a put to its record is shorter than the grace period.
    - What was marked stays marked, even if its record has changed since.
    - If an object is put again after the listing, its new age is read right before its removal. Only a put within that
      one call would be lost, and the next check reports it.
    """
    if owner.bucket is None:
        return None
    found = References(blobs)
    owner.collect(records, found)
    referenced = {one.key: one for one in found.objects if one.bucket == owner.bucket}
    stored = list(blobs.scan(owner.bucket))
    keys = {one.key for one in stored}
    if stored and keys.isdisjoint(referenced) and not accept_empty:
        raise Conflict(
            f"the records of {owner.service} refer to none of the {len(stored)} objects in bucket {owner.bucket}; "
            "do they belong to this store? If so, accept that they are empty"
        )
    reported = {fault.what for fault in found.faults}
    missing = [one.missing() for key, one in referenced.items() if key not in keys and one.path not in reported]
    report = CollectionReport(
        service=owner.service, bucket=owner.bucket, referenced=len(referenced), faults=found.faults + missing
    )
    if not found.incomplete:
        _sweep(report, [one for one in stored if one.key not in referenced], blobs, before, dry_run)
        report.unfinished = 0 if dry_run else blobs.discard_unfinished(owner.bucket, before)
    return report


def _sweep(
    report: CollectionReport, unreferenced: list[StoredObject], blobs: Blobs, before: datetime, dry_run: bool
) -> None:
    report.swept = True
    for one in unreferenced:
        newest = one if one.modified >= before or dry_run else blobs.stat(report.bucket, one.key)
        if newest is None:
            continue
        if newest.modified >= before:
            report.recent += 1
            continue
        if not dry_run:
            blobs.delete(report.bucket, one.key)
        report.removed += 1
        report.bytes += one.size
