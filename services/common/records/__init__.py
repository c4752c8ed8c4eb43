"""Records in a relational database: engines, transactions, leases, the outbox, migrations."""

from services.common.records.database import Records, open_records
from services.common.records.leases import Lease, Leases, leases_table
from services.common.records.outbox import Lag, Outbox, outbox_table
from services.common.records.rows import Page, get_row, newest_first, newest_page
from services.common.records.schema import downgrade, ensure_migrated, migrate
from services.common.records.tasks import ENDED, ProgressWriter, TaskColumns, WorkColumns
from services.common.records.types import MessageColumn, ModelColumn, Reference, UtcTime, now

__all__ = [
    "ENDED",
    "Lag",
    "Lease",
    "Leases",
    "MessageColumn",
    "ModelColumn",
    "Outbox",
    "Page",
    "ProgressWriter",
    "Records",
    "Reference",
    "TaskColumns",
    "UtcTime",
    "WorkColumns",
    "downgrade",
    "ensure_migrated",
    "get_row",
    "leases_table",
    "migrate",
    "newest_first",
    "newest_page",
    "now",
    "open_records",
    "outbox_table",
]
