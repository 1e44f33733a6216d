"""Tell: take due events for one attempt each to tell their webhooks, and record what came of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..errors import NotFound
from ..expressions import now
from ..models import (
    IS_PENDING,
    Delivery,
    Email,
    Event,
    EventAttempt,
    Suppression,
    Webhook,
)
from .events import TRIED_FOR_SECONDS

_QUIET_SECONDS = 60.0
"""Who tells anything ends an attempt within so long."""
LEASE_SECONDS = 120.0
"""An attempt takes some 15 seconds, and as long as a name takes to be resolved."""
PROBED_AFTER = 5
"""Failures in a row after which a webhook is told one event at a time."""
REST_MAX_SECONDS = 300.0
"""The longest pause between two looks whether a webhook that only fails is back."""


class Telling(NamedTuple):
    """An event taken for one attempt to tell it."""

    event_id: str
    webhook_id: str
    url: str
    secrets: tuple[str, ...]
    """With which it is signed, the newest first."""
    claim: str
    type: str
    at: datetime
    attempt: int
    age: float
    """Seconds since it was noted, or somebody had it told again."""
    instant: float
    """When it was claimed, by the database's clock."""
    details: Mapping[str, Any]
    email: Any
    """``id, created_at, lane, template, subject, addresses, tags``"""
    recipient: str | None
    """None: it is about the email as a whole."""
    suppressed_for: str | None
    """Why its recipient is not to be mailed: a `Suppression.origin`."""

    def __repr__(self) -> str:
        return f"<Telling {self.event_id}>"  # not its secrets


class Told(NamedTuple):
    """What came of an attempt to tell an event."""

    telling: Telling
    ok: bool
    code: int | None
    """Of HTTP; None: there was no answer."""
    words: str
    milliseconds: int
    delay: float = 0
    """Seconds until it is tried again."""
    rest: float = 0
    """Seconds for which the webhook wants to be told nothing."""
    gone: bool = False
    """It wants to be told nothing for ever."""


_is_told = sa.and_(
    Webhook.disabled_at.is_(None),
    sa.or_(Webhook.rests_until.is_(None), Webhook.rests_until <= now()),
)
_has_due = (
    sa.select(Event.id)
    .where(Event.webhook_id == Webhook.id, IS_PENDING, Event.due_at <= now())
    .correlate(Webhook)
    .exists()
)
_IS_DUE = sa.select(Webhook.id).where(_is_told, _has_due).limit(1)
_DUE_WEBHOOKS = (
    sa.select(
        Webhook.id,
        Webhook.url,
        Webhook.secret,
        sa.case((Webhook.previous_until > now(), Webhook.previous_secret)).label("previous"),
        Webhook.failures,
    )
    .where(_is_told, _has_due)
    .order_by(Webhook.id)
)


def is_due(connection: sa.Connection) -> bool:
    return connection.execute(_IS_DUE).first() is not None


_first_due = (
    sa.select(sa.func.min(Event.due_at))
    .where(Event.webhook_id == Webhook.id, IS_PENDING)
    .correlate(Webhook)
    .scalar_subquery()
)
_OVERDUE = sa.select(
    sa.type_coerce(now() - _first_due, sa.Double),
    sa.type_coerce(now() - Webhook.rests_until, sa.Double),
).where(_is_told)


_IS_TELLING = (
    sa.select(EventAttempt.ended_at > now() - _QUIET_SECONDS)
    .order_by(EventAttempt.id.desc())
    .limit(1)
)


def overdue(connection: sa.Connection) -> float | None:
    """Return for how many seconds an event could have been told, less the rest of its webhook,
    while nobody is told anything; None: none is due, or its turn comes."""
    if connection.scalar(_IS_TELLING):
        return None
    seconds = [
        due if rested is None else min(due, rested)
        for due, rested in connection.execute(_OVERDUE)
        if due is not None and due >= 0
    ]
    return max(seconds, default=None)


class Failing(NamedTuple):
    """A webhook whose last attempt failed."""

    url: str
    seconds: float
    """For how long it has failed."""


_FAILING = sa.select(
    Webhook.id, Webhook.url, sa.type_coerce(now() - Webhook.failing_since, sa.Double)
).where(Webhook.disabled_at.is_(None), Webhook.failing_since.is_not(None))


def failing(connection: sa.Connection) -> dict[str, Failing]:
    """Return the webhooks that fail, by their ids; those that are disabled rest."""
    return {id: Failing(url, seconds) for id, url, seconds in connection.execute(_FAILING)}


