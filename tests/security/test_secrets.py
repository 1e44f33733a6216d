"""Canaries: each secret is looked for wherever it could have been left."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from mailer import delivery, dispatch
from mailer.cli import group
from mailer.composition import compose
from mailer.content import Content
from mailer.db import Database
from mailer.drafting import Request, draft
from mailer.errors import LedgerUnavailable
from mailer.state import of
from mailer.users import Tokens
from mailer.values import database_url

from ..conftest import AppFactory
from ..smtp_server import Do, SMTPServer
from ..worker import wait_until, worker

PASSWORD = "canary-of-the-user-1"
SMTP_PASSWORD = "canary-of-the-relay-2"
REDIS_PASSWORD = "canary-of-the-broker-3"
DATABASE_PASSWORD = "canary-of-the-database-5"
SECRET_KEY = "canary-of-the-app-4-and-long-enough"
SETTINGS = (SMTP_PASSWORD, REDIS_PASSWORD, SECRET_KEY)


@pytest.fixture
def guarded_redis_url(redis_url: str) -> Iterator[str]:
    """The shared Redis, through a user with a password."""
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command(
            "ACL", "SETUSER", "app", "on", f">{REDIS_PASSWORD}", "~*", "&*", "+@all"
        )
        yield redis_url.replace("redis://", f"redis://app:{REDIS_PASSWORD}@")
        client.execute_command("ACL", "DELUSER", "app")


def processes_that_know(words: str) -> dict[int, tuple[str, str]]:
    """Return command line and environment of every process with ``words`` in its environment."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, environ = ((folder / name).read_bytes() for name in ("cmdline", "environ"))
        except OSError:  # gone meanwhile, or somebody else's
            continue
        if words.encode() in environ:
            found[int(folder.name)] = command.decode(), environ.decode(errors="replace")
    return found


def everything_in(redis_url: str) -> str:
    with redis.Redis.from_url(redis_url) as client:
        keys: Any = client.keys("*")
        return " ".join(f"{key!r} {client.dump(key)!r}" for key in keys)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc on this system")
def test_no_secret_is_in_redis_the_ledger_a_log_the_process_list_or_what_celery_tells(
    settings: dict[str, Any],
    make_app: AppFactory,
    guarded_redis_url: str,
    redis_url: str,
    tmp_path: Path,
) -> None:
    reached, release = threading.Event(), threading.Event()

    def hold() -> None:
        reached.set()
        release.wait(30)

    with SMTPServer(
        features=("PIPELINING", "AUTH PLAIN"), script={"dot": [Do(), Do(call=hold)]}
    ) as smtp:
        stack = {
            **settings,
            "SECRET_KEY": SECRET_KEY,
            "MAIL_PORT": smtp.port,
            "MAIL_USERNAME": "app",
            "MAIL_PASSWORD": SMTP_PASSWORD,
            "MAIL_DEBUG": True,
            "MAIL_FINAL_TIMEOUT_SECONDS": 30,
            "CELERY": {"broker_url": guarded_redis_url},
        }
        app = make_app(**stack)
        client = app.test_client()
        with worker(stack, tmp_path / "worker.log", "--concurrency", "1") as process:
            client.post("/signup", json={"email": "ada@example.com", "password": PASSWORD})
            wait_until(lambda: len(smtp.messages) == 1, 20, lambda: process.output)
            client.post("/reset", json={"email": "ada@example.com"})
            assert reached.wait(20), process.output
            # The token is on its way: whatever can be seen from outside is looked at now.
            inspect = app.extensions["celery"].control.inspect(timeout=5, limit=1)
            told = {
                name: getattr(inspect, name)()
                for name in ("active", "reserved", "scheduled", "stats", "conf", "report")
            }
            seen = processes_that_know(str(tmp_path))
            in_redis = everything_in(redis_url)
            release.set()
            wait_until(lambda: len(smtp.messages) == 2, 20, lambda: process.output)
        log = process.output
        tokens = [part for one in smtp.messages for part in links(one.data)]
    in_ledger = "".join(
        path.read_bytes().decode(errors="replace") for path in tmp_path.glob("ledger.sqlite3*")
    )
    # Each place was really looked at.
    assert len(tokens) == 2
    assert told["active"]
    assert all(told["active"].values()), told["active"]
    assert "broker_url" in json.dumps(told["conf"])
    assert len(seen) >= 2, "the worker and its child"
    assert all("worker" in command for command, _ in seen.values())
    assert "smtp client: AUTH PLAIN ***" in log
    assert "ada@example.com" in in_ledger
    assert in_redis

    places = {
        "what Celery tells": json.dumps(told, default=str),
        "the process list": " ".join(command for command, _ in seen.values()),
        "Redis": in_redis,
        "the ledger": in_ledger,
        "the log": log,
    }
    for secret in (*tokens, PASSWORD, *SETTINGS):
        for place, content in places.items():
            assert secret not in content, place
    # Settings come by the environment, which only the same user and root can read.
    for _, environ in seen.values():
        for secret in (*tokens, PASSWORD):
            assert secret not in environ


