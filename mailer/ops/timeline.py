"""Everything that happened to an email, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ..ledger.queries import History
from ..outcome import said, took

_NEWEST = 300
_COLOUR_OF = {
    "sent": "good",
    "delivered": "good",
    "queued": "wait",
    "failed": "bad",
    "unknown": "bad",
    "bounced": "bad",
    "complained": "bad",
}


class Entry(NamedTuple):
    """One thing that happened, or several alike one after another."""

    at: datetime
    colour: str
    what: str
    words: str
    """What was said about it; may be empty."""
    recipient: str | None
    """Whose copy it was about, of several; None: all."""
    until: datetime | None = None
    """When it happened last; None: it happened once."""
    times: int = 1
    took: str = ""
    """How long it took, the longest of several; empty: nobody knows."""


def timeline(history: History, told: Sequence[Any]) -> list[Entry]:
    """Return the newest entries, the newest last. ``told`` is of `Ledger.told`."""
    email = history.email
    entries = [Entry(email.created_at, "", "accepted", _from(email), None)]
    if email.erased_at:
        entries.append(Entry(email.erased_at, "", "content erased", "", None))
    is_one = len(history.deliveries) == 1
    recipients = {one.id: None if is_one else one.recipient for one in history.deliveries}
    for delivery_id, recipient in recipients.items():
        entries += _of_delivery(history, delivery_id, recipient)
    entries += [_of_event(one, recipients.get(one.delivery_id)) for one in told]
    return sorted(entries, key=lambda entry: entry.at)[-_NEWEST:]


def _from(email: Any) -> str:
    by = f"by {email.accepted_by}" if email.accepted_by else ""
    request = f"request {email.request_id}" if email.request_id else ""
    return ", ".join(filter(None, (by, request)))


def _of_delivery(history: History, delivery_id: int, recipient: str | None) -> list[Entry]:
    entries = list(_alike(history.attempts[delivery_id], recipient))
    entries += [
        Entry(one.at, "", one.action, f"by {one.actor}", recipient)
        for one in history.audit[delivery_id]
    ]
    for one in history.reports[delivery_id]:
        what = one.kind + (" for good" if one.permanent else "")
        words = said(one.code, one.enhanced, one.words)
        about = f" of {one.recipient}" if one.recipient else ""
        words = f"says {one.source}{about}" + (f": {words}" if words else "")
        entries.append(Entry(one.received_at, _COLOUR_OF[one.kind], what, words, recipient))
    return entries


def _alike(attempts: Sequence[Any], recipient: str | None) -> Iterator[Entry]:
    """Yield attempts; those that ended alike, one after another, are one."""
    for (number, what, words, colour), group in groupby(attempts, key=_ending):
        alike = list(group)
        until = alike[-1].ended_at if len(alike) > 1 else None
        title = f"attempt {number}: {what}"
        lasted = took(one.seconds for one in alike)
        yield Entry(alike[0].ended_at, colour, title, words, recipient, until, len(alike), lasted)


def _ending(attempt: Any) -> tuple[int, str, str, str]:
    what = attempt.outcome + (f" over {attempt.transport}" if attempt.transport else "")
    what += f" at {attempt.stage}" if attempt.stage else ""
    words = said(attempt.code, attempt.enhanced, attempt.words)
    return attempt.number, what, words, _COLOUR_OF.get(attempt.status, "")


def _of_event(event: Any, recipient: str | None) -> Entry:
    # The rest of its address may be what lets one in.
    whom = urlsplit(event.url).hostname or "a webhook"
    if event.status == "delivered":
        return Entry(event.ended_at or event.at, "", f"{event.type} told to {whom}", "", recipient)
    words = f"attempt {event.attempts}: {event.code or ''} {event.words}" if event.words else ""
    what = "not told" if event.status == "failed" else "still to be told"
    colour = "bad" if event.status == "failed" else "wait"
    at = event.ended_at or event.at
    return Entry(at, colour, f"{event.type} {what} to {whom}", words, recipient)
