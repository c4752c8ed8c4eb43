"""Columns for the unit browser: which sessions may use it, and the extraction of each study."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns. Readers must sign in again to use the unit browser. Older studies have no extraction."""
    op.add_column("sessions", sa.Column("sees_units", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("studies", sa.Column("extraction_id", sa.String(length=64), nullable=False, server_default=""))
    op.create_index("ix_studies_extraction_id", "studies", ["extraction_id"])


def downgrade() -> None:
    """Drop the columns."""
    op.drop_index("ix_studies_extraction_id", "studies")
    op.drop_column("studies", "extraction_id")
    op.drop_column("sessions", "sees_units")
