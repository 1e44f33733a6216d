"""Bulk sends in the console."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from mailer import bulk, jobs
from mailer.bulk import Upload
from mailer.dev.catcher import Catcher
from mailer.drafting import Request
from mailer.ledger.record import uuid7
from mailer.state import of

from .conftest import SignIn, submit, token

PEOPLE = b"email,start_url\n" + b"".join(
    b"p%d@shop.example,https://a.example/%d\n" % (number, number) for number in range(5)
)


@pytest.fixture
def app(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Flask:
    """The service; a job is run by the test."""
    monkeypatch.setattr(of(app).jobs_bell, "ring", lambda *of_what: False)
    return app


def upload(browser: FlaskClient, data: bytes, **fields: Any) -> TestResponse:
    page = browser.get("/ops/bulk/new").text
    found = re.search(r'name="job_id" value="([^"]+)"', page)
    assert found
    given = {"template": "welcome", "lane": "bulk", "job_id": found[1], **fields}
    return browser.post(
        "/ops/bulk/new",
        data={"csrf_token": token(page), "file": (io.BytesIO(data), "people.csv"), **given},
    )


def tiles(page: str) -> dict[str, int]:
    found = re.findall(r'class="label">([^<]+)</span><span class="value">(\d+)<', page)
    return {words: int(number) for words, number in found}


def run(app: Flask, path: str) -> None:
    with app.app_context():
        jobs.run(of(app), path.rpartition("/")[2], lambda told: None)


def test_a_file_is_checked_started_and_reported(
    app: Flask, sign_in: SignIn, catcher: Catcher
) -> None:
    browser = sign_in("operator")
    assert "Nothing was sent in bulk yet" in browser.get("/ops/bulk").text
    path = upload(browser, PEOPLE + b"nobody,x\nP1@shop.example,x\n").location
    assert "checking" in browser.get(path).text
    run(app, path)
    page = browser.get(path).text
    assert "1 row is bad" in page
    assert "the address of line 3 again" in page
    assert page.count("<iframe") == 3
    frame = browser.get(f"{path}/preview/1")
    assert "https://a.example/0" in frame.text
    assert frame.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert browser.get(f"{path}/preview/9").status_code == 404
    answer = submit(browser, f"{path}/start", at=path)
    assert "Not started: 1 row is bad" in browser.get(answer.location).text
    submit(browser, f"{path}/start", at=path, skip_bad="on")
    run(app, path)
    page = browser.get(path).text
    assert "5 of 7 rows were accepted as emails in" in page
    assert "<iframe" not in page
    assert len(catcher.messages()) == 5
    report = csv.DictReader(io.StringIO(browser.get(f"{path}/report").text))
    assert [row["state"] for row in report] == [
        *["sent"] * 5,
        "left out: bad",
        "left out: duplicate",
    ]
    assert "welcome to people.csv" in browser.get("/ops/bulk").text


def test_it_says_what_became_of_its_emails_and_leads_to_them(
    app: Flask, sign_in: SignIn, catcher: Catcher
) -> None:
    catcher.script("rcpt", "550 5.1.1 no such user", address="p1@shop.example")
    browser = sign_in("operator")
    path = upload(browser, PEOPLE).location
    run(app, path)
    assert "All its emails" not in browser.get(path).text
    submit(browser, f"{path}/start", at=path)
    run(app, path)
    page = browser.get(path).text
    assert tiles(page) == {"Sent": 4, "Failed": 1, "Waiting": 0}
    job_id = path.rpartition("/")[2]
    assert f"mailer retry --bulk {job_id} --state failed" in page
    (failed,) = re.findall(r'href="([^"]+state=failed[^"]*)"', page)
    listed = browser.get(failed.replace("&amp;", "&")).text
    assert re.findall(r">(p\d)@shop.example<", listed) == ["p1"]
    assert f'name="bulk" value="{job_id}"' in listed


def test_those_of_a_large_file_are_counted_apart_and_part_by_part(
    app: Flask, sign_in: SignIn, catcher: Catcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailer.bulk.COUNTED_AT_ONCE", 3)
    browser = sign_in("operator")
    path = upload(browser, PEOPLE).location
    run(app, path)
    submit(browser, f"{path}/start", at=path)
    run(app, path)
    assert "They are being counted." in browser.get(path).text
    assert browser.get(f"{path}/became?sent=700").location == path
    part = browser.get(f"{path}/became", headers={"HX-Request": "true"}).text
    assert tiles(part)["Sent"] == 2
    assert "2 of 5 counted so far." in part
    (rest,) = re.findall(r'hx-get="([^"]+)"', part)
    part = browser.get(rest.replace("&amp;", "&"), headers={"HX-Request": "true"}).text
    assert tiles(part)["Sent"] == 5
    assert "5 of 5 counted, each as it stood then, until" in part
    assert 'hx-trigger="load"' not in part
    for more in ("after=2&sent=3", "after=999&sent=999", f"after=4&sent={2**63 - 1}"):
        answer = browser.get(f"{path}/became?{more}", headers={"HX-Request": "true"})
        assert (answer.status_code, "expected at least as many lines" in answer.text) == (400, True)


def test_it_is_paused_resumed_and_cancelled(app: Flask, sign_in: SignIn) -> None:
    browser = sign_in("operator")
    path = upload(browser, PEOPLE).location
    for verb, words in (
        ("pause", "It pauses."),
        ("resume", "It goes on."),
        ("cancel", "Cancelled."),
        ("cancel", "It had ended."),
        ("start", "Not started: it was stopped"),
    ):
        submit(browser, f"{path}/{verb}", at="/ops/bulk/new")
        assert words in browser.get(path).text


@pytest.mark.parametrize(
    ("data", "fields", "words"),
    [
        (b"email,pr\xe9nom\na@b.example,x\n", {}, "line 1: expected UTF-8"),
        (b"name\nx\n", {}, "line 1: expected a column email or to"),
        (b"email\na@b.example\n", {}, "line 1: expected a column start_url, which template"),
        (PEOPLE, {"template": "x"}, "no email template is called"),
        (PEOPLE, {"sender": "nobody"}, "sender: expected one address"),
    ],
)
def test_what_cannot_be_sent_is_said_beside_the_form(
    sign_in: SignIn, data: bytes, fields: dict[str, str], words: str
) -> None:
    answer = upload(sign_in("operator"), data, **fields)
    assert answer.status_code == 422
    assert words in answer.text


def test_a_form_sent_twice_is_one_bulk_send(app: Flask, sign_in: SignIn) -> None:
    browser = sign_in("operator")
    job_id = "019a5c1e-7c3a-7cc0-8a53-8a6a1d0d7d5e"
    first, second = (upload(browser, PEOPLE, job_id=job_id) for _ in range(2))
    assert first.location == second.location == f"/ops/bulk/{job_id}"
    assert upload(browser, PEOPLE + b"x@shop.example,x\n", job_id=job_id).status_code == 409
    assert len(of(app).ledger.jobs(5)[0]) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"template": "already_registered", "lane": "bulk"},
        {"template": "welcome", "lane": "critical"},
        {"template": "welcome", "lane": "bulk", "loader": dict},
    ],
)
def test_no_security_mail_is_previewed(app: Flask, sign_in: SignIn, fields: dict[str, Any]) -> None:
    if loader := fields.pop("loader", None):
        of(app).loaders["welcome"] = loader
    browser = sign_in("operator")
    people = b"email,start_url,reset_url\np@shop.example,https://canary.example/,canary\n"
    path = upload(browser, people, **fields).location
    run(app, path)
    page = browser.get(path).text
    assert "What it says may be a secret: it is not shown." in page
    assert "canary" not in page
    assert browser.get(f"{path}/preview/1").status_code == 404


def test_a_large_file_is_taken_from_members_who_may_send_it(app: Flask, sign_in: SignIn) -> None:
    browser, stranger = sign_in("operator"), app.test_client()
    csrf = token(stranger.get("/ops/sign-in").text)
    app.config["MAX_CONTENT_LENGTH"] = 100
    assert upload(browser, PEOPLE).status_code == 303
    data = {"csrf_token": csrf, "file": (io.BytesIO(PEOPLE), "people.csv")}
    assert stranger.post("/ops/bulk/new", data=data).status_code == 413


def test_a_viewer_sees_how_far_it_is_and_no_email(app: Flask, sign_in: SignIn) -> None:
    path = upload(sign_in("operator"), PEOPLE).location
    run(app, path)
    viewer = sign_in("viewer")
    page = viewer.get(path).text
    assert "5 emails are ready to be sent" in page
    assert "<iframe" not in page
    assert "Start</button>" not in page
    assert viewer.get(f"{path}/preview/1").status_code == 403
    result = viewer.get(path.replace("/bulk/", "/results/"))
    assert result.get_json()["progress"]["status"] == "checked"
    assert viewer.get("/ops/results/nobody").status_code == 404
    assert viewer.get(path.replace("/bulk/", "/jobs/")).location == path
    assert viewer.get("/ops/bulk/nobody").status_code == 404


def test_bar_and_number_are_of_the_emails_that_were_accepted(
    app: Flask, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailer.bulk_steps.ACCEPTED_AT_ONCE", 3)
    monkeypatch.setitem(app.config, "MAILER_ALLOW_TEST_DOMAINS", True)
    browser = sign_in("operator")
    people = PEOPLE.replace(b"p0@shop.example", b"p0@localhost") + b"p5@shop.example,x\n"
    path = upload(browser, people).location
    run(app, path)
    submit(browser, f"{path}/start", at=path)
    monkeypatch.setitem(app.config, "MAILER_ALLOW_TEST_DOMAINS", False)
    job_id = path.rpartition("/")[2]

    def pause(told: dict[str, Any]) -> None:
        bulk.pause(of(app), job_id, actor="ann")

    with app.app_context():
        jobs.run(of(app), job_id, pause)
    page = browser.get(path).text
    assert 'max="5" value="2"' in page
    assert "<span data-count>2 of 5</span>" in page
    assert tiles(page)["Waiting"] + tiles(page)["Sent"] == 2


def test_what_is_to_be_mended_is_said_and_it_is_resumed(
    app: Flask, sign_in: SignIn, catcher: Catcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = sign_in("operator")
    path = upload(browser, PEOPLE).location
    with monkeypatch.context() as patch:
        patch.setitem(app.config, "MAIL_DEFAULT_SENDER", None)
        run(app, path)
    page = browser.get(path).text
    assert "the rest waits until this is mended: sender: expected one" in page
    submit(browser, f"{path}/resume", at=path)
    run(app, path)
    assert "5 emails are ready to be sent" in browser.get(path).text


def test_one_that_failed_is_resumed(
    app: Flask, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*of_what: Any) -> Any:
        raise ZeroDivisionError

    browser = sign_in("operator")
    path = upload(browser, PEOPLE).location
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr("mailer.bulk_steps.drafted", fails)
        run(app, path)
    assert "ZeroDivisionError in test_bulk.py:" in browser.get(path).text
    submit(browser, f"{path}/resume", at=path)
    run(app, path)
    assert "5 emails are ready to be sent" in browser.get(path).text


def test_the_subject_of_security_mail_is_on_no_page(app: Flask, sign_in: SignIn) -> None:
    with app.app_context():
        for name, lane in (("open", "bulk"), ("s3cret", "critical")):
            request = Request(subject=f"{name} subject", text="Hello.", lane=lane)
            job_id, upload = uuid7(), Upload("people.csv", [PEOPLE], is_csv=True)
            bulk.create(of(app), job_id, request, upload, actor="ann")
    browser = sign_in("admin")
    pages = [browser.get(path).text for path in (f"/ops/bulk/{job_id}", "/ops/bulk", "/ops/failed")]
    assert all("s3cret" not in page for page in pages)
    assert all("[hidden subject]" in page for page in pages)
    assert all("open subject" in page for page in pages[1:])
