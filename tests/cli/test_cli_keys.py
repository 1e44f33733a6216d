"""``mailer keys``"""

from __future__ import annotations

import json
import re
import shlex

import pytest
from flask import Flask

from mailer import keys
from mailer.state import of

from ..worker import CHECKOUT
from .conftest import Run


def test_a_key_is_printed_once_listed_and_revoked(app: Flask, run: Run) -> None:
    made = run("keys", "create", "shop", "--sender", "*@Shop.example", "--template", "order_*")
    token = made.stdout.strip()
    key = keys.find(of(app).database, token)
    assert key is not None
    assert ([*key.scopes], key.senders, key.templates) == (
        ["send"], ("*@shop.example",), ("order_*",),
    )  # fmt: skip

    listed = run("keys", "list").stdout
    assert key.id in listed
    assert token not in listed
    (document,) = json.loads(run("keys", "list", "--json").stdout)
    assert (document["name"], document["senders"]) == ("shop", ["*@shop.example"])
    assert "digest" not in document

    assert run("keys", "revoke", key.id).stdout == f"revoked {key.id}\n"
    assert keys.find(of(app).database, token) is None
    again = run("keys", "revoke", key.id)
    assert (again.exit_code, again.stderr) == (1, f"mailer: there is no key '{key.id}'\n")


def test_a_key_may_have_several_scopes_and_an_end(app: Flask, run: Run) -> None:
    made = run("keys", "create", "ops", "--scope", "read", "--scope", "manage", "--expires", "90d",
               "--json")  # fmt: skip
    key = keys.find(of(app).database, json.loads(made.stdout)["token"])
    assert key is not None
    assert key.scopes == {"read", "manage"}
    assert keys.listing(of(app).database)[0].expires_at is not None


def test_what_a_key_may_do_is_listed(app: Flask, run: Run) -> None:
    made = run("keys", "create", "news", "--recipient", "*@QA.example", "--lane", "bulk",
               "--rate", "100/min", "--test", "--expires", "2040-01-02")  # fmt: skip
    key = keys.find(of(app).database, made.stdout.strip())
    assert key is not None
    assert (key.recipients, key.lane, key.rate, key.is_test) == (
        ("*@qa.example",), "bulk", "100/minute", True,
    )  # fmt: skip
    listed = run("keys", "list").stdout
    assert "to *@qa.example, in bulk, 100/minute, test, until 2040-01-0" in listed
    (document,) = json.loads(run("keys", "list", "--json").stdout)
    assert (document["lane"], document["rate"], document["is_test"]) == ("bulk", "100/minute", True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("create", "a", "--scope", "admin"), "'admin' is not one of 'send', 'read', 'manage'"),
        (("create", ""), "name: expected 1 to 100 printable characters"),
        (("create", "a", "--expires", "soon"), "soon"),
        (("create", "a", "--expires", "2020-01-01"), "expires_at: expected an instant to come"),
        (("create", "a", "--sender", "shop.example"), "senders: expected an address or a pattern"),
        (("create", "a", "--recipient", "*"), "recipients: expected an address or a pattern"),
        (("create", "a", "--template", "a b"), "templates: expected a template's name"),
        (("create", "a", "--lane", "urgent"), "'urgent' is not one of 'critical', 'default',"),
        (("create", "a", "--rate", "100"), "rate: expected 1 to 100000 in a time"),
    ],
)
def test_what_is_wrong_is_named(run: Run, words: tuple[str, ...], told: str) -> None:
    result = run("keys", *words)
    assert result.exit_code == 2
    assert told in result.stderr


def test_the_commands_of_the_documentation_work_as_they_stand_there(run: Run) -> None:
    document = (CHECKOUT / "docs" / "keys.md").read_text()
    lines = re.findall(r"^mailer (keys create .*)$", document, re.MULTILINE)
    assert len(lines) >= 5
    for line in lines:
        made = run(*shlex.split(line))
        assert made.exit_code == 0, made.stderr
