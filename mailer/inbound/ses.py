"""Amazon SES: what its notifications and its event publishing say, as SNS carries them.

https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html and
.../event-publishing-retrieving-sns-contents.html: the same but for the name of the type.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from . import documents, told
from .told import Heard

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


class _Bounce(documents.Document):
    bounceType: str  # noqa: N815
    bounceSubType: str = ""  # noqa: N815
    bouncedRecipients: list[_Recipient]  # noqa: N815
    timestamp: Any = None
    feedbackId: str = ""  # noqa: N815


class _Complaint(documents.Document):
    complainedRecipients: list[_Recipient]  # noqa: N815
    timestamp: Any = None
    feedbackId: str = ""  # noqa: N815
    complaintFeedbackType: str | None = None  # noqa: N815


class _Delivery(documents.Document):
    recipients: list[str]
    timestamp: Any = None
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


def _bounced(mail: _Mail, bounce: _Bounce) -> list[told.Told]:
    return [
        told.make(
            "bounced",
            SOURCE,
            f"{bounce.feedbackId or mail.messageId}:bounced:{one.emailAddress}",
            message_id=_message_id(mail),
            reference=mail.messageId,
            recipients=[one.emailAddress],
            occurred_at=told.instant(bounce.timestamp),
            permanent=bounce.bounceType == "Permanent",
            code=told.code_in(one.diagnosticCode),
            enhanced=told.enhanced_in(one.status) or told.enhanced_in(one.diagnosticCode),
            words=one.diagnosticCode or bounce.bounceSubType,
        )
        for one in bounce.bouncedRecipients
    ]


def _complained(mail: _Mail, complaint: _Complaint) -> list[told.Told]:
    # Of several recipients with the same provider SES names all of them: who of them complained, it
    # was not told. Ours are one to a message.
    return [
        told.make(
            "complained",
            SOURCE,
            f"{complaint.feedbackId or mail.messageId}:complained:{one.emailAddress}",
            message_id=_message_id(mail),
            reference=mail.messageId,
            recipients=[one.emailAddress],
            occurred_at=told.instant(complaint.timestamp),
            words=complaint.complaintFeedbackType or "",
        )
        for one in complaint.complainedRecipients
    ]


def _delivered(mail: _Mail, delivery: _Delivery) -> list[told.Told]:
    return [
        told.make(
            "delivered",
            SOURCE,
            f"{mail.messageId}:delivered:{recipient}",
            message_id=_message_id(mail),
            reference=mail.messageId,
            recipients=[recipient],
            occurred_at=told.instant(delivery.timestamp),
            code=told.code_in(delivery.smtpResponse),
            enhanced=told.enhanced_in(delivery.smtpResponse),
            words=delivery.smtpResponse,
        )
        for recipient in delivery.recipients
    ]


def _message_id(mail: _Mail) -> str | None:
    named = (one.value for one in mail.headers if one.name.lower() == "message-id")
    return mail.commonHeaders.messageId or next(named, None)
