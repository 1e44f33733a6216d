"""``mailer suppressions``, and what `retry`, `export` and `purge` say of them."""

from __future__ import annotations

import json

import pytest
from flask import Flask

from mailer.dev.catcher import Catcher
from mailer.state import of

from .conftest import Run

HELLO = ("send", "--subject", "Hello", "--text", "Hello", "--to", "ann@example.com")


def test_an_address_is_added_listed_shown_and_removed(run: Run) -> None:
    added = run("suppressions", "add", "Ann@Example.com", "bob@example.com")
    assert added.stdout.splitlines() == [
        "ann@example.com gets no mail at all",
        "bob@example.com gets no mail at all",
    ]
    header, *rows = run("suppressions", "list").stdout.splitlines()
    assert header.split()[:4] == ["ADDRESS", "GETS", "NO", "ORIGIN"]
    assert sorted(row.split()[0] for row in rows) == ["ann@example.com", "bob@example.com"]
    shown = json.loads(run("suppressions", "show", "ANN@example.com", "--json").stdout)
    (one,) = shown["suppressions"]
    assert (one["origin"], one["category"], one["words"][:7]) == ("manual", "", "by cli:")
    removed = run("suppressions", "remove", "ann@EXAMPLE.com", one["id"])
    assert (removed.exit_code, removed.stdout) == (1, "removed 1 suppression\n")
    again = run("suppressions", "show", "ann@example.com")
    assert (again.exit_code, again.stdout) == (1, "ann@example.com is not suppressed\n")


def test_to_remove_an_address_says_what_it_is_still_suppressed_for(run: Run, app: Flask) -> None:
    run("suppressions", "add", "ann@example.com")
    of(app).ledger.suppress(["ann@example.com"], origin="unsubscribe", category="newsletter")
    removed = run("suppressions", "remove", "ann@example.com")
    assert (removed.exit_code, removed.stdout) == (0, "removed 1 suppression\n")
    assert removed.stderr.startswith("mailer: ann@example.com still gets no newsletter mail: id ")
    options = ("--category", "newsletter")
    assert run("suppressions", "remove", "ann@example.com", *options).exit_code == 0
    assert run("suppressions", "list").stdout == "no suppressions\n"


def test_the_list_is_narrowed(run: Run, app: Flask) -> None:
    run("suppressions", "add", "ann@example.com")
    of(app).ledger.suppress(["bob@example.com"], origin="bounce")

    def listed(*options: str) -> tuple[list[str], bool]:
        document = json.loads(run("suppressions", "list", "--json", *options).stdout)
        return [one["address"] for one in document["suppressions"]], document["more"]

    assert listed("--origin", "bounce", "--since", "1h") == (["bob@example.com"], False)
    assert listed("--since", "2100-01-01") == ([], False)
    assert listed("--category", "news") == ([], False)
    assert listed("--limit", "1") == (["bob@example.com"], True)
    assert run("suppressions", "list", "--limit", "1").stdout.endswith("--limit shows more)\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("add", "nobody"), "expected one address"),
        (("add", "ann@example.com", "--category", "News"), "1 to 64 of a-z"),
        (("remove", "ann@"), "expected one address"),
        (("list", "--origin", "spite"), "'spite' is not one of"),
    ],
)
def test_what_is_wrong_is_named(run: Run, words: tuple[str, ...], told: str) -> None:
    result = run("suppressions", *words)
    assert result.exit_code == 2
    assert told in result.stderr


def test_a_retry_says_whom_it_will_not_reach_and_what_to_do_first(
    run: Run, catcher: Catcher
) -> None:
    catcher.script("rcpt", "550 5.1.1 no such user", times=1)
    email_id = run(*HELLO).stdout.strip()
    remedy = "`mailer suppressions remove ann@example.com`"
    for options in (("--dry-run",), ("--yes", "--json"), ()):
        result = run("retry", email_id, *options)
        assert result.stderr == (
            "mailer: ann@example.com is suppressed, so that nothing is sent there: first "
            f"{remedy}\n"
        )
        if "--json" in options:
            assert json.loads(result.stdout) == {"retried": [], "dry_run": False, "suppressed": 1}
        else:
            assert result.stdout == ("nothing to retry\n" if options else "")
    assert "attempt 2" not in run("show", email_id).stdout
    run("suppressions", "remove", "ann@example.com")
    assert run("retry", email_id).stderr == ""
    assert len(catcher.messages()) == 1


def test_a_retry_of_mail_that_overrides_says_nothing(run: Run, catcher: Catcher) -> None:
    run("suppressions", "add", "ann@example.com")
    catcher.script("rcpt", "550 5.7.1 not wanted here", times=1)
    sent = run("send", "password_changed", "--to", "ann@example.com", "--set", "changed_at=noon",
               "--set", "reset_url=https://app.acme.example/reset")  # fmt: skip
    assert run("retry", sent.stdout.strip()).stderr == ""
    assert len(catcher.messages()) == 1


def test_what_is_known_of_a_person_has_suppressions_and_outlives_a_purge(run: Run) -> None:
    run("suppressions", "add", "ann@example.com", "--category", "newsletter")
    whose = ("--address", "Ann@example.com")
    exported = json.loads(run("export", *whose).stdout)
    assert [one["category"] for one in exported["suppressions"]] == ["newsletter"]
    purged = run("purge", *whose, "--yes")
    assert "kept 1 suppression of the address, so that it is not mailed again" in purged.stdout
    assert run("suppressions", "show", "ann@example.com").exit_code == 0
