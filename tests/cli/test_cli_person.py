"""``mailer export`` and ``mailer purge``"""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa
from flask import Flask

from mailer import users
from mailer.dev.catcher import Catcher
from mailer.ledger import Filters
from mailer.models import User
from mailer.state import of

from .conftest import OnTerminal, Run

HELLO = ("send", "--subject", "Hello", "--text", "canary")
ANN = ("--address", "Ann@example.com")


@pytest.fixture
def account(app: Flask) -> None:
    with of(app).database.session() as session:
        users.sign_up(session, "ann@example.com", "correct horse battery")


def recipients(app: Flask) -> list[str]:
    return sorted(row.recipient for row in of(app).ledger.list(Filters(), None))


@pytest.mark.usefixtures("account")
def test_purge_erases_deliveries_and_account_and_says_what_it_was(run: Run, app: Flask) -> None:
    for name in ("ann", "bob"):
        run(*HELLO, "--to", f"{name}@example.com")
    run(*HELLO, "--to", "ann@example.com", "--to", "bob@example.com")

    result = run("purge", *ANN, "--yes")

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "erased 2 deliveries (0 still queued), 1 email, 1 account; "
        "the address in 1 email of others too\n"
    )
    assert recipients(app) == ["bob@example.com", "bob@example.com"]
    with of(app).database.read() as connection:
        assert connection.execute(sa.select(User.id)).all() == []


def test_purge_says_the_same_to_programs(run: Run) -> None:
    run(*HELLO, "--to", "ann@example.com")
    counts = {
        "emails": 1, "deliveries": 1, "shared": 0, "cancelled": 0, "left": 0, "reports": 0,
        "accounts": 0,
    }  # fmt: skip
    kept = {"suppressions": 0}
    dry = run("purge", *ANN, "--dry-run", "--json")
    assert json.loads(dry.stdout) == {"erased": counts, "kept": kept, "dry_run": True}
    done = run("purge", *ANN, "--yes", "--json")
    assert json.loads(done.stdout) == {"erased": counts, "kept": kept, "dry_run": False}


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize("option", ["--dry-run", None])
def test_purge_changes_nothing_when_dry_or_when_nobody_can_be_asked(
    run: Run, app: Flask, option: str | None
) -> None:
    run(*HELLO, "--to", "ann@example.com")

    result = run("purge", *ANN, *([option] if option else []))

    assert result.stdout.startswith("would erase 1 delivery (0 still queued), 1 email, 1 account;")
    assert (result.exit_code, result.stderr) == (
        (0, "")
        if option
        else (
            2,
            "mailer: to purge needs --yes: nobody is here to be asked "
            "(see 'mailer purge --help')\n",
        )
    )
    assert recipients(app) == ["ann@example.com"]
    with of(app).database.read() as connection:
        assert len(connection.execute(sa.select(User.id)).all()) == 1


@pytest.mark.parametrize(("typed", "left"), [("y\n", 0), ("n\n", 1)])
def test_purge_asks_on_a_terminal(
    run: Run, app: Flask, on_terminal: OnTerminal, typed: str, left: int
) -> None:
    run(*HELLO, "--to", "ann@example.com")
    code, said = on_terminal("purge", *ANN, typed=typed)
    assert "Erase this for good?" in said
    assert (code, len(recipients(app))) == (left, left)


def test_purge_says_and_exits_with_1_when_something_is_being_sent(run: Run, app: Flask) -> None:
    run(*HELLO, "--to", "ann@example.com", "--at", "in 1h")
    with of(app).database.begin() as connection:
        connection.execute(sa.text("UPDATE mailer_deliveries SET status = 'sending'"))

    result = run("purge", *ANN, "--yes")

    assert result.exit_code == 1
    assert result.stderr == "mailer: 1 email being sent just now, not erased: run it again\n"
    assert recipients(app) == ["ann@example.com"]


@pytest.mark.usefixtures("account")
def test_export_prints_everything_but_the_password(run: Run, app: Flask, catcher: Catcher) -> None:
    catcher.script("rcpt", "550 5.1.1 no such user")
    email_id = run(*HELLO, "--to", "ann@example.com").stdout.strip()
    run(*HELLO, "--to", "bob@example.com")
    run("cancel", email_id)

    result = run("export", *ANN)

    document = json.loads(result.stdout)
    assert set(document["user"]) == {"id", "email", "created_at", "confirmed_at"}
    assert document["user"]["email"] == "ann@example.com"
    (email,) = document["emails"]
    assert (email["id"], email["subject"], email["text"]) == (email_id, "Hello", "canary")
    (delivery,) = email["deliveries"]
    assert (delivery["recipient"], delivery["status"]) == ("ann@example.com", "failed")
    assert [attempt["code"] for attempt in delivery["attempts"]] == [550]
    assert "bob" not in result.stdout
    assert "scrypt" not in result.stdout


def test_export_of_an_unknown_address_is_empty(run: Run) -> None:
    assert json.loads(run("export", *ANN).stdout) == {
        "address": "Ann@example.com", "user": None, "suppressions": [], "emails": [],
        "bulk_rows": [], "reports": [],
    }  # fmt: skip


def test_retry_says_why_what_was_erased_is_not_sent_again(
    run: Run, app: Flask, catcher: Catcher
) -> None:
    catcher.script("rcpt", "550 5.1.1 no such user")
    email_id = run(*HELLO, "--to", "ann@example.com").stdout.strip()
    of(app).ledger.prune(keep_bodies_seconds=-60, keep_seconds=60, for_seconds=60)

    result = run("retry", email_id)

    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("1 delivery cannot be sent again: the content was erased on 2")
    said = run("show", email_id).stdout
    assert "content      erased on 2" in said
    assert "Nothing more happens: its content was erased, so it cannot be sent again." in said
