"""Emails, their deliveries, and what happened to these."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .base import WHERE, Base, Instant, Json, RowId

LANES = ("critical", "default", "bulk")
"""Queues with their own workers, the most urgent first."""

ON_UNKNOWN = ("resend", "hold")
"""What to do when nobody knows whether an email arrived: send it again, or ask a person."""


class Status(enum.StrEnum):
    """States of a delivery. The transitions are in docs/architecture.md."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    SUPPRESSED = "suppressed"


OPEN = frozenset({Status.QUEUED, Status.SENDING})
"""States in which something still happens by itself; the others are final."""

RETRYABLE = frozenset(Status) - OPEN - {Status.SENT}
"""Final states from which ops can open a delivery again."""

REPORTED = ("delivered", "bounced", "complained")
"""What mail systems report of a delivery that they took."""

# The conditions of the partial indexes. A query that is to use one says it in the same words: the
# planner does not see through bound values.
IS_QUEUED = sa.text("status = 'queued'")
IS_SENDING = sa.text("status = 'sending'")
IS_TROUBLE = sa.text("status NOT IN ('queued', 'sending', 'sent')")
_IS_EXPIRING = sa.text("status = 'queued' AND expires_at IS NOT NULL")
IS_WAITING_AGAIN = sa.text("status = 'queued' AND stage IS NOT NULL")
"""After an attempt; due by now or not."""
_IS_REPORTED = sa.text("reported IS NOT NULL")
IS_TEST = sa.text("is_test")
HAS_CONTENT = sa.text(
    "erased_at IS NULL AND (context IS NOT NULL OR text IS NOT NULL OR html IS NOT NULL"
    " OR has_attachments)"
)


class Email(Base):
    """What to send, once. After it was accepted, only erasing changes it."""

    __tablename__ = "mailer_emails"

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    """A UUIDv7: sorts by time of acceptance; also the left half of the Message-ID."""
    created_at: Mapped[datetime] = mapped_column(Instant)
    """Also the Date header."""
    lane: Mapped[str] = mapped_column(sa.String(40))
    template: Mapped[str | None] = mapped_column(sa.String(100))
    locale: Mapped[str | None] = mapped_column(sa.String(40))
    context: Mapped[dict[str, Any] | None] = mapped_column(Json)
    """Erased once every delivery is sent, or with the rest of the content."""
    subject: Mapped[str | None] = mapped_column(sa.Text)
    text: Mapped[str | None] = mapped_column(sa.Text)
    html: Mapped[str | None] = mapped_column(sa.Text)
    addresses: Mapped[dict[str, Any]] = mapped_column(Json)
    """``{"from": [[name, email]], "to": [[name, email], ...], "cc": ..., "reply_to": ...}``"""
    headers: Mapped[dict[str, str]] = mapped_column(Json)
    tags: Mapped[dict[str, str]] = mapped_column(Json)
    has_attachments: Mapped[bool]
    on_unknown: Mapped[str] = mapped_column(sa.String(10))
    """``resend`` or ``hold``: what to do when the outcome of an attempt cannot be known."""
    expires_at: Mapped[datetime | None] = mapped_column(Instant)
    idempotency_key: Mapped[str | None] = mapped_column(sa.String(256), unique=True)
    fingerprint: Mapped[str | None] = mapped_column(sa.String(64))
    """SHA-256 of the content, kept with an idempotency key."""
    erased_at: Mapped[datetime | None] = mapped_column(Instant)
    """When context, text, html and attachments were erased: it cannot be sent any more."""
    category: Mapped[str | None] = mapped_column(sa.String(64))
    """What recipients may unsubscribe from, such as ``newsletter``; None: nothing."""
    is_test: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    """Accepted with a test key: it goes to no recipient."""
    request_id: Mapped[str | None] = mapped_column(sa.String(64))
    """``X-Request-Id`` of the request that dispatched it."""
    accepted_by: Mapped[str | None] = mapped_column(sa.String(200))
    """Such as ``api key NAME``, ``POST /signup`` or ``task NAME``; None: nothing is known."""
    traceparent: Mapped[str | None] = mapped_column(sa.String(55))
    """The span of OpenTelemetry that dispatched it (W3C Trace Context)."""

    deliveries: Mapped[list[Delivery]] = relationship(
        back_populates="email", order_by="Delivery.id", viewonly=True
    )

    __table_args__ = (
        sa.Index(
            "ix_mailer_emails_content",
            "id",
            info={WHERE: HAS_CONTENT},
        ),
        sa.Index(
            "ix_mailer_emails_test",
            "id",
            info={WHERE: IS_TEST},
        ),
    )

    def __repr__(self) -> str:
        return f"<Email {self.id} {self.template or 'ad hoc'}>"


class Attached(Base):
    """A file of an email, apart from it so that claims do not carry it along."""

    __tablename__ = "mailer_attachments"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    email_id: Mapped[str] = mapped_column(sa.ForeignKey(Email.id, ondelete="CASCADE"), index=True)
    filename: Mapped[str] = mapped_column(sa.Text)
    content_type: Mapped[str] = mapped_column(sa.String(200))
    content_id: Mapped[str | None] = mapped_column(sa.String(200))
    data: Mapped[bytes] = mapped_column(sa.LargeBinary)


