"""Mail for half an hour, through a server that has fits: nothing is lost, and nothing grows."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa

from mailer.models import Delivery

from ..worker import Process, wait_until
from .conftest import on_one_database
from .fitful import REFUSALS, UNHEARD, fit
from .footprint import Footprint, footprint, typical
from .stand import SHORT, Stand
from .verdict import Fault, Verdict, judge

MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
"""How long the long form takes."""
PER_SECOND = 15
HOLD_PER_SECOND = 2
RSS_GROWTH_MB = 10
FDS_GROWTH = 8
"""A worker's first ring opens 5 for good, and it may come late; an SMTP conversation is one."""


class Size(NamedTuple):
    seconds: float
    warm_up: float
    """After so many seconds everything is loaded, and every pool as large as it gets."""
    fault_every: float | None
    """Seconds between two ends of a worker; None: there are none."""


@on_one_database("sqlite")
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_soak_loses_nothing_and_no_worker_grows(
    setup: dict[str, Any], tmp_path: Path, publish: Callable[..., None], long: bool
) -> None:
    kind = setup["MAILER_DATABASE_URL"].partition(":")[0]
    seconds = MINUTES * 60 / 2  # for each of two kinds of database
    size = Size(seconds, seconds / 5, 20) if long else Size(45, 20, None)
    # The last worker meets every fit and stays; the first is ended again and again.
    settings = {**setup, **SHORT}
    with Stand(
        settings, tmp_path / "stand", workers=2, delay=2, server="tests.faults.fitful"
    ) as stand:
        number = int(size.seconds * PER_SECOND)
        held = int(size.seconds * HOLD_PER_SECOND)
        with (
            stand.client("load", "soak", number, PER_SECOND) as client,
            stand.client("load", "hold", held, HOLD_PER_SECOND, "on_unknown=hold"),
        ):
            kills, early, late = _watch(stand, client, size)
        _wait_until_over(stand)
        verdict = judge(stand, [*_ambiguous(stand), *kills])
        held_up = {row.recipient for row in stand.deliveries("hold") if row.status == "unknown"}
        stayed = stand.workers[-1].starts
    before, after = typical(early), typical(late)
    grown = (
        f"RSS {before.rss_mb:.0f} to {after.rss_mb:.0f} MB, "
        f"{before.fds} to {after.fds} file descriptors"
    )
    fault = f"5 % SMTP faults, {len(kills)} kills, {size.seconds / 60:.1f} min; {grown}"
    publish("soak", fault, kind, verdict)
    assert stayed == 1
    _check(verdict, held_up, kills, number + held)
    assert after.rss_mb < before.rss_mb + RSS_GROWTH_MB, grown
    assert after.fds <= before.fds + FDS_GROWTH, grown


def _watch(
    stand: Stand, client: Process, size: Size
) -> tuple[list[Fault], list[Footprint], list[Footprint]]:
    """End a worker now and then while the client runs; return the kills, and footprints of the
    other one soon after the warm-up and at the end."""
    choose = random.Random(2026)
    began = time.monotonic()
    kills: list[Fault] = []
    samples: list[tuple[float, Footprint]] = []
    due = began + (size.fault_every or 1e9)
    while client.exit_code is None:
        samples.append((time.monotonic() - began, footprint(stand.workers[-1].process.pid)))
        if time.monotonic() > due and stand.workers[0].ready():
            if choose.random() < 0.5:
                kills.append(Fault(stand.workers[0].kill()))
            else:
                stand.workers[0].process.signal(signal.SIGTERM)
            due = time.monotonic() + (size.fault_every or 1e9)
        time.sleep(0.5)  # how often we look
    window = (size.seconds - size.warm_up) / 4
    early = [one for at, one in samples if size.warm_up <= at < size.warm_up + window]
    late = [one for at, one in samples if at >= samples[-1][0] - window]
    return kills, early, late


def _ambiguous(stand: Stand) -> list[Fault]:
    lines = (stand.folder / "ambiguous").read_text().splitlines()
    return [Fault(float(at), recipient) for at, recipient in (line.split(" ") for line in lines)]


def _wait_until_over(stand: Stand) -> None:
    # A count, because there may be tens of thousands of rows.
    query = sa.select(sa.func.count()).where(Delivery.status.in_(("queued", "sending")))

    def over() -> bool:
        with stand.database.read() as connection:
            return not connection.execute(query).scalar()

    wait_until(over, 120, stand.words)


def _check(verdict: Verdict, held_up: set[str], kills: list[Fault], number: int) -> None:
    assert verdict.accepted == number
    assert not verdict.lost
    assert not verdict.unexplained
    assert all(fit(recipient) in REFUSALS for recipient in verdict.failed)
    assert verdict.unknown == len(held_up), "only hold may be unknown"
    if not kills:
        assert all(fit(recipient) in UNHEARD for recipient in held_up)
    assert verdict.request_p99 < 1.5
