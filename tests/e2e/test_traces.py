"""A trace goes from the process that dispatches to the worker that sends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mailer.dev.catcher import Catcher

from ..worker import CHECKOUT, environment, wait_until, worker

DISPATCH = """
from opentelemetry import trace
from tests.e2e.traced_celery import flask_app, provider
from mailer import dispatch
from mailer.state import of

with flask_app.app_context():
    of(flask_app).database.upgrade()
    for number in range(20):
        with trace.get_tracer("shop").start_as_current_span("POST /orders"):
            dispatch(to=f"n{number}@example.com", subject="Hello", text="Hello")
of(flask_app).close()
provider.shutdown()
"""


def test_emails_of_many_requests_that_one_task_sends_stay_in_their_traces(
    settings: dict[str, Any],
    redis_url: str,
    catcher: Catcher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings |= {"MAIL_PORT": catcher.smtp_port, "CELERY": {"broker_url": redis_url}}
    here, there = tmp_path / "dispatch.jsonl", tmp_path / "worker.jsonl"
    environ = {**os.environ, **environment(settings), "TRACES": str(here)}
    subprocess.run([sys.executable, "-c", DISPATCH], env=environ, cwd=CHECKOUT, check=True)
    monkeypatch.setenv("TRACES", str(there))
    with worker(settings, tmp_path / "worker.log", app="tests.e2e.traced_celery") as process:
        wait_until(lambda: len(catcher.messages()) == 20, 30, lambda: process.output[-3000:])
        wait_until(lambda: process.output.count("status=sent") == 20, 10)
    dispatched = [span for span in spans(here) if span["name"] == "mailer.dispatch"]
    assert {span["context"]["trace_id"] for span in spans(there)} == {
        span["context"]["trace_id"] for span in dispatched
    }
    assert sorted(span["parent_id"] for span in spans(there)) == sorted(
        span["context"]["span_id"] for span in dispatched
    )
    assert {span["attributes"]["server.port"] for span in spans(there)} == {catcher.smtp_port}
    assert process.received() < 20


def test_the_set_up_that_the_page_shows_traces_a_dispatch(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    page = (CHECKOUT / "docs" / "observability.md").read_text()
    (shown,) = [block for block in blocks(page) if "set_tracer_provider" in block]
    (tmp_path / "shown.py").write_text(shown)
    call = DISPATCH.replace("tests.e2e.traced_celery", "shown")
    settings |= {"CELERY": {"broker_url": "memory://"}}
    done = subprocess.run(
        [sys.executable, "-c", call],
        env={**os.environ, **environment(settings)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count('"name": "mailer.dispatch"') == 20


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def spans(file: Path) -> list[dict[str, Any]]:
    if not file.exists():
        return []
    whole, _, _ = file.read_text().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]
