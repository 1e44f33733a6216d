"""What the key of a request lets through: as whom, to whom, with what, and how much."""

from __future__ import annotations

from collections.abc import Collection

from flask import Response, after_this_request

from .. import dispatcher
from ..drafting import Request
from ..errors import IdempotencyConflict, LedgerUnavailable
from ..grants import rate_of
from ..ledger import Draft
from ..rates import Taken
from ..state import current
from .authentication import actor, key
from .errors import ApiError
from .schemas.sending import SendEmail


def drafted(body: SendEmail, idempotency_key: str | None) -> Draft:
    """Return an email as it would be accepted. Raises InvalidEmail, or ApiError where the key of
    this request does not go so far."""
    template = body.template.id if body.template else None
    request = Request(**body.arguments(), idempotency_key=idempotency_key)
    limit(request, template)
    draft = dispatcher.drafted(request)
    ((_, sender),) = draft.email["addresses"]["from"]
    check_sender(sender)
    others = [one for one in draft.recipients if not key().may_mail(one)]
    if others:
        raise ApiError(
            403, "restricted_api_key", f"This API key may not send to {', '.join(others)}."
        )
    return draft


def limit(request: Request, template: str | None) -> None:
    """Have a request send as the key of this request may: in its lane, as test mail. Raises
    ApiError where that does not go so far."""
    allowed = key()
    if not allowed.may_use(template):
        used = f"template {template!r}" if template else "content without a template"
        raise ApiError(403, "restricted_api_key", f"This API key may not use {used}.")
    if template in current().loaders and not allowed.templates:
        message = (
            f"Template {template!r} has a context loader, which may put a secret into it: that"
            " needs a key that names the template (mailer keys create --template)."
        )
        raise ApiError(403, "restricted_api_key", message)
    if allowed.lane is not None and request.lane not in {None, allowed.lane}:
        message = f"This API key sends in lane {allowed.lane}, not in {request.lane}."
        raise ApiError(403, "restricted_api_key", message)
    request.is_test = allowed.is_test
    request.lane = allowed.lane or request.lane


def check_sender(sender: str) -> None:
    """Raise ApiError if the key of this request may not send as ``sender``."""
    if not key().may_send_as(sender):
        raise ApiError(403, "invalid_from_address", f"This API key may not send as {sender}.")


def accept(drafts: list[Draft]) -> list[str]:
    """Accept emails, and return their ids; those that are new are counted, if the key of this
    request has a rate. Raises ApiError over it: then none is."""
    if key().rate is None:
        return [one.values["id"] for one in dispatcher.accept(drafts, by=actor())]
    rate = rate_of(key().rate)
    counted = new = len(drafts) - _known(drafts)
    count(counted)
    try:
        recorded = dispatcher.accept(drafts, by=actor())
        # Another request with the same Idempotency-Key may have been quicker.
        new = sum(one.new for one in recorded)
    except IdempotencyConflict:
        new = 0
        raise
    except LedgerUnavailable as error:
        new = counted if error.maybe_stored else 0
        raise
    finally:
        if new < counted:
            _tell(current().rates.give_back(rate, _place(), counted - new), rate.amount)
    return [one.values["id"] for one in recorded]


def count(number: int) -> None:
    """Count emails before they are stored, if the key of this request has a rate. Raises ApiError
    over it: then none is."""
    allowed = key().rate
    if allowed is None:
        return
    rate = rate_of(allowed)
    if number > rate.amount:
        message = f"This API key may send {allowed}: {number} at once would never be let in."
        raise ApiError(422, "validation_error", message)
    taken = current().rates.take(rate, _place(), number)
    _tell(taken, rate.amount)
    if not taken.granted:
        message = (
            f"This API key may send {allowed}. Nothing was stored; please try again in"
            f" {taken.reset_seconds} s."
        )
        wait = {"Retry-After": str(taken.reset_seconds)}
        raise ApiError(429, "rate_limit_exceeded", message, wait)


def _place() -> str:
    """Return where the emails of the key are counted."""
    return f"key:{key().id}"


def _known(drafts: Collection[Draft]) -> int:
    """Return how many were accepted before, under the same idempotency key."""
    keys = [one.email["idempotency_key"] for one in drafts]
    return current().ledger.count_keys([one for one in keys if one]) if any(keys) else 0


def _tell(taken: Taken, limit: int) -> None:
    @after_this_request
    def add(response: Response) -> Response:
        response.headers["RateLimit-Limit"] = str(limit)
        response.headers["RateLimit-Remaining"] = str(taken.remaining)
        response.headers["RateLimit-Reset"] = str(taken.reset_seconds)
        return response
