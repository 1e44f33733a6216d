"""Resend's own Python SDK, unchanged, against the running service."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import resend
from flask import Flask
from resend.exceptions import ResendError

from mailer.delivery import drain
from mailer.dev.catcher import Catcher
from mailer.state import of


@pytest.fixture(autouse=True)
def sdk(address: str, key: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resend, "api_url", address)
    monkeypatch.setattr(resend, "api_key", key())


def params(**more: Any) -> Any:
    return {
        "from": "Shop <orders@shop.example.com>",
        "to": ["ada@example.com"],
        "subject": "Your order",
        "html": "<p>Thank you</p>",
        **more,
    }


def get(email_id: str) -> Any:
    return resend.Emails.get(email_id)


def test_an_email_is_sent_and_told_of(app: Flask, catcher: Catcher) -> None:
    sent = resend.Emails.send(
        params(
            cc="bob@example.com",
            reply_to="help@shop.example.com",
            headers={"X-Order": "7"},
            tags=[{"name": "kind", "value": "order"}],
            attachments=[{"filename": "a.txt", "content": list(b"hello")}],
        )
    )
    found = get(sent["id"])
    assert (found["last_event"], found["from"]) == ("queued", "Shop <orders@shop.example.com>")
    assert found["to"] == ["ada@example.com"]

    assert drain(of(app), "default") == 2
    assert get(sent["id"])["last_event"] == "sent"
    (raw,) = {message.raw for message in catcher.messages()}
    assert b"X-Order: 7" in raw
    assert b"Reply-To: help@shop.example.com" in raw
    assert b"aGVsbG8=" in raw


def test_an_idempotency_key_gives_one_email(app: Flask) -> None:
    options: resend.Emails.SendOptions = {"idempotency_key": "order-7"}
    first = resend.Emails.send(params(), options)
    assert resend.Emails.send(params(), options)["id"] == first["id"]
    with pytest.raises(ResendError) as refused:
        resend.Emails.send(params(subject="Another"), options)
    assert (refused.value.code, refused.value.error_type) == (409, "invalid_idempotent_request")


def test_a_batch_is_sent_and_listed_page_by_page() -> None:
    batch = [params(subject=f"Order {number}") for number in range(5)]
    ids = [one["id"] for one in resend.Batch.send(batch)["data"]]
    assert len(set(ids)) == 5
    first = resend.Emails.list({"limit": 2})
    assert (first["has_more"], len(first["data"])) == (True, 2)
    rest = resend.Emails.list({"limit": 10, "after": first["data"][-1]["id"]})
    assert rest["has_more"] is False
    listed = [one["id"] for one in [*first["data"], *rest["data"]]]
    assert listed == sorted(ids, reverse=True)
    newer = resend.Emails.list({"limit": 10, "before": first["data"][-1]["id"]})
    assert [one["id"] for one in newer["data"]] == listed[:1]


def test_a_permissive_batch_sends_what_is_right_and_says_what_is_not() -> None:
    answer = resend.Batch.send(
        [params(), params(to=["nobody"]), params()], {"batch_validation": "permissive"}
    )
    assert len(answer["data"]) == 2
    (error,) = answer["errors"]
    assert error["index"] == 1
    assert "to" in error["message"]
    with pytest.raises(ResendError, match=r"\[1\] to"):
        resend.Batch.send([params(), params(to=["nobody"])])


def test_a_scheduled_email_is_moved_and_cancelled(app: Flask) -> None:
    sent = resend.Emails.send(params(scheduled_at="in 1 hour"))
    assert get(sent["id"])["last_event"] == "scheduled"
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    moved = resend.Emails.update({"id": sent["id"], "scheduled_at": tomorrow.isoformat()})
    assert moved["id"] == sent["id"]
    assert get(sent["id"])["scheduled_at"].startswith(f"{tomorrow:%Y-%m-%dT%H:%M}")
    resend.Emails.cancel(sent["id"])
    assert get(sent["id"])["last_event"] == "canceled"
    assert drain(of(app), "default") == 0


def test_a_template_of_the_service_is_rendered(app: Flask, catcher: Catcher) -> None:
    variables = {"changed_at": "noon", "reset_url": "https://app.example.com/reset"}
    given: Any = {
        "from": "service@example.com",
        "to": "ada@example.com",
        "template": {"id": "password_changed", "variables": variables},
    }
    resend.Emails.send(given)
    drain(of(app), "critical")
    assert b"Subject: " in catcher.messages()[0].raw


def test_templates_are_listed_and_shown() -> None:
    listed = resend.Templates.list({"limit": 100})
    assert "password_changed" in [one["name"] for one in listed["data"]]
    found = resend.Templates.get("password_changed")
    assert found["status"] == "published"
    assert {"key": "reset_url", "type": "string"} in found["variables"]
    with pytest.raises(ResendError) as refused:
        resend.Templates.get("nothing")
    assert refused.value.code == 404


def test_templates_are_changed_beside_the_code_alone() -> None:
    changes: list[Callable[[], Any]] = [
        lambda: resend.Templates.create({"name": "x", "html": "<p>x</p>"}),
        lambda: resend.Templates.update({"id": "welcome", "name": "x"}),
        lambda: resend.Templates.remove("welcome"),
    ]
    for change in changes:
        with pytest.raises(ResendError) as refused:
            change()
        assert refused.value.code == 405


def test_attachments_are_listed_and_downloaded(app: Flask) -> None:
    files: list[Any] = [{"filename": "a.txt", "content": list(b"hello")}]
    sent = resend.Emails.send(params(attachments=files))
    (listed,) = resend.Emails.Attachments.list(sent["id"])["data"]
    found = resend.Emails.Attachments.get(sent["id"], listed["id"])
    assert (found["filename"], found["size"]) == ("a.txt", 5)
    link = found["download_url"].removeprefix("http://app.example.com")
    assert app.test_client().get(link).data == b"hello"
