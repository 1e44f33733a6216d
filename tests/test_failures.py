"""Failures by their reason."""

from __future__ import annotations

import time

import pytest
import sqlalchemy as sa
from flask import Flask

from mailer import dispatch
from mailer.dev.catcher import Catcher
from mailer.ledger import failures
from mailer.models import Delivery
from mailer.state import of

from .conftest import AppFactory


@pytest.mark.parametrize(
    ("words", "folded"),
    [
        ("Requested action not taken", "Requested action not taken"),
        ("<ann@example.com>: no such user", "…: no such user"),
        ("4.2.0 Queued as 8F3A21B0C9 for 300 seconds", "4.2.0 Queued as … for … seconds"),
        ("see https://example.com/?id=a1b2 for more", "see … for more"),
        ("a1b2c3d4-5e6f-7a8b-9c0d-1e2f3a4b5c6d - gsmtp", "… - gsmtp"),
        ("  many \n spaces ", "many spaces"),
        ("", ""),
        (None, ""),
    ],
)
def test_what_differs_from_email_to_email_is_folded(words: str | None, folded: str) -> None:
    assert failures.fold(words) == folded


def test_reasons_differ_by_state_code_and_words() -> None:
    given = {
        failures.cause_of(*one)
        for one in (
            ("failed", 550, "5.1.1", "no such user <a@example.com>"),
            ("failed", 550, "5.1.1", "no such user <b@example.com>"),
            ("unknown", 550, "5.1.1", "no such user <b@example.com>"),
            ("failed", 551, "5.1.1", "no such user <b@example.com>"),
            ("failed", 550, None, "no such user <b@example.com>"),
            ("failed", 550, "5.1.1", "blocked \ud800"),
        )
    }
    assert len(given) == 5


def test_failures_are_grouped_the_largest_group_first(
    make_app: AppFactory, catcher: Catcher, database_url: str
) -> None:
    app: Flask = make_app(
        MAIL_PORT=catcher.smtp_port,
        MAILER_DATABASE_URL=database_url,
        MAILER_BACKOFF_BASE_SECONDS=600,
        MAILER_BACKOFF_CAP_SECONDS=600,
    )
    catcher.script("rcpt", "550 5.1.1 No user here", address="gone*@example.com")
    catcher.script("rcpt", "451 4.7.1 Greylisted for 300 s", address="grey@example.com")
    catcher.script("rcpt", "451 4.7.1 Greylisted for 60 s", address="gray@example.com")
    with app.app_context():
        for name in ("gone1", "gone2", "gone3", "grey", "gray", "fine"):
            dispatch(subject="s", text="t", to=f"{name}@example.com")
    found = of(app).ledger.failures()
    assert found.is_all
    assert [(one.state, one.code, one.words, one.number) for one in found.groups] == [
        ("failed", 550, "No user here", 3),
        ("deferred", 451, "Greylisted for … s", 2),
    ]
    largest, smaller = found.groups
    with of(app).database.read() as connection:
        ids, next_id = failures.matching(connection, "failed", largest.cause, limit=2)
        assert next_id == ids[-1]
        rows = failures.shown(connection, ids)
        assert [row.recipient for row in rows] == ["gone3@example.com", "gone2@example.com"]
        ids, next_id = failures.matching(
            connection, "failed", largest.cause, below=next_id, limit=2
        )
        assert next_id is None
        (last,) = failures.shown(connection, ids)
        assert last.recipient == "gone1@example.com"
        deferred, _ = failures.matching(connection, "deferred", smaller.cause, limit=9)
        rows = failures.shown(connection, deferred)
        assert {row.recipient for row in rows} == {"grey@example.com", "gray@example.com"}


def test_a_reason_that_is_cut_off_finds_its_deliveries(
    make_app: AppFactory, catcher: Catcher
) -> None:
    app = make_app(MAIL_PORT=catcher.smtp_port)
    with app.app_context():
        dispatch(subject="s", text="t", to="ada@example.com")
    words = "x" * (failures.WORDS_MAX - 3) + " 10.0.0.1 is blocked"
    with of(app).database.begin() as connection:
        connection.execute(sa.update(Delivery).values(status="failed", code=550, reason=words))
    (group,) = of(app).ledger.failures().groups
    with of(app).database.read() as connection:
        assert len(failures.matching(connection, "failed", group.cause, limit=2).ids) == 1


def test_the_newest_are_looked_at_however_many_there_are(
    make_app: AppFactory, catcher: Catcher
) -> None:
    app = make_app(MAIL_PORT=catcher.smtp_port)
    with app.app_context():
        for n in range(3):
            dispatch(subject="s", text="t", to=f"p{n}@example.com")
    with of(app).database.begin() as connection:
        connection.execute(sa.update(Delivery).values(status="failed", code=550, reason="no"))
    found = of(app).ledger.failures(looked_at=2)
    assert not found.is_all
    assert [one.number for one in found.groups] == [2]


def test_what_is_looked_at_for_one_reason_is_bounded(
    make_app: AppFactory, catcher: Catcher, database_url: str
) -> None:
    app = make_app(MAIL_PORT=catcher.smtp_port, MAILER_DATABASE_URL=database_url)
    with app.app_context():
        for n in range(9):
            dispatch(subject="s", text="t", to=f"p{n}@example.com")
    with of(app).database.begin() as connection:
        connection.execute(sa.update(Delivery).values(status="failed", code=550, reason="no"))
        ids = list(connection.scalars(sa.select(Delivery.id).order_by(Delivery.id.desc())))
        rare = sa.update(Delivery).where(Delivery.id.in_([ids[1], ids[6]]))
        connection.execute(rare.values(reason="never"))
    cause = failures.cause_of("failed", 550, None, "never")
    with of(app).database.read() as connection:

        def look(below: int | None, limit: int) -> failures.Matching:
            return failures.matching(
                connection, "failed", cause, below=below, limit=limit, looked_at=4
            )

        assert look(None, 5) == ([ids[1]], ids[3])
        assert look(ids[3], 5) == ([ids[6]], ids[7])
        assert look(ids[7], 5) == ([], None)
        assert look(None, 1) == ([ids[1]], ids[3])


@pytest.mark.parametrize(
    "part", ["-", "a", "a@", "@a.", "a-", "<", "http://", ".,", "1.", "1a-", "\u00e9_"]
)
def test_words_that_a_server_makes_up_to_be_slow_are_folded_quickly(part: str) -> None:
    began = time.process_time()
    for number in range(20):
        failures.fold(f"{number}{part * 20_000}!")
    assert time.process_time() - began < 1
