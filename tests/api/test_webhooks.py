"""``/webhooks``: through Resend's Python SDK where it has them, and by hand where it has not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import resend
import sqlalchemy as sa
from flask import Flask
from resend.exceptions import ResendError

from mailer import telling, webhooks
from mailer.delivery import drain
from mailer.ledger.events import TYPES
from mailer.models import Event
from mailer.state import of

from ..receiver import Receiver, answer, receiver
from .conftest import Call

EMAIL = {"from": "a@shop.example.com", "to": "ada@example.com", "subject": "x", "text": "y"}


@pytest.fixture(autouse=True)
def sdk(app: Flask, address: str, key: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resend, "api_url", address)
    monkeypatch.setattr(resend, "api_key", key())
    monkeypatch.setitem(app.config, "MAILER_WEBHOOK_ALLOW", ("127.0.0.1",))


@pytest.fixture
def hears() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


def verified(heard: Any, secret: str) -> Any:
    """Return the event, as Resend's own SDK checks it."""
    headers: Any = {
        name: heard.headers[f"svix-{name}"] for name in ("id", "timestamp", "signature")
    }
    return resend.Webhooks.verify(
        {"payload": heard.body.decode(), "headers": headers, "webhook_secret": secret}
    )


def test_the_sdk_makes_reads_changes_lists_and_removes_webhooks(hears: Receiver) -> None:
    made = resend.Webhooks.create({"endpoint": hears.url, "events": ["email.sent"]})
    assert made["object"] == "webhook"
    assert made["signing_secret"].startswith("whsec_")
    found = resend.Webhooks.get(made["id"])
    assert found["signing_secret"] == made["signing_secret"]
    assert (found["endpoint"], found["events"], found["status"]) == (
        hears.url, ["email.sent"], "enabled",
    )  # fmt: skip
    assert datetime.fromisoformat(found["created_at"]).tzinfo is not None

    other = resend.Webhooks.create({"endpoint": hears.url, "events": ["email.failed"]})
    first = resend.Webhooks.list({"limit": 1})
    assert (first["has_more"], [one["id"] for one in first["data"]]) == (True, [other["id"]])
    rest = resend.Webhooks.list({"after": other["id"]})
    assert (rest["has_more"], [one["id"] for one in rest["data"]]) == (False, [made["id"]])
    newer = resend.Webhooks.list({"before": made["id"]})
    assert [one["id"] for one in newer["data"]] == [other["id"]]
    assert all("signing_secret" not in one for one in rest["data"])

    changed = resend.Webhooks.update(
        {
            "webhook_id": made["id"],
            "endpoint": f"{hears.url}&new=1",
            "events": ["email.failed", "email.bounced"],
            "status": "disabled",
        }
    )
    assert changed["id"] == made["id"]
    found = resend.Webhooks.get(made["id"])
    assert (found["endpoint"], found["status"]) == (f"{hears.url}&new=1", "disabled")
    assert sorted(found["events"]) == ["email.bounced", "email.failed"]

    removed: Any = resend.Webhooks.remove(made["id"])
    assert (removed["object"], removed["id"], removed["deleted"]) == ("webhook", made["id"], True)
    with pytest.raises(ResendError) as gone:
        resend.Webhooks.get(made["id"])
    assert gone.value.code == 404


def test_an_email_of_the_sdk_is_told_and_the_sdk_verifies_it(app: Flask, hears: Receiver) -> None:
    made = resend.Webhooks.create(
        {"endpoint": hears.url, "events": ["email.sent", "email.scheduled"]}
    )
    params: Any = {**EMAIL, "tags": [{"name": "kind", "value": "order"}]}
    sent = resend.Emails.send(params)
    drain(of(app), "default")
    telling.tell(of(app))
    (heard,) = hears.heard
    event = verified(heard, made["signing_secret"])
    assert (event["type"], event["data"]["email_id"]) == ("email.sent", sent["id"])
    assert event["data"]["to"] == ["ada@example.com"]
    assert event["data"]["tags"] == {"kind": "order"}
    with pytest.raises(ValueError, match="no matching signature"):
        verified(heard, "whsec_AAAA")


def test_a_disabled_webhook_is_told_nothing_until_it_is_enabled(
    app: Flask, hears: Receiver
) -> None:
    made = resend.Webhooks.create({"endpoint": hears.url, "events": list(TYPES)})  # type: ignore[arg-type]
    params: Any = EMAIL
    resend.Emails.send(params)
    resend.Webhooks.update({"webhook_id": made["id"], "status": "disabled"})
    resend.Emails.send(params)
    assert telling.tell(of(app)) == 0
    reason: Any = resend.Webhooks.get(made["id"])
    assert reason["disabled_reason"] == "disabled by api key test"
    resend.Webhooks.update({"webhook_id": made["id"], "status": "enabled"})
    assert telling.tell(of(app)) == 1
    reason = resend.Webhooks.get(made["id"])
    assert (reason["status"], reason["disabled_reason"]) == ("enabled", "")


def test_a_secret_is_rotated(app: Flask, call: Call, hears: Receiver) -> None:
    made = resend.Webhooks.create({"endpoint": hears.url, "events": ["email.queued"]})  # type: ignore[list-item]
    status, rotated = call("POST", f"/webhooks/{made['id']}/signing-secret/rotate")
    assert (status, rotated["id"]) == (200, made["id"])
    assert rotated["signing_secret"] not in {made["signing_secret"], ""}
    call("POST", "/emails", EMAIL)
    telling.tell(of(app))
    for secret in (made["signing_secret"], rotated["signing_secret"]):
        assert verified(hears.heard[0], secret)["type"] == "email.queued"
    assert call("POST", "/webhooks/none/signing-secret/rotate")[0] == 404


