"""`create_app`: the dispatcher as a service of its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from dotenv import find_dotenv, load_dotenv
from flask import Flask

from . import api, notifications, ops
from .errors import LedgerUnavailable, SettingError
from .extension import Mailer
from .state import of
from .web import access, accounts, health, metrics, unsubscribe

log = logging.getLogger(__name__)


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Make the service's Flask app from ``.env``, the environment (``FLASK_...``) and ``config``.

    The last one wins. Raises SettingError.
    """
    app = Flask("mailer", template_folder="web/templates", static_folder="web/static")
    load_dotenv(find_dotenv(usecwd=True))
    app.config.from_prefixed_env()
    app.config.from_mapping(config or {})
    _require(app)
    Mailer(app)
    access.init_app(app)
    notifications.init_app(app)
    accounts.init_app(app)
    app.register_blueprint(health.health)
    app.register_blueprint(metrics.metrics)
    app.register_blueprint(unsubscribe.unsubscribe)
    api.init_app(app)
    ops.init_app(app)
    _check(app)
    return app


_REQUIRED = {
    "SECRET_KEY": "a long random text, the same for web and workers; make one with: "  # nosec B105  # words
    "python -c 'import secrets; print(secrets.token_urlsafe(32))'",
    "MAIL_DEFAULT_SENDER": "whom account emails come from, such as 'Acme <hello@acme.example>'",
    "MAILER_BASE_URL": "where the links in emails lead, such as https://accounts.acme.example",
    "MAILER_DATABASE_URL": "where the ledger is, such as sqlite:////var/lib/mailer/ledger.sqlite3",
}
"""What has no safe default for a service: each would only be missed once mail has gone wrong."""


def _require(app: Flask) -> None:
    missing = [
        f"{name}: expected {what}" for name, what in _REQUIRED.items() if not app.config.get(name)
    ]
    if missing:
        raise SettingError("; ".join(missing))
    if len(str(app.config["SECRET_KEY"])) < 16:
        raise SettingError("SECRET_KEY: expected at least 16 characters, got fewer")


def _check(app: Flask) -> None:
    try:
        of(app).check()
    except LedgerUnavailable as error:
        log.warning("%s", error)
    finally:
        of(app).database.close()  # who forks after this hands no open connection on
