"""``/api/inbound``: who may report, and what is answered."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

from mailer import create_app
from mailer.api.operations import OPERATIONS
from mailer.api.routes import inbound
from mailer.delivery import drain
from mailer.dev.catcher import Catcher
from mailer.errors import SettingError, Unreachable
from mailer.inbound import sns
from mailer.models import Report, Suppression
from mailer.state import of
from tests.inbound import reports

Call = Callable[..., Any]
MAILGUN, POSTMARK = "a signing key of Mailgun", "a token for Postmark"
SENDGRID, AMAZON = reports.SendGrid(), reports.Sns()
SERVICES = ("ses", "postmark", "sendgrid", "mailgun")


@pytest.fixture
def settings() -> dict[str, Any]:
    return {
        "MAILER_SES_TOPICS": AMAZON.topic,
        "MAILER_POSTMARK_TOKEN": POSTMARK,
        "MAILER_SENDGRID_PUBLIC_KEY": SENDGRID.key,
        "MAILER_MAILGUN_SIGNING_KEY": MAILGUN,
    }


@pytest.fixture
def app(tmp_path: Path, catcher: Catcher, settings: dict[str, Any]) -> Iterator[Flask]:
    """The service, which knows four others."""
    app = create_app(
        {
            "SECRET_KEY": "a secret for tests only",
            "TESTING": True,
            "MAIL_SUPPRESS_SEND": False,
            "MAILER_DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.sqlite3'}",
            "MAILER_BASE_URL": "http://app.example.com",
            "MAIL_DEFAULT_SENDER": "service@acme.example",
            "MAIL_PORT": catcher.smtp_port,
            "CELERY": {"broker_url": "memory://", "result_backend": "disabled"},
            **settings,
        }
    )
    of(app).database.upgrade()
    fetched: list[str] = []

    def get(url: str) -> bytes:
        fetched.append(url)
        if urlsplit(url).path == urlsplit(AMAZON.url).path:
            return AMAZON.certificate
        if "ConfirmSubscription" in url:
            return b"<ConfirmSubscriptionResponse/>"
        raise Unreachable(url)

    app.extensions[inbound.SIGNERS] = sns.Signers(get)
    app.extensions["fetched"] = fetched
    yield app
    of(app).close()


@pytest.fixture
def email_id(app: Flask, call: Call) -> str:
    """An email that was sent to Ada."""
    body = {"to": reports.ADA, "subject": "Hello", "text": "Hello"}
    sent: str = call("POST", "/emails", body)[1]["id"]
    with app.app_context():
        assert drain(of(app), "default") == 1
    return sent


def post(app: Flask, path: str, body: Any, **headers: str) -> TestResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return app.test_client().post(
        f"/api/inbound/{path}",
        data=data,
        headers={"Content-Type": "application/json", **headers},
    )


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"postmark:{password}".encode()).decode()


def report(app: Flask, service: str, email_id: str, kind: str = "bounced") -> TestResponse:
    """Report as a service does, signed."""
    names = {
        "ses": {"bounced": "Bounce", "complained": "Complaint", "delivered": "Delivery"},
        "postmark": {"bounced": "Bounce", "complained": "SpamComplaint", "delivered": "Delivery"},
        "sendgrid": {"bounced": "bounce", "complained": "spamreport", "delivered": "delivered"},
        "mailgun": {"bounced": "failed", "complained": "complained", "delivered": "delivered"},
    }
    name = names[service][kind]
    match service:
        case "ses":
            message = AMAZON.notification(reports.ses(name, email_id=email_id))
            return post(app, "ses", message, **{"Content-Type": "text/plain; charset=UTF-8"})
        case "postmark":
            body = reports.postmark(name, Metadata={"email_id": email_id})
            return post(app, "postmark", body, Authorization=basic(POSTMARK))
        case "sendgrid":
            raw = json.dumps([reports.sendgrid(name, email_id=email_id)]).encode()
            return post(app, "sendgrid", raw, **SENDGRID.headers(raw))
        case _:
            return post(app, "mailgun", reports.mailgun(name, key=MAILGUN, email_id=email_id))


def kept(answer: TestResponse) -> tuple[int, int, int, int, int]:
    assert answer.mimetype == "application/json", answer.data
    told = answer.get_json()
    counts = [told.get(name) for name in ("stored", "known", "ignored", "malformed")]
    return answer.status_code, *counts


def stored(app: Flask) -> list[str]:
    with of(app).database.read() as connection:
        return list(connection.execute(sa.select(Report.kind)).scalars())


def suppressed(app: Flask) -> list[str]:
    with of(app).database.read() as connection:
        return list(connection.execute(sa.select(Suppression.address)).scalars())


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("kind", ["bounced", "complained", "delivered"])
def test_a_report_of_a_service_is_told_of_the_email(
    app: Flask, call: Call, email_id: str, service: str, kind: str
) -> None:
    assert call("GET", f"/emails/{email_id}")[1]["last_event"] == "sent"
    assert kept(report(app, service, email_id, kind)) == (200, 1, 0, 0, 0)
    assert call("GET", f"/emails/{email_id}")[1]["last_event"] == kind
    assert call("GET", "/emails")[1]["data"][0]["last_event"] == kind
    (delivery,) = call("GET", f"/emails/{email_id}/deliveries")[1]["data"]
    (told,) = delivery["reports"]
    assert (told["kind"], told["source"], told["recipient"]) == (kind, service, reports.ADA)
    assert told["permanent"] is (kind == "bounced")
    assert told["received_at"]
    assert told["occurred_at"]
    assert delivery["state"] == "sent"
    assert suppressed(app) == ([] if kind == "delivered" else [reports.ADA])


@pytest.mark.parametrize("service", ["ses", "postmark", "sendgrid"])
def test_a_report_that_is_told_again_is_known(app: Flask, email_id: str, service: str) -> None:
    report(app, service, email_id)
    assert kept(report(app, service, email_id)) == (200, 0, 1, 0, 0)


def test_mailguns_token_is_good_for_one_report(app: Flask, email_id: str) -> None:
    assert kept(report(app, "mailgun", email_id)) == (200, 1, 0, 0, 0)
    forged = reports.mailgun("complained", key=MAILGUN, email_id=email_id, id="another")
    assert kept(post(app, "mailgun", forged)) == (200, 0, 1, 0, 0)
    assert stored(app) == ["bounced"]


def test_a_service_that_is_not_who_it_says_is_refused(app: Flask, email_id: str) -> None:
    message = AMAZON.notification(reports.ses(email_id=email_id))
    raw = json.dumps([reports.sendgrid(email_id=email_id)]).encode()
    signed = SENDGRID.headers(raw)
    answers = [
        post(app, "ses", reports.Sns().notification(reports.ses(email_id=email_id))),
        post(app, "ses", {**message, "Message": reports.ses("Complaint", email_id=email_id)}),
        post(app, "postmark", reports.postmark()),
        post(app, "postmark", reports.postmark(), Authorization=basic("another token of theirs")),
        post(app, "postmark", reports.postmark(), Authorization=f"Bearer {POSTMARK}"),
        post(app, "postmark", reports.postmark(), Authorization="Basic %%%"),
        post(app, "sendgrid", raw),
        post(app, "sendgrid", raw + b" ", **signed),
        post(app, "mailgun", reports.mailgun(key="another signing key", email_id=email_id)),
    ]
    for answer in answers:
        assert (answer.status_code, answer.get_json()["name"]) == (403, "invalid_signature")
    assert stored(app) == []
    assert suppressed(app) == []


@pytest.mark.parametrize("settings", [{}])
@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_was_not_set_up_is_refused(app: Flask, service: str) -> None:
    answer = report(app, service, reports.EMAIL_ID)
    assert (answer.status_code, answer.get_json()["name"]) == (403, "not_configured")
    assert "MAILER_" in answer.get_json()["message"]
    assert app.extensions["fetched"] == []


def test_what_can_never_be_read_is_answered_with_yes_and_logged(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    raw = b'{"no": "list"}'
    answers = [
        post(app, "ses", AMAZON.notification("no JSON")),
        post(app, "postmark", b"no JSON", Authorization=basic(POSTMARK)),
        post(app, "sendgrid", raw, **SENDGRID.headers(raw)),
        post(app, "mailgun", reports.mailgun("failed", key=MAILGUN, id="")),
    ]
    assert [kept(answer) for answer in answers] == [(200, 0, 0, 0, 1)] * 4
    assert sum("malformed: " in line for line in caplog.messages) == 4


@pytest.mark.parametrize("service", ["ses", "mailgun"])
def test_what_can_prove_nothing_is_refused(app: Flask, service: str) -> None:
    answer = post(app, service, b"no JSON")
    assert (answer.status_code, answer.get_json()["name"]) == (422, "validation_error")


def test_of_a_batch_the_good_are_stored(app: Flask, email_id: str) -> None:
    events = [
        reports.sendgrid("delivered", email_id=email_id),
        reports.sendgrid("open", email_id=email_id),
        {"event": 7},
        reports.sendgrid("bounce", email_id=email_id),
        reports.sendgrid("bounce", email_id=email_id),
    ]
    raw = json.dumps(events).encode()
    assert kept(post(app, "sendgrid", raw, **SENDGRID.headers(raw))) == (200, 2, 1, 1, 1)
    assert sorted(stored(app)) == ["bounced", "delivered"]


def test_a_subscription_is_confirmed_once_it_is_proven(app: Flask) -> None:
    assert kept(post(app, "ses", AMAZON.confirmation())) == (200, 0, 0, 1, 0)
    assert "ConfirmSubscription" in app.extensions["fetched"][-1]
    seen = len(app.extensions["fetched"])
    forged = {**AMAZON.confirmation(), "Signature": "Zm9yZ2Vk"}
    assert post(app, "ses", forged).status_code == 403
    assert len(app.extensions["fetched"]) == seen


def test_a_certificate_that_cannot_be_had_is_asked_for_later(app: Flask) -> None:
    message = AMAZON.notification(reports.ses())
    message["SigningCertURL"] = AMAZON.url.replace("0123", "4567")
    answer = post(app, "ses", message)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")


@pytest.mark.parametrize("service", SERVICES)
def test_without_the_ledger_a_service_is_asked_to_come_again(
    app: Flask, email_id: str, service: str
) -> None:
    with of(app).database.begin() as connection:
        connection.execute(sa.text("ALTER TABLE mailer_reports RENAME TO gone"))
    answer = report(app, service, email_id)
    assert (answer.status_code, answer.get_json()["name"]) == (503, "service_unavailable")
    with of(app).database.begin() as connection:
        connection.execute(sa.text("ALTER TABLE gone RENAME TO mailer_reports"))
    assert kept(report(app, service, email_id)) == (200, 1, 0, 0, 0)


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_posts_more_than_it_may(app: Flask, service: str) -> None:
    answer = post(app, service, b"x" * 5_000_001, Authorization=basic(POSTMARK))
    assert (answer.status_code, answer.get_json()["name"]) == (413, "payload_too_large")


def bounce(app: Flask, token: str, raw: bytes, kind: str = "message/rfc822") -> TestResponse:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": kind}
    return app.test_client().post("/api/inbound/bounces", data=raw, headers=headers)


def test_a_mail_server_reports_with_a_key_for_that(
    app: Flask, call: Call, key: Callable[..., str], email_id: str
) -> None:
    token = key(scopes=["inbound"])
    delayed = reports.recipient("bob@example.com", Action="delayed")
    raw = reports.dsn(reports.recipient(), delayed, email_id=email_id)
    assert kept(bounce(app, token, raw)) == (200, 1, 0, 1, 0)
    assert kept(bounce(app, token, raw)) == (200, 0, 1, 1, 0)
    assert kept(bounce(app, token, reports.feedback(email_id=email_id))) == (200, 1, 0, 0, 0)
    (delivery,) = call("GET", f"/emails/{email_id}/deliveries")[1]["data"]
    assert sorted(one["kind"] for one in delivery["reports"]) == ["bounced", "complained"]
    assert call("GET", f"/emails/{email_id}")[1]["last_event"] == "bounced"


def test_a_mail_server_without_the_right_key_or_type_is_refused(
    app: Flask, key: Callable[..., str]
) -> None:
    token = key(scopes=["inbound"])
    others = key(scopes=["send", "read", "manage"])
    raw = reports.dsn()
    assert bounce(app, others, raw).get_json()["name"] == "restricted_api_key"
    assert bounce(app, "mk_wrong", raw).status_code == 403
    assert bounce(app, token, raw, "text/plain").status_code == 415
    answer = bounce(app, token, b"Subject: Out of office\r\n\r\nI am away.\r\n")
    assert (answer.status_code, answer.get_json()["name"]) == (422, "validation_error")
    assert "multipart/report" in answer.get_json()["message"]
    assert stored(app) == []


def test_a_bounce_with_all_of_a_large_message_is_taken(
    app: Flask, key: Callable[..., str], email_id: str
) -> None:
    raw = reports.dsn(email_id=email_id).replace(b"Secret words", b"x" * 13_000_000)
    assert kept(bounce(app, key(scopes=["inbound"]), raw)) == (200, 1, 0, 0, 0)


def test_postmark_learns_which_email_it_is(app: Flask, catcher: Catcher, email_id: str) -> None:
    (message,) = catcher.messages()
    assert f"X-PM-Metadata-email_id: {email_id}\r\n".encode() in message.raw


@pytest.mark.parametrize("settings", [{}])
@pytest.mark.usefixtures("email_id")
def test_nobody_else_does(catcher: Catcher) -> None:
    (message,) = catcher.messages()
    assert b"X-PM-" not in message.raw


@pytest.mark.parametrize("key", ["no base64", "bm8ga2V5", SENDGRID.key[:-8]])
def test_a_key_that_is_none_stops_the_start(
    settings: dict[str, Any], tmp_path: Path, key: str
) -> None:
    with pytest.raises(SettingError, match="MAILER_SENDGRID_PUBLIC_KEY: expected"):
        create_app(
            {
                "SECRET_KEY": "a secret for tests only",
                "MAILER_DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.sqlite3'}",
                "MAILER_BASE_URL": "http://app.example.com",
                "MAIL_DEFAULT_SENDER": "service@acme.example",
                "MAILER_SENDGRID_PUBLIC_KEY": key,
            }
        )


def test_every_route_says_what_proves_who_asks() -> None:
    found = [one for one in OPERATIONS if one.group == "inbound"]
    assert len(found) == 5
    for one in found:
        assert one.scope or one.proof
        assert one.raw
