"""Reading rows page by page."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Index, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.common.paging import FIRST_PAGE, Window
from services.common.records import Records, UtcTime, newest_first, newest_page, open_records

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)


class Base(DeclarativeBase):
    """Declarative base of these tests."""


class Note(Base):
    """A row with a time of creation."""

    __tablename__ = "notes"
    __table_args__ = (Index("ix_notes_newest", "created", "note_id"),)

    note_id: Mapped[str] = mapped_column(String(8), primary_key=True)
    created: Mapped[datetime] = mapped_column(UtcTime)


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    """Seven notes of three moments: a, then b to d, then e to g."""
    records = open_records(f"sqlite:///{tmp_path / 'records.sqlite'}")
    Base.metadata.create_all(records.engine)
    with records.transaction() as session:
        for number, note in enumerate("abcdefg"):
            session.add(Note(note_id=note, created=BEGIN + timedelta(hours=(number + 2) // 3)))
    yield records
    records.close()


def page(records: Records, window: Window, *kept: str) -> tuple[str, int, int | None]:
    """The notes of a page in one text, the number of all, and where the next page begins."""
    conditions = [Note.note_id.in_(kept)] if kept else []
    with records.reading() as session:
        found = newest_page(session, Note, window, *conditions)
        return "".join(row.note_id for row in found.rows), found.total, found.next_offset


def test_pages_cover_the_list_once(records: Records) -> None:
    """Every row is on one page, also where several have the same time; the last page has no next one."""
    assert page(records, Window(limit=3)) == ("gfe", 7, 3)
    assert page(records, Window(offset=3, limit=3)) == ("dcb", 7, 6)
    assert page(records, Window(offset=6, limit=3)) == ("a", 7, None)
    assert page(records, Window(offset=9, limit=3)) == ("", 7, None)
    assert page(records, FIRST_PAGE) == ("gfedcba", 7, None)
    with records.reading() as session:
        assert "".join(row.note_id for row in newest_first(session, Note)) == "gfedcba"


def test_conditions_limit_the_list(records: Records) -> None:
    """The total and the next offset are those of the rows that meet the conditions."""
    assert page(records, Window(limit=2), "a", "c", "g") == ("gc", 3, 2)
    assert page(records, Window(offset=2, limit=2), "a", "c", "g") == ("a", 3, None)