_due = (
    sa.select(Event.id)
    .where(Event.webhook_id == sa.bindparam("webhook_"), IS_PENDING, Event.due_at <= now())
    .order_by(Event.due_at, Event.id)
    .limit(sa.bindparam("limit_"))
    .with_for_update(skip_locked=True)
    .cte("due")
)
_TAKEN = (
    Event.id,
    Event.type,
    Event.at,
    Event.attempts,
    Event.email_id,
    Event.delivery_id,
    Event.details,
    sa.type_coerce(now() - Event.tried_until + TRIED_FOR_SECONDS, sa.Double).label("age"),
    now().label("instant"),
)
_CLAIM = (
    sa.update(Event)
    .where(Event.id.in_(sa.select(_due.c.id)))
    .values(
        claim=sa.bindparam("claim_"),
        attempts=Event.attempts + 1,
        due_at=now() + sa.bindparam("lease_", type_=sa.Double()),
    )
    .returning(*_TAKEN)
)


def claim(
    connection: sa.Connection, busy: Mapping[str, int], *, each: int, limit: int
) -> list[Telling]:
    """Take up to ``limit`` due events, of no webhook more than makes ``each`` with those in hand:
    ``busy``, by webhook. Whoever has least in hand comes first."""
    token = str(uuid.uuid4())
    webhooks = connection.execute(_DUE_WEBHOOKS).all()
    rows: list[tuple[sa.Row[Any], sa.Row[Any]]] = []
    for webhook in sorted(webhooks, key=lambda one: busy.get(one.id, 0)):
        allowed = 1 if webhook.failures >= PROBED_AFTER else each
        room = min(allowed - busy.get(webhook.id, 0), limit - len(rows))
        if room > 0:
            values = {
                "webhook_": webhook.id, "claim_": token, "limit_": room, "lease_": LEASE_SECONDS,
            }  # fmt: skip
            rows += [(webhook, row) for row in connection.execute(_CLAIM, values)]
    return _tellings(connection, rows, token)


_SEEN = sa.select(*_TAKEN).where(Event.id == sa.bindparam("id_"))
_OF_EVENT = (
    sa.select(Webhook.id, Webhook.url, sa.null().label("secret"), sa.null().label("previous"))
    .join(Event, Event.webhook_id == Webhook.id)
    .where(Event.id == sa.bindparam("id_"))
)


def look(connection: sa.Connection, event_id: str) -> Telling:
    """Return an event as it would be told now, taken by nobody and without the secrets. Raises
    NotFound."""
    webhook = connection.execute(_OF_EVENT, {"id_": event_id}).one_or_none()
    if webhook is None:
        raise NotFound(f"there is no event {event_id!r}")
    event = connection.execute(_SEEN, {"id_": event_id}).one()
    return _tellings(connection, [(webhook, event)], "")[0]


def _tellings(
    connection: sa.Connection, rows: Sequence[tuple[Any, Any]], token: str
) -> list[Telling]:
    """Return events, each with its webhook, as they are told."""
    if not rows:
        return []
    events = [row for _, row in rows]
    emails = _emails(connection, {row.email_id for row in events})
    recipients = _recipients(connection, {row.delivery_id for row in events} - {None})
    origins = _origins(
        connection,
        {recipients[row.delivery_id] for row in events if row.type == "email.suppressed"},
    )
    return [
        Telling(
            event_id=row.id,
            webhook_id=webhook.id,
            url=webhook.url,
            secrets=tuple(one for one in (webhook.secret, webhook.previous) if one),
            claim=token,
            type=row.type,
            at=row.at,
            attempt=row.attempts,
            age=row.age,
            instant=row.instant,
            details=row.details,
            email=emails[row.email_id],
            recipient=(recipient := recipients.get(row.delivery_id)),
            suppressed_for=origins.get(recipient.lower()) if recipient else None,
        )
        for webhook, row in sorted(rows, key=lambda pair: pair[1].id)
    ]


def _emails(connection: sa.Connection, ids: Iterable[str]) -> dict[str, sa.Row[Any]]:
    columns = (
        Email.id, Email.created_at, Email.lane, Email.template, Email.subject, Email.addresses,
        Email.tags,
    )  # fmt: skip
    rows = connection.execute(sa.select(*columns).where(Email.id.in_(ids)))
    return {row.id: row for row in rows}


def _recipients(connection: sa.Connection, ids: Iterable[int]) -> dict[int, str]:
    statement = sa.select(Delivery.id, Delivery.recipient).where(Delivery.id.in_(ids))
    return {row.id: row.recipient for row in connection.execute(statement)}


def _origins(connection: sa.Connection, recipients: Iterable[str]) -> dict[str, str]:
    addresses = [recipient.lower() for recipient in recipients]
    if not addresses:
        return {}
    statement = (
        sa.select(Suppression.address, Suppression.origin)
        .where(Suppression.address.in_(addresses))
        .order_by(Suppression.category.desc())  # what is for all mail last: it counts
    )
    return {row.address: row.origin for row in connection.execute(statement)}


