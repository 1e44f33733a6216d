"""Workers killed with SIGKILL again and again, wherever they are."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..worker import wait_until
from .stand import SHORT, Stand
from .verdict import Fault, judge

THINKS_SECONDS = 0.03
"""What the oracle takes for a message: so there is always something in hand to be killed with."""


def test_workers_killed_every_second_lose_nothing_and_double_only_what_they_had_in_hand(
    setup: dict[str, Any], tmp_path: Path, publish: Callable[..., None], long: bool
) -> None:
    number = 10_000 if long else 300
    settings = {**setup, **SHORT, "MAILER_BATCH": 20}
    kills: list[Fault] = []
    choose = random.Random(2026)
    kind = setup["MAILER_DATABASE_URL"].partition(":")[0]
    with Stand(
        settings,
        tmp_path / "stand",
        workers=2,
        delay=THINKS_SECONDS,
        chunking=kind == "postgresql",  # one of each: messages that travel alone, and in groups
    ) as stand:
        with stand.client("load", "user", number, 100):
            wait_until(lambda: len(stand.told("user")) > 20, 30, stand.words)
            while len(kills) < (400 if long else 6):
                time.sleep(choose.uniform(0.3, 1.2))
                ready = [one for one in stand.workers if one.ready()]
                if ready:
                    # What left before the kill the oracle may accept a little after it.
                    at = choose.choice(ready).kill() + 2 * THINKS_SECONDS
                    kills.append(Fault(at))
        stand.wait_until_over(seconds=1200 if long else 90)
        verdict = judge(stand, kills)
        crashes = stand.crashes()
        verdict.recovery = [
            # From the claim that was cut off, which is a little before the kill.
            one.updated_at.timestamp() - one.ended_at.timestamp() + SHORT["MAILER_LEASE_SECONDS"]
            for one in crashes
        ]
    publish("random kills", f"{len(kills)} kills of 2 workers", kind, verdict)
    assert verdict.accepted == number
    assert not verdict.lost
    assert not verdict.failed
    assert not verdict.unexplained
    assert crashes, "no kill met an email in hand"
    assert verdict.doubled <= verdict.in_hand
