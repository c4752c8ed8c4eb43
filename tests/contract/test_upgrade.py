"""Tables of every earlier version with rows in them, brought forward and back, over every form of the records."""

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
"""What has ended is kept as it is; of what has not, migrations may have parts done again."""


VALUES: dict[type[sa.types.TypeEngine[Any]], Any] = {
    sa.JSON: {"kept": [1, "ä"]},
    sa.DateTime: MOMENT,
    sa.Boolean: True,
    sa.Integer: 7,
    sa.Float: 0.5,
}


def versions_of(service: str) -> list[str]:
    """The versions of a service's tables, oldest first."""
    walked = ScriptDirectory.from_config(_config(migrations_of(service))).walk_revisions()
    return [revision.revision for revision in walked][::-1]


EARLIER = [(service, version) for service in SERVICES for version in versions_of(service)[:-1]]


def tables_of(records: Records) -> list[sa.Table]:
    """The tables that are there now, each after those that it refers to."""
    metadata = sa.MetaData()
    metadata.reflect(records.engine)
    return [table for table in metadata.sorted_tables if table.name != "alembic_version"]


def value_of(column: sa.Column[Any]) -> Any:
    """Some value that a column takes; the same in all tables, so that rows which refer to others find them."""
    if column.name in ENDED:
        return ENDED[column.name]
    return next((value for kind, value in VALUES.items() if isinstance(column.type, kind)), "kept")


def fill(records: Records) -> Rows:
    """Put a row into every table; what was put, by the table's name."""
    rows: Rows = {}
    with records.engine.begin() as connection:
        for table in tables_of(records):
            rows[table.name] = {column.name: value_of(column) for column in table.columns}
            connection.execute(sa.insert(table).values(rows[table.name]))
    return rows


def found(records: Records, like: Rows) -> Rows:
    """Of the tables and columns of `like` what is there now; of a table without a row, nothing."""
    rows: Rows = {}
    with records.engine.connect() as connection:
        for table in [table for table in tables_of(records) if table.name in like]:
            for row in connection.execute(sa.select(table)).mappings():
                rows[table.name] = {name: _plain(value) for name, value in row.items() if name in like[table.name]}
    return rows


def _plain(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


def schema_of(records: Records) -> str:
    """All tables and columns with their types, in one text."""
    told = {t.name: {c.name: [str(c.type), c.nullable, c.primary_key] for c in t.columns} for t in tables_of(records)}
    return json.dumps(told, sort_keys=True)


@pytest.mark.parametrize(("service", "version"), EARLIER)
def test_an_upgrade_keeps_every_row(service: str, version: str, records: Records) -> None:
    """What tables of an earlier version hold is there after `migrate`, and the code takes them for its own."""
    versions = migrations_of(service)
    migrate(records, versions)
    newest = schema_of(records)
    assert downgrade(records, versions, version).after == version
    kept = fill(records)
    assert migrate(records, versions).before == version
    assert found(records, kept) == kept
    assert schema_of(records) == newest
    ensure_migrated(records, versions)


@pytest.mark.parametrize(("service", "version"), EARLIER)
def test_a_rollback_keeps_what_the_earlier_version_knows(service: str, version: str, records: Records) -> None:
    """Rows of tables and columns that the earlier version has are as they were; the rest is gone."""
    versions = migrations_of(service)
    migrate(records, versions)
    before = fill(records)
    downgrade(records, versions, version)
    there = {table.name: {column.name for column in table.columns} for table in tables_of(records)}
    expected = {
        name: {column: value for column, value in row.items() if column in there[name]}
        for name, row in before.items()
        if name in there
    }
    assert found(records, expected) == expected


def test_a_rollback_to_nowhere_is_refused(records: Records) -> None:
    """A version that there is not, or that is newer than the tables: told, and nothing is changed."""
    versions = migrations_of("annotation")
    migrate(records, versions)
    with pytest.raises(InvalidInput, match="no version '9999'"):
        downgrade(records, versions, "9999")
    downgrade(records, versions, "0001")
    with pytest.raises(Conflict, match="are of version 0001"):
        downgrade(records, versions, "0002")
    assert downgrade(records, versions, "0001") == ("0001", "0001")
