"""Shards of unfinished extractions are done again: what they gave is of another form now."""

from alembic import op

revision = "0004"
down_revision = "0003"

_FORGET = """
    DELETE FROM shards WHERE extraction_id IN
    (SELECT extraction_id FROM extractions WHERE state NOT IN ('completed', 'failed', 'cancelled'))
"""


def upgrade() -> None:
    """Forget the old states; a service asks for the missing shards when it starts."""
    op.execute(_FORGET)


def downgrade() -> None:
    """Forget the new states."""
    op.execute(_FORGET)
