"""Whether a delivery waits for a turn that it was given"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column(
        "mailer_deliveries",
        sa.Column("has_turn", sa.Boolean(), nullable=False, server_default=sa.false()),
    )


def downgrade() -> None:
    op.drop_column("mailer_deliveries", "has_turn")
