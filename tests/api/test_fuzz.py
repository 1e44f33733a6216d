"""Schemathesis asks the running service for everything that its OpenAPI document describes, and for
much that it does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from mailer import create_app, grants, keys, state

Call = Callable[..., Any]

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
            "MAILER_WEBHOOK_ALLOW": "127.0.0.1",
            "MAILER_BASE_URL": "http://app.example.com",
            "MAIL_DEFAULT_SENDER": "service@example.com",
            "CELERY": {"broker_url": "memory://", "result_backend": "disabled"},
        }
    )
    state.of(app).database.upgrade()
    yield app
    state.of(app).close()


def things(call: Call) -> dict[str, str]:
    """Make a thing of each kind; return their ids by the names of parameters."""
    hook = {"endpoint": "https://127.0.0.1/hook", "events": ["email.queued"]}
    webhook = call("POST", "/webhooks", hook)[1]["id"]
    file = {"filename": "a.txt", "content": "YQ=="}
    email = {"to": "b@example.com", "subject": "s", "text": "t", "attachments": [file]}
    sent = call("POST", "/emails", email)[1]["id"]
    some = {"subject": "s", "text": "t", "recipients": [{"to": "b@example.com"}]}
    bulk = call("POST", "/bulk", some)[1]["id"]
    return {
        "bulk_id": bulk,
        "task_id": bulk,
        "webhook_id": webhook,
        "event_id": call("GET", f"/webhooks/{webhook}/events")[1]["data"][0]["id"],
        "email_id": sent,
        "attachment_id": call("GET", f"/emails/{sent}/attachments")[1]["data"][0]["id"],
        "suppression": call("POST", "/suppressions", {"email": "c@example.com"})[1]["id"],
        "name": "welcome",
    }


def test_nothing_that_a_program_asks_is_answered_otherwise_than_described(
    app: Flask, call: Call, address: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("ERROR", "werkzeug")  # it has a line for each request
    database = state.of(app).database
    key_id, token = keys.create(
        database, "fuzz", grants.checked(scopes=grants.SCOPES), actor="test"
    )
    existing = things(call)
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "--no-color"),
        *("run", f"{address}/openapi.json", "--url", address, "--checks", "all"),
        *("--header", f"Authorization: Bearer {token}"),
        *("--max-time", str(SECONDS), "--continue-on-failure", "--generation-database", "none"),
        *(() if LONG else ("--seed", "1")),
    ]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={
            **os.environ,
            "KEY_ID": key_id,
            "EXISTING": json.dumps(existing),
            "PYTHONPATH": str(CONFIG.parent),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS * 3,
    )
    print(done.stdout)  # noqa: T201  # what was tried
    assert done.returncode == 0, done.stdout + done.stderr
    assert keys.find(database, token), "it was let in to the end"
