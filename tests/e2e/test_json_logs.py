"""MAILER_LOG_FORMAT=json: every line of web, worker and beat is a JSON object."""

from __future__ import annotations

import json
import sys
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mailer import keys
from mailer.db import Database
from mailer.dev.catcher import Catcher
from mailer.dev.ports import free_port
from mailer.dev.services import answers_http
from mailer.grants import SCOPES, checked
from mailer.values import database_url

from ..worker import Process, environment, wait_until

EMAIL = {"from": "a@example.com", "to": "ada@example.com", "subject": "Hello", "text": "Dear Ada"}


def test_every_line_of_web_worker_and_beat_is_json_and_one_id_leads_through_them(
    settings: dict[str, Any], redis_url: str, catcher: Catcher, tmp_path: Path
) -> None:
    port = free_port()
    settings |= {
        "MAIL_PORT": catcher.smtp_port,
        "MAILER_LOG_FORMAT": "json",
        "CELERY": {"broker_url": redis_url},
    }
    database = Database(database_url(settings["MAILER_DATABASE_URL"]))
    database.upgrade()
    _, token = keys.create(database, "test", checked(scopes=SCOPES), actor="test")
    database.close()
    program = Path(sys.executable).parent
    celery = [str(program / "celery"), "-A", "make_celery"]
    schedule = ["--schedule", str(tmp_path / "schedule"), "--pidfile="]
    commands = {
        "web": [
            str(program / "gunicorn"),
            *("-c", "python:mailer.gunicorn", "--bind", f"127.0.0.1:{port}", "mailer:create_app()"),
        ],
        "worker": [*celery, "worker", "--loglevel", "INFO", "--concurrency", "1"],
        "beat": [*celery, "beat", "--loglevel", "INFO", *schedule],
    }
    with ExitStack() as running:
        said: dict[str, Process] = {}
        for name, command in commands.items():
            # A worker of root is warned of that before Celery has set up any log.
            environ = environment(settings) | {"PYTHONWARNINGS": "ignore"}
            on_stderr = ["sh", "-c", 'exec "$@" > /dev/null', name, *command]
            said[name] = Process(on_stderr, environ, tmp_path / f"{name}.log")
            running.callback(said[name].stop)
        wait_until(lambda: " ready." in said["worker"].output, 30, lambda: said["worker"].output)
        wait_until(lambda: answers_http(port)(""), 30, lambda: said["web"].output)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/emails",
            json.dumps(EMAIL).encode(),
            {
                "Authorization": f"Bearer {token}",
                "Content-Type": "application/json",
                "X-Request-Id": "shop-7",
            },
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            email_id = json.load(answer)["id"]
        wait_until(lambda: "status=sent" in said["worker"].output, 20)
        wait_until(lambda: "Sending due task" in said["beat"].output, 20)
    lines = {
        name: [json.loads(line) for line in process.output.splitlines()]
        for name, process in said.items()
    }
    for found in lines.values():
        assert found
        for line in found:
            assert {"timestamp", "level", "logger", "process", "event"} <= line.keys()
    (access,) = [line for line in lines["web"] if line["logger"] == "mailer.web.access"
                 and line.get("method") == "POST"]  # fmt: skip
    assert (access["request"], access["status"], access["email"]) == ("shop-7", 200, email_id)
    (sent,) = [line for line in lines["worker"] if line.get("status") == "sent"]
    assert (sent["request"], sent["code"], sent["email"]) == ("shop-7", 250, email_id)
    assert any(line["event"].startswith("Listening at") for line in lines["web"])
    assert "ada@" not in "".join(process.output for process in said.values()).lower()
