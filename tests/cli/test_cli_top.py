"""``mailer top``: the overview in the terminal."""

from __future__ import annotations

import json

import pytest
from flask import Flask

from mailer import dispatch
from mailer.dev.catcher import Catcher
from mailer.state import of

from .conftest import OnTerminal, Run


@pytest.fixture(autouse=True)
def mail(app: Flask, catcher: Catcher) -> None:
    """Two that are sent, one that is refused."""
    of(app).ledger.sweep()
    catcher.script("rcpt", "550 5.1.1 No \x1b[31msuch user", address="gone@example.com")
    with app.app_context():
        for name in ("ada", "ben", "gone"):
            dispatch(subject="Hello", text="t", to=f"{name}@example.com")


def test_it_is_printed_once_where_there_is_no_terminal(run: Run) -> None:
    result = run("top")
    assert result.exit_code == 0
    assert result.stdout.startswith("Mail is flowing.\n")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["sent", "2"] in [line[:2] for line in lines]
    assert ["failed", "1"] in [line[:2] for line in lines]
    assert ["default", "0", "-", "0", "0", "0"] in [line[:6] for line in lines]
    assert ["default", "usable", "2", "2", "0", "1", "550", "5.1.1"] in [line[:8] for line in lines]
    assert ["1", "failed", "550", "5.1.1", "No"] in [line[:5] for line in lines]
    assert "\x1b" not in result.stdout
    assert run("top", "--once").stdout.startswith("Mail is flowing.\n")


def test_its_document(run: Run) -> None:
    document = json.loads(run("top", "--json", "--range", "week").stdout)
    assert document["verdict"] == {"level": "good", "words": "Mail is flowing.", "reasons": []}
    assert (sum(document["flow"]["deliveries"]["sent"]), document["flow"]["step_seconds"]) == (
        2,
        3600,
    )
    assert [one["name"] for one in document["lanes"]] == ["critical", "default", "bulk"]
    assert document["workers"] is None


def test_it_lives_in_a_screen_of_its_own_until_q(on_terminal: OnTerminal) -> None:
    code, said = on_terminal("top", typed="q")
    assert code == 0
    assert "\x1b[?1049h" in said
    assert said.endswith("\x1b[?1049l")
    assert "Mail is flowing." in said
    assert "q ends" in said
