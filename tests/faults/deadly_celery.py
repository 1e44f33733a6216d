"""The service, with workers that die at the step that an email's recipient is named after.

``claim_before-1@...`` kills its worker before the claim, ``settle_after-2@...`` once the settling
is committed, and so on. Each kills once: the next worker gets through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from mailer import create_app, sending
from mailer import settling as books
from mailer.ledger import Ledger, claims, settling
from mailer.models import Delivery
from mailer.outcome import Kind
from mailer.state import of

from .striking import strike, strike_when_waited_for

flask_app = create_app()
celery_app = flask_app.extensions["celery"]

_recipients: dict[int, str] = {}
"""By delivery id: those that were claimed in this process."""


def _wrap(
    owner: Any,
    name: str,
    *,
    before: Callable[..., None] | None = None,
    after: Callable[..., None] | None = None,
) -> None:
    wrapped = getattr(owner, name)

    def step(*args: Any, **kwargs: Any) -> Any:
        if before is not None:
            before(*args, **kwargs)
        result = wrapped(*args, **kwargs)
        if after is not None:
            after(result, *args, **kwargs)
        return result

    setattr(owner, name, step)


def _before_claim(ledger: Ledger, lane: str, limit: int) -> None:
    with ledger.database.read() as connection:
        due = connection.execute(
            Delivery.__table__.select().where(Delivery.lane == lane, Delivery.status == "queued")
        ).all()
    strike("claim_before", [row.recipient for row in due])


def _claimed(step: str) -> Callable[..., None]:
    def after(batch: claims.Batch, *_: Any) -> None:
        for one in batch.deliveries:
            _recipients[one.delivery_id] = one.recipient
        strike(step, [one.recipient for one in batch.deliveries])

    return after


def _composing(state: Any, email: Any, *_: Any) -> None:
    names = [address for _, address in email.addresses["to"]]
    strike("compose_before", names)
    for name in names:
        strike_when_waited_for(name)


def _composed(_: Any, state: Any, email: Any, *__: Any) -> None:
    strike("compose_after", [address for _, address in email.addresses["to"]])


def _heard(claimed: claims.Claimed, outcome: Any, **_: Any) -> None:
    if outcome.kind is Kind.SENT:
        strike("heard_250", [claimed.recipient])


def _settled(step: str) -> Callable[..., None]:
    def after(_: None, owner: Any, token: str, settlements: Iterable[settling.Settlement]) -> None:
        # What is handed back untouched is settled as well, and is not what dies here.
        heard = [one for one in settlements if one.outcome.kind is Kind.SENT]
        strike(step, [_recipients[one.delivery_id] for one in heard])

    return after


# Those of its modules run inside the ledger's transaction, those of `Ledger` around it.
_wrap(Ledger, "claim", before=_before_claim, after=_claimed("claim_after"))
_wrap(claims, "claim", after=_claimed("claim_within"))
_wrap(sending, "compose", before=_composing, after=_composed)
_wrap(
    Ledger,
    "mark",
    before=lambda ledger, token, id: strike("mark_before", [_recipients[id]]),
    after=lambda result, ledger, token, id: strike("mark_after", [_recipients[id]]),
)
_wrap(books, "transition", before=_heard)
_wrap(settling, "settle", after=_settled("settle_within"))
_wrap(Ledger, "settle", after=_settled("settle_after"))

if not of(flask_app).config["MAILER_BATCH"] == 1:
    raise SystemExit("MAILER_BATCH: expected 1, so that each email dies alone")
