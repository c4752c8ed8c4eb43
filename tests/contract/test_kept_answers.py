"""Answers in records of earlier versions: after the migration to the newest version, all are there and unchanged.

`before/` holds a dump of the records of each kind of version: without protocols and the chain of the audit log, and
with both. `before/README.md` says what is in them.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa

from services.annotation.audit_verification import adopt_answers, verify_records
from services.cli.migrations import migrations_of
from services.common.records import Records, downgrade, migrate
from tests.contract.test_before import FOLDER, as_typed, copy_rows

DUMPS = {
    "0004": FOLDER / "records" / "annotation.sql",
    "0007": FOLDER / "annotation" / "0007.sql",
    "0010": FOLDER / "annotation" / "0010.sql",
}
"""The dump of each version of the tables. Version 0007 is the last one without accounts and protocols."""
ANSWERS = ("readers", "responses", "response_log", "protocols", "items", "readings", "reading_log", "unit_labels")
"""The tables that hold answers, and what the answers refer to."""
VERSIONS = migrations_of("annotation")


class Digest(NamedTuple):
    """The number of rows of a table and a hash over them."""

    rows: int
    sha256: str


def dumped(version: str) -> sqlite3.Connection:
    """The records of a version in memory, as the dump has them."""
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    connection.executescript(DUMPS[version].read_text())
    return connection


def load(rows: sqlite3.Connection, version: str, records: Records) -> None:
    """Write the rows of a dump into records that have its version."""
    if records.engine.dialect.name == "sqlite":
        with closing(sqlite3.connect(str(records.engine.url.database))) as connection:
            rows.backup(connection)
        return
    migrate(records, VERSIONS)
    downgrade(records, VERSIONS, version)
    with records.engine.connect() as connection:
        schema = connection.execute(sa.text("SELECT current_schema()")).scalar_one()
    copy_rows(rows, records.engine, schema)


def columns_of(rows: sqlite3.Connection) -> dict[str, list[str]]:
    """The columns that the dump has of each table with answers."""
    found = {name: [one["name"] for one in rows.execute(f"PRAGMA table_info({name})")] for name in ANSWERS}
    return {name: columns for name, columns in found.items() if columns}


def tables_of(records: Records, columns: dict[str, list[str]]) -> dict[str, sa.Table]:
    """The current tables with these names."""
    metadata = sa.MetaData()
    metadata.reflect(records.engine, only=list(columns))
    return {name: metadata.tables[name] for name in columns}


def digests_of_dump(rows: sqlite3.Connection, tables: dict[str, sa.Table]) -> dict[str, Digest]:
    """The digest of each table of a dump, whose values are read as the current columns are."""

    def values(name: str) -> Iterator[list[Any]]:
        kinds = {column: tables[name].columns[column].type for column in columns[name]}
        for row in rows.execute(f'SELECT * FROM "{name}"'):
            yield [None if row[one] is None else as_typed(kind, row[one]) for one, kind in kinds.items()]

    columns = columns_of(rows)
    return {name: digest(values(name)) for name in columns}


def digests_of_records(
    records: Records, tables: dict[str, sa.Table], columns: dict[str, list[str]]
) -> dict[str, Digest]:
    """The digest of each table of the records, over the columns of the dump."""
    found = {}
    with records.engine.connect() as connection:
        for name, table in tables.items():
            selected = sa.select(*(table.columns[column] for column in columns[name]))
            found[name] = digest(list(row) for row in connection.execute(selected))
    return found


def digest(rows: Iterator[list[Any]]) -> Digest:
    """The number of rows, and a hash that does not depend on their order. A time without a zone is UTC."""
    lines = sorted(json.dumps(row, default=_moment, sort_keys=True) for row in rows)
    return Digest(len(lines), hashlib.sha256("\n".join(lines).encode()).hexdigest())


def _moment(value: datetime) -> str:
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC).isoformat()


@pytest.mark.parametrize("version", DUMPS)
def test_all_answers_are_unchanged_after_the_migration(version: str, records: Records) -> None:
    """The tables of answers have as many rows as the dump, with the same hash over all of its columns."""
    with closing(dumped(version)) as rows:
        assert rows.execute("SELECT version_num FROM alembic_version").fetchone()[0] == version
        load(rows, version, records)
        migrate(records, VERSIONS)
        columns = columns_of(rows)
        tables = tables_of(records, columns)
        before = digests_of_dump(rows, tables)
    assert before["responses"].rows > 3 and before["response_log"].rows > before["responses"].rows
    assert digests_of_records(records, tables, columns) == before
    assert all(before[name].rows > 0 for name in columns)


@pytest.mark.parametrize(("version", "adopted"), [("0004", 5), ("0007", 53), ("0010", 0)])
def test_the_chain_of_the_audit_log_fits_after_the_migration(version: str, adopted: int, records: Records) -> None:
    """The chain of a dump is without a fault. Answers from before there was a chain can be added to it."""
    with closing(dumped(version)) as rows:
        load(rows, version, records)
        migrate(records, VERSIONS)
    assert adopt_answers(records) == adopted
    assert verify_records(records).answers >= max(adopted, 50 if version == "0010" else 0)


def test_a_changed_answer_is_noticed(records: Records) -> None:
    """One other letter in one answer of one reader changes the hash of its table, and of no other."""
    with closing(dumped("0010")) as rows:
        load(rows, "0010", records)
        migrate(records, VERSIONS)
        columns = columns_of(rows)
        tables = tables_of(records, columns)
        before = digests_of_dump(rows, tables)
    changed = tables["responses"]
    one = sa.select(changed.c.saved).order_by(changed.c.saved).limit(1).scalar_subquery()
    with records.engine.begin() as connection:
        connection.execute(sa.update(changed).where(changed.c.saved == one).values(description="another"))
    now = digests_of_records(records, tables, columns)
    assert {name for name in before if now[name] != before[name]} == {"responses"}
    assert now["responses"].rows == before["responses"].rows
