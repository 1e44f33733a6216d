"""Tables. Rows are written by `mailer.ledger` (and `mailer.users`) only; everybody may read them.

The table names share a prefix, so that they can live in an application's own database.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

REVISION = "0007"
"""The newest migration: the one that makes these tables."""

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


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime, stored as seconds since 1970 to compare with ``expressions.now()``."""

    impl = sa.Double
    cache_ok = True

    def process_bind_param(self, value: datetime | float | None, dialect: Any) -> float | None:
        return value.timestamp() if isinstance(value, datetime) else value

    def process_result_value(self, value: float | None, dialect: Any) -> datetime | None:
        return None if value is None else datetime.fromtimestamp(value, UTC)


_to_json = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps would make one each time


class Written(dict[str, Any]):
    """A mapping whose JSON is known: to write it once more takes 15 microseconds an email."""

    def __init__(self, value: Mapping[str, Any], written: str) -> None:
        super().__init__(value)
        self.written = written


class Json(TypeDecorator[Any]):
    """A JSON value in a text column: the same bytes in SQLite and PostgreSQL."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> str | None:
        if not value and isinstance(value, dict):  # most headers and tags: 2 microseconds each
            return "{}"
        if isinstance(value, Written):
            return value.written
        return None if value is None else _to_json(value)

    def process_result_value(self, value: str | None, dialect: Any) -> Any:
        return None if value is None else json.loads(value)


WHERE = "where"
"""Where an index has the condition that makes it a partial one. SQLAlchemy's own arguments for it
would load both dialects, of which one is 2 MB of each worker; the migrations have them."""
# The conditions of the partial indexes. A query that is to use one says it in the same words: the
# planner does not see through bound values.
IS_QUEUED = sa.text("status = 'queued'")
IS_SENDING = sa.text("status = 'sending'")
IS_TROUBLE = sa.text("status NOT IN ('queued', 'sending', 'sent')")
IS_PENDING = sa.text("status = 'pending'")
_IS_EXPIRING = sa.text("status = 'queued' AND expires_at IS NOT NULL")
IS_TEST = sa.text("is_test")
HAS_CONTENT = sa.text(
    "erased_at IS NULL AND (context IS NOT NULL OR text IS NOT NULL OR html IS NOT NULL"
    " OR has_attachments)"
)

RowId = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite numbers only INTEGER keys


class Base(DeclarativeBase):
    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
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
    """``{"from": [name, email], "to": [[name, email], ...], "cc": ..., "reply_to": ...}``"""
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


class Switch(Base):
    """Somebody paused or resumed a lane or a transport: its newest entry says which it is."""

    __tablename__ = "mailer_switches"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    at: Mapped[datetime] = mapped_column(Instant)
    actor: Mapped[str] = mapped_column(sa.String(100))
    kind: Mapped[str] = mapped_column(sa.String(10))
    """``lane`` or ``transport``."""
    name: Mapped[str] = mapped_column(sa.String(40))
    paused: Mapped[bool]

    __table_args__ = (sa.Index("ix_mailer_switches_newest", "kind", "name", "id"),)


class Sweeps(Base):
    """When the ledger was last swept: one row, which the migration made."""

    __tablename__ = "mailer_sweeps"

    id: Mapped[int] = mapped_column(sa.Integer, primary_key=True)
    swept_at: Mapped[datetime] = mapped_column(Instant)
    """By the scheduler, or by a worker in its place."""
    scheduled_at: Mapped[datetime] = mapped_column(Instant)
    """By the scheduler."""


class User(Base):
    """A person with an account of the service."""

    __tablename__ = "mailer_users"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    email: Mapped[str] = mapped_column(sa.String(320), unique=True)
    """In lower case as a whole: one person does not get two accounts by the shift key."""
    password_hash: Mapped[str] = mapped_column(sa.String(255))
    created_at: Mapped[datetime] = mapped_column(Instant)
    confirmed_at: Mapped[datetime | None] = mapped_column(Instant)


class ApiKey(Base):
    """Who may use the HTTP API, and for what. The key itself is stored nowhere."""

    __tablename__ = "mailer_api_keys"

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(100))
    digest: Mapped[str] = mapped_column(sa.String(64), unique=True)
    """SHA-256 of the key, in hexadecimal. The key has 256 random bits: there is nothing to guess
    that a slow hash would make slower."""
    scopes: Mapped[list[str]] = mapped_column(Json)
    senders: Mapped[list[str]] = mapped_column(Json)
    """Patterns such as ``*@example.com``; empty: any."""
    templates: Mapped[list[str]] = mapped_column(Json)
    """Patterns such as ``reset_*``; empty: any, and content without one."""
    recipients: Mapped[list[str]] = mapped_column(Json, server_default="[]")
    """Patterns of addresses, for staging; empty: any."""
    lane: Mapped[str | None] = mapped_column(sa.String(40))
    """The lane of all that it sends; None: as the email or its template says."""
    rate: Mapped[str | None] = mapped_column(sa.String(40))
    """How many emails it may send, such as ``100/minute``; None: any number."""
    is_test: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    created_at: Mapped[datetime] = mapped_column(Instant)
    expires_at: Mapped[datetime | None] = mapped_column(Instant)
    last_used_at: Mapped[datetime | None] = mapped_column(Instant)
    """To the minute."""
    revoked_at: Mapped[datetime | None] = mapped_column(Instant)


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

    __table_args__ = (sa.UniqueConstraint("address", "category"),)


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


class Report(Base):
    """What a mail system said of a delivery after it had taken it: it arrived, it bounced, its
    recipient complained."""

    __tablename__ = "mailer_reports"

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    """A UUIDv7."""
    kind: Mapped[str] = mapped_column(sa.String(12))
    """``delivered``, ``bounced`` or ``complained``."""
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
