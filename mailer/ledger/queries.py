"""Read the ledger: lists, one email's history, counts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..content import Attachment
from ..db import now
from ..errors import NotFound
from ..models import (
    IS_QUEUED,
    IS_SENDING,
    IS_TROUBLE,
    Attached,
    Attempt,
    AuditEntry,
    Delivery,
    Email,
    Status,
)

Listed = Any  # a row of `listing`: the columns named there

_waits = sa.and_(Delivery.status == Status.QUEUED.value, Delivery.due_at > now())
_WAITING = {
    "deferred": sa.and_(_waits, Delivery.stage.is_not(None)),
    "scheduled": sa.and_(_waits, Delivery.stage.is_(None)),
}
STATES = (*(status.value for status in Status), *_WAITING)
"""A status, or why a queued delivery waits: ``deferred`` after an attempt, ``scheduled`` before
the first one."""
_STATE: sa.ColumnElement[str] = sa.case(
    *((condition, name) for name, condition in _WAITING.items()), else_=Delivery.status
)

_SMALLEST_ID = "00000000-0000-0000-0000-000000000000"
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which deliveries; every condition that is not None must hold."""

    email_id: str | None = None
    status: str | None = None
    """One of `STATES`; ``queued`` includes those that wait."""
    statuses: frozenset[Status] | None = None
    template: str | None = None
    lane: str | None = None
    recipient: str | None = None
    code: int | None = None
    since: datetime | None = None
    """Accepted at or after."""
    until: datetime | None = None
    """Accepted before."""

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """Return them for a statement over `Delivery`, joined with nothing."""
        found: list[sa.ColumnElement[bool]] = []
        if self.email_id is not None:
            found.append(Delivery.email_id == self.email_id)
        if self.status is not None:
            found.append(_WAITING.get(self.status, Delivery.status == self.status))
        if self.statuses is not None:
            found.append(Delivery.status.in_(sorted(self.statuses)))
        if self.lane is not None:
            found.append(Delivery.lane == self.lane)
        if self.recipient is not None:
            found.append(Delivery.recipient == self.recipient)
        if self.code is not None:
            found.append(Delivery.code == self.code)
        of_email: list[sa.ColumnElement[bool]] = []
        if self.template is not None:
            of_email.append(Email.template == self.template)
        if self.since is not None:
            of_email.append(Email.created_at >= self.since)
        if self.until is not None:
            of_email.append(Email.created_at < self.until)
        if of_email:
            found.append(
                sa.exists().where(Email.id == Delivery.email_id, *of_email).correlate(Delivery)
            )
        return found


class History(NamedTuple):
    """One email and everything that happened to it."""

    email: sa.Row[Any]
    deliveries: list[sa.Row[Any]]
    attempts: dict[int, list[sa.Row[Any]]]
    """By delivery id, in order."""
    audit: dict[int, list[sa.Row[Any]]]


class Counts(NamedTuple):
    """How much of the ledger is open or in trouble. What was sent is not counted: that would
    cost more with every day."""

    by_lane: dict[str, dict[str, int]]
    """lane -> status -> deliveries, for every status but ``sent``."""
    due: dict[str, int]
    """lane -> deliveries that could be sent now."""
    oldest_due_seconds: float | None
    """Age of the oldest due delivery; None when nothing is due."""
    due_seconds: dict[str, float]
    """The same for each lane that has one."""


def listing(connection: sa.Connection, filters: Filters, limit: int | None) -> list[sa.Row[Listed]]:
    statement = (
        sa.select(
            Delivery.id.label("delivery_id"),
            Delivery.email_id,
            Delivery.recipient,
            Delivery.lane,
            Delivery.status,
            _STATE.label("state"),
            Delivery.attempts,
            Delivery.due_at,
            Delivery.updated_at,
            Delivery.stage,
            Delivery.code,
            Delivery.enhanced,
            Delivery.reason,
            Email.template,
            Email.created_at,
        )
        .join(Email, Email.id == Delivery.email_id)
        .where(*filters.conditions())
        .order_by(Delivery.id.desc())
        .limit(limit)
    )
    return list(connection.execute(statement))


