"""Suppressions, webhooks and reports"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_IS_PENDING = sa.text("status = 'pending'")
_IS_TEST = sa.text("is_test")


def upgrade() -> None:
    _set_audit_lengths(actor=120, action=60)  # names of API keys; "rescheduled to ..."
    op.create_table(
        "mailer_suppressions",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("address", sa.String(length=320), nullable=False),
        sa.Column("category", sa.String(length=64), server_default="", nullable=False),
        sa.Column("origin", sa.String(length=20), nullable=False),
        sa.Column("words", sa.Text(), nullable=True),
        sa.Column("email_id", sa.String(length=36), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_mailer_suppressions"),
        sa.UniqueConstraint("address", "category", name="uq_mailer_suppressions_address_category"),
    )
    op.create_table(
        "mailer_webhooks",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("events", sa.Text(), nullable=False),
        sa.Column("secret", sa.String(length=100), nullable=False),
        sa.Column("previous_secret", sa.String(length=100), nullable=True),
        sa.Column("previous_until", sa.Double(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("failing_since", sa.Double(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("rests_until", sa.Double(), nullable=True),
        sa.Column("disabled_at", sa.Double(), nullable=True),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_mailer_webhooks"),
    )
    op.create_table(
        "mailer_events",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("webhook_id", sa.String(length=36), nullable=False),
        sa.Column("type", sa.String(length=40), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("email_id", sa.String(length=36), nullable=False),
        sa.Column(
            "delivery_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.Double(), nullable=False),
        sa.Column("tried_until", sa.Double(), nullable=False),
        sa.Column("claim", sa.String(length=36), nullable=True),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["mailer_deliveries.id"],
            name="fk_mailer_events_delivery_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["email_id"], ["mailer_emails.id"], name="fk_mailer_events_email_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["webhook_id"],
            ["mailer_webhooks.id"],
            name="fk_mailer_events_webhook_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_mailer_events"),
    )
    op.create_index("ix_mailer_events_delivery_id", "mailer_events", ["delivery_id"], unique=False)
    op.create_index(
        "ix_mailer_events_due",
        "mailer_events",
        ["webhook_id", "due_at", "id"],
        unique=False,
        sqlite_where=_IS_PENDING,
        postgresql_where=_IS_PENDING,
    )
    op.create_index("ix_mailer_events_email_id", "mailer_events", ["email_id"], unique=False)
    op.create_index(
        "ix_mailer_events_webhook_id_id", "mailer_events", ["webhook_id", "id"], unique=False
    )
    op.create_table(
        "mailer_reports",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("source_id", sa.String(length=200), nullable=False),
        sa.Column("once", sa.String(length=100), nullable=True),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.Column("occurred_at", sa.Double(), nullable=True),
        sa.Column("recipient", sa.String(length=320), nullable=False),
        sa.Column("email_id", sa.String(length=36), nullable=True),
        sa.Column(
            "delivery_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("permanent", sa.Boolean(), nullable=False),
        sa.Column("code", sa.Integer(), nullable=True),
        sa.Column("enhanced", sa.String(length=12), nullable=True),
        sa.Column("words", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["mailer_deliveries.id"],
            name="fk_mailer_reports_delivery_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_mailer_reports"),
        sa.UniqueConstraint("once", name="uq_mailer_reports_once"),
        sa.UniqueConstraint("source", "source_id", name="uq_mailer_reports_source_source_id"),
    )
    op.create_index(
        "ix_mailer_reports_delivery_id", "mailer_reports", ["delivery_id"], unique=False
    )
    op.create_table(
        "mailer_event_attempts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("event_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=False),
        sa.Column("code", sa.Integer(), nullable=True),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("milliseconds", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["event_id"],
            ["mailer_events.id"],
            name="fk_mailer_event_attempts_event_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_mailer_event_attempts"),
    )
    op.create_index(
        "ix_mailer_event_attempts_event_id", "mailer_event_attempts", ["event_id"], unique=False
    )
    op.add_column(
        "mailer_api_keys", sa.Column("recipients", sa.Text(), server_default="[]", nullable=False)
    )
    op.add_column("mailer_api_keys", sa.Column("lane", sa.String(length=40), nullable=True))
    op.add_column("mailer_api_keys", sa.Column("rate", sa.String(length=40), nullable=True))
    op.add_column(
        "mailer_api_keys",
        sa.Column("is_test", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.add_column("mailer_emails", sa.Column("category", sa.String(length=64), nullable=True))
    op.add_column(
        "mailer_emails",
        sa.Column("is_test", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.add_column("mailer_emails", sa.Column("request_id", sa.String(length=64), nullable=True))
    op.create_index(
        "ix_mailer_emails_test",
        "mailer_emails",
        ["id"],
        unique=False,
        sqlite_where=_IS_TEST,
        postgresql_where=_IS_TEST,
    )


def _set_audit_lengths(*, actor: int, action: int) -> None:
    with op.batch_alter_table("mailer_audit") as audit:
        audit.alter_column("actor", type_=sa.String(actor), existing_nullable=False)
        audit.alter_column("action", type_=sa.String(action), existing_nullable=False)


def downgrade() -> None:
    op.drop_index("ix_mailer_emails_test", table_name="mailer_emails")
    op.drop_column("mailer_emails", "request_id")
    op.drop_column("mailer_emails", "is_test")
    op.drop_column("mailer_emails", "category")
    op.drop_column("mailer_api_keys", "is_test")
    op.drop_column("mailer_api_keys", "rate")
    op.drop_column("mailer_api_keys", "lane")
    op.drop_column("mailer_api_keys", "recipients")
    op.drop_index("ix_mailer_event_attempts_event_id", table_name="mailer_event_attempts")
    op.drop_table("mailer_event_attempts")
    op.drop_index("ix_mailer_reports_delivery_id", table_name="mailer_reports")
    op.drop_table("mailer_reports")
    op.drop_index("ix_mailer_events_webhook_id_id", table_name="mailer_events")
    op.drop_index("ix_mailer_events_email_id", table_name="mailer_events")
    op.drop_index("ix_mailer_events_due", table_name="mailer_events")
    op.drop_index("ix_mailer_events_delivery_id", table_name="mailer_events")
    op.drop_table("mailer_events")
    op.drop_table("mailer_webhooks")
    op.drop_table("mailer_suppressions")
    # What was said at length before would not fit.
    op.execute("UPDATE mailer_audit SET actor = substr(actor, 1, 100)")
    op.execute("UPDATE mailer_audit SET action = substr(action, 1, 20)")
    _set_audit_lengths(actor=100, action=20)
