"""Mailgun: its webhooks, one event each. Of a webhook, only time and token are signed.

https://documentation.mailgun.com/docs/mailgun/user-manual/events/webhooks
"""

from __future__ import annotations

import hmac
from typing import Any

from pydantic import Field

from ..errors import NotAuthentic
from . import bounce, documents, told
from .told import Heard

SOURCE = "mailgun"
TOLERANCE_SECONDS = 90_000
"""It tries for 8 hours. A token is good for one report."""


class _Signature(documents.Document):
    timestamp: str = Field(max_length=20, coerce_numbers_to_str=True)
    token: str = Field(min_length=16, max_length=100)
    signature: str = Field(max_length=200)


class _Status(documents.Document):
    code: int | None = None
    enhanced: str = Field(default="", alias="enhanced-code")
    message: str | None = None
    description: str | None = None


class _Message(documents.Document):
    headers: dict[str, Any] = Field(default_factory=dict)


class _Event(documents.Document):
    event: str
    id: str = ""
    timestamp: Any = None
    recipient: str = ""
    severity: str = ""
    reason: str = ""
    status: _Status = Field(default_factory=_Status, alias="delivery-status")
    message: _Message = _Message()


class Posted(documents.Document):
    """What was posted."""

    signature: _Signature
    event: Any = Field(alias="event-data")


def parse(raw: bytes) -> Posted:
    """Return what was posted; nothing is proven yet. Raises NotAReport."""
    return documents.checked(Posted, documents.loads(raw))


def check(posted: Posted, *, key: str, now: float) -> None:
    """Raise NotAuthentic unless it was signed not too long ago."""
    given = posted.signature
    signed = f"{given.timestamp}{given.token}".encode(errors="replace")
    expected = hmac.new(key.encode(), signed, "sha256").hexdigest().encode()
    if not hmac.compare_digest(expected, given.signature.encode(errors="replace")):
        raise NotAuthentic("signature: it is not that of this time and token")
    if not given.timestamp.isdecimal() or abs(now - float(given.timestamp)) > TOLERANCE_SECONDS:
        raise NotAuthentic(f"timestamp: expected a time of today, got {given.timestamp!r}")


def read(posted: Posted) -> Heard:
    """Read the event of a webhook that was checked. Raises NotAReport."""
    event = documents.checked(_Event, posted.event)
    kind: told.Kind
    match event.event:
        case "delivered":
            kind = "delivered"
        case "complained":
            kind = "complained"
        case "failed" if event.severity == "permanent":
            kind = "bounced"
        case _:  # opens, clicks, and what Mailgun tries again
            return Heard([], ignored=1)
    status = event.status
    words = status.message or status.description or event.reason
    enhanced = told.enhanced_in(status.enhanced) or told.enhanced_in(words)
    one = told.make(
        kind,
        SOURCE,
        event.id,
        once=posted.signature.token,
        message_id=_message_id(event),
        recipients=[event.recipient],
        occurred_at=told.instant(event.timestamp),
        permanent=kind == "bounced" and _is_address(event, enhanced),
        code=status.code,
        enhanced=enhanced,
        words=words,
    )
    return Heard([one])


def _is_address(event: _Event, enhanced: str | None) -> bool:
    """Say whether the address is at fault: `old` and `generic` are about the way."""
    if event.reason == "suppress-bounce":  # it had bounced before
        return True
    return event.reason == "bounce" and bounce.is_permanent(event.status.code, enhanced)


def _message_id(event: _Event) -> str | None:
    found = event.message.headers.get("message-id")
    return found if isinstance(found, str) else None
