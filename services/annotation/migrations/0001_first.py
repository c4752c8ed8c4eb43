"""The first tables of the annotation service."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    _create_studies()
    _create_units()
    _create_readers()
    _create_responses()
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=300), nullable=False),
        sa.Column("holder", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "outbox",
        sa.Column("position", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("message_id", sa.String(length=64), nullable=False),
        sa.Column("type", sa.String(length=200), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("queue", sa.String(length=200), nullable=True),
        sa.PrimaryKeyConstraint("position"),
        sa.UniqueConstraint("message_id"),
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in (
        "leases", "outbox", "response_log", "responses", "sessions", "readers", "mammograms", "ranks", "units",
        "layers", "studies", "renderings",
    ):  # fmt: skip
        op.drop_table(table)


def _create_studies() -> None:
    op.create_table(
        "renderings",
        sa.Column("rendering_id", sa.String(length=64), nullable=False),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("told", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("rendering_id"),
    )
    op.create_table(
        "studies",
        sa.Column("study_id", sa.String(length=64), nullable=False),
        sa.Column("plan_id", sa.String(length=64), nullable=False),
        sa.Column("rendering_id", sa.String(length=64), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("units_per_class", sa.Integer(), nullable=False),
        sa.Column("labels_shown", sa.String(length=16), nullable=False),
        sa.Column("architecture", sa.String(length=200), nullable=False),
        sa.Column("dataset", sa.String(length=200), nullable=False),
        sa.Column("notice", sa.Text(), nullable=False),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("progress", sa.JSON(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("study_id"),
    )
    op.create_index(op.f("ix_studies_plan_id"), "studies", ["plan_id"], unique=False)
    op.create_table(
        "mammograms",
        sa.Column("study_id", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("side", sa.String(length=32), nullable=False),
        sa.Column("view", sa.String(length=32), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("preview_bucket", sa.String(length=63), nullable=False),
        sa.Column("preview_key", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.study_id"]),
        sa.PrimaryKeyConstraint("study_id", "number"),
    )


def _create_units() -> None:
    op.create_table(
        "layers",
        sa.Column("study_id", sa.String(length=64), nullable=False),
        sa.Column("layer", sa.String(length=200), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("units", sa.Integer(), nullable=False),
        sa.Column("silent", sa.Integer(), nullable=False),
        sa.Column("in_subset", sa.Integer(), nullable=False),
        sa.Column("in_ranking", sa.Integer(), nullable=False),
        sa.Column("ranking_method", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.study_id"]),
        sa.PrimaryKeyConstraint("study_id", "layer"),
    )
    op.create_table(
        "units",
        sa.Column("study_id", sa.String(length=64), nullable=False),
        sa.Column("layer", sa.String(length=200), nullable=False),
        sa.Column("unit", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("silent", sa.Boolean(), nullable=False),
        sa.Column("best", sa.Float(), nullable=False),
        sa.Column("in_subset", sa.Boolean(), nullable=False),
        sa.Column("in_ranking", sa.Boolean(), nullable=False),
        sa.Column("positives", sa.Integer(), nullable=False),
        sa.Column("statistics", sa.JSON(), nullable=False),
        sa.Column("pack_bucket", sa.String(length=63), nullable=False),
        sa.Column("pack_key", sa.Text(), nullable=False),
        sa.Column("sheet_offset", sa.BigInteger(), nullable=False),
        sa.Column("sheet_size", sa.BigInteger(), nullable=False),
        sa.Column("pictures", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["study_id", "layer"], ["layers.study_id", "layers.layer"]),
        sa.PrimaryKeyConstraint("study_id", "layer", "unit"),
    )
    op.create_table(
        "ranks",
        sa.Column("study_id", sa.String(length=64), nullable=False),
        sa.Column("layer", sa.String(length=200), nullable=False),
        sa.Column("label", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("rank", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("unit", sa.Integer(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["study_id", "layer"], ["layers.study_id", "layers.layer"]),
        sa.PrimaryKeyConstraint("study_id", "layer", "label", "rank"),
    )
    op.create_index("ix_ranks_unit", "ranks", ["study_id", "layer", "unit"], unique=False)


def _create_readers() -> None:
    op.create_table(
        "readers",
        sa.Column("reader_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("name_key", sa.String(length=320), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("reader_id"),
        sa.UniqueConstraint("name_key"),
    )
    op.create_table(
        "sessions",
        sa.Column("token_sha256", sa.String(length=64), nullable=False),
        sa.Column("reader_id", sa.String(length=64), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["reader_id"], ["readers.reader_id"]),
        sa.PrimaryKeyConstraint("token_sha256"),
    )
    op.create_index(op.f("ix_sessions_reader_id"), "sessions", ["reader_id"], unique=False)


def _answer_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("study_id", sa.String(length=64), nullable=False),
        sa.Column("layer", sa.String(length=200), nullable=False),
        sa.Column("unit", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("reader_id", sa.String(length=64), nullable=False),
        sa.Column("recognizable", sa.String(length=16), nullable=False),
        sa.Column("associated", sa.String(length=16), nullable=False),
        sa.Column("multiplicity", sa.String(length=16), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("saved", sa.DateTime(timezone=True), nullable=False),
    ]


def _create_responses() -> None:
    op.create_table(
        "responses",
        *_answer_columns(),
        sa.ForeignKeyConstraint(["study_id", "layer", "unit"], ["units.study_id", "units.layer", "units.unit"]),
        sa.ForeignKeyConstraint(["reader_id"], ["readers.reader_id"]),
        sa.PrimaryKeyConstraint("study_id", "layer", "unit", "reader_id"),
    )
    op.create_index(op.f("ix_responses_reader_id"), "responses", ["reader_id"], unique=False)
    op.create_table(
        "response_log",
        sa.Column("position", sa.Integer(), autoincrement=True, nullable=False),
        *_answer_columns(),
        sa.Column("idempotency_key", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["study_id", "layer", "unit"], ["units.study_id", "units.layer", "units.unit"]),
        sa.ForeignKeyConstraint(["reader_id"], ["readers.reader_id"]),
        sa.PrimaryKeyConstraint("position"),
    )
    op.create_index("ix_response_log_key", "response_log", ["reader_id", "idempotency_key"], unique=False)
