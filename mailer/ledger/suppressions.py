"""Suppressions: addresses that are not to be mailed, at all or about one category."""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa

from ..expressions import insert, now
from ..models import Suppression
from .record import uuid7

Origin = Literal["bounce", "complaint", "unsubscribe", "manual"]


def add(
    connection: sa.Connection,
    address: str,
    *,
    origin: Origin,
    category: str = "",
    words: str | None = None,
    email_id: str | None = None,
) -> str:
    """Suppress an address and return the suppression's id: the old one when it was suppressed
    already, which then stays as it is. Without a ``category``: for all mail."""
    address = address.lower()
    statement = (
        insert(connection.dialect, Suppression)
        .values(
            id=uuid7(),
            address=address,
            category=category,
            origin=origin,
            words=words,
            email_id=email_id,
            created_at=now(),
        )
        .on_conflict_do_nothing(index_elements=[Suppression.address, Suppression.category])
    )
    connection.execute(statement)
    known = sa.select(Suppression.id).where(
        Suppression.address == address, Suppression.category == category
    )
    found: str = connection.execute(known).scalar_one()
    return found
