"""An index for the list of plans, which is read page by page."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Create the index."""
    op.create_index("ix_plans_newest", "plans", ["created", "plan_id"])


def downgrade() -> None:
    """Drop the index."""
    op.drop_index("ix_plans_newest", "plans")
