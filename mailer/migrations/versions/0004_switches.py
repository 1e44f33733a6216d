"""Transports are paused in the same way as lanes"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "mailer_switches",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mailer_switches")),
    )
    op.create_index(
        "ix_mailer_switches_newest", "mailer_switches", ["kind", "name", "id"], unique=False
    )
    op.execute(
        "INSERT INTO mailer_switches (at, actor, kind, name, paused)"
        " SELECT at, actor, 'lane', lane, paused FROM mailer_lane_switches ORDER BY id"
    )
    op.drop_index("ix_mailer_lane_switches_newest", table_name="mailer_lane_switches")
    op.drop_table("mailer_lane_switches")


def downgrade() -> None:
    op.create_table(
        "mailer_lane_switches",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("lane", sa.String(length=40), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mailer_lane_switches")),
    )
    op.create_index(
        "ix_mailer_lane_switches_newest", "mailer_lane_switches", ["lane", "id"], unique=False
    )
    op.execute(
        "INSERT INTO mailer_lane_switches (at, actor, lane, paused)"
        " SELECT at, actor, name, paused FROM mailer_switches WHERE kind = 'lane' ORDER BY id"
    )
    op.drop_index("ix_mailer_switches_newest", table_name="mailer_switches")
    op.drop_table("mailer_switches")
