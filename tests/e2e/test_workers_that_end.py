"""Workers that are asked to end, and workers that die."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from typing import Any

from flask import Flask

from mailer import Filters, dispatch
from mailer.dev.catcher import Catcher
from mailer.state import of

from ..worker import beat, wait_until, worker
from .test_main_job import recipients, statuses

SHORT = {
    "MAIL_CONNECT_TIMEOUT_SECONDS": 0.1,
    "MAIL_TIMEOUT_SECONDS": 0.5,
    "MAIL_FINAL_TIMEOUT_SECONDS": 0.2,
    "MAILER_DRAIN_SECONDS": 1,
    "MAILER_TASK_SECONDS": 3,
    "MAILER_LEASE_SECONDS": 4,
}
"""Times as short as their relations allow, so that a test need not wait for a lease."""


def dispatch_to(app: Flask, *names: str) -> None:
    with app.app_context():
        for name in names:
            context = {"start_url": f"https://app.acme.example/{name}"}
            dispatch("welcome", to=f"{name}@example.com", context=context)


def test_an_email_that_kills_its_worker_takes_no_other_with_it(
    app: Flask, stack: dict[str, Any], catcher: Catcher, tmp_path: Any
) -> None:
    stack |= SHORT
    innocent = [f"user{number}" for number in range(30)]
    dispatch_to(app, *innocent[:15], "deadly", *innocent[15:])
    with (
        worker(stack, tmp_path / "worker.log", "--concurrency", "1", app="tests.e2e.deadly_celery"),
        beat(stack, tmp_path / "beat.log"),
    ):
        wait_until(lambda: statuses(app) == {"sent": 30, "failed": 1}, 60, lambda: statuses(app))
    (failed,) = of(app).ledger.list(Filters(statuses=["failed"]), 10)
    assert failed.recipient == "deadly@example.com"
    assert "poison" in failed.reason
    received = recipients(catcher)
    assert set(received) == {f"{name}@example.com" for name in innocent}
    assert max(received.values()) <= 2  # sent, not settled, when its neighbour killed the worker


def test_a_worker_asked_to_end_hands_back_what_it_has_not_begun_and_sends_nothing_twice(
    app: Flask, stack: dict[str, Any], catcher: Catcher, tmp_path: Any
) -> None:
    names = [f"user{number}" for number in range(1500)]
    dispatch_to(app, *names)
    with worker(stack, tmp_path / "first.log", "--concurrency", "2") as first:
        catcher.wait_for(150)
        asked = time.monotonic()
        first.stop()
        assert time.monotonic() - asked < 10
    assert statuses(app)["sending"] == 0
    assert statuses(app)["sent"] == len(catcher.messages()) < 1500
    with (
        worker(stack, tmp_path / "second.log", "--concurrency", "2"),
        beat(stack, tmp_path / "beat.log"),
    ):
        wait_until(lambda: statuses(app) == {"sent": 1500}, 60, lambda: statuses(app))
    assert recipients(catcher) == Counter({f"{name}@example.com": 1 for name in names})


def test_a_worker_asked_to_end_hears_what_a_child_begins_at_that_moment(
    app: Flask, stack: dict[str, Any], catcher: Catcher, tmp_path: Any
) -> None:
    options = ("--concurrency", "1", "--loglevel", "DEBUG")
    with worker(stack, tmp_path / "worker.log", *options) as process:
        children = subprocess.run(
            ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
        )
        (child,) = map(int, children.stdout.split())
        os.kill(child, signal.SIGSTOP)  # it begins, and cannot say so before its parent ends
        dispatch_to(app, "user")
        wait_until(lambda: process.received() == 1, 10, lambda: process.output)
        asked = time.monotonic()
        process.signal(signal.SIGTERM)
        wait_until(lambda: "Stopping Pool" in process.output, 10, lambda: process.output)
        os.kill(child, signal.SIGCONT)
        process.stop()
        assert time.monotonic() - asked < 10, "the child waited for its parent to listen"
    assert "Traceback" not in process.output
    assert statuses(app) in ({"sent": 1}, {"queued": 1})
