"""Add the idempotency keys of callers, and to each task what a replay of its parked message needs and leaves."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

TASKS = ("extractions", "analyses")


def upgrade() -> None:
    """Create the table and add the columns. Tasks that have failed already cannot be set back by a replay."""
    op.create_table(
        "idempotency_keys",
        sa.Column("caller", sa.String(length=200), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("request_sha256", sa.String(length=64), nullable=False),
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("caller", "key"),
    )
    op.create_index("ix_idempotency_keys_created", "idempotency_keys", ["created"])
    for table in TASKS:
        op.add_column(table, sa.Column("parked", sa.String(length=16), nullable=False, server_default=""))
        op.add_column(table, sa.Column("requeues", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    """Drop the columns and the table."""
    for table in TASKS:
        op.drop_column(table, "requeues")
        op.drop_column(table, "parked")
    op.drop_index("ix_idempotency_keys_created", table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
