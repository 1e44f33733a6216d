"""``mailer list``"""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime, timedelta

import click
import pytest
from flask import Flask

from mailer.cli import parameters
from mailer.dev.catcher import Catcher
from mailer.inbound import told
from mailer.ledger import Filters
from mailer.state import of

from .conftest import OnTerminal, Run, change

HELLO = ("send", "--subject", "Hello", "--text", "Hello.")


@pytest.fixture
def four_deliveries(run: Run, catcher: Catcher) -> None:
    """Ann's was sent, Bob's failed, Cy's was deferred, Di's is for later; oldest first."""
    catcher.script("rcpt", "550 5.1.1 no such user", address="bob@*")
    catcher.script("rcpt", "451 4.7.1 greylisted", address="cy@*")
    run("send", "welcome", "--to", "ann@example.com", "--set", "start_url=https://a.example")
    run(*HELLO, "--to", "bob@example.com")
    run(*HELLO, "--to", "cy@example.com", "--lane", "bulk")
    run(*HELLO, "--to", "di@example.com", "--at", "2h")


def recipients(run: Run, *options: str) -> list[str]:
    listed = json.loads(run("list", "--json", *options).stdout)["deliveries"]
    return [one["recipient"].partition("@")[0] for one in listed]


@pytest.mark.usefixtures("four_deliveries")
def test_list_is_an_aligned_table_newest_first(run: Run) -> None:
    head, *rows = run("list").stdout.splitlines()

    assert [row.split()[1] for row in rows] == ["scheduled", "deferred", "failed", "sent"]
    column = head.index("RECIPIENT")
    assert [row[column:].split("@")[0] for row in rows] == ["di", "cy", "bob", "ann"]
    assert rows[2].endswith("550 5.1.1 no such user")


@pytest.mark.usefixtures("four_deliveries")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--state failed", ["bob"]),
        ("--state deferred", ["cy"]),
        ("--state scheduled", ["di"]),
        ("--state queued", ["di", "cy"]),
        ("--template welcome", ["ann"]),
        ("--state failed --state deferred", ["cy", "bob"]),
        ("--recipient bob@EXAMPLE.com", ["bob"]),
        ("--recipient BOB@Example.com", ["bob"]),
        ("--code 451", ["cy"]),
        ("--lane bulk", ["cy"]),
        ("--since 1h", ["di", "cy", "bob", "ann"]),
        ("--until 1h", []),
        ("--since 2099-01-01", []),
        ("--until 2099-01-01T12:00:00+02:00 --state sent", ["ann"]),
    ],
)
def test_list_filters(run: Run, options: str, expected: list[str]) -> None:
    assert recipients(run, *options.split()) == expected


@pytest.mark.usefixtures("four_deliveries")
def test_list_says_what_was_reported_of_what_was_sent(run: Run, app: Flask) -> None:
    (row,) = of(app).ledger.list(Filters(recipient="ann@example.com"), 1)
    bounced = told.make("bounced", "ses", "1", message_id=row.email_id, recipients=[row.recipient])
    of(app).ledger.report([bounced], suppress_bounces=False)

    assert run("list", "--state", "sent").stdout.splitlines()[1].split()[1] == "bounced"
    assert recipients(run, "--state", "bounced", "--state", "failed") == ["bob", "ann"]
    assert recipients(run, "--state", "delivered") == []
    (one,) = json.loads(run("list", "--state", "bounced", "--json").stdout)["deliveries"]
    assert (one["state"], one["outcome"]) == ("sent", "bounced")


@pytest.mark.usefixtures("four_deliveries")
def test_list_says_that_there_is_more_than_it_shows(run: Run) -> None:
    assert run("list", "--limit", "3").stdout.splitlines()[-1] == (
        "(the newest 3; --limit shows more)"
    )
    assert json.loads(run("list", "--limit", "3", "--json").stdout)["more"] is True
    assert json.loads(run("list", "--limit", "4", "--json").stdout)["more"] is False
    assert len(run("list", "--limit", "4").stdout.splitlines()) == 5


