"""The page of an email: what became of it, what it says, and what can be done about it."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from mailer import dispatch, webhooks
from mailer.content import Attachment, Context
from mailer.dev.catcher import Catcher
from mailer.models import Delivery, Email
from mailer.state import of

from .conftest import SignIn, submit

PICTURE = Attachment(
    filename="logo.png", data=b"\x89PNG not really", content_type="image/png", content_id="logo@x"
)
SCRIPT = Attachment(
    filename="x.svg", data=b"<svg/>", content_type="image/svg+xml", content_id="script"
)


def accept(app: Flask, to: Any = "ada@example.com", **more: Any) -> str:
    with app.test_request_context("/signup", method="POST", headers={"X-Request-Id": "shop-7"}):
        values = {"subject": "Your order", "text": "Hello.", **more}
        return dispatch(to=to, **values).id


def state(app: Flask, email_id: str) -> list[str]:
    return [one.state for one in of(app).ledger.show(email_id).deliveries]


def words(page: str) -> str:
    """The text of a page."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_it_tells_each_copy_why_and_all_that_happened(
    app: Flask, catcher: Catcher, sign_in: SignIn
) -> None:
    catcher.script("rcpt", "550 5.7.1 not wanted here", address="gone*")
    with app.app_context():
        state_ = of(app)
        state_.config["MAILER_WEBHOOK_ALLOW"] = ["127.0.0.1"]
        webhooks.create(
            state_, "https://127.0.0.1:1/secret-path?key=s3cret", ["email.failed"], actor="test"
        )
    email_id = accept(app, ["Ada <ada@example.com>", "gone@example.com"], tags={"kind": "order"})
    browser = sign_in("operator")
    submit(browser, f"/ops/emails/{email_id}/retry", at=f"/ops/emails/{email_id}")

    page = browser.get(f"/ops/emails/{email_id}").text

    text = words(page)
    assert "Nothing more happens: the server has it." in text
    assert "Nothing happens by itself: Retry sends it, with fresh attempts." in text
    assert "last reply 550 5.7.1 not wanted here over default at rcpt" in text
    _, timeline = text.split("What happened")
    told = ["accepted by POST /signup, request shop-7",
            "attempt 1: sent over default at dot ada@example.com",
            "attempt 1: refused over default at rcpt gone@example.com 550 5.7.1 not wanted here",
            "retried gone@example.com by member operator",
            "attempt 2: refused over default at rcpt gone@example.com"]  # fmt: skip
    places = [timeline.index(one) for one in told]
    assert places == sorted(places)
    assert timeline.count(", took ") == 3
    assert "email.failed still to be told to 127.0.0.1" in timeline
    assert "s3cret" not in page
    assert "secret-path" not in page
    assert "Ada &lt;ada@example.com&gt;" in text
    assert "kind=order" in text


def test_the_live_part_has_no_message(app: Flask, sign_in: SignIn) -> None:
    email_id = accept(app)
    part = sign_in().get(f"/ops/emails/{email_id}", headers={"HX-Request": "true"}).text
    assert "What happened" in part
    assert "Message" not in part


@pytest.mark.parametrize("wrong", ["x", "01020304-0506-7708-890a-0b0c0d0e0f10"])
def test_an_email_that_is_not_there_is_not_found(sign_in: SignIn, wrong: str) -> None:
    browser = sign_in()
    for path in ("", "/html", "/message.eml", "/attachments/1"):
        answer = browser.get(f"/ops/emails/{wrong}{path}")
        assert answer.status_code == 404
        assert "There is no email" in answer.text


# What it says


def test_html_is_framed_in_a_sandbox_with_its_pictures_inside(app: Flask, sign_in: SignIn) -> None:
    html = '<p>Hi <img src="cid:logo@x"><img src="cid:script"><img src="CID:logo%40x"></p>'
    email_id = accept(app, html=html, attachments=[PICTURE, SCRIPT])
    browser = sign_in("viewer")

    page = browser.get(f"/ops/emails/{email_id}").text
    frame = browser.get(f"/ops/emails/{email_id}/html")

    assert re.search(
        rf'<iframe class="message" sandbox src="/ops/emails/{email_id}/html" title=', page
    )
    policy = frame.headers["Content-Security-Policy"].split("; ")
    assert policy[0] == "sandbox"
    assert {"default-src 'none'", "style-src 'unsafe-inline'", "img-src data:"} <= set(policy)
    assert "frame-ancestors 'self'" in policy
    data = "data:image/png;base64," + base64.b64encode(PICTURE.data).decode()
    assert frame.text == (f'<p>Hi <img src="{data}"><img src="cid:script"><img src="{data}"></p>')


