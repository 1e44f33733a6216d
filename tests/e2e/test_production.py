"""The processes of the Procfile: they start, and security mail has a worker of its own."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from mailer import create_app, dispatch, dispatch_many, webhooks
from mailer.dev.ports import free_port
from mailer.dev.services import answers_http
from mailer.ledger.events import TYPES
from mailer.state import of

from ..receiver import hang, receiver
from ..smtp_server import Do, SMTPServer
from ..worker import CHECKOUT, Process, environment, wait_until


def commands() -> dict[str, list[str]]:
    lines = (CHECKOUT / "Procfile").read_text().splitlines()
    found = (line.split(": ", 1) for line in lines)
    return {name: shlex.split(command) for name, command in found}


@contextmanager
def started(name: str, environ: dict[str, str], log: Path, *more: str) -> Iterator[Process]:
    program, *arguments = commands()[name]
    program = str(Path(sys.executable).parent / program)
    process = Process([program, *arguments, *more], environ, log)
    try:
        yield process
    finally:
        process.stop()


def test_the_procfile_has_what_the_page_says() -> None:
    page = (CHECKOUT / "docs" / "production.md").read_text()
    assert list(commands()) == ["release", "web", "critical", "worker", "jobs", "webhooks", "beat"]
    for name in commands():
        assert f"| `{name}` |" in page


def test_a_reset_finds_its_worker_free_while_a_slow_newsletter_holds_all_others(
    settings: dict[str, Any], redis_url: str, tmp_path: Path
) -> None:
    message = b"250 2.0.0 ok, thank you\r\n"
    with SMTPServer() as smtp, ExitStack() as running:
        smtp.then("dot", *[Do(message, every=0.25)] * 40)
        settings |= {
            "MAIL_PORT": smtp.port,
            "MAIL_FINAL_TIMEOUT_SECONDS": 30,
            "CELERY": {"broker_url": redis_url},
        }
        environ = environment(settings)
        with started("release", environ, tmp_path / "release.log") as release:
            wait_until(lambda: release.exit_code is not None, 20, lambda: release.output)
            assert release.exit_code == 0, release.output
        port = free_port()
        logs: dict[str, Process] = {}
        for name in ("web", "critical", "worker", "beat"):
            more = ["--bind", f"127.0.0.1:{port}"] if name == "web" else []
            more = ["--concurrency", "1"] if name == "worker" else more
            more = ["--schedule", str(tmp_path / "schedule")] if name == "beat" else more
            logs[name] = running.enter_context(
                started(name, environ, tmp_path / f"{name}.log", *more)
            )
        for name in ("critical", "worker"):
            wait_until(lambda name=name: " ready." in logs[name].output, 20)  # type: ignore[misc]
        wait_until(lambda: answers_http(port)(logs["web"].output), 20)
        app = create_app(settings)
        with app.app_context():
            dispatch_many(
                {"to": f"n{n}@example.com", "subject": "News", "text": "News", "lane": "bulk"}
                for n in range(5)
            )
            wait_until(lambda: any("RCPT" in line for line in smtp.lines), 10)
            assert smtp.messages == [], "the worker for all lanes waits for the slow server"
            smtp.script["dot"].clear()
            dispatch(to="ann@example.com", subject="Reset", text="Reset", lane="critical")
            wait_until(lambda: any(m.recipient == "ann@example.com" for m in smtp.messages), 5)
        of(app).close()


def test_receivers_of_events_that_hang_hold_up_no_mail_and_no_other_receiver(
    settings: dict[str, Any], redis_url: str, tmp_path: Path
) -> None:
    with SMTPServer() as smtp, ExitStack() as running, receiver(hang) as slow, receiver() as quick:
        settings |= {
            "MAIL_PORT": smtp.port,
            "MAILER_WEBHOOK_ALLOW": "127.0.0.1",
            "CELERY": {"broker_url": redis_url},
        }
        app = create_app(settings)
        of(app).database.upgrade()
        logs = {}
        for name, more in (("worker", ["--concurrency", "1"]), ("webhooks", [])):
            log = tmp_path / f"{name}.log"
            logs[name] = running.enter_context(started(name, environment(settings), log, *more))
        for process in logs.values():
            wait_until(lambda process=process: " ready." in process.output, 20)  # type: ignore[misc]
        with app.app_context():
            for one in (slow, quick):
                webhooks.create(of(app), one.url, TYPES, actor="test")
            for n in range(3):
                dispatch(to=f"n{n}@example.com", subject="News", text="News")
            # Nobody sweeps here: it is the commits that wake both.
            quick.wait_for(6, seconds=10)
            assert sorted(quick.types()) == ["email.queued"] * 3 + ["email.sent"] * 3
            assert len(smtp.messages) == 3
            assert slow.heard
        slow.stop()
        of(app).close()
        assert "tell_webhooks" not in logs["worker"].output.split(" ready.")[1]
