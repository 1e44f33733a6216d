"""Celery inside Flask, as Flask's guide "Background Tasks with Celery" has it."""

from __future__ import annotations

import gc
import logging
import time
from typing import Any, cast

from celery import Celery, Task, bootsteps
from celery import current_app as current_celery_app
from celery.signals import (
    after_setup_logger,
    after_setup_task_logger,
    before_task_publish,
    worker_init,
    worker_process_shutdown,
    worker_shutdown,
    worker_shutting_down,
)
from celery.worker.state import reserved_requests
from flask import Flask, current_app, has_app_context
from kombu import Connection, Queue
from kombu.transport import virtual

from . import logs, presence, shutdown, spans, watch
from .doorbell import JOBS, RUN_TASK, WEBHOOKS, queue_name
from .errors import LedgerUnavailable, MailerError, NotMigrated
from .models import LANES
from .state import State, serving

log = logging.getLogger(__name__)

PRUNE_EVERY_SECONDS = 600.0
"""Often and short, so that it is never much at a time."""

RECONNECT_SECONDS = 5.0
"""The longest wait before a worker looks again whether the broker is back."""

CLOCKS_APART_SECONDS = 300.0
"""How far the clocks of two machines may differ."""

RECOUNT_SECONDS = 5.0
"""How often a worker looks whether it waits for a message that it has long dealt with."""

HELD_SECONDS = 15.0
"""More than a worker holds a message that is for later; see `Doorbell.ring_later`."""

PUBLISHED = "PUBLISHED"
"""The first state of a task that bears a result. Celery itself knows of none until a worker has
begun it, and says of it what it says of any id."""

# What Flask's guide leaves open, set to what is safe. `app.config["CELERY"]` overrides each.
DEFAULTS: dict[str, Any] = {
    "broker_url": "redis://127.0.0.1:6379/0",
    "task_ignore_result": True,
    "task_serializer": "json",
    "accept_content": ["json"],
    "result_serializer": "json",
    "result_expires": 86_400,
    # Who asks for a result waits no longer for it than a publish does.
    "redis_socket_timeout": 3,
    "redis_socket_connect_timeout": 3,
    "task_track_started": True,
    # A worker holds one task at a time, so that a slow drain keeps no other waiting behind it.
    "worker_prefetch_multiplier": 1,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    # A Redis that is full or a replica for a while answers with errors: the first would end the
    # worker, which sends nothing until somebody starts it again.
    "broker_channel_error_retry": True,
    "broker_transport_options": {
        # Below Redis's own limits and Celery's default; nothing here runs that long.
        "visibility_timeout": 3600,
        "queue_order_strategy": "priority",
        # Without these a connection that a firewall or a failover forgot, and told nobody, is
        # waited for: workers and beat stand still for good, and do not even end when asked to.
        "socket_timeout": 3,
        "socket_connect_timeout": 3,
        "socket_keepalive": True,
        "health_check_interval": 3,
    },
}


def celery_init_app(app: Flask) -> Celery:
    """Make the Celery app of ``app``, configured from ``app.config["CELERY"]``."""

    class FlaskTask(Task):  # type: ignore[type-arg]
        def __call__(self, *args: object, **kwargs: object) -> object:
            # Run eagerly inside a request, the context of that request stays the current one.
            if has_app_context() and current_app._get_current_object() is app:  # type: ignore[attr-defined]
                return self.run(*args, **kwargs)
            with app.app_context():
                return self.run(*args, **kwargs)

    celery_app: Celery = Celery(app.name, task_cls=FlaskTask)
    celery_app.config_from_object(_settings(app.config.get("CELERY") or {}))
    celery_app.set_default()
    app.extensions["celery"] = celery_app
    return celery_app


def add_lanes(celery_app: Celery, namespace: str, *, sweep_seconds: float) -> None:
    """Let the workers of ``celery_app`` consume the lanes' queues, and its beat sweep.

    Works on a Celery app that the application made itself, and keeps what it had set.
    """
    celery_app.steps["worker"].add(_HearOut)
    celery_app.steps["consumer"].update((_Watch, _Recount))
    cast(Any, celery_app.amqp).Connection = _Connection
    conf = celery_app.conf
    queues = list(conf.task_queues or [Queue(conf.task_default_queue)])
    names = {queue.name for queue in queues}
    # In order of urgency: with the order strategy "priority" a free worker looks here first.
    ours = (*LANES, WEBHOOKS, JOBS)
    lanes = [Queue(name) for lane in ours if (name := queue_name(namespace, lane)) not in names]
    conf.task_queues = [*lanes[:1], *queues, *lanes[1:]]
    conf.beat_schedule = {
        "mailer.sweep": {
            "task": "mailer.sweep",
            "schedule": sweep_seconds,
            # Sweeps that waited behind a busy worker would only repeat each other. Beat's clock
            # sets the time and the worker's clock reads it: a worker that is fast must not throw
            # every sweep away.
            "options": {"expires": sweep_seconds + CLOCKS_APART_SECONDS},
        },
        "mailer.prune": {
            "task": "mailer.prune",
            "schedule": PRUNE_EVERY_SECONDS,
            "options": {"expires": PRUNE_EVERY_SECONDS + CLOCKS_APART_SECONDS},
        },
        **(conf.beat_schedule or {}),
    }


