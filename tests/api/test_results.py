"""Results of tasks: of jobs, and of any task that bears one."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Self

import pytest
import sqlalchemy as sa
from celery import Celery
from flask import Flask

from mailer.models import Job
from mailer.state import of

from ..conftest import AppFactory
from ..worker import wait_until
from ..worker import worker as running_worker

Call = Callable[..., Any]


# Celery stores results so.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")


@pytest.fixture
def app(make_app: AppFactory, redis_url: str) -> Flask:
    """The service, with results in Redis and without a worker."""
    return make_app(CELERY={"broker_url": redis_url})


@pytest.fixture
def job(app: Flask) -> str:
    job_id = str(uuid.uuid4())
    of(app).ledger.add_job(job_id, "retry", {"ids": [], "below": 9}, actor="ann", total=7)
    return job_id


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("queued", "PENDING"),
        ("running", "PROGRESS"),
        ("checked", "PROGRESS"),
        ("done", "SUCCESS"),
        ("stopped", "REVOKED"),
    ],
)
def test_a_job_is_told_as_a_task(app: Flask, call: Call, job: str, status: str, state: str) -> None:
    ready = status in {"done", "stopped"}
    with of(app).database.begin() as connection:
        instants = {"ended_at": 1.0 if ready else None, "lease_until": time.time() + 60}
        connection.execute(sa.update(Job).values(status=status, done=3, **instants))
    code, found = call("GET", f"/results/{job}")
    assert code == 200
    progress = {"current": 3, "total": 7, "changed": 0, "status": status}
    assert found == {
        "id": job,
        "ready": ready,
        "successful": status == "done",
        "state": state,
        **({"value": progress} if ready else {}),
        "progress": progress,
    }


def test_a_job_that_failed_is_no_error_of_ours(app: Flask, call: Call, job: str) -> None:
    with of(app).database.begin() as connection:
        values = {"status": "failed", "ended_at": 1.0, "words": "KeyError: 'sent'"}
        connection.execute(sa.update(Job).values(values))
    code, found = call("GET", f"/results/{job}")
    assert (code, found["state"], found["value"]) == (200, "FAILURE", "KeyError: 'sent'")
    assert (found["ready"], found["successful"]) == (True, False)


@pytest.mark.parametrize("status", ["queued", "running"])
def test_a_job_without_a_worker_says_so(app: Flask, call: Call, job: str, status: str) -> None:
    assert "words" not in call("GET", f"/results/{job}")[1]["progress"]
    with of(app).database.begin() as connection:
        lease = sa.type_coerce(Job.lease_until, sa.Double) - 40
        connection.execute(sa.update(Job).values(status=status, lease_until=lease))
    words = call("GET", f"/results/{job}")[1]["progress"]["words"]
    assert words.startswith("no worker has taken it for 4")


def test_a_job_whose_worker_is_quiet_says_so_before_its_lease_is_over(
    app: Flask, call: Call, job: str
) -> None:
    of(app).ledger.claim_job(job, "claim")
    assert "words" not in call("GET", f"/results/{job}")[1]["progress"]
    with of(app).database.begin() as connection:
        lease = sa.type_coerce(Job.lease_until, sa.Double) - 40
        connection.execute(sa.update(Job).values(lease_until=lease))
    words = call("GET", f"/results/{job}")[1]["progress"]["words"]
    assert words.startswith("nothing was heard of its worker for 4")
    assert words.endswith("after 60 s another may take it")


def test_how_long_a_job_waits_is_reckoned_by_the_ledgers_clock(
    app: Flask, call: Call, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ahead(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(days=1)

    monkeypatch.setattr("mailer.results.datetime", Ahead, raising=False)
    assert "words" not in call("GET", f"/results/{job}")[1]["progress"]


def test_an_unknown_id_and_a_key_without_the_scope(call: Call, key: Callable[..., str]) -> None:
    code, found = call("GET", "/results/nobody")
    assert (code, found["message"]) == (404, "there is no task 'nobody' that keeps a result")
    assert call("GET", "/results/nobody", token=key(scopes=["send"]))[0] == 401


# Tasks of an application

TASKS = """
from celery import shared_task
from mailer.app import create_app

@shared_task(name="shop.add", ignore_result=False)
def add(a, b):
    return a + b

@shared_task(name="shop.forgets")
def forgets():
    return 7

flask_app = create_app()
celery_app = flask_app.extensions["celery"]
"""


@pytest.fixture
def shop(app: Flask) -> Celery:
    """The app's Celery, with tasks of the application."""
    celery_app = of(app).celery

    @celery_app.task(name="shop.add", ignore_result=False)
    def add(a: int, b: int) -> int:
        return a + b

    @celery_app.task(name="shop.forgets")
    def forgets() -> int:
        return 7

    return celery_app


def test_a_task_that_was_just_sent_is_not_unknown(
    shop: Celery, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = shop.tasks["shop.add"].apply_async((1, 2)).id
    code, found = call("GET", f"/results/{sent}")
    assert (code, found["state"], found["ready"], found["progress"]) == (200, "PENDING", False, {})
    now = time.time()
    monkeypatch.setattr("mailer.results.time.time", lambda: now + 40)
    words = call("GET", f"/results/{sent}")[1]["progress"]["words"]
    assert words == "no worker has taken it for 40 s"
    assert call("GET", f"/results/{shop.tasks['shop.forgets'].apply_async().id}")[0] == 404


def test_what_a_worker_returns_and_raises(  # noqa: PLR0917
    shop: Celery,
    call: Call,
    settings: dict[str, Any],
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "shop_celery.py").write_text(TASKS)
    settings = {**settings, "CELERY": {"broker_url": redis_url}}
    right = shop.tasks["shop.add"].apply_async((1, 2)).id
    wrong = shop.tasks["shop.add"].apply_async((1, "2")).id

    def ready(task_id: str) -> bool:
        return bool(call("GET", f"/results/{task_id}")[1]["ready"])

    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    log = tmp_path / "worker.log"
    with running_worker(settings, log, "--pool", "solo", app="shop_celery") as process:
        wait_until(lambda: ready(right) and ready(wrong), 20, lambda: process.output)
    found = call("GET", f"/results/{right}")[1]
    assert (found["successful"], found["state"], found["value"]) == (True, "SUCCESS", 3)
    code, found = call("GET", f"/results/{wrong}")
    assert (code, found["successful"], found["state"]) == (200, False, "FAILURE")
    assert found["value"].startswith("TypeError: unsupported operand")
