"""Replay: tell events again that a receiver did not take."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..db import Database
from ..expressions import now
from ..models import IS_FAILED, IS_PENDING, Event
from .events import TRIED_FOR_SECONDS, first_id

AT_ONCE = 1000
"""Rows changed in one transaction."""

_Condition = sa.ColumnElement[bool] | sa.TextClause

_OPENED: dict[str, Any] = {
    "status": "pending",
    "due_at": now(),
    "tried_until": now() + TRIED_FOR_SECONDS,
    "claim": None,
}
# What is being told now stays as it is.
_is_in_hand = sa.and_(IS_PENDING, Event.claim.is_not(None), Event.due_at > now())
_is_waiting = sa.and_(IS_PENDING, Event.claim.is_(None), Event.due_at > now())


class Replayed(NamedTuple):
    """How many events are told again."""

    failed: int
    """No attempt would have followed."""
    waiting: int
    """They waited for their next attempt."""


def replay(connection: sa.Connection, webhook_id: str, event_id: str) -> bool:
    """Tell an event again, whatever became of it. False: there is no such event, or it is being
    told now."""
    statement = (
        sa.update(Event)
        .where(Event.id == event_id, Event.webhook_id == webhook_id, ~_is_in_hand)
        .values(_OPENED)
    )
    return connection.execute(statement).rowcount == 1


def replay_since(database: Database, webhook_id: str, since: datetime) -> Replayed:
    """Tell all events again that were noted since and failed, or wait for their next attempt."""
    # First: what failed and is told again may soon wait.
    waiting = _replay_all(database, webhook_id, since, _is_waiting)
    return Replayed(_replay_all(database, webhook_id, since, IS_FAILED), waiting)


def _replay_all(database: Database, webhook_id: str, since: datetime, condition: _Condition) -> int:
    found = 0
    after = first_id(since.timestamp())
    while True:
        with database.begin() as connection:
            some = _replay_some(connection, webhook_id, after, condition)
        found += len(some)
        if len(some) < AT_ONCE:
            return found
        after = some[-1]


def _replay_some(
    connection: sa.Connection, webhook_id: str, after: str, condition: _Condition
) -> list[str]:
    some = (
        sa.select(Event.id)
        .where(Event.webhook_id == webhook_id, Event.id > after, condition)
        .order_by(Event.id)
        .limit(AT_ONCE)
        .cte("some")
    )
    statement = (
        sa.update(Event)
        .where(Event.id.in_(sa.select(some.c.id)), condition)
        .values(_OPENED)
        .returning(Event.id)
    )
    return sorted(connection.execute(statement).scalars())
