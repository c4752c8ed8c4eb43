"""Add evaluations of checkpoints, and comparisons of evaluations."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "evaluations",
        sa.Column("evaluation_id", sa.String(length=64), nullable=False),
        sa.Column("plan_id", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("dataset_id", sa.String(length=64), nullable=False),
        sa.Column("checkpoint", sa.JSON(), nullable=False),
        sa.Column("split", sa.String(length=8), nullable=False),
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
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"]),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.dataset_id"]),
        sa.PrimaryKeyConstraint("evaluation_id"),
    )
    op.create_index(op.f("ix_evaluations_plan_id"), "evaluations", ["plan_id"], unique=False)
    op.create_table(
        "comparisons",
        sa.Column("comparison_id", sa.String(length=64), nullable=False),
        sa.Column("evaluation_a", sa.String(length=64), nullable=False),
        sa.Column("evaluation_b", sa.String(length=64), nullable=False),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["evaluation_a"], ["evaluations.evaluation_id"]),
        sa.ForeignKeyConstraint(["evaluation_b"], ["evaluations.evaluation_id"]),
        sa.PrimaryKeyConstraint("comparison_id"),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("comparisons")
    op.drop_index(op.f("ix_evaluations_plan_id"), table_name="evaluations")
    op.drop_table("evaluations")
