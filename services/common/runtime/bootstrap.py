"""Opens the ports that a service's settings name: the one place where forms of bus, store and records are chosen."""

from pathlib import Path

from sqlalchemy import MetaData

from services.common.blobs import open_blobs
from services.common.bus import Bus
from services.common.records import Leases, Outbox, ensure_migrated, open_records
from services.common.settings import Shared
from services.common.work.ports import Ports


def open_ports(
    service: str, shared: Shared, bus: Bus, metadata: MetaData, migrations: Path, bucket: str | None
) -> Ports:
    """The ports of one service, its tables as this code needs them and the bucket that it writes, if any, made."""
    records = open_records(shared.records(service))
    ensure_migrated(records, migrations)
    tables = metadata.tables
    outbox = Outbox(records, tables["outbox"], bus, service)
    leases = Leases(records, tables["leases"], shared.lease_s)
    blobs = open_blobs(shared.blobs())
    if bucket is not None:
        blobs.ensure_bucket(bucket)
    return Ports(bus, blobs, records, outbox, leases)
