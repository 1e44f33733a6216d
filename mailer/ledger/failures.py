"""Failures: what did not go well, grouped by its reason. Of two replies that differ only in ids,
addresses and numbers the reason is one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..expressions import one_of
from ..models import IS_TROUBLE, IS_WAITING_AGAIN, Delivery, Email
from ..prepared import Prepared

LOOKED_AT = 5_000
"""The newest of each state: so that it takes as long on a bad day."""
WORDS_MAX = 160
_READ_MAX = 4 * WORDS_MAX
"""Of a server's words, which it may make as long as it likes."""
STATES = ("failed", "unknown", "expired", "deferred")
"""The states that are grouped."""

_AT_LEAST = 500
"""Rows that are looked through for those of one reason."""
_ABOVE_ALL = 2**63 - 1

# From the special to the general: an address has numbers in it, and an id letters.
# Each begins with a word: begun at every letter, a long word would take the square of the time.
_ADDRESS = re.compile(r"<?(?<![^\s<>@])[^\s<>@]+@[^\s<>@]+\.[^\s<>@,;:]+>?")
_LINK = re.compile(r"https?://\S+")
_WORD = re.compile(r"(?<![\w.-])[\w-]{6,}(?![\w.])")
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
    """False: there may be more than was looked at, and the numbers are of the newest."""


class Matching(NamedTuple):
    """Deliveries of one reason."""

    ids: list[int]
    next_id: int | None
    """Below which to go on; None: that was all."""


@lru_cache(len(STATES) * LOOKED_AT)  # all that one look meets, or it would remember nothing
def fold(words: str | None) -> str:
    """Return what of a server's words is alike for all whom it says it to."""
    text = (words or "")[:_READ_MAX]
    for differs in (_LINK, _ADDRESS):
        text = differs.sub("…", text)
    text = _NUMBER.sub("…", _WORD.sub(_fold_id, text))
    return " ".join(text.split())[:WORDS_MAX]


def _fold_id(found: re.Match[str]) -> str:
    word = found[0]
    is_id = any(map(str.isdigit, word)) and any(map(str.isalpha, word))
    return "…" if is_id else word


def cause_of(state: str, code: int | None, enhanced: str | None, words: str | None) -> str:
    """Return what stands for a reason in addresses."""
    return _cause(state, code, enhanced, fold(words))


@lru_cache(1_000)  # few reasons are many emails'
def _cause(state: str, code: int | None, enhanced: str | None, folded: str) -> str:
    reason = "\0".join((state, str(code), str(enhanced), folded))
    return sha256(reason.encode("utf-8", "replace")).hexdigest()[:12]


def groups(connection: sa.Connection, looked_at: int) -> Groups:
    """Return what is in trouble or waits for another attempt, by its reason."""
    found: dict[tuple[str, int | None, str | None, str], tuple[int, float]] = {}
    is_all = True
    for state in STATES:
        rows = _newest(connection, state, limit=looked_at)
        is_all = is_all and len(rows) < looked_at
        for _, code, enhanced, words, at in rows:
            key = (state, code, enhanced, fold(words))
            number, last_at = found.get(key, (0, at))
            found[key] = (number + 1, max(last_at, at))
    grouped = [
        Group(_cause(*key), *key, number, datetime.fromtimestamp(at, UTC))
        for key, (number, at) in found.items()
    ]
    return Groups(sorted(grouped, key=lambda one: -one.number), is_all)


def matching(
    connection: sa.Connection,
    state: str,
    cause: str,
    *,
    below: int | None = None,
    limit: int,
    looked_at: int = LOOKED_AT,
) -> Matching:
    """Return deliveries of one reason, the newest first, below the id ``below``: up to ``limit`` of
    them, and of those in the state no more than ``looked_at``."""
    found: list[int] = []
    while len(found) <= limit and looked_at > 0:
        at_once = min(max(_AT_LEAST, limit), looked_at)
        rows = _newest(connection, state, below=below, limit=at_once)
        found += [
            id
            for id, code, enhanced, words, _ in rows
            if cause_of(state, code, enhanced, words) == cause
        ]
        if len(rows) < at_once and len(found) <= limit:
            return Matching(found, None)
        below = rows[-1][0]
        looked_at -= at_once
    if len(found) > limit:
        below = found[limit - 1]
    return Matching(found[:limit], below)


def shown(connection: sa.Connection, ids: Sequence[int]) -> list[Any]:
    """Return what there is to see of deliveries, the newest first."""
    return list(connection.execute(_SHOWN, {"ids_": ids}))


_SHOWN = (
    sa.select(
        Delivery.id,
        Delivery.email_id,
        Delivery.recipient,
        Delivery.lane,
        Delivery.code,
        Delivery.enhanced,
        Delivery.reason,
        Delivery.updated_at,
        Delivery.attempts,
        Email.template,
        Email.subject,
        Email.is_test,
        Email.erased_at,
    )
    .join(Email, Email.id == Delivery.email_id)
    .where(one_of(Delivery.id, "ids_"))
    .order_by(Delivery.id.desc())
)


def _newest(
    connection: sa.Connection, state: str, *, below: int | None = None, limit: int
) -> list[tuple[int, int | None, str | None, str | None, float]]:
    """Return the id of each delivery, what was said, and when it was changed, the newest first."""
    below = _ABOVE_ALL if below is None else below
    return _NEWEST[state].rows(connection, {"below_": below, "limit_": limit})


def _newest_of(is_in: sa.ColumnElement[bool] | sa.TextClause) -> Prepared:
    # The ids first, which the partial index has: PostgreSQL reckons with few, and would rather read
    # and sort them all.
    ids = (
        sa.select(Delivery.id)
        .where(is_in, Delivery.id < sa.bindparam("below_"))
        .order_by(Delivery.id.desc())
        .limit(sa.bindparam("limit_"))
        .subquery()
    )
    columns = (Delivery.id, Delivery.code, Delivery.enhanced, Delivery.reason, Delivery.updated_at)
    return Prepared(
        sa.select(*columns).join(ids, ids.c.id == Delivery.id).order_by(Delivery.id.desc())
    )


_NEWEST = {
    state: _newest_of(
        IS_WAITING_AGAIN if state == "deferred" else sa.and_(IS_TROUBLE, Delivery.status == state)
    )
    for state in STATES
}
