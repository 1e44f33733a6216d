"""Bulk sends by the HTTP API."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from mailer import jobs
from mailer.state import of

Call = Callable[..., Any]
NEWS = {"subject": "News", "text": "Hello."}


def people(number: int) -> list[dict[str, str]]:
    return [{"to": f"p{one}@shop.example.com"} for one in range(number)]


def run(app: Flask, bulk_id: str) -> None:
    with app.app_context():
        jobs.run(of(app), bulk_id, lambda told: None)


def upload(
    app: Flask, token: str, data: bytes, content_type: str = "text/csv", **query: Any
) -> TestResponse:
    return app.test_client().post(
        "/api/bulk/file",
        data=data,
        query_string={"template": "welcome", **query},
        content_type=content_type,
        headers={"Authorization": f"Bearer {token}"},
    )


def test_a_bulk_send_from_its_check_to_its_report(
    app: Flask, call: Call, key: Callable[..., str]
) -> None:
    some = [*people(3), {"to": "nobody"}, {"to": "P1@shop.example.com"}]
    code, made = call("POST", "/bulk", {**NEWS, "recipients": some})
    assert code == 200
    bulk_id = made["id"]
    assert call("GET", f"/bulk/{bulk_id}")[1]["status"] == "checking"
    code, found = call("POST", f"/bulk/{bulk_id}/start")
    assert (code, found["message"]) == (
        409,
        "Its file is still being checked: start it once that is done",
    )
    run(app, bulk_id)
    found = call("GET", f"/bulk/{bulk_id}")[1]
    assert found["status"] == "checked"
    assert (found["rows"], found["bad"], found["duplicate"]) == (5, 1, 1)
    assert [(one["line"], one["because"]) for one in found["left_out"]] == [
        (4, "bad"),
        (5, "duplicate"),
    ]
    assert call("POST", f"/bulk/{bulk_id}/start")[0] == 409
    path = f"/bulk/{bulk_id}/start?skip_bad=true"
    assert call("POST", path)[1] == {"object": "bulk", "id": bulk_id, "changed": True}
    run(app, bulk_id)
    found = call("GET", "/bulk")[1]["data"][0]
    assert (found["status"], found["accepted"], found["total"]) == ("done", 3, 3)
    assert call("GET", f"/results/{bulk_id}")[1]["successful"]
    answer = app.test_client().get(
        f"/api/bulk/{bulk_id}/report", headers={"Authorization": f"Bearer {key()}"}
    )
    assert answer.mimetype == "text/csv"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["state"] for row in rows] == [
        "queued", "queued", "queued", "left out: bad", "left out: duplicate",
    ]  # fmt: skip
    assert all(row["email_id"] for row in rows[:3])


def test_a_file_is_sent_as_it_is(app: Flask, call: Call, key: Callable[..., str]) -> None:
    lines = b"email,start_url\n" + b"ann@shop.example.com,https://a.example.com\n"
    bulk_id = upload(app, key(), lines, name="people.csv", confirm="true").get_json()["id"]
    run(app, bulk_id)
    found = call("GET", f"/bulk/{bulk_id}")[1]
    assert (found["status"], found["name"], found["accepted"]) == ("done", "people.csv", 1)
    (email,) = call("GET", "/emails")[1]["data"]
    assert (email["template"], email["lane"]) == ("welcome", "bulk")


@pytest.mark.parametrize(
    ("data", "more", "refused"),
    [
        (b"", {}, "422 expected at least one recipient, got an empty file"),
        (b"name\nx\n", {}, "422 line 1: expected a column email or to, got name"),
        (b"to\ra@b.example\r", {}, "422 line 1: expected lines that end with"),
        (b"to," + b"x" * 140_000, {"max_bytes": 200_000}, "422 line 1: expected CSV: field larger"),
        (b"email\n", {}, "422 line 1: expected a column start_url, which template 'welcome' needs"),
        (b"email,start_url\n", {}, "422 expected at least one recipient, got none"),
        (b"email\na@b.example\n", {"content_type": "text/plain"}, "415 Content-Type: expected"),
        (b"email\na@b.example\n", {"template": "x"}, "422 template: no email template is called"),
        (b"email\na@b.example\n", {"lanes": "x"}, "422 lanes: there is no such field"),
        (b"email\n" + b"x" * 2_000, {}, "413 The body: expected at most 1000 bytes"),
    ],
)
def test_a_file_that_cannot_be_sent_is_refused(
    app: Flask, key: Callable[..., str], data: bytes, more: Any, refused: str
) -> None:
    app.config["MAILER_MAX_BULK_BYTES"] = more.pop("max_bytes", 1_000)
    answer = upload(app, key(), data, **more)
    assert f"{answer.status_code} {answer.get_json()['message']}".startswith(refused)


def test_what_a_key_may_not_do_it_may_not_in_bulk(call: Call, key: Callable[..., str]) -> None:
    def status(body: dict[str, Any], **grant: Any) -> int:
        some = {**NEWS, "recipients": people(1), **body}
        return int(call("POST", "/bulk", some, token=key(**grant))[0])

    assert status({}, scopes=["read"]) == 401
    assert status({}, templates=["welcome"]) == 403
    assert status({"lane": "critical"}, lane="bulk") == 403
    assert status({"from": "a@other.example.com"}, senders=["*@shop.example.com"]) == 403
    assert status({}, senders=["*@shop.example.com"]) == 403
    assert status({"template": "reset_password", "subject": None, "text": None}) == 403
    assert status({"recipients": people(4)}, rate="3/hour") == 422
    token = key(rate="3/hour")
    codes = [
        call("POST", "/bulk", {**NEWS, "recipients": people(2)}, token=token)[0] for _ in range(2)
    ]
    assert codes == [200, 429]


def test_a_key_may_mail_some_and_a_test_key_nobody(
    app: Flask, call: Call, key: Callable[..., str]
) -> None:
    some = {**NEWS, "recipients": [*people(1), {"to": "x@other.example.com"}]}
    token = key(recipients=["*@shop.example.com"], is_test=True)
    bulk_id = call("POST", "/bulk", some, token=token)[1]["id"]
    run(app, bulk_id)
    (row,) = call("GET", f"/bulk/{bulk_id}", token=token)[1]["left_out"]
    assert row["words"] == "the API key may not send to x@other.example.com"
    call("POST", f"/bulk/{bulk_id}/start?skip_bad=1", token=token)
    run(app, bulk_id)
    assert [one["test"] for one in call("GET", "/emails")[1]["data"]] == [True]
    others = call("POST", "/bulk", {**NEWS, "recipients": people(1)})[1]["id"]
    assert call("GET", f"/bulk/{others}", token=token)[0] == 404


def test_the_same_request_again_is_the_same_bulk_send(call: Call) -> None:
    some = {**NEWS, "recipients": people(2)}
    again = {"Idempotency-Key": "news-7"}
    ids = {call("POST", "/bulk", some, **again)[1]["id"] for _ in range(2)}
    assert len(ids) == 1
    code, found = call("POST", "/bulk", {**some, "recipients": people(3)}, **again)
    assert (code, found["name"]) == (409, "invalid_idempotent_request")


def test_it_is_paused_resumed_and_cancelled(app: Flask, call: Call) -> None:
    bulk_id = call("POST", "/bulk", {**NEWS, "recipients": people(2)})[1]["id"]

    def changed(verb: str) -> bool:
        return bool(call("POST", f"/bulk/{bulk_id}/{verb}")[1]["changed"])

    assert [changed(verb) for verb in ("pause", "pause", "resume", "resume")] == [
        True, False, True, False,
    ]  # fmt: skip
    assert [changed("cancel?unsent=true"), changed("cancel")] == [True, False]
    assert call("GET", f"/bulk/{bulk_id}")[1]["status"] == "cancelled"
    assert call("POST", f"/bulk/{bulk_id}/start")[0] == 409
    assert call("GET", f"/bulk/{uuid.uuid4()}")[0] == 404


def test_a_key_with_limits_sees_and_steers_only_what_it_sent(
    app: Flask, call: Call, key: Callable[..., str]
) -> None:
    limited, other = (key(recipients=["*@shop.example.com"]) for _ in range(2))
    whole = key(scopes=["send", "read", "manage"])
    bulk_id = call("POST", "/bulk", {**NEWS, "recipients": people(1)}, token=limited)[1]["id"]
    theirs = call("POST", "/bulk", {**NEWS, "recipients": people(1)})[1]["id"]
    run(app, bulk_id)

    def ask(method: str, path: str, token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        answer = app.test_client().open(f"/api{path}", method=method, headers=headers)
        return answer.status_code

    asked = [("GET", f"/bulk/{bulk_id}"), ("GET", f"/bulk/{bulk_id}/report")]
    asked += [("POST", f"/bulk/{bulk_id}/{verb}") for verb in ("start", "pause", "resume")]
    asked += [("GET", f"/results/{bulk_id}"), ("POST", f"/bulk/{bulk_id}/cancel")]
    for method, path in asked:
        assert ask(method, path, other) == 404
    for method, path in asked:
        assert ask(method, path, limited) == ask(method, path, whole) == 200

    def listed(token: str) -> list[str]:
        return [one["id"] for one in call("GET", "/bulk", token=token)[1]["data"]]

    assert (listed(limited), listed(other)) == ([bulk_id], [])
    assert listed(whole) == [theirs, bulk_id]
