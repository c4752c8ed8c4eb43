"""Create the table of explanations."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "explanations",
        sa.Column("explanation_id", sa.String(length=64), nullable=False),
        sa.Column("extraction_id", sa.String(length=64), nullable=False),
        sa.Column("plan_id", sa.String(length=64), nullable=False),
        sa.Column("extraction", sa.JSON(), nullable=False),
        sa.Column("mammogram", sa.JSON(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("manifest", sa.JSON(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("progress", sa.JSON(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_s", sa.Float(), nullable=False),
        sa.Column("parked", sa.String(length=16), nullable=False, server_default=""),
        sa.Column("requeues", sa.JSON(), nullable=False, server_default="[]"),
        sa.ForeignKeyConstraint(["extraction_id"], ["extractions.extraction_id"]),
        sa.PrimaryKeyConstraint("explanation_id"),
    )
    op.create_index("ix_explanations_plan_id", "explanations", ["plan_id"])
    op.create_index("ix_explanations_newest", "explanations", ["created", "explanation_id"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_index("ix_explanations_newest", table_name="explanations")
    op.drop_index("ix_explanations_plan_id", table_name="explanations")
    op.drop_table("explanations")
