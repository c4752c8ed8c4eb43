"""Indexes for lists that are read page by page."""

from alembic import op

revision = "0006"
down_revision = "0005"

INDEXES = (("ix_renderings_newest", "renderings", ("created", "rendering_id")),)


def upgrade() -> None:
    """Create the indexes."""
    for name, table, columns in INDEXES:
        op.create_index(name, table, list(columns))


def downgrade() -> None:
    """Drop the indexes."""
    for name, table, _ in INDEXES:
        op.drop_index(name, table)
