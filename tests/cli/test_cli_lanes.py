"""``mailer pause`` and ``resume``"""

from __future__ import annotations

import json

from flask import Flask

from mailer.cli.steering import actor
from mailer.dev.catcher import Catcher
from mailer.state import of

from .conftest import Run, change

HELLO = ("send", "--subject", "Hello", "--text", "Hello.", "--to", "ann@example.com")


def test_a_paused_lane_keeps_its_mail_until_it_is_resumed(run: Run, catcher: Catcher) -> None:
    assert run("pause", "default").stdout == "paused lane default\n"
    run(*HELLO)
    run(*HELLO, "--lane", "critical")
    catcher.wait_for(1)
    assert json.loads(run("status", "--json").stdout)["lanes"]["default"]["due"] == 1

    assert run("resume", "default").stdout == "resumed lane default\n"
    catcher.wait_for(2)


def test_doing_it_twice_says_that_it_was_so(run: Run) -> None:
    assert run("resume", "bulk").stdout == "lane bulk was not paused\n"
    run("pause", "bulk")
    again = run("pause", "bulk")
    assert (again.exit_code, again.stdout) == (0, "lane bulk was paused already\n")
    assert json.loads(run("pause", "bulk", "--json").stdout) == {
        "lane": "bulk", "paused": True, "changed": False,
    }  # fmt: skip


def test_a_lane_that_is_not_there_is_refused_with_those_that_are(run: Run) -> None:
    result = run("pause", "newsletters")
    assert result.exit_code == 2
    assert "'critical', 'default', 'bulk'" in result.stderr


def test_status_says_who_paused_and_is_well_though_mail_waits(run: Run, app: Flask) -> None:
    run("pause", "default")
    run(*HELLO)
    with of(app).database.begin() as connection:
        connection.exec_driver_sql("UPDATE mailer_deliveries SET due_at = due_at - 600")

    result = run("status")

    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == (
        f"lane default: paused by {actor()} 0 s ago; `resume default` lets it go on"
    )
    document = json.loads(run("status", "--json").stdout)
    assert document["lanes"]["default"]["paused"]["actor"] == actor()
    assert document["late_lanes"] == []
    run("resume", "default")
    change(app, status="queued")
    assert json.loads(run("status", "--json").stdout)["lanes"]["default"]["paused"] is None
