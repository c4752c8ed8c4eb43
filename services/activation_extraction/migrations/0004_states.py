"""Have the shards of unfinished extractions extracted again, because the form of their states has changed."""

from alembic import op

revision = "0004"
down_revision = "0003"

_DELETE_STATES = """
    DELETE FROM shards WHERE extraction_id IN
    (SELECT extraction_id FROM extractions WHERE state NOT IN ('completed', 'failed', 'cancelled'))
"""


def upgrade() -> None:
    """Delete the old states. A service enqueues the missing shards when it starts."""
    op.execute(_DELETE_STATES)


def downgrade() -> None:
    """Delete the new states."""
    op.execute(_DELETE_STATES)
