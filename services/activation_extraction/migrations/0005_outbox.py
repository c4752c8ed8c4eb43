"""Add the trace of a message in the outbox, and its time of creation."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the columns. Messages that are waiting already have no trace and no time."""
    op.add_column("outbox", sa.Column("traceparent", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("outbox", sa.Column("created", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Drop the columns."""
    op.drop_column("outbox", "created")
    op.drop_column("outbox", "traceparent")
