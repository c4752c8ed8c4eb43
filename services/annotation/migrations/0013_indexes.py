"""Indexes for lists of many units and readings: the server reads them without the rows, which are wide."""

from alembic import op

revision = "0013"
down_revision = "0012"

INDEXES = (
    (
        "ix_units_listed",
        "units",
        ("study_id", "layer", "unit", "silent", "in_subset", "in_ranking", "positives"),
    ),
    ("ix_readings_by_state", "readings", ("study_id", "version", "reader_id", "state", "position")),
)


def upgrade() -> None:
    """Create the indexes."""
    for name, table, columns in INDEXES:
        op.create_index(name, table, list(columns))


def downgrade() -> None:
    """Drop the indexes."""
    for name, table, _ in INDEXES:
        op.drop_index(name, table)
