"""Told: one report in the same form whoever made it, fit to be stored and shown."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Literal, NamedTuple

from ..errors import NotAReport
from ..words import one_line

Kind = Literal["delivered", "bounced", "complained"]

UNSIGNED = frozenset({"dsn"})
"""Sources that anybody can write to."""
POSTMARK_HEADER = "X-PM-Metadata-email_id"
"""Comes back with what Postmark reports, as metadata ``email_id``."""
RECIPIENT_MAX = 320
SOURCE_ID_MAX = 200
# The left half of our Message-ID is the email's id, a UUIDv7; the angle brackets are often missing.
_EMAIL_ID = re.compile(
    r"(?<![0-9a-f-])([0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})(?=@|\Z)",
    re.IGNORECASE,
)
_ENHANCED = re.compile(r"(?<![0-9.])([245]\.[0-9]{1,3}\.[0-9]{1,3})(?![0-9.])")
_CODE = re.compile(r"(?<![0-9.])([245][0-9]{2})(?![0-9.])")
_REFERENCE = re.compile(r"[A-Za-z0-9._-]{16,200}")


class Told(NamedTuple):
    """What a mail system said of one recipient's copy."""

    kind: Kind
    source: str
    source_id: str
    """What the source calls it: told twice, it is stored once."""
    once: str | None
    """What proved who said so, where that may be used for one report only."""
    email_id: str | None
    """From the Message-ID. None: it is not known."""
    reference: str | None
    """What the source called the message when it took it, in its reply: for when the Message-ID
    is not known."""
    recipients: tuple[str, ...]
    """Addresses in lower case that may be the delivery's, the likeliest first; empty: not told."""
    occurred_at: datetime | None
    permanent: bool
    """The address is at fault, and will be at the next email; False of what is no bounce."""
    code: int | None
    enhanced: str | None
    words: str


class Heard(NamedTuple):
    """What was in one message of a source."""

    told: list[Told]
    ignored: int = 0
    """What says nothing about the end of a delivery: a delay, an open, a click."""
    malformed: tuple[str, ...] = ()
    """What is wrong with each item that could not be read."""


def make(
    kind: Kind,
    source: str,
    source_id: str,
    *,
    once: str | None = None,
    message_id: str | None = None,
    reference: str | None = None,
    recipients: Iterable[str] = (),
    occurred_at: datetime | None = None,
    permanent: bool = False,
    code: int | None = None,
    enhanced: str | None = None,
    words: str = "",
) -> Told:
    """Return a `Told` of what a source says in its own words. Raises NotAReport without an id."""
    source_id = one_line(source_id, None)
    if not source_id:
        raise NotAReport("expected an id of the report, got none")
    if len(source_id) > SOURCE_ID_MAX:
        source_id = sha256(source_id.encode()).hexdigest()
    found = [address for address in map(_address, recipients) if address]
    code = code if code is not None and 200 <= code <= 599 else None
    enhanced = enhanced_in(enhanced)
    return Told(
        kind=kind,
        source=source,
        source_id=source_id,
        once=once,
        email_id=email_id(message_id),
        reference=reference if reference and _REFERENCE.fullmatch(reference) else None,
        recipients=tuple(dict.fromkeys(found)),
        occurred_at=occurred_at,
        permanent=permanent,
        code=code,
        enhanced=enhanced,
        words=_without(one_line(words), code, enhanced),
    )


def email_id(message_id: str | None) -> str | None:
    """Return the email that has this Message-ID; None when it is not one of ours."""
    found = _EMAIL_ID.search(message_id or "")
    return found[1].lower() if found else None


def enhanced_in(words: str | None) -> str | None:
    """Return the first enhanced status code (RFC 3463) in what was said."""
    found = _ENHANCED.search(words or "")
    return found[1] if found else None


def code_in(words: str | None) -> int | None:
    """Return the first SMTP reply code in what was said."""
    found = _CODE.search(words or "")
    return int(found[1]) if found else None


def instant(value: object) -> datetime | None:
    """Read an instant as sources write it: seconds since 1970, ISO 8601, RFC 5322."""
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC) if math.isfinite(value) else None
        if isinstance(value, str):
            found = _written(value.strip())
            found = found if found.tzinfo else found.replace(tzinfo=UTC)
            found.timestamp()  # in the year 1 there are zones without
            return found
    except (ValueError, OverflowError, OSError, TypeError, IndexError):
        pass  # by the clock of the source, and only shown
    return None


def _written(text: str) -> datetime:
    try:
        # Postmark writes seven digits after the point, datetime reads six.
        return datetime.fromisoformat(re.sub(r"(\.[0-9]{6})[0-9]+", r"\1", text))
    except ValueError:
        return parsedate_to_datetime(text)


def _without(words: str, code: int | None, enhanced: str | None) -> str:
    """Return what was said, less the codes in front of it, which stand beside it."""
    words = words.removeprefix("smtp;").lstrip()
    for said in (code, enhanced):
        words = words.removeprefix(str(said)).lstrip(" -") if said else words
    return words


def _address(text: str) -> str:
    """Return an address as deliveries are looked for; empty when it is none."""
    text = one_line(text[: 2 * RECIPIENT_MAX]).strip("<>").lower()
    return text if "@" in text and len(text) <= RECIPIENT_MAX and " " not in text else ""