def test_events_and_their_attempts_are_listed_and_replayed(app: Flask, call: Call) -> None:
    with receiver(answer("500 Broken", "out of order"), answer("200 OK", "thank you")) as hears:
        _, made = call("POST", "/webhooks", {"endpoint": hears.url, "events": ["email.queued"]})
        path = f"/webhooks/{made['id']}"
        ids = [call("POST", "/emails", EMAIL)[1]["id"]]
        telling.tell(of(app))
        ids.append(call("POST", "/emails", EMAIL)[1]["id"])
        telling.tell(of(app))
        _, listed = call("GET", f"{path}/events")
        new, old = listed["data"]
        assert (listed["object"], listed["has_more"]) == ("list", False)
        assert [new["email_id"], old["email_id"]] == ids[::-1]
        assert (new["status"], new["attempts"]) == ("delivered", 1)
        assert new["next_attempt_at"] == ""
        assert (old["status"], old["type"]) == ("pending", "email.queued")
        assert old["next_attempt_at"] > old["created_at"]
        _, one = call("GET", f"{path}/events?limit=1")
        assert (one["has_more"], [event["id"] for event in one["data"]]) == (True, [new["id"]])

        attempts = f"{path}/events/{old['id']}/attempts"
        _, tried = call("GET", attempts)
        (only,) = tried["data"]
        assert (only["number"], only["code"], only["words"]) == (1, 500, "out of order")
        status, replayed = call("POST", f"{path}/events/{old['id']}/replay")
        assert (status, replayed) == (200, {"object": "replay", "events": 1})
        telling.tell(of(app))
        _, tried = call("GET", attempts)
        assert [attempt["code"] for attempt in tried["data"]] == [500, 200]
        assert hears.heard[-1].id == old["id"]

    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    assert call("POST", f"{path}/replay", {"since": since}) == (
        200, {"object": "replay", "events": 0, "failed": 0, "waiting": 0},
    )  # fmt: skip
    ids = [one["id"] for one in listed["data"]]
    for status, number in (("failed", 0), ("pending", 1)):
        with of(app).database.begin() as connection:
            later = {"status": status, "due_at": time.time() + 600}
            connection.execute(sa.update(Event).where(Event.id == ids[number]).values(later))
    assert call("POST", f"{path}/replay", {"since": since})[1] == {
        "object": "replay", "events": 2, "failed": 1, "waiting": 1,
    }  # fmt: skip
    for wrong in ("/webhooks/none/events", f"{path}/events/none/attempts"):
        assert call("GET", wrong)[0] == 404
    for wrong in (f"{path}/events/none/replay", "/webhooks/none/events/none/replay"):
        assert call("POST", wrong)[0] == 404
    assert call("POST", "/webhooks/none/replay", {"since": since})[0] == 404


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "endpoint: expected, and not there; events: expected, and not there"),
        ({"endpoint": "https://a.example", "events": []}, "events: "),
        (
            {"endpoint": "http://127.0.0.1:1", "events": ["email.opened"]},
            "events: expected some of email.queued",
        ),
        (
            {"endpoint": "https://10.0.0.1/", "events": ["email.sent"]},
            "endpoint: expected a public",
        ),
        (
            {"endpoint": "https://169.254.169.254/", "events": ["email.sent"]},
            "169.254.169.254 is neither",
        ),
        ({"endpoint": "https://localhost/", "events": ["email.sent"], "x": 1}, "x: "),
        (
            {"endpoint": "https://no-such-name.invalid/", "events": ["email.sent"]},
            "endpoint: expected a host whose name is known",
        ),
        (
            {"endpoint": "https://a:b@shop.example/", "events": ["email.sent"]},
            "endpoint: expected no user name or password",
        ),
        ({"endpoint": "http://1.1.1.1/", "events": ["email.sent"]}, "endpoint: expected https"),
    ],
)
def test_what_is_wrong_is_named(call: Call, body: Any, told: str) -> None:
    status, error = call("POST", "/webhooks", body)
    assert (status, error["name"]) == (422, "validation_error")
    assert told in error["message"]


def test_a_webhook_is_not_moved_to_where_it_could_not_be_made(call: Call, hears: Receiver) -> None:
    _, made = call("POST", "/webhooks", {"endpoint": hears.url, "events": ["email.sent"]})
    path = f"/webhooks/{made['id']}"
    status, error = call("PATCH", path, {"endpoint": "https://[::1]/"})
    assert (status, error["name"]) == (422, "validation_error")
    assert call("PATCH", path, {"status": "paused"})[0] == 422
    assert call("PATCH", path, {"events": ["nothing"]})[0] == 422
    assert call("GET", path)[1]["endpoint"] == hears.url
    assert call("PATCH", path, {}) == (200, {"object": "webhook", "id": made["id"]})


def test_what_is_disabled_is_not_replayed(app: Flask, call: Call, hears: Receiver) -> None:
    _, made = call("POST", "/webhooks", {"endpoint": hears.url, "events": ["email.queued"]})
    call("POST", "/emails", EMAIL)
    call("PATCH", f"/webhooks/{made['id']}", {"status": "disabled"})
    (event,) = webhooks.events(of(app), made["id"], limit=1).rows
    for path in (f"/webhooks/{made['id']}/events/{event.id}/replay",):
        status, error = call("POST", path)
        assert status == 422
        assert "is disabled: enable it first" in error["message"]


def test_webhooks_are_for_keys_that_manage(call: Call, key: Callable[..., str]) -> None:
    for scopes in (("send",), ("read",), ("send", "read")):
        status, error = call("GET", "/webhooks", token=key(scopes=scopes))
        assert (status, error["name"]) == (401, "restricted_api_key")
