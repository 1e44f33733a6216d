"""A lane that is paused: its mail waits, and everything else goes on."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from mailer.ledger import Ledger
from mailer.models import Switch

from .conftest import let_time_pass
from .test_ledger import accept, draft, statuses


def test_a_paused_lane_is_not_claimed_and_the_others_are(ledger: Ledger) -> None:
    accept(ledger, draft(), draft(lane="bulk"))
    ledger.pause("bulk", actor="cli:ada")
    accept(ledger, draft(lane="bulk"))  # accepted as ever

    assert ledger.claim("bulk", 10).deliveries == []
    assert len(ledger.claim("default", 10).deliveries) == 1
    assert statuses(ledger) == ["sending", "queued", "queued"]

    ledger.resume("bulk", actor="cli:bob")
    assert len(ledger.claim("bulk", 10).deliveries) == 2


def test_a_paused_lane_wakes_nobody_and_interrupts_nobody(ledger: Ledger) -> None:
    (critical,) = accept(ledger, draft(lane="critical"))
    assert ledger.is_due(["critical"])
    ledger.pause("critical", actor="cli:ada")

    assert not ledger.is_due(["critical"])
    assert ledger.due() == ledger.sweep().due == {}

    ledger.resume("critical", actor="cli:ada")
    assert ledger.due() == ledger.sweep().due == {"critical": critical.id}


def test_a_paused_lane_still_expires_and_gives_up_leases(ledger: Ledger) -> None:
    accept(ledger, draft(lane="bulk"))
    ledger.claim("bulk", 1)
    accept(ledger, draft(lane="bulk", expires_in=3600))
    ledger.pause("bulk", actor="cli:ada")
    let_time_pass(ledger.database, "lease_until", 3700)
    let_time_pass(ledger.database, "expires_at", 3700)
    ledger.sweep()
    assert statuses(ledger) == ["queued", "expired"]


def test_only_a_switch_that_changes_something_is_one(ledger: Ledger) -> None:
    said = [
        ledger.resume("bulk", actor="cli:ada"),
        ledger.pause("bulk", actor="cli:ada"),
        ledger.pause("bulk", actor="cli:bob"),
        ledger.resume("bulk", actor="cli:cyd"),
        ledger.resume("bulk", actor="cli:dee"),
    ]
    assert said == [False, True, False, True, False]


def test_who_paused_and_resumed_and_when_is_kept(ledger: Ledger) -> None:
    ledger.pause("bulk", actor="cli:ada")
    assert ledger.counts().paused["bulk"].actor == "cli:ada"
    ledger.resume("bulk", actor="cli:bob")
    ledger.pause("default", actor="cli:cyd")
    assert set(ledger.counts().paused) == {"default"}
    with ledger.database.read() as connection:
        rows = connection.execute(sa.select(Switch.__table__).order_by(Switch.id)).all()
        now = connection.execute(sa.text("SELECT swept_at FROM mailer_sweeps")).scalar_one()
    assert [(row.name, row.paused, row.actor) for row in rows] == [
        ("bulk", True, "cli:ada"),
        ("bulk", False, "cli:bob"),
        ("default", True, "cli:cyd"),
    ]
    assert all(row.at.timestamp() == pytest.approx(now, abs=30) for row in rows)
