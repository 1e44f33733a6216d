"""What failed, and what is done about it."""

from __future__ import annotations

import re
from html import unescape

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from mailer import dispatch
from mailer.dev.catcher import Catcher
from mailer.models import Act, AuditEntry, Delivery, Job
from mailer.state import of

from .conftest import SignIn, token


@pytest.fixture
def failed(app: Flask, catcher: Catcher) -> None:
    """Three refused recipients, and one that is deferred."""
    catcher.script("rcpt", "550 5.7.1 No <b>mail</b> today", address="gone*@example.com")
    catcher.script("rcpt", "451 4.7.1 Greylisted for 300 s", address="grey@example.com")
    with app.app_context():
        for name in ("gone1", "gone2", "gone3", "grey"):
            dispatch(subject="Hello", text="t", to=f"{name}@example.com")
    catcher.rules.clear()


def links(page: TestResponse, beginning: str) -> list[str]:
    return [unescape(found) for found in re.findall(rf'href="({beginning}[^"]*)"', page.text)]


def follow(browser: FlaskClient, confirm: str) -> TestResponse:
    """Press the button on a page that says what would be done."""
    page = browser.get(confirm)
    assert page.status_code == 200
    form = page.text.partition('action="/ops/jobs"')[2].partition("</form>")[0]
    fields: dict[str, list[str]] = {}
    for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', form):
        fields.setdefault(name, []).append(unescape(value))
    return browser.post("/ops/jobs", data=fields)


def statuses(app: Flask) -> list[str]:
    with of(app).database.read() as connection:
        return list(connection.scalars(sa.select(Delivery.status).order_by(Delivery.id)))


def test_nothing_failed(sign_in: SignIn) -> None:
    assert "Nothing failed" in sign_in().get("/ops/failed").text


@pytest.mark.usefixtures("failed")
def test_all_of_a_reason_is_retried_after_it_was_said_how_many(app: Flask, sign_in: SignIn) -> None:
    browser = sign_in("operator")
    page = browser.get("/ops/failed")
    refused, deferred = links(page, "/ops/failed/")
    assert refused.startswith("/ops/failed/failed/")
    assert deferred.startswith("/ops/failed/deferred/")
    assert "No &lt;b&gt;mail&lt;/b&gt; today" in page.text

    page = browser.get(refused)
    assert page.text.count('name="ids"') == 3
    question = browser.get(f"{refused}/confirm?verb=retry")
    assert "<h1>Retry: 3 deliveries</h1>" in question.text
    assert "<strong>gone2@example.com</strong>" in question.text
    assert statuses(app)[:3] == ["failed"] * 3

    answer = follow(browser, f"{refused}/confirm?verb=retry")
    assert (answer.status_code, answer.location[:10]) == (303, "/ops/jobs/")
    assert statuses(app)[:3] == ["sent"] * 3
    page = browser.get(answer.location)
    assert "Started." in page.text
    assert "<h1>Retry 3 deliveries</h1>" in page.text
    assert "member operator" in page.text
    assert "No delivery is failed for this reason any more" in browser.get(refused).text
    assert "Retry 3 deliveries" in browser.get("/ops/failed").text


@pytest.mark.usefixtures("failed")
def test_a_form_that_is_sent_twice_does_it_once(app: Flask, sign_in: SignIn) -> None:
    browser = sign_in()
    refused = links(browser.get("/ops/failed"), "/ops/failed/failed/")[0]
    page = browser.get(f"{refused}/confirm?verb=retry").text
    form = page.partition('action="/ops/jobs"')[2].partition("</form>")[0]
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form))
    places = {browser.post("/ops/jobs", data=fields).location for _ in range(3)}
    assert len(places) == 1
    with of(app).database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(Job)) == 1
        assert connection.scalar(sa.select(sa.func.count()).select_from(AuditEntry)) == 3


