"""Accounts, invitations to them, and what limits the attempts to sign in."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the tables and the columns of sessions. There is no account yet, so sessions are none of an account."""
    op.create_table(
        "accounts",
        sa.Column("account_id", sa.String(length=64), nullable=False),
        sa.Column("reader_id", sa.String(length=64), nullable=False),
        sa.Column("name_key", sa.String(length=320), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("issuer", sa.String(length=200), nullable=True),
        sa.Column("subject", sa.String(length=255), nullable=True),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("signed_in", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["reader_id"], ["readers.reader_id"]),
        sa.PrimaryKeyConstraint("account_id"),
        sa.UniqueConstraint("reader_id"),
        sa.UniqueConstraint("name_key"),
        sa.UniqueConstraint("issuer", "subject", name="uq_accounts_subject"),
    )
    op.create_table(
        "invitations",
        sa.Column("token_sha256", sa.String(length=64), nullable=False),
        sa.Column("account_id", sa.String(length=64), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"]),
        sa.PrimaryKeyConstraint("token_sha256"),
    )
    op.create_index(op.f("ix_invitations_account_id"), "invitations", ["account_id"])
    op.create_table(
        "sign_in_attempts",
        sa.Column("key_sha256", sa.String(length=64), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last", sa.DateTime(timezone=True), nullable=False),
        sa.Column("delayed_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key_sha256"),
    )
    op.create_index(op.f("ix_sign_in_attempts_last"), "sign_in_attempts", ["last"])
    op.create_table(
        "provider_sign_ins",
        sa.Column("state_sha256", sa.String(length=64), nullable=False),
        sa.Column("nonce", sa.String(length=64), nullable=False),
        sa.Column("verifier", sa.String(length=128), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("invitation_sha256", sa.String(length=64), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("state_sha256"),
    )
    op.create_index(op.f("ix_provider_sign_ins_created"), "provider_sign_ins", ["created"])
    op.add_column("sessions", sa.Column("account_id", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("sessions", sa.Column("browser", sa.String(length=200), nullable=False, server_default=""))
    op.create_index(op.f("ix_sessions_account_id"), "sessions", ["account_id"])


def downgrade() -> None:
    """Drop the tables and the columns. Sessions of accounts end: they have no access token, which earlier code needs
    wherever accounts are in use."""
    op.drop_index(op.f("ix_sessions_account_id"), table_name="sessions")
    op.drop_column("sessions", "browser")
    op.drop_column("sessions", "account_id")
    for table in ("provider_sign_ins", "sign_in_attempts", "invitations", "accounts"):
        op.drop_table(table)
