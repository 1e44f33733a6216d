"""``mailer transports``"""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import Result
from flask import Flask

from mailer.cli import group
from mailer.dev.ports import free_port
from mailer.ledger import Filters
from mailer.state import of

from ..conftest import AppFactory
from ..smtp_server import Do, SMTPServer

NEVER = Do(b"550 5.7.1 you are on a list\r\n")


def run(app: Flask, *words: str) -> Result:
    return app.test_cli_runner().invoke(group, words)


def send(app: Flask, number: int = 1) -> None:
    to = [part for n in range(number) for part in ("--to", f"r{n}@example.com")]
    assert run(app, "send", "--subject", "Hi", "--text", "Hi", *to).exit_code == 0


def of_first(app: Flask) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run(app, "transports", "--json").stdout)
    first: dict[str, Any] = document["transports"][0]
    return first


@pytest.fixture
def smtp() -> Any:
    with SMTPServer() as server:
        yield server


@pytest.fixture
def app(make_app: AppFactory, smtp: SMTPServer) -> Flask:
    return make_app(
        MAILER_TRANSPORTS=f"primary=smtp://127.0.0.1:{smtp.port}?rate=100&domain_connections=2,"
        f"backup=smtps://app:s3cret@127.0.0.1:{free_port()}",
        MAILER_BACKOFF_BASE_SECONDS=600,
        MAILER_BACKOFF_CAP_SECONDS=600,
    )


def test_it_says_where_mail_leaves_and_how_much(app: Flask) -> None:
    send(app, 3)
    head, primary, backup, legend = run(app, "transports").stdout.splitlines()
    assert head.split()[:5] == ["NAME", "SENT/MIN", "SENT", "DEFERRED", "REFUSED"]
    assert primary.split()[:6] == ["primary", "3", "3", "0", "0", "usable"]
    assert "no TLS, no login; 100/s, 2 connections a domain" in primary
    assert legend == "SENT, DEFERRED and REFUSED: within ten minutes"
    assert "login as app" in backup
    assert "s3cret" not in run(app, "transports", "--json").stdout


def test_the_default_is_the_server_of_flask_mail(make_app: AppFactory, smtp: SMTPServer) -> None:
    app = make_app(MAIL_PORT=smtp.port)
    send(app)
    assert (of_first(app)["name"], of_first(app)["sent"]) == ("default", 1)


def test_an_outage_shows_with_its_words(app: Flask, smtp: SMTPServer) -> None:
    smtp.stop()
    send(app)
    assert of_first(app)["state"] in {"open", "half-open"}
    assert "refused" in of_first(app)["last_trouble"]["words"]
    said = run(app, "transports").stdout.splitlines()[-1]
    assert said.startswith(("primary: 0 s ago at connect: ", "backup: 0 s ago at connect: "))
    status = run(app, "status")
    assert status.exit_code == 1
    assert "transport  no transport is usable: paused, or it could not be used" in status.stdout


def test_a_server_that_refuses_most_mail_alerts(app: Flask, smtp: SMTPServer) -> None:
    smtp.then("rcpt", *[NEVER] * 25)
    send(app, 25)
    status = run(app, "status", "--json")
    (alert,) = json.loads(status.stdout)["alerts"]
    assert alert == (
        "transport primary: 25 of 25 emails refused within 10 minutes, the last with 550 "
        "you are on a list"
    )
    assert status.exit_code == 1
    assert of_first(app)["refused"] == 25
    assert of_first(app)["state"] == "closed"


def test_a_refused_login_alerts_though_mail_flows(make_app: AppFactory, smtp: SMTPServer) -> None:
    with SMTPServer(features=["AUTH PLAIN"]) as strict:
        strict.then("auth", *[Do(b"535 5.7.8 wrong\r\n")] * 9)
        app = make_app(
            MAILER_TRANSPORTS=f"a=smtp://app:s3cret@127.0.0.1:{strict.port},"
            f"b=smtp://127.0.0.1:{smtp.port}",
        )
        send(app, 2)
        assert len(smtp.messages) == 2
        document = json.loads(run(app, "status", "--json").stdout)
        assert document["alerts"] == ["transport a: auth: 535 wrong"]
        assert document["checks"]["transport"]["ok"]


def test_a_transport_is_paused_and_resumed_with_who_did_it(app: Flask, smtp: SMTPServer) -> None:
    result = run(app, "transports", "pause", "primary")
    assert (result.exit_code, result.stdout) == (0, "paused transport primary\n")
    assert run(app, "transports", "pause", "primary").stdout == (
        "transport primary was paused already\n"
    )
    assert of_first(app)["state"] == "paused"
    assert "paused by cli:" in run(app, "transports").stdout
    assert "transport primary: paused by cli:" in run(app, "status").stdout
    send(app)
    assert smtp.sessions == []
    run(app, "transports", "pause", "backup")
    send(app)
    (email_id,) = {row.email_id for row in of(app).ledger.list(Filters(), 1)}
    shown = run(app, "show", email_id).stdout
    assert "It waits, due for 0 s: of the transports, primary is paused, backup is paused." in shown
    run(app, "transports", "resume", "backup")
    done = json.loads(run(app, "transports", "resume", "primary", "--json").stdout)
    assert done == {"transport": "primary", "paused": False, "changed": True}
    assert run(app, "transports", "resume", "primary").stdout == (
        "transport primary was not paused\n"
    )
    assert of_first(app)["state"] == "closed"


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_name_that_is_not_there_is_answered_with_those_that_are(app: Flask, verb: str) -> None:
    result = run(app, "transports", verb, "primray")
    assert result.exit_code == 1
    assert result.stderr == "mailer: no transport 'primray'; there are primary, backup\n"


def test_a_conversation_with_one_of_them(app: Flask, smtp: SMTPServer) -> None:
    assert run(app, "test", "bob@example.com", "--transport", "primary").exit_code == 0
    assert len(smtp.messages) == 1
    refused = run(app, "test", "bob@example.com", "--transport", "backup")
    assert refused.exit_code == 1
    assert "Connection refused" in refused.stdout
    assert "'nowhere'" in run(app, "test", "bob@example.com", "--transport", "nowhere").stderr
