"""``mailer test``, against a real SMTP server"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import Result
from flask import Flask

from mailer.cli import group
from mailer.dev.catcher import Catcher
from mailer.dev.ports import free_port
from mailer.ledger import Filters
from mailer.state import of

from ..conftest import AppFactory
from ..smtp_server import Certificates
from .conftest import Run

PASSWORD = "correct horse"


@pytest.fixture
def careful(certificates: Certificates) -> Iterator[Catcher]:
    """A server that wants TLS and a password."""
    with Catcher(tls=certificates.server("good"), credentials=("ann", PASSWORD)) as server:
        yield server


def conversation(app: Flask, *options: str) -> Result:
    return app.test_cli_runner().invoke(group, ["test", "bob@example.com", *options])


def test_every_step_is_printed_and_the_message_arrives(
    run: Run, app: Flask, catcher: Catcher
) -> None:
    result = run("test", "bob@example.com")

    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"* 127.0.0.1:{catcher.smtp_port}, no TLS, no login"
    assert lines[2].startswith("< 220 ")
    assert lines[3].startswith("> EHLO ")
    said = [line for line in lines if line[0] in "<>"]
    greeting = next(n for n, line in enumerate(said) if line.startswith("> MAIL"))
    assert "< 250 PIPELINING" in said[:greeting]
    assert [" ".join(line.split()[:2]) for line in said[greeting:]] == [
        "> MAIL", "> RCPT", "> DATA", "< 250", "< 250", "< 354",
        f"> ({said[greeting + 6].split()[1][1:]}", "< 250", "> QUIT", "< 221",
    ]  # fmt: skip
    assert lines[-1] == "The server took the message to bob@example.com."
    (message,) = catcher.messages()
    assert message.recipients == ("bob@example.com",)
    assert "the SMTP settings work" in message.text
    assert of(app).ledger.list(Filters(), 1) == []


def test_tls_and_auth_are_described_without_the_password(
    make_app: AppFactory, careful: Catcher, certificates: Certificates
) -> None:
    app = make_app(
        MAIL_PORT=careful.smtp_port, MAIL_USE_TLS=True, MAIL_CA_FILE=certificates.ca_file,
        MAIL_USERNAME="ann", MAIL_PASSWORD=PASSWORD,
    )  # fmt: skip

    result = conversation(app)

    assert result.exit_code == 0, result.output
    assert ", STARTTLS, verified, login as ann\n" in result.stdout
    assert "> STARTTLS\n" in result.stdout
    assert "* TLSv1.3, " in result.stdout
    assert "certificate for commonName=good, valid until " in result.stdout
    assert "> AUTH PLAIN ***\n< 235 " in result.stdout
    document = conversation(app, "--json").stdout
    for secret in (PASSWORD, "AGFubgBjb3JyZWN0IGhvcnNl"):  # the second: as AUTH PLAIN has it
        assert secret not in result.stdout + document


def test_a_certificate_that_is_not_trusted_ends_it(make_app: AppFactory, careful: Catcher) -> None:
    result = conversation(make_app(MAIL_PORT=careful.smtp_port, MAIL_USE_TLS=True))

    assert result.exit_code == 1
    last = result.stdout.splitlines()[-1]
    assert last.startswith("The message was not sent: unavailable at starttls: ")
    assert "certificate" in last
    assert careful.messages() == []


def test_a_refused_password_ends_it(
    make_app: AppFactory, careful: Catcher, certificates: Certificates
) -> None:
    app = make_app(
        MAIL_PORT=careful.smtp_port, MAIL_USE_TLS=True, MAIL_CA_FILE=certificates.ca_file,
        MAIL_USERNAME="ann", MAIL_PASSWORD="wrong battery",
    )  # fmt: skip

    result = conversation(app)

    assert result.exit_code == 1
    assert "The message was not sent: unavailable at auth: 535 " in result.stdout
    assert "wrong battery" not in result.output


def test_a_refused_recipient_is_a_failure_with_its_code_and_words(
    run: Run, catcher: Catcher
) -> None:
    catcher.script("rcpt", "550 5.1.1 no such user")

    result = run("test", "bob@example.com")

    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == (
        "The message was not sent: refused at rcpt: 550 5.1.1 no such user"
    )


def test_a_server_that_is_not_there_is_a_failure_with_its_reason(make_app: AppFactory) -> None:
    port = free_port()

    result = conversation(make_app(MAIL_PORT=port))

    assert result.exit_code == 1
    assert f"127.0.0.1:{port}: Connection refused" in result.stdout.splitlines()[-1]


def test_the_document_has_the_steps_and_the_result(run: Run) -> None:
    document = json.loads(run("test", "bob@example.com", "--json").stdout)

    assert document["worked"] is True
    assert {step["who"] for step in document["steps"]} == {"note", "client", "server"}
    assert (document["result"]["kind"], document["result"]["code"]) == ("sent", 250)


def test_a_sender_must_be_known(app: Flask) -> None:
    app.config["MAIL_DEFAULT_SENDER"] = None  # as an app with the extension may have it

    result = conversation(app)

    assert result.exit_code == 1
    assert result.stderr.startswith("mailer: MAIL_DEFAULT_SENDER: expected a sender")


def test_a_wrong_address_is_a_usage_error(run: Run, catcher: Catcher) -> None:
    result = run("test", "bob")

    assert result.exit_code == 2
    assert catcher.counts["connections"] == 0
