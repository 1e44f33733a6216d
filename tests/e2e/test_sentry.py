"""Bugs arrive at Sentry, and nothing else that was in the process."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from celery import Celery

from mailer.db import Database
from mailer.dev.ports import free_port
from mailer.dev.services import answers_http
from mailer.values import database_url

from ..worker import CHECKOUT, Process, environment, wait_until, worker

SECRETS = ("ada", "example.com", "s3cret", "not a secret", "X-Forwarded", "Dear")


class Sentry:
    """What was posted to it."""

    def __init__(self, port: int) -> None:
        self.dsn = f"http://publickey@127.0.0.1:{port}/42"
        self.bodies: list[bytes] = []

    @property
    def events(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for body in list(self.bodies) for line in body.splitlines()]
        return [line for line in lines if "exception" in line]


@pytest.fixture
def sentry() -> Iterator[Sentry]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            zipped = self.headers.get("Content-Encoding") == "gzip"
            found.bodies.append(gzip.decompress(body) if zipped else body)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Sentry(server.server_port)
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def buggy(settings: dict[str, Any], redis_url: str, sentry: Sentry) -> dict[str, Any]:
    settings |= {"MAILER_SENTRY_DSN": sentry.dsn, "CELERY": {"broker_url": redis_url}}
    database = Database(database_url(settings["MAILER_DATABASE_URL"]))
    database.upgrade()
    database.close()
    return settings


@contextmanager
def web(settings: dict[str, Any], log: Path) -> Iterator[str]:
    port = free_port()
    gunicorn = str(Path(sys.executable).with_name("gunicorn"))
    options = ("-c", "python:mailer.gunicorn", "--bind", f"127.0.0.1:{port}")
    process = Process(
        [gunicorn, *options, "tests.e2e.buggy_celery:flask_app"], environment(settings), log
    )
    try:
        wait_until(lambda: answers_http(port)(""), 30, lambda: process.output)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stop()


def status(url: str) -> int:
    request = urllib.request.Request(
        url,
        b'{"text": "Dear Ada"}' if url.endswith("emails") else None,
        {"X-Request-Id": "shop-7", "Cookie": "s3cret", "X-Forwarded-For": "10.9.8.7"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=20)
    with refused.value as error:
        return error.code


def check_nothing_else(sentry: Sentry) -> None:
    everything = b"\n".join(sentry.bodies).decode()
    assert '"vars"' not in everything
    for secret in SECRETS:
        assert secret not in everything


def test_a_bug_in_a_view_arrives_without_what_it_was_about(
    buggy: dict[str, Any], sentry: Sentry, tmp_path: Path
) -> None:
    with web(buggy, tmp_path / "web.log") as url:
        assert status(f"{url}/away") == 503
        assert status(f"{url}/nowhere/ada@example.com") == 404
        assert status(f"{url}/api/emails") == 401
        assert status(f"{url}/bug/s3cret?who=ada@example.com") == 500
        wait_until(lambda: sentry.events, 20, (tmp_path / "web.log").read_text)
    (event,) = sentry.events
    (raised,) = event["exception"]["values"]
    assert raised["type"] == "ValueError"
    assert "value" not in raised
    assert raised["stacktrace"]["frames"][-1]["function"] == "bug"
    assert event["transaction"] == "/bug/<token>"
    assert event["tags"]["request"] == "shop-7"
    assert "request" not in event
    check_nothing_else(sentry)


def test_a_bug_in_a_task_arrives_without_what_it_was_about(
    buggy: dict[str, Any], sentry: Sentry, tmp_path: Path
) -> None:
    sender = Celery(broker=buggy["CELERY"]["broker_url"])
    log = tmp_path / "worker.log"
    with worker(buggy, log, "--concurrency", "1", app="tests.e2e.buggy_celery") as process:
        for name, args in (("test.away", []), ("test.bug", [{"to": "ada@example.com"}])):
            sender.send_task(name, args, queue="celery")
        wait_until(lambda: sentry.events, 20, lambda: process.output)
        wait_until(lambda: process.output.count("raised unexpected") == 2, 20)
    sender.close()
    (event,) = sentry.events
    (raised,) = event["exception"]["values"]
    assert (raised["type"], event["transaction"]) == ("ValueError", "test.bug")
    assert event["tags"]["celery_task_id"] in process.output
    check_nothing_else(sentry)


def test_without_the_sdk_the_start_is_refused(settings: dict[str, Any]) -> None:
    code = "\n".join(
        [
            "import importlib.util as util",
            "found = util.find_spec",
            "util.find_spec = lambda name: None if name == 'sentry_sdk' else found(name)",
            "from mailer import create_app",
            f"create_app({settings | {'MAILER_SENTRY_DSN': 'https://k@sentry.example/1'}})",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=CHECKOUT
    )
    assert done.stderr.splitlines()[-1] == (
        "mailer.errors.SettingError: MAILER_SENTRY_DSN: needs sentry-sdk: "
        "pip install 'mailer-dispatch[sentry]'"
    )
