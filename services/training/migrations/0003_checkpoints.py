"""Add the best and the last checkpoint of a run. Until now, later stages used the last one."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

COLUMNS = ("best_checkpoint", "last_checkpoint")


def upgrade() -> None:
    """Add the columns."""
    for column in COLUMNS:
        op.add_column("runs", sa.Column(column, sa.JSON(), nullable=True))
    op.execute("UPDATE runs SET last_checkpoint = checkpoint")


def downgrade() -> None:
    """Drop the columns. An unfinished run continues from its last checkpoint."""
    op.execute(
        "UPDATE runs SET checkpoint = last_checkpoint WHERE state IN ('queued', 'running', 'paused') "
        "AND last_checkpoint IS NOT NULL"
    )
    for column in COLUMNS:
        op.drop_column("runs", column)
