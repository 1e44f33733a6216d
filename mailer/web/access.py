"""The access log: one line a request, with ids, and with no address, path, query or token.

``request=4f0c method=POST route=/api/emails status=200 ms=3.1 bytes=45 key=0193 email=0193``

The route is the rule: the path of a page that an email leads to has a token in it. gunicorn's own
access log writes paths and addresses, and is off (``mailer/gunicorn.py``).
"""

from __future__ import annotations

import logging
import time
from types import TracebackType
from typing import Any

from flask import Flask, Response, g, request

from .. import trace

_BEGAN = "mailer.began"

log = logging.getLogger(__name__)

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def init_app(app: Flask) -> None:
    """Give each request of ``app`` an id and a line. Call it before any other hook is added: it
    is the first to see a request then, and the last to see its answer."""
    app.before_request(_begin)
    app.after_request(_end)
    app.log_exception = _log_exception  # type: ignore[method-assign]


def _begin() -> None:
    request.environ[_BEGAN] = time.perf_counter()
    trace.begin()


def _end(response: Response) -> Response:
    request_id = trace.begin()
    response.headers[trace.HEADER] = request_id
    if log.isEnabledFor(logging.INFO):
        milliseconds = (time.perf_counter() - request.environ.get(_BEGAN, 0)) * 1000
        key: Any = g.get("mailer_key")
        accepted = _emails()
        log.info(
            f"request=%s method=%s route=%s status=%d ms=%.1f bytes=%s key=%s{accepted[0]}",
            request_id,
            request.method,
            _route(),
            response.status_code,
            milliseconds,
            response.calculate_content_length() or 0 if not response.is_streamed else "-",
            key.id if key else "-",
            *accepted[1:],
        )
    return response


def _route() -> str:
    return request.url_rule.rule if request.url_rule else "-"


def _emails() -> tuple[str, *tuple[str | int, ...]]:
    """Return what the line says of them, and the value in it."""
    accepted = trace.accepted()
    if len(accepted) > 1:
        return " emails=%d", len(accepted)
    return (" email=%s", accepted[0]) if accepted else ("",)


def _log_exception(exc_info: _ExcInfo) -> None:
    """Log a bug. Flask's own line has the path."""
    log.error(
        "request=%s method=%s route=%s status=500 error=%s",
        trace.request_id(),
        request.method,
        _route(),
        exc_info[0].__name__ if exc_info[0] else "-",
        exc_info=exc_info,
    )
