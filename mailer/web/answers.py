"""Answers in the form that was asked for: a page for people, JSON for programs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Literal

from flask import Flask, Response, jsonify, make_response, render_template, request
from werkzeug.exceptions import HTTPException, ServiceUnavailable

from ..errors import LedgerUnavailable

JSON = "application/json"

log = logging.getLogger(__name__)

# Title and text for people; an empty text means that whoever raised the error has described it.
_WORDS = {
    400: ("That did not work", ""),
    404: ("Page not found", "There is no page at this address."),
    405: ("That did not work", "This address cannot be used in this way."),
    413: ("Too much at once", "That was more than this page takes."),
    415: ("That did not work", ""),
    429: ("Please wait a little", ""),
    500: ("Something went wrong", "That was our fault. It has been recorded."),
    503: ("Try again in a moment", ""),
}


def init_app(app: Flask) -> None:
    """Answer errors of ``app`` in the form that was asked for."""
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(LedgerUnavailable, _ledger_unavailable)


def wants_json() -> bool:
    """Whether the request is JSON, or would rather have JSON than a page."""
    if request.mimetype == JSON:
        return True
    return request.accept_mimetypes.best_match(("text/html", JSON)) == JSON


def message(
    title: str,
    text: str,
    *,
    status: int = 200,
    page_text: str | None = None,
    sign: Literal["done", "mail"] = "done",
) -> Response:
    """Say that something was done. ``page_text`` is for people, where it differs; ``sign`` is the
    picture above it, and ``"mail"`` also adds where to look for the email."""
    if wants_json():
        answer = jsonify(message=text)
    else:
        page = render_template("message.html", title=title, text=page_text or text, sign=sign)
        answer = make_response(page)
    answer.status_code = status
    return answer


def refusal(
    title: str,
    text: str,
    *,
    status: int,
    fields: Mapping[str, str] | None = None,
    way_out: tuple[str, str] | None = None,
) -> Response:
    """Say that something was not done. ``fields`` has what is wrong with which field of a JSON
    request; ``way_out`` is the endpoint that helps a person on and the words of the link to it."""
    if wants_json():
        answer = jsonify(error=text, fields=dict(fields or {}))
    else:
        page = render_template(
            "message.html", title=title, text=text, way_out=way_out, sign="refused"
        )
        answer = make_response(page)
    answer.status_code = status
    return answer


def http_error(error: HTTPException) -> Response:
    code = error.code or 500
    title, text = _WORDS.get(code, (error.name, ""))
    answer = refusal(title, text or error.description or error.name, status=code)
    # Allow of a 405, Retry-After of a 429.
    for name, value in error.get_headers():
        if name != "Content-Type":
            answer.headers[name] = value
    return answer


def ledger_unavailable(error: LedgerUnavailable) -> ServiceUnavailable:
    """Log that the ledger cannot be reached, and return what is answered."""
    log.error("method=%s endpoint=%s status=503 reason=%s", request.method, request.endpoint, error)
    text = "We cannot store anything at the moment, and nothing was stored. Please try again."
    if error.maybe_stored:
        text = "We could not find out whether that was stored. Please try again."
    return ServiceUnavailable(text, retry_after=5)


def _ledger_unavailable(error: LedgerUnavailable) -> Response:
    return http_error(ledger_unavailable(error))
