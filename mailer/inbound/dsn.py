"""Reports as mail: delivery status notifications (RFC 3464), feedback reports (RFC 5965)."""

from __future__ import annotations

import email
import re
from email.message import Message
from hashlib import sha256
from typing import Any

from ..errors import NotAReport
from ..words import WORDS_MAX, one_line
from . import bounce, told
from .told import Heard, Kind, Told

READ_BYTES = 500_000
"""What a report says comes first; what may follow for megabytes is the message it is about."""
RECIPIENTS_MAX = 500
SOURCE = "dsn"

# The parser takes every `message/...` for a whole message, which most of these are not, and
# decodes none of them.
_FIELDS = re.compile(
    rb"\bmessage/(?=(?:global-)?delivery-status\b|feedback-report\b|global-headers\b)",
    re.IGNORECASE,
)
_STATUS = ("text/delivery-status", "text/global-delivery-status")
_FEEDBACK = "text/feedback-report"
_ORIGINALS = frozenset(
    {"message/rfc822", "message/global", "text/rfc822-headers", "text/global-headers"}
)
_BLANK_LINE = re.compile(rb"\n[ \t]*(?:\n[ \t]*)+(?=[^\n])")
# "Delayed" is no end, and "relayed" says that nobody will know it.
_KINDS: dict[str, Kind] = {"failed": "bounced", "delivered": "delivered", "expanded": "delivered"}
_COMPLAINTS = frozenset({"abuse", "fraud", "virus", "opt-out", "other"})
_PARTS_MAX = 50


def read(raw: bytes) -> Heard:
    """Read a message that may be a report. Raises NotAReport."""
    try:
        heard = _read(raw[:READ_BYTES])
    except NotAReport:
        raise
    except Exception as error:  # the parser's own, on mail that nobody could mean
        raise NotAReport(f"expected a report, got what cannot be read: {error!r}"[:200]) from error
    return heard


def _read(raw: bytes) -> Heard:
    message = email.message_from_bytes(_FIELDS.sub(b"text/", raw))
    if message.get_content_type() != "multipart/report" or not message.is_multipart():
        given = message.get_content_type()
        raise NotAReport(f"expected a message of type multipart/report, got {given}"[:200])
    parts = _parts(message)[:_PARTS_MAX]
    types = {part.get_content_type(): part for part in reversed(parts)}
    message_id = _original_id(message, parts)
    # A message that comes twice has the same Message-ID, but perhaps another Received.
    named = _field(message, "message-id")
    source = sha256(named.encode(errors="replace") or raw).hexdigest()
    if _FEEDBACK in types:
        return _feedback(types[_FEEDBACK], message, message_id, source)
    status = next((types[one] for one in _STATUS if one in types), None)
    if status is None:
        raise NotAReport(
            "expected a part message/delivery-status or message/feedback-report, got none"
        )
    recipients = [block for block in _blocks(status) if _field(block, "action")]
    if not recipients:
        raise NotAReport("message/delivery-status: expected a recipient with an Action, got none")
    if len(recipients) > RECIPIENTS_MAX:
        raise NotAReport(f"expected at most {RECIPIENTS_MAX} recipients, got {len(recipients)}")
    reports = [
        _report(kind, block, message, message_id, source)
        for block in recipients
        if (kind := _KINDS.get(_action(block))) is not None
    ]
    return Heard(reports, ignored=len(recipients) - len(reports))


def _report(
    kind: Kind, block: Message, message: Message, message_id: str | None, source: str
) -> Told:
    original, final = (
        _typed(_field(block, name)) for name in ("original-recipient", "final-recipient")
    )
    diagnostic = _typed(_field(block, "diagnostic-code"))
    said, stated = told.enhanced_in(diagnostic), told.enhanced_in(_field(block, "status"))
    # x.0.0 is what a system writes that does not know; the server it quotes may.
    enhanced = said if stated is None or (said and stated.endswith(".0.0")) else stated
    code = told.code_in(diagnostic)
    when = _field(block, "last-attempt-date") or _field(message, "date")
    return told.make(
        kind,
        SOURCE,
        f"{source}:{sha256(f'{kind} {original} {final}'.encode(errors='replace')).hexdigest()}",
        message_id=message_id,
        # What we said in RCPT TO, if the system kept it; behind it what became of it on the way.
        recipients=[original, final],
        occurred_at=told.instant(when),
        permanent=kind == "bounced" and bounce.is_permanent(code, enhanced),
        code=code,
        enhanced=enhanced,
        words=diagnostic,
    )


def _feedback(part: Message, message: Message, message_id: str | None, source: str) -> Heard:
    fields = next(iter(_blocks(part)), None)
    kind = _field(fields, "feedback-type").lower() if fields else ""
    if fields is None or not kind:
        raise NotAReport("message/feedback-report: expected a Feedback-Type, got none")
    if kind not in _COMPLAINTS:  # not-spam, auth-failure
        return Heard([], ignored=1)
    complaint = told.make(
        "complained",
        SOURCE,
        source,
        message_id=message_id,
        # Many systems leave the address out, for its owner's sake.
        recipients=[_field(fields, "original-rcpt-to")],
        occurred_at=told.instant(
            _field(fields, "arrival-date")
            or _field(fields, "received-date")
            or _field(message, "date")
        ),
        words=f"{kind} {_field(fields, 'user-agent')}",
    )
    return Heard([complaint])


def _action(block: Message) -> str:
    word, *_ = _field(block, "action").lower().partition("(")  # a comment
    return word.strip()


def _original_id(message: Message, parts: list[Message]) -> str | None:
    """Return the Message-ID of what the report is about."""
    for part in parts:
        if part.get_content_type() in _ORIGINALS:
            for block in _blocks(part):
                if named := _field(block, "message-id"):
                    return named
    # Some systems return nothing of the message, but answer it.
    answered = f"{_field(message, 'in-reply-to')} {_field(message, 'references')}"
    return next((one for one in answered.split() if told.email_id(one)), None)


def _blocks(part: Message) -> list[Message]:
    """Return groups of fields: a message's header, or what blank lines divide."""
    if part.is_multipart():
        return _parts(part)
    decoded = part.get_payload(decode=True)
    raw = decoded if isinstance(decoded, bytes) else b""
    groups = _BLANK_LINE.split(raw.replace(b"\r\n", b"\n").strip(b"\n"))
    return [email.message_from_bytes(group + b"\n\n") for group in groups[: RECIPIENTS_MAX + 2]]


def _parts(message: Message) -> list[Message]:
    payload: Any = message.get_payload()
    return [part for part in payload if isinstance(part, Message)]


def _field(message: Message, name: str) -> str:
    # Not `message.get`, which replaces what is not ASCII. UTF-8 it may be (RFC 6532).
    found = next((value for key, value in message.raw_items() if key.lower() == name), "")
    text = str(found).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return one_line(text, 2 * WORDS_MAX)


def _typed(value: str) -> str:
    """Return what follows a type: ``rfc822; ann@example.com``, ``smtp; 550 no such user``."""
    kind, semicolon, rest = value.partition(";")
    return (rest if semicolon and "@" not in kind else value).strip()
