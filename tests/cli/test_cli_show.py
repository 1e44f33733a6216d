"""``mailer show``"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from mailer import dispatch
from mailer.cli import group
from mailer.content import Attachment
from mailer.dev.catcher import Catcher
from mailer.models import Attempt, Email
from mailer.state import of

from ..conftest import AppFactory
from .conftest import Run, change

HELLO = ("send", "--subject", "Hello", "--text", "Hello.", "--to", "ann@example.com")


def next_sentences(run: Run, email_id: str) -> Iterator[str]:
    """The last line of each recipient's block."""
    for block in run("show", email_id).stdout.split("\n\n")[1:]:
        yield block.splitlines()[-1].strip()


def test_show_tells_every_attempt_of_every_recipient(run: Run, catcher: Catcher) -> None:
    catcher.script("rcpt", "550 5.7.1 not wanted here", address="bob@*")
    email_id = run(*HELLO, "--to", "bob@example.com").stdout.strip()
    run("retry", email_id)

    output = run("show", email_id).stdout

    head, ann, bob = output.split("\n\n")
    assert re.search(rf"^email +{email_id}$", head, re.MULTILINE)
    assert re.search(r"^to +ann@example.com, bob@example.com$", head, re.MULTILINE)
    assert ann.startswith("ann@example.com: sent, attempt 1 of ")
    assert re.search(
        r"  [-0-9]{10} [:0-9]{8}  attempt 1, \d+ ms: sent over default at dot: 250 2.0.0 Caught",
        ann,
    )
    assert bob.startswith("bob@example.com: failed, attempt 2 of ")
    events = [re.sub(r", \d+ ms:", ":", line[23:]) for line in bob.splitlines()[1:-1]]
    assert events[0] == "attempt 1: refused over default at rcpt: 550 5.7.1 not wanted here"
    assert re.fullmatch(r"retried by cli:\S+", events[1])
    assert events[2] == "attempt 2: refused over default at rcpt: 550 5.7.1 not wanted here"


def test_show_tells_which_request_it_came_from(run: Run, app: Flask) -> None:
    with app.test_request_context(headers={"X-Request-Id": "shop-7"}):
        email_id = dispatch(to="ann@example.com", subject="Hello", text="Hello").id
    assert re.search(r"^request +shop-7$", run("show", email_id).stdout, re.MULTILINE)
    assert json.loads(run("show", email_id, "--json").stdout)["request_id"] == "shop-7"
    other = run(*HELLO).stdout.strip()
    assert "request" not in run("show", other).stdout


def test_show_tells_who_had_it_accepted(run: Run) -> None:
    email_id = run(*HELLO).stdout.strip()
    found = re.search(r"^accepted by +(cli:\S+)$", run("show", email_id).stdout, re.MULTILINE)
    assert found
    assert json.loads(run("show", email_id, "--json").stdout)["accepted_by"] == found[1]


def test_the_document_has_what_the_page_has(run: Run) -> None:
    email_id = run(*HELLO).stdout.strip()

    document = json.loads(run("show", email_id, "--json").stdout)

    assert document["id"] == email_id
    assert document["from"] == [{"name": "Acme", "email": "hello@acme.example"}]
    (delivery,) = document["deliveries"]
    assert delivery["state"] == "sent"
    assert delivery["next"] == "Nothing more happens: the server has it."
    (attempt,) = delivery["attempts"]
    assert (attempt["number"], attempt["outcome"], attempt["code"]) == (1, "sent", 250)
    assert attempt["seconds"] > 0


def test_the_beginning_of_an_id_is_enough_if_it_is_the_only_one(run: Run) -> None:
    email_id = run(*HELLO).stdout.strip()

    assert email_id in run("show", email_id[:4]).stdout
    assert email_id in run("show", email_id[:20].upper()).stdout

    run(*HELLO)
    result = run("show", email_id[:4])
    assert result.exit_code == 1
    assert (
        result.stderr
        == f"mailer: several emails begin with {email_id[:4]!r}: give more of the id\n"
    )


@pytest.mark.parametrize("wrong", ["ffffffff", "nonsense", "%%%%"])
def test_an_id_of_no_email_is_not_found(run: Run, wrong: str) -> None:
    run(*HELLO)

    result = run("show", wrong)

    assert result.exit_code == 1
    assert result.stderr == f"mailer: there is no email {wrong!r}\n"


@pytest.mark.parametrize("short", ["", "0", "fff", "%"])
def test_too_short_a_beginning_says_how_much_is_needed(run: Run, short: str) -> None:
    run(*HELLO)

    assert run("show", short).stderr == (
        f"mailer: there is no email {short!r}: expected at least 4 characters of an id\n"
    )


def test_values_of_the_context_are_never_shown(run: Run, catcher: Catcher, app: Flask) -> None:
    catcher.script("rcpt", "550 5.7.1 not wanted here")
    email_id = run(
        "send", "welcome", "--to", "ann@example.com", "--set", "start_url=canary"
    ).stdout.strip()
    with of(app).database.read() as connection:
        assert connection.scalar(sa.select(Email.context)) == {"start_url": "canary"}

    page, document = run("show", email_id).stdout, run("show", email_id, "--json").stdout

    assert "start_url (values are not shown)" in page
    assert json.loads(document)["context_names"] == ["start_url"]
    assert "canary" not in page + document


