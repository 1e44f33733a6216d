"""Claim: take due deliveries for one attempt each."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..expressions import now, one_of
from ..models import IS_QUEUED, Delivery, Email, Status
from ..prepared import Prepared
from . import suppressions
from .suppressions import Suppressed
from .switches import is_paused

_decode = json.JSONDecoder().decode  # json.loads looks at its arguments first, each time


class ClaimedEmail:
    """What sending needs of an `Email`. Not to be shown: its context may hold secrets.

    Its JSON is decoded when it is asked for, one email at a time and not within the claim: there it
    was two thirds of 33 ms for 1,000 emails, while nobody else could write to SQLite.
    """

    def __init__(self, row: tuple[Any, ...]) -> None:
        (
            self.id,
            created_at,
            self.lane,
            self.template,
            self.locale,
            self._context,
            self.subject,
            self.text,
            self.html,
            self._addresses,
            self._headers,
            self.has_attachments,
            self.on_unknown,
            erased_at,
            self.category,
            self.request_id,
            self.traceparent,
            is_test,
            _,
        ) = row
        self.is_test = bool(is_test)
        self.created_at = datetime.fromtimestamp(created_at, UTC)
        self.erased_at = erased_at and datetime.fromtimestamp(erased_at, UTC)

    @cached_property
    def context(self) -> dict[str, Any] | None:
        return None if self._context is None else _decode(self._context)

    @cached_property
    def addresses(self) -> dict[str, list[list[str]]]:
        found: dict[str, list[list[str]]] = _decode(self._addresses)
        return found

    @cached_property
    def headers(self) -> dict[str, str]:
        found: dict[str, str] = _decode(self._headers)
        return found


_SENDING_NEEDS = (
    Email.id,
    Email.created_at,
    Email.lane,
    Email.template,
    Email.locale,
    Email.context,
    Email.subject,
    Email.text,
    Email.html,
    Email.addresses,
    Email.headers,
    Email.has_attachments,
    Email.on_unknown,
    Email.erased_at,
    Email.category,
    Email.request_id,
    Email.traceparent,
    Email.is_test,
)


class Claimed(NamedTuple):
    """A delivery taken for one attempt."""

    delivery_id: int
    email: ClaimedEmail
    recipient: str
    attempt: int
    """Number of this attempt, from 1."""
    attempts_allowed: int
    has_turn: bool = False
    """It waited for a turn, which is now."""
    suppression: Suppressed | None = None
    """Why it is not to be sent, unless its template says otherwise."""

    def __repr__(self) -> str:
        return f"<Claimed {self.delivery_id}>"  # the email has the context


class Batch(NamedTuple):
    """What one claim took. Empty when nothing was due, or other workers have it."""

    token: str
    deliveries: list[Claimed]


_IS_DUE = (
    Delivery.lane == sa.bindparam("lane_"),
    IS_QUEUED,
    Delivery.due_at <= now(),
    sa.or_(Delivery.expires_at.is_(None), Delivery.expires_at > now()),
)
_OLDEST = Prepared(
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
_CLAIM = Prepared(
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
        sa.type_coerce(Delivery.due_at, sa.Double),
    )
)
_EMAILS = Prepared(
    sa.select(*_SENDING_NEEDS, suppressions.HOW_MANY).where(one_of(Email.id, "ids_"))
)


def claim(connection: sa.Connection, lane: str, limit: int, lease_seconds: float) -> Batch:
    token = str(uuid.uuid4())
    crashes = _OLDEST.scalar(connection, {"lane_": lane})
    if crashes is None:
        return Batch(token, [])
    # What was in hand when a worker died goes alone: if it did that, it takes no other with it.
    alone = crashes > 0
    values = {"lane_": lane, "claim_": token, "lease_": lease_seconds}
    rows = _CLAIM.rows(connection, {**values, "limit_": 1 if alone else limit, "alone_": alone})
    if not rows:
        return Batch(token, [])
    addresses = [recipient.lower() for _, _, recipient, *_ in rows]
    email_ids = list({email_id for _, email_id, *_ in rows})
    found = _EMAILS.rows(connection, {"ids_": email_ids, "addresses_": addresses})
    known = suppressions.among(connection, addresses) if found[0][-1] else {}
    emails = {row[0]: ClaimedEmail(row) for row in found}
    rows.sort(key=_place)  # RETURNING has no order
    deliveries = [
        Claimed(
            id,
            emails[email_id],
            recipient,
            attempt,
            attempts_allowed,
            bool(has_turn),
            suppressions.choose(known, recipient, emails[email_id].category) if known else None,
        )
        for id, email_id, recipient, attempt, attempts_allowed, has_turn, _ in rows
    ]
    return Batch(token, deliveries)


def _place(row: tuple[Any, ...]) -> tuple[float, int]:
    return row[6], row[0]


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
