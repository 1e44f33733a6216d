"""What docs/catcher.md says of scripted replies holds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from typing import Any

import pytest
from flask import Flask

from mailer import delivery, dispatch
from mailer.dev.catcher import Catcher
from mailer.dev.catcher.rules import STAGES
from mailer.state import of

from .conftest import AppFactory
from .worker import CHECKOUT

GUIDE = (CHECKOUT / "docs" / "catcher.md").read_text()
ROWS = re.findall(r"^\| [^|]+ \| `(\{.*\})` \| `(\w+)` \|$", GUIDE, re.MULTILINE)
COMMANDS = "".join(re.findall(r"^```sh\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)).splitlines()


@pytest.fixture
def app(make_app: AppFactory, catcher: Catcher) -> Flask:
    return make_app(
        MAIL_PORT=catcher.smtp_port,
        MAIL_TIMEOUT_SECONDS=1,
        MAILER_BACKOFF_BASE_SECONDS=600,
        MAILER_BACKOFF_CAP_SECONDS=600,
        CELERY={"broker_url": "memory://"},
    )


def add(catcher: Catcher, rule: str) -> dict[str, Any]:
    asked = urllib.request.Request(
        f"{catcher.url}/api/script", rule.encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=5) as answer:
        added: dict[str, Any] = json.load(answer)
    return added


@pytest.mark.parametrize(("rule", "outcome"), ROWS)
def test_a_rule_does_to_an_email_what_the_guide_says(
    app: Flask, catcher: Catcher, rule: str, outcome: str
) -> None:
    added = add(catcher, rule)
    to = (added["address"] or "ann@*").replace("*", "example.com")
    with app.app_context():
        email = dispatch(subject="Hello", text="t", to=to, on_unknown="hold")
        delivery.drain(of(app), "default")
    (found,) = of(app).ledger.show(email.id).deliveries
    assert found.outcome == outcome


def test_the_guide_has_a_row_for_each_way_to_misbehave() -> None:
    assert len(ROWS) == 8
    assert all(f"`{stage}`" in GUIDE for stage in STAGES)


def test_the_commands_of_the_guide_work_one_after_the_other(catcher: Catcher) -> None:
    start, *scripting = COMMANDS
    assert start == "python -m mailer.dev.catcher --smtp-port 2525 --http-port 8025"
    said = []
    for command in scripting:
        here = command.replace("http://127.0.0.1:8025", catcher.url)
        done = subprocess.run(
            ["bash", "-euc", here.replace("curl ", "curl --fail --silent --show-error ", 1)],
            capture_output=True, text=True, check=True, timeout=30,
        )  # fmt: skip
        said.append(done.stdout)
    assert [rule["address"] for rule in json.loads(said[2])["rules"]] == ["gone@*", "grey@*"]
    assert len(said) == 5
    assert catcher.rules.all() == []


def test_the_help_of_the_catcher_leads_to_the_guide() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mailer.dev.catcher", "--help"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert "docs/catcher.md" in done.stdout
    assert "/api/script" in done.stdout
