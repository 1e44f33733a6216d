"""``/suppressions``: as Resend has it, and what is ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import resend
from flask import Flask
from resend.exceptions import ResendError

from mailer.delivery import drain
from mailer.dev.catcher import Catcher
from mailer.state import of

Call = Callable[..., Any]


@pytest.fixture
def sdk(address: str, key: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resend, "api_url", address)
    monkeypatch.setattr(resend, "api_key", key())


def email(**more: Any) -> dict[str, Any]:
    return {"to": "ada@example.com", "subject": "Hello", "text": "Hello", **more}


@pytest.mark.usefixtures("sdk")
def test_resends_sdk_adds_reads_lists_and_removes() -> None:
    added = resend.Suppressions.add({"email": "Ada@Example.com"})
    assert added["object"] == "suppression"
    found = resend.Suppressions.get("ada@example.com")
    assert (found["object"], found["id"], found["email"], found["origin"]) == (
        "suppression", added["id"], "ada@example.com", "manual",
    )  # fmt: skip
    assert (found["source_id"], found["created_at"][-6:]) == ("", "+00:00")
    assert resend.Suppressions.get(added["id"])["email"] == "ada@example.com"
    assert resend.Suppressions.add({"email": "ada@example.com"})["id"] == added["id"]

    resend.Suppressions.add({"email": "bob@example.com"})
    page = resend.Suppressions.list({"limit": 1})
    assert ([one["email"] for one in page["data"]], page["has_more"]) == (
        ["bob@example.com"], True,
    )  # fmt: skip
    rest = resend.Suppressions.list({"after": page["data"][0]["id"]})
    assert [one["id"] for one in rest["data"]] == [added["id"]]
    assert resend.Suppressions.list({"origin": "bounce"})["data"] == []

    removed = resend.Suppressions.remove("ada@example.com")
    assert (removed["id"], removed["deleted"]) == (added["id"], True)
    with pytest.raises(ResendError) as missing:
        resend.Suppressions.remove(added["id"])
    assert (missing.value.code, missing.value.error_type) == (404, "not_found")


@pytest.mark.usefixtures("sdk")
def test_resends_sdk_adds_and_removes_many() -> None:
    emails = ["a@example.com", "b@example.com", "A@example.com", "c@example.com"]
    added = resend.Suppressions.Batch.add({"emails": emails})["data"]
    assert len({one["id"] for one in added}) == len(added) == 3
    removed = resend.Suppressions.Batch.remove({"emails": ["B@example.com", "d@example.com"]})
    assert [one["deleted"] for one in removed["data"]] == [True]
    ids = [one["id"] for one in added]
    left = resend.Suppressions.Batch.remove({"ids": ids})["data"]
    assert {one["id"] for one in [*left, *removed["data"]]} == set(ids)
    assert resend.Suppressions.list()["data"] == []


def test_each_answer_has_the_status_that_resends_has(call: Call) -> None:
    one = {"email": "ada@example.com"}
    status, added = call("POST", "/suppressions", one)
    assert (status, set(added)) == (201, {"object", "id"})
    assert call("POST", "/suppressions/batch/add", {"emails": ["a@example.com"]})[0] == 201
    assert call("GET", "/suppressions")[0] == 200
    status, found = call("GET", "/suppressions/ada%40example.com")
    assert (status, found["category"], found["reason"]) == (200, "", "by api key test")
    assert call("POST", "/suppressions/batch/remove", {"emails": ["a@example.com"]})[0] == 200
    assert call("DELETE", f"/suppressions/{added['id']}")[0] == 200


def test_an_address_is_looked_up_as_it_is_stored(call: Call) -> None:
    call("POST", "/suppressions", {"email": "Ada@Straße.example"})
    (one,) = call("GET", "/suppressions")[1]["data"]
    assert one["email"] == "ada@xn--strae-oqa.example"
    assert call("GET", "/suppressions/ada@STRASSE.example")[0] == 404
    assert call("DELETE", "/suppressions/ADA@straße.example")[0] == 200


def test_a_category_is_apart_from_all_mail(call: Call) -> None:
    call("POST", "/suppressions", {"email": "ada@example.com", "category": "newsletter"})
    status, told = call("DELETE", "/suppressions/ada@example.com")
    assert (status, "not suppressed for all mail, but for newsletter" in told["message"]) == (
        404, True,
    )  # fmt: skip
    assert call("GET", "/suppressions?category=")[1]["data"] == []
    assert len(call("GET", "/suppressions?category=newsletter&origin=manual")[1]["data"]) == 1
    assert call("DELETE", "/suppressions/ada@example.com?category=newsletter")[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "named"),
    [
        ("POST", "", {}, "email: expected, and not there"),
        ("POST", "", {"email": "nobody"}, "email: expected one address"),
        ("POST", "", {"email": "Ada <ada@example.com>"}, "expected an address without a name"),
        ("POST", "", {"email": "a@example.com", "category": "A b"}, "1 to 64 of a-z"),
        (
            "POST",
            "",
            {"email": "a@example.com", "origin": "bounce"},
            "origin: there is no such field",
        ),
        ("POST", "/batch/add", {"emails": []}, "emails: List should have at least 1"),
        ("POST", "/batch/add", {"emails": ["a@b.example"] * 101}, "at most 100"),
        ("POST", "/batch/remove", {}, "expected either emails or ids"),
        ("POST", "/batch/remove", {"emails": ["a@b.example"], "ids": ["x"]}, "either emails or"),
        ("GET", "?origin=spite", None, "origin: Input should be 'bounce'"),
        ("GET", "?category=A", None, "category: expected 1 to 64"),
        ("DELETE", "/ada@example.com?kategory=x", None, "kategory: there is no such field"),
    ],
)
def test_what_is_wrong_is_named(call: Call, method: str, path: str, body: Any, named: str) -> None:
    status, told = call(method, f"/suppressions{path}", body)
    assert (status, told["name"]) == (422, "validation_error")
    assert named in told["message"]


def test_who_may_read_may_not_change(call: Call, key: Callable[..., str]) -> None:
    reads, sends = key(scopes=["read"]), key(scopes=["send"])
    one = {"email": "ada@example.com"}
    assert call("GET", "/suppressions", token=reads)[0] == 200
    assert call("GET", "/suppressions", token=sends)[0] == 401
    for method, path, body in (
        ("POST", "", one),
        ("POST", "/batch/add", {"emails": ["a@example.com"]}),
        ("POST", "/batch/remove", {"emails": ["a@example.com"]}),
        ("DELETE", "/ada@example.com", None),
    ):
        assert call(method, f"/suppressions{path}", body, token=reads)[0] == 401
    assert call("GET", "/suppressions")[1]["data"] == []


def test_an_email_to_a_suppressed_address_says_why_it_was_not_sent(
    app: Flask, call: Call, catcher: Catcher
) -> None:
    call("POST", "/suppressions", {"email": "ada@example.com"})
    email_id = call("POST", "/emails", email())[1]["id"]
    drain(of(app), "default")
    assert call("GET", f"/emails/{email_id}")[1]["last_event"] == "suppressed"
    (one,) = call("GET", f"/emails/{email_id}/deliveries")[1]["data"]
    assert "`mailer suppressions remove ada@example.com`" in one["reason"]
    assert catcher.messages() == []


@pytest.mark.parametrize("name", ["category", "topic_id"])
def test_an_email_has_a_category_also_by_resends_name(call: Call, name: str) -> None:
    email_id = call("POST", "/emails", email(**{name: "newsletter"}))[1]["id"]
    assert call("GET", f"/emails/{email_id}")[1]["category"] == "newsletter"


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"category": "a", "topic_id": "a"}, "expected category or topic_id, got both"),
        ({"category": "News"}, "category: expected 1 to 64 of a-z"),
        ({"category": "news", "lane": "critical"}, "nobody may unsubscribe from security mail"),
        (
            {"category": "news", "headers": {"list-unsubscribe": "<x:y>"}},
            "headers: expected no list-unsubscribe, which category 'news' sets",
        ),
    ],
)
def test_a_category_that_cannot_be_is_refused(call: Call, more: dict[str, Any], named: str) -> None:
    status, told = call("POST", "/emails", email(**more))
    assert (status, named in told["message"]) == (422, True), told
