from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flask_mail
import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from mailer import create_app, delivery, state
from mailer.models import LANES, Delivery, Email, User

MakeApp = Callable[..., Flask]


@pytest.fixture
def make_app(tmp_path: Path) -> Iterator[MakeApp]:
    """Make the service with its ledger in SQLite, no worker, and limits counted in-process."""
    made: list[Flask] = []

    def make(**config: Any) -> Flask:
        app = create_app(
            {
                "SECRET_KEY": "a secret for tests only",
                "TESTING": True,
                "MAILER_DATABASE_URL": f"sqlite:///{tmp_path / f'ledger-{len(made)}.sqlite3'}",
                "MAILER_BASE_URL": "http://app.example.com",
                "MAILER_LIMIT_PER_ADDRESS": "1000/hour",
                "MAILER_LIMIT_PER_CLIENT": "1000/hour",
                "MAIL_DEFAULT_SENDER": "service@example.com",
                "CELERY": {"broker_url": "memory://", "result_backend": "disabled"},
                **config,
            }
        )
        state.of(app).database.upgrade()
        made.append(app)
        return app

    yield make
    for app in made:
        state.of(app).close()


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def drain(app: Flask) -> Callable[[], list[flask_mail.Message]]:
    """Do the worker's part here, all but the network; return what was sent."""

    def drained() -> list[flask_mail.Message]:
        mail: flask_mail.Mail = app.extensions["mail"]
        with app.app_context(), mail.record_messages() as outbox:
            for lane in LANES:
                delivery.drain(state.of(app), lane)
        return list(outbox)

    return drained


@pytest.fixture
def follow() -> Callable[[flask_mail.Message], str]:
    """Return the path that the link in an email leads to."""

    def path(message: flask_mail.Message) -> str:
        links = re.findall(r"http://app\.example\.com(/\w+/\S+)", message.body or "")
        assert len(links) == 1, message.body
        return str(links[0])

    return path


@pytest.fixture
def rows(app: Flask) -> Callable[[type[User | Email | Delivery]], list[Any]]:
    """Return what a table holds."""

    def stored(table: type[User | Email | Delivery]) -> list[Any]:
        with state.of(app).database.read() as connection:
            return list(connection.execute(sa.select(table)))

    return stored


@pytest.fixture
def submit(client: FlaskClient) -> Callable[..., Any]:
    """Fill in the form at a path and send it, as a browser would."""

    def submitted(path: str, **fields: str) -> Any:
        found = re.search(r'name="csrf_token" value="([^"]+)"', client.get(path).text)
        assert found, f"no form at {path}"
        return client.post(path, data={"csrf_token": found[1], **fields})

    return submitted
