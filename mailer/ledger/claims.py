"""Claim and settle: take due deliveries for one attempt each, and record how it ended."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..db import now
from ..models import Attempt, Delivery, Email, Status
from ..outcome import UNBEGUN, Kind, Outcome
from .switches import is_paused


class Claimed(NamedTuple):
    """A delivery taken for one attempt."""

    delivery_id: int
    email: sa.Row[Any]
    """The columns of `Email`."""
    recipient: str
    attempt: int
    """Number of this attempt, from 1."""
    attempts_allowed: int
    has_turn: bool = False
    """It waited for a turn, which is now."""

    def __repr__(self) -> str:
        return f"<Claimed {self.delivery_id}>"  # the row has the context


class Batch(NamedTuple):
    """What one claim took. Empty when nothing was due, or other workers have it."""

    token: str
    deliveries: list[Claimed]


class Settlement(NamedTuple):
    """How one claimed delivery goes on."""

    delivery_id: int
    email_id: str
    attempt: int
    outcome: Outcome
    status: Status
    delay: float = 0
    """Seconds until it is due again; only for ``queued``."""
    charged: bool = True
    """False gives the attempt back: nothing was learned about this email."""


_IS_DUE = (
    Delivery.lane == sa.bindparam("lane_"),
    Delivery.status == Status.QUEUED.value,
    Delivery.due_at <= now(),
    sa.or_(Delivery.expires_at.is_(None), Delivery.expires_at > now()),
)
_OLDEST = (
    sa.select(Delivery.crashes)
    .where(*_IS_DUE, ~is_paused(sa.bindparam("lane_", type_=sa.String())))
    .order_by(Delivery.due_at, Delivery.id)
    .limit(1)
)
_due = (
    sa.select(Delivery.id)
    .where(*_IS_DUE, sa.or_(Delivery.crashes == 0, sa.bindparam("alone_", type_=sa.Boolean())))
    .order_by(Delivery.due_at, Delivery.id)
    .limit(sa.bindparam("limit_"))
    .with_for_update(skip_locked=True)  # SQLite has one writer at a time, and leaves it out
    # A CTE, because PostgreSQL may run a plain subquery with LIMIT more than once.
    .cte("due")
)
_CLAIM = (
    sa.update(Delivery)
    .where(Delivery.id.in_(sa.select(_due.c.id)))
    .values(
        status=Status.SENDING.value,
        attempts=Delivery.attempts + 1,
        claim=sa.bindparam("claim_"),
        lease_until=now() + sa.bindparam("lease_", type_=sa.Double()),
        marked_at=None,
        updated_at=now(),
    )
    .returning(
        Delivery.id,
        Delivery.email_id,
        Delivery.recipient,
        Delivery.attempts,
        Delivery.attempts_allowed,
        Delivery.has_turn,
        Delivery.due_at,
    )
)
_EMAILS = sa.select(Email.__table__).where(Email.id.in_(sa.bindparam("ids", expanding=True)))


def claim(connection: sa.Connection, lane: str, limit: int, lease_seconds: float) -> Batch:
    token = str(uuid.uuid4())
    crashes = connection.execute(_OLDEST, {"lane_": lane}).scalar()
    if crashes is None:
        return Batch(token, [])
    # What was in hand when a worker died goes alone: if it did that, it takes no other with it.
    alone = crashes > 0
    values = {"lane_": lane, "claim_": token, "lease_": lease_seconds}
    rows = connection.execute(
        _CLAIM, {**values, "limit_": 1 if alone else limit, "alone_": alone}
    ).all()
    if not rows:
        return Batch(token, [])
    found = connection.execute(_EMAILS, {"ids": list({row.email_id for row in rows})})
    emails = {email.id: email for email in found}
    rows = sorted(rows, key=lambda row: (row.due_at, row.id))  # RETURNING has no order
    deliveries = [
        Claimed(
            row.id,
            emails[row.email_id],
            row.recipient,
            row.attempts,
            row.attempts_allowed,
            row.has_turn,
        )
        for row in rows
    ]
    return Batch(token, deliveries)


_MARK = (
    sa.update(Delivery)
    .where(
        Delivery.id == sa.bindparam("delivery_id_"),
        Delivery.claim == sa.bindparam("claim_"),
        Delivery.status == Status.SENDING.value,
    )
    .values(marked_at=now())
)


def mark(connection: sa.Connection, token: str, delivery_id: int) -> bool:
    result = connection.execute(_MARK, {"delivery_id_": delivery_id, "claim_": token})
    return result.rowcount == 1


# A 250 is always recorded, whoever holds the claim by now and whatever was decided meanwhile:
# the server has the message.
_SENT = (
    sa.update(Delivery)
    .where(
        Delivery.id.in_(sa.bindparam("ids", expanding=True)), Delivery.status != Status.SENT.value
    )
    .values(
        status=Status.SENT.value,
        claim=None,
        lease_until=None,
        crashes=0,
        stage=None,
        code=None,
        enhanced=None,
        reason=None,
        updated_at=now(),
    )
)
_OTHER = (
    sa.update(Delivery)
    .where(
        Delivery.id == sa.bindparam("delivery_id_"),
        Delivery.claim == sa.bindparam("claim_"),
        Delivery.status == Status.SENDING.value,
    )
    .values(
        status=sa.bindparam("status_"),
        due_at=now() + sa.bindparam("delay_", type_=sa.Double()),
        attempts=Delivery.attempts - sa.bindparam("given_back_", type_=sa.Integer()),
        ambiguous=Delivery.ambiguous + sa.bindparam("ambiguous_", type_=sa.Integer()),
        crashes=0,
        has_turn=False,
        claim=None,
        lease_until=None,
        stage=sa.bindparam("stage_"),
        code=sa.bindparam("code_"),
        enhanced=sa.bindparam("enhanced_"),
        reason=sa.bindparam("reason_"),
        updated_at=now(),
    )
)
# What was not begun keeps its place in the order, and the reason of its last attempt.
_HAND_BACK = (
    sa.update(Delivery)
    .where(
        Delivery.id.in_(sa.bindparam("ids", expanding=True)),
        Delivery.claim == sa.bindparam("claim_"),
        Delivery.status == Status.SENDING.value,
    )
    .values(
        status=Status.QUEUED.value,
        attempts=Delivery.attempts - 1,
        claim=None,
        lease_until=None,
        updated_at=now(),
    )
)
# Nor was this begun, but its turn comes later: at the head of the queue it would be claimed again
# and again, before all that may leave.
_CAP = (
    sa.update(Delivery)
    .where(
        Delivery.id == sa.bindparam("delivery_id_"),
        Delivery.claim == sa.bindparam("claim_"),
        Delivery.status == Status.SENDING.value,
    )
    .values(
        status=Status.QUEUED.value,
        due_at=now() + sa.bindparam("delay_", type_=sa.Double()),
        attempts=Delivery.attempts - 1,
        has_turn=True,
        claim=None,
        lease_until=None,
        reason=sa.bindparam("reason_"),
        updated_at=now(),
    )
)
# What somebody erased meanwhile is gone, and on SQLite its number may be another's by now. The lock
# keeps the rest until the commit, and is in the way of nothing but erasing.
_THERE = (
    sa.select(Delivery.id, Delivery.email_id)
    .where(Delivery.id.in_(sa.bindparam("ids", expanding=True)))
    .with_for_update(read=True, key_share=True)
)
_ATTEMPT = sa.insert(Attempt).values(ended_at=now())
# Secrets may be in a context: keep it no longer than a delivery can need it.
_ERASE = (
    sa.update(Email)
    .where(
        Email.id.in_(sa.bindparam("ids", expanding=True)),
        Email.context.is_not(None),
        ~sa.exists().where(Delivery.email_id == Email.id, Delivery.status != Status.SENT.value),
    )
    .values(context=None)
)


def settle(connection: sa.Connection, token: str, settlements: Sequence[Settlement]) -> None:
    there = {
        (row.id, row.email_id)
        for row in connection.execute(_THERE, {"ids": [one.delivery_id for one in settlements]})
    }
    settlements = [one for one in settlements if (one.delivery_id, one.email_id) in there]
    # An attempt that never began left no trace outside, and leaves none here.
    tried = [one for one in settlements if one.outcome.kind not in UNBEGUN]
    unbegun = [one for one in settlements if one.outcome.kind is Kind.NOT_STARTED]
    capped = [one for one in settlements if one.outcome.kind is Kind.CAPPED]
    sent = [one for one in tried if one.status is Status.SENT]
    other = [one for one in tried if one.status is not Status.SENT]
    if sent:
        connection.execute(_SENT, {"ids": [one.delivery_id for one in sent]})
    if other:
        connection.execute(_OTHER, [_transition(token, one) for one in other])
    if unbegun:
        ids = [one.delivery_id for one in unbegun]
        connection.execute(_HAND_BACK, {"ids": ids, "claim_": token})
    if capped:
        connection.execute(_CAP, [_turn(token, one) for one in capped])
    if tried:
        connection.execute(_ATTEMPT, [_attempt(one) for one in tried])
    if sent:
        erase_contexts(connection, {one.email_id for one in sent})


def erase_contexts(connection: sa.Connection, email_ids: Iterable[str]) -> None:
    """Erase the context of those of the emails whose every delivery is sent."""
    connection.execute(_ERASE, {"ids": list(email_ids)})


def _transition(token: str, one: Settlement) -> dict[str, Any]:
    return {
        "delivery_id_": one.delivery_id,
        "claim_": token,
        "status_": one.status.value,
        "delay_": one.delay,
        "given_back_": 0 if one.charged else 1,
        "ambiguous_": 1 if one.outcome.kind is Kind.AMBIGUOUS else 0,
        "stage_": one.outcome.stage,
        "code_": one.outcome.code,
        "enhanced_": one.outcome.enhanced,
        "reason_": one.outcome.words,
    }


def _turn(token: str, one: Settlement) -> dict[str, Any]:
    return {
        "delivery_id_": one.delivery_id,
        "claim_": token,
        "delay_": one.delay,
        "reason_": one.outcome.words,
    }


def _attempt(one: Settlement) -> dict[str, Any]:
    outcome = one.outcome
    return {
        "delivery_id": one.delivery_id,
        "number": one.attempt,
        "outcome": outcome.kind.value,
        "status": one.status.value,
        "transport": outcome.transport,
        "stage": outcome.stage,
        "code": outcome.code,
        "enhanced": outcome.enhanced,
        "words": outcome.words,
    }
