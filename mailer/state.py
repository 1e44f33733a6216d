"""The parts of the dispatcher that belong to one Flask app, each made when first needed."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable, Collection
from functools import cached_property
from pathlib import Path
from typing import Any

from celery import Celery
from flask import Flask, current_app

from .burst import EXIT_SECONDS
from .config import message_budget, message_timeout, transports
from .content import Context
from .db import Database, located
from .doorbell import RUN_TASK, TASK, TELL_TASK, WEBHOOKS, Doorbell
from .errors import MailerError
from .ledger import Ledger
from .rates import Rates
from .rendering import Renderer
from .shared import Shared
from .traffic import Traffic
from .transport import Transport

Loader = Callable[[Context], dict[str, Any] | None]
"""Turns the context that was dispatched into the one that is rendered; None: no longer wanted."""

log = logging.getLogger(__name__)

_PACKAGE = Path(__file__).parent


class State:
    """Everything that `Mailer` adds to one app: ``app.extensions["mailer"]``."""

    def __init__(
        self, app: Flask, loaders: dict[str, Loader], needs: dict[str, Collection[str]]
    ) -> None:
        self.app = app
        self.config = app.config
        self.loaders = loaders
        self.needs = needs
        """By template: the variables that its context loader must be given."""
        _states.add(self)

    @property
    def celery(self) -> Celery:
        celery_app: Celery = self.app.extensions["celery"]
        return celery_app

    @cached_property
    def database(self) -> Database:
        return Database(
            located(self.config["MAILER_DATABASE_URL"], self.app),
            sqlite_synchronous=self.config["MAILER_SQLITE_SYNCHRONOUS"],
        )

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(
            self.database,
            lease_seconds=self.config["MAILER_LEASE_SECONDS"],
            attempts_allowed=self.config["MAILER_MAX_ATTEMPTS"],
            on_events=self.ring_for_events,
            overriding=self.renderer.overriding,
        )

    @cached_property
    def renderer(self) -> Renderer:
        return Renderer(
            self._template_folders(),
            url_for=self.url_for,
            product_name=self.config["MAILER_PRODUCT_NAME"],
            base_url=self.config["MAILER_BASE_URL"],
            auto_reload=self.app.debug,
        )

    @cached_property
    def doorbell(self) -> Doorbell:
        return self._bell(TASK)

    @cached_property
    def rates(self) -> Rates:
        return Rates(self.redis_url)

    @cached_property
    def events_bell(self) -> Doorbell:
        return self._bell(TELL_TASK)

    @cached_property
    def jobs_bell(self) -> Doorbell:
        return self._bell(RUN_TASK, each=True)

    def _bell(self, task: str, *, each: bool = False) -> Doorbell:
        return Doorbell(
            self.celery,
            self.redis_url,
            namespace=self.config["MAILER_NAMESPACE"],
            task_seconds=self.config["MAILER_TASK_SECONDS"],
            task=task,
            each=each,
        )

    def ring_for_events(self) -> None:
        """Wake a worker for events that were committed."""
        self.events_bell.ring_for_commit(WEBHOOKS, "")

    @property
    def redis_url(self) -> str | None:
        """Where bells and limits live; None when it is not set and the broker is no Redis."""
        url: str = self.config["MAILER_REDIS_URL"] or self.celery.conf.broker_url or ""
        # Celery's name for a Redis on a unix socket, and redis-py's.
        url = url.replace("redis+socket://", "unix://").replace("virtual_host=", "db=")
        return url if url.startswith(("redis", "unix")) else None

    @cached_property
    def traffic(self) -> Traffic:
        config = self.config
        dsns = transports(config)
        return Traffic(
            dsns,
            {
                one.name: Transport(
                    one.name,
                    one.server(config),
                    max_messages_per_connection=config["MAIL_MAX_EMAILS"],
                    observe=_log_conversation if config["MAIL_DEBUG"] else None,
                )
                for one in dsns
            },
            Shared(self.redis_url, namespace=config["MAILER_NAMESPACE"]),
            email_seconds=self.message_budget,
            turn_seconds=config["MAILER_DRAIN_SECONDS"] + self.message_budget,
        )

    def check(self) -> None:
        """Find out at the start what would fail at the first email. Raises MailerError."""
        _ = self.traffic, self.renderer  # made here: settings are checked, bad templates logged
        self.database.check_migrated()

    @property
    def message_budget(self) -> float:
        """Seconds that one email is reckoned to take at worst."""
        return message_budget(self.config)

    @property
    def message_timeout(self) -> float:
        """Seconds that a message may take once it has begun to leave."""
        return message_timeout(self.config)

    def forget(self) -> None:
        """In a forked child: drop what was inherited open. An SMTP connection that two processes
        share loses mail; a database connection that they share loses data."""
        for name in ("database", "doorbell", "events_bell", "jobs_bell", "traffic"):
            if part := self.__dict__.get(name):
                part.forget()
        self.__dict__.pop("ledger", None)  # a thread that is not here may have been in it

    def close(self) -> None:
        """Close every connection that is open, once all that was committed has rung."""
        for name in ("doorbell", "events_bell", "jobs_bell"):
            if bell := self.__dict__.get(name):
                bell.finish(EXIT_SECONDS)
                bell.close()
        for name in ("database", "traffic"):
            if part := self.__dict__.pop(name, None):
                part.close()
        self.__dict__.pop("ledger", None)

    def _template_folders(self) -> list[Path]:
        """Return where email templates are looked for; the first folder that has one wins."""
        folders = [Path(folder) for folder in [self.config["MAILER_TEMPLATES"]] if folder]
        if self.app.template_folder:
            folders.append(Path(self.app.root_path, self.app.template_folder))
        # In a wheel the default templates lie inside the package, in a checkout beside it.
        packaged = _PACKAGE / "email_templates"
        folders.append(packaged if packaged.is_dir() else _PACKAGE.parent / "templates")
        return [folder for folder in folders if folder.is_dir()]

    def url_for(self, endpoint: str, **values: Any) -> str:
        """Build an absolute link from MAILER_BASE_URL: a worker has no request to take one from."""
        scheme, _, rest = self.config["MAILER_BASE_URL"].partition("://")
        host, slash, prefix = rest.partition("/")
        self.app.inject_url_defaults(endpoint, values)
        urls = self.app.url_map.bind(host, script_name=slash + prefix or "/", url_scheme=scheme)
        return urls.build(endpoint, values, force_external=True)


def _log_conversation(who: str, words: str) -> None:
    log.info("smtp %s: %s", who, words)


def of(app: Flask) -> State:
    """Return the state of ``app``. Raises MailerError when `Mailer` was not added to it."""
    try:
        state: State = app.extensions["mailer"]
    except KeyError:
        raise MailerError(
            f"the Flask app {app.name!r} has no mailer: call Mailer().init_app(app) first"
        ) from None
    return state


def current() -> State:
    """Return the state of the app whose context is active."""
    return of(current_app)


def serving(celery_app: Celery) -> list[State]:
    """Return the states whose tasks ``celery_app`` runs."""
    return [state for state in _states if state.app.extensions.get("celery") is celery_app]


_states: weakref.WeakSet[State] = weakref.WeakSet()


def _forget_all() -> None:
    for state in list(_states):
        state.forget()


# Covers every kind of fork: Celery's children, gunicorn's workers, multiprocessing.
os.register_at_fork(after_in_child=_forget_all)
