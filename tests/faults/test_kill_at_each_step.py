"""kill -9 at each step of an email's way, for both policies."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ..worker import wait_until
from .stand import SHORT, Stand, killed_at
from .verdict import Fault, Verdict, judge


class Expected(NamedTuple):
    """What the oracle and the ledger say at the end about the email of a step."""

    copies: int
    status: str | None
    """None: there is no such delivery."""


ONCE = Expected(1, "sent")
TWICE = Expected(2, "sent")
NEVER_ACCEPTED = Expected(0, None)
NOT_SENT_BUT_HELD = Expected(0, "unknown")
SENT_BUT_HELD = Expected(1, "unknown")

STEPS: dict[str, tuple[Expected, Expected]] = {
    # step: what is expected with `resend` and with `hold`
    "commit_before": (NEVER_ACCEPTED, NEVER_ACCEPTED),
    "commit_after": (ONCE, ONCE),
    "ring_within": (ONCE, ONCE),  # the bell rings, but no task comes
    "ring_after": (ONCE, ONCE),
    "claim_before": (ONCE, ONCE),
    "claim_within": (ONCE, ONCE),
    "claim_after": (ONCE, ONCE),
    "compose_before": (ONCE, ONCE),
    "compose_after": (ONCE, ONCE),
    "mark_before": (ONCE, ONCE),  # with `resend` there is no mark, so nobody dies
    "mark_after": (ONCE, NOT_SENT_BUT_HELD),
    "body": (ONCE, NOT_SENT_BUT_HELD),  # half of the message has left, its dot has not
    "dot": (TWICE, SENT_BUT_HELD),  # accepted, no reply yet
    "heard_250": (TWICE, SENT_BUT_HELD),
    "settle_within": (TWICE, SENT_BUT_HELD),
    "settle_after": (ONCE, ONCE),
}
POLICIES = ("resend", "hold")
AMBIGUOUS = ("dot", "heard_250", "settle_within")
# A kill around the claim leaves the lane's bell ringing for up to ten
# seconds. Apart in their lanes, they wait for that at the same time.
LANES = {
    "ring_after": "bulk",
    "claim_before": "critical",
    "claim_within": "default",
    "claim_after": "bulk",
}


def test_a_kill_at_any_step_loses_nothing_and_doubles_only_after_the_dot(
    setup: dict[str, Any], tmp_path: Path, publish: Callable[..., None], long: bool
) -> None:
    # Each dies alone: what becomes of it then says something about it.
    settings = {**setup, **SHORT, "MAILER_BATCH": 1}
    kind = setup["MAILER_DATABASE_URL"].partition(":")[0]
    app = "tests.faults.deadly_celery"
    # Celery replaces dead children every five seconds only: several can die in the meantime.
    with Stand(settings, tmp_path / "stand", app=app, concurrency=6) as stand:
        for number in range(10 if long else 1):
            _kill_at_every_step(stand, number)
        for step, policy in itertools.product(STEPS, POLICIES):
            verdict = _check(stand, step, policy)
            publish("kill -9 at a step", f"{step}, {policy}", kind, verdict)


def _kill_at_every_step(stand: Stand, number: int) -> None:
    cases, due = [], set()
    for step, policy in itertools.product(STEPS, POLICIES):
        name = f"{step}-{policy}{number}"
        cases.append(f"{name}={policy}={LANES.get(step, 'default')}")
        if not step.startswith("mark") or policy == "hold":
            due.add(f"{name}@example.com")
    with stand.client("steps", *cases):
        pass
    wait_until(
        lambda: due <= set(killed_at(stand.folder)),
        90,
        lambda: (due - set(killed_at(stand.folder)), stand.words()),
    )
    stand.wait_until_over(seconds=60)


def _check(stand: Stand, step: str, policy: str) -> Verdict:
    name = f"{step}-{policy}"
    expected = STEPS[step][POLICIES.index(policy)]
    killed = {one: at for one, at in killed_at(stand.folder).items() if one.startswith(name)}
    ambiguous = [Fault(at, one) for one, at in killed.items() if step in AMBIGUOUS]
    verdict = judge(stand, ambiguous, name)
    assert not verdict.lost
    assert not verdict.unexplained
    rows = stand.deliveries(name)
    assert {row.status for row in rows} == {expected.status} - {None}, name
    copies = Counter(one for _, _, one in stand.oracle.accepted() if one.startswith(name))
    assert set(copies.values()) == {expected.copies} - {0}, name
    assert len(copies) in {0, len(rows)}
    # Nobody was told that a dispatch was accepted which died before it could return.
    assert bool(stand.told(name)) is not step.startswith(("commit", "ring"))
    changed = {row.recipient: row.updated_at.timestamp() for row in rows}
    verdict.recovery = [changed[one] - at for one, at in killed.items() if changed.get(one, 0) > at]
    return verdict
