"""Where the source of each picture is stored, and the groups of patches of units that are read in two parts."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

COLUMNS: dict[str, sa.Column[Any]] = {
    "studies": sa.Column("shards", sa.JSON(), nullable=True),
    "units": sa.Column("sources", sa.Text(), nullable=True),
    "mammograms": sa.Column("source_key", sa.Text(), nullable=True),
    "items": sa.Column("part", sa.Integer(), nullable=True),
}


def upgrade() -> None:
    """Add the columns. Studies that are open already have no sources: their pages show the rendered pictures."""
    for table, column in COLUMNS.items():
        op.add_column(table, column)


def downgrade() -> None:
    """Drop the columns."""
    for table, column in COLUMNS.items():
        op.drop_column(table, column.name)
