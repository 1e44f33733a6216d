"""Members of the console"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "mailer_members",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("role", sa.String(length=10), nullable=False),
        sa.Column("password_hash", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_mailer_members"),
        sa.UniqueConstraint("name", name="uq_mailer_members_name"),
    )
    op.create_table(
        "mailer_visits",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("member_id", _ROW_ID, nullable=False),
        sa.Column("begun_at", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["member_id"],
            ["mailer_members.id"],
            name="fk_mailer_visits_member_id_mailer_members",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("digest", name="pk_mailer_visits"),
    )
    op.create_index("ix_mailer_visits_member_id", "mailer_visits", ["member_id"])


def downgrade() -> None:
    op.drop_table("mailer_visits")
    op.drop_table("mailer_members")
