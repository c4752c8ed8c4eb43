"""Verifies the chain of the audit log against itself and against the logs of answers, and adopts earlier answers."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import NamedTuple, cast

from sqlalchemy import func, inspect, select
from sqlalchemy.orm import Session

from services.annotation.audit_chain import (
    ADOPTED,
    COLUMNS,
    DRAFT,
    FIRST,
    LOGGED,
    Entry,
    LogRow,
    answer_line,
    append,
    row_digest,
)
from services.annotation.tables import AuditEntryRow, AuditHeadRow, ReadingLogRow, ResponseLogRow, TrialLogRow
from services.common.access.audit import Line
from services.common.errors import Conflict, InvalidInput
from services.common.records import Records

ROWS_AT_ONCE = 1000
_SUBJECT = re.compile(r"(response_log|reading_log|trial_log)/([0-9]{1,9})")
LOGS: dict[str, type[LogRow]] = {
    "response_log": ResponseLogRow,
    "reading_log": ReadingLogRow,
    "trial_log": TrialLogRow,
}


class Head(NamedTuple):
    """Position and hash of an entry, such as the end of the chain."""

    position: int
    sha256: str


NOTHING = Head(0, FIRST)
"""The end of an empty chain."""


class BrokenChain(Conflict):
    """The chain or a log was changed. `position` is the first entry that shows it; None for a row without an entry."""

    def __init__(self, position: int | None, difference: str) -> None:
        super().__init__(difference if position is None else f"position {position}: {difference}")
        self.position = position


@dataclass(frozen=True)
class Verified:
    """What was verified: the end of the chain, and the rows of the logs among its entries."""

    head: Head
    answers: int


class LinkCheck:
    """Checks one entry after the other: its position, its own hash, and the hash of the entry before it.

    `kept` is an entry that an earlier verification has printed: without it, nobody notices that entries were removed
    from the end of the chain.
    """

    def __init__(self, kept: Head | None) -> None:
        self.head, self.answers, self._kept = NOTHING, 0, kept

    def add(self, entry: Entry) -> None:
        """Check the next entry. BrokenChain names its position and what differs."""
        position = self.head.position + 1
        if entry.position != position:
            raise BrokenChain(position, f"the entry is missing; the next one has position {entry.position}")
        found = entry.computed_sha256()
        if entry.sha256 != found:
            raise BrokenChain(position, f"the entry was changed: its fields have the hash {found}, not {entry.sha256}")
        if entry.previous != self.head.sha256:
            raise BrokenChain(
                position, f"it continues an entry with the hash {entry.previous}; the one before has {self.head.sha256}"
            )
        if self._kept is not None and position == self._kept.position and found != self._kept.sha256:
            raise BrokenChain(position, f"its hash is {found}; that of the entry that was kept is {self._kept.sha256}")
        self.head = Head(position, found)
        self.answers += row_of(entry) is not None

    def end(self) -> Verified:
        """Return what was verified. BrokenChain if the chain ends before the entry that was kept."""
        position = self.head.position
        if self._kept is not None and position < self._kept.position:
            raise BrokenChain(position + 1, f"the chain ends before the entry {self._kept.position} that was kept")
        return Verified(self.head, self.answers)


class Coverage:
    """Which rows of the logs have an entry. It takes a byte for each row."""

    def __init__(self, session: Session) -> None:
        last = {name: session.scalar(select(func.max(table.position))) or 0 for name, table in LOGS.items()}
        self._seen = {name: bytearray(position + 1) for name, position in last.items()}

    def mark(self, entry: Entry) -> bool:
        """Mark the row of an entry. Return False if it had an entry already."""
        name, position = row_of(entry) or ("", 0)
        seen = self._seen.get(name, bytearray())
        if position >= len(seen):
            return True
        is_new, seen[position] = not seen[position], 1
        return is_new

    def without_entry(self, session: Session, name: str) -> list[int]:
        """The positions of the rows of a log that have no entry and need one."""
        table, seen = LOGS[name], self._seen[name]
        query = select(table.position).order_by(table.position).execution_options(yield_per=ROWS_AT_ONCE)
        if table is ReadingLogRow:
            query = query.where(ReadingLogRow.kind != DRAFT)
        return [position for position in session.scalars(query) if not seen[position]]


def verify_entries(entries: Iterable[Entry], kept: Head | None = None) -> Verified:
    """Verify the entries of an exported chain, without the logs. BrokenChain names the first broken position."""
    links = LinkCheck(kept)
    for entry in entries:
        links.add(entry)
    return links.end()


def verify_records(records: Records, kept: Head | None = None) -> Verified:
    """Verify the chain in the records, its end, and that each answer in the logs has its entry and its digest.
    BrokenChain names the first broken position and what differs."""
    require_chain(records)
    with records.reading() as session:
        links, coverage = LinkCheck(kept), Coverage(session)
        for part in _parts(session):
            digests = _digests(session, part)
            for entry in part:
                links.add(entry)
                _check_row(entry, digests, coverage)
        verified = links.end()
        _check_head(session, verified.head)
        for name in LOGS:
            if missing := coverage.without_entry(session, name):
                raise BrokenChain(
                    None,
                    f"{len(missing)} rows of {name} have no entry, the first one at its position {missing[0]}. If an "
                    "earlier version of the service has saved them, run `primitives audit adopt`",
                )
    return verified


def adopt_answers(records: Records) -> int:
    """Append entries for the rows of the logs that have none, and return the number of them. Their event shows that
    they were added later."""
    require_chain(records)
    with records.reading() as session:
        coverage = Coverage(session)
        for entry in read_entries(session):
            coverage.mark(entry)
        missing = [(name, position) for name in LOGS for position in coverage.without_entry(session, name)]
    rest = iter(missing)
    while part := list(islice(rest, ROWS_AT_ONCE)):
        with records.transaction() as session:
            for name, position in part:
                _adopt(session, cast(LogRow, session.get_one(LOGS[name], position)))
    return len(missing)


def read_entries(session: Session) -> Iterator[Entry]:
    """Read the chain from its beginning. Few entries are in memory at one time."""
    for part in _parts(session):
        yield from part


def entry_json(entry: Entry) -> str:
    """An entry as a line of an export."""
    return json.dumps(asdict(entry), sort_keys=True, separators=(",", ":"))


def read_exported(file: Path) -> Iterator[Entry]:
    """Read the entries of an exported chain. InvalidInput names a line that is not an entry."""
    names = {field.name for field in fields(Entry)}
    with file.open() as lines:
        for number, line in enumerate(lines, 1):
            try:
                content = json.loads(line)
            except ValueError as error:
                raise InvalidInput(f"line {number} of {file} is not JSON") from error
            if not isinstance(content, dict) or content.keys() != names:
                raise InvalidInput(f"line {number} of {file} is not an entry of an audit log")
            yield Entry(**content)


def require_chain(records: Records) -> None:
    """Raise InvalidInput if the records have no chain yet, or lack a log that this version verifies."""
    tables = inspect(records.engine)
    if not all(tables.has_table(name) for name in (AuditEntryRow.__tablename__, *LOGS)):
        raise InvalidInput("the records of the annotation service have no audit chain: run `primitives migrate`")


def row_of(entry: Entry) -> tuple[str, int] | None:
    """Log and position of the row that an entry is about; None for a security event. A forged subject has no row."""
    if entry.event not in (LOGGED, ADOPTED):
        return None
    found = _SUBJECT.fullmatch(entry.subject)
    return (found[1], int(found[2])) if found is not None else ("", 0)


def _parts(session: Session) -> Iterator[list[Entry]]:
    """The entries in parts, each read by a query of its own, so that no limit of time ends a long chain."""
    columns = [getattr(AuditEntryRow, field.name) for field in fields(Entry)]
    query, after = select(*columns).order_by(AuditEntryRow.position).limit(ROWS_AT_ONCE), -1
    while part := [Entry(*row) for row in session.execute(query.where(AuditEntryRow.position > after))]:
        yield part
        after = part[-1].position


def _digests(session: Session, entries: Sequence[Entry]) -> dict[tuple[str, int], str]:
    """The digests of the rows that entries are about. Rows that do not exist are left out."""
    places = [place for entry in entries if (place := row_of(entry)) is not None]
    digests = {}
    for name, table in LOGS.items():
        positions = [position for log, position in places if log == name]
        columns = [getattr(table, column) for column in COLUMNS[name]]
        for row in session.execute(select(*columns).where(table.position.in_(positions))) if positions else ():
            digests[name, row.position] = row_digest(name, row)
    return digests


def _check_row(entry: Entry, digests: Mapping[tuple[str, int], str], coverage: Coverage) -> None:
    place = row_of(entry)
    if place is None:
        return
    if place not in digests:
        raise BrokenChain(entry.position, f"the row {entry.subject} is gone")
    if digests[place] != entry.digest:
        raise BrokenChain(
            entry.position, f"the row {entry.subject} was changed: its digest is {digests[place]}, not {entry.digest}"
        )
    if not coverage.mark(entry):
        raise BrokenChain(entry.position, f"the row {entry.subject} has an earlier entry")


def _check_head(session: Session, head: Head) -> None:
    row = session.execute(select(AuditHeadRow.position, AuditHeadRow.sha256)).one_or_none()
    recorded = NOTHING if row is None else Head(*row)
    if recorded != head:
        raise BrokenChain(
            head.position + 1,
            f"the entries end at {head.position}:{head.sha256}; the recorded end of the chain is "
            f"{recorded.position}:{recorded.sha256}",
        )


def _adopt(session: Session, row: LogRow) -> None:
    def line() -> Line:
        return answer_line(row, caller="", event=ADOPTED)

    append(session, line)
