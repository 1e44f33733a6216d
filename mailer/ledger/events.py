"""Events: what happened to emails, as each webhook is to be told."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..expressions import now
from ..models import Event, Status, Webhook
from ..outcome import Outcome
from ..prepared import Prepared

TRIED_FOR_SECONDS = 5 * 86_400.0
"""How long it is tried to tell an event."""

TYPES = (
    "email.queued",
    "email.scheduled",
    "email.sent",
    "email.delivery_delayed",
    "email.delivered",
    "email.bounced",
    "email.complained",
    "email.failed",
    "email.suppressed",
    "email.canceled",
    "email.expired",
    "email.unknown",
)
"""All that a webhook can be told."""

TYPE_OF = {
    Status.QUEUED: "email.delivery_delayed",
    Status.SENT: "email.sent",
    Status.FAILED: "email.failed",
    Status.UNKNOWN: "email.unknown",
    Status.EXPIRED: "email.expired",
    Status.CANCELLED: "email.canceled",
    Status.SUPPRESSED: "email.suppressed",
}
"""What it is called that a delivery came into a state."""

Listening = Sequence[tuple[str, str]]
"""Id and types, as JSON, of each webhook that is told."""

_NOTED = "mailer_noted"


class Note(NamedTuple):
    """Something that happened to an email, or to one delivery of it."""

    type: str
    """Such as ``email.sent``."""
    email_id: str
    delivery_id: int | None = None
    details: Mapping[str, Any] = {}
    """What will not be known later: codes and words, a time."""


# The lock keeps a webhook from being deleted before the commit, and is in nobody else's way.
_LISTENING = Prepared(
    sa.select(Webhook.id, Webhook.events)
    .where(Webhook.disabled_at.is_(None))
    .with_for_update(read=True, key_share=True)
)
_INSERT = Prepared(
    sa.insert(Event).values(
        status="pending", attempts=0, at=now(), due_at=now(), tried_until=now() + TRIED_FOR_SECONDS
    ),
    ("id", "webhook_id", "type", "email_id", "delivery_id", "details"),
)


def listening(connection: sa.Connection) -> Listening:
    """Return who is told of events: mostly nobody, and then there is nothing to note."""
    return _LISTENING.rows(connection, {})


def note(
    connection: sa.Connection, notes: Sequence[Note], webhooks: Listening | None = None
) -> None:
    """Store each for every webhook that wants its type, within the transaction that makes it
    true. ``webhooks``: what `listening` returned in this transaction, when that was asked."""
    if webhooks is None:
        webhooks = listening(connection) if notes else ()
    wanted = [(webhook_id, frozenset(json.loads(types))) for webhook_id, types in webhooks]
    values = [
        {
            "id": new_id(position),
            "webhook_id": webhook_id,
            "type": one.type,
            "email_id": one.email_id,
            "delivery_id": one.delivery_id,
            "details": dict(one.details),
        }
        for position, one in enumerate(notes)
        for webhook_id, types in wanted
        if one.type in types
    ]
    if values:
        _INSERT.run(connection, values)
        noted(connection)


def noted(connection: sa.Connection) -> None:
    """Say that this transaction stored events."""
    connection.info[_NOTED] = True


def was_noted(connection: sa.Connection) -> bool:
    """Say whether events were stored since this was asked last: whoever tells is to be woken,
    after the commit."""
    return bool(connection.info.pop(_NOTED, False))


def details(outcome: Outcome, attempt: int) -> dict[str, Any]:
    """Return what is told of an attempt that did not end well."""
    known = {"code": outcome.code, "enhanced": outcome.enhanced, "attempt": attempt}
    return {
        "words": outcome.words,
        **{name: value for name, value in known.items() if value is not None},
    }


def accepted(email_id: str, send_at: datetime | None, created_at: datetime) -> Note:
    """Return that an email was accepted."""
    if send_at is None or send_at <= created_at:
        return Note("email.queued", email_id)
    return scheduled(email_id, send_at)


def scheduled(email_id: str, send_at: datetime) -> Note:
    """Return that an email is to be sent at ``send_at``."""
    return Note("email.scheduled", email_id, details={"scheduled_at": written(send_at)})


def written(instant: datetime) -> str:
    """Return an instant as events have it."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_id(position: int) -> str:
    """Return a random id whose text sorts by time of creation, and then by its position among
    others of the same moment."""
    return f"{first_id(time.time())}{min(position, 0xFFFF):04x}{os.urandom(8).hex()}"


def first_id(instant: float) -> str:
    """Return how the ids of that millisecond begin."""
    return f"msg_{max(0, int(instant * 1000)):012x}"
