from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from mailer import create_app, state

MakeApp = Callable[..., Flask]


@pytest.fixture
def make_app(tmp_path: Path) -> Iterator[MakeApp]:
    """Make the service with its ledger in SQLite, no broker, and limits counted in-process."""
    made: list[Flask] = []

    def make(**config: Any) -> Flask:
        app = create_app(
            {
                "SECRET_KEY": "a secret for tests only",
                "TESTING": True,
                "MAILER_DATABASE_URL": f"sqlite:///{tmp_path / f'ledger-{len(made)}.sqlite3'}",
                "MAILER_ALLOW_TEST_DOMAINS": True,
                "MAILER_LIMIT_PER_ADDRESS": "1000/hour",
                "MAILER_LIMIT_PER_CLIENT": "1000/hour",
                "MAIL_DEFAULT_SENDER": "service@example.test",
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


def csrf_token(client: FlaskClient, path: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get(path).text)
    assert found, f"no form at {path}"
    return found[1]
