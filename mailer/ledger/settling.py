"""Settle: record how the attempts of claimed deliveries ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..expressions import now, one_of
from ..models import IS_SENDING, Attempt, Delivery, Email, Status
from ..outcome import UNBEGUN, Kind, Outcome
from ..prepared import Prepared
from . import events, proof, suppressions


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
    suppresses: bool = False
    """There is no such mailbox: its address is not to be mailed again."""
    seconds: float | None = None
    """How long the attempt took; None: nothing was begun."""


_IS_OURS = (Delivery.claim == sa.bindparam("claim_"), IS_SENDING)
# A 250 is always recorded, whoever holds the claim by now and whatever was decided meanwhile:
# the server has the message.
_sent = (
    sa.update(Delivery)
    .where(one_of(Delivery.id, "ids_"), Delivery.status != Status.SENT.value)
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
_SENT, _SENT_TOLD = Prepared(_sent), Prepared(_sent.returning(Delivery.id))
_other = (
    sa.update(Delivery)
    .where(Delivery.id == sa.bindparam("delivery_id_"), *_IS_OURS)
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
_OTHER, _OTHER_TOLD = Prepared(_other), Prepared(_other.returning(Delivery.id))
# What was not begun keeps its place in the order, and the reason of its last attempt.
_HAND_BACK = Prepared(
    sa.update(Delivery)
    .where(one_of(Delivery.id, "ids_"), *_IS_OURS)
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
_CAP = Prepared(
    sa.update(Delivery)
    .where(Delivery.id == sa.bindparam("delivery_id_"), *_IS_OURS)
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
# keeps the rest until the commit. It is that of the updates below, in the order in which a report
# takes it: outcomes come in any order, and each of two would wait for a delivery the other has.
_THERE = Prepared(
    sa.select(Delivery.id, Delivery.email_id)
    .where(one_of(Delivery.id, "ids_"))
    .order_by(Delivery.id)
    .with_for_update(key_share=True)
)
_ATTEMPT = Prepared(
    sa.insert(Attempt).values(ended_at=now()),
    (
        "delivery_id",
        "number",
        "seconds",
        "outcome",
        "status",
        "transport",
        "stage",
        "code",
        "enhanced",
        "words",
    ),
)
# Secrets may be in a context: keep it no longer than a delivery can need it.
_ERASE = Prepared(
    sa.update(Email)
    .where(
        one_of(Email.id, "ids_"),
        Email.context.is_not(None),
        ~sa.exists().where(Delivery.email_id == Email.id, Delivery.status != Status.SENT.value),
    )
    .values(context=None)
)


def settle(connection: sa.Connection, token: str, settlements: Sequence[Settlement]) -> None:
    there = set(_THERE.rows(connection, {"ids_": [one.delivery_id for one in settlements]}))
    settlements = [one for one in settlements if (one.delivery_id, one.email_id) in there]
    # An attempt that never began left no trace outside, and leaves none here.
    tried = [one for one in settlements if one.outcome.kind not in UNBEGUN]
    unbegun = [one for one in settlements if one.outcome.kind is Kind.NOT_STARTED]
    capped = [one for one in settlements if one.outcome.kind is Kind.CAPPED]
    sent = [one for one in tried if one.status is Status.SENT]
    other = [one for one in tried if one.status is not Status.SENT]
    moved: set[int] = set()
    webhooks = events.listening(connection) if tried else ()
    if webhooks:
        moved = _move_and_tell(connection, token, sent, other)
    else:
        if sent:
            _SENT.run(connection, [{"ids_": [one.delivery_id for one in sent]}])
        if other:
            _OTHER.run(connection, [_transition(token, one) for one in other])
    # Of a first attempt whose reply was heard, no report can be there.
    doubted = [one for one in other if one.attempt > 1 or one.outcome.kind is Kind.AMBIGUOUS]
    proven = proof.prove(connection, [one.delivery_id for one in doubted])
    # What is proven to be sent was told as that: two events of one moment have no order.
    moved -= {one.delivery_id for one in proven}
    events.note(connection, [_note(one) for one in tried if one.delivery_id in moved], webhooks)
    if unbegun:
        ids = [one.delivery_id for one in unbegun]
        _HAND_BACK.run(connection, [{"ids_": ids, "claim_": token}])
    if capped:
        _CAP.run(connection, [_turn(token, one) for one in capped])
    if tried:
        _ATTEMPT.run(connection, [_attempt(one) for one in tried])
    if sent or proven:
        erase_contexts(connection, {*_emails(sent), *_emails(proven)})
    if bounced := [one for one in other if one.suppresses]:
        suppressions.add_bounced(connection, {one.delivery_id: _said(one) for one in bounced})


def _move_and_tell(
    connection: sa.Connection, token: str, sent: list[Settlement], other: list[Settlement]
) -> set[int]:
    """Return the deliveries that came into another state, which is less than what was tried: a
    lease may have run out meanwhile."""
    rows = []
    if sent:
        rows += _SENT_TOLD.rows(connection, {"ids_": [one.delivery_id for one in sent]})
    for one in other:
        rows += _OTHER_TOLD.rows(connection, _transition(token, one))
    return {delivery_id for (delivery_id,) in rows}


def _note(one: Settlement) -> events.Note:
    told = {} if one.status is Status.SENT else events.details(one.outcome, one.attempt)
    return events.Note(events.TYPE_OF[one.status], one.email_id, one.delivery_id, told)


def _emails(ended: Sequence[Settlement] | Sequence[proof.Proven]) -> set[str]:
    return {one.email_id for one in ended}


def erase_contexts(connection: sa.Connection, email_ids: Iterable[str]) -> None:
    """Erase the context of those of the emails whose every delivery is sent."""
    _ERASE.run(connection, [{"ids_": list(email_ids)}])


def _transition(token: str, one: Settlement) -> dict[str, Any]:
    return {
        "delivery_id_": one.delivery_id,
        "claim_": token,
        "status_": one.status.value,
        "delay_": one.delay,
        "given_back_": 0 if one.charged else 1,
        "ambiguous_": 1 if one.outcome.kind is Kind.AMBIGUOUS else 0,
        "stage_": one.outcome.stage or None,
        "code_": one.outcome.code,
        "enhanced_": one.outcome.enhanced,
        "reason_": one.outcome.words,
    }


def _said(one: Settlement) -> str:
    outcome = one.outcome
    return " ".join(str(part) for part in (outcome.code, outcome.enhanced, outcome.words) if part)


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
        "seconds": one.seconds,
        "outcome": outcome.kind.value,
        "status": one.status.value,
        "transport": outcome.transport,
        "stage": outcome.stage or None,
        "code": outcome.code,
        "enhanced": outcome.enhanced,
        "words": outcome.words,
    }
