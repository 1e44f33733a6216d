"""Postmark: its webhooks for bounces, spam complaints and deliveries.

https://postmarkapp.com/developer/webhooks/bounce-webhook. It knows a message by an id of its own
only, so that each message says which email it is in a header, which comes back as metadata.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ..errors import NotAReport
from . import documents, told
from .told import Heard

SOURCE = "postmark"

_METADATA = told.POSTMARK_HEADER.removeprefix("X-PM-Metadata-")

# https://postmarkapp.com/developer/api/bounce-api#bounce-types: the types by which Postmark itself
# sends no more to the address.
_PERMANENT = frozenset({"HardBounce", "BadEmailAddress", "ManuallyDeactivated"})
_COMPLAINT = "SpamComplaint"
# Delays, and what mailboxes answer by themselves.
_NO_END = frozenset(
    {
        "Transient",
        "AutoResponder",
        "AddressChange",
        "ChallengeVerification",
        "Subscribe",
        "Unsubscribe",
        "OpenRelayTest",
        "TemplateRenderingFailed",
    }
)


class _Event(documents.Document):
    RecordType: str
    ID: int | None = None
    Type: str = ""
    MessageID: str = ""
    Metadata: dict[str, Any] = Field(default_factory=dict)
    Email: str = ""
    """Of bounces and complaints."""
    Recipient: str = ""
    """Of deliveries."""
    Description: str = ""
    Details: str = ""
    BouncedAt: Any = None
    DeliveredAt: Any = None


def read(raw: bytes) -> Heard:
    """Read what was posted. Raises NotAReport."""
    event = documents.checked(_Event, documents.loads(raw))
    match event.RecordType:
        case "Delivery":
            return Heard([_delivered(event)])
        case "Bounce" if event.Type not in _NO_END:
            return Heard([_failed(event, "complained" if event.Type == _COMPLAINT else "bounced")])
        case "SpamComplaint":
            return Heard([_failed(event, "complained")])
    return Heard([], ignored=1)  # opens, clicks, changes of subscriptions


def _delivered(event: _Event) -> told.Told:
    if not event.MessageID:
        raise NotAReport("MessageID: expected an id, got none")
    return told.make(
        "delivered",
        SOURCE,
        f"{event.MessageID}:delivered:{event.Recipient}",
        message_id=_email_id(event),
        recipients=[event.Recipient],
        occurred_at=told.instant(event.DeliveredAt),
        code=told.code_in(event.Details),
        enhanced=told.enhanced_in(event.Details),
        words=event.Details,
    )


def _failed(event: _Event, kind: told.Kind) -> told.Told:
    if event.ID is None:
        raise NotAReport("ID: expected a number, got none")
    return told.make(
        kind,
        SOURCE,
        f"{event.ID}:{kind}",
        message_id=_email_id(event),
        recipients=[event.Email],
        occurred_at=told.instant(event.BouncedAt),
        permanent=kind == "bounced" and event.Type in _PERMANENT,
        code=told.code_in(event.Details),
        enhanced=told.enhanced_in(event.Details),
        words=event.Details or event.Description,
    )


def _email_id(event: _Event) -> str | None:
    return next(
        (str(value) for name, value in event.Metadata.items() if name.lower() == _METADATA), None
    )
