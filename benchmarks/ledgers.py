"""Ledgers with a history or a long queue, and what single statements cost on them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from statistics import median

import sqlalchemy as sa

from mailer.db import Database
from mailer.ledger import Ledger
from mailer.values import database_url

from . import work

SETTLED_WITHIN_SECONDS = 30.0

TIMES = 5
"""Calls of which the median is taken."""

_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :number) "
# Twelve digits, so that ids sort as those of the ledger do, by their age.
_ID = "'01900000-0000-7000-8000-' || CAST(100000000000 + i AS TEXT)"
_EMAILS = f"""
INSERT INTO mailer_emails (id, created_at, lane, template, context, addresses, headers, tags,
    has_attachments, on_unknown)
{_NUMBERS} SELECT {_ID}, :at + i * 0.001, 'default', 'order', :context, :addresses, '{{}}', '{{}}',
    false, 'resend' FROM n"""
_DELIVERIES = f"""
INSERT INTO mailer_deliveries (id, email_id, recipient, lane, status, due_at, attempts,
    attempts_allowed, crashes, ambiguous, updated_at)
{_NUMBERS} SELECT i, {_ID}, 'old' || i || '@example.com', 'default', :status, :at + i * 0.001,
    :attempts, 12, 0, 0, :at + i * 0.001 FROM n"""
_ATTEMPTS = f"""
INSERT INTO mailer_attempts (delivery_id, number, ended_at, outcome, status, transport, stage,
    code, words)
{_NUMBERS} SELECT i, 1, :at + i * 0.001, 'sent', 'sent', 'default', 'dot', 250, 'accepted' FROM n"""

_GO_ON = "SELECT setval(pg_get_serial_sequence('mailer_deliveries', 'id'), :number)"


def _filled(url: str, number: int, *, finished: bool) -> None:
    database = Database(database_url(url))
    database.upgrade()
    sender = [["", work.SENDER]]
    addresses = {"from": [sender], "to": [["", "old@example.com"]], "cc": [], "reply_to": []}
    values = {
        "number": number,
        "at": time.time() - 7200,
        "status": "sent" if finished else "queued",
        "attempts": int(finished),
        "context": None if finished else json.dumps(work.context(1)),
        "addresses": json.dumps(addresses),
    }
    with database.begin() as connection:
        if database.url.get_backend_name() == "postgresql":
            connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        for statement in (_EMAILS, _DELIVERIES, *([_ATTEMPTS] if finished else [])):
            connection.execute(sa.text(statement), values)
        if database.url.get_backend_name() == "postgresql":
            connection.execute(sa.text(_GO_ON), values)
    if database.url.get_backend_name() == "postgresql":
        # As its autovacuum has by the time that emails are two hours old.
        alone = database.engine.execution_options(isolation_level="AUTOCOMMIT")
        with alone.connect() as connection:
            connection.execute(sa.text("SET statement_timeout = 0"))
            connection.execute(sa.text("VACUUM ANALYZE"))
    database.close()


def fill_with_finished(url: str, number: int) -> None:
    """Make a ledger in which so many emails were sent two hours ago."""
    _filled(url, number, finished=True)


def fill_with_waiting(url: str, number: int) -> None:
    """Make a ledger in which so many emails are due."""
    _filled(url, number, finished=False)


def wait_until_settled(url: str) -> None:
    """Wait until the ledger knows of every email that it was sent; end if it does not."""
    database = Database(database_url(url))
    unsettled = sa.text("SELECT count(*) FROM mailer_deliveries WHERE status <> 'sent'")
    deadline = time.monotonic() + SETTLED_WITHIN_SECONDS
    try:
        while True:
            with database.read() as connection:
                left = connection.execute(unsettled).scalar_one()
            if not left:
                return
            if time.monotonic() > deadline:
                raise SystemExit(f"the ledger does not know of {left} emails that they were sent")
            time.sleep(0.05)
    finally:
        database.close()


def sweep_ms(url: str) -> float:
    return _median_ms(url, lambda ledger: ledger.sweep())


def claim_ms(url: str, batch: int) -> float:
    """Return the milliseconds of a claim of so many."""

    def claim(ledger: Ledger) -> None:
        if len(ledger.claim("default", batch).deliveries) != batch:
            raise SystemExit(f"fewer than {batch} are due")

    return _median_ms(url, claim)


def _median_ms(url: str, do: Callable[[Ledger], object]) -> float:
    database = Database(database_url(url))
    ledger = Ledger(database, lease_seconds=600, attempts_allowed=12)
    do(ledger)  # connects, and prepares the statements
    seconds = []
    for _ in range(TIMES):
        began = time.perf_counter()
        do(ledger)
        seconds.append(time.perf_counter() - began)
    database.close()
    return median(seconds) * 1000
