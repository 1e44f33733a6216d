"""``mailer why``"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from flask import Flask

from mailer import dispatcher
from mailer.circuit import CLOSED, Circuit
from mailer.cli import group
from mailer.dev.catcher import Catcher
from mailer.quota import UNUSED, Quota
from mailer.state import of
from mailer.traffic import Known, key

from ..conftest import AppFactory
from .conftest import Run, change

HELLO = ("send", "--subject", "Hello", "--text", "Hello.", "--to", "ann@example.com")


def test_each_delivery_is_told_with_its_last_reply(run: Run, catcher: Catcher) -> None:
    catcher.script("rcpt", "451 4.7.1 greylisted", address="bob@*")
    email_id = run(*HELLO, "--to", "bob@example.com").stdout.strip()

    ann, bob = run("why", email_id[:20]).stdout.split("\n\n")

    lines = ann.splitlines()
    assert lines[:2] == ["ann@example.com: sent", "  Nothing more happens: the server has it."]
    assert re.fullmatch(
        r"  last reply +250 2\.0\.0 Caught .* over default at dot, \d+ s ago", lines[2]
    )
    lines = bob.splitlines()
    assert lines[0] == "bob@example.com: deferred"
    assert lines[1].startswith("  It is tried again at ")
    assert lines[1].endswith(f": attempt 2 of 12. `mailer retry {email_id}` tries it now.")
    assert re.fullmatch(
        r"  last reply +451 4\.7\.1 greylisted over default at rcpt, \d+ s ago", lines[2]
    )
    assert re.fullmatch(r"  lane default +not paused", lines[3])
    assert re.fullmatch(r"  transport default +usable as far as is known", lines[4])


def test_what_stands_in_the_way_is_told(make_app: AppFactory, catcher: Catcher) -> None:
    server = f"smtp://127.0.0.1:{catcher.smtp_port}"
    app = make_app(
        MAILER_TRANSPORTS=f"rests={server},gone={server},slow={server}?rate=0.01",
    )
    of(app).celery.conf.task_always_eager = False
    runner = app.test_cli_runner()
    email_id = runner.invoke(group, HELLO).stdout.strip()
    let_be_known(app, "gone", circuit=Circuit(trips=1, stage="connect", words="refused"))
    let_be_known(app, "slow", quota=Quota())
    with app.app_context():
        dispatcher.pause("default", actor="ann")
        dispatcher.pause_transport("rests", actor="ben")

    (one,) = json.loads(runner.invoke(group, ["why", email_id, "--json"]).stdout)["deliveries"]

    assert one["next"] == "It waits, due for 0 s: lane default is paused by ann."
    lane, rests, gone, slow = (f"{each['subject']}: {each['words']}" for each in one["evidence"])
    assert re.fullmatch(r"lane default: paused by ann, \d+ s ago", lane)
    assert re.fullmatch(r"transport rests: paused by ben, \d+ s ago", rests)
    assert re.fullmatch(
        r"transport gone: could not be used at connect: refused; tried again in \d+ s", gone
    )
    assert slow == "transport slow: at its limit of 0.01/s"


@pytest.mark.parametrize("waits_for", ["its next attempt", "its time"])
def test_what_waits_in_a_lane_that_is_paused_says_both(
    run: Run, app: Flask, catcher: Catcher, waits_for: str
) -> None:
    catcher.script("rcpt", "451 4.7.1 greylisted")
    email_id = run(*HELLO, *(["--at", "2h"] if waits_for == "its time" else [])).stdout.strip()
    run("pause", "default")

    sentence = run("why", email_id).stdout.splitlines()[1]

    assert re.search(
        r"Now nothing of its lane can leave: lane default is paused by \S+\.$", sentence
    )
    assert "tries it now" not in sentence


def let_be_known(
    app: Flask, transport: str, *, circuit: Circuit = CLOSED, quota: Quota = UNUSED
) -> None:
    """Share that a transport's circuit is open for a while, or that its quota is used up now."""

    def change(value: Any, now: float) -> tuple[Any, None]:
        until = now + 25 if circuit.trips else 0.0
        known = Known(circuit._replace(open_until=until), quota._replace(refilled_at=now))
        return known.written(), None

    of(app).traffic.shared.update(key(transport), change)


def test_a_retry_is_not_offered_to_whom_it_would_not_send(run: Run, catcher: Catcher) -> None:
    catcher.script("rcpt", "550 5.1.1 no such user")
    email_id = run(*HELLO).stdout.strip()
    sentence = f"`mailer retry {email_id}` sends it, once its recipient is not suppressed any more."
    said = run("why", email_id).stdout
    assert sentence in said
    assert "suppressed for all mail" in said
    assert sentence in run("show", email_id).stdout
    run("suppressions", "remove", "ann@example.com")
    assert "sends it, with fresh attempts." in run("why", email_id).stdout


def test_what_people_did_and_why_it_is_suppressed_is_told(run: Run, app: Flask) -> None:
    run("suppressions", "add", "ann@example.com")
    email_id = run(*HELLO).stdout.strip()

    shown = run("why", email_id).stdout

    assert "ann@example.com: suppressed" in shown
    assert f"`mailer retry {email_id}` sends it, once its recipient is not suppressed" in shown
    assert re.search(r"^  suppressed for all mail +manual.*, \d+ s ago$", shown, re.MULTILINE)
    run("suppressions", "remove", "ann@example.com")
    run("retry", email_id)
    change(app, status="failed")
    assert re.search(r"^  last done +retried by cli:", run("why", email_id).stdout, re.MULTILINE)
