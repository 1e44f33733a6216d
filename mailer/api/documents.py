"""Emails as the HTTP API shows them: never null, addresses as a header has them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from email.utils import formataddr
from typing import Any

from ..composition import message_id
from ..content import Address

# Of an email with several recipients, the first of these that one of them is in.
_EVENTS = {
    "failed": "failed",
    "unknown": "unknown",
    "suppressed": "suppressed",
    "expired": "expired",
    "cancelled": "canceled",
    "deferred": "delivery_delayed",
    "sending": "queued",
    "queued": "queued",
    "scheduled": "scheduled",
    "sent": "sent",
}


def email(
    row: Any, states: Sequence[str], *, scheduled_at: datetime | None = None
) -> dict[str, Any]:
    """Return an email; ``states`` are those of its deliveries."""
    sender = Address(*row.addresses["from"][0])
    return {
        "object": "email",
        "id": row.id,
        "message_id": f"<{message_id(row.id, sender)}>",
        "from": _shown([sender])[0],
        **{
            name: _shown([Address(*pair) for pair in row.addresses[name]])
            for name in ("to", "cc", "reply_to")
        },
        "bcc": [],  # a delivery of its own, which stands nowhere else
        "created_at": instant(row.created_at),
        "scheduled_at": instant(scheduled_at) if scheduled_at else "",
        "subject": row.subject or "",
        "html": row.html or "",
        "text": row.text or "",
        "template": row.template or "",
        "lane": row.lane,
        "tags": [{"name": name, "value": value} for name, value in row.tags.items()],
        "last_event": last_event(states),
    }


def delivery(row: Any, attempts: Sequence[Any]) -> dict[str, Any]:
    """Return what became of one recipient's copy."""
    return {
        "object": "delivery",
        "recipient": row.recipient,
        "state": row.state,
        "due_at": instant(row.due_at) if row.state in {"queued", "deferred", "scheduled"} else "",
        "reason": row.reason or "",
        "attempts": [
            {
                "number": one.number,
                "ended_at": instant(one.ended_at),
                "outcome": one.outcome,
                "transport": one.transport or "",
                "stage": one.stage or "",
                "code": one.code or 0,
                "enhanced": one.enhanced or "",
                "words": one.words or "",
            }
            for one in attempts
        ],
    }


def last_event(states: Sequence[str]) -> str:
    """Return what an email with deliveries in these states is told as."""
    return next((event for state, event in _EVENTS.items() if state in states), "queued")


def instant(value: datetime) -> str:
    return value.isoformat(timespec="milliseconds")


def _shown(mailboxes: list[Address]) -> list[str]:
    return [formataddr(one) if one.name else one.email for one in mailboxes]
