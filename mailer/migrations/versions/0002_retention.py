"""When the content of an email was erased; an audit entry that outlives its delivery"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_HAS_CONTENT = sa.text(
    "erased_at IS NULL AND (context IS NOT NULL OR text IS NOT NULL OR html IS NOT NULL"
    " OR has_attachments)"
)


def upgrade() -> None:
    op.add_column("mailer_emails", sa.Column("erased_at", sa.Double(), nullable=True))
    op.create_index(
        "ix_mailer_emails_content",
        "mailer_emails",
        ["id"],
        unique=False,
        sqlite_where=_HAS_CONTENT,
        postgresql_where=_HAS_CONTENT,
    )
    with op.batch_alter_table("mailer_audit") as audit:  # SQLite copies the table for this
        audit.alter_column(
            "delivery_id",
            existing_type=sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
        )


def downgrade() -> None:
    op.execute("DELETE FROM mailer_audit WHERE delivery_id IS NULL")
    with op.batch_alter_table("mailer_audit") as audit:
        audit.alter_column(
            "delivery_id",
            existing_type=sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        )
    op.drop_index(
        "ix_mailer_emails_content",
        table_name="mailer_emails",
        sqlite_where=_HAS_CONTENT,
        postgresql_where=_HAS_CONTENT,
    )
    op.drop_column("mailer_emails", "erased_at")
