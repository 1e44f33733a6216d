"""A server that takes longer for a batch than the lease, and three workers."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .budget import BUDGET, SERVER, TIMEOUTS, check_that_no_worker_is_held
from .conftest import on_one_database
from .misbehaving import happened, talks
from .stand import Stand
from .verdict import Fault, judge

BATCH = 8
LEASE_SECONDS = 7
"""A batch takes the server longer."""


@on_one_database("postgresql")
def test_no_email_is_sent_by_two_workers_at_once_though_its_lease_is_shorter_than_the_batch(
    setup: dict[str, Any], tmp_path: Path, publish: Callable[..., None], long: bool
) -> None:
    kind = setup["MAILER_DATABASE_URL"].partition(":")[0]
    settings = {
        **setup,
        **TIMEOUTS,
        "MAILER_DRAIN_SECONDS": LEASE_SECONDS - 1.5 - BUDGET,
        "MAILER_TASK_SECONDS": LEASE_SECONDS - 1,
        "MAILER_LEASE_SECONDS": LEASE_SECONDS,
        "MAILER_BATCH": BATCH,
    }
    cases = [
        f"dot_{how}-{policy}{number}={policy}=default"
        for number in range(20 if long else 3)
        for policy in ("resend", "hold")
        for how in ("slow_always", "late", "slow_always")
    ]
    cases = [case.replace("-", f"-{place}-", 1) for place, case in enumerate(cases)]
    with Stand(settings, tmp_path / "stand", workers=3, server=SERVER) as stand:
        with stand.client("send", *cases):
            pass
        stand.wait_until_over(seconds=300 if long else 60)
        unheard = [
            Fault(one.ended, f"{one.name}@example.com") for one in happened(stand.folder, "dot_")
        ]
        verdict = judge(stand, unheard)
        publish("SMTP", "slower than the lease, 3 workers", kind, verdict)
        assert not verdict.lost
        assert not verdict.failed
        assert not verdict.unexplained
        _check_one_at_a_time(stand)
        copies = Counter(to for _, _, to in stand.oracle.accepted())
        for row in stand.deliveries():
            assert copies[row.recipient] <= (1 if "-hold" in row.recipient else 2)
        check_that_no_worker_is_held(stand)


def _check_one_at_a_time(stand: Stand) -> None:
    spans = defaultdict(list)
    for talk in talks(stand.folder):
        spans[talk.name].append(talk)
    for several in spans.values():
        for first, second in itertools.pairwise(sorted(several)):
            assert first.ended <= second.began, (first, second)
