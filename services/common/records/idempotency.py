"""The idempotency keys of callers. Each names the task that its first call started: a repeated call starts none."""

from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import Column, Index, MetaData, String, Table, delete, insert, select
from sqlalchemy.orm import Session

from services.common.records.types import UtcTime, now

LIFETIME = timedelta(days=7)
"""A key is remembered for at least this long: docs/control.md promises it."""
MOST_REMOVED = 100
"""Old keys that one start removes, so that it never waits long."""
LONGEST_KEY = 255


def idempotency_keys_table(metadata: MetaData) -> Table:
    """Define the table of idempotency keys, which every service that starts tasks has.

    `caller` is the name of the caller's token; it is empty where no tokens are needed.
    """
    return Table(
        "idempotency_keys",
        metadata,
        Column("caller", String(200), primary_key=True),
        Column("key", String(LONGEST_KEY), primary_key=True),
        Column("request_sha256", String(64), nullable=False),
        Column("task_id", String(64), nullable=False),
        Column("created", UtcTime, nullable=False, default=now),
        Index("ix_idempotency_keys_created", "created"),
    )


_KEYS = idempotency_keys_table(MetaData())


class RecordedKey(NamedTuple):
    """The hash of the request that was sent with a key, and the id of the task that it started."""

    request_sha256: str
    task_id: str


def find_key(session: Session, caller: str, key: str) -> RecordedKey | None:
    """Return what is recorded of a caller's key; None for a new key."""
    own = (_KEYS.c.caller == caller) & (_KEYS.c.key == key)
    row = session.execute(select(_KEYS.c.request_sha256, _KEYS.c.task_id).where(own)).one_or_none()
    return RecordedKey(*row) if row is not None else None


def record_key(session: Session, caller: str, key: str, recorded: RecordedKey) -> None:
    """Record a key in the transaction that starts its task, and remove old keys. Overtaken at the end of the
    transaction if another call has recorded the key meanwhile."""
    session.execute(insert(_KEYS).values(caller=caller, key=key, **recorded._asdict()))
    columns = (_KEYS.c.caller, _KEYS.c.key)
    old = select(*columns).where(_KEYS.c.created < now() - LIFETIME).order_by(_KEYS.c.created).limit(MOST_REMOVED)
    for row in session.execute(old.with_for_update(skip_locked=True)).all():
        session.execute(delete(_KEYS).where(_KEYS.c.caller == row.caller, _KEYS.c.key == row.key))
