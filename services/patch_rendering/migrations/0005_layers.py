"""The units of each layer of a rendering, so that its commands can be sent without reading from the store."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column. It is null for renderings of earlier versions."""
    op.add_column("renderings", sa.Column("layers", sa.JSON, nullable=True))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("renderings", "layers")
