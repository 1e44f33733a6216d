"""``mailer retry`` and ``mailer cancel``"""

from __future__ import annotations

import json
import os
import pwd

import pytest
from flask import Flask

from mailer import dispatch
from mailer.dev.catcher import Catcher
from mailer.ledger import Filters
from mailer.state import of

from .conftest import OnTerminal, Run

HELLO = ("send", "--subject", "Hello", "--text", "Hello.")


@pytest.fixture
def refused(run: Run, catcher: Catcher) -> list[str]:
    """Ids of two emails, to Ann and to Bob, that failed with 550; the server is well by now."""
    rule = catcher.script("rcpt", "550 5.7.1 not wanted here")
    ids = [run(*HELLO, "--to", f"{name}@example.com").stdout.strip() for name in ("ann", "bob")]
    catcher.rules.remove(rule.id)
    return ids


def states(app: Flask) -> list[str]:
    return [row.status for row in reversed(of(app).ledger.list(Filters(), 10))]


@pytest.mark.parametrize("verb", ["retry", "cancel"])
@pytest.mark.usefixtures("refused")
def test_without_an_id_or_a_filter_nothing_is_done(run: Run, app: Flask, verb: str) -> None:
    result = run(verb)

    assert result.exit_code == 2
    assert result.stderr == (
        "mailer: expected an id or a filter, so that it is not about everything "
        f"(see 'mailer {verb} --help')\n"
    )
    assert states(app) == ["failed", "failed"]


def test_retry_by_id_sends_that_email_again(
    run: Run, app: Flask, catcher: Catcher, refused: list[str]
) -> None:
    result = run("retry", refused[0][:18])

    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert (lines[0], lines[-1]) == ("1 delivery to retry:", "retried 1 delivery")
    assert "ann@example.com" in lines[2]
    assert states(app) == ["sent", "failed"]
    assert [message.recipients for message in catcher.wait_for(1)] == [("ann@example.com",)]


def test_retry_leaves_the_name_of_who_did_it(run: Run, app: Flask, refused: list[str]) -> None:
    run("retry", refused[0])

    ((entry,),) = of(app).ledger.show(refused[0]).audit.values()

    assert (entry.action, entry.actor) == ("retried", f"cli:{pwd.getpwuid(os.getuid()).pw_name}")


@pytest.mark.usefixtures("refused")
def test_retry_by_filter_takes_only_what_matches(run: Run, app: Flask) -> None:
    result = run("retry", "--code", "550", "--recipient", "bob@example.com", "--json")

    (one,) = json.loads(result.stdout)["retried"]
    assert one["recipient"] == "bob@example.com"
    assert states(app) == ["failed", "sent"]


def test_ids_and_filters_must_both_match(run: Run, app: Flask, refused: list[str]) -> None:
    result = run("retry", *refused, "--recipient", "bob@example.com", "--yes")

    assert result.stdout.endswith("retried 1 delivery\n")
    assert states(app) == ["failed", "sent"]


@pytest.mark.usefixtures("refused")
def test_a_dry_run_names_all_and_changes_nothing(run: Run, app: Flask) -> None:
    result = run("retry", "--state", "failed", "--dry-run")

    assert result.exit_code == 0
    assert result.stdout.startswith("2 deliveries to retry:\n")
    assert "ann@example.com" in result.stdout
    assert "bob@example.com" in result.stdout
    assert states(app) == ["failed", "failed"]
    document = json.loads(run("retry", "--state", "failed", "--dry-run", "--json").stdout)
    assert [one["recipient"] for one in document["retried"]] == [
        "bob@example.com", "ann@example.com"
    ]  # fmt: skip
    assert document["dry_run"] is True


def test_a_second_retry_says_that_nothing_changed_and_sends_nothing(
    run: Run, catcher: Catcher, refused: list[str]
) -> None:
    run("retry", refused[0])

    result = run("retry", refused[0])

    assert result.exit_code == 0
    assert result.stdout.startswith("nothing changed: nothing that matches is cancelled, ")
    assert "  sent  " in result.stdout  # what it is instead
    assert len(catcher.messages()) == 1


def test_an_unknown_id_stops_the_retry_of_the_others(
    run: Run, app: Flask, refused: list[str]
) -> None:
    result = run("retry", refused[0], "ffffffff")

    assert (result.exit_code, result.stderr) == (1, "mailer: there is no email 'ffffffff'\n")
    assert states(app) == ["failed", "failed"]


def test_more_than_twenty_are_counted_rather_than_shown(
    run: Run, app: Flask, catcher: Catcher
) -> None:
    catcher.script("rcpt", "550 5.7.1 not wanted here")
    recipients = [word for n in range(23) for word in ("--to", f"user{n}@example.com")]
    run(*HELLO, *recipients)

    lines = run("retry", "--state", "failed", "--yes").stdout.splitlines()

    assert lines[0] == "23 deliveries to retry:"
    assert lines[-2:] == ["... and 3 more", "retried 23 deliveries"]


@pytest.mark.parametrize("options", [(), ("--json",)])
@pytest.mark.usefixtures("refused")
def test_more_than_one_needs_a_yes_where_nobody_can_be_asked(
    run: Run, app: Flask, options: tuple[str, ...]
) -> None:
    result = run("retry", "--state", "failed", *options)

    assert result.exit_code == 2
    assert result.stderr == (
        "mailer: to retry 2 deliveries needs --yes: nobody is here to be asked "
        "(see 'mailer retry --help')\n"
    )
    assert states(app) == ["failed", "failed"]


