"""Which access token a session was opened with: it ends with the token."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column. Where there are access tokens, sessions that are open must be opened anew."""
    op.add_column("sessions", sa.Column("access_sha256", sa.String(length=64), nullable=False, server_default=""))


def downgrade() -> None:
    """Drop the column; open sessions go on until they grow too old."""
    op.drop_column("sessions", "access_sha256")
