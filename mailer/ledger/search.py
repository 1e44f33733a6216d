"""Search deliveries, the newest first, in about the same time however many there are.

What no index answers is looked for in windows of ids, one after the other, until the page is full
or the time is over; then it says how far it came.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..expressions import one_of
from ..models import (
    IS_QUEUED,
    IS_SENDING,
    IS_TROUBLE,
    OPEN,
    REPORTED,
    Delivery,
    Email,
    Job,
    Status,
)
from . import queries
from .filters import WAITING, Filters
from .record import first_uuid7

SECONDS = 0.1
"""How long it looks."""
WINDOW = 5_000
"""Deliveries that one statement looks at, at most: some 15 milliseconds."""
_FEW = 10_000
"""So many that an index knows are all looked at."""
_FIRST_WINDOW = 250
_GROWTH = 8
_SCATTERED = 1_000
"""So many that are far apart cost as much as a window of neighbours."""
_IN_ORDER = timedelta(minutes=1)
"""Emails further apart have their deliveries in the same order. Nearer ones may not: clocks
differ, and two transactions take turns."""


class Found(NamedTuple):
    """Some deliveries, the newest first."""

    rows: list[sa.Row[queries.Listed]]
    next_id: int | None
    """From which delivery to go on, that way; None: that was all."""
    looked_to: datetime | None
    """The time was over before the page was full: when the last email was accepted that was looked
    at. None: nothing that matches was passed over."""


class _Window(NamedTuple):
    condition: sa.ColumnElement[bool]
    edge: int
    """The last delivery in it, that way."""
    parameters: dict[str, list[int]] = {}  # noqa: RUF012 - never changed


class _Way(NamedTuple):
    """Which deliveries are looked at, and in which direction."""

    low: int
    high: int
    is_back: bool
    """The newest come first."""

    @property
    def order(self) -> sa.ColumnElement[int]:
        return Delivery.id.desc() if self.is_back else Delivery.id.asc()

    @property
    def end(self) -> int:
        return self.low if self.is_back else self.high

    def past(self, edge: int) -> _Way:
        """Return what is left behind a delivery."""
        return self._replace(high=edge - 1) if self.is_back else self._replace(low=edge + 1)

    def range(self) -> sa.ColumnElement[bool]:
        return Delivery.id.between(self.low, self.high)


def search(
    connection: sa.Connection,
    filters: Filters,
    limit: int,
    *,
    after: int | None = None,
    before: int | None = None,
    seconds: float = SECONDS,
    window: int = WINDOW,
) -> Found:
    """Return up to ``limit`` deliveries: those older than the id ``after``, or newer than
    ``before``."""
    until: float | None = None
    way = _bounds(connection, filters, after, before)
    conditions = filters.conditions(one_by_one=True)
    ids: list[int] = []
    for part in _windows(connection, filters, way, window):
        # From the first window on: what an index was asked for may have taken some of it.
        until = until or time.monotonic() + seconds
        statement = (
            sa.select(Delivery.id)
            .where(part.condition, *conditions)
            .order_by(way.order)
            .limit(limit + 1 - len(ids))
        )
        ids += connection.execute(statement, part.parameters).scalars()
        if len(ids) > limit:
            return Found(_rows(connection, ids[:limit]), ids[limit - 1], None)
        if time.monotonic() > until and part.edge != way.end:
            return Found(
                _rows(connection, ids), part.edge, _accepted_at(connection, way, part.edge)
            )
    return Found(_rows(connection, ids), None, None)


def _rows(connection: sa.Connection, ids: Sequence[int]) -> list[sa.Row[queries.Listed]]:
    return queries.listing(connection, Filters(delivery_ids=ids), None)


def _bounds(
    connection: sa.Connection, filters: Filters, after: int | None, before: int | None
) -> _Way:
    """Return what is looked at at most; ids that sort by time answer since and until."""
    low = connection.execute(sa.select(sa.func.min(Delivery.id))).scalar() or 1
    high = connection.execute(sa.select(sa.func.max(Delivery.id))).scalar() or 0
    since, until = _times(connection, filters)
    if since is not None:
        is_before = Delivery.email_id < first_uuid7(_moved(since, -_IN_ORDER))
        low = max(low, 1 + (connection.execute(_nearest(is_before, True)).scalar() or 0))
    if until is not None:
        is_behind = Delivery.email_id >= first_uuid7(_moved(until, _IN_ORDER))
        high = min(high, (connection.execute(_nearest(is_behind, False)).scalar() or high + 1) - 1)
    if after is not None:
        high = min(high, after - 1)
    if before is not None:
        low = max(low, before + 1)
    return _Way(low, high, is_back=before is None)


def _times(connection: sa.Connection, filters: Filters) -> tuple[datetime | None, datetime | None]:
    """Return since when and until when emails were accepted that may match."""
    since, until = [filters.since], [filters.until]
    if filters.bulk is not None:
        rests_at = sa.func.coalesce(Job.ended_at, Job.lease_until)
        job = connection.execute(
            sa.select(Job.created_at, rests_at).where(Job.id == filters.bulk)
        ).first()
        if job is not None:
            since.append(job[0])
            until.append(job[1])
    return max(filter(None, since), default=None), min(filter(None, until), default=None)


def _moved(instant: datetime, by: timedelta) -> datetime:
    try:
        return instant + by
    except OverflowError:  # there is no instant before the year 1, nor after 9999
        return instant


def _nearest(condition: sa.ColumnElement[bool], is_last: bool) -> sa.Select[int]:
    """Select the last delivery of the last email there, or the first one of the first."""
    email_id = Delivery.email_id.desc() if is_last else Delivery.email_id.asc()
    email = sa.select(Delivery.email_id).where(condition).order_by(email_id).limit(1)
    end = sa.func.max(Delivery.id) if is_last else sa.func.min(Delivery.id)
    return sa.select(end).where(Delivery.email_id == email.scalar_subquery())


def _windows(
    connection: sa.Connection, filters: Filters, way: _Way, window: int
) -> Iterator[_Window]:
    if way.low > way.high:
        return
    states = list(filters.statuses or ())
    only = states[0] if len(states) == 1 else None
    if path := _path(only):
        yield from _walk(connection, sa.and_(*path), way, min(window, _SCATTERED))
        return
    if few := _few(filters, only):
        statement = sa.select(Delivery.id).where(*few).limit(_FEW + 1)
        ids = list(connection.execute(statement).scalars())
        if len(ids) <= _FEW:
            yield from _of(ids, way)
            return
        # So many are met soon, wherever one looks.
    yield from _ranges(way, window)


def _path(only: str | None) -> Sequence[sa.ColumnElement[bool] | sa.TextClause]:
    """Return a condition that an index answers in the order of ids."""
    if only in frozenset(Status) - OPEN - {Status.SENT}:
        return [IS_TROUBLE, Delivery.status == only]
    return [Delivery.reported == only] if only in REPORTED else []


def _few(filters: Filters, only: str | None) -> Sequence[sa.ColumnElement[bool] | sa.TextClause]:
    """Return a condition that an index answers, and that may hold for few deliveries."""
    if filters.email_id is not None or filters.recipient is not None:
        return Filters(email_id=filters.email_id, recipient=filters.recipient).conditions()
    if only == Status.QUEUED or only in WAITING:
        return [IS_QUEUED]
    return [IS_SENDING] if only == Status.SENDING else []


def _of(ids: Sequence[int], way: _Way) -> Iterator[_Window]:
    wanted = sorted((id for id in ids if way.low <= id <= way.high), reverse=way.is_back)
    sizes = _sizes(_SCATTERED)
    while wanted:
        size = next(sizes)
        some, wanted = wanted[:size], wanted[size:]
        yield _Window(sa.and_(one_of(Delivery.id, "ids_")), some[-1], {"ids_": some})


def _walk(
    connection: sa.Connection, path: sa.ColumnElement[bool], way: _Way, window: int
) -> Iterator[_Window]:
    """Yield windows of what an index has in order."""
    for size in _sizes(window):
        statement = sa.select(Delivery.id).where(path, way.range()).order_by(way.order).limit(size)
        ids = list(connection.execute(statement).scalars())
        if not ids:
            return
        part = way._replace(low=min(ids), high=max(ids))
        yield _Window(sa.and_(path, part.range()), ids[-1])
        way = way.past(ids[-1])


def _ranges(way: _Way, window: int) -> Iterator[_Window]:
    for size in _sizes(window):
        if way.low > way.high:
            return
        part = way._replace(low=max(way.low, way.high - size + 1))
        if not way.is_back:
            part = way._replace(high=min(way.high, way.low + size - 1))
        yield _Window(part.range(), part.end)
        way = way.past(part.end)


def _sizes(window: int) -> Iterator[int]:
    """Yield the sizes of windows, small ones first: most pages are full soon."""
    size = _FIRST_WINDOW
    while True:
        yield min(size, window)
        size = min(size * _GROWTH, window)


def _accepted_at(connection: sa.Connection, way: _Way, edge: int) -> Any:
    """Return when the email of a delivery was accepted, or of the next that is there."""
    here = Delivery.id >= edge if way.is_back else Delivery.id <= edge
    nearest = Delivery.id.asc() if way.is_back else Delivery.id.desc()
    statement = sa.select(Email.created_at).join(Delivery, Delivery.email_id == Email.id)
    return connection.execute(statement.where(here).order_by(nearest).limit(1)).scalar()
