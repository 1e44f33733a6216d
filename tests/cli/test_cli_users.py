"""``mailer users``"""

from __future__ import annotations

import json

from flask import Flask

from mailer import members
from mailer.cli import group
from mailer.state import of

from .conftest import OnTerminal, Run

PASSWORD = "correct horse battery staple"


def test_somebody_is_added_listed_changed_and_removed(app: Flask, run: Run) -> None:
    assert run("users", "list").stdout == (
        "nobody can sign in: mailer users add NAME --role admin\n"
    )
    made = run("users", "add", "Ann", "--role", "operator", "--generate")
    password = made.stdout.strip()
    assert made.stderr == "added ann as operator\n"
    database = of(app).database
    (listed,) = json.loads(run("users", "list", "--json").stdout)
    assert (listed["name"], listed["role"], listed["seen_at"]) == ("ann", "operator", None)
    assert members.sign_in(database, "ann", password) is not None
    assert "ann   operator" in run("users", "list").stdout

    assert run("users", "role", "ann", "admin").stdout == "ann is admin now\n"
    other = run("users", "password", "ann", "--generate").stdout.strip()
    assert members.sign_in(database, "ann", password) is None
    assert members.sign_in(database, "ANN", other) is not None
    assert run("users", "remove", "ann").stdout == "removed ann\n"
    assert members.sign_in(database, "ann", other) is None


def test_a_password_is_read_from_standard_input(app: Flask) -> None:
    result = app.test_cli_runner().invoke(group, ["users", "add", "ann"], input=f"{PASSWORD}\n")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert members.sign_in(of(app).database, "ann", PASSWORD) is not None


def test_on_a_terminal_a_password_is_asked_for_twice_and_not_shown(
    app: Flask, on_terminal: OnTerminal
) -> None:
    code, said = on_terminal("users", "add", "ann", answers=(PASSWORD, PASSWORD))
    assert code == 0, said
    assert "Password: " in said
    assert PASSWORD not in said
    assert members.sign_in(of(app).database, "ann", PASSWORD) is not None


def test_what_is_wrong_is_said(run: Run) -> None:
    for words, error in (
        (("add", "", "--generate"), "name: expected 1 to 100 of a-z 0-9 . _ @ + -, got ''"),
        (("role", "ann", "admin"), "there is no member 'ann'"),
        (("remove", "ann"), "there is no member 'ann'"),
        (("password", "ann", "--generate"), "there is no member 'ann'"),
        (("role", "ann", "king"), "'king' is not one of"),
    ):
        result = run("users", *words)
        assert result.exit_code in {1, 2}
        assert error in result.stderr
    run("users", "add", "ann", "--generate")
    again = run("users", "add", "ann", "--generate")
    assert "there is a member 'ann' already" in again.stderr


def test_a_short_password_is_refused(app: Flask) -> None:
    result = app.test_cli_runner().invoke(group, ["users", "add", "ann"], input="short\n")
    assert result.exit_code == 2
    assert "password: use at least 12 characters" in result.stderr
