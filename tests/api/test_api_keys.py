"""``/api-keys``, and what a key of each kind lets through."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import resend
from flask import Flask
from resend.exceptions import ResendError

from mailer import Filters, grants, keys
from mailer.state import of
from mailer.values import database_url as typed_database_url
from tests.conftest import AppFactory

Call = Callable[..., Any]
MakeKey = Callable[..., str]
UNKNOWN = "00000000-0000-7000-8000-000000000000"
SOON = datetime.now(UTC) + timedelta(hours=1)


def email(**more: Any) -> dict[str, Any]:
    return {"from": "a@example.com", "to": "b@example.com", "subject": "s", "text": "t", **more}


def stored(app: Flask) -> list[str]:
    return [row.recipient for row in of(app).ledger.list(Filters(), None)]


# /api-keys


def test_resends_sdk_makes_lists_renames_and_revokes_keys(
    address: str, key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resend, "api_url", address)
    monkeypatch.setattr(resend, "api_key", key())
    made = resend.ApiKeys.create({"name": "shop", "permission": "sending_access"})
    assert made["token"].startswith("mk_")

    with monkeypatch.context() as as_made:
        as_made.setattr(resend, "api_key", made["token"])
        params: Any = {**email(), "to": ["b@example.com"]}
        assert resend.Emails.send(params)["id"]
        with pytest.raises(ResendError, match="only, not for manage"):
            resend.ApiKeys.list()

        resend.api_key = key()
        assert resend.ApiKeys.update({"id": made["id"], "name": "store"})["id"]
        listed = {one["id"]: one for one in resend.ApiKeys.list()["data"]}
        assert listed[made["id"]]["name"] == "store"
        assert listed[made["id"]]["created_at"]
        assert listed[made["id"]]["last_used_at"]
        first = resend.ApiKeys.list({"limit": 1})
        assert (first["has_more"], len(first["data"])) == (True, 1)

        assert resend.ApiKeys.remove(made["id"])["deleted"] is True
        assert made["id"] not in [one["id"] for one in resend.ApiKeys.list()["data"]]
        resend.api_key = made["token"]
        with pytest.raises(ResendError) as refused:
            resend.Emails.send(params)
        assert (refused.value.code, refused.value.error_type) == (403, "invalid_api_key")


def test_a_key_is_made_as_it_was_asked_for(app: Flask, call: Call) -> None:
    asked = {
        "name": "news",
        "scopes": ["send", "read"],
        "senders": "*@News.example.com",
        "recipients": ["*@example.com"],
        "templates": ["news_*"],
        "lane": "bulk",
        "rate": "100/min",
        "test": True,
        "expires_at": "in 1 hour",
    }
    status, made = call("POST", "/api-keys", asked)
    assert (status, sorted(made)) == (201, ["id", "token"])
    assert made["token"].startswith("mk_test_")
    found = keys.find(of(app).database, made["token"])
    assert found is not None
    assert found.scopes == {"send", "read"}
    assert found.senders == ("*@news.example.com",)

    (shown, _) = call("GET", "/api-keys")[1]["data"]
    ends = datetime.fromisoformat(shown.pop("expires_at"))
    assert timedelta(minutes=59) < ends - datetime.now(UTC) <= timedelta(hours=1)
    assert shown.pop("created_at")
    assert shown.pop("last_used_at", "")
    assert shown == {
        "id": made["id"],
        "name": "news",
        "scopes": ["send", "read"],
        "senders": ["*@news.example.com"],
        "recipients": ["*@example.com"],
        "templates": ["news_*"],
        "lane": "bulk",
        "rate": "100/minute",
        "test": True,
    }


def test_unless_it_is_said_what_for_a_key_may_only_send(app: Flask, call: Call) -> None:
    for asked, scopes in (
        ({}, {"send"}),
        ({"permission": "sending_access"}, {"send"}),
        ({"permission": "full_access"}, set(keys.SCOPES)),
    ):
        made = call("POST", "/api-keys", {"name": "a", **asked})[1]
        found = keys.find(of(app).database, made["token"])
        assert found is not None
        assert found.scopes == scopes


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "name: expected, and not there"),
        ({"name": ""}, "name: expected 1 to 100 printable characters"),
        ({"name": "a", "domain_id": "d"}, "domain_id: there are none here; say senders"),
        ({"name": "a", "domains": []}, "domains: there is no such field"),
        ({"name": "a", "permission": "admin"}, "permission: Input should be 'full_access' or"),
        ({"name": "a", "permission": "full_access", "scopes": ["send"]}, "permission or scopes"),
        ({"name": "a", "scopes": []}, "scopes: expected some of send"),
        ({"name": "a", "scopes": ["admin"]}, "scopes: expected some of send"),
        ({"name": "a", "senders": ["shop.example"]}, "senders: expected an address"),
        ({"name": "a", "recipients": "*"}, "recipients: expected an address"),
        (
            {"name": "a", "recipients": ["*@a.example"] * 51},
            "recipients: Value should have at most",
        ),
        ({"name": "a", "templates": [7]}, "templates[0]: Input should be a valid string"),
        ({"name": "a", "lane": "urgent"}, "lane: Input should be 'critical', 'default' or 'bulk'"),
        ({"name": "a", "rate": "5/fortnight"}, "rate: expected 1 to 100000 in a time"),
        ({"name": "a", "rate": "9" * 99 + "/day"}, "rate: String should have at most 40"),
        ({"name": "a", "test": "yes"}, "test: Input should be a valid boolean"),
        ({"name": "a", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at: expected an instant"),
        ({"name": "a", "expires_at": "soon"}, "expires_at: expected ISO 8601"),
    ],
)
def test_a_wrong_key_is_refused_and_not_made(app: Flask, call: Call, body: Any, words: str) -> None:
    before = len(keys.listing(of(app).database))
    status, answer = call("POST", "/api-keys", body)
    assert (status, answer["name"]) == (422, "validation_error")
    assert words in answer["message"]
    assert len(keys.listing(of(app).database)) == before


@pytest.mark.parametrize(
    ("own", "asked", "words"),
    [
        ({"scopes": ["manage"]}, {}, "scopes: it has no send itself"),
        ({"scopes": ["manage", "send"]}, {"permission": "full_access"}, "scopes: it has no"),
        ({"senders": ["*@a.example"]}, {}, "senders: expected some of *@a.example"),
        ({"recipients": ["*@a.example"]}, {"recipients": ["*@b.example"]}, "recipients: expected"),
        ({"templates": ["reset_*"]}, {"templates": ["*"]}, "templates: expected some of reset_*"),
        ({"lane": "bulk"}, {"lane": "critical"}, "lane: expected bulk"),
        ({"rate": "9/day"}, {"rate": "9/day"}, "scopes: expected none to send, because its own"),
        ({"expires_at": SOON}, {}, "expires_at: expected"),
    ],
)
def test_no_key_makes_one_that_may_do_more_than_itself(
    call: Call, key: MakeKey, own: Any, asked: Any, words: str
) -> None:
    token = key(**own)
    status, answer = call("POST", "/api-keys", {"name": "made", **asked}, token=token)
    assert (status, answer["name"]) == (403, "restricted_api_key")
    assert words in answer["message"]
    assert "made" not in [one["name"] for one in call("GET", "/api-keys")[1]["data"]]


def test_a_key_makes_one_that_may_do_less(call: Call, key: MakeKey) -> None:
    token = key(senders=["*@a.example"], expires_at=SOON)
    asked = {"name": "a", "senders": ["x@a.example"], "expires_at": "in 5 minutes"}
    assert call("POST", "/api-keys", asked, token=token)[0] == 201


@pytest.mark.parametrize("scopes", [["send"], ["read"]])
def test_keys_are_for_those_who_manage(call: Call, key: MakeKey, scopes: list[str]) -> None:
    token = key(scopes=scopes)
    for method, path, body in (
        ("GET", "/api-keys", None),
        ("POST", "/api-keys", {"name": "a"}),
        ("PATCH", f"/api-keys/{UNKNOWN}", {"name": "a"}),
        ("DELETE", f"/api-keys/{UNKNOWN}", None),
    ):
        status, answer = call(method, path, body, token=token)
        assert (status, answer["name"]) == (401, "restricted_api_key")


def test_a_test_key_makes_and_sees_no_keys(call: Call, key: MakeKey) -> None:
    token = key(is_test=True)
    for method, path, body in (
        ("GET", "/api-keys", None),
        ("POST", "/api-keys", {"name": "a", "test": True}),
        ("DELETE", f"/api-keys/{UNKNOWN}", None),
    ):
        status, answer = call(method, path, body, token=token)
        assert (status, answer["name"]) == (403, "restricted_api_key")


def test_a_key_that_is_not_there_is_not_found(call: Call) -> None:
    for method, body in (("PATCH", {"name": "a"}), ("DELETE", None)):
        status, answer = call(method, f"/api-keys/{UNKNOWN}", body)
        assert (status, answer["name"]) == (404, "not_found")


# Recipients and lanes


@pytest.mark.parametrize("field", ["to", "cc", "bcc"])
def test_a_key_sends_to_whom_it_may(app: Flask, call: Call, key: MakeKey, field: str) -> None:
    token = key(recipients=["qa@example.com", "*@staging.example.com"])
    good = ["QA@example.com", "Name <x@STAGING.example.com>"]
    to = {"to": "qa@example.com"}
    status, answer = call("POST", "/emails", email(**{**to, field: good}), token=token)
    assert status == 200, answer
    before = stored(app)
    wrong = [*good, "c@example.com", "d@example.com"]
    status, answer = call("POST", "/emails", email(**{**to, field: wrong}), token=token)
    assert (status, answer["name"]) == (403, "restricted_api_key")
    assert "may not send to c@example.com, d@example.com." in answer["message"]
    assert stored(app) == before


def test_of_a_batch_what_a_key_may_not_send_is_named(app: Flask, call: Call, key: MakeKey) -> None:
    token = key(recipients=["b@example.com"], lane="bulk")
    batch = [email(), email(to="c@example.com"), email(lane="critical")]
    status, answer = call("POST", "/emails/batch", batch, token=token)
    assert status == 422
    assert "[1] This API key may not send to c@example.com." in answer["message"]
    assert "[2] This API key sends in lane bulk, not in critical." in answer["message"]
    assert stored(app) == []
    status, answer = call(
        "POST", "/emails/batch", batch, token=token, **{"x-batch-validation": "permissive"}
    )
    assert (status, len(answer["data"])) == (200, 1)
    assert [one["index"] for one in answer["errors"]] == [1, 2]
    assert stored(app) == ["b@example.com"]


def test_all_that_a_key_sends_takes_its_lane(app: Flask, call: Call, key: MakeKey) -> None:
    token = key(lane="bulk", scopes=["send"])
    template = {"id": "password_changed", "variables": {"changed_at": "now", "reset_url": "x"}}
    for body in (
        email(),
        email(lane="bulk"),
        {"to": "b@example.com", "template": template},  # whose own lane is critical
    ):
        assert call("POST", "/emails", body, token=token)[0] == 200
    assert {row.lane for row in of(app).ledger.list(Filters(), None)} == {"bulk"}
    status, answer = call("POST", "/emails", email(lane="critical"), token=token)
    assert (status, answer["name"]) == (403, "restricted_api_key")
    assert answer["message"] == "This API key sends in lane bulk, not in critical."
    assert len(stored(app)) == 3


def test_a_key_with_the_longest_name_is_named_in_the_history(
    make_app: AppFactory, database_url: str
) -> None:
    app = make_app(
        MAILER_DATABASE_URL=typed_database_url(database_url), CELERY={"broker_url": "memory://"}
    )
    _, token = keys.create(
        of(app).database, "x" * 100, grants.checked(scopes=grants.SCOPES), actor="test"
    )
    headers = {"Authorization": f"Bearer {token}"}
    client = app.test_client()
    sent = client.post("/api/emails", json=email(scheduled_at="in 1 hour"), headers=headers)
    path = f"/api/emails/{sent.get_json()['id']}"
    moved = client.patch(path, json={"scheduled_at": "in 2 hours"}, headers=headers)
    assert moved.status_code == 200
    assert client.post(f"{path}/cancel", headers=headers).status_code == 200
    (entries,) = of(app).ledger.show(sent.get_json()["id"]).audit.values()
    assert [one.action.split()[0] for one in entries] == ["rescheduled", "cancelled"]
    assert {one.actor[:10] for one in entries} == {"api key xx"}


def test_a_key_changes_none_that_may_do_more_than_itself(
    call: Callable[..., Any], key: Callable[..., str]
) -> None:
    _, other = call("POST", "/api-keys", {"name": "admin", "permission": "full_access"})
    weak = key(scopes=["manage"])
    for method, body in (("PATCH", {"name": "x"}), ("DELETE", None)):
        status, answer = call(method, f"/api-keys/{other['id']}", body, token=weak)
        assert (status, answer["name"]) == (403, "restricted_api_key")
    assert call("DELETE", f"/api-keys/{other['id']}")[0] == 200


def test_what_a_key_may_not_read_it_has_no_webhook_told(
    app: Flask, call: Callable[..., Any], key: Callable[..., str]
) -> None:
    app.config["MAILER_WEBHOOK_ALLOW"] = ("127.0.0.1",)
    wanted = {"endpoint": "http://127.0.0.1:1/", "events": ["email.sent"]}
    ends = datetime.now(UTC) + timedelta(hours=1)
    for token in (key(scopes=["manage"]), key(expires_at=ends)):
        status, answer = call("POST", "/webhooks", wanted, token=token)
        assert (status, answer["name"]) == (403, "restricted_api_key")
    _, made = call("POST", "/webhooks", wanted)
    path = f"/webhooks/{made['id']}"
    weak = key(scopes=["manage"])
    assert call("GET", path, token=weak)[0] == 403
    assert call("PATCH", path, {"endpoint": "http://127.0.0.1:2/"}, token=weak)[0] == 403
    assert call("POST", f"{path}/signing-secret/rotate", token=weak)[0] == 403
    assert call("PATCH", path, {"status": "disabled"}, token=weak)[0] == 200
