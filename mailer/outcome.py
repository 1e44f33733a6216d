"""What became of one attempt, as a value.

Foreign errors (smtplib, socket, ssl, jinja2) are translated into an `Outcome` once, where they
occur. `mailer.transitions` alone decides what an outcome means for the delivery.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import NamedTuple


class Kind(enum.StrEnum):
    """How an attempt ended."""

    SENT = "sent"
    """The server answered 250 after the final dot. Nothing that follows changes that."""
    REFUSED = "refused"
    """A 5xx to MAIL, RCPT, DATA or the message itself: trying again is pointless."""
    DEFERRED = "deferred"
    """A 4xx, or the connection was lost before the final dot: try again later."""
    AMBIGUOUS = "ambiguous"
    """Lost or timed out after the final dot, before its reply: perhaps accepted."""
    UNAVAILABLE = "unavailable"
    """The transport could not be used (refused, DNS, TLS, AUTH, greeting): says nothing about
    this email, so no attempt is charged."""
    NOT_STARTED = "not started"
    """Handed back untouched: the lease or the time of the batch ran out."""
    CAPPED = "capped"
    """Handed back untouched: so much mail to the recipient's domain is not allowed; for later."""
    UNRENDERABLE = "unrenderable"
    """The template or the message could not be made."""
    UNWANTED = "unwanted"
    """The context loader answered None: the email is no longer wanted."""
    SUPPRESSED = "suppressed"
    """The recipient's address is not to be mailed."""


UNBEGUN = frozenset({Kind.NOT_STARTED, Kind.CAPPED})
"""Nothing of the email left, and nothing was learned about it: no attempt."""


class Outcome(NamedTuple):
    """How one attempt for one delivery ended, and what the server said."""

    kind: Kind
    stage: str = ""
    """Where: connect, banner, ehlo, starttls, auth, mail, rcpt, data, dot, render."""
    code: int | None = None
    """SMTP reply code, e.g. 451. None when no reply was heard."""
    enhanced: str | None = None
    """Enhanced status code (RFC 3463), e.g. ``4.2.0``. None when the server sent none."""
    words: str = ""
    """The server's words without the codes, or the reason in ours; one line, no secrets."""
    transport: str | None = None
    """Name of the transport that was used. None when none was."""


def took(seconds: Iterable[float | None]) -> str:
    """Return how long an attempt took, the longest of several: ``34 ms``, ``2.5 s``, ``31 s``;
    empty: nobody knows."""
    longest = max((one for one in seconds if one is not None), default=None)
    if longest is None:
        return ""
    if longest < 0.9995:
        return f"{longest * 1000:.0f} ms"
    return f"{longest:.1f} s" if longest < 9.95 else f"{longest:.0f} s"


def said(code: int | None, enhanced: str | None, words: str | None) -> str:
    """Return what a server said, or our words in its stead, as one text."""
    return " ".join(str(part) for part in (code, enhanced, words) if part)
