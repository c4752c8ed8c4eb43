"""Indexes for lists that are read page by page."""

from alembic import op

revision = "0005"
down_revision = "0004"

INDEXES = (
    ("ix_studies_newest", "studies", ("created", "study_id")),
    ("ix_responses_by_reader", "responses", ("reader_id", "study_id", "layer", "unit")),
    ("ix_responses_latest", "responses", ("reader_id", "saved")),
)


def upgrade() -> None:
    """Create the indexes."""
    for name, table, columns in INDEXES:
        op.create_index(name, table, list(columns))


def downgrade() -> None:
    """Drop the indexes."""
    for name, table, _ in INDEXES:
        op.drop_index(name, table)