class Delivery(Base):
    """One recipient's copy of an email, and its state."""

    __tablename__ = "mailer_deliveries"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    email_id: Mapped[str] = mapped_column(sa.ForeignKey(Email.id, ondelete="CASCADE"), index=True)
    recipient: Mapped[str] = mapped_column(sa.String(320), index=True)
    lane: Mapped[str] = mapped_column(sa.String(40))
    status: Mapped[str] = mapped_column(sa.String(10), default=Status.QUEUED)
    due_at: Mapped[datetime] = mapped_column(Instant)
    expires_at: Mapped[datetime | None] = mapped_column(Instant)
    attempts: Mapped[int] = mapped_column(default=0)
    """Attempts charged so far. Counted at the claim, so that crash loops end."""
    attempts_allowed: Mapped[int]
    crashes: Mapped[int] = mapped_column(default=0)
    """Claims whose lease ran out, one after another."""
    ambiguous: Mapped[int] = mapped_column(default=0)
    """Attempts that may have been accepted without our hearing of it."""
    claim: Mapped[str | None] = mapped_column(sa.String(36))
    lease_until: Mapped[datetime | None] = mapped_column(Instant)
    has_turn: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    """It found no room at its transport, and ``due_at`` is its turn: others line up behind it."""
    marked_at: Mapped[datetime | None] = mapped_column(Instant)
    """Only for ``hold``: committed just before the message left, so that a crash after it shows."""
    stage: Mapped[str | None] = mapped_column(sa.String(10))
    code: Mapped[int | None]
    enhanced: Mapped[str | None] = mapped_column(sa.String(12))
    reason: Mapped[str | None] = mapped_column(sa.Text)
    """The server's words, or ours, about the last attempt; None after a success."""
    updated_at: Mapped[datetime] = mapped_column(Instant)
    reported: Mapped[str | None] = mapped_column(sa.String(12))
    """The worst of what was reported of it, one of `REPORTED`."""

    email: Mapped[Email] = relationship(back_populates="deliveries", viewonly=True)

    # Partial indexes: what is finished leaves them, so claims and sweeps do not grow with history.
    __table_args__ = (
        sa.Index(
            "ix_mailer_deliveries_due",
            "lane", "due_at", "id",
            info={WHERE: IS_QUEUED},
        ),
        sa.Index(
            "ix_mailer_deliveries_expiring",
            "expires_at",
            info={WHERE: _IS_EXPIRING},
        ),
        sa.Index(
            "ix_mailer_deliveries_leased",
            "lease_until",
            info={WHERE: IS_SENDING},
        ),
        sa.Index(
            "ix_mailer_deliveries_deferred",
            "id",
            info={WHERE: IS_WAITING_AGAIN},
        ),
        sa.Index(
            "ix_mailer_deliveries_waiting_again",
            "lane", "updated_at", "due_at",
            info={WHERE: IS_WAITING_AGAIN},
        ),
        sa.Index(
            "ix_mailer_deliveries_reported",
            "reported", "id",
            info={WHERE: _IS_REPORTED},
        ),
        sa.Index(
            "ix_mailer_deliveries_trouble",
            "status", "id",
            info={WHERE: IS_TROUBLE},
        ),
    )  # fmt: skip

    def __repr__(self) -> str:
        return f"<Delivery {self.id} of {self.email_id} {self.status}>"


class Attempt(Base):
    """One numbered try, and what the server said."""

    __tablename__ = "mailer_attempts"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    delivery_id: Mapped[int] = mapped_column(
        sa.ForeignKey(Delivery.id, ondelete="CASCADE"), index=True
    )
    number: Mapped[int]
    ended_at: Mapped[datetime] = mapped_column(Instant)
    seconds: Mapped[float | None] = mapped_column(sa.Double)
    """From when the email was to be rendered until its outcome was known; of those that travelled
    at once the time of all. None: nobody knows."""
    outcome: Mapped[str] = mapped_column(sa.String(20))
    """A `mailer.outcome.Kind`, or ``crashed`` when the lease ran out."""
    status: Mapped[str] = mapped_column(sa.String(10))
    """What became of the delivery."""
    transport: Mapped[str | None] = mapped_column(sa.String(40))
    stage: Mapped[str | None] = mapped_column(sa.String(10))
    code: Mapped[int | None]
    enhanced: Mapped[str | None] = mapped_column(sa.String(12))
    words: Mapped[str | None] = mapped_column(sa.Text)


class AuditEntry(Base):
    """A transition that no attempt made: who did what to which email or delivery, and when."""

    __tablename__ = "mailer_audit"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    at: Mapped[datetime] = mapped_column(Instant)
    actor: Mapped[str] = mapped_column(sa.String(120))
    """Such as ``api key NAME``."""
    action: Mapped[str] = mapped_column(sa.String(60))
    """Such as ``rescheduled to INSTANT``."""
    delivery_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey(Delivery.id, ondelete="CASCADE"), index=True
    )
    """None: what it was about is erased."""
