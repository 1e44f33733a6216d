"""Celery inside Flask, as Flask's guide has it, and the worker's conduct."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, shared_task
from celery.result import AsyncResult
from celery.worker.state import reserved_requests
from flask import Flask, current_app
from kombu import Connection
from kombu.exceptions import OperationalError

from mailer import Mailer, celery_init_app
from mailer.celery_app import DEFAULTS, RECONNECT_SECONDS, _Recount, add_lanes
from mailer.delivery import LOOK_AGAIN_SECONDS
from mailer.dev.ports import free_port
from mailer.tasks import run_job, send_email

from .conftest import AppFactory
from .worker import CHECKOUT, Process, environment, wait_until, worker


@shared_task(ignore_result=False)
def name_of_current_app() -> str:
    return current_app.name


def eager(name: str) -> Flask:
    app = Flask(name)
    app.config["CELERY"] = {"broker_url": "memory://", "task_always_eager": True}
    return app


def test_a_task_runs_under_the_context_of_its_app() -> None:
    celery_app = celery_init_app(eager("shop"))
    assert celery_app.tasks[name_of_current_app.name].delay().get() == "shop"


def test_an_eager_task_keeps_the_context_of_the_request_that_called_it() -> None:
    app = eager("shop")
    celery_app = celery_init_app(app)
    with app.app_context() as context:
        from flask import g

        g.seen = "before"

        @celery_app.task
        def look() -> str:
            return str(g.seen)

        assert look.delay().get() == "before"
        assert context.app is app


def test_two_apps_in_one_process_run_their_own_tasks() -> None:
    one, two = (celery_init_app(eager(name)) for name in ("one", "two"))
    task = name_of_current_app.name
    assert one.tasks[task].delay().get() == "one"
    assert two.tasks[task].delay().get() == "two"
    assert one.tasks[task].delay().get() == "one"


def test_the_last_app_is_celerys_default_and_in_the_apps_extensions() -> None:
    from celery import current_app as current_celery_app

    app = eager("shop")
    celery_app = celery_init_app(app)
    assert app.extensions["celery"] is celery_app
    assert current_celery_app.tasks is celery_app.tasks


def test_the_apps_celery_settings_win_over_the_safe_defaults() -> None:
    app = eager("shop")
    app.config["CELERY"] |= {
        "worker_prefetch_multiplier": 4,
        "broker_transport_options": {"visibility_timeout": 7200},
    }
    conf = celery_init_app(app).conf
    assert conf.worker_prefetch_multiplier == 4
    assert conf.broker_transport_options == {
        **DEFAULTS["broker_transport_options"],
        "visibility_timeout": 7200,
    }
    assert conf.task_ignore_result is DEFAULTS["task_ignore_result"] is True
    assert conf.accept_content == ["json"]


def test_an_apps_own_celery_gets_the_lanes_and_keeps_its_queues_and_schedule() -> None:
    app = Flask("shop")
    own = Celery("shop", broker="memory://")
    own.conf.beat_schedule = {"tidy": {"task": "shop.tidy", "schedule": 60}}
    app.extensions["celery"] = own
    Mailer(app)
    assert app.extensions["celery"] is own
    assert [queue.name for queue in own.conf.task_queues] == [
        "mailer.critical", "celery", "mailer.default", "mailer.bulk", "mailer.webhooks",
        "mailer.jobs",
    ]  # fmt: skip
    assert set(own.conf.beat_schedule) == {"tidy", "mailer.sweep", "mailer.prune"}


class Held:
    """A task that a worker has received."""

    acknowledged = False


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds, to be set."""
    seconds = [0.0]
    monkeypatch.setattr("mailer.celery_app.time.monotonic", lambda: seconds[0])
    return seconds


@pytest.fixture
def channel() -> Iterator[Any]:
    """A worker's channel to its broker, for one message at a time."""
    with Connection("memory://") as connection:
        opened: Any = connection.channel()
        opened.basic_qos(0, 1, False)
        yield opened


def test_a_lost_acknowledgement_makes_a_worker_connect_anew(
    clock: list[float], channel: Any
) -> None:
    channel.qos.append("a message", "its tag")
    consumer = SimpleNamespace(task_consumer=SimpleNamespace(channel=channel))
    recount = _Recount(consumer)
    request = Held()
    reserved_requests.add(request)
    recount.look(consumer)  # a task has it that is yet to acknowledge it
    clock[0] += 600
    recount.look(consumer)  # and may take its time
    reserved_requests.discard(request)
    with pytest.raises(ConnectionError):
        recount.look(consumer)
    channel.qos.ack("its tag")
    recount.look(consumer)


