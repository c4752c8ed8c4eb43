"""Protocols of reader studies: versions, readers, items, readings and the log of what readers sent."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Create the tables, and the mark of studies that have a protocol."""
    op.add_column("studies", sa.Column("read_by_protocol", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "protocols",
        sa.Column("study_id", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.Column("opened", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["study_id"],
            ["studies.study_id"],
        ),
        sa.PrimaryKeyConstraint("study_id", "version"),
    )
    op.create_table(
        "items",
        sa.Column("study_id", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("item", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("layer", sa.String(length=200), nullable=False),
        sa.Column("unit", sa.Integer(), nullable=True),
        sa.Column("shown", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id", "version"],
            ["protocols.study_id", "protocols.version"],
        ),
        sa.PrimaryKeyConstraint("study_id", "version", "item"),
    )
    op.create_table(
        "protocol_readers",
        sa.Column("study_id", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("reader_id", sa.String(length=64), nullable=False),
        sa.Column("pseudonym", sa.String(length=16), nullable=False),
        sa.Column("active", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["reader_id"],
            ["readers.reader_id"],
        ),
        sa.ForeignKeyConstraint(
            ["study_id", "version"],
            ["protocols.study_id", "protocols.version"],
        ),
        sa.PrimaryKeyConstraint("study_id", "version", "reader_id"),
        sa.UniqueConstraint("study_id", "version", "pseudonym"),
    )
    op.create_index(op.f("ix_protocol_readers_reader_id"), "protocol_readers", ["reader_id"], unique=False)
    op.create_table(
        "readings",
        sa.Column("reading_id", sa.String(length=64), nullable=False),
        sa.Column("study_id", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("reader_id", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("is_repeat", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("answer", sa.JSON(), nullable=True),
        sa.Column("second_answer", sa.JSON(), nullable=True),
        sa.Column("draft", sa.JSON(), nullable=True),
        sa.Column("answer_version", sa.Integer(), nullable=False),
        sa.Column("shown", sa.DateTime(timezone=True), nullable=True),
        sa.Column("submitted", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revealed", sa.DateTime(timezone=True), nullable=True),
        sa.Column("first_action_s", sa.Float(), nullable=True),
        sa.Column("active_s", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["reader_id"],
            ["readers.reader_id"],
        ),
        sa.ForeignKeyConstraint(
            ["study_id", "version", "item"],
            ["items.study_id", "items.version", "items.item"],
        ),
        sa.PrimaryKeyConstraint("reading_id"),
        sa.UniqueConstraint("study_id", "version", "item", "slot"),
        sa.UniqueConstraint("study_id", "version", "reader_id", "item", "is_repeat"),
    )
    op.create_index("ix_readings_of_reader", "readings", ["study_id", "version", "reader_id", "position"], unique=False)
    op.create_index(op.f("ix_readings_reader_id"), "readings", ["reader_id"], unique=False)
    op.create_table(
        "reading_log",
        sa.Column("position", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("reading_id", sa.String(length=64), nullable=False),
        sa.Column("reader_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("content", sa.JSON(), nullable=True),
        sa.Column("answer_version", sa.Integer(), nullable=False),
        sa.Column("saved", sa.DateTime(timezone=True), nullable=False),
        sa.Column("idempotency_key", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["reader_id"],
            ["readers.reader_id"],
        ),
        sa.ForeignKeyConstraint(
            ["reading_id"],
            ["readings.reading_id"],
        ),
        sa.PrimaryKeyConstraint("position"),
    )
    op.create_index("ix_reading_log_key", "reading_log", ["reading_id", "idempotency_key"], unique=False)


def downgrade() -> None:
    """Drop the tables and the column. All answers under protocols are lost."""
    op.drop_column("studies", "read_by_protocol")
    op.drop_index("ix_reading_log_key", table_name="reading_log")
    op.drop_table("reading_log")
    op.drop_index(op.f("ix_readings_reader_id"), table_name="readings")
    op.drop_index("ix_readings_of_reader", table_name="readings")
    op.drop_table("readings")
    op.drop_index(op.f("ix_protocol_readers_reader_id"), table_name="protocol_readers")
    op.drop_table("protocol_readers")
    op.drop_table("items")
    op.drop_table("protocols")
