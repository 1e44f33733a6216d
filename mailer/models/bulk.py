"""Bulk sends: the file of recipients, and what became of each of its rows."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from .base import WHERE, Base

IS_ACCEPTED = sa.text("email_id IS NOT NULL")
IS_LEFT_OUT = sa.text("left_out IS NOT NULL")
LEFT_OUT = ("bad", "duplicate", "suppressed")
"""Why a row is not mailed."""


class BulkPart(Base):
    """Some whole rows of a file that was uploaded. Erased when the send is done or stopped."""

    __tablename__ = "mailer_bulk_parts"

    file_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    """A UUIDv7; the job's details name it."""
    first_line: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    lines: Mapped[int]
    data: Mapped[bytes] = mapped_column(sa.LargeBinary)


class BulkRow(Base):
    """A row of the file: the email that was made of it, or why none was."""

    __tablename__ = "mailer_bulk_rows"

    job_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    line: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    address: Mapped[str | None] = mapped_column(sa.String(320))
    """In lower case. None: the row has none, or it was erased."""
    email_id: Mapped[str | None] = mapped_column(sa.String(36))
    """Stored by the transaction that stores the email, so that no row is mailed twice."""
    left_out: Mapped[str | None] = mapped_column(sa.String(12))
    """One of `LEFT_OUT`."""
    reason: Mapped[str | None] = mapped_column(sa.Text)

    __table_args__ = (
        sa.Index("ix_mailer_bulk_rows_address", "address", "job_id"),
        sa.Index("ix_mailer_bulk_rows_email", "email_id", "job_id", info={WHERE: IS_ACCEPTED}),
        sa.Index(
            "ix_mailer_bulk_rows_left_out",
            "job_id", "line",
            info={WHERE: IS_LEFT_OUT},
        ),
    )  # fmt: skip
