"""Add imports of raw mammograms and their parts."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "imports",
        sa.Column("import_id", sa.String(length=64), nullable=False),
        sa.Column("plan_id", sa.String(length=64), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("planned", sa.JSON(), nullable=True),
        sa.Column("parts", sa.Integer(), nullable=False),
        sa.Column("mammograms", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.String(length=64), nullable=True),
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
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.dataset_id"]),
        sa.PrimaryKeyConstraint("import_id"),
    )
    op.create_index("ix_imports_plan_id", "imports", ["plan_id"])
    op.create_index("ix_imports_newest", "imports", ["created", "import_id"])
    op.create_table(
        "import_parts",
        sa.Column("import_id", sa.String(length=64), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["import_id"], ["imports.import_id"]),
        sa.PrimaryKeyConstraint("import_id", "part"),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("import_parts")
    op.drop_index("ix_imports_newest", "imports")
    op.drop_index("ix_imports_plan_id", "imports")
    op.drop_table("imports")
