"""``/healthz`` and ``/readyz``, for any app with `Mailer`::

    app.register_blueprint(mailer.web.health.health)

Anybody may ask: the answers hold no address, no server's name and no secret.
"""

from __future__ import annotations

import threading
import time
import weakref

from flask import Blueprint, Response, jsonify

from ..health import Health, examine
from ..state import State, current

DATABASE_SECONDS = 1.2
"""Redis is asked meanwhile, so that nobody waits longer."""
GOOD_FOR_SECONDS = 1.0
"""However often somebody asks, the servers are asked once in so long."""

health = Blueprint("mailer_health", __name__)

_found: weakref.WeakKeyDictionary[State, tuple[float, Health]] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


@health.get("/healthz")
def alive() -> Response:
    """The process answers. Touches nothing."""
    return jsonify(status="ok")


@health.get("/readyz")
def ready() -> Response:
    """Mail flows: 200, or 503 with what is not well."""
    found = _examined(current())
    answer = jsonify(
        status="ok" if found.ok else "not ready",
        checks={one.name: {"ok": one.ok, "reason": one.reason} for one in found.checks},
        oldest_due_seconds=found.counts and found.counts.oldest_due_seconds,
        paused_lanes=sorted(found.counts.paused) if found.counts else [],
    )
    answer.status_code = 200 if found.ok else 503
    return answer


@health.after_request
def _store_nowhere(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response


def _examined(state: State) -> Health:
    with _lock:
        known = _found.get(state)
        if known and time.monotonic() - known[0] < GOOD_FOR_SECONDS:
            return known[1]
        found = examine(state, database_seconds=DATABASE_SECONDS)
        _found[state] = time.monotonic(), found
        return found
