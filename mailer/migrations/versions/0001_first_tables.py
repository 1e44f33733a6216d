"""Emails, deliveries, attempts, audit, users"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "mailer_emails",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("lane", sa.String(length=40), nullable=False),
        sa.Column("template", sa.String(length=100), nullable=True),
        sa.Column("locale", sa.String(length=40), nullable=True),
        sa.Column("context", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("html", sa.Text(), nullable=True),
        sa.Column("addresses", sa.Text(), nullable=False),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("has_attachments", sa.Boolean(), nullable=False),
        sa.Column("on_unknown", sa.String(length=10), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.Column("idempotency_key", sa.String(length=256), nullable=True),
        sa.Column("fingerprint", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mailer_emails")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_mailer_emails_idempotency_key")),
    )
    op.create_table(
        "mailer_users",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("password_hash", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("confirmed_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mailer_users")),
        sa.UniqueConstraint("email", name=op.f("uq_mailer_users_email")),
    )
    op.create_table(
        "mailer_attachments",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("email_id", sa.String(length=36), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("content_type", sa.String(length=200), nullable=False),
        sa.Column("content_id", sa.String(length=200), nullable=True),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["email_id"],
            ["mailer_emails.id"],
            name=op.f("fk_mailer_attachments_email_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mailer_attachments")),
    )
    op.create_index(
        op.f("ix_mailer_attachments_email_id"), "mailer_attachments", ["email_id"], unique=False
    )
    op.create_table(
        "mailer_deliveries",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("email_id", sa.String(length=36), nullable=False),
        sa.Column("recipient", sa.String(length=320), nullable=False),
        sa.Column("lane", sa.String(length=40), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("due_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("attempts_allowed", sa.Integer(), nullable=False),
        sa.Column("crashes", sa.Integer(), nullable=False),
        sa.Column("ambiguous", sa.Integer(), nullable=False),
        sa.Column("claim", sa.String(length=36), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("marked_at", sa.Double(), nullable=True),
        sa.Column("stage", sa.String(length=10), nullable=True),
        sa.Column("code", sa.Integer(), nullable=True),
        sa.Column("enhanced", sa.String(length=12), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["email_id"],
            ["mailer_emails.id"],
            name=op.f("fk_mailer_deliveries_email_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mailer_deliveries")),
    )
    op.create_index(
        "ix_mailer_deliveries_due",
        "mailer_deliveries",
        ["lane", "due_at", "id"],
        unique=False,
        sqlite_where=sa.text("status = 'queued'"),
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.create_index(
        op.f("ix_mailer_deliveries_email_id"), "mailer_deliveries", ["email_id"], unique=False
    )
    op.create_index(
        "ix_mailer_deliveries_expiring",
        "mailer_deliveries",
        ["expires_at"],
        unique=False,
        sqlite_where=sa.text("status = 'queued' AND expires_at IS NOT NULL"),
        postgresql_where=sa.text("status = 'queued' AND expires_at IS NOT NULL"),
    )
    op.create_index(
        "ix_mailer_deliveries_leased",
        "mailer_deliveries",
        ["lease_until"],
        unique=False,
        sqlite_where=sa.text("status = 'sending'"),
        postgresql_where=sa.text("status = 'sending'"),
    )
    op.create_index(
        op.f("ix_mailer_deliveries_recipient"), "mailer_deliveries", ["recipient"], unique=False
    )
    op.create_index(
        "ix_mailer_deliveries_trouble",
        "mailer_deliveries",
        ["status", "id"],
        unique=False,
        sqlite_where=sa.text("status NOT IN ('queued', 'sending', 'sent')"),
        postgresql_where=sa.text("status NOT IN ('queued', 'sending', 'sent')"),
    )
    op.create_table(
        "mailer_attempts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "delivery_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=False),
        sa.Column("outcome", sa.String(length=20), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("transport", sa.String(length=40), nullable=True),
        sa.Column("stage", sa.String(length=10), nullable=True),
        sa.Column("code", sa.Integer(), nullable=True),
        sa.Column("enhanced", sa.String(length=12), nullable=True),
        sa.Column("words", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["mailer_deliveries.id"],
            name=op.f("fk_mailer_attempts_delivery_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mailer_attempts")),
    )
    op.create_index(
        op.f("ix_mailer_attempts_delivery_id"), "mailer_attempts", ["delivery_id"], unique=False
    )
    op.create_table(
        "mailer_audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("action", sa.String(length=20), nullable=False),
        sa.Column(
            "delivery_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["mailer_deliveries.id"],
            name=op.f("fk_mailer_audit_delivery_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mailer_audit")),
    )
    op.create_index(
        op.f("ix_mailer_audit_delivery_id"), "mailer_audit", ["delivery_id"], unique=False
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_mailer_audit_delivery_id"), table_name="mailer_audit")
    op.drop_table("mailer_audit")
    op.drop_index(op.f("ix_mailer_attempts_delivery_id"), table_name="mailer_attempts")
    op.drop_table("mailer_attempts")
    op.drop_index(
        "ix_mailer_deliveries_trouble",
        table_name="mailer_deliveries",
        sqlite_where=sa.text("status NOT IN ('queued', 'sending', 'sent')"),
        postgresql_where=sa.text("status NOT IN ('queued', 'sending', 'sent')"),
    )
    op.drop_index(op.f("ix_mailer_deliveries_recipient"), table_name="mailer_deliveries")
    op.drop_index(
        "ix_mailer_deliveries_leased",
        table_name="mailer_deliveries",
        sqlite_where=sa.text("status = 'sending'"),
        postgresql_where=sa.text("status = 'sending'"),
    )
    op.drop_index(
        "ix_mailer_deliveries_expiring",
        table_name="mailer_deliveries",
        sqlite_where=sa.text("status = 'queued' AND expires_at IS NOT NULL"),
        postgresql_where=sa.text("status = 'queued' AND expires_at IS NOT NULL"),
    )
    op.drop_index(op.f("ix_mailer_deliveries_email_id"), table_name="mailer_deliveries")
    op.drop_index(
        "ix_mailer_deliveries_due",
        table_name="mailer_deliveries",
        sqlite_where=sa.text("status = 'queued'"),
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.drop_table("mailer_deliveries")
    op.drop_index(op.f("ix_mailer_attachments_email_id"), table_name="mailer_attachments")
    op.drop_table("mailer_attachments")
    op.drop_table("mailer_users")
    op.drop_table("mailer_emails")
