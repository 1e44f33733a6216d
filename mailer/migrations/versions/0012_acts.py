"""Acts"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "mailer_acts",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("actor", sa.String(length=120), nullable=False),
        sa.Column("action", sa.String(length=20), nullable=False),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_mailer_acts"),
    )
    op.create_index("ix_mailer_acts_at", "mailer_acts", ["at"])
    op.create_index("ix_mailer_acts_actor_id", "mailer_acts", ["actor", "id"])
    op.create_index("ix_mailer_acts_action_id", "mailer_acts", ["action", "id"])
    op.create_index("ix_mailer_suppressions_origin_id", "mailer_suppressions", ["origin", "id"])
    op.create_index("ix_mailer_suppressions_category_id", "mailer_suppressions", ["category", "id"])


def downgrade() -> None:
    op.drop_index("ix_mailer_suppressions_category_id", table_name="mailer_suppressions")
    op.drop_index("ix_mailer_suppressions_origin_id", table_name="mailer_suppressions")
    op.drop_table("mailer_acts")
