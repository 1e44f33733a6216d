"""Tallies"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "mailer_tallies",
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("begins_at", sa.Double(), nullable=False),
        sa.Column("lane", sa.String(length=40), nullable=False),
        sa.Column("template", sa.String(length=100), nullable=False),
        sa.Column("transport", sa.String(length=40), nullable=False),
        sa.Column("outcome", sa.String(length=10), nullable=False),
        sa.Column("code", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            *("step", "begins_at", "lane", "template", "transport", "outcome", "code"),
            name="pk_mailer_tallies",
        ),
    )
    op.create_table(
        "mailer_latencies",
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("begins_at", sa.Double(), nullable=False),
        sa.Column("lane", sa.String(length=40), nullable=False),
        sa.Column("bucket", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("step", "begins_at", "lane", "bucket", name="pk_mailer_latencies"),
    )
    tallied = op.create_table(
        "mailer_tallied",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("attempt_id", sa.BigInteger(), nullable=False),
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_mailer_tallied"),
    )
    op.bulk_insert(tallied, [{"id": 1, "attempt_id": 0, "delivery_id": 0}])


def downgrade() -> None:
    op.drop_table("mailer_tallied")
    op.drop_table("mailer_latencies")
    op.drop_table("mailer_tallies")
