"""Emails and deliveries, as the HTTP API shows and changes them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from email.utils import formataddr
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from ...composition import message_id
from ...content import Address
from .base import Answer, Body, Instant, Shown
from .sending import Tag

# Of an email with several recipients, the first of these that one of them is in.
_EVENTS = {
    "failed": "failed",
    "bounced": "bounced",
    "complained": "complained",
    "unknown": "unknown",
    "suppressed": "suppressed",
    "expired": "expired",
    "cancelled": "canceled",
    "deferred": "delivery_delayed",
    "sending": "queued",
    "queued": "queued",
    "scheduled": "scheduled",
    "sent": "sent",
    "delivered": "delivered",
}
LAST_EVENTS = frozenset(_EVENTS.values())


class Reschedule(Body):
    """Another time for an email that is scheduled."""

    id: str | None = None
    """Resend's Python SDK says it twice; the address counts."""
    scheduled_at: Annotated[Instant, Field(examples=["in 1 hour"])]
    """The new time: ISO 8601 with a time zone, or such as `in 1 hour`."""


class Changed(Answer):
    """An email that was moved."""

    object: Literal["email"] = "email"
    id: str


class Email(Answer):
    """An email. Addresses are as a header has them; ``bcc`` is empty, because each is a delivery
    of its own that stands nowhere else."""

    object: Literal["email"] = "email"
    id: str
    message_id: Annotated[
        str, Field(examples=["<019a5c1e-7c3a-7cc0-8a53-8a6a1d0d7d5e@shop.example.com>"])
    ]
    """The header Message-ID, equal on every attempt."""
    from_: str = Field(alias="from", examples=["Shop <orders@shop.example.com>"])
    to: Annotated[list[str], Field(examples=[["ada@example.com"]])]
    cc: Annotated[list[str], Field(examples=[[]])]
    bcc: Annotated[list[str], Field(examples=[[]])] = []
    reply_to: Annotated[list[str], Field(examples=[[]])]
    created_at: Shown
    scheduled_at: Annotated[Shown, Field(examples=[""])]
    subject: Annotated[str, Field(examples=["Your order"])]
    html: Annotated[str, Field(examples=["<p>Thank you!</p>"])]
    text: Annotated[str, Field(examples=["Thank you!"])]
    template: str
    """Its name; empty: none."""
    lane: Annotated[str, Field(examples=["default"])]
    category: str
    """What recipients may unsubscribe from; empty: nothing."""
    tags: list[Tag]
    last_event: Annotated[str, Field(examples=["sent"])]
    """`queued`, `scheduled`, `delivery_delayed`, `sent`, `failed`, `unknown`, `expired`,
    `suppressed` or `canceled`; of several recipients the worst."""
    test: bool
    """Sent with a test key: it goes to no recipient."""

    @classmethod
    def of(cls, row: Any, states: Sequence[str], *, scheduled_at: datetime | None = None) -> Self:
        """Return an `Email` of the ledger; ``states``: its deliveries', or what was reported."""
        addresses = {
            name: [Address(*pair) for pair in pairs] for name, pairs in row.addresses.items()
        }
        (sender,) = addresses["from"]
        return cls.model_validate(
            {
                "id": row.id,
                "message_id": f"<{message_id(row.id, sender)}>",
                "from": _mailbox(sender),
                "to": [_mailbox(one) for one in addresses["to"]],
                "cc": [_mailbox(one) for one in addresses["cc"]],
                "reply_to": [_mailbox(one) for one in addresses["reply_to"]],
                "created_at": row.created_at,
                "scheduled_at": scheduled_at,
                "subject": row.subject or "",
                "html": row.html or "",
                "text": row.text or "",
                "template": row.template or "",
                "lane": row.lane,
                "category": row.category or "",
                "tags": [{"name": name, "value": value} for name, value in row.tags.items()],
                "test": row.is_test,
                "last_event": _last_event(states),
            }
        )


class Attempt(Answer):
    """One try, and what the server said."""

    number: int
    """From 1."""
    ended_at: Shown
    seconds: Annotated[float, Field(examples=[0.042])]
    """How long it took; 0: nobody knows."""
    outcome: Annotated[str, Field(examples=["sent"])]
    transport: Annotated[str, Field(examples=["primary"])]
    """By which way it was sent."""
    stage: Annotated[str, Field(examples=["message"])]
    """How far the conversation came."""
    code: Annotated[int, Field(examples=[250])]
    """Of SMTP; 0: no reply was heard."""
    enhanced: Annotated[str, Field(examples=["2.0.0"])]
    """The code of RFC 3463, such as `5.1.1`."""
    words: Annotated[str, Field(examples=["2.0.0 Ok: queued as 4F2A"])]
    """What the server said."""


class Report(Answer):
    """What a mail system said after it had taken the copy."""

    kind: Literal["delivered", "bounced", "complained"]
    received_at: Shown
    occurred_at: Shown
    """By the clock of the source."""
    source: str
    recipient: str
    """Another one than the delivery's when the mail was passed on."""
    permanent: bool
    """The address is at fault, and will be at the next email."""
    code: int
    """Of SMTP; 0: none was told."""
    enhanced: str
    words: str

    @classmethod
    def of(cls, row: Any) -> Self:
        """Return a `Report` of the ledger."""
        return cls(
            kind=row.kind,
            received_at=row.received_at,
            occurred_at=row.occurred_at,
            source=row.source,
            recipient=row.recipient,
            permanent=row.permanent,
            code=row.code or 0,
            enhanced=row.enhanced or "",
            words=row.words or "",
        )


class Delivery(Answer):
    """What became of one recipient's copy."""

    object: Literal["delivery"] = "delivery"
    recipient: Annotated[str, Field(examples=["ada@example.com"])]
    state: Annotated[str, Field(examples=["sent"])]
    due_at: Annotated[Shown, Field(examples=[""])]
    """When it is tried next."""
    reason: str
    """Why it is in this state."""
    attempts: list[Attempt]
    reports: list[Report]

    @classmethod
    def of(cls, row: Any, attempts: Sequence[Any], reports: Sequence[Any]) -> Self:
        """Return a `Delivery` of the ledger."""
        return cls(
            recipient=row.recipient,
            state=row.state,
            due_at=row.due_at if row.state in {"queued", "deferred", "scheduled"} else None,
            reason=row.reason or "",
            attempts=[
                Attempt(
                    number=one.number,
                    ended_at=one.ended_at,
                    seconds=round(one.seconds or 0, 6),
                    outcome=one.outcome,
                    transport=one.transport or "",
                    stage=one.stage or "",
                    code=one.code or 0,
                    enhanced=one.enhanced or "",
                    words=one.words or "",
                )
                for one in attempts
            ],
            reports=[Report.of(one) for one in reports],
        )


def _last_event(states: Sequence[str]) -> str:
    """Return what an email with deliveries in these states is told as."""
    return next((event for state, event in _EVENTS.items() if state in states), "queued")


def _mailbox(address: Address) -> str:
    return formataddr(address) if address.name else address.email