def test_text_headers_and_source_are_shown_and_the_message_is_saved(
    app: Flask, catcher: Catcher, sign_in: SignIn
) -> None:
    email_id = accept(app, subject="Grüße", headers={"X-Shop": "7"})
    browser = sign_in("viewer")

    assert ">Hello.</pre>" in browser.get(f"/ops/emails/{email_id}?tab=text").text
    headers = words(browser.get(f"/ops/emails/{email_id}?tab=headers").text)
    assert "Subject Grüße" in headers
    assert "X-Shop 7" in headers
    assert "Message-ID: &lt;" in browser.get(f"/ops/emails/{email_id}?tab=source").text
    saved = browser.get(f"/ops/emails/{email_id}/message.eml")
    assert saved.data == catcher.wait_for(1)[0].raw
    assert saved.headers["Content-Disposition"].startswith("attachment")
    assert saved.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert saved.mimetype == "application/octet-stream"
    assert "Text" in browser.get(f"/ops/emails/{email_id}?tab=nonsense").text


def test_files_are_saved_and_never_shown(app: Flask, sign_in: SignIn) -> None:
    evil = Attachment(filename='a"b; x.html', data=b"<script>", content_type="text/html")
    email_id = accept(app, attachments=[evil])
    browser = sign_in("viewer")

    tab = browser.get(f"/ops/emails/{email_id}?tab=attachments").text
    file = browser.get(f"/ops/emails/{email_id}/attachments/1")

    assert "a&#34;b; x.html" in tab
    assert file.data == b"<script>"
    assert file.mimetype == "application/octet-stream"
    assert file.headers["Content-Disposition"].startswith("attachment; filename=")
    assert file.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert file.headers["X-Content-Type-Options"] == "nosniff"
    for wrong, status in (("0", 404), ("2", 404), ("x", 400), ("²", 400), ("9" * 5000, 400)):
        answer = browser.get(f"/ops/emails/{email_id}/attachments/{wrong}")
        assert answer.status_code == status


def test_what_was_erased_is_said_to_be(app: Flask, sign_in: SignIn) -> None:
    email_id = accept(app)
    of(app).ledger.prune(keep_bodies_seconds=-60, keep_seconds=3600, for_seconds=10)

    page = sign_in().get(f"/ops/emails/{email_id}").text

    assert "Its content was erased on " in page
    assert "content erased" in page


SECRETS: dict[str, dict[str, Any]] = {
    "confirm_email": {"user_id": 1}, "reset_password": {"address": "canary@example.com"},
    "already_registered": {"reset_url": "https://canary.example"},
}  # fmt: skip


@pytest.mark.parametrize("template", SECRETS)
def test_no_secret_of_a_security_email_is_shown_or_minted(
    app: Flask, catcher: Catcher, sign_in: SignIn, template: str
) -> None:
    catcher.script("rcpt", "451 4.7.1 later")
    called: list[Context] = []
    with app.app_context():
        email_id = dispatch(template, to="ada@example.com", context=SECRETS[template]).id
    if template in of(app).loaders:
        of(app).loaders[template] = called.append
    browser = sign_in()

    pages = [browser.get(f"/ops/emails/{email_id}?tab={tab}").text
             for tab in ("html", "text", "headers", "source")]  # fmt: skip
    pages.append(browser.get(f"/ops/emails/{email_id}/html").text)
    pages.append(browser.get(f"/ops/emails/{email_id}/message.eml").text)

    name = "confirm_url" if template == "confirm_email" else "reset_url"
    assert "Its values are secret" in pages[0]
    assert f"[{name}]" in pages[1]
    assert f"[{name}]" in pages[4]
    assert not any("canary" in page or "/reset/" in page for page in pages)
    assert called == []


def test_security_mail_of_its_own_words_is_not_shown(app: Flask, sign_in: SignIn) -> None:
    secret = Attachment(filename="codes.txt", data=b"canary")
    email_id = accept(app, text="canary", html="canary", lane="critical", attachments=[secret])
    browser = sign_in()

    page = browser.get(f"/ops/emails/{email_id}").text

    assert "nobody can tell which of its words are secret" in page
    assert "codes.txt" in page
    for path in ("", "/html", "/message.eml", "/attachments/1"):
        assert "canary" not in browser.get(f"/ops/emails/{email_id}{path}").text


def everywhere(browser: FlaskClient, email_id: str) -> list[str]:
    """Every page on which an email stands that failed."""
    page = f"/ops/emails/{email_id}"
    cause = re.findall(r'href="(/ops/failed/failed/[^"]+)"', browser.get("/ops/failed").text)
    paths = ["/ops/emails", *cause, page, f"{page}/html", f"{page}/message.eml"]
    paths += [f"{page}?tab={tab}" for tab in ("text", "headers", "source")]
    assert cause
    return [browser.get(path).text for path in paths]