@pytest.mark.usefixtures("failed")
def test_some_are_retried(app: Flask, sign_in: SignIn) -> None:
    browser = sign_in()
    refused = links(browser.get("/ops/failed"), "/ops/failed/failed/")[0]
    first, second = re.findall(r'name="ids" value="(\d+)"', browser.get(refused).text)[:2]
    follow(browser, f"{refused}/confirm?verb=retry&ids={first}&ids={second}")
    assert sorted(statuses(app)[:3]) == ["failed", "sent", "sent"]


@pytest.mark.usefixtures("failed")
@pytest.mark.parametrize(("verb", "status"), [("retry", "sent"), ("cancel", "cancelled")])
def test_what_is_deferred_is_sent_now_or_cancelled(
    app: Flask, sign_in: SignIn, verb: str, status: str
) -> None:
    browser = sign_in()
    deferred = links(browser.get("/ops/failed"), "/ops/failed/deferred/")[0]
    follow(browser, f"{deferred}/confirm?verb={verb}")
    assert statuses(app)[3] == status


@pytest.mark.usefixtures("failed")
@pytest.mark.parametrize("verb", ["sent", "resend"])
def test_what_is_unknown_is_resolved(app: Flask, sign_in: SignIn, verb: str) -> None:
    with of(app).database.begin() as connection:
        connection.execute(
            sa.update(Delivery).values(status="unknown", code=None, enhanced=None, reason="lost")
        )
    browser = sign_in()
    unknown = links(browser.get("/ops/failed"), "/ops/failed/unknown/")[0]
    page = browser.get(unknown).text
    assert "nobody heard whether the server took it" in page
    assert "The server has it…" in page
    follow(browser, f"{unknown}/confirm?verb={verb}")
    assert statuses(app) == ["sent"] * 4
    with of(app).database.read() as connection:
        actions = set(connection.scalars(sa.select(AuditEntry.action)))
    assert actions == {f"resolved: {verb}"}


@pytest.mark.usefixtures("failed")
def test_what_was_erased_is_said_and_left_out(app: Flask, sign_in: SignIn) -> None:
    of(app).ledger.prune(keep_bodies_seconds=-1, keep_seconds=1e9, for_seconds=2)
    browser = sign_in()
    refused = links(browser.get("/ops/failed"), "/ops/failed/failed/")[0]
    page = browser.get(f"{refused}/confirm?verb=retry").text
    assert "the content of 3 was erased" in page
    assert 'action="/ops/jobs"' not in page


@pytest.mark.usefixtures("failed")
def test_who_is_suppressed_is_said_and_left_out(app: Flask, sign_in: SignIn) -> None:
    of(app).ledger.suppress(["gone1@example.com"], origin="manual")
    browser = sign_in()
    refused = links(browser.get("/ops/failed"), "/ops/failed/failed/")[0]
    page = browser.get(f"{refused}/confirm?verb=retry").text
    assert "<h1>Retry: 2 deliveries</h1>" in page
    assert "1 more stay as they are: their recipients are suppressed" in page
    follow(browser, f"{refused}/confirm?verb=retry")
    assert sorted(statuses(app)[:3]) == ["failed", "sent", "sent"]


@pytest.mark.usefixtures("failed")
def test_a_viewer_sees_no_buttons_and_nothing_to_select_for_them(sign_in: SignIn) -> None:
    browser = sign_in("viewer")
    refused = links(browser.get("/ops/failed"), "/ops/failed/failed/")[0]
    page = browser.get(refused).text
    assert "gone1@example.com" in page
    assert "Retry…" not in page
    assert "checkbox" not in page
    assert "Selected" not in page


def test_a_job_that_does_not_move_says_why(app: Flask, sign_in: SignIn) -> None:
    job_id, ledger = "0193a5b2-1c3d-7abc-8def-0123456789ab", of(app).ledger
    ledger.add_job(job_id, "retry", {"ids": [1], "below": 2}, actor="ann", total=1)
    browser = sign_in()

    def shown_after(seconds: float) -> str:
        with of(app).database.begin() as connection:
            lease = sa.type_coerce(Job.lease_until, sa.Double) - seconds
            connection.execute(sa.update(Job).values(lease_until=lease))
        return browser.get(f"/ops/jobs/{job_id}").text

    assert "It waits for a worker: no worker has taken it for 4" in shown_after(40)
    ledger.claim_job(job_id, "claim")
    assert "At work." in shown_after(0)
    assert "It does not move: nothing was heard of its worker for 4" in shown_after(40)


