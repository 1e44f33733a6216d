"""What is known of recipients: who is not to be mailed, and what mail systems reported."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from .base import Base, Instant
from .emails import Delivery


class Suppression(Base):
    """An address that is not to be mailed, at all or about one category."""

    __tablename__ = "mailer_suppressions"

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    """A UUIDv7."""
    address: Mapped[str] = mapped_column(sa.String(320))
    """In lower case as a whole."""
    category: Mapped[str] = mapped_column(sa.String(64), default="", server_default="")
    """An `Email.category`; empty: all mail."""
    origin: Mapped[str] = mapped_column(sa.String(20))
    """``bounce``, ``complaint``, ``unsubscribe`` or ``manual``."""
    words: Mapped[str | None] = mapped_column(sa.Text)
    """What the server or the person said."""
    email_id: Mapped[str | None] = mapped_column(sa.String(36))
    """The email that bounced or was complained about. It may have been deleted since."""
    created_at: Mapped[datetime] = mapped_column(Instant)

    __table_args__ = (
        sa.UniqueConstraint("address", "category"),
        sa.Index("ix_mailer_suppressions_origin_id", "origin", "id"),
        sa.Index("ix_mailer_suppressions_category_id", "category", "id"),
    )


class Report(Base):
    """What a mail system said of a delivery after it had taken it: it arrived, it bounced, its
    recipient complained."""

    __tablename__ = "mailer_reports"

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    """A UUIDv7."""
    kind: Mapped[str] = mapped_column(sa.String(12))
    """One of `REPORTED`."""
    source: Mapped[str] = mapped_column(sa.String(20))
    """``dsn``, ``ses``, ``postmark``, ``sendgrid`` or ``mailgun``."""
    source_id: Mapped[str] = mapped_column(sa.String(200))
    """What the source calls it: it is stored once, however often it is told."""
    once: Mapped[str | None] = mapped_column(sa.String(100), unique=True)
    """What proved that the source said it, where that proves one report only: Mailgun's token,
    with which whoever saw it could else sign reports of his own."""
    received_at: Mapped[datetime] = mapped_column(Instant)
    occurred_at: Mapped[datetime | None] = mapped_column(Instant)
    """By the clock of the source."""
    recipient: Mapped[str] = mapped_column(sa.String(320))
    """In lower case as a whole."""
    email_id: Mapped[str | None] = mapped_column(sa.String(36))
    """From its Message-ID, whether there is such an email or not."""
    delivery_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey(Delivery.id, ondelete="CASCADE"), index=True
    )
    """None: no delivery of ours is known to it."""
    permanent: Mapped[bool]
    """Whether another try is pointless; False of what is no bounce."""
    code: Mapped[int | None]
    enhanced: Mapped[str | None] = mapped_column(sa.String(12))
    words: Mapped[str | None] = mapped_column(sa.Text)

    __table_args__ = (sa.UniqueConstraint("source", "source_id"),)