@pytest.mark.parametrize("template", [None, "already_registered", "welcome"])
def test_the_subject_and_the_headers_of_security_mail_are_shown_nowhere(
    app: Flask, catcher: Catcher, sign_in: SignIn, template: str | None
) -> None:
    catcher.script("rcpt", "550 5.1.1 No such user here")
    words: dict[str, Any] = {"text": "canary", "lane": "critical"}
    if template == "welcome":
        words = {"context": {"start_url": "https://canary.example"}}
        of(app).loaders["welcome"] = dict
    elif template:  # its lane is another one here: its template says what it is
        words = {"context": {"reset_url": "https://canary.example"}, "lane": "bulk"}
    with app.app_context():
        email_id = dispatch(
            template, subject="Code canary", to="ada@example.com", headers={"X-One-Time": "canary"},
            **words,
        ).id  # fmt: skip
    browser = sign_in("viewer")

    pages = everywhere(browser, email_id)

    assert not any("canary" in page for page in pages)
    assert any("[hidden subject]" in page for page in pages)
    found = browser.get("/ops/emails?q=Code").text
    assert email_id not in found
    assert "No emails match" in found


def test_other_mail_shows_its_subject_and_is_found_by_it(
    app: Flask, catcher: Catcher, sign_in: SignIn
) -> None:
    catcher.script("rcpt", "550 5.1.1 No such user here")
    email_id = accept(app, subject="Your parcel", headers={"X-Shop": "seven"})
    browser = sign_in("viewer")
    pages = everywhere(browser, email_id)
    assert all("Your parcel" in pages[number] for number in (0, 1, 2, 4, 6))
    assert "X-Shop: seven" in pages[4]
    assert email_id in browser.get("/ops/emails?q=parcel").text


def test_a_template_that_is_gone_takes_its_secrets_with_it(app: Flask, sign_in: SignIn) -> None:
    email_id = accept(app, subject="Code canary")
    with of(app).database.begin() as connection:
        connection.execute(sa.update(Email).values(template="gone"))
    browser = sign_in()
    for path in ("/ops/emails", f"/ops/emails/{email_id}", f"/ops/emails/{email_id}/message.eml"):
        assert "canary" not in browser.get(path).text
    assert email_id not in browser.get("/ops/emails?q=Code").text


def test_a_template_is_shown_with_its_values_until_they_are_erased(
    app: Flask, catcher: Catcher, sign_in: SignIn
) -> None:
    catcher.script("rcpt", "451 4.7.1 later", times=1)
    with app.app_context():
        email_id = dispatch(
            "welcome", to="ada@example.com", context={"start_url": "https://start.example"}
        ).id
    browser = sign_in("operator")
    page = f"/ops/emails/{email_id}"
    assert "https://start.example" in browser.get(f"{page}/html").text
    submit(browser, f"{page}/retry", at=page)

    assert "Its values were erased once every copy was sent" in browser.get(page).text
    assert "https://start.example" not in browser.get(f"{page}/html").text
    assert "[start_url]" in browser.get(f"{page}/html").text


def test_what_cannot_be_rendered_says_why(app: Flask, sign_in: SignIn) -> None:
    email_id = accept(app)
    with of(app).database.begin() as connection:
        connection.execute(sa.update(Email).values(template="gone"))

    page = sign_in().get(f"/ops/emails/{email_id}").text

    assert "It cannot be shown: no email template is called &#39;gone&#39;" in page


def test_no_link_to_unsubscribe_is_signed_for_a_look(app: Flask, sign_in: SignIn) -> None:
    email_id = accept(app, category="news")
    page = sign_in().get(f"/ops/emails/{email_id}?tab=headers").text
    assert re.search(r"List-Unsubscribe</dt><dd>&lt;http://localhost/\S+/hidden&gt;", page)


# What can be done


def act(browser: FlaskClient, email_id: str, verb: str, **fields: Any) -> str:
    page = f"/ops/emails/{email_id}"
    answer = submit(browser, f"{page}/{verb}", at=page, **fields)
    assert (answer.status_code, answer.location) == (303, page)
    (said,) = re.findall(r'class="notice" role="status">([^<]+)<', browser.get(page).text)
    return str(said)


def test_what_failed_is_retried_once(app: Flask, catcher: Catcher, sign_in: SignIn) -> None:
    catcher.script("rcpt", "550 5.7.1 not now", times=1)
    email_id = accept(app)
    browser = sign_in("operator")

    assert act(browser, email_id, "retry") == "Retried 1 delivery."
    assert state(app, email_id) == ["sent"]
    assert act(browser, email_id, "retry") == (
        "Nothing changed: nothing of it failed or was deferred."
    )
    assert len(catcher.wait_for(1)) == 1


