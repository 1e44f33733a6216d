"""Requests that are refused, and what the API adds to Resend's."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask

from mailer import Filters, users
from mailer.delivery import drain
from mailer.dev.catcher import Catcher
from mailer.state import of

Call = Callable[..., Any]
UNKNOWN = "00000000-0000-7000-8000-000000000000"


def email(**more: Any) -> dict[str, Any]:
    return {"from": "a@example.com", "to": "b@example.com", "subject": "s", "text": "t", **more}


def test_the_ledger_knows_the_key_that_sent_an_email(app: Flask, call: Call) -> None:
    _, one = call("POST", "/emails", email())
    _, many = call("POST", "/emails/batch", [email()])
    for email_id in (one["id"], many["data"][0]["id"]):
        assert of(app).ledger.show(email_id).email.accepted_by == "api key test"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "to: expected, and not there"),
        ([], "body: Input should be"),
        (email(to=[]), "to: expected at least one recipient"),
        (email(to=["b@example.com"] * 51), "to: Value should have at most 50"),
        (email(to="nobody"), "to"),
        (email(to=7), "to: Input should be a valid array"),
        (email(topic="x"), "topic: there is no such field"),
        (email(subject=None, text=None), "subject: expected one"),
        (email(subject="two\nlines"), "subject"),
        (email(scheduled_at="soon"), "scheduled_at: expected ISO 8601"),
        (email(scheduled_at="2030-01-01T00:00:00"), "with a time zone"),
        (email(lane="urgent"), "lane: Input should be 'critical', 'default' or 'bulk'"),
        (email(tags=[{"name": "a b", "value": "c"}]), "tags: expected 1 to 64"),
        (email(headers={"From": "x"}), "headers"),
        (email(attachments=[{"filename": "a", "content": "%"}]), "expected base64"),
        (email(attachments=[{"filename": "a", "content": [256]}]), "attachments[0].content"),
        (email(attachments=[{"filename": "../a", "content": ""}]), "attachments[0]"),
        (email(text=None, template={"id": "nothing"}), "template"),
        (email(text=None, template={"id": "welcome", "variables": []}), "template.variables"),
        (email(text=None, template={"id": "password_changed"}), "template.variables: template"),
        (email(template={"id": "welcome"}), "text: expected none"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_stored(
    app: Flask, call: Call, body: Any, words: str
) -> None:
    status, answer = call("POST", "/emails", body)
    assert (status, answer["statusCode"], answer["name"]) == (422, 422, "validation_error")
    assert words in answer["message"]
    assert of(app).ledger.list(Filters(), None) == []


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/nothing", (404, "not_found")),
        ("DELETE", "/emails", (405, "method_not_allowed")),
        ("GET", f"/emails/{UNKNOWN}", (404, "not_found")),
        ("GET", f"/emails/{UNKNOWN}/deliveries", (404, "not_found")),
        ("POST", f"/emails/{UNKNOWN}/cancel", (404, "not_found")),
        ("POST", f"/emails/{UNKNOWN}/retry", (404, "not_found")),
        ("GET", "/emails?limit=0", (422, "validation_error")),
        ("GET", "/emails?limit=101", (422, "validation_error")),
        ("GET", "/emails?offset=3", (422, "validation_error")),
        ("GET", "/emails?after=a&before=b", (422, "validation_error")),
    ],
)
def test_an_address_that_does_not_exist_is_json(
    call: Call, method: str, path: str, expected: tuple[int, str]
) -> None:
    status, answer = call(method, path)
    assert (status, answer["name"]) == expected
    assert answer["message"]


def test_a_request_that_is_no_json_is_refused(app: Flask, key: Callable[..., str]) -> None:
    headers = {"Authorization": f"Bearer {key()}"}
    client = app.test_client()
    answer = client.post("/api/emails", data="to=b", headers=headers)
    assert (answer.status_code, answer.get_json()["name"]) == (415, "unsupported_media_type")
    headers["Content-Type"] = "application/json"
    for broken in (b"{", b"[" * 100_000, b'"\xff"'):
        answer = client.post("/api/emails", data=broken, headers=headers)
        assert (answer.status_code, answer.get_json()["name"]) == (422, "validation_error")


def test_a_request_that_is_too_large_is_refused(app: Flask, call: Call) -> None:
    app.config["MAILER_MAX_ATTACHMENT_BYTES"] = app.config["MAILER_MAX_BODY_BYTES"] = 1000
    status, answer = call("POST", "/emails", email(text="x" * 20_000))
    assert (status, answer["name"]) == (413, "payload_too_large")


def test_an_answer_does_not_repeat_a_fault_for_every_byte(call: Call) -> None:
    file = {"filename": "a", "content": ["x"] * 10_000}
    tags = [{"name": 1, "value": 2}] * 1_000
    status, answer = call("POST", "/emails", email(attachments=[file], tags=tags))
    assert status == 422
    assert "tags[0].name: Input should be a valid string" in answer["message"]
    assert len(answer["message"]) < 5_000
    assert answer["message"].endswith(" more")


@pytest.mark.parametrize("given", [None, "", "Basic abc", "Bearer", "Bearer "])
def test_without_a_key_nothing_is_told(app: Flask, given: str | None) -> None:
    headers = {} if given is None else {"Authorization": given}
    answer = app.test_client().get("/api/emails", headers=headers)
    assert (answer.status_code, answer.get_json()["name"]) == (401, "missing_api_key")


def test_a_key_does_what_it_is_for_and_no_more(call: Call, key: Callable[..., str]) -> None:
    sender = key(scopes=["send"])
    status, sent = call("POST", "/emails", email(), token=sender)
    assert status == 200
    for method, path in (("GET", ""), ("GET", f"/{sent['id']}"), ("POST", f"/{sent['id']}/cancel")):
        status, answer = call(method, f"/emails{path}", token=sender)
        assert (status, answer["name"]) == (401, "restricted_api_key")
    status, answer = call("POST", "/emails", email(), token=key(scopes=["read", "manage"]))
    assert (status, answer["name"]) == (401, "restricted_api_key")
    assert call("GET", "/emails", token="mk_unknown")[0] == 403


def test_a_key_sends_as_whom_and_with_what_it_may(call: Call, key: Callable[..., str]) -> None:
    token = key(senders=["*@shop.example.com"])
    allowed = email(**{"from": "A <x@SHOP.example.com>"})
    assert call("POST", "/emails", allowed, token=token)[0] == 200
    status, answer = call("POST", "/emails", email(), token=token)
    assert (status, answer["name"]) == (403, "invalid_from_address")
    without = {name: value for name, value in email().items() if name != "from"}
    assert call("POST", "/emails", without, token=token)[0] == 403
    assert call("POST", "/emails/batch", [email()], token=token)[0] == 422

    token = key(templates=["password_*"])
    changed = {"id": "password_changed", "variables": {"changed_at": "now", "reset_url": "x"}}
    body = {"to": "b@example.com", "template": changed}
    assert call("POST", "/emails", body, token=token)[0] == 200
    for body in (email(), {"to": "b@example.com", "template": {"id": "welcome"}}):
        status, answer = call("POST", "/emails", body, token=token)
        assert (status, answer["name"]) == (403, "restricted_api_key")


def test_fifty_requests_at_once_with_one_key_are_one_email(app: Flask, call: Call) -> None:
    def send(_: int) -> Any:
        return call("POST", "/emails", email(), **{"Idempotency-Key": "once"})

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(send, range(50)))
    assert {status for status, _ in answers} == {200}
    assert len({answer["id"] for _, answer in answers}) == 1
    assert len(of(app).ledger.list(Filters(), None)) == 1


def test_an_idempotency_key_belongs_to_one_api_key(call: Call, key: Callable[..., str]) -> None:
    header = {"Idempotency-Key": "order-7"}
    first = call("POST", "/emails", email(), **header)[1]
    other = call("POST", "/emails", email(), token=key(), **header)[1]
    assert first["id"] != other["id"]
    status, answer = call("POST", "/emails", email(), **{"Idempotency-Key": "x" * 257})
    assert (status, answer["name"]) == (400, "invalid_idempotency_key")


def test_a_batch_has_1_to_100_emails(call: Call) -> None:
    for number, words in ((0, "at least 1 item"), (101, "at most 100 items")):
        status, answer = call("POST", "/emails/batch", [email()] * number)
        assert status == 422
        assert words in answer["message"]
    status, answer = call("POST", "/emails/batch", [email()], **{"x-batch-validation": "lax"})
    assert (status, answer["name"]) == (422, "validation_error")


def test_every_recipient_and_every_attempt_is_told(
    app: Flask, call: Call, catcher: Catcher
) -> None:
    sent = call("POST", "/emails", email(bcc="c@example.com"))[1]
    drain(of(app), "default")
    status, answer = call("GET", f"/emails/{sent['id']}/deliveries")
    assert status == 200
    assert [one["recipient"] for one in answer["data"]] == ["b@example.com", "c@example.com"]
    (attempt,) = answer["data"][0]["attempts"]
    assert (attempt["outcome"], attempt["code"]) == ("sent", 250)
    status, answer = call("POST", f"/emails/{sent['id']}/retry")
    assert (status, answer["name"]) == (422, "validation_error")


def test_what_was_cancelled_is_sent_after_a_retry(app: Flask, call: Call, catcher: Catcher) -> None:
    sent = call("POST", "/emails", email())[1]
    assert call("POST", f"/emails/{sent['id']}/cancel")[0] == 200
    assert call("GET", f"/emails/{sent['id']}")[1]["last_event"] == "canceled"
    assert call("POST", f"/emails/{sent['id']}/retry")[1]["deliveries"] == 1
    drain(of(app), "default")
    assert call("GET", f"/emails/{sent['id']}")[1]["last_event"] == "sent"


def test_a_retry_says_what_stays_because_it_is_suppressed(
    app: Flask, call: Call, catcher: Catcher
) -> None:
    one = call("POST", "/emails", email(to=["ada@example.com", "bob@example.com"]))[1]["id"]
    call("POST", f"/emails/{one}/cancel")
    call("POST", "/suppressions", {"email": "ada@example.com"})
    asked = {"states": ["cancelled"]}
    counted = call("POST", "/emails/retry", {**asked, "dry_run": True})[1]
    assert (counted["deliveries"], counted["suppressed"]) == (1, 1)
    (left_out,) = counted["left_out"]
    assert (left_out["email_id"], left_out["recipient"]) == (one, "ada@example.com")
    assert left_out["reason"].startswith("added to the suppressions on 20")
    status, answer = call("POST", f"/emails/{one}/retry")
    assert (status, answer["deliveries"], answer["suppressed"]) == (200, 1, 1)
    assert answer["left_out"] == [left_out]
    assert drain(of(app), "default") == 1
    status, answer = call("POST", f"/emails/{one}/retry")
    assert (status, answer["name"]) == (422, "validation_error")
    assert answer["message"] == (
        f"There is nothing to retry: ada@example.com is suppressed: {left_out['reason']}."
    )
    many = call("POST", "/emails/retry", asked)[1]
    assert (many["deliveries"], many["suppressed"], many["data"]) == (0, 1, [])
    states = {
        each["recipient"]: each["state"]
        for each in call("GET", f"/emails/{one}/deliveries")[1]["data"]
    }
    assert states == {"ada@example.com": "cancelled", "bob@example.com": "sent"}


def test_the_pages_still_answer_as_pages(app: Flask) -> None:
    answer = app.test_client().get("/nothing", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.mimetype) == (404, "text/html")


def test_many_are_retried_by_a_filter_and_counted_first(
    app: Flask, call: Call, catcher: Catcher
) -> None:
    for number in range(3):
        call("POST", "/emails", email(to=f"{number}@example.com"))
    call("POST", "/emails", email(lane="bulk"))
    for one in call("GET", "/emails")[1]["data"]:
        call("POST", f"/emails/{one['id']}/cancel")
    asked = {"states": ["cancelled"], "lane": "default"}
    status, counted = call("POST", "/emails/retry", {**asked, "dry_run": True})
    assert (status, counted["deliveries"], counted["dry_run"]) == (200, 3, True)
    assert {one["recipient"] for one in counted["data"]} == {f"{n}@example.com" for n in range(3)}
    assert drain(of(app), "default") == 0
    status, done = call("POST", "/emails/retry", asked)
    assert (status, done["deliveries"], done["dry_run"]) == (200, 3, False)
    assert drain(of(app), "default") == 3
    assert call("POST", "/emails/retry", asked)[1]["deliveries"] == 0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "at least one condition"),
        ({"dry_run": True}, "at least one condition"),
        ({"states": []}, "at least one condition"),
        ({"states": ["sent"]}, "states[0]"),
        ({"lane": "urgent"}, "lane"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-01-01T00:00:00"}, "since"),
        ({"code": "550"}, "code"),
    ],
)
def test_a_retry_of_many_says_which(call: Call, body: Any, words: str) -> None:
    status, answer = call("POST", "/emails/retry", body)
    assert (status, answer["name"]) == (422, "validation_error")
    assert words in answer["message"]


def test_no_key_has_the_link_of_an_account_mailed_to_somebody_else(
    app: Flask, call: Call, key: Callable[..., str], catcher: Catcher
) -> None:
    with of(app).database.session() as session:
        users.sign_up(session, "ada@example.com", "correct horse battery")
    token = key(templates=["reset_*"])

    def ask(to: str, **more: Any) -> tuple[int, Any]:
        template = {"id": "reset_password", "variables": {"address": "ada@example.com"}}
        body = {"from": "a@example.com", "to": to, "template": template, **more}
        status, answer = call("POST", "/emails", body, token=token)
        return status, answer

    status, answer = call(
        "POST", "/emails", {"to": "eve@example.com", "template": {"id": "reset_password"}}
    )
    assert (status, answer["name"]) == (403, "restricted_api_key")
    assert "context loader" in answer["message"]
    for refused in (
        ask("eve@example.com"),
        ask("ada@example.com", cc="eve@example.com"),
    ):
        assert refused[0] == 200
    ask("ada@example.com", bcc="eve@example.com")
    ask("Ada@Example.com")
    with app.app_context():
        drain(of(app), "critical")
    found = [one for message in catcher.messages() for one in message.recipients]
    assert sorted(found) == ["Ada@example.com", "ada@example.com"]


def test_a_batch_of_another_length_is_another_request(call: Call) -> None:
    key = {"Idempotency-Key": "orders"}
    first = call("POST", "/emails/batch", [email()] * 2, **key)
    assert call("POST", "/emails/batch", [email()] * 2, **key) == first
    for other in ([email()], [email()] * 3):
        status, body = call("POST", "/emails/batch", other, **key)
        assert (status, body["name"]) == (409, "invalid_idempotent_request")


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_an_instant_that_no_clock_shows_is_refused(call: Call, at: str) -> None:
    assert call("POST", "/emails", email(scheduled_at=at))[0] == 422
    _, made = call("POST", "/emails", email(scheduled_at="in 1 hour"))
    for when in (at, "9999-01-01T00:00:00Z"):
        assert call("PATCH", f"/emails/{made['id']}", {"scheduled_at": when})[0] == 422


def test_an_email_is_rescheduled_to_what_the_audit_says(app: Flask, call: Call) -> None:
    _, made = call("POST", "/emails", email(scheduled_at="in 1 hour"))
    call("PATCH", f"/emails/{made['id']}", {"scheduled_at": "2030-01-01T10:00:00+05:00"})
    history = of(app).ledger.show(made["id"])
    (entries,) = history.audit.values()
    assert [one.action for one in entries] == ["rescheduled to 2030-01-01 05:00:00 UTC"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/emails/retry", {"template": "a\0b"}),
        ("/emails/retry", {"recipient": "a\0b"}),
        ("/suppressions/batch/remove", {"emails": ["a\0b"]}),
        ("/suppressions/batch/remove", {"ids": ["a\0b"]}),
    ],
)
def test_what_postgresql_cannot_look_for_is_refused(call: Call, path: str, body: Any) -> None:
    status, answer = call("POST", path, body)
    assert (status, "expected no NUL" in answer["message"]) == (422, True)


def test_to_cancel_twice_is_to_cancel(call: Call) -> None:
    path = f"/emails/{call('POST', '/emails', email())[1]['id']}/cancel"
    assert call("POST", path) == call("POST", path)
    assert call("POST", path)[0] == 200


@pytest.mark.parametrize("name", ["X-SMTPAPI", "x-mc-bccaddress"])
def test_a_header_that_adds_recipients_behind_our_back_is_refused(call: Call, name: str) -> None:
    status, answer = call("POST", "/emails", email(headers={name: "eve@example.com"}))
    assert (status, answer["name"]) == (422, "validation_error")
    assert "adds no recipients" in answer["message"]
