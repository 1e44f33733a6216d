"""Sweep: what time alone changes. Harmless when several run at once."""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa

from ..expressions import now
from ..models import LANES, Attempt, AuditEntry, Delivery, Email, Status, Sweeps
from . import events, jobs, proof, telling
from .settling import erase_contexts
from .switches import is_paused

CRASHES_ALLOWED = 3
"""Leases of one delivery that may run out in a row before it is taken for poison."""

AT_ONCE = 1000
"""Rows changed per sweep, so that it never holds the write lock for long."""


class Swept(NamedTuple):
    """What a sweep found."""

    crashed: int
    expired: int
    due: dict[str, str]
    """Lane -> id of its oldest due email, for lanes that have one and are not paused."""
    events_due: bool
    """Whether webhooks are to be told something."""
    jobs_due: list[str]
    """Jobs that wait for a worker."""


def sweep(connection: sa.Connection) -> Swept:
    swept = _sweep(connection)
    # Last: sweeps at once wait for each other here.
    connection.execute(sa.update(Sweeps).values(swept_at=now(), scheduled_at=now()))
    return swept


def stand_in(connection: sa.Connection, seconds: float) -> Swept | None:
    """Sweep in the scheduler's place unless somebody did within ``seconds``: then None."""
    overdue = sa.update(Sweeps).where(Sweeps.swept_at < now() - seconds).values(swept_at=now())
    return _sweep(connection) if connection.execute(overdue).rowcount else None


def seconds_since_scheduled(connection: sa.Connection) -> float | None:
    return connection.execute(
        sa.select(sa.type_coerce(now() - sa.func.max(Sweeps.scheduled_at), sa.Double))
    ).scalar()


def seconds_since_swept(connection: sa.Connection) -> float | None:
    return connection.execute(
        sa.select(sa.type_coerce(now() - sa.func.max(Sweeps.swept_at), sa.Double))
    ).scalar()


def _sweep(connection: sa.Connection) -> Swept:
    return Swept(
        crashed=_give_up_leases(connection),
        expired=_expire(connection),
        due=due_lanes(connection),
        events_due=telling.is_due(connection),
        jobs_due=jobs.due(connection),
    )


_holds = (
    sa.select(Email.on_unknown == "hold").where(Email.id == Delivery.email_id).scalar_subquery()
)
# Only what was marked may have left: whether the server has it, a person finds out.
_left = sa.and_(_holds, Delivery.marked_at.is_not(None))
_poison = Delivery.crashes + 1 >= CRASHES_ALLOWED
_used_up = Delivery.attempts >= Delivery.attempts_allowed
_lapsed = (
    sa.select(Delivery.id)
    .where(Delivery.status == Status.SENDING.value, Delivery.lease_until < now())
    .limit(AT_ONCE)
    .with_for_update(skip_locked=True)
    .cte("lapsed")
)
_GIVE_UP = (
    sa.update(Delivery)
    .where(Delivery.id.in_(sa.select(_lapsed.c.id)))
    .values(
        status=sa.case(
            (_left, Status.UNKNOWN.value),
            (_poison, Status.FAILED.value),
            (sa.and_(_used_up, _holds), Status.FAILED.value),
            (_used_up, Status.UNKNOWN.value),
            else_=Status.QUEUED.value,
        ),
        crashes=Delivery.crashes + 1,
        # An unmarked `hold` is known not to have left.
        ambiguous=Delivery.ambiguous + sa.case((sa.and_(_holds, ~_left), 0), else_=1),
        claim=None,
        lease_until=None,
        due_at=now(),
        stage="lease",
        code=None,
        enhanced=None,
        reason=sa.case(
            (_left, "the worker stopped after the message had begun to leave; nothing was heard"),
            (_poison, "poison: workers stopped while sending it, again and again"),
            (_used_up, "the worker stopped during the last attempt; nothing was heard"),
            else_="the worker stopped while sending",
        ),
        updated_at=now(),
    )
    .returning(Delivery.id, Delivery.email_id, Delivery.attempts, Delivery.status, Delivery.reason)
)


def _give_up_leases(connection: sa.Connection) -> int:
    rows = connection.execute(_GIVE_UP).all()
    if rows:
        connection.execute(
            sa.insert(Attempt).values(outcome="crashed", stage="lease", ended_at=now()),
            [
                {
                    "delivery_id": row.id,
                    "number": row.attempts,
                    "status": row.status,
                    "words": row.reason,
                }
                for row in rows
            ],
        )
        proven = {one.delivery_id: one for one in proof.prove(connection, [row.id for row in rows])}
        if proven:
            erase_contexts(connection, {one.email_id for one in proven.values()})
        notes = [
            events.Note(
                events.TYPE_OF[Status(row.status)],
                row.email_id,
                row.id,
                {"words": row.reason, "attempt": row.attempts},
            )
            for row in rows
            if row.id not in proven  # told as sent
        ]
        events.note(connection, notes)
    return len(rows)


_late = (
    sa.select(Delivery.id)
    .where(Delivery.status == Status.QUEUED.value, Delivery.expires_at <= now())
    .limit(AT_ONCE)
    .with_for_update(skip_locked=True)
    .cte("late")
)
_TOO_LATE = "expired before it was sent"
_EXPIRE = (
    sa.update(Delivery)
    .where(Delivery.id.in_(sa.select(_late.c.id)))
    .values(status=Status.EXPIRED.value, reason=_TOO_LATE, updated_at=now())
    .returning(Delivery.id, Delivery.email_id)
)


def _expire(connection: sa.Connection) -> int:
    rows = connection.execute(_EXPIRE).all()
    if rows:
        connection.execute(
            sa.insert(AuditEntry).values(at=now(), actor="sweep", action="expired"),
            [{"delivery_id": id} for id, _ in rows],
        )
        why = {"words": _TOO_LATE}
        notes = [events.Note("email.expired", email_id, id, why) for id, email_id in rows]
        events.note(connection, notes)
    return len(rows)


_OLDEST_DUE = (
    sa.select(Delivery.email_id)
    .where(
        Delivery.lane == sa.bindparam("lane_"),
        Delivery.status == Status.QUEUED.value,
        Delivery.due_at <= now(),
        ~is_paused(sa.bindparam("lane_", type_=sa.String())),
    )
    .order_by(Delivery.due_at, Delivery.id)
    .limit(1)
)


_NEXT_DUE = (
    sa.select(Delivery.email_id, sa.type_coerce(Delivery.due_at - now(), sa.Double))
    .where(
        Delivery.lane == sa.bindparam("lane_"),
        Delivery.status == Status.QUEUED.value,
        ~is_paused(sa.bindparam("lane_", type_=sa.String())),
    )
    .order_by(Delivery.due_at, Delivery.id)
    .limit(1)
)


def next_due(connection: sa.Connection, lane: str) -> tuple[str, float] | None:
    found = connection.execute(_NEXT_DUE, {"lane_": lane}).one_or_none()
    return found and (found[0], found[1])


def due_lanes(connection: sa.Connection) -> dict[str, str]:
    found: dict[str, Any] = {
        lane: connection.execute(_OLDEST_DUE, {"lane_": lane}).scalar() for lane in LANES
    }
    return {lane: email_id for lane, email_id in found.items() if email_id is not None}
