"""``/emails``: send, read, list, reschedule, cancel, retry."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any, TypeVar

from flask import Response, jsonify, request
from pydantic import BaseModel, TypeAdapter, ValidationError

from .. import dispatcher
from ..addresses import parse
from ..errors import InvalidEmail
from ..ledger import Filters
from ..ledger.operations import Changed
from ..state import current
from . import documents
from .authentication import key, needs
from .blueprint import api
from .errors import ApiError, described, malformed
from .schemas import BATCH_MAX, Page, Reschedule, SendEmail

_KEY_MAX = 256
_BATCH = TypeAdapter(list[Any])
_PLACE = re.compile(r"emails\[(\d+)\]\.(.+)")
T = TypeVar("T", bound=BaseModel)


@api.post("/emails")
@needs("send")
def send() -> Response:
    body = _body(SendEmail)
    _check_rights(body)
    email = dispatcher.dispatch(**body.arguments(), idempotency_key=_idempotency_key())
    return jsonify(id=email.id)


@api.post("/emails/batch")
@needs("send")
def send_batch() -> Response:
    """Send up to 100: all or none, or (``x-batch-validation: permissive``) all that are right."""
    given = _BATCH.validate_json(_json(), strict=True)
    if not 1 <= len(given) <= BATCH_MAX:
        expected = f"expected 1 to {BATCH_MAX} emails, got {len(given)}"
        raise ApiError(422, "validation_error", expected)
    mode = request.headers.get("x-batch-validation", "strict")
    if mode not in {"strict", "permissive"}:
        expected = f"x-batch-validation: expected strict or permissive, got {mode!r}"
        raise ApiError(422, "validation_error", expected)
    right, wrong = _sorted_out(given)
    if wrong and mode == "strict":
        words = "; ".join(f"[{position}] {wrong[position]}" for position in sorted(wrong))
        raise ApiError(422, "validation_error", words)
    whole = _idempotency_key()
    emails = dispatcher.dispatch_many(
        {**arguments, "idempotency_key": f"{whole}:{position}" if whole else None}
        for position, arguments in right.items()
    )
    answer: dict[str, Any] = {"data": [{"id": email.id} for email in emails]}
    if mode == "permissive":
        answer["errors"] = [
            {"index": position, "message": wrong[position]} for position in sorted(wrong)
        ]
    return jsonify(answer)


@api.get("/emails")
@needs("read")
def list_emails() -> Response:
    asked = Page.model_validate(request.args.to_dict())
    if asked.after and asked.before:
        raise ApiError(422, "validation_error", "expected after or before, got both")
    page = current().ledger.page(asked.limit, asked.after, asked.before)
    data = [documents.email(one, page.states[one.id]) for one in page.emails]
    return jsonify(object="list", has_more=page.has_more, data=data)


@api.get("/emails/<email_id>")
@needs("read")
def get(email_id: str) -> Response:
    history = current().ledger.show(email_id)
    waiting = [one.due_at for one in history.deliveries if one.state == "scheduled"]
    states = [one.state for one in history.deliveries]
    return jsonify(documents.email(history.email, states, scheduled_at=min(waiting, default=None)))


@api.get("/emails/<email_id>/deliveries")
@needs("read")
def deliveries(email_id: str) -> Response:
    history = current().ledger.show(email_id)
    data = [documents.delivery(one, history.attempts[one.id]) for one in history.deliveries]
    return jsonify(object="list", has_more=False, data=data)


@api.patch("/emails/<email_id>")
@needs("manage")
def reschedule(email_id: str) -> Response:
    body = _body(Reschedule)
    changed = dispatcher.reschedule(email_id, body.scheduled_at, actor=_actor())
    _check_changed(changed, "It is not scheduled: it was sent, or is about to be.")
    return jsonify(object="email", id=email_id)


@api.post("/emails/<email_id>/cancel")
@needs("manage")
def cancel(email_id: str) -> Response:
    changed = dispatcher.cancel(Filters(email_id=email_id), actor=_actor())
    _check_changed(changed, "It cannot be cancelled: it was sent, or is about to be.")
    return jsonify(object="email", id=email_id)


@api.post("/emails/<email_id>/retry")
@needs("manage")
def retry(email_id: str) -> Response:
    dispatcher.check_known(email_id)
    changed = dispatcher.retry(Filters(email_id=email_id), actor=_actor())
    _check_changed(changed, "There is nothing to retry: nothing of it failed or was deferred.")
    return jsonify(object="email", id=email_id, deliveries=len(changed))


def _sorted_out(given: list[Any]) -> tuple[dict[int, dict[str, Any]], dict[int, str]]:
    """Return the arguments of those that are right, and what is wrong with the others."""
    right: dict[int, dict[str, Any]] = {}
    wrong: dict[int, str] = {}
    for position, one in enumerate(given):
        try:
            body = SendEmail.model_validate(one)
            _check_rights(body)
            arguments = body.arguments()
            dispatcher.check(**arguments)
        except InvalidEmail as error:
            wrong[position] = described(error.problems)
        except ApiError as error:
            wrong[position] = error.message
        except ValidationError as error:
            wrong[position] = malformed(error)
        else:
            right[position] = arguments
    return right, wrong


def _body(model: type[T]) -> T:
    return model.model_validate_json(_json())


def _json() -> bytes:
    if request.mimetype != "application/json":
        given = request.mimetype or "none"
        raise ApiError(
            415, "unsupported_media_type", f"Content-Type: expected application/json, got {given}"
        )
    return request.get_data()


def _check_rights(body: SendEmail) -> None:
    template = body.template.id if body.template else None
    if not key().may_use(template):
        raise ApiError(403, "restricted_api_key", f"This API key may not use {_named(template)}.")
    if key().senders:
        given = body.from_ or current().config["MAIL_DEFAULT_SENDER"]
        try:
            address = parse(given, allow_test_domains=True).email
        except (TypeError, ValueError):
            return  # is refused for what is wrong with it
        if not key().may_send_as(address):
            raise ApiError(403, "invalid_from_address", f"This API key may not send as {address}.")


def _named(template: str | None) -> str:
    return f"template {template!r}" if template else "content without a template"


def _idempotency_key() -> str | None:
    """Return the ledger's key for the request's, which belongs to one API key alone."""
    given = request.headers.get("Idempotency-Key")
    if given is None:
        return None
    if not 1 <= len(given) <= _KEY_MAX:
        message = f"Idempotency-Key: expected 1 to {_KEY_MAX} characters, got {len(given)}"
        raise ApiError(400, "invalid_idempotency_key", message)
    return f"api:{sha256(f'{key().id}:{given}'.encode()).hexdigest()}"


def _check_changed(changed: list[Changed], message: str) -> None:
    if not changed:
        raise ApiError(422, "validation_error", message)


def _actor() -> str:
    return f"api key {key().name}"
