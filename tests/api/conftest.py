from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.serving import make_server

from mailer import create_app, grants, keys, state
from mailer.dev.catcher import Catcher

Call = Callable[..., Any]


@pytest.fixture
def app(tmp_path: Path, catcher: Catcher) -> Iterator[Flask]:
    """The service; nothing rings for a worker, and what is drained goes to the catcher."""
    app = create_app(
        {
            "SECRET_KEY": "a secret for tests only",
            "TESTING": True,
            "MAIL_SUPPRESS_SEND": False,
            "MAILER_DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.sqlite3'}",
            "MAILER_BASE_URL": "http://app.example.com",
            "MAIL_DEFAULT_SENDER": "service@example.com",
            "MAIL_PORT": catcher.smtp_port,
            "CELERY": {"broker_url": "memory://", "result_backend": "disabled"},
        }
    )
    state.of(app).database.upgrade()
    yield app
    state.of(app).close()


@pytest.fixture
def key(app: Flask) -> Callable[..., str]:
    """Make keys; by default one that may do all."""

    def make(**options: Any) -> str:
        options.setdefault("scopes", grants.SCOPES)
        return keys.create(state.of(app).database, "test", grants.checked(**options), actor="test")[
            1
        ]

    return make


@pytest.fixture
def call(app: Flask, key: Callable[..., str]) -> Call:
    """Ask the API: ``call("POST", "/emails", {...})`` returns status and JSON."""
    all_scopes = key()

    def ask(
        method: str, path: str, body: Any = None, *, token: str = all_scopes, **more: Any
    ) -> Any:
        headers = {"Authorization": f"Bearer {token}", **more}
        answer = app.test_client().open(f"/api{path}", method=method, json=body, headers=headers)
        assert answer.mimetype == "application/json", answer.data
        return answer.status_code, answer.get_json()

    return ask


@pytest.fixture
def address(app: Flask) -> Iterator[str]:
    """The base address of the API on a real server."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}/api"
    server.shutdown()
    thread.join(10)
