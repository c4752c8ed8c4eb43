"""The migrations of the annotation service."""

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from services.annotation.main import MIGRATIONS
from services.annotation.tables import Base
from services.common.records import migrate, open_records


def test_migrated_tables_are_those_of_the_code(tmp_path: Path) -> None:
    """After all migrations, nothing differs from the declared tables; running them again is harmless."""
    records = open_records(f"sqlite:///{tmp_path / 'records.sqlite'}")
    migrate(records, MIGRATIONS)
    migrate(records, MIGRATIONS)
    with records.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
