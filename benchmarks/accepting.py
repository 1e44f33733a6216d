"""How many emails a second the HTTP API accepts, beside a route that does next to nothing.

gunicorn as it is shipped, two processes; sixteen connections that are kept, each with one request
under way. No worker sends meanwhile.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from mailer import keys
from mailer.db import Database
from mailer.dev.guardian import Guardian
from mailer.dev.ports import HOST, free_port
from mailer.dev.redis import EmbeddedRedis
from mailer.dev.services import answers_http
from mailer.grants import checked
from mailer.values import database_url

from .counter import CHECKOUT
from .stand import PATIENCE_SECONDS, environ_with, settings_for

CONNECTIONS = 16
"""As many as two processes of eight threads answer at once."""
START_SECONDS = 20.0
CLIENT_AT_MOST = 0.2
"""Of a core: a client that takes more is what is measured."""


class Door(NamedTuple):
    """What emails come in by."""

    app: str
    table: str
    """Has a row for each of them."""
    batch: int = 1


DOORS = {
    "bare": Door("benchmarks.bare:create_app()", "bare_emails"),
    "API": Door("mailer:create_app()", "mailer_deliveries"),
    "API batch": Door("mailer:create_app()", "mailer_deliveries", batch=100),
}


def per_second(name: str, folder: Path, settings: Mapping[str, str], emails: int) -> float:
    """Return how many emails are accepted in a second, of so many."""
    door = DOORS[name]
    requests = max(emails // door.batch, CONNECTIONS)
    folder.mkdir(parents=True)
    url = f"sqlite:///{folder / 'ledger.sqlite3'}"
    database = Database(database_url(url))
    database.upgrade()
    _, token = keys.create(database, "benchmark", checked(), actor="benchmark")
    with EmbeddedRedis(folder / "redis") as redis:
        given = settings_for(url, {**settings, "CELERY__broker_url": redis.url})
        with _served(door.app, folder, environ_with(given)) as port:
            asked = map(str, (port, token, requests, door.batch, CONNECTIONS))
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.client", *asked],
                cwd=CHECKOUT,
                stdout=subprocess.PIPE,
                text=True,
                timeout=PATIENCE_SECONDS,
                check=False,
            )
    if done.returncode:
        raise SystemExit(f"{name} was not measured: {(folder / 'log').read_text()[-3000:]}")
    told = json.loads(done.stdout)
    with database.read() as connection:
        stored = connection.scalar(sa.text(f"SELECT count(*) FROM {door.table}"))
    database.close()
    if stored != told["emails"]:
        raise SystemExit(f"{name}: expected {told['emails']} emails to be stored, got {stored}")
    if told["cpu"] > CLIENT_AT_MOST * told["took"]:
        raise SystemExit(f"{name}: the client took {told['cpu'] / told['took']:.0%} of a core")
    rate: float = requests * door.batch / told["took"]
    return rate


@contextmanager
def _served(app: str, folder: Path, environ: dict[str, str]) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--config", "python:mailer.gunicorn"]
    guardian = Guardian()
    with (folder / "log").open("wb") as log:
        process = guardian.launch(
            [*command, "--bind", f"{HOST}:{port}", app], log=log, environment=environ
        )
    deadline = time.monotonic() + START_SECONDS
    try:
        while not answers_http(port)(""):
            if time.monotonic() > deadline:
                raise SystemExit(f"{app} does not start: {(folder / 'log').read_text()[-3000:]}")
            time.sleep(0.05)
        yield port
    finally:
        guardian.end(process)
        guardian.close()
