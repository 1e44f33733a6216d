"""SMTP servers that offer CHUNKING misbehave in the middle of groups, while real workers send."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from mailer.ledger import Ledger
from mailer.models import Attempt

from .budget import SERVER, TIMEOUTS, check_that_no_worker_is_held
from .conftest import on_one_database
from .misbehaving import happened
from .stand import Stand
from .verdict import Verdict, judge

ANSWERS = ("4xx", "5xx", "421", "stays")
LOSSES = ("drop", "reset", "hang", "garbage")
FAULTS = [
    *(f"{at}_{how}" for at, how in itertools.product(("mail", "rcpt", "dot"), ANSWERS + LOSSES)),
    *("body_drop", "body_hang", "dot_lost", "dot_late", "rcpt_full", "every_tarpit"),
]
POLICIES = ("resend", "hold")
URGENT_WITHIN = 20


@on_one_database("sqlite")
def test_a_server_that_breaks_groups_costs_copies_only_of_what_was_in_doubt(
    setup: dict[str, Any], tmp_path: Path, publish: Callable[..., None], long: bool
) -> None:
    # One may suffer for others, and then for itself.
    settings = {**setup, **TIMEOUTS, "MAILER_MAX_ATTEMPTS": 8, "MAILER_BATCH": 30}
    cases = []
    # Those of policy hold travel alone: apart from the others, so that they part no groups.
    for number, policy in itertools.product(range(10 if long else 1), POLICIES):
        for fault in FAULTS:
            cases.append(f"{fault}-{policy}{number}={policy}=default")
            cases += [f"well-{fault}-{policy}{number}{n}=resend=default" for n in "abc"]
    folder = tmp_path / "stand"
    with Stand(settings, folder, workers=2, server=SERVER, chunking=True) as stand:
        with stand.client("bulk", "first", 400):  # teaches the workers how fast the server is
            pass
        stand.wait_until_over("first", seconds=60)
        ledger = Ledger(stand.database, lease_seconds=8, attempts_allowed=8)
        ledger.pause("default", actor="test")  # so that workers find them all at once
        with stand.client("send", *cases):
            pass
        ledger.resume("default", actor="test")
        with stand.client("send", "urgent-0=resend=critical"):
            pass
        stand.wait_until_over(seconds=600 if long else 60)
        assert len((folder / "chunks").read_text().split()) > len(cases) / 4, "hardly any groups"
        for fault in FAULTS:
            assert happened(folder, f"{fault}-"), f"{fault} did not happen"
        kind = settings["MAILER_DATABASE_URL"].partition(":")[0]
        for name, words in {"": "all", "well-": "healthy, in their midst"}.items():
            verdict = _check(stand, name)
            publish("SMTP, CHUNKING", words, kind, verdict)
        urgent = judge(stand, [], "urgent-")
        (began,) = (one.began_at for one in stand.told("urgent-"))
        (arrived,) = (at for at, _, to in stand.oracle.accepted() if to.startswith("urgent-"))
        assert urgent.once == 1
        assert arrived - began < URGENT_WITHIN
        check_that_no_worker_is_held(stand)


def _check(stand: Stand, name: str) -> Verdict:
    rows = [row for row in stand.deliveries(name) if not row.recipient.startswith("first-")]
    copies = Counter(to for _, _, to in stand.oracle.accepted())
    doubts = _doubts(stand)
    for row in rows:
        to, doubted = row.recipient, doubts[row.id]
        assert copies[to] <= 1 + doubted, f"{to} arrived more often than there were doubts"
        if row.status == "failed":
            assert "_5xx-" in to, f"{to} was given up"
            assert copies[to] <= doubted
        elif "-hold" in to:
            assert (row.status, copies[to]) in {("sent", 1), ("unknown", 0), ("unknown", 1)}
        else:
            assert row.status == "sent", to
            assert copies[to], f"{to} is lost"
    verdict = judge(stand, [], name)
    assert not verdict.lost
    # No misdeed explains them one by one: the doubts that the ledger tells of do.
    verdict.doubled, verdict.unexplained = len(verdict.unexplained), []
    verdict.in_hand = sum(doubts[row.id] for row in rows)
    return verdict


def _doubts(stand: Stand) -> Counter[int]:
    """Return how many attempts of each delivery ended in doubt, by its id."""
    query = sa.select(Attempt.delivery_id).where(Attempt.outcome == "ambiguous")
    with stand.database.read() as connection:
        return Counter(connection.execute(query).scalars())
