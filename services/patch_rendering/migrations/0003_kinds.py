"""What kind of pictures a rendering has, and how they are encoded."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns: earlier renderings have overlays as JPEG."""
    op.add_column("renderings", sa.Column("kind", sa.String(length=16), nullable=False, server_default="overlay"))
    op.add_column("renderings", sa.Column("format", sa.String(length=8), nullable=False, server_default="jpeg"))
    op.add_column("renderings", sa.Column("quality", sa.Integer(), nullable=False, server_default="85"))


def downgrade() -> None:
    """Drop the columns."""
    for column in ("quality", "format", "kind"):
        op.drop_column("renderings", column)