def links(message: bytes) -> list[str]:
    """Return the tokens of the links in a message, each once."""
    words = message.decode().replace("=\r\n", "").split()
    paths = [word for word in words if word.startswith("https://app.acme.example/")]
    return sorted({path.rpartition("/")[2] for path in paths if path.count("/") == 4})


CANARY = "canary-in-a-context"


def test_no_repr_shows_what_an_email_says_or_a_setting_that_is_secret(make_app: AppFactory) -> None:
    app = make_app(
        SECRET_KEY=SECRET_KEY,
        MAIL_USERNAME="app",
        MAIL_PASSWORD=SMTP_PASSWORD,
        CELERY={"broker_url": f"redis://:{REDIS_PASSWORD}@127.0.0.1:1/0"},
    )
    state = of(app)
    with app.app_context():
        dispatch("welcome", to="ada@example.com", context={"start_url": CANARY})
    (claimed,) = state.ledger.claim("default", limit=1).deliveries
    composed = compose(state, claimed.email, claimed.recipient)
    assert composed is not None
    assert CANARY.encode() in composed.message
    request = Request(template="welcome", to="ada@example.com", context={"start_url": CANARY})
    shown = repr(
        [
            state, state.traffic, state.traffic.dsns, state.traffic.transports,
            [one.server for one in state.traffic.transports.values()],
            state.database, state.ledger, state.doorbell, Tokens([SECRET_KEY]), claimed, composed,
            composed.content, request, draft(state, request), Content(CANARY, CANARY, CANARY),
        ]
    )  # fmt: skip
    for secret in (CANARY, *SETTINGS):
        assert secret not in shown


def test_no_failure_to_reach_a_server_names_its_password(
    make_app: AppFactory, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(
        MAIL_PORT=1,
        MAIL_USERNAME="app",
        MAIL_PASSWORD=SMTP_PASSWORD,
        CELERY={"broker_url": f"redis://app:{REDIS_PASSWORD}@127.0.0.1:1/0"},
    )
    state = of(app)
    with app.app_context():
        dispatch("welcome", to="ada@example.com", context={"start_url": "https://a.example"})
        delivery.drain(state, "default")
    ledger = Database(database_url(f"postgresql://app:{DATABASE_PASSWORD}@127.0.0.1:1/mail"))
    with pytest.raises(LedgerUnavailable) as caught:
        ledger.check_migrated()
    status = app.test_cli_runner().invoke(group, ["status"]).output
    assert "doorbell lane=default failed" in caplog.text
    assert "127.0.0.1:1" in status
    said = f"{caplog.text} {caught.value} {ledger.url} {status}"
    for secret in (SMTP_PASSWORD, REDIS_PASSWORD, DATABASE_PASSWORD):
        assert secret not in said
