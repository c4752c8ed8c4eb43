"""The access token that opened a session: the session ends with the token."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column. If the service has access tokens, readers must sign in again."""
    op.add_column("sessions", sa.Column("access_sha256", sa.String(length=64), nullable=False, server_default=""))


def downgrade() -> None:
    """Drop the column. Open sessions remain until they are too old."""
    op.drop_column("sessions", "access_sha256")
