"""Indexes for lists that are read page by page."""

from alembic import op

revision = "0007"
down_revision = "0006"

INDEXES = (
    ("ix_datasets_newest", "datasets", ("created", "dataset_id")),
    ("ix_runs_newest", "runs", ("created", "run_id")),
    ("ix_evaluations_newest", "evaluations", ("created", "evaluation_id")),
    ("ix_comparisons_newest", "comparisons", ("created", "comparison_id")),
)


def upgrade() -> None:
    """Create the indexes."""
    for name, table, columns in INDEXES:
        op.create_index(name, table, list(columns))


def downgrade() -> None:
    """Drop the indexes."""
    for name, table, _ in INDEXES:
        op.drop_index(name, table)
