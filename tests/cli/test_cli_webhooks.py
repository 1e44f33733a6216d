"""``mailer webhooks``"""

from __future__ import annotations

import json

import pytest
from flask import Flask

from mailer import webhooks
from mailer.ledger.events import TYPES
from mailer.state import of

from ..receiver import answer, receiver
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
        assert told_again == ("0 events to be told now: 0 failed, 0 waited for the next attempt\n")
        assert run("webhooks", "delete", row.id).stdout == f"deleted {row.id}\n"
        again = run("webhooks", "delete", row.id)
        assert (again.exit_code, again.stderr) == (1, f"mailer: there is no webhook '{row.id}'\n")


def test_events_and_their_attempts_are_listed_and_told_again(app: Flask, run: Run) -> None:
    with receiver(answer("500 Broken", "out of\x1b order"), answer("200 OK")) as hears:
        made = webhooks.create(of(app), hears.url, ["email.queued"], actor="test")
        assert run("webhooks", "events", made.id).stdout == "no events\n"
        for name in ("ann", "bob"):
            run("send", "--subject", "x", "--text", "x", "--to", f"{name}@example.com")
        new, old = webhooks.events(of(app), made.id, limit=9).rows
        assert run("webhooks", "attempts", new.id).stdout.startswith("ATTEMPT")

        _, *rows = run("webhooks", "events", made.id).stdout.splitlines()
        assert [row.split()[:2] for row in rows] == [[new.id, "delivered"], [old.id, "pending"]]
        only = run("webhooks", "events", made.id, "--status", "pending").stdout.splitlines()
        assert only[1].endswith("email.queued")
        assert len(only) == 2
        assert "(the newest 1; --limit shows more)" in (
            run("webhooks", "events", made.id, "--limit", "1").stdout
        )
        document = json.loads(run("webhooks", "events", made.id, "--json").stdout)
        assert (document["more"], document["events"][0]["next_attempt_at"]) == (False, None)
        assert document["events"][1]["next_attempt_at"] > document["events"][1]["at"]

        head, row = run("webhooks", "attempts", old.id).stdout.splitlines()
        assert head.split()[-3:] == ["CODE", "MS", "ANSWER"]
        assert (row.split()[0], row.split()[3]) == ("1", "500")
        assert "\x1b" not in row
        document = json.loads(run("webhooks", "attempts", old.id, "--json").stdout)
        assert [one["code"] for one in document["attempts"]] == [500]

        replayed = run("webhooks", "replay", made.id, "--since", "2h", "--json").stdout
        assert json.loads(replayed) == {"waiting": 1, "failed": 0}
        assert webhooks.event(of(app), made.id, old.id).status == "delivered"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("events", "none"), "there is no webhook 'none'"),
        (("attempts", "none"), "there is no event 'none'"),
        (("replay", "none", "--since", "2h"), "there is no webhook 'none'"),
    ],
)
def test_what_is_not_there_is_named(run: Run, words: tuple[str, ...], told: str) -> None:
    result = run("webhooks", *words)
    assert (result.exit_code, result.stderr) == (1, f"mailer: {told}\n")


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
