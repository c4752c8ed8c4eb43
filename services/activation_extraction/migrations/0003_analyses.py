"""Create the tables of analyses."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "analyses",
        sa.Column("analysis_id", sa.String(length=64), nullable=False),
        sa.Column("extraction_id", sa.String(length=64), nullable=False),
        sa.Column("plan_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("extraction", sa.JSON(), nullable=False),
        sa.Column("pieces", sa.Integer(), nullable=False),
        sa.Column("manifest", sa.JSON(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("progress", sa.JSON(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_s", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["extraction_id"], ["extractions.extraction_id"]),
        sa.PrimaryKeyConstraint("analysis_id"),
    )
    op.create_index(op.f("ix_analyses_extraction_id"), "analyses", ["extraction_id"], unique=False)
    op.create_index(op.f("ix_analyses_plan_id"), "analyses", ["plan_id"], unique=False)
    op.create_table(
        "analysis_pieces",
        sa.Column("analysis_id", sa.String(length=64), nullable=False),
        sa.Column("piece", sa.Integer(), nullable=False),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["analysis_id"], ["analyses.analysis_id"]),
        sa.PrimaryKeyConstraint("analysis_id", "piece"),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("analysis_pieces")
    op.drop_index(op.f("ix_analyses_plan_id"), table_name="analyses")
    op.drop_index(op.f("ix_analyses_extraction_id"), table_name="analyses")
    op.drop_table("analyses")