def test_a_ring_for_later_that_a_worker_holds_is_no_lost_acknowledgement(
    clock: list[float], channel: Any
) -> None:
    recount = _Recount(SimpleNamespace())
    consumer = SimpleNamespace(task_consumer=SimpleNamespace(channel=channel))
    for number in range(20):
        channel.qos.append("a message", f"tag {number}")
        recount.look(consumer)
        clock[0] += LOOK_AGAIN_SECONDS
        recount.look(consumer)
        channel.qos.ack(f"tag {number}")


def test_a_worker_with_a_fast_clock_takes_sweeps_for_fresh() -> None:
    celery_app = celery_init_app(eager("shop"))
    add_lanes(celery_app, "mailer", sweep_seconds=5)
    assert celery_app.conf.beat_schedule["mailer.sweep"]["options"]["expires"] > 120


def test_a_worker_looks_every_few_seconds_whether_the_broker_is_back() -> None:
    app = Flask("shop")
    app.config["CELERY"] = {"broker_url": f"redis://127.0.0.1:{free_port()}/0"}
    celery_app = celery_init_app(app)
    add_lanes(celery_app, "mailer", sweep_seconds=5)
    waits: list[float] = []

    def failed(error: Exception, wait: float) -> None:
        waits.append(wait)
        if len(waits) == 3:
            raise error

    with celery_app.connection_for_read() as connection, pytest.raises(OperationalError):
        connection.ensure_connection(failed, interval_start=0, interval_step=3)
    assert len(waits) == 3
    assert max(waits) <= RECONNECT_SECONDS  # Celery's third would have been 6


def test_send_email_leaves_ignore_result_at_its_default() -> None:
    source = (CHECKOUT / "mailer" / "tasks.py").read_text()
    assert re.findall(r"name=(\w+).*ignore_result=(\w+)", source) == [("RUN_TASK", "False")]
    celery_app = celery_init_app(eager("shop"))
    assert celery_app.tasks[send_email.name].ignore_result is True  # from task_ignore_result
    assert celery_app.tasks[run_job.name].ignore_result is False


def test_results_are_stored_only_for_a_task_that_opts_in(
    make_app: AppFactory, settings: dict[str, Any], redis_url: str, tmp_path: Path
) -> None:
    import redis

    stack = {**settings, "CELERY": {"broker_url": redis_url, "imports": ["tests.test_celery_app"]}}
    celery_app = make_app(**stack).extensions["celery"]
    with worker(stack, tmp_path / "worker.log", "--concurrency", "1"):
        ignored: AsyncResult = celery_app.tasks[send_email.name].delay("no such id")
        opted_in: AsyncResult = celery_app.tasks[name_of_current_app.name].delay()
        assert opted_in.get(timeout=10) == "mailer"
        # Both went to the same worker in order, so the first one has ended, too.
        assert ignored.state == "PENDING"
        with redis.Redis.from_url(redis_url) as client:
            assert client.keys("celery-task-meta-*") == [f"celery-task-meta-{opted_in.id}".encode()]


def test_a_worker_refuses_to_start_on_an_unmigrated_ledger(
    settings: dict[str, Any], redis_url: str, tmp_path: Path
) -> None:
    stack = {**settings, "CELERY": {"broker_url": redis_url}}
    command = [sys.executable, "-m", "celery", "-A", "make_celery", "worker"]
    process = Process(command, environment(stack), tmp_path / "worker.log")
    wait_until(lambda: process.exit_code is not None, 20, lambda: process.output)
    assert process.exit_code == 1
    assert "mailer db upgrade`" in process.output


def test_a_wrong_setting_stops_a_worker_in_one_line(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    stack = {**settings, "MAIL_PORT": "smtp"}
    command = [sys.executable, "-m", "celery", "-A", "make_celery", "worker"]
    process = Process(command, environment(stack), tmp_path / "worker.log")
    wait_until(lambda: process.exit_code is not None, 20, lambda: process.output)
    assert process.exit_code != 0
    assert "MAIL_PORT: expected a whole number from 1 to 65535, got 'smtp'" in process.output
