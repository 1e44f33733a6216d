"""Events: what happened to emails, as each webhook is to be told."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..expressions import now
from ..models import Event, Webhook


class Note(NamedTuple):
    """Something that happened to an email, or to one delivery of it."""

    type: str
    """Such as ``email.sent``."""
    email_id: str
    delivery_id: int | None = None
    details: dict[str, Any] = {}  # noqa: RUF012 - never changed
    """What will not be known later: codes and words, a time."""


# The lock keeps a webhook from being deleted before the commit, and is in nobody else's way.
_LISTENING = (
    sa.select(Webhook.id, Webhook.events)
    .where(Webhook.disabled_at.is_(None))
    .with_for_update(read=True, key_share=True)
)


def note(connection: sa.Connection, notes: Sequence[Note]) -> None:
    """Store each for every webhook that wants its type, within the transaction that makes it
    true."""
    listening = connection.execute(_LISTENING).all()
    values = [
        {
            "id": f"msg_{uuid.uuid4().hex}",
            "webhook_id": webhook.id,
            "type": one.type,
            "email_id": one.email_id,
            "delivery_id": one.delivery_id,
            "details": one.details,
        }
        for webhook in listening
        for one in notes
        if one.type in webhook.events
    ]
    if values:
        pending = sa.insert(Event).values(status="pending", attempts=0, at=now(), due_at=now())
        connection.execute(pending, values)
