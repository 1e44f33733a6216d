"""What is stored of one person, told by an address: return it, or erase it."""

from __future__ import annotations

import json
import logging
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..db import Database
from ..expressions import now
from ..models import OPEN, AuditEntry, Delivery, Email, Report, Status
from . import acts, forgetting, operations, queries, tallying
from .retention import erase_content

log = logging.getLogger(__name__)

ERASED = "erased@address.invalid"
"""Stands where the address was. An address still, under a top-level domain that can never exist
(RFC 2606): what others have yet to get can be written and sent."""


class Purged(NamedTuple):
    """What of a person was erased, or would be."""

    emails: int = 0
    """Deleted as a whole: nobody else was to get them."""
    deliveries: int = 0
    """Deleted, with attempts and audit; those of the deleted emails among them."""
    shared: int = 0
    """Emails of others too: the address in them was replaced."""
    cancelled: int = 0
    """Deliveries that were still queued, before they were deleted."""
    left: int = 0
    """Emails that stay for now, because they are being sent."""
    reports: int = 0
    """Deleted: what mail systems reported of the address that no delivery to it has."""


class _Part(NamedTuple):
    """A person's part in one email."""

    email: sa.Row[Any]
    theirs: list[int]
    """Ids of the deliveries to the person."""
    others: list[int]
    is_sender: bool
    is_being_sent: bool


def find(connection: sa.Connection, address: str) -> list[queries.History]:
    """Return the emails that the address is in, oldest first, with the deliveries to it alone."""
    ids = [id for id in _email_ids(connection, address) if _part(connection, id, address)]
    histories = [queries.history(connection, id) for id in ids]
    return [
        one._replace(deliveries=[row for row in one.deliveries if _same(row.recipient, address)])
        for one in histories
    ]


def purge(database: Database, address: str, actor: str, *, dry_run: bool) -> Purged:
    # All that the two long looks need is read without the write lock.
    with database.read() as connection:
        ids = _email_ids(connection, address)
        if dry_run:
            found = [_part(connection, id, address) for id in ids]
            queued = _count_queued(connection, address)
            reported = connection.execute(
                sa.select(sa.func.count()).select_from(Report).where(_reported_of(address))
            ).scalar_one()
            counted = _sum([_counted(part) for part in found if part], queued)
            return counted._replace(reports=reported)
    with database.begin() as connection:
        forgetting.forget(connection, address)  # before anything else is made of it
        cancelled = operations.cancel(connection, [_is(Delivery.recipient, address)], actor)
        entry = {"at": now(), "actor": actor, "action": "purged"}
        connection.execute(sa.insert(AuditEntry).values(entry))
        acts.note(connection, actor, "purge", "emails of one person", len(ids))
        reported = connection.execute(sa.delete(Report).where(_reported_of(address))).rowcount
    done = []
    for id in ids:
        with database.begin() as connection:
            # What a retry or a run of the retention has in hand is waited for.
            connection.execute(sa.select(Email.id).where(Email.id == id).with_for_update())
            if part := _part(connection, id, address):
                _erase(connection, part, address, actor)
                tallying.step_back(connection)
                done.append(_counted(part))
    purged = _sum(done, len(cancelled))._replace(reports=reported)
    words = " ".join(f"{name}={count}" for name, count in purged._asdict().items())
    log.info("purged %s actor=%s", words, actor)
    return purged


def _reported_of(address: str) -> sa.ColumnElement[bool]:
    # Those of deliveries to it go with them. One that is being sent keeps them: they may prove what
    # is never heard.
    theirs = sa.select(Delivery.id).where(_is(Delivery.recipient, address))
    is_theirs = sa.and_(Report.delivery_id.is_not(None), Report.delivery_id.in_(theirs))
    return sa.and_(Report.recipient == address.lower(), ~is_theirs)


def _email_ids(connection: sa.Connection, address: str) -> list[str]:
    # No index answers either, but this is seldom asked, and must miss nothing.
    written = sa.func.lower(sa.type_coerce(Email.addresses, sa.Text))
    parts = {json.dumps(one, ensure_ascii=False) for one in (address, address.lower())}
    named = [written.contains(part, autoescape=True) for part in parts]
    statement = sa.union(
        sa.select(Delivery.email_id).where(_is(Delivery.recipient, address)),
        sa.select(Email.id).where(sa.or_(*named)),
    )
    return sorted(connection.execute(statement).scalars())


def _is(column: Any, address: str) -> sa.ColumnElement[bool]:
    # Whatever case it was stored in. SQLite lowers ASCII only, hence the other two.
    return sa.or_(column.in_({address, address.lower()}), sa.func.lower(column) == address.lower())


def _same(one: str, other: str) -> bool:
    return one.lower() == other.lower()


def _part(connection: sa.Connection, email_id: str, address: str) -> _Part | None:
    statement = sa.select(Email.__table__).where(Email.id == email_id)
    if (email := connection.execute(statement).one_or_none()) is None:
        return None
    columns = (Delivery.id, Delivery.recipient, Delivery.status)
    rows = connection.execute(sa.select(*columns).where(Delivery.email_id == email_id)).all()
    theirs = [row for row in rows if _same(row.recipient, address)]
    others = [row for row in rows if not _same(row.recipient, address)]
    named = {
        field: any(_same(pair[1], address) for pair in pairs)
        for field, pairs in email.addresses.items()
    }
    if not theirs and not any(named.values()):
        return None  # it is only a name of somebody else
    is_sender = named["from"]
    return _Part(
        email,
        [row.id for row in theirs],
        [row.id for row in others],
        is_sender,
        any(row.status == Status.SENDING for row in theirs)
        # Without its sender it could not be sent.
        or (is_sender and any(row.status in OPEN for row in others)),
    )


def _erase(connection: sa.Connection, part: _Part, address: str, actor: str) -> None:
    if part.is_being_sent:
        return
    email_id = part.email.id
    if not part.others:
        connection.execute(sa.delete(Email).where(Email.id == email_id))
        return
    connection.execute(sa.delete(Delivery).where(Delivery.id.in_(part.theirs)))
    addresses = {
        field: [["", ERASED] if _same(pair[1], address) else pair for pair in pairs]
        for field, pairs in part.email.addresses.items()
    }
    connection.execute(sa.update(Email).where(Email.id == email_id).values(addresses=addresses))
    if part.is_sender:
        erase_content(connection, email_id)
    connection.execute(
        sa.insert(AuditEntry).values(at=now(), actor=actor, action="address erased"),
        [{"delivery_id": id} for id in part.others],
    )


def _counted(part: _Part) -> Purged:
    if part.is_being_sent:
        return Purged(left=1)
    whole = not part.others
    return Purged(emails=int(whole), deliveries=len(part.theirs), shared=int(not whole))


def _count_queued(connection: sa.Connection, address: str) -> int:
    condition = _is(Delivery.recipient, address)
    statement = sa.select(sa.func.count()).where(Delivery.status == Status.QUEUED, condition)
    return connection.execute(statement).scalar_one()


def _sum(parts: list[Purged], cancelled: int) -> Purged:
    total = Purged(*map(sum, zip(*parts, strict=True))) if parts else Purged()
    return total._replace(cancelled=cancelled)
