"""Who had an email accepted, and how long its attempts took"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.add_column("mailer_emails", sa.Column("accepted_by", sa.String(length=200), nullable=True))
    op.add_column("mailer_attempts", sa.Column("seconds", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("mailer_attempts", "seconds")
    op.drop_column("mailer_emails", "accepted_by")
