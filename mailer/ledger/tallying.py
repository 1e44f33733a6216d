"""Tally: count what happened, once and for good, beside the path of an email.

Everything new is counted in each period that it belongs to, and in the totals. How far that went
stands in one row, which moves on in the transaction that counts: several at once count nothing
twice.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from ..db import Database
from ..expressions import insert, now
from ..histogram import bucket
from ..models import Attempt, AuditEntry, Delivery, Email, Status
from ..models.tallies import HOUR, MINUTE, STEPS, TEN_MINUTES, Latency, Tallied, Tally
from ..prepared import Prepared
from .operations import OPENING

AT_ONCE = 5_000
"""Rows of each kind that are counted in one transaction, or looked at by whoever wants the rest."""

SETTLED_SECONDS = 15.0
"""What is older is committed: rows get their ids before, and those of two transactions may be seen
in another order."""

_DAY = 86_400
_KEPT_SECONDS = {MINUTE: _DAY, TEN_MINUTES: 8 * _DAY}
"""How long a chart wants periods so short. Hours are kept as long as emails."""


class Event(NamedTuple):
    """One thing that is counted."""

    at: float
    lane: str
    template: str
    transport: str
    outcome: str
    code: int
    seconds: float | None = None
    """What it took, of what was sent."""


class Found(NamedTuple):
    """A row that is not tallied yet."""

    id: int
    at: float
    event: Event | None
    """None: test mail, which goes nowhere and is not counted."""


class Rest(NamedTuple):
    """What is not tallied yet."""

    attempt_id: int
    delivery_id: int
    now: float
    attempts: list[Found]
    """By id."""
    deliveries: list[Found]

    @property
    def is_all(self) -> bool:
        return max(len(self.attempts), len(self.deliveries)) < AT_ONCE

    def events(self) -> Iterable[Event]:
        return (one.event for one in (*self.attempts, *self.deliveries) if one.event)


_MARKS = Prepared(sa.select(Tallied.attempt_id, Tallied.delivery_id, now()))
_template = sa.func.coalesce(Email.template, "")
_any = aliased(Attempt)
_first_ended_at = (
    sa.select(sa.func.min(_any.ended_at)).where(_any.delivery_id == Delivery.id).scalar_subquery()
)
_opened_at = (
    sa.select(sa.func.max(AuditEntry.at))
    .where(
        AuditEntry.delivery_id == Delivery.id,
        AuditEntry.at <= Attempt.ended_at,
        sa.or_(*(AuditEntry.action == one for one in OPENING)),
    )
    .correlate(Delivery, Attempt)
    .scalar_subquery()
)
_ATTEMPTS = Prepared(
    sa.select(
        Attempt.id,
        Email.is_test,
        Attempt.ended_at,
        Email.lane,
        _template,
        sa.func.coalesce(Attempt.transport, ""),
        sa.case((Attempt.status == Status.QUEUED.value, "deferred"), else_=Attempt.status),
        sa.func.coalesce(Attempt.code, 0),
        Email.created_at,
        Delivery.due_at,
        sa.case(
            (Attempt.status != Status.SENT.value, None),
            (Delivery.due_at <= Email.created_at, Attempt.ended_at),
            else_=_first_ended_at,
        ),
        sa.case(
            (Attempt.status != Status.SENT.value, None),
            (Delivery.due_at <= Email.created_at, None),
            else_=_opened_at,
        ),
    )
    .join(Delivery, Delivery.id == Attempt.delivery_id)
    .join(Email, Email.id == Delivery.email_id)
    .where(Attempt.id > sa.bindparam("after_"))
    .order_by(Attempt.id)
    .limit(sa.bindparam("limit_"))
)
_DELIVERIES = Prepared(
    sa.select(Delivery.id, Email.is_test, Email.created_at, Email.lane, _template)
    .join(Email, Email.id == Delivery.email_id)
    .where(Delivery.id > sa.bindparam("after_"))
    .order_by(Delivery.id)
    .limit(sa.bindparam("limit_"))
)


def rest(connection: sa.Connection) -> Rest:
    """Return what is not tallied yet, the oldest first, but not more than `AT_ONCE` of each."""
    ((attempt_id, delivery_id, instant),) = _MARKS.rows(connection, {})
    attempts = _ATTEMPTS.rows(connection, {"after_": attempt_id, "limit_": AT_ONCE})
    deliveries = _DELIVERIES.rows(connection, {"after_": delivery_id, "limit_": AT_ONCE})
    return Rest(
        attempt_id,
        delivery_id,
        instant,
        [_attempt(row) for row in attempts],
        [_delivery(row) for row in deliveries],
    )


def _attempt(row: Any) -> Found:
    id, is_test, *of, created_at, due_at, first_ended_at, opened_at = row
    event = Event(*of)
    if is_test:
        return Found(id, event.at, None)
    if first_ended_at is not None:
        # A deferral moves the due time. Before its first attempt ended it was due in any case.
        begun_at = max(created_at, min(due_at, first_ended_at), opened_at or 0.0)
        event = event._replace(seconds=max(0.0, event.at - begun_at))
    return Found(id, event.at, event)


def _delivery(row: Any) -> Found:
    id, is_test, created_at, lane, template = row
    event = Event(created_at, lane, template, "", "accepted", 0)
    return Found(id, created_at, None if is_test else event)


def tally(database: Database, *, for_seconds: float) -> None:
    """Count what is new, for at most about ``for_seconds``; what is left then is for the next
    time."""
    until = time.monotonic() + for_seconds
    while _tally_some(database) and time.monotonic() < until:
        pass


def _tally_some(database: Database) -> bool:
    """Count a part. Return whether there is more."""
    with database.read() as connection:  # most of the work, without the lock of a writer
        left = rest(connection)
    settled = left.now - SETTLED_SECONDS
    attempts, attempt_id = _settled(left.attempts, settled, left.attempt_id)
    deliveries, delivery_id = _settled(left.deliveries, settled, left.delivery_id)
    if (attempt_id, delivery_id) == (left.attempt_id, left.delivery_id):
        return False
    numbers, latencies = _counted([*attempts, *deliveries], left.now)
    with database.begin() as connection:
        moves_on = (
            sa.update(Tallied)
            .where(Tallied.attempt_id == left.attempt_id, Tallied.delivery_id == left.delivery_id)
            .values(attempt_id=attempt_id, delivery_id=delivery_id)
        )
        if connection.execute(moves_on).rowcount:  # else another one was quicker
            _add(connection, Tally, numbers)
            _add(connection, Latency, latencies)
    return AT_ONCE in (len(attempts), len(deliveries))


def _settled(found: list[Found], before: float, last_id: int) -> tuple[list[Event | None], int]:
    """Return what can be counted, and the id of the last of it. Whatever stands before something
    old is as old, what its clock may have said."""
    last = max((index for index, one in enumerate(found) if one.at < before), default=-1)
    settled = found[: last + 1]
    return [one.event for one in settled], settled[-1].id if settled else last_id


def _counted(
    events: Iterable[Event | None], instant: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of both tables."""
    minutes: Counter[tuple[Any, ...]] = Counter()
    taken: defaultdict[tuple[Any, ...], list[float]] = defaultdict(list)
    for event in filter(None, events):
        minute = event.at // MINUTE * MINUTE
        minutes[minute, *event[1:6]] += 1
        if event.seconds is not None:
            taken[minute, event.lane, bucket(event.seconds)].append(event.seconds)
    numbers: Counter[tuple[Any, ...]] = Counter()
    for (minute, *of), number in minutes.items():
        for period in _periods(minute, instant):
            numbers[*period, *of] += number
    latencies: defaultdict[tuple[Any, ...], list[float]] = defaultdict(list)
    for (minute, *of), seconds in taken.items():
        for period in _periods(minute, instant):
            latencies[*period, *of] += seconds
    names = ("step", "begins_at", "lane", "template", "transport", "outcome", "code", "number")
    return (
        [dict(zip(names, (*key, number), strict=True)) for key, number in numbers.items()],
        [
            {**dict(zip(("step", "begins_at", "lane", "bucket"), key, strict=True)),
             "number": len(seconds), "seconds": sum(seconds)}
            for key, seconds in latencies.items()
        ],
    )  # fmt: skip


