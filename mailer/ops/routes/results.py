"""Results: how far a task is, for the script of a page that shows its progress."""

from __future__ import annotations

from flask import jsonify
from werkzeug.exceptions import ServiceUnavailable

from ... import errors, results
from ...state import current
from ..blueprint import Answer, view


@view("GET", "/results/<task_id>", role="viewer")
def result(task_id: str) -> Answer:
    """Tell it, as the HTTP API does."""
    try:
        return jsonify(results.find(current(), task_id)._asdict())
    except errors.Unreachable as error:
        raise ServiceUnavailable(str(error)) from error
