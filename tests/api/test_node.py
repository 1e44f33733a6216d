"""Resend's own SDK for Node, unchanged, against the running service, and what verifies webhooks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import pytest
from flask import Flask
from standardwebhooks import Webhook

from mailer.delivery import drain
from mailer.dev.catcher import Catcher
from mailer.models import LANES
from mailer.state import of

from .. import javascript
from ..test_readme import blocks

SCENARIOS = {
    "send": 3,
    "batch": 6,
    "schedule": 0,
    "attachments": 1,
    "templates": 1,
    "suppressions": 0,
    "webhooks": 1,
    "api_keys": 1,
}
"""Scripts of tests/node, and how many copies of emails go out after each."""


@pytest.fixture(autouse=True)
def node() -> None:
    javascript.require()


def test_every_script_is_run() -> None:
    scripts = {path.stem for path in javascript.FOLDER.glob("*.mjs")}
    assert scripts - {"client", "verify"} == set(SCENARIOS)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_sdk_for_node_does_all_of(
    app: Flask, address: str, key: Callable[..., str], catcher: Catcher, scenario: str
) -> None:
    app.config["MAILER_BASE_URL"] = address.removesuffix("/api")
    app.config["MAILER_WEBHOOK_ALLOW"] = ("127.0.0.1",)
    script = javascript.FOLDER / f"{scenario}.mjs"
    javascript.run(script, RESEND_BASE_URL=address, RESEND_API_KEY=key())
    for lane in LANES:
        drain(of(app), lane)
    assert len(catcher.messages()) == SCENARIOS[scenario]


def test_the_examples_of_the_documentation_and_the_readme_send(
    app: Flask, address: str, key: Callable[..., str], catcher: Catcher, tmp_path: Path
) -> None:
    page = app.test_client().get("/api/docs").get_data(as_text=True)
    (documented,) = re.findall(r"<code>(import .*?)</code>", page, re.DOTALL)
    (tmp_path / "node_modules").symlink_to(javascript.FOLDER / "node_modules")
    script = tmp_path / "example.mjs"
    for number, example in enumerate([unescape(documented), *blocks("js")], 1):
        script.write_text(example)
        javascript.run(script, RESEND_BASE_URL=address, RESEND_API_KEY=key())
        drain(of(app), "default")
        assert [one.recipients for one in catcher.messages()] == [("ada@example.com",)] * number
    assert number == 2


SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def signed(payload: str) -> dict[str, str]:
    """Return the headers of a webhook, under both names."""
    at = datetime.now(UTC)
    headers = {
        "id": "msg_1",
        "timestamp": str(int(at.timestamp())),
        "signature": Webhook(SECRET).sign("msg_1", at, payload),
    }
    return {
        f"{kind}-{name}": value for kind in ("webhook", "svix") for name, value in headers.items()
    }


@pytest.mark.parametrize(
    ("sent", "taken"),
    [
        ('{"type":"email.sent","to":"ä"}', ["standardwebhooks", "svix", "resend"]),
        ('{"type":"email.sent","to":"forged"}', []),
    ],
)
def test_what_verifies_webhooks_in_node_takes_a_signature_and_no_forgery(
    sent: str, taken: list[str]
) -> None:
    headers = signed('{"type":"email.sent","to":"ä"}')
    given = json.dumps({"secret": SECRET, "payload": sent, "headers": headers})
    verify = javascript.FOLDER / "verify.mjs"
    assert json.loads(javascript.run(verify, given)) == taken
