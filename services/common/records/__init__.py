"""Records in a relational database: engines, transactions, leases, the outbox, migrations."""

from services.common.records.database import Records, open_records
from services.common.records.idempotency import LONGEST_KEY, RecordedKey, find_key, idempotency_keys_table, record_key
from services.common.records.leases import Lease, Leases, leases_table
from services.common.records.outbox import Lag, Outbox, outbox_table
from services.common.records.rows import Page, get_row, newest_first, newest_page
from services.common.records.schema import downgrade, ensure_migrated, migrate
from services.common.records.tasks import ACTIVE, ENDED, ProgressWriter, Requeue, TaskColumns, WorkColumns
from services.common.records.types import MessageColumn, ModelColumn, Reference, UtcTime, now

__all__ = [
    "ACTIVE",
    "ENDED",
    "LONGEST_KEY",
    "Lag",
    "Lease",
    "Leases",
    "MessageColumn",
    "ModelColumn",
    "Outbox",
    "Page",
    "ProgressWriter",
    "RecordedKey",
    "Records",
    "Reference",
    "Requeue",
    "TaskColumns",
    "UtcTime",
    "WorkColumns",
    "downgrade",
    "ensure_migrated",
    "find_key",
    "get_row",
    "idempotency_keys_table",
    "leases_table",
    "migrate",
    "newest_first",
    "newest_page",
    "now",
    "open_records",
    "outbox_table",
    "record_key",
]
