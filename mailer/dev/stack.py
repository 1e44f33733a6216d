"""The development stack as data: where the services listen, their settings and commands."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from .ports import HOST, choose, free_port
from .redis import is_up, server_command
from .services import PREPARED, Service, answers_http, says
from .state import StateDirectory
from .terminal import Terminal

_BROKER = "FLASK_CELERY__broker_url"
_BACKEND = "FLASK_CELERY__result_backend"
_OPTIONS = "FLASK_CELERY__broker_transport_options"
_SERVER = "FLASK_MAIL_SERVER"
_TRANSPORTS = "FLASK_MAILER_TRANSPORTS"
# What settings that go with another SMTP server must be for the catcher.
_PLAIN = {
    "FLASK_MAIL_USE_TLS": "false",
    "FLASK_MAIL_USE_SSL": "false",
    "FLASK_MAIL_USERNAME": "",
    "FLASK_MAIL_PASSWORD": "",  # nosec B105  # the catcher asks for none
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where the services listen. None: not started, the user's settings name another server."""

    web: int
    smtp: int | None
    inbox: int | None
    redis: int | None


def _given(environment: Mapping[str, str], name: str) -> str | None:
    """Return what the user set, under either spelling of a Celery setting."""
    return environment.get(name) or environment.get(name.upper())


def choose_ports(environment: Mapping[str, str], terminal: Terminal, *, demo: bool) -> Ports:
    """Choose the ports, the usual ones where they are free, and say what is not as usual.

    The demo always mails its own catcher: its addresses are made up.
    """
    server = _given(environment, _SERVER)
    catcher = demo or server is None
    if server is not None:
        where = "set aside for the demo" if demo else "mail goes there, no inbox is started"
        terminal.line(f"  {_SERVER} is {server}: {where}")
    broker = _given(environment, _BROKER) is None
    if not broker:
        terminal.line(f"  {_BROKER} is set: no Redis is started")
    return Ports(
        web=_port("web", 5000, terminal),
        smtp=_port("smtp", 2525, terminal) if catcher else None,
        inbox=_port("inbox", 8025, terminal) if catcher else None,
        redis=free_port() if broker else None,
    )


def _port(name: str, preferred: int, terminal: Terminal) -> int:
    port = choose(preferred)
    if port != preferred:
        terminal.line(f"  Port {preferred} is busy: {name} takes {port}")
    return port


def child_environment(
    environment: Mapping[str, str], ports: Ports, state: StateDirectory
) -> dict[str, str]:
    """Return the environment of every service: the stack's settings under the user's."""
    ours = {
        "FLASK_SECRET_KEY": state.secret_key(),
        "FLASK_MAIL_DEFAULT_SENDER": "no-reply@example.com",
        "FLASK_MAILER_BASE_URL": f"http://{HOST}:{ports.web}",
        "FLASK_MAILER_DATABASE_URL": state.ledger_url,
        # Every client of a development stack is the same one.
        "FLASK_MAILER_LIMIT_PER_CLIENT": "10000/hour",
        # A receiver under development runs on this machine too.
        "FLASK_MAILER_WEBHOOK_ALLOW": "127.0.0.0/8,::1",
        "PYTHONUNBUFFERED": "1",
    }
    merged = ours | {
        name: value for name, value in environment.items() if value or name not in ours
    }
    if ports.redis is not None:
        url = f"redis://{HOST}:{ports.redis}/0"
        merged[_BROKER] = url
        if _given(environment, _BACKEND) is None:
            merged[_BACKEND] = url
        if _given(environment, _OPTIONS) is None:
            # How long the worker waits on Redis before it looks whether it is to end: otherwise
            # a second, of the few that a stop may take.
            merged[_OPTIONS] = '{"polling_interval": 0.2}'
    if ports.smtp is not None:
        merged |= {_SERVER: HOST, "FLASK_MAIL_PORT": str(ports.smtp), **_PLAIN}
        # Test mail is to be seen in the inbox like all other.
        catcher = f"smtp://{HOST}:{ports.smtp}"
        merged.setdefault(_TRANSPORTS, f"default={catcher}, test={catcher}?for=test")
    return merged


def development_services(ports: Ports, state: StateDirectory) -> list[Service]:
    """Return what to run: they stop within 5 s, web and beat first, Redis last."""
    services = []
    needed: tuple[str, ...] = (PREPARED,)
    celery = (sys.executable, "-m", "celery", "-A", "make_celery")
    if (redis := ports.redis) is not None:
        services.append(
            Service(
                name="redis",
                command=tuple(server_command(state.redis, redis)),
                ready=lambda log: is_up(redis, log),
                shown=f"{HOST}:{redis}",
                stage=0,
                budget=0.3,
                # It warns about the kernel's memory settings at every start.
                alarms=False,
            )
        )
        needed = (PREPARED, "redis")
    if ports.smtp is not None and ports.inbox is not None:
        catcher = (sys.executable, "-m", "mailer.dev.catcher")
        services.append(
            Service(
                name="catcher",
                command=(*catcher, "--smtp-port", str(ports.smtp), "--http-port", str(ports.inbox)),
                ready=says(r'"smtp_port"'),
                shown=f"smtp {HOST}:{ports.smtp}, inbox http://{HOST}:{ports.inbox}",
                stage=1,
                budget=0.3,
            )
        )
    workers = "2"
    # Mingling asks other workers for a second; there are none here.
    lonely = ("--without-mingle", "--without-gossip")
    schedule = str(state.path / "beat-schedule")
    return [
        *services,
        Service(
            name="worker",
            command=(*celery, "worker", "--loglevel", "INFO", "--concurrency", workers, *lonely),
            ready=says(r" ready\.$"),
            shown=f"{workers} processes",
            after=needed,
            stage=2,
            # Idle, Celery takes 2.5: mostly fixed sleeps in the end of its pool.
            budget=3.1,
        ),
        Service(
            name="beat",
            command=(*celery, "beat", "--loglevel", "INFO", "--schedule", schedule, "--pidfile="),
            ready=says(r"beat: Starting"),
            # It only wakes what a doorbell has missed: the first email need not wait for it.
            after=("worker", "web"),
            awaited=False,
            stage=3,
            budget=1.2,
        ),
        Service(
            name="web",
            command=(
                *(sys.executable, "-m", "gunicorn", "--bind", f"{HOST}:{ports.web}"),
                *("-c", "python:mailer.gunicorn", "--workers", "1", "--graceful-timeout", "1"),
                "mailer:create_app()",
            ),
            ready=answers_http(ports.web),
            shown=f"http://{HOST}:{ports.web}",
            after=needed,
            stage=3,
            budget=1.2,
        ),
    ]