def _periods(minute: float, instant: float) -> Iterator[tuple[int, float]]:
    """Yield the periods that a minute is in, as step and beginning, less those too old to keep."""
    for step in STEPS:
        if instant - minute <= _KEPT_SECONDS.get(step, instant):
            yield step, minute // step * step if step else 0.0


def _add(
    connection: sa.Connection, table: type[Tally | Latency], rows: list[dict[str, Any]]
) -> None:
    if not rows:
        return
    columns = table.__table__.c
    statement = insert(connection.dialect, table)
    sums = {
        column.name: column + statement.excluded[column.name]
        for column in columns
        if not column.primary_key
    }
    key = [column for column in columns if column.primary_key]
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=sums), rows)


def prune(connection: sa.Connection, *, keep_seconds: float) -> None:
    """Delete what no chart shows any more. The totals stay."""
    for step, kept in {**_KEPT_SECONDS, HOUR: keep_seconds}.items():
        for table in (Tally, Latency):
            is_old = table.begins_at < now() - float(kept)
            connection.execute(sa.delete(table).where(table.step == step, is_old))


def step_back(connection: sa.Connection) -> None:
    """After the newest deliveries were deleted: SQLite gives their ids to the next ones, which are
    to be counted. (PostgreSQL gives no id twice.)"""
    if connection.dialect.name != "sqlite":
        return
    newest = {
        mark: sa.select(sa.func.coalesce(sa.func.max(column), 0)).scalar_subquery()
        for mark, column in ((Tallied.attempt_id, Attempt.id), (Tallied.delivery_id, Delivery.id))
    }
    is_ahead = sa.or_(*(mark > last for mark, last in newest.items()))
    values: dict[Any, Any] = {mark: sa.func.min(mark, last) for mark, last in newest.items()}
    connection.execute(sa.update(Tallied).where(is_ahead).values(values))
