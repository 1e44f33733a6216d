"""`create_app`: the dispatcher as a service of its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from dotenv import find_dotenv, load_dotenv
from flask import Flask

from . import notifications
from .errors import LedgerUnavailable, SettingError
from .extension import Mailer
from .state import of
from .web import accounts

log = logging.getLogger(__name__)


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Make the service's Flask app from ``.env``, the environment (``FLASK_...``) and ``config``.

    The last one wins. Raises SettingError.
    """
    app = Flask("mailer", template_folder="web/templates", static_folder="web/static")
    load_dotenv(find_dotenv(usecwd=True))
    app.config.from_prefixed_env()
    app.config.from_mapping(config or {})
    Mailer(app)
    _require_secret_key(app)
    _require_sender(app)
    notifications.init_app(app)
    accounts.init_app(app)
    _check(app)
    return app


def _require_secret_key(app: Flask) -> None:
    if not app.config["SECRET_KEY"]:
        raise SettingError(
            "SECRET_KEY: expected a long random text, got none; make one with: "
            "python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    if len(app.config["SECRET_KEY"]) < 16:
        raise SettingError("SECRET_KEY: expected at least 16 characters, got fewer")


def _require_sender(app: Flask) -> None:
    if not app.config["MAIL_DEFAULT_SENDER"]:
        raise SettingError(
            "MAIL_DEFAULT_SENDER: expected the address that account emails come from, such as "
            "'Acme <hello@acme.example>', got none"
        )


def _check(app: Flask) -> None:
    try:
        of(app).check()
    except LedgerUnavailable as error:
        log.warning("%s", error)
