"""Bulk sends"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_IS_LEFT_OUT = sa.text("left_out IS NOT NULL")


def upgrade() -> None:
    op.add_column("mailer_jobs", sa.Column("found", sa.Text(), nullable=True))
    op.create_index("ix_mailer_jobs_created_at_id", "mailer_jobs", ["created_at", "id"])
    op.create_table(
        "mailer_bulk_parts",
        sa.Column("file_id", sa.String(length=36), nullable=False),
        sa.Column("first_line", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("lines", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("file_id", "first_line", name="pk_mailer_bulk_parts"),
    )
    op.create_table(
        "mailer_bulk_rows",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("line", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("address", sa.String(length=320), nullable=True),
        sa.Column("email_id", sa.String(length=36), nullable=True),
        sa.Column("left_out", sa.String(length=12), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("job_id", "line", name="pk_mailer_bulk_rows"),
    )
    op.create_index("ix_mailer_bulk_rows_address", "mailer_bulk_rows", ["address", "job_id"])
    op.create_index(
        "ix_mailer_bulk_rows_left_out",
        "mailer_bulk_rows",
        ["job_id", "line"],
        sqlite_where=_IS_LEFT_OUT,
        postgresql_where=_IS_LEFT_OUT,
    )


def downgrade() -> None:
    op.drop_table("mailer_bulk_rows")
    op.drop_table("mailer_bulk_parts")
    op.drop_index("ix_mailer_jobs_created_at_id", table_name="mailer_jobs")
    op.drop_column("mailer_jobs", "found")