def test_what_is_suppressed_is_not_retried_and_says_so(app: Flask, sign_in: SignIn) -> None:
    of(app).ledger.suppress(["ada@example.com"], origin="manual")
    email_id = accept(app)
    browser = sign_in("operator")

    page = words(browser.get(f"/ops/emails/{email_id}").text)

    assert re.search(r"suppressed for all mail manual, \S+ s ago", page)
    assert act(browser, email_id, "retry") == (
        "Nothing changed: ada@example.com would be suppressed again."
    )


def test_one_copy_is_retried_alone(app: Flask, catcher: Catcher, sign_in: SignIn) -> None:
    catcher.script("rcpt", "550 5.7.1 not now", times=2)
    email_id = accept(app, ["ada@example.com", "ben@example.com"])
    assert act(sign_in("operator"), email_id, "retry", recipient="ben@example.com") == (
        "Retried 1 delivery."
    )
    assert state(app, email_id) == ["failed", "sent"]


def test_a_copy_that_is_not_there_is_not_found(app: Flask, sign_in: SignIn) -> None:
    email_id = accept(app)
    browser = sign_in("operator")
    page = f"/ops/emails/{email_id}"
    for verb in ("retry", "cancel", "resolve"):
        answer = submit(browser, f"{page}/{verb}", at=page, recipient="a@b.example")
        assert answer.status_code == 404


def test_what_is_scheduled_is_moved_and_cancelled(app: Flask, sign_in: SignIn) -> None:
    email_id = accept(app, send_at=datetime.now(UTC) + timedelta(hours=5))
    browser = sign_in("operator")
    assert "Send it at another time" in browser.get(f"/ops/emails/{email_id}").text

    far = act(browser, email_id, "reschedule", send_at="2300-01-02T03:04")
    assert far.startswith("send_at: expected an instant within ")
    assert act(browser, email_id, "reschedule", send_at="soon").startswith(
        "send_at: expected a time such as 2026-11-24T09:30, or in 10m, 2h, 3d, got"
    )
    tomorrow = datetime.now(UTC).replace(microsecond=0, tzinfo=None) + timedelta(days=1)
    moved = act(browser, email_id, "reschedule", send_at=tomorrow.isoformat())
    assert moved == "Rescheduled 1 delivery."
    (one,) = of(app).ledger.show(email_id).deliveries
    assert one.due_at == tomorrow.replace(tzinfo=UTC)
    assert act(browser, email_id, "cancel") == "Cancelled 1 delivery."
    assert act(browser, email_id, "cancel") == (
        "Nothing changed: nothing of it is queued any more."
    )
    assert act(browser, email_id, "reschedule", send_at="2h") == (
        "Nothing changed: nothing of it waits for its time any more."
    )


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("sent", "Recorded as sent: 1 delivery."),
        ("resend", "Sending again 1 delivery."),
        ("perhaps", "verdict: expected sent or resend, got &#39;perhaps&#39;"),
    ],
)
def test_what_is_unknown_is_resolved(
    app: Flask, catcher: Catcher, sign_in: SignIn, verdict: str, said: str
) -> None:
    catcher.script("dot", "drop", stored=True, times=1)
    email_id = accept(app, on_unknown="hold")
    browser = sign_in("operator")
    assert "the server closed the connection" in browser.get(f"/ops/emails/{email_id}").text

    assert act(browser, email_id, "resolve", verdict=verdict) == said
    assert state(app, email_id) == ["unknown" if verdict == "perhaps" else "sent"]
    assert len(catcher.messages()) == (2 if verdict == "resend" else 1)


def test_a_viewer_is_offered_nothing_to_do(app: Flask, sign_in: SignIn) -> None:
    email_id = accept(app)
    with of(app).database.begin() as connection:
        connection.execute(sa.update(Delivery).values(status="failed"))
    assert "/retry" not in sign_in("viewer").get(f"/ops/emails/{email_id}").text
    assert "/retry" in sign_in("operator").get(f"/ops/emails/{email_id}").text


def test_whom_a_retry_would_not_send_to_has_no_button_for_it(
    app: Flask, catcher: Catcher, sign_in: SignIn
) -> None:
    catcher.script("rcpt", "550 5.1.1 no such user")
    email_id = accept(app)
    browser = sign_in("operator")
    page = browser.get(f"/ops/emails/{email_id}").text
    assert "once its recipient is not suppressed any more" in words(page)
    assert "Retry: ada@example.com" not in page
    found = re.search(r'href="(/ops/suppressions[^"]+)">Its suppression<', page)
    assert found
    assert "550 5.1.1 no such user" in browser.get(found[1]).text
    of(app).ledger.unsuppress(actor="ann", addresses=["ada@example.com"])
    assert "Retry: ada@example.com" in browser.get(f"/ops/emails/{email_id}").text
