"""What a person does to deliveries: retry, cancel, resolve. Each leaves an audit entry."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..expressions import now, one_of
from ..models import IS_TROUBLE, RETRYABLE, AuditEntry, Delivery, Email, Status, Suppression
from . import events, suppressions
from .filters import IS_DEFERRED, IS_SCHEDULED, Filters
from .settling import erase_contexts
from .suppressions import Suppressed


class Changed(NamedTuple):
    """A delivery that a verb moved."""

    delivery_id: int
    email_id: str
    lane: str
    recipient: str


class HeldBack(NamedTuple):
    """A delivery that is not retried, because it would end as suppressed at once."""

    delivery_id: int
    email_id: str
    recipient: str
    suppressed: Suppressed


OPENING = ("retried", "resolved: resend")
"""Actions of audit entries with which a final delivery was to be sent again."""

_CHANGED = (Delivery.id, Delivery.email_id, Delivery.lane, Delivery.recipient)


def _opened(attempts_allowed: int) -> dict[str, Any]:
    """Return what makes a final delivery one that is to be sent."""
    return {
        "status": Status.QUEUED.value,
        "due_at": now(),
        # Numbers go on counting, so that the history stays in order.
        "attempts_allowed": Delivery.attempts + attempts_allowed,
        "crashes": 0,
        # Whoever retries what expired wants it sent all the same.
        "expires_at": sa.case((Delivery.expires_at > now(), Delivery.expires_at), else_=None),
    }


_IS_FINAL = sa.and_(IS_TROUBLE, Delivery.status.in_(sorted(RETRYABLE)))
_HAS_CONTENT = (
    sa.exists().where(Email.id == Delivery.email_id, Email.erased_at.is_(None)).correlate(Delivery)
)
_CAN_MOVE = sa.or_(IS_DEFERRED, sa.and_(_IS_FINAL, _HAS_CONTENT))


def _is_suppressed(overriding: Collection[str]) -> sa.ColumnElement[bool]:
    """Return whether a delivery would end as suppressed: `suppressions.choose`, in SQL."""
    overrides = sa.and_(
        Email.lane == "critical", sa.func.coalesce(Email.template, "").in_(overriding)
    )
    return (
        sa.exists()
        .where(
            Email.id == Delivery.email_id,
            Suppression.address == sa.func.lower(Delivery.recipient),
            sa.or_(Suppression.category == "", Suppression.category == Email.category),
            ~overrides,
        )
        .correlate(Delivery, Email)
    )


class Meant(NamedTuple):
    """A delivery that was chosen, and what keeps it from being sent again."""

    delivery_id: int
    recipient: str
    lane: str
    is_erased: bool
    is_suppressed: bool


def meant(
    connection: sa.Connection, delivery_ids: Collection[int], overriding: Collection[str]
) -> list[Meant]:
    """Return what would be met of these deliveries, the newest first."""
    statement = (
        sa.select(
            Delivery.id,
            Delivery.recipient,
            Delivery.lane,
            Email.erased_at.is_not(None),
            _is_suppressed(overriding),
        )
        .join(Email, Email.id == Delivery.email_id)
        .where(one_of(Delivery.id, values=delivery_ids))
        .order_by(Delivery.id.desc())
    )
    return [Meant(*row) for row in connection.execute(statement)]


def would_retry(
    connection: sa.Connection, filters: Filters, overriding: Collection[str], limit: int
) -> tuple[int, list[Changed]]:
    """Return how many deliveries `retry` would move, and the newest of them."""
    chosen = (*filters.conditions(), _CAN_MOVE, ~_is_suppressed(overriding))
    newest = sa.select(*_CHANGED).where(*chosen).order_by(Delivery.id.desc()).limit(limit)
    return _number(connection, chosen), [Changed(*row) for row in connection.execute(newest)]


def held_back(
    connection: sa.Connection, filters: Filters, overriding: Collection[str], limit: int | None
) -> tuple[int, list[HeldBack]]:
    """Return how many deliveries `retry` leaves as they are because their recipients are
    suppressed, and the newest of them."""
    chosen = (*filters.conditions(), _CAN_MOVE, _is_suppressed(overriding))
    newest = (
        sa.select(Delivery.id, Delivery.email_id, Delivery.recipient, Email.category)
        .join(Email, Email.id == Delivery.email_id)
        .where(*chosen)
        .order_by(Delivery.id.desc())
        .limit(limit)
    )
    rows = connection.execute(newest).all()
    number = len(rows) if len(rows) != limit else _number(connection, chosen)
    known = suppressions.among(connection, [row.recipient.lower() for row in rows])
    held = [
        HeldBack(row.id, row.email_id, row.recipient, why)
        for row in rows
        if (why := suppressions.choose(known, row.recipient, row.category))
    ]
    return number, held


def _number(connection: sa.Connection, chosen: Sequence[sa.ColumnElement[bool]]) -> int:
    counted = sa.select(sa.func.count()).select_from(Delivery).where(*chosen)
    return connection.execute(counted).scalar_one()


def retry(
    connection: sa.Connection,
    filters: Filters,
    overriding: Collection[str],
    actor: str,
    attempts_allowed: int,
) -> list[Changed]:
    is_welcome = ~_is_suppressed(overriding)
    # First, so that what is opened below cannot be taken for one that waits.
    sooner = (
        sa.update(Delivery)
        .where(*filters.conditions(), IS_DEFERRED, is_welcome)
        .values(due_at=now(), updated_at=now())
        .returning(*_CHANGED)
    )
    is_final = sa.and_(*filters.conditions(), _IS_FINAL, is_welcome)
    _keep_content(connection, is_final)
    again = (
        sa.update(Delivery)
        .where(is_final, _HAS_CONTENT)
        .values(**_opened(attempts_allowed), updated_at=now())
        .returning(*_CHANGED)
    )
    return [
        *_apply(connection, sooner, actor, "brought forward"),
        *_apply(connection, again, actor, OPENING[0]),
    ]


def cancel(
    connection: sa.Connection, conditions: Sequence[sa.ColumnElement[bool]], actor: str
) -> list[Changed]:
    statement = (
        sa.update(Delivery)
        .where(*conditions, Delivery.status == Status.QUEUED.value)
        .values(status=Status.CANCELLED.value, reason=f"cancelled by {actor}", updated_at=now())
        .returning(*_CHANGED)
    )
    changed = _apply(connection, statement, actor, "cancelled")
    _note(connection, "email.canceled", changed, {"words": "cancelled before it was sent"})
    return changed


def reschedule(
    connection: sa.Connection, email_id: str, send_at: datetime, actor: str
) -> list[Changed]:
    """Have deliveries that wait for their time wait for another one."""
    statement = (
        sa.update(Delivery)
        .where(Delivery.email_id == email_id, IS_SCHEDULED)
        .values(due_at=send_at, updated_at=now())
        .returning(*_CHANGED)
    )
    action = f"rescheduled to {send_at:%Y-%m-%d %H:%M:%S} UTC"
    changed = _apply(connection, statement, actor, action)
    if changed:
        events.note(connection, [events.scheduled(email_id, send_at)])
    return changed


def resolve(
    connection: sa.Connection, filters: Filters, sent: bool, actor: str, attempts_allowed: int
) -> list[Changed]:
    values: dict[str, Any] = {"status": Status.SENT.value, "reason": None}
    chosen = sa.and_(*filters.conditions(), Delivery.status == Status.UNKNOWN.value)
    if not sent:
        values = _opened(attempts_allowed)
        _keep_content(connection, chosen)
        chosen = sa.and_(chosen, _HAS_CONTENT)
    statement = (
        sa.update(Delivery).where(chosen).values(**values, updated_at=now()).returning(*_CHANGED)
    )
    action = "resolved: sent" if sent else OPENING[1]
    changed = _apply(connection, statement, actor, action)
    if sent and changed:
        erase_contexts(connection, {one.email_id for one in changed})
        _note(connection, "email.sent", changed, {})
    return changed


def _keep_content(connection: sa.Connection, chosen: sa.ColumnElement[bool]) -> None:
    """From here to the commit no content of these is erased; of what was before, the next statement
    knows."""
    emails = sa.select(Delivery.email_id).where(chosen)
    keep = sa.select(Email.id).where(Email.id.in_(emails)).order_by(Email.id)
    connection.execute(keep.with_for_update(read=True))


def _note(
    connection: sa.Connection, kind: str, changed: list[Changed], details: dict[str, Any]
) -> None:
    notes = [events.Note(kind, one.email_id, one.delivery_id, details) for one in changed]
    events.note(connection, notes)


def _apply(
    connection: sa.Connection,
    statement: sa.sql.dml.ReturningUpdate[int, str, str, str],
    actor: str,
    action: str,
) -> list[Changed]:
    changed = [Changed(*row) for row in connection.execute(statement)]
    if changed:
        connection.execute(
            sa.insert(AuditEntry).values(at=now(), actor=actor, action=action),
            [{"delivery_id": one.delivery_id} for one in changed],
        )
    return changed
