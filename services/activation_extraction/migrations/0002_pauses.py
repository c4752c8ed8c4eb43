"""Add the time at which a task was paused, and the length of its earlier pauses."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

TABLES = ("extractions",)


def upgrade() -> None:
    """Add the columns."""
    for table in TABLES:
        op.add_column(table, sa.Column("paused", sa.DateTime(timezone=True), nullable=True))
        op.add_column(table, sa.Column("paused_s", sa.Float(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Drop the columns."""
    for table in TABLES:
        op.drop_column(table, "paused_s")
        op.drop_column(table, "paused")
