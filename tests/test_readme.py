"""The README holds: its file runs, and so does every command in it."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mailer.dev.catcher import Catcher
from mailer.dev.ports import free_port

from .worker import CHECKOUT, Process, wait_until

README = (CHECKOUT / "README.md").read_text()
BIN = Path(sys.executable).parent


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    lines = "".join(blocks("sh")).splitlines()
    return [line.partition("  #")[0].strip() for line in lines if line.strip()]


IN_THE_OWN_APP = [
    "mkdir -p templates/thank_you",
    "echo 'Thank you, {{ name }}!' > templates/thank_you/subject.txt",
    "echo '<p>Dear {{ name }}, we are packing <b>your order</b>.</p>' "
    "> templates/thank_you/body.html",
    "export FLASK_MAIL_PORT=2525 FLASK_MAIL_DEFAULT_SENDER='Shop <hello@shop.example>'",
    "flask --app shop mailer db upgrade",
    "python -m mailer.dev.catcher --smtp-port 2525 --http-port 8025",
    "celery -A shop:celery_app worker --loglevel INFO",
    "celery -A shop:celery_app beat --loglevel INFO",
    "flask --app shop run",
    "curl -d email=ada@example.com -d name=Ada http://127.0.0.1:5000/orders",
    "flask --app shop mailer list",
]
AS_A_SERVICE = [
    'echo "FLASK_SECRET_KEY=$(python -c '
    """'import secrets; print(secrets.token_urlsafe(32))')" > .env""",
    'echo "FLASK_MAIL_SERVER=smtp.acme.example" >> .env',
    'echo "FLASK_MAIL_DEFAULT_SENDER=hello@acme.example" >> .env',
    'echo "FLASK_MAILER_BASE_URL=https://accounts.acme.example" >> .env',
    'echo "FLASK_MAILER_DATABASE_URL=sqlite:////var/lib/mailer/ledger.sqlite3" >> .env',
    "mailer db upgrade",
    "gunicorn -c python:mailer.gunicorn 'mailer:create_app()'",
    "celery -A make_celery worker --loglevel INFO",
    "celery -A make_celery beat --loglevel INFO",
    "mailer keys create shop --sender '*@shop.example.com'",
    "export RESEND_API_KEY=mk_...",
    'curl http://127.0.0.1:8000/api/emails -H "Authorization: Bearer $RESEND_API_KEY" '
    '-H "Content-Type: application/json" -d \'{"from": "orders@shop.example.com", '
    '"to": "ada@example.com", "subject": "Your order", "text": "Thank you!"}\'',
    "mailer status",
    "mailer top",
    "mailer failed",
    "mailer list --state failed --since 2h",
    "mailer show ID",
    "mailer why ID",
    "mailer retry --code 451 --since 2h --yes",
    "mailer pause bulk",
    "mailer resume bulk",
    "mailer transports",
    "mailer transports pause primary",
    "mailer test you@example.com",
    "mailer audit --since 2h",
]
# The demo has its own test (tests/dev), the wheel and its extras as well (tests/test_wheel.py).
ELSEWHERE = {
    "make demo",
    "make test",
    "pip install 'mailer-dispatch[dev]'",
    "pip install 'mailer-dispatch[service]'",
}


def test_every_command_of_the_readme_is_run_by_a_test() -> None:
    assert set(commands()) == {*IN_THE_OWN_APP, *AS_A_SERVICE, *ELSEWHERE}


