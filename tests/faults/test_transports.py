"""Transports under real workers: failover, a rate across workers, resets before a newsletter."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mailer.dev.ports import free_port

from ..worker import wait_until
from .conftest import on_one_database
from .oracle import oracle
from .stand import Stand
from .verdict import Fault, judge

FAILOVER_WITHIN = 5.0
RESET_WITHIN = 2.0


def arrivals(folder: Path, name: str = "") -> list[float]:
    """Return when an oracle accepted what, of recipients whose name begins so."""
    path = folder / "accepted"
    lines = [line.split(" ") for line in path.read_text().splitlines()] if path.exists() else []
    return [float(at) for at, _, recipient in lines if recipient.startswith(name)]


def test_a_dead_server_moves_all_workers_to_the_backup_and_back(
    setup: dict[str, Any], tmp_path: Path, publish: Callable[..., None], long: bool
) -> None:
    first, second, port = tmp_path / "first", tmp_path / "stand", free_port()
    seconds = 30 if long else 12
    with ExitStack() as ends:
        primary = ends.enter_context(ExitStack())
        preferred = primary.enter_context(oracle(first, port=port))
        # The stand's own oracle is the backup: its port is known once it runs.
        backup = free_port()
        transports = f"primary=smtp://127.0.0.1:{port},backup=smtp://127.0.0.1:{backup}"
        settings = {**setup, "MAILER_TRANSPORTS": transports}
        stand = ends.enter_context(Stand(settings, second, workers=3, port=backup))
        with stand.client("load", "x", 40 * seconds, 40):
            wait_until(lambda: len(arrivals(first)) > 80, 30, stand.words)
            assert arrivals(second) == []
            primary.close()
            killed_at = time.time()
            wait_until(lambda: len(arrivals(second)) > 80, 30, stand.words)
            ends.enter_context(oracle(first, port=port))
            back_at = time.time()
            wait_until(lambda: arrivals(first)[-1] > back_at, 45, stand.words)
            returned_after = arrivals(first)[-1] - back_at
        stand.wait_until_over(seconds=60)
        verdict = judge(stand, [Fault(killed_at)], others=[preferred])
        verdict.recovery = [arrivals(second)[0] - killed_at, returned_after]
        kind = setup["MAILER_DATABASE_URL"].partition(":")[0]
        publish("transports", "the preferred server killed and restarted", kind, verdict)
        assert not verdict.lost
        assert not verdict.failed
        assert arrivals(second)[0] - killed_at < FAILOVER_WITHIN
        # Once one worker has met the outage, none loses time on it again.
        gaps = [later - sooner for sooner, later in itertools.pairwise(arrivals(second))]
        assert max(gaps) < FAILOVER_WITHIN


@on_one_database("sqlite")
@pytest.mark.parametrize("limit", ["rate", "domain_rate"])
def test_a_rate_holds_across_workers(
    setup: dict[str, Any], tmp_path: Path, long: bool, limit: str
) -> None:
    rate = 10
    workers, seconds = (8, 60) if long else (4, 20)
    port = free_port()
    settings = {**setup, "MAILER_TRANSPORTS": f"only=smtp://127.0.0.1:{port}?{limit}={rate}"}
    with Stand(settings, tmp_path / "stand", workers=workers, port=port) as stand:
        with stand.client("bulk", "x", rate * seconds * 2):
            pass
        wait_until(lambda: arrivals(stand.folder), 30, stand.words)
        # Whoever starts with a full bucket is not what is measured.
        began = arrivals(stand.folder)[0] + 2
        wait_until(lambda: arrivals(stand.folder)[-1] > began + seconds, seconds + 30, stand.words)
        measured = [at for at in arrivals(stand.folder) if began <= at < began + seconds]
        per_second = len(measured) / seconds
        print(f"{workers} workers, {limit}={rate}: {per_second:.2f} per second over {seconds} s")  # noqa: T201
        assert per_second == pytest.approx(rate, rel=0.1)
        busiest = max(sum(at <= other < at + 1 for other in measured) for at in measured)
        assert busiest <= 2 * rate + 2
        assert {row.attempts for row in stand.deliveries() if row.status == "queued"} <= {0}
        assert not any("Connection to broker lost" in one.output for one in stand.workers)


@on_one_database("postgresql")
@pytest.mark.parametrize("limits", ["", "?rate=50"])
def test_resets_do_not_wait_for_a_newsletter(
    setup: dict[str, Any], tmp_path: Path, long: bool, limits: str
) -> None:
    number = 50_000 if long else 30_000
    port = free_port()
    settings = {**setup, "MAILER_TRANSPORTS": f"only=smtp://127.0.0.1:{port}{limits}"}
    with Stand(settings, tmp_path / "stand", workers=2, port=port) as stand:
        with stand.client("bulk", "news", number):
            pass
        wait_until(lambda: len(arrivals(stand.folder, "news")) > 50, 30, stand.words)
        with stand.client("load", "reset", 20, 1000, "lane=critical"):
            pass
        still_waiting = number - len(arrivals(stand.folder, "news"))
        wait_until(lambda: len(arrivals(stand.folder, "reset")) == 20, 30, stand.words)
        began = {one.recipient: one.began_at for one in stand.told("reset")}
        took = [
            at - began[recipient]
            for at, _, recipient in stand.oracle.accepted()
            if recipient in began
        ]
        print(f"{number} bulk{limits}, {still_waiting} waiting: slowest reset {max(took):.2f} s")  # noqa: T201
        assert still_waiting > number / 10
        assert len(took) == 20
        assert max(took) < RESET_WITHIN
