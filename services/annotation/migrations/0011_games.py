"""Games of reader studies: their readers, their trials, and the log of what happened to trials."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "games",
        sa.Column("game_id", sa.String(length=64), nullable=False),
        sa.Column("study_id", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("instructions", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("opened", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["study_id", "version"], ["protocols.study_id", "protocols.version"]),
        sa.PrimaryKeyConstraint("game_id"),
    )
    op.create_index(op.f("ix_games_study_id"), "games", ["study_id"], unique=False)
    op.create_table(
        "game_readers",
        sa.Column("game_id", sa.String(length=64), nullable=False),
        sa.Column("reader_id", sa.String(length=64), nullable=False),
        sa.Column("pseudonym", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(["game_id"], ["games.game_id"]),
        sa.ForeignKeyConstraint(["reader_id"], ["readers.reader_id"]),
        sa.PrimaryKeyConstraint("game_id", "reader_id"),
        sa.UniqueConstraint("game_id", "pseudonym"),
    )
    op.create_index(op.f("ix_game_readers_reader_id"), "game_readers", ["reader_id"], unique=False)
    op.create_table(
        "trials",
        sa.Column("trial_id", sa.String(length=64), nullable=False),
        sa.Column("game_id", sa.String(length=64), nullable=False),
        sa.Column("reader_id", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("layer", sa.String(length=200), nullable=False),
        sa.Column("unit", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("shown", sa.JSON(), nullable=False),
        sa.Column("right_place", sa.Integer(), nullable=False),
        sa.Column("known", sa.Boolean(), nullable=False),
        sa.Column("opened", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answered", sa.DateTime(timezone=True), nullable=True),
        sa.Column("choice", sa.Integer(), nullable=True),
        sa.Column("late", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["game_id"], ["games.game_id"]),
        sa.ForeignKeyConstraint(["reader_id"], ["readers.reader_id"]),
        sa.PrimaryKeyConstraint("trial_id"),
        sa.UniqueConstraint("game_id", "reader_id", "item"),
        sa.UniqueConstraint("game_id", "reader_id", "position"),
    )
    op.create_table(
        "trial_log",
        sa.Column("position", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("trial_id", sa.String(length=64), nullable=False),
        sa.Column("reader_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("choice", sa.Integer(), nullable=True),
        sa.Column("saved", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["reader_id"], ["readers.reader_id"]),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.trial_id"]),
        sa.PrimaryKeyConstraint("position"),
    )


def downgrade() -> None:
    """Drop the tables. All games and their answers are lost, and the chain has entries about them: export it before."""
    op.drop_table("trial_log")
    op.drop_table("trials")
    op.drop_index(op.f("ix_game_readers_reader_id"), table_name="game_readers")
    op.drop_table("game_readers")
    op.drop_index(op.f("ix_games_study_id"), table_name="games")
    op.drop_table("games")
