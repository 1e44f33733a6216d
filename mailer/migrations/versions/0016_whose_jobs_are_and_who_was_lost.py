"""Which key a job is of, and how many workers were lost over it"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.add_column(
        "mailer_jobs", sa.Column("crashes", sa.Integer(), nullable=False, server_default="0")
    )
    op.add_column("mailer_jobs", sa.Column("key_id", sa.String(length=36), nullable=True))


def downgrade() -> None:
    op.drop_column("mailer_jobs", "key_id")
    op.drop_column("mailer_jobs", "crashes")
