"""Jobs"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_IS_OPEN = sa.text("status IN ('queued', 'running')")
_IS_WAITING_AGAIN = sa.text("status = 'queued' AND stage IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "mailer_jobs",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(length=120), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("wanted", sa.String(length=10), nullable=True),
        sa.Column("cursor", sa.BigInteger(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("words", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("claim", sa.String(length=36), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_mailer_jobs"),
    )
    op.create_index(
        "ix_mailer_jobs_open",
        "mailer_jobs",
        ["id"],
        sqlite_where=_IS_OPEN,
        postgresql_where=_IS_OPEN,
    )
    op.create_index(
        "ix_mailer_deliveries_deferred",
        "mailer_deliveries",
        ["id"],
        sqlite_where=_IS_WAITING_AGAIN,
        postgresql_where=_IS_WAITING_AGAIN,
    )


def downgrade() -> None:
    op.drop_index("ix_mailer_deliveries_deferred", table_name="mailer_deliveries")
    op.drop_table("mailer_jobs")
