"""Tables of every earlier version with rows in them, upgraded and rolled back, over every form of the records."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from services.cli.migrations import SERVICES, migrations_of
from services.common.errors import Conflict, InvalidInput
from services.common.records import Records, downgrade, ensure_migrated, migrate
from services.common.records.schema import _config

Rows = dict[str, dict[str, Any]]

MOMENT = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
ENDED = {"state": "completed"}
"""Migrations leave ended tasks unchanged; parts of other tasks may be done again."""


VALUES: dict[type[sa.types.TypeEngine[Any]], Any] = {
    sa.JSON: {"kept": [1, "ä"]},
    sa.DateTime: MOMENT,
    sa.Boolean: True,
    sa.Integer: 7,
    sa.Float: 0.5,
}


def versions_of(service: str) -> list[str]:
    """Return the versions of a service's tables, oldest first."""
    walked = ScriptDirectory.from_config(_config(migrations_of(service))).walk_revisions()
    return [revision.revision for revision in walked][::-1]


def earlier_versions_of(service: str) -> list[str]:
    """Return the versions before the newest one, from the last to the first."""
    return versions_of(service)[-2::-1]


def tables_of(records: Records) -> list[sa.Table]:
    """Return the current tables, each after the tables to which it refers."""
    metadata = sa.MetaData()
    metadata.reflect(records.engine)
    return [table for table in metadata.sorted_tables if table.name != "alembic_version"]


def value_of(column: sa.Column[Any]) -> Any:
    """Return a value for a column; it is the same in all tables, so that references between rows hold."""
    if column.name in ENDED:
        return ENDED[column.name]
    return next((value for kind, value in VALUES.items() if isinstance(column.type, kind)), "kept")


def fill(records: Records) -> Rows:
    """Insert a row into every table; return the rows by the names of their tables."""
    rows: Rows = {}
    with records.engine.begin() as connection:
        for table in tables_of(records):
            rows[table.name] = {column.name: value_of(column) for column in table.columns}
            connection.execute(sa.insert(table).values(rows[table.name]))
    return rows


def empty(records: Records) -> None:
    """Remove the rows of all tables."""
    with records.engine.begin() as connection:
        for table in reversed(tables_of(records)):
            connection.execute(sa.delete(table))


def read(records: Records, like: Rows) -> Rows:
    """Read the tables and columns of `like`; a table without a row is left out."""
    rows: Rows = {}
    with records.engine.connect() as connection:
        for table in [table for table in tables_of(records) if table.name in like]:
            for row in connection.execute(sa.select(table)).mappings():
                rows[table.name] = {name: _plain(value) for name, value in row.items() if name in like[table.name]}
    return rows


def _plain(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


def schema_of(records: Records) -> str:
    """Return all tables and columns with their types, in one text."""
    tables = {t.name: {c.name: [str(c.type), c.nullable, c.primary_key] for c in t.columns} for t in tables_of(records)}
    return json.dumps(tables, sort_keys=True)


@pytest.mark.parametrize("service", SERVICES)
def test_an_upgrade_keeps_every_row(service: str, records: Records) -> None:
    """The rows of every earlier version are unchanged after `migrate`, and the code accepts the tables."""
    versions = migrations_of(service)
    migrate(records, versions)
    newest = schema_of(records)
    for version in earlier_versions_of(service):
        assert downgrade(records, versions, version).after == version
        before = fill(records)
        assert migrate(records, versions).before == version
        assert read(records, before) == before, version
        assert schema_of(records) == newest, version
        ensure_migrated(records, versions)
        empty(records)


@pytest.mark.parametrize("service", SERVICES)
def test_a_rollback_keeps_the_rows_of_the_earlier_version(service: str, records: Records) -> None:
    """Tables and columns of every earlier version have the same rows as before; the others are gone."""
    versions = migrations_of(service)
    migrate(records, versions)
    before = fill(records)
    for version in earlier_versions_of(service):
        downgrade(records, versions, version)
        left = {table.name: {column.name for column in table.columns} for table in tables_of(records)}
        expected = {
            name: {column: value for column, value in row.items() if column in left[name]}
            for name, row in before.items()
            if name in left
        }
        assert read(records, expected) == expected, version


def test_a_rollback_to_an_impossible_version_is_refused(records: Records) -> None:
    """A version that does not exist, or is newer than the tables, is refused, and nothing is changed."""
    versions = migrations_of("annotation")
    migrate(records, versions)
    with pytest.raises(InvalidInput, match="no version '9999'"):
        downgrade(records, versions, "9999")
    downgrade(records, versions, "0001")
    with pytest.raises(Conflict, match="are of version 0001"):
        downgrade(records, versions, "0002")
    assert downgrade(records, versions, "0001") == ("0001", "0001")
