"""``/emails``: send, read, list, reschedule, cancel, retry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

from flask import request

from ... import dispatcher
from ...errors import InvalidEmail
from ...ledger import Draft, Filters
from ...ledger.operations import Changed as Moved
from ...state import current
from .. import idempotency
from ..allowance import accept, drafted
from ..authentication import actor, key
from ..errors import ApiError, described
from ..operations import operation
from ..schemas.base import ListOf, Page
from ..schemas.emails import Changed, Delivery, Email, Reschedule
from ..schemas.retries import (
    RETRIED_SHOWN,
    LeftOut,
    Retried,
    RetriedDelivery,
    RetriedMany,
    RetryMany,
)
from ..schemas.sending import Batch, BatchError, EmailId, SendBatch, SendEmail, Wrong

_REFUSED = {
    400: idempotency.MALFORMED,
    403: "The API key may not send as this sender, to this recipient, with this template or in this"
    " lane.",
    409: "The Idempotency-Key was used before, for a request with another body.",
    429: "The API key has sent as many emails as it may, for now.",
}


@operation(
    "POST",
    "/emails",
    scope="send",
    body=SendEmail,
    answers=EmailId,
    headers=idempotency.HEADER,
    errors=_REFUSED,
    test_keys=True,
)
def send(body: SendEmail) -> EmailId:
    """Send an email."""
    (email_id,) = accept([drafted(body, idempotency.key())])
    return EmailId(id=email_id)


@operation(
    "POST",
    "/emails/batch",
    scope="send",
    body=SendBatch,
    answers=Batch,
    headers={
        **idempotency.HEADER,
        "x-batch-validation": {
            "description": "`strict`: all or none. `permissive`: all that are right.",
            "type": "string",
            "enum": ["strict", "permissive"],
            "default": "strict",
        },
    },
    errors=_REFUSED,
    test_keys=True,
    in_turn=True,
)
def send_batch(body: SendBatch) -> Batch:
    """Send a batch of emails."""
    mode = request.headers.get("x-batch-validation", "strict")
    if mode not in {"strict", "permissive"}:
        expected = f"x-batch-validation: expected strict or permissive, got {mode!r}"
        raise ApiError(422, "validation_error", expected)
    right, wrong = _sorted_out(body.root, idempotency.key())
    if wrong and mode == "strict":
        words = "; ".join(f"[{one.index}] {one.message}" for one in wrong)
        raise ApiError(422, "validation_error", words)
    return Batch(
        data=[EmailId(id=one) for one in accept(right)],
        errors=wrong if mode == "permissive" else None,
    )


@operation("GET", "/emails", scope="read", query=Page, answers=ListOf[Email], test_keys=True)
def list_emails(query: Page) -> ListOf[Email]:
    """List emails.

    The newest first.
    """
    page = current().ledger.page(
        query.limit, query.after, query.before, is_test=key().is_test or None
    )
    data = [Email.of(one, page.states[one.id]) for one in page.emails]
    return ListOf[Email](has_more=page.has_more, data=data)


@operation("GET", "/emails/<id:email_id>", scope="read", answers=Email, test_keys=True)
def get(email_id: str) -> Email:
    """Get an email.

    With the last thing that happened to it.
    """
    history = current().ledger.show(email_id)
    waiting = [one.due_at for one in history.deliveries if one.state == "scheduled"]
    states = [one.outcome for one in history.deliveries]
    return Email.of(history.email, states, scheduled_at=min(waiting, default=None))


@operation(
    "GET",
    "/emails/<id:email_id>/deliveries",
    scope="read",
    answers=ListOf[Delivery],
    test_keys=True,
)
def deliveries(email_id: str) -> ListOf[Delivery]:
    """List deliveries.

    What became of each recipient's copy, with every attempt and report.
    """
    history = current().ledger.show(email_id)
    data = [
        Delivery.of(one, history.attempts[one.id], history.reports[one.id])
        for one in history.deliveries
    ]
    return ListOf[Delivery](data=data)


@operation(
    "PATCH",
    "/emails/<id:email_id>",
    scope="manage",
    body=Reschedule,
    answers=Changed,
    test_keys=True,
)
def reschedule(email_id: str, body: Reschedule) -> Changed:
    """Reschedule an email."""
    moved = dispatcher.reschedule(email_id, body.scheduled_at, actor=actor())
    _check_moved(moved, "It is not scheduled: it was sent, or is about to be.")
    return Changed(id=email_id)


@operation(
    "POST",
    "/emails/<id:email_id>/cancel",
    scope="manage",
    answers=Changed,
    errors={422: "It was sent, or is about to be."},
    test_keys=True,
)
def cancel(email_id: str) -> Changed:
    """Cancel an email.

    What of it was not sent yet. One that is cancelled already stays so.
    """
    moved = dispatcher.cancel(
        Filters(email_id=email_id, is_test=key().is_test or None), actor=actor()
    )
    states = {one.state for one in current().ledger.show(email_id).deliveries}
    if not moved and states != {"cancelled"}:
        message = "It cannot be cancelled: it was sent, or is about to be."
        raise ApiError(422, "validation_error", message)
    return Changed(id=email_id)


@operation(
    "POST",
    "/emails/<id:email_id>/retry",
    scope="manage",
    answers=Retried,
    errors={422: "Nothing of it failed or was deferred, or its recipients are suppressed."},
    test_keys=True,
)
def retry(email_id: str) -> Retried:
    """Retry an email.

    What failed is sent again, and what is deferred now. What is for suppressed addresses stays as
    it is.
    """
    dispatcher.check_known(email_id)
    filters = Filters(email_id=email_id, is_test=key().is_test or None)
    moved = dispatcher.retry(filters, actor=actor())
    suppressed, left_out = _left_out(filters)
    why = "nothing of it failed or was deferred"
    if left_out:
        why = f"{left_out[0].recipient} is suppressed: {left_out[0].reason}"
    _check_moved(moved, f"There is nothing to retry: {why}.")
    return Retried(id=email_id, deliveries=len(moved), suppressed=suppressed, left_out=left_out)


@operation(
    "POST",
    "/emails/retry",
    scope="manage",
    body=RetryMany,
    answers=RetriedMany,
    test_keys=True,
)
def retry_many(body: RetryMany) -> RetriedMany:
    """Retry many emails.

    Of all that match, what failed is sent again, and what is deferred now. What is for suppressed
    addresses stays as it is. With `dry_run` it is only counted.
    """
    filters = replace(body.filters(), is_test=key().is_test or None)
    if body.dry_run:
        number, moved = current().ledger.would_retry(filters, RETRIED_SHOWN)
    else:
        moved = dispatcher.retry(filters, actor=actor())
        number = len(moved)
    suppressed, left_out = _left_out(filters)
    return RetriedMany(
        dry_run=body.dry_run,
        deliveries=number,
        suppressed=suppressed,
        left_out=left_out,
        data=[
            RetriedDelivery(email_id=one.email_id, recipient=one.recipient)
            for one in moved[:RETRIED_SHOWN]
        ],
    )


def _left_out(filters: Filters) -> tuple[int, list[LeftOut]]:
    number, held = current().ledger.held_back(filters, RETRIED_SHOWN)
    return number, [
        LeftOut(email_id=one.email_id, recipient=one.recipient, reason=one.suppressed.reason)
        for one in held
    ]


def _sorted_out(
    given: Sequence[SendEmail | Wrong], idempotency_key: str | None
) -> tuple[list[Draft], list[BatchError]]:
    """Return those that are right, and what is wrong with the others."""
    right: list[Draft] = []
    wrong: list[BatchError] = []
    for position, one in enumerate(given):
        if isinstance(one, Wrong):
            wrong.append(BatchError(index=position, message=one.message))
            continue
        try:
            own_key = f"{idempotency_key}:{position}" if idempotency_key else None
            draft = drafted(one, own_key)
            if own_key:  # the same email in a batch of another length is another request
                whole = f"{draft.email['fingerprint']} of {len(given)}"
                draft.email["fingerprint"] = sha256(whole.encode()).hexdigest()
            right.append(draft)
        except InvalidEmail as error:
            wrong.append(BatchError(index=position, message=described(error.problems)))
        except ApiError as error:
            wrong.append(BatchError(index=position, message=error.message))
    return right, wrong


def _check_moved(moved: list[Moved], message: str) -> None:
    if not moved:
        raise ApiError(422, "validation_error", message)
