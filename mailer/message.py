"""Write a message: content and addresses become bytes, and pass the gate."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from types import MappingProxyType

from . import gate
from .content import Address, Attachment, Content
from .errors import MessageError
from .headers import address_field, check_header, check_subject, date_field, shown, text_field
from .parts import attachment_part, multipart, text_part

_MESSAGE_ID = re.compile(
    r"(?!.*=\?)[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,160}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,88}[A-Za-z0-9])?"
)
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


def write(
    *,
    sender: Address,
    to: Sequence[Address],
    cc: Sequence[Address] = (),
    reply_to: Sequence[Address] = (),
    content: Content,
    date: datetime,
    message_id: str,
    headers: Mapping[str, str] = _NO_HEADERS,
    attachments: Sequence[Attachment] = (),
) -> bytes:
    """Return the message as CRLF bytes: equal arguments give equal bytes.

    ``date`` is aware; ``message_id`` is without ``<>``. An attachment with a content id goes
    beside the HTML that shows it. The bytes are ASCII unless an address needs SMTPUTF8. Dots at
    the start of a line are left to the SMTP conversation. Raises MessageError if the message
    cannot be written, or does not read as intended.
    """
    try:
        fields = {
            **_address_fields(sender, to, cc, reply_to),
            **_identity_fields(content.subject, date, message_id),
            **_custom_fields(headers),
            "MIME-Version": "MIME-Version: 1.0",
        }
        part = _content_part(content, attachments, message_id)
        message = b"%b\r\n%b" % ("\r\n".join(fields.values()).encode(), part)
    except ValueError as error:
        raise MessageError(str(error)) from error
    names = [*fields, "Content-Type"]
    if content.html is None and not attachments:
        names.append("Content-Transfer-Encoding")
    gate.check(message, headers=names, sender=sender, to=to, cc=cc, reply_to=reply_to)
    return message


def _address_fields(
    sender: Address, to: Sequence[Address], cc: Sequence[Address], reply_to: Sequence[Address]
) -> dict[str, str]:
    fields = {
        "From": address_field("From", [sender]),
        "To": address_field("To", to) if to else f"To: {gate.NO_RECIPIENTS}",
    }
    if cc:
        fields["Cc"] = address_field("Cc", cc)
    if reply_to:
        fields["Reply-To"] = address_field("Reply-To", reply_to)
    return fields


def _identity_fields(subject: str, date: datetime, message_id: str) -> dict[str, str]:
    check_subject(subject)
    if date.utcoffset() is None:
        raise ValueError(f"date: expected a time zone, got {date!r}")
    if not _MESSAGE_ID.fullmatch(message_id):
        raise ValueError(
            f"message id: expected text@domain in ASCII without <>, got {shown(message_id)}"
        )
    return {
        "Subject": text_field("Subject", subject),
        "Date": date_field("Date", date),
        "Message-ID": f"Message-ID: <{message_id}>",
    }


def _custom_fields(headers: Mapping[str, str]) -> dict[str, str]:
    if len({name.lower() for name in headers}) != len(headers):
        raise ValueError(f"headers: expected each name once, got {shown(list(headers))}")
    for name, value in headers.items():
        check_header(name, value)
    return {name: text_field(name, value) for name, value in headers.items()}


def _content_part(content: Content, attachments: Sequence[Attachment], message_id: str) -> bytes:
    text = text_part("plain", content.text)
    html = None if content.html is None else text_part("html", content.html)
    if html is None and not attachments:
        return text
    unique = _unique(message_id, text + (html or b""))

    files = list(attachments)
    ids = [file.content_id for file in files if file.content_id is not None]
    if len(ids) != len(set(ids)):
        raise ValueError(f"attachments: expected each content id once, got {shown(ids)}")
    part = text
    if html is not None:
        images = [attachment_part(file) for file in files if file.content_id is not None]
        files = [file for file in files if file.content_id is None]
        if images:
            html = multipart('related; type="text/html"', b"=_r" + unique, [html, *images])
        part = multipart("alternative", b"=_a" + unique, [text, html])
    if files:
        part = multipart("mixed", b"=_m" + unique, [part, *map(attachment_part, files)])
    return part


def _unique(message_id: str, bodies: bytes) -> bytes:
    """Return what the boundaries are made of: the same for a message id, but in no body.

    ``=_`` in front of it never occurs in base64 or quoted-printable (RFC 2045, 6.7).
    """
    unique = message_id.encode()
    while True:
        unique = blake2b(unique, digest_size=12).hexdigest().encode()
        if unique not in bodies:
            return unique
