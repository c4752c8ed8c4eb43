"""The annotation service over the tables of the bench of exports, in a process of its own.

This module imports no torch, which would take most of the memory of the process.
"""

from multiprocessing.connection import Connection

from services.annotation.main import create_web
from services.annotation.settings import AnnotationSettings
from services.annotation.tables import Base
from services.common.access.edge import Edge
from services.common.blobs import FolderBlobs
from services.common.bus import MemoryBus
from services.common.observability.logs import configure_logs
from services.common.records import Leases, Outbox, open_records
from services.common.runtime.service import HttpServer
from services.common.settings import Shared
from services.common.work.ports import Ports

RECORDS = "bench_exports"
"""The name of the bench's records in the database that the settings name."""


def serve_exports(shared: Shared, parent: Connection) -> None:
    """Serve until the parent sends something. It is sent the port."""
    configure_logs("json", "error")
    records = open_records(shared.records(RECORDS))
    bus, tables = MemoryBus(), Base.metadata.tables
    blobs = FolderBlobs(shared.scratch() / RECORDS)
    ports = Ports(bus, blobs, records, Outbox(records, tables["outbox"], bus), Leases(records, tables["leases"]))
    server = HttpServer(create_web(AnnotationSettings(shared=shared), ports), Edge("annotation"), 0)
    server.start()
    parent.send(server.port)
    parent.recv()
    server.stop()
    records.close()
