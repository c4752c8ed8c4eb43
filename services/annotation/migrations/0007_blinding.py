"""Members of studies, and the mark of answers that were saved when their reader could see the classes."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

AFTER_REVEAL = """
UPDATE {table} SET after_reveal = true
WHERE version > 1 OR study_id IN (SELECT study_id FROM studies WHERE labels_shown = 'always')
"""
"""Until now, a study showed classes always or once a unit was answered: then every change came after the reveal."""


def upgrade() -> None:
    """Create the table and the columns. Existing studies are open to all readers and show labels as before."""
    op.create_table(
        "members",
        sa.Column("study_id", sa.String(length=64), nullable=False),
        sa.Column("reader_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.study_id"]),
        sa.ForeignKeyConstraint(["reader_id"], ["readers.reader_id"]),
        sa.PrimaryKeyConstraint("study_id", "reader_id"),
    )
    op.create_index(op.f("ix_members_reader_id"), "members", ["reader_id"], unique=False)
    for name in ("members_only", "list_reveals"):
        op.add_column("studies", sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false()))
    for table in ("responses", "response_log"):
        op.add_column(table, sa.Column("after_reveal", sa.Boolean(), nullable=False, server_default=sa.false()))
        op.execute(AFTER_REVEAL.format(table=table))


def downgrade() -> None:
    """Drop the table and the columns. Studies of named members are open to all readers then."""
    for table in ("responses", "response_log"):
        op.drop_column(table, "after_reveal")
    for name in ("list_reveals", "members_only"):
        op.drop_column("studies", name)
    op.drop_index(op.f("ix_members_reader_id"), table_name="members")
    op.drop_table("members")
