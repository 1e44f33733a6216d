"""Proof: a report about a delivery says that a server had it, whatever was heard while sending."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from ..expressions import now, one_of
from ..models import AuditEntry, Delivery, Report, Status
from ..prepared import Prepared
from . import events


class Proven(NamedTuple):
    """A delivery that is sent, as a report says."""

    delivery_id: int
    email_id: str


# Only what may have left unheard: a report cannot be about an attempt that failed. What is being
# sent goes on, and asks here once its outcome is known.
_PROVE = Prepared(
    sa.update(Delivery)
    .where(
        one_of(Delivery.id, "ids_"),
        Delivery.status != Status.SENT.value,
        Delivery.status != Status.SENDING.value,
        sa.or_(Delivery.status == Status.UNKNOWN.value, Delivery.ambiguous > 0),
        sa.exists().where(Report.delivery_id == Delivery.id),
    )
    .values(
        status=Status.SENT.value,
        claim=None,
        lease_until=None,
        crashes=0,
        has_turn=False,
        stage=None,
        code=None,
        enhanced=None,
        reason=None,
        updated_at=now(),
    )
    .returning(Delivery.id, Delivery.email_id)
)
_AUDIT = Prepared(
    sa.insert(AuditEntry).values(at=now(), actor="report", action="proven: sent"), ("delivery_id",)
)


def prove(connection: sa.Connection, delivery_ids: Sequence[int]) -> list[Proven]:
    """Record as sent those of the deliveries whose outcome was in doubt and of which a report is
    stored. The caller erases the contexts of their emails."""
    if not delivery_ids:
        return []
    rows = _PROVE.rows(connection, {"ids_": list(delivery_ids)})
    proven = [Proven(*row) for row in rows]
    if proven:
        _AUDIT.run(connection, [{"delivery_id": one.delivery_id} for one in proven])
        sent = [events.Note("email.sent", one.email_id, one.delivery_id) for one in proven]
        events.note(connection, sent)
    return proven