def test_an_empty_list_is_no_error(run: Run) -> None:
    result = run("list")

    assert (result.exit_code, result.stdout) == (0, "no deliveries\n")
    assert json.loads(run("list", "--json").stdout) == {"deliveries": [], "more": False}


def test_the_keys_of_the_document_are_stable_and_its_times_are_iso(run: Run) -> None:
    run(*HELLO, "--to", "ann@example.com")

    (one,) = json.loads(run("list", "--json").stdout)["deliveries"]

    assert list(one) == [
        "email_id", "delivery_id", "recipient", "template", "subject", "lane", "state",
        "outcome", "attempts", "accepted_at", "due_at", "updated_at", "stage", "code", "enhanced",
        "reason", "is_test",
    ]  # fmt: skip
    accepted = datetime.fromisoformat(one["accepted_at"])
    assert datetime.now(UTC) - accepted < timedelta(minutes=1)


def test_emails_of_one_instant_are_listed_with_enough_of_their_ids(run: Run, app: Flask) -> None:
    from mailer import dispatch_many

    with app.app_context():
        dispatch_many(
            {"to": "ann@example.com", "subject": str(number), "text": "x", "lane": "bulk"}
            for number in range(300)
        )

    rows = run("list", "--limit", "300").stdout.splitlines()[1:]

    assert len({row.split()[0] for row in rows}) == 300


def test_an_address_stored_with_capitals_is_found_as_it_is_stored(run: Run) -> None:
    run(*HELLO, "--to", "Eve.Long@Example.com")

    assert recipients(run, "--recipient", "Eve.Long@example.COM") == ["Eve.Long"]


@pytest.mark.usefixtures("four_deliveries")
def test_an_email_without_a_template_is_listed_by_its_subject(run: Run) -> None:
    head, *rows = run("list").stdout.splitlines()

    column = head.index("WHAT")
    assert [row[column:].split()[0] for row in rows] == ['"Hello"'] * 3 + ["welcome"]


@pytest.mark.usefixtures("four_deliveries")
def test_a_terminal_of_80_columns_is_wide_enough(on_terminal: OnTerminal) -> None:
    code, output = on_terminal("list")

    lines = output.splitlines()
    assert code == 0
    assert max(map(len, lines)) <= 80
    assert [line.split()[1] for line in lines if not line.startswith(" ")] == [
        "STATE", "scheduled", "deferred", "failed", "sent"
    ]  # fmt: skip
    assert [line for line in lines if line.startswith(" ")] == [
        "    451 4.7.1 greylisted", "    550 5.1.1 no such user"
    ]  # fmt: skip
    assert "\x1b" not in output


def test_words_of_a_server_do_not_steer_the_terminal(run: Run, app: Flask) -> None:
    run(*HELLO, "--to", "ann@example.com")
    change(app, status="failed", reason="\x1b[2Jgone\r\nsent")

    output = run("list").stdout

    assert "\ufffd[2Jgone\ufffd\ufffdsent" in output
    assert len(output.splitlines()) == 2


@pytest.mark.parametrize("text", ["yesterday", "in 2h", "-2h", "99999999999d", "2026-13-01", ""])
def test_a_wrong_time_is_a_usage_error_in_one_line(run: Run, text: str) -> None:
    result = run("list", "--since", text)

    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "expected a time such as 2026-11-24T09:30, or 10m, 2h, 3d ago" in result.stderr


def test_a_time_without_a_zone_is_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XYZ-5")  # POSIX: five hours east of Greenwich
    time.tzset()
    try:
        assert parameters.past("2026-11-24T09:30") == datetime(2026, 11, 24, 4, 30, tzinfo=UTC)
        assert parameters.past("2026-11-24T09:30Z") == datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_span_is_so_long_ago_or_from_now() -> None:
    ago, ahead = parameters.past("90m"), parameters.future("90m")

    assert timedelta(hours=2, minutes=59) < ahead - ago < timedelta(hours=3, minutes=1)
    assert parameters.past("90m ago") - ago < timedelta(minutes=1)
    assert parameters.future("in 90m") - ahead < timedelta(minutes=1)
    with pytest.raises(click.BadParameter, match=re.escape("in 10m, 2h, 3d")):
        parameters.future("soon")