class _Connection(Connection):
    """A connection to the broker. Celery has no setting for how long a worker waits to try again:
    after an outage of some minutes it would be half a minute more."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        return super().ensure_connection(*args, **{"interval_max": RECONNECT_SECONDS, **kwargs})


class _Repeated(bootsteps.StartStopStep):
    """Does something again and again in the worker's main process, whether its children are busy
    or idle. Celery starts it anew with each connection to the broker, and loses its timers
    before."""

    requires = ("celery.worker.consumer.tasks:Tasks",)
    seconds: float
    _timer: Any = None

    def start(self, consumer: Any) -> None:
        self.stop(consumer)
        self._timer = consumer.timer.call_repeatedly(self.seconds, self.look, (consumer,))

    def stop(self, consumer: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def look(self, consumer: Any) -> None:
        raise NotImplementedError


class _Watch(_Repeated):
    """Says that the worker is there, and looks after the scheduler."""

    seconds = watch.LOOK_SECONDS

    def start(self, consumer: Any) -> None:
        super().start(consumer)
        self._announce(consumer)

    def look(self, consumer: Any) -> None:
        self._announce(consumer)
        watch.look(serving(consumer.app))

    def _announce(self, consumer: Any) -> None:
        for state in serving(consumer.app):
            presence.announce(state.traffic.shared, consumer.hostname)


class _Recount(_Repeated):
    """Connects anew after an acknowledgement that failed.

    Celery logs it and goes on, but the message keeps one of the few places that a worker has for
    messages: one that takes a single message at a time never asks Redis for another.
    """

    seconds = RECOUNT_SECONDS

    _first_seen: dict[str, float] = {}  # noqa: RUF012 - never changed, each look has its own
    """By tag of a message that is not acknowledged."""

    def start(self, consumer: Any) -> None:
        super().start(consumer)
        self._first_seen = {}

    def look(self, consumer: Any) -> None:
        channel = consumer.task_consumer.channel
        if not isinstance(channel, virtual.Channel):
            return  # a broker that counts itself
        qos = cast(Any, channel.qos)
        tags = set(qos._delivered) - set(qos._dirty)
        now = time.monotonic()
        self._first_seen = {tag: self._first_seen.get(tag, now) for tag in tags}
        # What rings in some seconds is held, and no task yet: only what is older can be lost.
        old = sum(now - since >= HELD_SECONDS for since in self._first_seen.values())
        if old > sum(not request.acknowledged for request in list(reserved_requests)):
            # Celery takes it for what it is, and starts over with a new connection.
            raise ConnectionError("an acknowledgement was lost")


class _HearOut(bootsteps.StartStopStep):
    """Listens to the end to the children of a worker that ends.

    Celery would forget the task that a child has begun in that moment, and hear no more of it: the
    child waits half a minute for its parent to hear that it is done.
    """

    def close(self, worker: Any) -> None:
        worker.pool.flush = None


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    settings = {**DEFAULTS, **given}
    settings["broker_transport_options"] = {
        **DEFAULTS["broker_transport_options"],
        **(given.get("broker_transport_options") or {}),
    }
    # Tasks that opt in with ignore_result=False find a place for their result.
    if str(settings["broker_url"]).startswith(("redis", "sentinel")):
        settings.setdefault("result_backend", settings["broker_url"])
    return settings


@after_setup_logger.connect
@after_setup_task_logger.connect
def _log_as_set(logger: logging.Logger, **kwargs: object) -> None:
    """Keep to MAILER_LOG_FORMAT where Celery has set up its own."""
    if any(state.config["MAILER_LOG_FORMAT"] == "json" for state in _served()):
        logs.write_json(logger)
        logs.write_json(logging.getLogger("multiprocessing"))


@worker_init.connect
def _refuse_what_cannot_work(sender: Any, **kwargs: object) -> None:
    """Stop a worker at its start, rather than at its first email, without ledger or templates."""
    for state in serving(sender.app):
        try:
            state.check()
        except NotMigrated as error:
            raise SystemExit(f"mailer: {error}") from error
        except LedgerUnavailable as error:
            log.warning("%s; the worker starts and waits for it", error)
        except MailerError as error:
            raise SystemExit(f"mailer: {error}") from error


@worker_init.connect
def _share_memory(**kwargs: object) -> None:
    """Keep the garbage collector off what the children inherit: it writes into each object that it
    looks at, and each child would have a copy of its own of all that was imported."""
    gc.collect()
    gc.freeze()


@before_task_publish.connect
def _remember(headers: dict[str, Any] | None = None, **kwargs: object) -> None:
    """Tell a task that bears a result, and was just sent, from one that nobody sent."""
    found = headers or {}
    # A job's result is in the ledger from the start, and who rings for one cannot wait.
    if found.get("ignore_result", True) or found.get("task") == RUN_TASK:
        return
    current_celery_app.backend.store_result(found["id"], {"at": time.time()}, PUBLISHED)


@worker_shutting_down.connect
def _start_no_more(**kwargs: object) -> None:
    shutdown.announce()


@worker_shutdown.connect
def _leave(sender: Any, **kwargs: object) -> None:
    for state in serving(sender.app):
        presence.leave(state.traffic.shared, sender.hostname)


@worker_process_shutdown.connect
def _say_goodbye(**kwargs: object) -> None:
    """End the open SMTP conversations with QUIT, and keep no span back: Celery ends its children
    without what Python does at an exit."""
    for state in _served():
        state.close()
    spans.flush()


def _served() -> list[State]:
    return serving(cast(Any, current_celery_app)._get_current_object())