@pytest.mark.parametrize(("target", "runs"), [("demo", "mailer dev --demo"), ("test", "pytest")])
def test_the_two_commands_run_what_they_promise(target: str, runs: str) -> None:
    done = subprocess.run(
        ["make", "--dry-run", target], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert runs in done.stdout


class Terminals:
    """Shells in one folder with one environment; what runs on is ended at the end."""

    def __init__(self, folder: Path, environ: dict[str, str], ports: dict[str, str]) -> None:
        self.folder = folder
        self.environ = {**environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        self.ports = ports
        self._stack = ExitStack()

    def run(self, command: str) -> str:
        """Run a command to its end, which must be a good one; return what it printed."""
        done = subprocess.run(
            ["bash", "-euc", self._here(command)],
            cwd=self.folder,
            env={**os.environ, **self.environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self, command: str, until: str) -> Process:
        """Start a command that runs on, and wait until it has printed ``until``."""
        log = self.folder / f"{len(list(self.folder.glob('*.log')))}.log"
        process = Process(shlex.split(self._here(command)), self.environ, log, folder=self.folder)
        self._stack.callback(process.stop)
        wait_until(lambda: until in process.output, 20, lambda: f"{command}: {process.output}")
        return process

    def export(self, line: str) -> None:
        for assignment in shlex.split(self._here(line))[1:]:
            name, _, value = assignment.partition("=")
            self.environ[name] = value

    def close(self) -> None:
        self._stack.close()

    def _here(self, command: str) -> str:
        for port, other in self.ports.items():
            command = command.replace(port, other)
        return command


@pytest.fixture
def terminals(tmp_path: Path, redis_url: str) -> Iterator[Terminals]:
    ports = {port: str(free_port()) for port in ("2525", "8025", "5000", "8000")}
    environ = {
        "FLASK_CELERY__broker_url": redis_url,
        "FLASK_RUN_PORT": ports["5000"],
        "PYTHONUNBUFFERED": "1",
        "USER": "ada",
    }
    opened = Terminals(tmp_path, environ, ports)
    yield opened
    opened.close()


def test_the_first_email_in_an_own_app_arrives(terminals: Terminals) -> None:
    shop = blocks("python")[0]
    (terminals.folder / "shop.py").write_text(shop)
    mkdir, subject, body, export, upgrade, catcher, worker, beat, web, curl, listing = (
        IN_THE_OWN_APP
    )
    for command in (mkdir, subject, body):
        terminals.run(command)
    terminals.export(export)
    terminals.run(upgrade)
    inbox = json.loads(terminals.start(catcher, "url").output)["url"]
    terminals.start(worker, " ready.")
    terminals.start(beat, "beat: Starting")
    terminals.start(web, "Running on")
    assert "email" in json.loads(terminals.run(curl))
    message = wait_for_mail(inbox)
    assert message["subject"] == "Thank you, Ada!"
    assert "we are packing" in message["text"]
    wait_until(lambda: "sent" in terminals.run(listing), 10)


def test_the_service_runs_in_its_parts_and_ops_can_see_it(
    terminals: Terminals, catcher: Catcher
) -> None:
    terminals.environ |= {
        "FLASK_MAIL_SERVER": "127.0.0.1",
        "FLASK_MAIL_PORT": str(catcher.smtp_port),
        "FLASK_MAILER_DATABASE_URL": f"sqlite:///{terminals.folder / 'ledger.sqlite3'}",
        "FLASK_MAILER_BACKOFF_BASE_SECONDS": "0.1",
        "FLASK_MAILER_BACKOFF_CAP_SECONDS": "0.1",
        "FLASK_MAILER_SWEEP_SECONDS": "0.5",
        "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{terminals.ports['8000']}",
        "PYTHONPATH": str(CHECKOUT),  # make_celery.py lies at the top of a checkout
    }
    dotenv, parts = AS_A_SERVICE[:5], AS_A_SERVICE[5:9]
    create_key, export_key, curl, *on_call = AS_A_SERVICE[9:]
    upgrade, gunicorn, worker, beat = parts
    status, top, failed, listing, show, why, retry, *rest_of_it = on_call
    pause, resume, transports, rest, test, audit = rest_of_it
    for line in dotenv:
        terminals.run(line)
    terminals.run(upgrade)
    terminals.start(gunicorn, "Listening at")
    terminals.start(worker, " ready.")
    terminals.start(beat, "beat: Starting")
    catcher.script("rcpt", "451 4.7.1 Greylisted", times=1)
    request = urllib.request.Request(
        f"http://127.0.0.1:{terminals.ports['8000']}/signup",
        data=json.dumps({"email": "ada@example.com", "password": "correct horse battery"}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 202
    catcher.wait_for(1, to="ada@example.com")
    terminals.run(status)
    assert "Mail is flowing" in terminals.run(top)
    assert "nothing failed" in terminals.run(failed)
    terminals.run(listing)
    (row,) = json.loads(terminals.run("mailer list --json"))["deliveries"]
    shown = terminals.run(show.replace("ID", row["email_id"]))
    assert "451" in shown
    assert "Greylisted" in shown
    assert "last reply" in terminals.run(why.replace("ID", row["email_id"]))
    terminals.run(retry)
    printed = terminals.run(create_key).splitlines()[0]
    terminals.export(export_key.replace("mk_...", printed))
    assert "id" in json.loads(terminals.run(curl))
    catcher.wait_for(2, to="ada@example.com")
    terminals.environ["RESEND_API_URL"] = f"http://127.0.0.1:{terminals.ports['8000']}/api"
    (terminals.folder / "order.py").write_text(blocks("python")[1])
    terminals.run("python order.py")
    catcher.wait_for(3, to="ada@example.com")
    assert "paused" in terminals.run(pause)
    assert "resumed" in terminals.run(resume)
    assert "usable" in terminals.run(transports)
    assert "paused" in terminals.run(rest.replace("primary", "default"))
    assert "250" in terminals.run(test)
    catcher.wait_for(1, to="you@example.com")
    assert "pause" in terminals.run(audit)


def wait_for_mail(inbox: str) -> dict[str, str]:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"{inbox}/api/messages") as answer:
            found = json.load(answer)["messages"]
        if found:
            with urllib.request.urlopen(f"{inbox}/api/messages/{found[0]['id']}") as answer:
                message: dict[str, str] = json.load(answer)
                return message
        time.sleep(0.05)
    raise AssertionError("no email within 15 s")
