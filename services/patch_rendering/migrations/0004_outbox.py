"""Which trace a message in the outbox belongs to, and since when it waits."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns. Messages that wait already have no trace and no time of creation."""
    op.add_column("outbox", sa.Column("traceparent", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("outbox", sa.Column("created", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Drop the columns."""
    op.drop_column("outbox", "created")
    op.drop_column("outbox", "traceparent")
