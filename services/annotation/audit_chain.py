"""The chain of the audit log: security events and digests of answers, each with the hash of the entry before it.

Somebody who changes, removes, adds or reorders entries has to compute all later hashes again, and then the end of the
chain differs from every copy of it that was kept elsewhere. An answer is in the chain as the digest of its row in the
log of answers, not as text. Entries are appended in the transaction of the change that they record.

Format 1, which other programs can verify:

- The hash of an entry is SHA-256 over JSON with the keys `position`, `time`, `event`, `caller`, `reader`, `address`,
  `subject`, `outcome`, `digest` and `previous`: keys sorted, no spaces, ASCII with `\\uXXXX` for other characters.
  `previous` is the hash of the entry before, and 64 zeros in the first entry, whose position is 1.
- The digest of a row is SHA-256 over JSON of the same form with its columns (COLUMNS) and its table as `log`. Times are
  UTC with microseconds, as in `2026-11-29T07:32:02.000000+00:00`.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from services.annotation.tables import AuditEntryRow, AuditHeadRow, ReadingLogRow, ResponseLogRow, TrialLogRow
from services.common.access.audit import Line, current_caller
from services.common.errors import PrimitivesError
from services.common.observability.logs import get_logger
from services.common.records import Records, now
from services.common.records.database import before_commit

log = get_logger(__name__)

FIRST = "0" * 64
"""Stands for the hash before the first entry."""
LOGGED, ADOPTED = "answer_logged", "answer_adopted"
"""The events of rows of the logs: appended with the row, or later, for a row of an earlier version."""
DRAFT = "draft"
"""The kind of rows of `reading_log` that are not chained: they are no answers, and browsers send many of them."""
NOT_CHAINED = ("refusal",)
"""Events that callers cause who are not known: they would lengthen the table, and hold the lock of those who save."""

LogRow = ResponseLogRow | ReadingLogRow | TrialLogRow
COLUMNS: dict[str, tuple[str, ...]] = {
    "response_log": (
        "position", "study_id", "layer", "unit", "reader_id", "recognizable", "associated", "multiplicity",
        "description", "version", "saved", "after_reveal", "imported", "idempotency_key",
    ),
    "reading_log": (
        "position", "reading_id", "reader_id", "kind", "content", "answer_version", "saved", "idempotency_key",
    ),
    "trial_log": ("position", "trial_id", "reader_id", "kind", "choice", "saved"),
}  # fmt: skip
"""By log, the columns that a digest covers. They never change, since stored digests depend on them."""

_HEAD_ID = 1
_PENDING = "pending audit entries"


@dataclass(frozen=True)
class Entry:
    """An entry as it is stored and exported."""

    position: int
    time: str
    event: str
    caller: str
    reader: str
    address: str
    subject: str
    outcome: str
    digest: str
    previous: str
    sha256: str

    def computed_sha256(self) -> str:
        """The hash that the other fields have."""
        return entry_sha256({name: value for name, value in asdict(self).items() if name != "sha256"})


def entry_sha256(fields: Mapping[str, str | int]) -> str:
    """The hash of an entry with these fields."""
    return _sha256(fields)


def row_digest(log_name: str, row: Any) -> str:
    """The digest of a row of a log; it has the columns of that log."""
    columns = {name: _plain(getattr(row, name)) for name in COLUMNS[log_name]}
    return _sha256({"log": log_name} | columns)


def chain_answer(session: Session, row: LogRow) -> None:
    """Append the digest of a new row of a log when the session commits."""
    if not isinstance(row, ReadingLogRow) or row.kind != DRAFT:
        caller = current_caller()
        append(session, lambda: answer_line(row, caller))


def answer_line(row: LogRow, caller: str, event: str = LOGGED) -> Line:
    """The fields of the entry of a row."""
    kind = ("imported" if row.imported else "answer") if isinstance(row, ResponseLogRow) else row.kind
    return {
        "time": now().isoformat(),
        "event": event,
        "caller": caller,
        "reader": row.reader_id,
        "address": "",
        "subject": f"{row.__tablename__}/{row.position}",
        "outcome": kind,
        "digest": row_digest(row.__tablename__, row),
    }


def append(session: Session, make: Callable[[], Line]) -> None:
    """Append an entry when the session commits, after all other statements: the end of the chain is locked from then
    until the commit. `make` is called once all rows of the session have their keys."""
    pending: list[Callable[[], Line]] = session.info.setdefault(_PENDING, [])
    if not pending:
        before_commit(session, lambda: _append_pending(session))
    pending.append(make)


@dataclass(frozen=True)
class Chain:
    """Keeps the events of the audit log in the chain."""

    records: Records

    def append(self, line: Line, session: Session | None) -> None:
        """Append an event, except those of NOT_CHAINED. An event without a session has a transaction of its own; if
        that fails, the event is an error in the structured log and the call continues, as with the file."""
        if line["event"] in NOT_CHAINED:
            return
        if session is not None:
            append(session, lambda: line)
            return
        try:
            with self.records.transaction() as own:
                append(own, lambda: line)
        except PrimitivesError as error:
            log.error("security event not chained", security_event=line["event"], reason=str(error))


_NAMES = tuple(column.name for column in AuditEntryRow.__table__.columns)
_APPEND = text(
    f"WITH appended AS (INSERT INTO audit_entries ({', '.join(_NAMES)}) VALUES ({', '.join(f':{n}' for n in _NAMES)})) "
    "UPDATE audit_head SET position = :position, sha256 = :sha256"
)
"""Appends an entry with one call of the server, for which others wait."""


def _append_pending(session: Session) -> None:
    session.flush()
    lines = [make() for make in session.info.pop(_PENDING)]
    position, previous = _lock_head(session)
    rows: list[dict[str, str | int]] = []
    for line in lines:
        position += 1
        fields = {"digest": ""} | {name: line[name] for name in line if name != "service"}
        row = fields | {"position": position, "previous": previous}
        previous = entry_sha256(row)
        rows.append(row | {"sha256": previous})
    if session.get_bind().dialect.name == "postgresql":
        session.execute(_APPEND, rows)
    else:
        session.execute(insert(AuditEntryRow), rows)
        session.execute(update(AuditHeadRow).values(position=position, sha256=previous))


def _lock_head(session: Session) -> tuple[int, str]:
    """Lock the end of the chain and return its position and hash. A head that is missing is made from the entries."""
    query = select(AuditHeadRow.position, AuditHeadRow.sha256).with_for_update()
    head = session.execute(query).one_or_none()
    if head is None:
        last = select(AuditEntryRow.position, AuditEntryRow.sha256).order_by(AuditEntryRow.position.desc()).limit(1)
        position, sha256 = session.execute(last).one_or_none() or (0, FIRST)
        values = {"head_id": _HEAD_ID, "position": position, "sha256": sha256}
        dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
        session.execute(dialect.insert(AuditHeadRow).values(values).on_conflict_do_nothing())
        head = session.execute(query).one()
    return head.position, head.sha256


def _plain(value: Any) -> Any:
    return value.astimezone(UTC).isoformat(timespec="microseconds") if isinstance(value, datetime) else value


def _sha256(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
