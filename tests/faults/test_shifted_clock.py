"""A worker whose clock is two minutes off, beside one whose clock is right.

The ledger's clock is the database's, so this needs a database that is a server.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from mailer.expressions import now
from mailer.ledger import Ledger
from mailer.models import Attempt, Delivery

from .conftest import COMMON, LONG
from .fitful import REFUSALS, fit
from .shifted import shifted
from .stand import SHORT, Stand
from .verdict import Fault, judge

BACKOFF = 3
LATE = 10
"""Seconds that a busy machine, and a sweep that is lost, may delay what is due."""


@pytest.fixture
def stack(postgresql_url: str, redis_url: str) -> dict[str, Any]:
    return {
        **COMMON,
        **SHORT,
        "MAILER_BACKOFF_BASE_SECONDS": BACKOFF,
        "MAILER_BACKOFF_CAP_SECONDS": BACKOFF,
        "MAILER_DATABASE_URL": postgresql_url,
        "CELERY": {"broker_url": redis_url},
    }


@pytest.mark.parametrize("seconds", [120, -120] if LONG else [120])
def test_a_worker_with_a_wrong_clock_loses_doubles_and_delays_nothing(
    seconds: int,
    stack: dict[str, Any],
    tmp_path: Path,
    publish: Callable[..., None],
    long: bool,
) -> None:
    environs: list[dict[str, str]] = [{}, shifted(seconds)]
    number = 1000 if long else 120
    with Stand(
        stack,
        tmp_path / "stand",
        workers=2,
        delay=2,
        server="tests.faults.fitful",
        environs=environs,
    ) as stand:
        shift = _says_it_is(stand, 1) - _says_it_is(stand, 0)
        assert seconds - 60 < shift < seconds + 60, "the clock is not shifted"
        ledger = Ledger(stand.database, lease_seconds=5, attempts_allowed=1)
        ledger.pause("critical", actor="test")
        with (
            stand.client("load", "late", 10, 100, "lane=critical", "expires_in=2"),
            stand.client("load", "clock-soon", 10, 100, "lane=bulk", "send_in=3"),
            stand.client("load", "clock-valid", number, 30, "expires_in=60") as client,
        ):
            leases = [*_leases(stand)]
            while client.exit_code is None:
                leases += _leases(stand)
        stand.wait_until_over(seconds=60)
        assert {row.status for row in stand.deliveries("late-")} == {"expired"}
        verdict = judge(stand, _ambiguous(stand), "clock-")
        publish("clock", f"one worker {seconds:+d} s", "postgresql", verdict)
        assert not verdict.lost
        assert all(fit(recipient) in REFUSALS for recipient in verdict.failed)
        assert not verdict.unexplained
        assert not stand.crashes(), "a lease was given up too early"
        assert leases
        assert all(-1 < lease <= SHORT["MAILER_LEASE_SECONDS"] for lease in leases)
        assert verdict.request_p99 < 1.5
        for worker in stand.workers:
            assert "status=sent" in worker.output
            assert re.search(r"Task mailer.sweep\S* succeeded", worker.output)
        _check_that_nothing_is_early_or_late(stand)


def _says_it_is(stand: Stand, worker: int) -> float:
    """Return when a worker says that it was ready."""
    line = next(one for one in stand.workers[worker].output.splitlines() if " ready." in one)
    return datetime.strptime(line[1:20], "%Y-%m-%d %H:%M:%S").astimezone().timestamp()


def _leases(stand: Stand) -> list[float]:
    """Return for how long the present claims still hold."""
    time.sleep(0.01)  # how often we look
    left = sa.type_coerce(Delivery.lease_until, sa.Double) - now()
    query = sa.select(left).where(Delivery.status == "sending")
    with stand.database.read() as connection:
        return [float(seconds) for seconds in connection.execute(query).scalars()]


def _ambiguous(stand: Stand) -> list[Fault]:
    path = stand.folder / "ambiguous"
    lines = path.read_text().splitlines() if path.exists() else []
    return [Fault(float(at), recipient) for at, recipient in (line.split(" ") for line in lines)]


def _check_that_nothing_is_early_or_late(stand: Stand) -> None:
    accepted = {recipient: at for at, _, recipient in stand.oracle.accepted()}
    for one in stand.told("clock-soon-"):
        if fit(one.recipient) is None:
            assert 3 <= accepted[one.recipient] - one.began_at < 3 + LATE
    query = sa.select(Delivery.recipient, Attempt.ended_at).join(
        Delivery, Delivery.id == Attempt.delivery_id
    )
    with stand.database.read() as connection:
        deferred = connection.execute(
            query.where(Attempt.outcome == "deferred", Delivery.status == "sent")
        ).all()
    assert deferred
    for recipient, ended_at in deferred:
        waited = accepted[recipient] - ended_at.timestamp()
        assert BACKOFF / 2 <= waited < BACKOFF + LATE, recipient
