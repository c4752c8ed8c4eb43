"""Records in a relational database: engines, transactions, the outbox, migrations."""

from services.common.records.database import Records, migrate, open_records
from services.common.records.leases import Lease, Leases, leases_table
from services.common.records.outbox import Outbox, outbox_table
from services.common.records.tasks import ProgressWriter, TaskColumns
from services.common.records.types import UtcTime, now

__all__ = [
    "Lease",
    "Leases",
    "Outbox",
    "ProgressWriter",
    "Records",
    "TaskColumns",
    "UtcTime",
    "leases_table",
    "migrate",
    "now",
    "open_records",
    "outbox_table",
]
