"""Lanes that are paused, and when the ledger was last swept"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
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
    op.create_table(
        "mailer_sweeps",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("swept_at", sa.Double(), nullable=False),
        sa.Column("scheduled_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mailer_sweeps")),
    )
    # As if swept just now: a scheduler that has yet to start is not missed at once.
    if op.get_bind().dialect.name == "sqlite":
        clock = "(julianday('now') - 2440587.5) * 86400.0"
    else:
        clock = "extract(epoch from statement_timestamp())::double precision"
    now = sa.literal_column(clock, sa.Double)
    sweeps = sa.table("mailer_sweeps", *map(sa.column, ("id", "swept_at", "scheduled_at")))
    op.execute(sa.insert(sweeps).values(id=1, swept_at=now, scheduled_at=now))


def downgrade() -> None:
    op.drop_table("mailer_sweeps")
    op.drop_index("ix_mailer_lane_switches_newest", table_name="mailer_lane_switches")
    op.drop_table("mailer_lane_switches")
