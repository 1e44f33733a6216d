"""A ledger with a month of mail and of trouble: what the console shows at its worst.

More and more emails up to now, one in fifteen of which the person on call has to do with: tens of
thousands failed, each with words of its own, or wait for another attempt.
"""

from __future__ import annotations

import time

import sqlalchemy as sa

from mailer.db import Database
from mailer.ledger import Ledger
from mailer.values import database_url

_SECONDS = 30 * 86_400
_TALLIED_SECONDS = 900
"""How long counting what happened may take."""

_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) "
# The age falls with the square: of a million, some fifteen thousand are of the last ten minutes.
_AT = f"(:at - {_SECONDS}.0 * (:number - i) / :number * (:number - i) / :number)"
_LANE = "CASE WHEN i % 10 = 0 THEN 'critical' WHEN i % 10 < 4 THEN 'bulk' ELSE 'default' END"
_STATUS = """CASE WHEN i % 33 = 0 THEN 'failed' WHEN i % 50 = 1 THEN 'queued'
    WHEN i % 500 = 7 THEN 'unknown' WHEN i % 1000 = 8 THEN 'expired'
    WHEN i % 1000 = 9 THEN 'cancelled' WHEN i % 1000 = 10 THEN 'suppressed' ELSE 'sent' END"""
_EMAILS = f"""
INSERT INTO mailer_emails (id, created_at, lane, template, addresses, headers, tags,
    has_attachments, on_unknown)
{_NUMBERS.format(":number")} SELECT <id>, {_AT}, {_LANE}, 'template' || (i % 20),
    '{{"from":[["","shop@example.com"]],"to":[["","person@example.com"]],"cc":[],"reply_to":[]}}',
    '{{}}', '{{"kind":"' || (i % 7) || '"}}', false, 'resend' FROM n"""
_DELIVERIES = f"""
INSERT INTO mailer_deliveries (id, email_id, recipient, lane, status, due_at, attempts,
    attempts_allowed, crashes, ambiguous, stage, code, enhanced, reason, updated_at, reported)
{_NUMBERS.format(":number")} SELECT i, <id>, 'person' || (i % 400000) || '@example.com', {_LANE},
    {_STATUS}, CASE WHEN i % 50 = 1 THEN :at + i % 40000 ELSE {_AT} END, 1, 12, 0, 0,
    CASE WHEN i % 33 = 0 OR i % 50 = 1 THEN 'rcpt' ELSE 'dot' END,
    CASE WHEN i % 33 = 0 THEN 550 WHEN i % 50 = 1 THEN 451 ELSE 250 END, '5.7.1',
    CASE WHEN i % 33 = 0 THEN 'person' || i || '@example.com is blocked, see id a' || i || 'b'
        WHEN i % 50 = 1 THEN 'greylisted for ' || i || ' s' WHEN i % 500 = 7 THEN 'lost' END,
    {_AT}, CASE WHEN i % 200 = 3 THEN 'bounced' WHEN i % 20 = 4 THEN 'delivered' END FROM n"""
_ATTEMPTS = """
INSERT INTO mailer_attempts (delivery_id, number, ended_at, outcome, status, transport, stage, code)
SELECT id, 1, updated_at, CASE status WHEN 'sent' THEN 'sent' WHEN 'queued' THEN 'deferred'
    ELSE 'refused' END, status, 'default', stage, code FROM mailer_deliveries ORDER BY id"""
_SUPPRESSIONS = f"""
INSERT INTO mailer_suppressions (id, address, category, origin, words, created_at)
{_NUMBERS.format(":number / 10")} SELECT <id>, 'gone' || i || '@example.com', '',
    CASE i % 4 WHEN 0 THEN 'complaint' WHEN 1 THEN 'manual' ELSE 'bounce' END, 'no such user',
    {_AT} FROM n"""
_WEBHOOK = """
INSERT INTO mailer_webhooks (id, url, events, secret, created_at, failures)
VALUES ('00000000-0000-7000-8000-000000000001', 'https://shop.example/hook', '["email.sent"]',
    'whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0', :at, 0)"""
_EVENTS = """
INSERT INTO mailer_events (id, webhook_id, type, at, email_id, delivery_id, details, status,
    attempts, due_at, tried_until)
SELECT 'msg_' || replace(email_id, '-', ''), '00000000-0000-7000-8000-000000000001', 'email.sent',
    updated_at, email_id, id, '{}', CASE id % 40 WHEN 0 THEN 'failed' WHEN 5 THEN 'pending'
    ELSE 'delivered' END, 1, :at + 3600, :at + 7200 FROM mailer_deliveries WHERE id % 5 = 0"""
_ACTS = f"""
INSERT INTO mailer_acts (at, actor, action, about, number)
{_NUMBERS.format(":number / 10")} SELECT {_AT}, 'member ada', 'retry', 'state failed', i FROM n"""
_JOBS = f"""
INSERT INTO mailer_jobs (id, kind, details, actor, status, cursor, done, changed, total,
    created_at, started_at, ended_at)
{_NUMBERS.format(":number / 100")} SELECT <id>, 'deliveries', '{{"verb":"retry"}}',
    'member ada', 'done', 0, 100, 90, 100, {_AT}, {_AT}, {_AT} FROM n"""
_GO_ON = "SELECT setval(pg_get_serial_sequence('mailer_deliveries', 'id'), :number)"

# A UUIDv7 of the instant: ids sort, and are looked for, by their age.
_ID = "substr({ms}, 1, 8) || '-' || substr({ms}, 9, 4) || '-7000-8000-' || {number}"
_HEXADECIMAL = {
    "sqlite": "printf('%012x', {})",
    "postgresql": "lpad(to_hex({}), 12, '0')",
}


def fill(url: str, number: int) -> None:
    """Make a ledger with so many emails, and beside them what grows with them; count it all as the
    scheduler's sweeps have done by then."""
    database = Database(database_url(url))
    database.upgrade()
    name = database.engine.dialect.name
    hexadecimal = _HEXADECIMAL[name]
    milliseconds = hexadecimal.format(f"CAST({_AT} * 1000 AS BIGINT)")
    values = {"at": time.time(), "number": number}
    fill = (_EMAILS, _DELIVERIES, _ATTEMPTS, _SUPPRESSIONS, _WEBHOOK, _EVENTS, _ACTS, _JOBS)
    id = _ID.format(ms=milliseconds, number=hexadecimal.format("i"))
    with database.begin() as connection:
        if name == "postgresql":
            connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        for statement in fill:
            connection.execute(sa.text(statement.replace("<id>", id)), values)
        if name == "postgresql":
            connection.execute(sa.text(_GO_ON), values)
    ledger = Ledger(database, lease_seconds=600, attempts_allowed=12)
    ledger.tally(for_seconds=_TALLIED_SECONDS)
    with database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        if name == "postgresql":  # as its autovacuum has after a month
            connection.execute(sa.text("SET statement_timeout = 0"))
            connection.execute(sa.text("VACUUM ANALYZE"))
    database.close()
