"""Amazon SES: what its notifications and its event publishing say, as SNS carries them.

https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html and
.../event-publishing-retrieving-sns-contents.html: the same but for the name of the type.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from . import documents, told
from .told import Heard, Kind, Told

SOURCE = "ses"


class _Header(documents.Document):
    name: str = ""
    value: str = ""


class _CommonHeaders(documents.Document):
    messageId: str | None = None  # noqa: N815 - theirs, as all below


class _Mail(documents.Document):
    messageId: str  # noqa: N815
    """SES's own, which it also says in its reply to the message."""
    headers: list[_Header] = Field(default_factory=list)
    commonHeaders: _CommonHeaders = _CommonHeaders()  # noqa: N815
    """With the Message-ID that we gave; SES puts its own in its place."""


class _Recipient(documents.Document):
    emailAddress: str  # noqa: N815
    status: str | None = None
    diagnosticCode: str | None = None  # noqa: N815


class _Part(documents.Document):
    """What an event is about."""

    timestamp: Any = None
    feedbackId: str = ""  # noqa: N815
    """Of bounces and complaints."""


class _Bounce(_Part):
    bounceType: str  # noqa: N815
    bounceSubType: str = ""  # noqa: N815
    bouncedRecipients: list[_Recipient]  # noqa: N815


class _Complaint(_Part):
    complainedRecipients: list[_Recipient]  # noqa: N815
    complaintFeedbackType: str | None = None  # noqa: N815


class _Delivery(_Part):
    recipients: list[str]
    smtpResponse: str = ""  # noqa: N815


class _Event(documents.Document):
    notificationType: str | None = None  # noqa: N815
    eventType: str | None = None  # noqa: N815
    mail: _Mail | None = None
    bounce: _Bounce | None = None
    complaint: _Complaint | None = None
    delivery: _Delivery | None = None


_VALIDATED = "Successfully validated SNS topic"


def read(message: str) -> Heard:
    """Read the ``Message`` of a notification. Raises NotAReport."""
    if message.startswith(_VALIDATED):  # SES tries a topic out when it is chosen
        return Heard([], ignored=1)
    event = documents.checked(_Event, documents.loads(message))
    if event.mail is None:
        return Heard([], ignored=1)
    match event.notificationType or event.eventType:
        case "Bounce" if event.bounce:
            return Heard(_bounced(event.mail, event.bounce))
        case "Complaint" if event.complaint:
            return Heard(_complained(event.mail, event.complaint))
        case "Delivery" if event.delivery:
            return Heard(_delivered(event.mail, event.delivery))
    return Heard([], ignored=1)  # sends, delays, opens, clicks


def _bounced(mail: _Mail, bounce: _Bounce) -> list[Told]:
    return [
        _told(
            "bounced",
            mail,
            bounce,
            one.emailAddress,
            permanent=bounce.bounceType == "Permanent",
            code=told.code_in(one.diagnosticCode),
            enhanced=told.enhanced_in(one.status) or told.enhanced_in(one.diagnosticCode),
            words=one.diagnosticCode or bounce.bounceSubType,
        )
        for one in bounce.bouncedRecipients
    ]


def _complained(mail: _Mail, complaint: _Complaint) -> list[Told]:
    # Of several recipients with the same provider SES names all of them: who of them complained, it
    # was not told. Ours are one to a message.
    words = complaint.complaintFeedbackType or ""
    return [
        _told("complained", mail, complaint, one.emailAddress, words=words)
        for one in complaint.complainedRecipients
    ]


def _delivered(mail: _Mail, delivery: _Delivery) -> list[Told]:
    said = delivery.smtpResponse
    code, enhanced = told.code_in(said), told.enhanced_in(said)
    return [
        _told("delivered", mail, delivery, one, code=code, enhanced=enhanced, words=said)
        for one in delivery.recipients
    ]


def _told(kind: Kind, mail: _Mail, part: _Part, address: str, **said: Any) -> Told:
    return told.make(
        kind,
        SOURCE,
        f"{part.feedbackId or mail.messageId}:{kind}:{address}",
        message_id=_message_id(mail),
        reference=mail.messageId,
        recipients=[address],
        occurred_at=told.instant(part.timestamp),
        **said,
    )


def _message_id(mail: _Mail) -> str | None:
    named = (one.value for one in mail.headers if one.name.lower() == "message-id")
    return mail.commonHeaders.messageId or next(named, None)