def test_what_is_deferred_says_when_it_is_tried_again(run: Run, catcher: Catcher) -> None:
    catcher.script("rcpt", "451 4.7.1 greylisted")
    email_id = run(*HELLO).stdout.strip()

    (sentence,) = next_sentences(run, email_id)

    assert re.fullmatch(
        r"It is tried again at [-0-9]{10} [:0-9]{8}, in \d+ min: attempt 2 of 12\. "
        rf"`mailer retry {email_id}` tries it now\.",
        sentence,
    )


def test_what_is_for_later_says_when_and_until_when(run: Run) -> None:
    email_id = run(*HELLO, "--at", "2h", "--expires", "1d").stdout.strip()

    (sentence,) = next_sentences(run, email_id)

    when = r"[-0-9]{10} [:0-9]{8}"
    assert re.fullmatch(
        rf"It is sent at {when}, in 2 h, unless it is later than {when} by then\.", sentence
    )


def test_what_is_being_sent_says_when_it_is_given_up(run: Run, app: Flask) -> None:
    with app.app_context():
        app.config["CELERY"]["task_always_eager"] = False
        of(app).celery.conf.task_always_eager = False
        email = dispatch(to="ann@example.com", subject="x", text="x")
    (sentence,) = next_sentences(run, email.id)
    assert re.match(r"The next free worker sends it, due for \d s", sentence)

    assert of(app).ledger.claim("default", 1).deliveries
    (sentence,) = next_sentences(run, email.id)

    when = r"A worker is sending it; .* at .*, in 10 min, it is queued again\."
    assert re.fullmatch(when, sentence)


@pytest.mark.parametrize("state", ["failed", "expired", "cancelled"])
def test_what_is_final_says_how_to_send_it_again(run: Run, app: Flask, state: str) -> None:
    email_id = run(*HELLO).stdout.strip()
    change(app, status=state)

    (sentence,) = next_sentences(run, email_id)

    assert sentence == (
        f"Nothing happens by itself: `mailer retry {email_id}` sends it, with fresh attempts."
    )


def test_what_is_unknown_warns_of_a_second_copy(run: Run, app: Flask, catcher: Catcher) -> None:
    catcher.script("dot", "drop", stored=True)
    with app.app_context():
        email = dispatch(to="ann@example.com", subject="x", text="x", on_unknown="hold")

    (sentence,) = next_sentences(run, email.id)

    assert "the server may have it" in sentence
    assert "perhaps for the second time" in sentence
    assert f"`mailer resolve {email.id} --sent`" in sentence


def attempt(delivery_id: int, at: datetime, **more: Any) -> dict[str, Any]:
    refused = {"outcome": "unavailable", "stage": "connect", "words": "Connection refused"}
    common = {"delivery_id": delivery_id, "number": 1, "status": "queued", "ended_at": at}
    return {**common, **refused, **more}


def test_attempts_that_ended_alike_are_told_as_one(run: Run, app: Flask) -> None:
    email_id = run(*HELLO, "--at", "2h").stdout.strip()
    start = datetime(2026, 11, 24, 6, 41, 30).astimezone()
    (delivery,) = of(app).ledger.show(email_id).deliveries
    rows = [
        attempt(delivery.id, start + timedelta(seconds=30 * step), seconds=30.2)
        for step in range(37)
    ]
    later = start + timedelta(hours=30)
    rows += [
        attempt(delivery.id, later + timedelta(hours=20 * step), seconds=9.4 * step + 0.5)
        for step in range(2)
    ]
    rows.insert(
        37, attempt(delivery.id, start + timedelta(hours=1), seconds=None, words="timed out")
    )
    with of(app).database.begin() as connection:
        connection.execute(sa.insert(Attempt), rows)

    lines = [line[23:] for line in run("show", email_id).stdout.splitlines()]

    ending = "unavailable at connect: Connection refused"
    assert lines[-4:-1] == [
        f"attempt 1, 37 times from 06:41 to 06:59, up to 30 s: {ending}",
        "attempt 1: unavailable at connect: timed out",
        f"attempt 1, 2 times from 11-25 12:41 to 11-26 08:41, up to 9.9 s: {ending}",
    ]
    document = json.loads(run("show", email_id, "--json").stdout)
    assert len(document["deliveries"][0]["attempts"]) == 40


def test_an_email_of_its_own_shows_subject_tags_and_files(run: Run, app: Flask) -> None:
    with app.app_context():
        email = dispatch(
            to="ann@example.com", subject="Your invoice", text="x", tags={"order": "7"},
            attachments=[Attachment(filename="a.pdf", data=b"x" * 12_345),
                         Attachment(filename="b.txt", data="ä".encode() * 5)],
        )  # fmt: skip

    page = run("show", email.id).stdout

    assert re.search(r"^subject +Your invoice$", page, re.MULTILINE)
    assert re.search(r"^tags +order=7$", page, re.MULTILINE)
    assert re.search(r"^attached +a\.pdf \(12 kB\), b\.txt \(10 bytes\)$", page, re.MULTILINE)
    files = json.loads(run("show", email.id, "--json").stdout)["attachments"]
    assert [(one["filename"], one["size"]) for one in files] == [("a.pdf", 12_345), ("b.txt", 10)]


def test_what_was_suppressed_is_not_said_to_be_at_the_server(make_app: AppFactory) -> None:
    app = make_app(MAIL_SUPPRESS_SEND=True)
    with app.app_context():
        email = dispatch(to="ann@example.com", subject="x", text="x")

    page = app.test_cli_runner().invoke(group, ["show", email.id]).stdout

    assert page.splitlines()[-1].strip() == (
        "Nothing more happens: no server has it, because MAIL_SUPPRESS_SEND was set."
    )
