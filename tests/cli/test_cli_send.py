"""``mailer send``"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flask import Flask

from mailer.dev.catcher import Catcher
from mailer.ledger import Filters
from mailer.state import of

from .conftest import Run, written

HELLO = ("send", "--subject", "Hello", "--text", "Hello Ann.")


def test_send_prints_the_id_of_an_email_that_arrives(run: Run, catcher: Catcher) -> None:
    result = run(*HELLO, "--to", "ann@example.com")

    (message,) = catcher.wait_for(1)
    assert message.subject == "Hello"
    assert result.exit_code == 0
    assert f"<{result.stdout.strip()}@acme.example>" in message.source


def test_every_option_of_send_reaches_the_email(
    run: Run, app: Flask, catcher: Catcher, tmp_path: Path
) -> None:
    of(app).loaders.pop("confirm_email")  # it would make the link itself
    context = written(tmp_path, "context.json", '{"confirm_url": "https://a.example/1"}')
    note = written(tmp_path, "note.txt", "a note")

    result = run(
        "send", "confirm_email", "--to", "Ann <ann@example.com>", "--to", "bob@example.com",
        "--cc", "cy@example.com", "--bcc", "di@example.com", "--sender", "Eve <eve@acme.example>",
        "--reply-to", "help@acme.example", "--context", f"@{context}", "--set", "expires_in=4 Tage",
        "--attach", note, "--locale", "de", "--subject", "Eigener Betreff", "--lane", "bulk",
    )  # fmt: skip

    assert result.exit_code == 0, result.output
    messages = catcher.wait_for(4)
    assert {one for message in messages for one in message.recipients} == {
        "ann@example.com", "bob@example.com", "cy@example.com", "di@example.com"
    }  # fmt: skip
    message = messages[0]
    assert message.from_ == ("Eve", "eve@acme.example")
    assert message.to == [("Ann", "ann@example.com"), ("", "bob@example.com")]
    assert message.cc == [("", "cy@example.com")]
    assert message.header("Reply-To") == "help@acme.example"
    assert b"di@example.com" not in message.raw
    assert message.subject == "Eigener Betreff"
    assert "https://a.example/1" in message.text
    assert "4 Tage" in message.text
    (file,) = message.attachments
    assert (file.filename, file.content_type, file.data) == ("note.txt", "text/plain", b"a note")
    assert {row.lane for row in of(app).ledger.list(Filters(), 10)} == {"bulk"}


def test_all_problems_are_shown_one_per_line_and_nothing_is_stored(run: Run, app: Flask) -> None:
    result = run("send", "welcome", "--to", "ann", "--cc", "b@@example.com", "--locale", "?")

    assert result.exit_code == 1
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert all(line.startswith("mailer: ") for line in lines)
    assert [line.split()[1] for line in lines] == ["to[0]:", "cc[0]:", "locale:", "context:"]
    assert of(app).ledger.list(Filters(), 10) == []


def test_an_unknown_template_is_named_with_the_nearest(run: Run) -> None:
    result = run("send", "welcom", "--to", "ann@example.com")

    assert result.exit_code == 1
    assert "did you mean 'welcome'?" in result.stderr


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ('{"token": hunter2}', "expected JSON"),
        ("[1]", "expected a JSON object, got list"),
        ("@/nowhere.json", "/nowhere.json: No such file or directory"),
    ],
)
def test_a_wrong_context_is_a_usage_error_that_does_not_repeat_it(
    run: Run, context: str, expected: str
) -> None:
    result = run("send", "welcome", "--to", "ann@example.com", "--context", context)

    assert result.exit_code == 2
    assert expected in result.stderr
    assert "hunter2" not in result.output


def test_a_variable_without_a_value_is_a_usage_error(run: Run) -> None:
    result = run("send", "welcome", "--to", "ann@example.com", "--set", "start_url")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "expected key=value, got 'start_url'" in result.stderr


def test_an_email_for_later_waits_until_then(run: Run, app: Flask, catcher: Catcher) -> None:
    email_id = run(*HELLO, "--to", "ann@example.com", "--at", "2h", "--expires", "1d").stdout

    history = of(app).ledger.show(email_id.strip())
    in_two_hours = datetime.now(UTC) + timedelta(hours=2)
    assert abs(history.deliveries[0].due_at - in_two_hours) < timedelta(minutes=1)
    assert history.email.expires_at - history.deliveries[0].due_at > timedelta(hours=21)
    assert catcher.messages() == []


def test_the_same_key_gives_the_same_email(run: Run, catcher: Catcher) -> None:
    first = run(*HELLO, "--to", "ann@example.com", "--key", "order-7", "--json")
    again = run(*HELLO, "--to", "ann@example.com", "--key", "order-7", "--json")

    assert json.loads(first.stdout) == json.loads(again.stdout)
    assert len(catcher.wait_for(1)) == 1


def test_the_same_key_for_another_email_is_refused(run: Run) -> None:
    run(*HELLO, "--to", "ann@example.com", "--key", "order-7")

    result = run(*HELLO, "--to", "bob@example.com", "--key", "order-7")

    assert result.exit_code == 1
    assert result.stderr.startswith("mailer: idempotency_key: 'order-7' was used before")
