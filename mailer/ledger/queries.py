"""Read the ledger: lists, one email's history, counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..db import now
from ..errors import NotFound
from ..models import OPEN, Attempt, AuditEntry, Delivery, Email, Status

Listed = Any  # a row of `listing`: the columns named there


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which deliveries; every condition that is not None must hold."""

    email_id: str | None = None
    delivery_ids: tuple[int, ...] | None = None
    status: str | None = None
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
        if self.delivery_ids is not None:
            found.append(Delivery.id.in_(self.delivery_ids))
        if self.status is not None:
            found.append(Delivery.status == self.status)
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


def listing(connection: sa.Connection, filters: Filters, limit: int) -> list[sa.Row[Listed]]:
    statement = (
        sa.select(
            Delivery.id.label("delivery_id"),
            Delivery.email_id,
            Delivery.recipient,
            Delivery.lane,
            Delivery.status,
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
        sa.select(Delivery.__table__).where(Delivery.email_id == email_id).order_by(Delivery.id)
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


def lane(connection: sa.Connection, email_id: str) -> str | None:
    return connection.execute(sa.select(Email.lane).where(Email.id == email_id)).scalar()


def counts(connection: sa.Connection) -> Counts:
    by_lane: dict[str, dict[str, int]] = {}
    # Two queries, each over partial indexes that leave out what was sent.
    for condition in (
        Delivery.status.in_([status.value for status in sorted(OPEN)]),
        Delivery.status.not_in([Status.QUEUED.value, Status.SENDING.value, Status.SENT.value]),
    ):
        for lane, status, number in connection.execute(
            sa.select(Delivery.lane, Delivery.status, sa.func.count())
            .where(condition)
            .group_by(Delivery.lane, Delivery.status)
        ):
            by_lane.setdefault(lane, {})[status] = number
    is_due = (Delivery.status == Status.QUEUED.value, Delivery.due_at <= now())
    due: dict[str, int] = {}
    ages = []
    for lane, number, age in connection.execute(
        sa.select(
            Delivery.lane,
            sa.func.count(),
            sa.type_coerce(now() - sa.func.min(Delivery.due_at), sa.Double),
        )
        .where(*is_due)
        .group_by(Delivery.lane)
    ):
        due[lane] = number
        ages.append(age)
    return Counts(by_lane, due, max(ages, default=None))