# Whoever has the claim by now: it was told.
_DELIVERED = (
    sa.update(Event)
    .where(Event.id == sa.bindparam("id_"), Event.status != "delivered")
    .values(status="delivered", claim=None)
    .returning(Event.id, Event.status)
)
_next = now() + sa.bindparam("delay_", type_=sa.Double())
_FAILED = (
    sa.update(Event)
    .where(Event.id == sa.bindparam("id_"), Event.claim == sa.bindparam("claim_"), IS_PENDING)
    .values(
        status=sa.case((Event.tried_until <= now(), "failed"), else_="pending"),
        # Once more at the end of its time.
        due_at=sa.case((_next > Event.tried_until, Event.tried_until), else_=_next),
        claim=None,
    )
    .returning(Event.id, Event.status)
)
_ATTEMPT = sa.insert(EventAttempt).values(ended_at=now())
_RECOVERED = (
    sa.update(Webhook)
    .where(Webhook.id == sa.bindparam("id_"), Webhook.failures > 0)
    .values(failures=0, failing_since=None, rests_until=None)
)
_FAILS = (
    sa.update(Webhook)
    .where(Webhook.id == sa.bindparam("id_"))
    .values(
        failures=Webhook.failures + sa.bindparam("number_", type_=sa.Integer()),
        failing_since=sa.func.coalesce(Webhook.failing_since, now()),
    )
    .returning(
        Webhook.failures,
        sa.type_coerce(now() - Webhook.failing_since, sa.Double).label("failing_for"),
    )
)
_rest = now() + sa.bindparam("rest_", type_=sa.Double())
_REST = (
    sa.update(Webhook)
    .where(
        Webhook.id == sa.bindparam("id_"),
        sa.or_(Webhook.rests_until.is_(None), Webhook.rests_until < _rest),
    )
    .values(rests_until=_rest)
)


class Settled(NamedTuple):
    """What was recorded."""

    statuses: dict[str, str]
    """By event: what it is now. One that is not here was erased, or belongs to another claim."""
    disabled: dict[str, str]
    """By webhook: why it is told nothing any more."""


def settle(connection: sa.Connection, told: Sequence[Told]) -> Settled:
    settled = Settled({}, {})
    # In one order: of two at once, each would wait for a webhook that the other one has.
    by_webhook: dict[str, list[Told]] = {}
    for one in sorted(told, key=lambda one: (one.telling.webhook_id, one.telling.event_id)):
        by_webhook.setdefault(one.telling.webhook_id, []).append(one)
    for webhook_id, several in by_webhook.items():
        recorded = [one for one in several if _record(connection, one, settled)]
        failed = [one for one in recorded if not one.ok]
        if len(failed) < len(recorded):
            connection.execute(_RECOVERED, {"id_": webhook_id})
        reason = failed and _note_failures(connection, webhook_id, failed)
        if reason and disable(connection, webhook_id, reason):
            settled.disabled[webhook_id] = reason
    return settled


def _record(connection: sa.Connection, one: Told, settled: Settled) -> bool:
    if one.ok:
        row = connection.execute(_DELIVERED, {"id_": one.telling.event_id}).first()
    else:
        values = {
            "id_": one.telling.event_id, "claim_": one.telling.claim, "delay_": one.delay,
        }  # fmt: skip
        row = connection.execute(_FAILED, values).first()
    if row is None:
        return False
    settled.statuses[row.id] = row.status
    attempt = {
        "event_id": row.id,
        "number": one.telling.attempt,
        "code": one.code,
        "words": one.words,
        "milliseconds": one.milliseconds,
    }
    connection.execute(_ATTEMPT, attempt)
    return True


def _note_failures(connection: sa.Connection, webhook_id: str, failed: list[Told]) -> str | None:
    """Return why the webhook is to be told nothing any more."""
    row = connection.execute(_FAILS, {"id_": webhook_id, "number_": len(failed)}).one_or_none()
    if row is None:
        return None  # deleted meanwhile
    rest = max(one.rest for one in failed)
    if row.failures >= PROBED_AFTER:
        rest = max(rest, min(REST_MAX_SECONDS, 2.0 ** min(row.failures - PROBED_AFTER, 30)))
    if rest:
        connection.execute(_REST, {"id_": webhook_id, "rest_": rest})
    if any(one.gone for one in failed):
        return "it answered 410 Gone"
    if row.failing_for >= TRIED_FOR_SECONDS:
        days = TRIED_FOR_SECONDS / 86_400
        return f"nothing could be told for {days:.0f} days: {failed[-1].words}"
    return None


def disable(connection: sa.Connection, webhook_id: str, reason: str) -> bool:
    """Tell a webhook nothing any more. False: it was so already, or there is no such webhook."""
    statement = (
        sa.update(Webhook)
        .where(Webhook.id == webhook_id, Webhook.disabled_at.is_(None))
        .values(disabled_at=now(), disabled_reason=reason)
    )
    return connection.execute(statement).rowcount == 1