def test_a_retry_of_several_states_takes_each(
    run: Run, app: Flask, catcher: Catcher, refused: list[str]
) -> None:
    run(*HELLO, "--to", "cy@example.com", "--at", "2h")
    run("cancel", "--recipient", "cy@example.com")

    result = run("retry", "--state", "cancelled", "--state", "failed", "--state", "sent", "--yes")

    assert result.stdout.endswith("retried 3 deliveries of 3 emails\n")
    assert states(app) == ["sent"] * 3


@pytest.mark.parametrize(
    "options", ["--code 451 --since 2h", "--state deferred", "--state queued --lane default"]
)
def test_retry_sends_what_was_deferred_now(
    run: Run, app: Flask, catcher: Catcher, options: str
) -> None:
    rule = catcher.script("rcpt", "451 4.7.1 greylisted")
    email_id = run(*HELLO, "--to", "ann@example.com").stdout.strip()
    run(*HELLO, "--to", "bob@example.com", "--at", "2h")
    catcher.rules.remove(rule.id)

    assert run("retry", *options.split(), "--dry-run").stdout.startswith("1 delivery to retry:")
    result = run("retry", *options.split())

    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "retried 1 delivery")
    assert states(app) == ["sent", "queued"]
    ((entry,),) = of(app).ledger.show(email_id).audit.values()
    assert entry.action == "brought forward"


def test_retry_by_a_state_that_it_does_not_know_changes_nothing(run: Run, app: Flask) -> None:
    run(*HELLO, "--to", "ann@example.com", "--at", "2h")

    result = run("retry", "--state", "scheduled")

    assert result.stdout.startswith("nothing changed: nothing that matches is cancelled, deferred")
    assert states(app) == ["queued"]


@pytest.fixture
def unknown(app: Flask, catcher: Catcher) -> str:
    """Id of an email of which nobody knows whether the server has it."""
    rule = catcher.script("dot", "drop", stored=True)
    with app.app_context():
        email = dispatch(to="ann@example.com", subject="x", text="x", on_unknown="hold")
    catcher.rules.remove(rule.id)
    return email.id


@pytest.mark.parametrize("option", ["--sent", "--resend"])
def test_resolve_decides_about_what_is_unknown(
    run: Run, app: Flask, catcher: Catcher, unknown: str, option: str
) -> None:
    assert states(app) == ["unknown"]

    result = run("resolve", unknown, option)

    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "resolved 1 delivery")
    assert states(app) == ["sent"]
    assert len(catcher.messages()) == (1 if option == "--sent" else 2)
    again = run("resolve", unknown, option)
    assert again.stdout.startswith("nothing changed: nothing that matches is unknown\n")


def test_resolve_does_not_guess(run: Run, app: Flask, unknown: str) -> None:
    assert run("resolve", unknown).exit_code == 2
    assert run("resolve", "--sent").exit_code == 2
    assert states(app) == ["unknown"]


def test_cancel_keeps_an_email_for_later_from_being_sent(run: Run, app: Flask) -> None:
    email_id = run(*HELLO, "--to", "ann@example.com", "--at", "2h").stdout.strip()

    result = run("cancel", email_id)

    assert result.stdout.endswith("cancelled 1 delivery\n")
    assert states(app) == ["cancelled"]
    again = run("cancel", email_id)
    assert again.exit_code == 0
    assert again.stdout.startswith("nothing changed: nothing that matches is queued\n")


def test_what_was_sent_cannot_be_cancelled(run: Run, app: Flask) -> None:
    email_id = run(*HELLO, "--to", "ann@example.com").stdout.strip()

    assert run("cancel", email_id).stdout.startswith("nothing changed")
    assert states(app) == ["sent"]


def test_a_person_is_asked_before_more_than_one_is_retried(
    on_terminal: OnTerminal, app: Flask, refused: list[str]
) -> None:
    code, output = on_terminal("retry", "--state", "failed", typed="n\n")
    assert "Retry these 2 deliveries? [y/N]: " in output
    assert code == 1
    assert states(app) == ["failed", "failed"]

    code, output = on_terminal("retry", "--state", "failed", typed="y\n")
    assert "retried 2 deliveries of 2 emails" in output
    assert code == 0
    assert states(app) == ["sent", "sent"]


def test_a_person_is_not_asked_about_one(
    on_terminal: OnTerminal, app: Flask, refused: list[str]
) -> None:
    code, output = on_terminal("retry", refused[0])

    assert (code, "?" in output) == (0, False)
    assert states(app) == ["sent", "failed"]


def test_who_says_yes_is_not_asked(on_terminal: OnTerminal, app: Flask, refused: list[str]) -> None:
    code, output = on_terminal("retry", *refused, "--yes")

    assert (code, "?" in output) == (0, False)
    assert states(app) == ["sent", "sent"]


@pytest.mark.parametrize(("flags", "got"), [([], "neither"), (["--sent", "--resend"], "both")])
def test_what_became_of_it_is_said_one_way(run: Run, flags: list[str], got: str) -> None:
    result = run("resolve", "0193a5b2", *flags)
    assert result.exit_code == 2
    assert f"expected --sent or --resend, got {got}" in result.stderr
