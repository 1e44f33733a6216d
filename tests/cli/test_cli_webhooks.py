"""``mailer webhooks``"""

from __future__ import annotations

import json

import pytest
from flask import Flask

from mailer import webhooks
from mailer.ledger.events import TYPES
from mailer.state import of

from ..receiver import receiver
from .conftest import Run


@pytest.fixture(autouse=True)
def loopback(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app.config, "MAILER_WEBHOOK_ALLOW", ("127.0.0.1",))


def test_a_webhook_is_made_listed_disabled_enabled_and_deleted(app: Flask, run: Run) -> None:
    with receiver() as hears:
        made = run("webhooks", "create", hears.url)
        secret = made.stdout.strip()
        (row,) = webhooks.listing(of(app), limit=9).rows
        assert (row.secret, row.url, row.events) == (secret, hears.url, list(TYPES))
        assert row.id in made.stderr
        only = run("webhooks", "create", hears.url, "--event", "email.failed", "--json")
        document = json.loads(only.stdout)
        assert webhooks.get(of(app), document["id"]).events == ["email.failed"]

        assert run("webhooks", "disable", row.id).stdout == f"disabled {row.id}\n"
        listed = run("webhooks", "list").stdout
        assert "disabled by cli:" in listed
        assert secret not in listed
        documents = json.loads(run("webhooks", "list", "--json").stdout)
        assert [one["id"] for one in documents] == [document["id"], row.id]
        assert "secret" not in documents[0]
        refused = run("webhooks", "replay", row.id, "--since", "2h")
        assert refused.exit_code == 1
        assert "is disabled: enable it first" in refused.stderr

        assert run("webhooks", "enable", row.id).stdout == f"enabled {row.id}\n"
        assert "disabled" not in run("webhooks", "list").stdout
        told_again = run("webhooks", "replay", row.id, "--since", "2h ago").stdout
        assert told_again == "0 events to be told again\n"
        assert run("webhooks", "delete", row.id).stdout == f"deleted {row.id}\n"
        again = run("webhooks", "delete", row.id)
        assert (again.exit_code, again.stderr) == (1, f"mailer: there is no webhook '{row.id}'\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("create", "https://10.0.0.1/"),
            "or one in MAILER_WEBHOOK_ALLOW: 10.0.0.1 is",
        ),
        (("create", "http://127.0.0.1/", "--event", "email.opened"), "'email.opened' is not one"),
        (("replay", "some"), "--since"),
    ],
)
def test_what_is_wrong_is_named(run: Run, words: tuple[str, ...], told: str) -> None:
    result = run("webhooks", *words)
    assert result.exit_code == 2
    assert told in result.stderr
