"""``/metrics`` for Prometheus, for any app with `Mailer`::

    app.register_blueprint(mailer.web.metrics.metrics)

It is there once MAILER_METRICS_TOKEN is set, for whoever sends it as ``Authorization: Bearer``.
"""

from __future__ import annotations

import hmac
import threading
import time
import weakref
from importlib.util import find_spec

from flask import Blueprint, Response, abort, request
from flask.blueprints import BlueprintSetupState

from ..errors import SettingError
from ..state import State, current

GOOD_FOR_SECONDS = 1.0
"""However often somebody asks, the servers are asked once in so long."""

metrics = Blueprint("mailer_metrics", __name__)

_found: weakref.WeakKeyDictionary[State, tuple[float, bytes]] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


@metrics.record
def _check(setup: BlueprintSetupState) -> None:
    if setup.app.config["MAILER_METRICS_TOKEN"] and find_spec("prometheus_client") is None:
        raise SettingError(
            "MAILER_METRICS_TOKEN: metrics need prometheus-client: "
            "pip install 'mailer-dispatch[service]'"
        )


@metrics.get("/metrics")
def show() -> Response:
    """Answer with all metrics."""
    token = current().config["MAILER_METRICS_TOKEN"]
    if token is None:
        abort(404)
    given = request.headers.get("Authorization", "")
    if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        refused = Response("expected Authorization: Bearer and MAILER_METRICS_TOKEN\n", 401)
        refused.headers["WWW-Authenticate"] = "Bearer"
        refused.content_type = "text/plain; charset=utf-8"
        return refused
    return Response(_text(current()), content_type="text/plain; version=0.0.4; charset=utf-8")


@metrics.after_request
def _store_nowhere(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response


def _text(state: State) -> bytes:
    from ..metrics import text  # noqa: PLC0415 - of an extra that not everybody installs

    with _lock:
        known = _found.get(state)
        if known and time.monotonic() - known[0] < GOOD_FOR_SECONDS:
            return known[1]
        found = text(state)
        _found[state] = time.monotonic(), found
        return found
