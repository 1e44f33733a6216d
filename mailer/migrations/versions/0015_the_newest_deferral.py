"""The newest deferral of each lane"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

_IS_WAITING_AGAIN = sa.text("status = 'queued' AND stage IS NOT NULL")


def upgrade() -> None:
    op.create_index(
        "ix_mailer_deliveries_waiting_again",
        "mailer_deliveries",
        ["lane", "updated_at", "due_at"],
        sqlite_where=_IS_WAITING_AGAIN,
        postgresql_where=_IS_WAITING_AGAIN,
    )


def downgrade() -> None:
    op.drop_index("ix_mailer_deliveries_waiting_again", table_name="mailer_deliveries")
