"""Builds of data sets that are imports of a folder, and an index for the list of builds, which is read page by page."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the column and the index."""
    op.add_column("builds", sa.Column("source", sa.JSON(), nullable=True))
    op.create_index("ix_builds_newest", "builds", ["created", "build_id"])


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_builds_newest", "builds")
    op.drop_column("builds", "source")