def history(connection: sa.Connection, email_id: str) -> History:
    email = connection.execute(sa.select(Email.__table__).where(Email.id == email_id)).one_or_none()
    if email is None:
        raise NotFound(f"there is no email {email_id!r}")
    deliveries = connection.execute(
        sa.select(Delivery.__table__, _STATE.label("state"))
        .where(Delivery.email_id == email_id)
        .order_by(Delivery.id)
    ).all()
    ids = [delivery.id for delivery in deliveries]
    return History(
        email,
        list(deliveries),
        _by_delivery(connection, Attempt, ids),
        _by_delivery(connection, AuditEntry, ids),
    )


def _by_delivery(
    connection: sa.Connection, table: type[Attempt | AuditEntry], ids: list[int]
) -> dict[int, list[sa.Row[Any]]]:
    found: dict[int, list[sa.Row[Any]]] = {id: [] for id in ids}
    statement = sa.select(table.__table__).where(table.delivery_id.in_(ids)).order_by(table.id)
    for row in connection.execute(statement):
        found[row.delivery_id].append(row)
    return found


def find_email(connection: sa.Connection, prefix: str) -> str:
    """Return the one email id that begins with ``prefix``, of at least 4 characters. Raises
    NotFound."""
    # Bounds rather than LIKE: an index answers them, whatever the database's collation.
    low = prefix + _SMALLEST_ID[len(prefix) :]
    high = prefix + _SMALLEST_ID[len(prefix) :].replace("0", "f")
    found: list[str] = []
    if len(prefix) >= 4 and _ID.fullmatch(low):
        statement = sa.select(Email.id).where(Email.id.between(low, high)).limit(2)
        found += connection.execute(statement).scalars()
    if not found:
        raise NotFound(f"there is no email {prefix!r}")
    if len(found) > 1:
        raise NotFound(f"several emails begin with {prefix!r}: give more of the id")
    return found[0]


def lane(connection: sa.Connection, email_id: str) -> str | None:
    return connection.execute(sa.select(Email.lane).where(Email.id == email_id)).scalar()


def attachments(connection: sa.Connection, email_id: str) -> list[Attachment]:
    statement = sa.select(Attached).where(Attached.email_id == email_id).order_by(Attached.id)
    return [
        Attachment(
            filename=row.filename,
            content_type=row.content_type,
            content_id=row.content_id,
            data=row.data,
        )
        for row in connection.execute(statement)
    ]


def is_due(connection: sa.Connection, lanes: Sequence[str]) -> bool:
    return any(connection.execute(_ANY_DUE, {"lane_": lane}).scalar() for lane in lanes)


_ANY_DUE = (
    sa.select(sa.true())
    .where(
        Delivery.lane == sa.bindparam("lane_"),
        Delivery.status == Status.QUEUED.value,
        Delivery.due_at <= now(),
    )
    .limit(1)
)


def counts(connection: sa.Connection) -> Counts:
    by_lane: dict[str, dict[str, int]] = {}
    # Each over a partial index that leaves out what was sent.
    for condition in (IS_QUEUED, IS_SENDING, IS_TROUBLE):
        for lane, status, number in connection.execute(
            sa.select(Delivery.lane, Delivery.status, sa.func.count())
            .where(condition)
            .group_by(Delivery.lane, Delivery.status)
        ):
            by_lane.setdefault(lane, {})[status] = number
    due: dict[str, int] = {}
    ages: dict[str, float] = {}
    for lane, number, age in connection.execute(
        sa.select(
            Delivery.lane,
            sa.func.count(),
            sa.type_coerce(now() - sa.func.min(Delivery.due_at), sa.Double),
        )
        .where(IS_QUEUED, Delivery.due_at <= now())
        .group_by(Delivery.lane)
    ):
        due[lane] = number
        ages[lane] = age
    return Counts(by_lane, due, max(ages.values(), default=None), ages)
