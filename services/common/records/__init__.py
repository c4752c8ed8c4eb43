"""Records in a relational database: engines, transactions, the outbox, migrations."""

from services.common.records.database import Records, open_records
from services.common.records.leases import Lease, Leases, leases_table
from services.common.records.outbox import Lag, Outbox, outbox_table
from services.common.records.schema import downgrade, ensure_migrated, migrate
from services.common.records.tasks import ENDED, ProgressWriter, TaskColumns, WorkColumns
from services.common.records.types import UtcTime, now

__all__ = [
    "ENDED",
    "Lag",
    "Lease",
    "Leases",
    "Outbox",
    "ProgressWriter",
    "Records",
    "TaskColumns",
    "UtcTime",
    "WorkColumns",
    "downgrade",
    "ensure_migrated",
    "leases_table",
    "migrate",
    "now",
    "open_records",
    "outbox_table",
]
