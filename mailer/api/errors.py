"""Errors of the HTTP API: always JSON, ``{"statusCode", "name", "message"}``."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from flask import Flask, Response, jsonify, request
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from .. import trace
from ..errors import (
    IdempotencyConflict,
    InvalidEmail,
    LedgerUnavailable,
    NotAReport,
    NotAuthentic,
    NotFound,
    Problem,
    Refused,
    TemplateError,
    Unreachable,
    UnreadableFile,
)
from ..web import answers
from .blueprint import api

log = logging.getLogger(__name__)

_NAMES = {
    400: "invalid_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "payload_too_large",
    415: "unsupported_media_type",
}
_FAULTS = {
    "extra_forbidden": "there is no such field",
    "missing": "expected, and not there",
}
"""What is told of a fault in other words than pydantic's."""
_TOLD_MAX = 20
"""A request with a wrong value in each of its bytes would be answered with many times its size."""
# What a field of `dispatch` is called here.
_FIELDS = {"sender": "from", "context": "template.variables", "send_at": "scheduled_at"}


class ApiError(Exception):
    """A request that is refused."""

    def __init__(
        self, status: int, name: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status = status
        self.name = name
        self.message = message
        self.headers = headers or {}
        super().__init__(message)


def init_app(app: Flask) -> None:
    """Answer requests for addresses of the API that do not exist, of which no blueprint knows."""

    def unrouted(error: HTTPException) -> Response:
        below = f"{request.path}/".startswith(f"{api.url_prefix}/")
        return _http_error(error) if below else answers.http_error(error)

    app.register_error_handler(HTTPException, unrouted)


def answer(status: int, name: str, message: str) -> Response:
    """Return an error as its response."""
    response = jsonify(statusCode=status, name=name, message=message)
    response.status_code = status
    return response


def described(problems: tuple[Problem, ...]) -> str:
    """Return what is wrong with an email, in the words of this API."""
    return "; ".join(f"{_renamed(field)}: {message}" for field, message in problems)


def malformed(error: ValidationError) -> str:
    """Return what is wrong with a body that is not of the form that was expected."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    words = [f"{_place(one['loc'])}: {_fault(one)}" for one in found[:_TOLD_MAX]]
    if len(found) > _TOLD_MAX:
        words.append(f"and {len(found) - _TOLD_MAX} more")
    return "; ".join(words)


def _fault(one: ErrorDetails) -> str:
    return _FAULTS.get(one["type"], one["msg"]).removeprefix("Value error, ")


def _place(loc: tuple[int | str, ...]) -> str:
    """Return where a fault is, as `dispatch` writes it: ``attachments[0].content``."""
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return place.removeprefix(".") or "body"


def _renamed(field: str) -> str:
    name, bracket, rest = field.partition("[")
    return _FIELDS.get(name, name) + bracket + rest


@api.errorhandler(ApiError)
def _refused(error: ApiError) -> Response:
    response = answer(error.status, error.name, error.message)
    response.headers.update(error.headers)
    return response


@api.errorhandler(NotFound)
def _not_found(error: NotFound) -> Response:
    return answer(404, "not_found", str(error))


@api.errorhandler(ValidationError)
def _invalid(error: ValidationError) -> Response:
    return answer(422, "validation_error", malformed(error))


@api.errorhandler(InvalidEmail)
def _invalid_email(error: InvalidEmail) -> Response:
    return answer(422, "validation_error", described(error.problems))


@api.errorhandler(TemplateError)
def _unusable_template(error: TemplateError) -> Response:
    return answer(422, "validation_error", str(error))


@api.errorhandler(UnreadableFile)
def _unreadable(error: UnreadableFile) -> Response:
    return answer(422, "validation_error", str(error))


@api.errorhandler(Refused)
def _refused_as_it_is(error: Refused) -> Response:
    return answer(409, "conflict", str(error)[:1].upper() + str(error)[1:])


@api.errorhandler(NotAReport)
def _no_report(error: NotAReport) -> Response:
    return answer(422, "validation_error", str(error))


@api.errorhandler(NotAuthentic)
def _not_authentic(error: NotAuthentic) -> Response:
    log.warning(
        "method=%s endpoint=%s status=403 reason=%s", request.method, request.endpoint, error
    )
    return answer(403, "invalid_signature", str(error))


@api.errorhandler(Unreachable)
def _unreachable(error: Unreachable) -> Response:
    log.error("method=%s endpoint=%s status=503 reason=%s", request.method, request.endpoint, error)
    response = answer(503, "service_unavailable", "A service that this needs is not reached now.")
    response.headers["Retry-After"] = "60"
    return response


@api.errorhandler(IdempotencyConflict)
def _conflict(error: IdempotencyConflict) -> Response:
    message = "The Idempotency-Key was used before, for a request with another body."
    return answer(409, "invalid_idempotent_request", message)


@api.errorhandler(LedgerUnavailable)
def _unavailable(error: LedgerUnavailable) -> Response:
    log.error("method=%s endpoint=%s status=503 reason=%s", request.method, request.endpoint, error)
    message = "Nothing can be stored at the moment, and nothing was stored. Please try again."
    if error.maybe_stored:
        message = (
            "It could not be found out whether that was stored. Please try again with the same "
            "Idempotency-Key."
        )
    response = answer(503, "service_unavailable", message)
    response.headers["Retry-After"] = "5"
    return response


@api.errorhandler(HTTPException)
def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    name = _NAMES.get(status, "internal_server_error" if status >= 500 else "invalid_request")
    response = answer(status, name, _described(error, status))
    for header, value in error.get_headers():  # Allow of a 405
        if header != "Content-Type":
            response.headers[header] = value
    return response


def _described(error: HTTPException, status: int) -> str:
    if status == 404:
        return f"There is no {request.path}: {api.url_prefix}/docs has what there is."
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        return f"{request.path}: expected {allowed}, got {request.method[:64]}."
    if status == 413:
        return f"The body: expected at most {request.max_content_length} bytes, got more."
    if status == 500:
        return f"That was our fault. It has been recorded as request {trace.request_id()}."
    return error.description or error.name
