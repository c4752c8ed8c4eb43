"""The chain of the audit log, and the mark of answers that were imported."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

FIELDS = ("caller", "reader", "address", "subject", "outcome")


def upgrade() -> None:
    """Create the tables and the columns. Answers of before are not in the chain: `primitives audit adopt` adds them."""
    op.create_table(
        "audit_entries",
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("time", sa.String(length=40), nullable=False),
        sa.Column("event", sa.String(length=32), nullable=False),
        *(sa.Column(name, sa.String(length=300), nullable=False) for name in FIELDS),
        *(sa.Column(name, sa.String(length=64), nullable=False) for name in ("digest", "previous", "sha256")),
        sa.PrimaryKeyConstraint("position"),
    )
    op.create_table(
        "audit_head",
        sa.Column("head_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("head_id"),
    )
    for table in ("responses", "response_log"):
        op.add_column(table, sa.Column("imported", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Drop the tables and the columns. The chain is lost: export it before."""
    for table in ("responses", "response_log"):
        op.drop_column(table, "imported")
    op.drop_table("audit_head")
    op.drop_table("audit_entries")
