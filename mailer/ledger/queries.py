"""Read the ledger: lists, and one email's history."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..content import Attachment
from ..errors import NotFound
from ..models import (
    Attached,
    Attempt,
    AuditEntry,
    Delivery,
    Email,
    Event,
    EventAttempt,
    Report,
    Webhook,
)
from .filters import OUTCOME_OF, STATE_OF, Filters

Listed = Any  # a row of `listing`: the columns named there

_SMALLEST_ID = "00000000-0000-0000-0000-000000000000"
_SHORTEST_PREFIX = 4
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class History(NamedTuple):
    """One email and everything that happened to it."""

    email: sa.Row[Any]
    deliveries: list[sa.Row[Any]]
    attempts: dict[int, list[sa.Row[Any]]]
    """By delivery id, in order."""
    audit: dict[int, list[sa.Row[Any]]]
    reports: dict[int, list[sa.Row[Any]]]
    attachments: list[sa.Row[Any]]
    """``id, filename, content_type, content_id, size``, in order; the files stay where they are."""


def listing(connection: sa.Connection, filters: Filters, limit: int | None) -> list[sa.Row[Listed]]:
    statement = (
        sa.select(
            Delivery.id.label("delivery_id"),
            Delivery.email_id,
            Delivery.recipient,
            Delivery.lane,
            Delivery.status,
            STATE_OF.label("state"),
            OUTCOME_OF.label("outcome"),
            Delivery.attempts,
            Delivery.due_at,
            Delivery.updated_at,
            Delivery.stage,
            Delivery.code,
            Delivery.enhanced,
            Delivery.reason,
            Email.template,
            Email.category,
            Email.subject,
            Email.created_at,
            Email.erased_at,
            Email.is_test,
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
        sa.select(Delivery.__table__, STATE_OF.label("state"), OUTCOME_OF.label("outcome"))
        .where(Delivery.email_id == email_id)
        .order_by(Delivery.id)
    ).all()
    ids = [delivery.id for delivery in deliveries]
    return History(
        email,
        list(deliveries),
        _by_delivery(connection, Attempt, ids),
        _by_delivery(connection, AuditEntry, ids),
        _by_delivery(connection, Report, ids),
        _files(connection, email_id) if email.has_attachments else [],
    )


def told(connection: sa.Connection, email_id: str) -> list[sa.Row[Any]]:
    """Return what webhooks are or were to be told of an email, with the last attempt at it."""
    last = (
        sa.select(sa.func.max(EventAttempt.id))
        .where(EventAttempt.event_id == Event.id)
        .correlate(Event)
        .scalar_subquery()
    )
    statement = (
        sa.select(
            Event.type,
            Event.at,
            Event.delivery_id,
            Event.status,
            Event.attempts,
            Event.due_at,
            Webhook.url,
            EventAttempt.ended_at,
            EventAttempt.code,
            EventAttempt.words,
        )
        .join(Webhook, Webhook.id == Event.webhook_id)
        .join(EventAttempt, EventAttempt.id == last, isouter=True)
        .where(Event.email_id == email_id)
        .order_by(Event.id)
    )
    return list(connection.execute(statement))


def _by_delivery(
    connection: sa.Connection, table: type[Attempt | AuditEntry | Report], ids: list[int]
) -> dict[int, list[sa.Row[Any]]]:
    found: dict[int, list[sa.Row[Any]]] = {id: [] for id in ids}
    statement = sa.select(table.__table__).where(table.delivery_id.in_(ids)).order_by(table.id)
    for row in connection.execute(statement):
        found[row.delivery_id].append(row)
    return found


def _files(connection: sa.Connection, email_id: str) -> list[sa.Row[Any]]:
    statement = (
        sa.select(
            Attached.id,
            Attached.filename,
            Attached.content_type,
            Attached.content_id,
            sa.func.length(Attached.data, type_=sa.Integer).label("size"),
        )
        .where(Attached.email_id == email_id)
        .order_by(Attached.id)
    )
    return list(connection.execute(statement))


def find_email(connection: sa.Connection, prefix: str) -> str:
    """Return the one email id that begins with ``prefix``, of at least 4 characters. Raises
    NotFound."""
    if len(prefix) < _SHORTEST_PREFIX:
        expected = f"expected at least {_SHORTEST_PREFIX} characters of an id"
        raise NotFound(f"there is no email {prefix!r}: {expected}")
    # Bounds rather than LIKE: an index answers them, whatever the database's collation.
    low = prefix + _SMALLEST_ID[len(prefix) :]
    high = prefix + _SMALLEST_ID[len(prefix) :].replace("0", "f")
    found: list[str] = []
    if _ID.fullmatch(low):
        statement = sa.select(Email.id).where(Email.id.between(low, high)).limit(2)
        found += connection.execute(statement).scalars()
    if not found:
        raise NotFound(f"there is no email {prefix!r}")
    if len(found) > 1:
        raise NotFound(f"several emails begin with {prefix!r}: give more of the id")
    return found[0]


def lane(connection: sa.Connection, email_id: str) -> str | None:
    return connection.execute(sa.select(Email.lane).where(Email.id == email_id)).scalar()


def is_test(connection: sa.Connection, email_id: str) -> bool:
    return bool(connection.execute(sa.select(Email.is_test).where(Email.id == email_id)).scalar())


def count_keys(connection: sa.Connection, keys: Sequence[str]) -> int:
    number = sa.select(sa.func.count()).where(Email.idempotency_key.in_(keys))
    return connection.execute(number).scalar_one()


def attachments(connection: sa.Connection, email_id: str) -> list[Attachment]:
    statement = sa.select(Attached).where(Attached.email_id == email_id).order_by(Attached.id)
    return [_attachment(row) for row in connection.execute(statement)]


def attachment(connection: sa.Connection, email_id: str, attached_id: int) -> Attachment:
    """Raises NotFound, also once the content of the email was erased."""
    statement = sa.select(Attached).where(Attached.id == attached_id, Attached.email_id == email_id)
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise NotFound(f"email {email_id} has no such attachment, or no more")
    return _attachment(row)


def _attachment(row: sa.Row[Any]) -> Attachment:
    return Attachment(
        filename=row.filename,
        content_type=row.content_type,
        content_id=row.content_id,
        data=row.data,
    )
