"""Which row of a bulk send an email was made of"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

_IS_ACCEPTED = sa.text("email_id IS NOT NULL")


def upgrade() -> None:
    op.create_index(
        "ix_mailer_bulk_rows_email",
        "mailer_bulk_rows",
        ["email_id", "job_id"],
        sqlite_where=_IS_ACCEPTED,
        postgresql_where=_IS_ACCEPTED,
    )


def downgrade() -> None:
    op.drop_index("ix_mailer_bulk_rows_email", table_name="mailer_bulk_rows")