def test_a_job_is_stopped(app: Flask, sign_in: SignIn) -> None:
    job_id = "0193a5b2-1c3d-7abc-8def-0123456789ab"
    of(app).ledger.add_job(job_id, "retry", {"ids": [1], "below": 2}, actor="ann", total=1)
    browser = sign_in()
    page = browser.get(f"/ops/jobs/{job_id}")
    assert "It waits for a worker" in page.text
    answer = browser.post(f"/ops/jobs/{job_id}/stop", data={"csrf_token": token(page.text)})
    assert answer.status_code == 303
    page = browser.get(f"/ops/jobs/{job_id}")
    assert "Stopped; what was done stays done." in page.text
    assert "Stop</button>" not in page.text


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/ops/failed/sent/x", 404, "Failures are in the states"),
        ("/ops/failed/failed/x", 200, "No delivery is failed for this reason any more"),
        ("/ops/failed/failed/x?below=y", 400, "below: expected a whole number, got &#39;y&#39;"),
        (f"/ops/failed/failed/x?below={10**30}", 400, "below: expected a whole number"),
        ("/ops/failed/failed/x/confirm?verb=cancel", 400, "verb: expected one of retry"),
        ("/ops/failed/failed/x/confirm?verb=retry&ids=y", 400, "ids: expected a whole number"),
        ("/ops/failed/failed/x/confirm?verb=retry", 200, "There is nothing to do"),
        ("/ops/jobs/x", 404, "There is no job"),
    ],
)
def test_a_wrong_address_says_what_is_wrong(
    sign_in: SignIn, path: str, status: int, words: str
) -> None:
    answer = sign_in().get(path)
    assert (answer.status_code, words in answer.text) == (status, True), answer.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"verb": "erase"},
        {"state": "sent"},
        {"job_id": "x"},
        {"below": "x"},
        {"ids": "x"},
    ],
)
def test_a_wrong_form_starts_nothing(app: Flask, sign_in: SignIn, wrong: dict[str, str]) -> None:
    browser = sign_in()
    right = {
        "csrf_token": token(browser.get("/ops/").text),
        "job_id": "0193a5b2-1c3d-7abc-8def-0123456789ab",
        "state": "failed",
        "verb": "retry",
        "cause": "0123456789ab",
        "below": "9",
    }
    assert browser.post("/ops/jobs", data={**right, **wrong}).status_code == 400
    assert of(app).ledger.jobs(1) == ([], False)
    nothing = browser.post("/ops/jobs", data=right, follow_redirects=True)
    assert "Nothing of it is left to do." in nothing.text
    assert of(app).ledger.jobs(1) == ([], False)


@pytest.mark.usefixtures("failed")
def test_how_many_it_is_about_is_counted_here(app: Flask, sign_in: SignIn) -> None:
    of(app).ledger.suppress(["gone1@example.com"], origin="manual")
    browser = sign_in()
    refused = links(browser.get("/ops/failed"), "/ops/failed/failed/")[0]
    right = {
        "csrf_token": token(browser.get("/ops/").text),
        "job_id": "0193a5b2-1c3d-7abc-8def-0123456789ab",
        "state": "failed",
        "verb": "retry",
        "cause": refused.rpartition("/")[2],
        "below": "99",
        "total": "0",
    }
    assert browser.post("/ops/jobs", data=right).status_code == 303
    ((job,), _) = of(app).ledger.jobs(1)
    assert (job.done, job.total, job.changed) == (3, 3, 2)
    with of(app).database.read() as connection:
        acts = connection.execute(sa.select(Act.actor, Act.number).where(Act.action == "start job"))
        assert acts.all() == [("member admin", 3)]
