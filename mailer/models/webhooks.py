"""Webhooks, and what each is to be told."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from .base import WHERE, Base, Instant, Json, RowId
from .emails import Delivery, Email

IS_PENDING = sa.text("status = 'pending'")
IS_FAILED = sa.text("status = 'failed'")


class Webhook(Base):
    """An address that is told what becomes of emails."""

    __tablename__ = "mailer_webhooks"

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    """A UUIDv7."""
    url: Mapped[str] = mapped_column(sa.Text)
    events: Mapped[list[str]] = mapped_column(Json)
    """Types such as ``email.sent``."""
    secret: Mapped[str] = mapped_column(sa.String(100))
    """``whsec_`` and base64: what signs (Standard Webhooks)."""
    previous_secret: Mapped[str | None] = mapped_column(sa.String(100))
    """Signs as well until ``previous_until``, after a rotation."""
    previous_until: Mapped[datetime | None] = mapped_column(Instant)
    created_at: Mapped[datetime] = mapped_column(Instant)
    failing_since: Mapped[datetime | None] = mapped_column(Instant)
    """When its first failure since its last success was."""
    failures: Mapped[int] = mapped_column(default=0)
    """How many there were since then."""
    rests_until: Mapped[datetime | None] = mapped_column(Instant)
    """It asked for a pause, or fails again and again: it is told nothing before."""
    disabled_at: Mapped[datetime | None] = mapped_column(Instant)
    """None: it is told."""
    disabled_reason: Mapped[str | None] = mapped_column(sa.Text)


class Event(Base):
    """What one webhook is to be told, and whether it was."""

    __tablename__ = "mailer_events"

    id: Mapped[str] = mapped_column(sa.String(40), primary_key=True)
    """``msg_`` and 32 hexadecimal digits, of which 12 are the time in milliseconds: the
    ``webhook-id``, equal at each attempt."""
    webhook_id: Mapped[str] = mapped_column(sa.ForeignKey(Webhook.id, ondelete="CASCADE"))
    type: Mapped[str] = mapped_column(sa.String(40))
    """Such as ``email.sent``."""
    at: Mapped[datetime] = mapped_column(Instant)
    email_id: Mapped[str] = mapped_column(sa.ForeignKey(Email.id, ondelete="CASCADE"), index=True)
    delivery_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey(Delivery.id, ondelete="CASCADE"), index=True
    )
    """None: it is about the email as a whole."""
    details: Mapped[dict[str, Any]] = mapped_column(Json)
    """What was true then: the code and the words of a server, the time it is scheduled for."""
    status: Mapped[str] = mapped_column(sa.String(10))
    """``pending``, ``delivered`` or ``failed``."""
    attempts: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[datetime] = mapped_column(Instant)
    """When it is tried next. A claim moves it to the end of its lease."""
    tried_until: Mapped[datetime] = mapped_column(Instant)
    """A failure after this is the last one."""
    claim: Mapped[str | None] = mapped_column(sa.String(36))

    __table_args__ = (
        sa.Index(
            "ix_mailer_events_due",
            "webhook_id", "due_at", "id",
            info={WHERE: IS_PENDING},
        ),
        sa.Index(
            "ix_mailer_events_failed",
            "webhook_id", "status", "id",  # the status, or SQLite takes the index below
            info={WHERE: IS_FAILED},
        ),
        sa.Index("ix_mailer_events_webhook_id_id", "webhook_id", "id"),
    )  # fmt: skip


class EventAttempt(Base):
    """One try to tell a webhook, and what it answered."""

    __tablename__ = "mailer_event_attempts"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    event_id: Mapped[str] = mapped_column(sa.ForeignKey(Event.id, ondelete="CASCADE"), index=True)
    number: Mapped[int]
    ended_at: Mapped[datetime] = mapped_column(Instant)
    code: Mapped[int | None]
    """Of HTTP; None when there was no answer."""
    words: Mapped[str] = mapped_column(sa.Text)
    """The beginning of the answer, or why there was none."""
    milliseconds: Mapped[int]
