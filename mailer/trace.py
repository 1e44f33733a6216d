"""Traces: where an email came from: who asked for it, and with which request, from its
``X-Request-Id`` to the worker's log lines.

In any Flask app the header of a request is kept with the emails that it dispatches. The service
also makes an id for a request that brings none, answers it and logs it (``web/access.py``).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable

from celery import current_task
from flask import has_request_context, request

HEADER = "X-Request-Id"
_KEPT = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ID = "mailer.request_id"
_ACCEPTED = "mailer.accepted"
_ORIGIN_MAX = 200


def request_id() -> str | None:
    """Return the id of the request that is answered; None outside of one, and if it has none."""
    if not has_request_context():
        return None
    known: str | None = request.environ.get(_ID)
    if known is None:
        given = request.environ.get("HTTP_X_REQUEST_ID", "")
        known = given if _KEPT.fullmatch(given) else None
    return known


def origin() -> str | None:
    """Return what is under way here: the route of a request, such as ``POST /signup``, or a task.
    None: something else."""
    if has_request_context():
        # The rule, not the path: in a path there may be a token.
        return f"{request.method} {request.url_rule or ''}"[:_ORIGIN_MAX].rstrip()
    return f"task {current_task.name}"[:_ORIGIN_MAX] if current_task else None


def begin() -> str:
    """Give the request that is answered an id, if it brings none that can be kept."""
    known: str = request_id() or uuid.uuid4().hex
    request.environ[_ID] = known
    return known


def note_accepted(email_ids: Iterable[str]) -> None:
    """Note what was accepted in the request that is answered, if one is."""
    if has_request_context():
        request.environ.setdefault(_ACCEPTED, []).extend(email_ids)


def accepted() -> list[str]:
    """Return the ids of the emails that were accepted in this request, in order."""
    found: list[str] = request.environ.get(_ACCEPTED, [])
    return found
