"""What was reported of a delivery"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_IS_FAILED = sa.text("status = 'failed'")
_IS_REPORTED = sa.text("reported IS NOT NULL")


def upgrade() -> None:
    op.create_index(
        "ix_mailer_events_failed",
        "mailer_events",
        ["webhook_id", "status", "id"],
        unique=False,
        sqlite_where=_IS_FAILED,
        postgresql_where=_IS_FAILED,
    )
    op.add_column("mailer_deliveries", sa.Column("reported", sa.String(length=12), nullable=True))
    # The worst: bounced, complained, delivered.
    op.execute(
        "UPDATE mailer_deliveries SET reported = (SELECT min(kind) FROM mailer_reports"
        " WHERE delivery_id = mailer_deliveries.id) WHERE id IN"
        " (SELECT delivery_id FROM mailer_reports WHERE delivery_id IS NOT NULL)"
    )
    op.create_index(
        "ix_mailer_deliveries_reported",
        "mailer_deliveries",
        ["reported", "id"],
        unique=False,
        sqlite_where=_IS_REPORTED,
        postgresql_where=_IS_REPORTED,
    )


def downgrade() -> None:
    op.drop_index("ix_mailer_deliveries_reported", table_name="mailer_deliveries")
    op.drop_column("mailer_deliveries", "reported")
    op.drop_index("ix_mailer_events_failed", table_name="mailer_events")
