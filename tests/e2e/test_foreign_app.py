"""The extension in somebody else's app, in processes of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from mailer.dev.catcher import Catcher

from ..worker import CHECKOUT, environment, wait_until, worker

APP = "tests.e2e.shop_celery"
PLACE_AN_ORDER = f"""
from {APP} import flask_app, order_placed
with flask_app.app_context():
    order_placed.send(flask_app, customer="ada@example.com", number=42)
"""


def test_a_signal_in_a_foreign_app_becomes_an_email(
    stack: dict[str, Any],
    catcher: Catcher,
    tmp_path: Path,
    monkeypatch: Any,
    database_url: str,
) -> None:
    folder = tmp_path / "templates" / "thank_you"
    folder.mkdir(parents=True)
    (folder / "subject.txt").write_text("Order {{ number }}")
    (folder / "body.txt").write_text("Thank you for order {{ number }}.")
    monkeypatch.setenv("SHOP_TEMPLATES", str(tmp_path / "templates"))
    stack |= {"MAILER_DATABASE_URL": database_url}
    del stack["SECRET_KEY"]

    def flask(*command: str) -> str:
        return python("-m", "flask", "--app", APP, *command)

    def python(*command: str) -> str:
        import os

        return subprocess.run(
            [sys.executable, *command],
            cwd=CHECKOUT,
            env={**os.environ, **environment(stack)},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout

    flask("mailer", "db", "upgrade")
    with worker(stack, tmp_path / "worker.log", "--concurrency", "1", app=APP):
        python("-c", PLACE_AN_ORDER)
        (message,) = catcher.wait_for(1, to="ada@example.com")
        assert b"Subject: Order 42\r\n" in message.raw
        wait_until(lambda: deliveries(flask)[0]["state"] == "sent", 10)


def deliveries(flask: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(flask("mailer", "list", "--json"))["deliveries"]
    return found
