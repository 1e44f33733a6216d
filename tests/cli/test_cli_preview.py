"""``mailer preview``"""

from __future__ import annotations

import email
import email.policy
from pathlib import Path

from flask import Flask

from mailer.dev.catcher import Catcher
from mailer.ledger import Filters
from mailer.state import of

from .conftest import Run


def test_preview_writes_a_message_made_with_the_sample(
    run: Run, app: Flask, catcher: Catcher
) -> None:
    result = run("preview", "reset_password")

    assert result.exit_code == 0
    assert result.stdout.startswith("reset_password.eml: ")
    message = email.message_from_bytes(
        Path("reset_password.eml").read_bytes(), policy=email.policy.default
    )
    assert message["From"] == "Acme <hello@acme.example>"
    assert message["Subject"] in result.stdout
    body = message.get_body(("plain",))
    assert body is not None
    assert "https://app.example.com/reset/eyJ1c2VyIjo0Mn0" in body.get_content()
    assert of(app).ledger.list(Filters(), 1) == []
    assert catcher.messages() == []


def test_the_suffix_of_the_output_chooses_the_format(run: Run) -> None:
    run("preview", "welcome", "--output", "page.html")
    run("preview", "welcome", "--output", "mail.txt")

    assert Path("page.html").read_text().lstrip().lower().startswith("<!doctype html>")
    assert "<" not in Path("mail.txt").read_text()


def test_preview_shows_the_values_and_the_language_that_are_asked_for(run: Run) -> None:
    result = run(
        "preview", "confirm_email", "--locale", "de", "--set", "expires_in=7 Wochen",
        "--context", '{"confirm_url": "https://b.example/2"}', "--format", "text", "-o", "-",
    )  # fmt: skip

    assert "Der Link gilt 7 Wochen lang." in result.stdout
    assert "https://b.example/2" in result.stdout
    assert result.stdout.endswith("\n")


def test_a_locale_is_in_the_name_of_the_file(run: Run) -> None:
    run("preview", "confirm_email", "--locale", "de", "--format", "html")

    assert 'lang="de"' in Path("confirm_email.de.html").read_text()


def test_an_unknown_template_is_an_error_in_one_line(run: Run) -> None:
    result = run("preview", "welcom")

    assert result.exit_code == 1
    assert result.stderr == (
        "mailer: no email template is called 'welcom'; did you mean 'welcome'?\n"
    )


def test_a_file_that_cannot_be_written_is_an_error_in_one_line(run: Run) -> None:
    result = run("preview", "welcome", "--output", "nowhere/welcome.eml")

    assert result.exit_code == 1
    assert result.stderr.startswith("mailer: ")
    assert "nowhere/welcome.eml" in result.stderr
    assert "No such file or directory" in result.stderr
    assert result.stderr.count("\n") == 1
