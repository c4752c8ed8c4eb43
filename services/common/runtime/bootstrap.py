"""Opens the ports of a service: the one place that chooses the forms of store and records from the settings."""

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
    """Open the ports of one service. Ensure that its tables are migrated, and that its bucket exists, if it has one."""
    records = open_records(shared.records(service))
    ensure_migrated(records, migrations)
    tables = metadata.tables
    outbox = Outbox(records, tables["outbox"], bus, service)
    leases = Leases(records, tables["leases"], shared.lease_s)
    blobs = open_blobs(shared.blobs())
    if bucket is not None:
        blobs.ensure_bucket(bucket)
    return Ports(bus, blobs, records, outbox, leases)
