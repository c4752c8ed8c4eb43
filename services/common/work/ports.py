"""The ports of a workflow: everything outside the process that it works with."""

from dataclasses import dataclass

from services.common.blobs import Blobs
from services.common.bus import Bus
from services.common.records import Leases, Outbox, Records


@dataclass(frozen=True)
class Ports:
    """The bus, the object store and the records of one service, passed in by `main`."""

    bus: Bus
    blobs: Blobs
    records: Records
    outbox: Outbox
    leases: Leases
