"""What a server, a caller or a file name says steers no terminal, no log and no page."""

from __future__ import annotations

import json
import logging
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from mailer import InvalidEmail, delivery, dispatch
from mailer.cli import group
from mailer.models import Delivery, Email
from mailer.smtp import Connection, Server
from mailer.state import of

from ..conftest import AppFactory
from ..smtp_server import Certificates, Do, SMTPServer

FORGED = "delivery=1 attempt=1 status=sent"
# ESC, CSI in one character, a bell, line ends of all kinds, a reversed reading direction.
HOSTILE = f"x\x1b[2J\x9b2J\x07\u202e\u2028\x85\r\n{FORGED}"
STEERING = set("\x1b\x9b\x07\x7f\r\u202e\u2028\x85")


def assert_steers_nothing(output: str) -> None:
    assert not STEERING & set(output), repr(output)
    assert not [line for line in output.splitlines() if line.startswith(FORGED)], output


@pytest.mark.parametrize("form", ["", " --json"], ids=["table", "json"])
@pytest.mark.parametrize("command", ["list", "show ID", "status", "retry ID --dry-run"])
def test_no_command_passes_on_what_would_steer_the_terminal(
    make_app: AppFactory, command: str, form: str
) -> None:
    app = make_app(CELERY={"broker_url": "memory://"})
    with app.app_context():
        email = dispatch(to="ann@example.com", subject="x", text="x", tags={"a": "b"})
    state = of(app)
    # As if something had got past every check: each text that the ledger holds.
    with state.database.begin() as connection:
        connection.execute(
            sa.update(Email).values(subject=HOSTILE, tags={HOSTILE: HOSTILE}, locale=HOSTILE)
        )
        connection.execute(
            sa.update(Delivery).values(
                recipient=HOSTILE, reason=HOSTILE, stage=HOSTILE, enhanced=HOSTILE, code=550,
                status="failed", attempts=1,
            )
        )  # fmt: skip
    output = run(app, *(command + form).replace("ID", email.id).split())
    assert_steers_nothing(output)
    if form:
        json.loads(output)
    if command != "status":
        assert FORGED[:10] in output, "it is shown, if cut to its column"


def run(app: Flask, *words: str) -> str:
    return app.test_cli_runner().invoke(group, words).output


def test_an_error_of_the_command_line_steers_no_terminal(make_app: AppFactory) -> None:
    app = make_app()
    for words in (["send", HOSTILE, "--to", "a@b.example"], ["show", HOSTILE], [HOSTILE]):
        output = run(app, *words)
        assert output.startswith("mailer: ")
        assert_steers_nothing(output)


REPLY = (
    b"550-5.7.1 \x1b[2J\x9b2J\x07\xe2\x80\xae no\r\n550 5.7.1 \r\x0b\x0c\x1c\xc2\x85"
    + FORGED.encode()
)


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("stage", ["banner", "ehlo", "mail", "rcpt", "data", "dot"])
def test_a_reply_forges_no_log_line_and_is_stored_as_one_printable_line(
    make_app: AppFactory, caplog: pytest.LogCaptureFixture, stage: str, debug: bool
) -> None:
    caplog.set_level(logging.INFO)
    with SMTPServer(script={stage: [Do(REPLY + b"\r\n")]}) as smtp:
        app = make_app(
            MAIL_PORT=smtp.port, MAIL_DEBUG=debug, MAILER_BACKOFF_BASE_SECONDS=600,
            MAILER_BACKOFF_CAP_SECONDS=600, CELERY={"broker_url": "memory://"},
        )  # fmt: skip
        with app.app_context():
            dispatch("welcome", to="ann@example.com", context={"start_url": HOSTILE})
            delivery.drain(of(app), "default")
    lines = [one.getMessage() for one in caplog.records if one.name.startswith("mailer.")]
    assert any("status=" in line for line in lines)
    assert all(line.isprintable() for line in lines), lines
    if debug:
        assert any(FORGED in line for line in lines), "the words of the server are there"
    with of(app).database.read() as connection:
        words = connection.execute(sa.select(Delivery.reason)).scalar_one()
    assert words is not None
    assert FORGED in words
    assert words.isprintable()


def test_a_certificate_forges_no_log_line(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    # One that names itself so, and that somebody was made to trust.
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", "hostile.key", "-out", "hostile.pem", "-days", "2", "-utf8",
         "-subj", f"/CN=x\x1b[2J\n{FORGED}", "-addext", "subjectAltName=IP:127.0.0.1"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    heard: list[str] = []
    with SMTPServer(tls=certificates.server("hostile"), implicit_tls=True) as smtp:
        server = Server(
            host="127.0.0.1", port=smtp.port, security="tls",
            ca_file=str(tmp_path / "hostile.pem"), connect_timeout=2, timeout=2,
        )  # fmt: skip
        Connection(server, observe=lambda who, words: heard.append(words)).close()
    assert any(FORGED in words for words in heard)
    assert all(words.isprintable() for words in heard), heard


@pytest.mark.parametrize(
    "field", ["template", "to", "sender", "reply_to", "locale", "lane", "tags"]
)
def test_a_refusal_is_one_printable_line_whatever_was_given(
    make_app: AppFactory, field: str
) -> None:
    app = make_app()
    value: Any = {HOSTILE: HOSTILE} if field == "tags" else HOSTILE
    email = {"to": "ann@example.com", "subject": "x", "text": "x", field: value}
    with app.app_context(), pytest.raises(InvalidEmail) as caught:
        dispatch(**email)
    # An application logs it as it is.
    assert str(caught.value).isprintable(), repr(str(caught.value))


def test_markup_in_a_field_or_a_setting_is_text_on_every_account_page(make_app: AppFactory) -> None:
    markup = """'"><script>alert(1)</script>{{7*1234567}}"""
    person = "o'brien&{{7*1234567}}@example.com"  # a good address
    app = make_app(MAILER_PRODUCT_NAME=markup)
    client = app.test_client()
    paths = ["/", "/signup", "/reset", "/nothing/<script>alert(1)</script>"]
    answers = [client.get(path) for path in paths]
    answers += [client.get(f"/{page}/<script>alert(1)") for page in ("confirm", "reset")]
    for path in ("/signup", "/reset"):
        found = re.search(r'name="csrf_token" value="([^"]+)"', client.get(path).text)
        assert found
        for email in (markup, person):
            for password in (markup, "correct horse battery staple"):
                data = {"csrf_token": found[1], "email": email, "password": password}
                answers.append(client.post(path, data=data))
    assert {one.status_code for one in answers} == {200, 202, 404, 410, 422}
    for answer in answers:
        assert answer.mimetype == "text/html"
        assert "<script" not in answer.text
        assert "8641969" not in answer.text
        assert person not in answer.text, "the apostrophe and the ampersand are to be escaped"
        assert "&lt;script&gt;alert(1)" in answer.text, "the name of the product is there"
    assert any("o&#39;brien&amp;{{7*1234567}}@example.com" in one.text for one in answers)
