"""The migrations of the annotation service."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from services.annotation.main import MIGRATIONS
from services.annotation.tables import Base
from services.common.records import migrate, open_records
from tests.servers import fresh_schema


@pytest.mark.parametrize("form", ["sqlite", "postgres"])
def test_migrated_tables_are_those_of_the_code(form: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """After all migrations, nothing differs from the declared tables; running them again is harmless."""
    sqlite = f"sqlite:///{tmp_path / 'records.sqlite'}"
    records = open_records(sqlite if form == "sqlite" else fresh_schema(request.getfixturevalue("postgres")))
    migrate(records, MIGRATIONS)
    migrate(records, MIGRATIONS)
    with records.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    records.close()
