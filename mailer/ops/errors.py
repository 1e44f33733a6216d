"""What the console says of what went wrong: within its frame, with a way back into it."""

from __future__ import annotations

import werkzeug.exceptions
from flask import Response, g
from werkzeug.exceptions import HTTPException, InternalServerError

from .. import trace
from ..errors import LedgerUnavailable, NotFound
from ..web import answers
from .blueprint import console
from .pages import page

_TITLES = {
    403: "Not for you",
    404: "Not found",
    429: "Please wait a little",
    500: "Something went wrong",
    503: "Try again in a moment",
}


@console.errorhandler(HTTPException)
def _error(error: HTTPException) -> Response:
    title = _TITLES.get(error.code or 500, "That did not work")
    response = page("error", status=error.code or 500, title=title, words=_described(error))
    for name, value in error.get_headers():
        if name != "Content-Type":
            response.headers[name] = value
    return response


@console.errorhandler(NotFound)
def _not_found(error: NotFound) -> Response:
    words = str(error)[:200]
    return _error(werkzeug.exceptions.NotFound(f"{words[0].upper()}{words[1:]}."))


@console.errorhandler(LedgerUnavailable)
def _ledger_unavailable(error: LedgerUnavailable) -> Response:
    g.setdefault("mailer_member", None)  # where it is known who asks cannot be asked either
    return _error(answers.ledger_unavailable(error))


def _described(error: HTTPException) -> str:
    if isinstance(error, InternalServerError):
        request_id = trace.request_id()
        recorded = f" as request {request_id}" if request_id else ""
        return f"That was our fault. It has been recorded{recorded}."
    return error.description or error.name
