"""Schemathesis asks the running service for everything that its OpenAPI document describes, and for
much that it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask

from mailer import create_app, state

LONG = os.environ.get("FUZZ") == "long"
SECONDS = 900 if LONG else 40
CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.fixture
def app(database_url: str) -> Iterator[Flask]:
    """The service on each kind of database; nothing is sent."""
    app = create_app(
        {
            "SECRET_KEY": "a secret for tests only",
            "MAIL_SUPPRESS_SEND": True,
            "MAILER_DATABASE_URL": database_url,
            "MAILER_BASE_URL": "http://app.example.com",
            "MAIL_DEFAULT_SENDER": "service@example.com",
            "CELERY": {"broker_url": "memory://", "result_backend": "disabled"},
        }
    )
    state.of(app).database.upgrade()
    yield app
    state.of(app).close()


def test_nothing_that_a_program_asks_is_answered_otherwise_than_described(
    address: str, key: Callable[..., str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("ERROR", "werkzeug")  # it has a line for each request
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "--no-color"),
        *("run", f"{address}/openapi.json", "--url", address, "--checks", "all"),
        *("--header", f"Authorization: Bearer {key()}"),
        *("--max-time", str(SECONDS), "--continue-on-failure", "--generation-database", "none"),
        *(() if LONG else ("--seed", "1")),
    ]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=SECONDS * 3
    )
    print(done.stdout)  # noqa: T201  # what was tried
    assert done.returncode == 0, done.stdout + done.stderr
