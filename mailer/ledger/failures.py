"""Failures: what did not go well, grouped by its reason. Of two replies that differ only in ids,
addresses and numbers the reason is one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..models import IS_TROUBLE, IS_WAITING_AGAIN, Delivery, Email
from .filters import STATE_OF

LOOKED_AT = 20_000
"""The newest of each state: so many are read in a tenth of a second."""
WORDS_MAX = 160
STATES = ("failed", "unknown", "expired", "deferred")
"""The states that are grouped."""

# From the special to the general: an address has numbers in it, and an id letters.
_ADDRESS = re.compile(r"<?[^\s<>@]+@[^\s<>@]+\.[^\s<>@,;:]+>?")
_LINK = re.compile(r"https?://\S+")
_ID = re.compile(r"(?<![\w.])(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{6,}(?![\w.])")
_NUMBER = re.compile(r"(?<![\w.])\d+(?![\w.])")


class Group(NamedTuple):
    """Deliveries that are in one state for one reason."""

    cause: str
    """Stands for it in addresses: 12 hexadecimal digits."""
    state: str
    code: int | None
    enhanced: str | None
    words: str
    """Folded."""
    number: int
    newest_at: datetime


class Groups(NamedTuple):
    """What was found."""

    groups: Sequence[Group]
    """The largest first."""
    is_all: bool
    """False: there is more than was looked at, and the numbers are of the newest."""


def fold(words: str | None) -> str:
    """Return what of a server's words is alike for all whom it says it to."""
    text = words or ""
    for differs in (_LINK, _ADDRESS, _ID, _NUMBER):
        text = differs.sub("…", text)
    return " ".join(text.split())[:WORDS_MAX]


def cause_of(state: str, code: int | None, enhanced: str | None, words: str | None) -> str:
    """Return what stands for a reason in addresses."""
    reason = "\0".join((state, str(code), str(enhanced), fold(words)))
    return sha256(reason.encode("utf-8", "replace")).hexdigest()[:12]


def groups(connection: sa.Connection) -> Groups:
    """Return what is in trouble or waits for another attempt, by its reason."""
    found: dict[str, Group] = {}
    is_all = True
    for state in STATES:
        rows = list(connection.execute(_newest(state).limit(LOOKED_AT + 1)))
        is_all = is_all and len(rows) <= LOOKED_AT
        for row in rows[:LOOKED_AT]:
            cause = cause_of(state, row.code, row.enhanced, row.reason)
            known = found.get(cause)
            if known is None:
                found[cause] = Group(
                    cause, state, row.code, row.enhanced, fold(row.reason), 1, row.updated_at
                )
            else:
                newest_at = max(known.newest_at, row.updated_at)
                found[cause] = known._replace(number=known.number + 1, newest_at=newest_at)
    return Groups(sorted(found.values(), key=lambda one: -one.number), is_all)


def matching(
    connection: sa.Connection, state: str, cause: str, *, below: int | None = None, limit: int
) -> Iterator[sa.Row[Any]]:
    """Yield deliveries of one reason, the newest first: those with ids below ``below``."""
    statement = _newest(state)
    found = 0
    while found < limit:
        part = statement if below is None else statement.where(Delivery.id < below)
        rows = list(connection.execute(part.limit(max(500, limit))))
        for row in rows:
            if cause_of(state, row.code, row.enhanced, row.reason) == cause:
                found += 1
                yield row
                if found == limit:
                    return
        if not rows:
            return
        below = rows[-1].id


def _newest(state: str) -> sa.Select[*tuple[Any, ...]]:
    if state == "deferred":
        condition: Any = IS_WAITING_AGAIN
    else:
        condition = sa.and_(IS_TROUBLE, Delivery.status == state)
    return (
        sa.select(
            Delivery.id,
            Delivery.email_id,
            Delivery.recipient,
            Delivery.lane,
            Delivery.code,
            Delivery.enhanced,
            Delivery.reason,
            Delivery.updated_at,
            Delivery.due_at,
            Delivery.attempts,
            STATE_OF.label("state"),
            Email.template,
            Email.subject,
            Email.created_at,
            Email.is_test,
            Email.erased_at,
        )
        .join(Email, Email.id == Delivery.email_id)
        .where(condition)
        .order_by(Delivery.id.desc())
    )
