"""`Mailer`: adds the dispatcher to any Flask app."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

import flask_mail
from flask import Flask

from . import config, logs, sentry, tasks  # noqa: F401 - tasks register themselves with Celery
from .celery_app import add_lanes, celery_init_app
from .cli import group
from .state import Loader, State


class Mailer:
    """The extension. One may serve several apps::

    mailer = Mailer()
    mailer.init_app(app)
    """

    def __init__(self, app: Flask | None = None) -> None:
        self.loaders: dict[str, Loader] = {}
        self._needs: dict[str, Collection[str]] = {}
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Check the settings and add the dispatcher to ``app``. Raises SettingError.

        A Celery app made before (``app.extensions["celery"]``) is used, and a Flask-Mail too;
        else they are made here.
        """
        config.load(app.config)
        if app.config["MAILER_LOG_FORMAT"] == "json":
            logs.write_json(logging.getLogger())
            logs.write_json(logging.getLogger("gunicorn.error"))
            logging.captureWarnings(True)
        if dsn := app.config["MAILER_SENTRY_DSN"]:
            sentry.start(dsn)
        if "mail" not in app.extensions:
            flask_mail.Mail(app)
        celery_app = app.extensions.get("celery") or celery_init_app(app)
        add_lanes(
            celery_app,
            app.config["MAILER_NAMESPACE"],
            sweep_seconds=app.config["MAILER_SWEEP_SECONDS"],
        )
        app.extensions["mailer"] = State(app, self.loaders, self._needs)
        app.cli.add_command(group)

    def loader(self, template: str, *, needs: Collection[str] = ()) -> Callable[[Loader], Loader]:
        """Register a context loader for a template::

            @mailer.loader("reset_password", needs=["user_id"])
            def load(context): ...

        It runs in the worker, under the app context, just before the email is rendered: what it
        returns is rendered instead of the context that was dispatched, and was never stored
        anywhere. It may return None: the email is no longer wanted, and is cancelled.
        ``needs`` are the variables without which `dispatch` refuses.
        """

        def register(load: Loader) -> Loader:
            self.loaders[template] = load
            self._needs[template] = needs
            return load

        return register
