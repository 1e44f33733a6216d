"""Flask-Mail's Message as the interchange type: dispatch one, or receive one that was sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import flask_mail

from .composition import Composed, message_id
from .content import Address, Attachment
from .ledger import Claimed


class Sent(flask_mail.Message):
    """What ``email_dispatched`` and ``record_messages`` see: the bytes that were really sent."""

    def __init__(
        self, claimed: Claimed, composed: Composed, attachments: Iterable[Attachment]
    ) -> None:
        addresses = claimed.email.addresses
        super().__init__(
            subject=composed.content.subject,
            recipients=_pairs(addresses["to"]),
            cc=_pairs(addresses["cc"]),
            body=composed.content.text,
            html=composed.content.html,
            sender=_pairs(addresses["from"])[0],
            reply_to=next(iter(_pairs(addresses["reply_to"])), None),
            attachments=[
                flask_mail.Attachment(file.filename, file.content_type, file.data)
                for file in attachments
            ],
            date=claimed.email.created_at.timestamp(),
            extra_headers=dict(claimed.email.headers),
        )
        self.msgId = f"<{message_id(claimed.email.id, Address(*addresses['from'][0]))}>"
        self.envelope_recipient = claimed.recipient
        """The one of the email's recipients that this copy went to."""
        self._bytes = composed.message

    def as_bytes(self) -> bytes:
        return self._bytes

    def as_string(self) -> str:
        return self._bytes.decode()


def arguments(message: flask_mail.Message) -> dict[str, Any]:
    """Return ``message`` as the arguments of ``dispatch``."""
    return {
        "to": message.recipients,
        "cc": message.cc,
        "bcc": message.bcc,
        "subject": message.subject,
        "text": message.body,
        "html": message.html,
        "sender": _sender(message.sender),
        "reply_to": message.reply_to,
        "headers": message.extra_headers,
        "attachments": [_attachment(file) for file in message.attachments],
    }


def _sender(sender: str | tuple[str, str] | None) -> str | tuple[str, str] | None:
    # Flask-Mail joins name and address without quoting: "Acme, Inc. <shop@acme.example>".
    if isinstance(sender, str) and sender.endswith(">") and '"' not in sender:
        name, _, email = sender[:-1].rpartition(" <")
        return (name, email)
    return sender


def _attachment(file: flask_mail.Attachment) -> Attachment:
    data = file.data.encode() if isinstance(file.data, str) else file.data
    content_id = file.headers.get("Content-ID", "").strip("<>") or None
    return Attachment(
        filename=file.filename or "attachment",
        data=data,
        content_type=file.content_type,
        content_id=content_id,
    )


def _pairs(addresses: list[list[str]]) -> list[str | tuple[str, str]]:
    return [(name, email) if name else email for name, email in addresses]
