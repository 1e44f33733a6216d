"""The ledger's verbs in any order, by workers that live, stall or die, and people who steer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mailer.content import Attachment
from mailer.db import Database
from mailer.errors import IdempotencyConflict
from mailer.ledger import Batch, Claimed, Filters, Ledger
from mailer.models import LANES, OPEN, RETRYABLE, AuditEntry, Email, Status, Switch
from mailer.outcome import Kind, Outcome
from mailer.transitions import transition
from mailer.values import database_url as typed_database_url

from ..conftest import let_time_pass
from ..test_ledger import accept, draft
from .conftest import LONG, examples
from .observed import Observed, check, observe

F = TypeVar("F", bound=Callable[..., None])

LEASE, ATTEMPTS = 60, 5
ADDRESSES = ("ada@example.com", "bob@example.com", "cyd@example.com")
SOON = 5
"""Seconds within which what this test does happens: nearer instants may be either side of now."""

OUTCOMES = [
    *(Outcome(kind, "dot", words="words") for kind in Kind),
    Outcome(Kind.AMBIGUOUS, "dot", words="timed out"),
    Outcome(Kind.DEFERRED, "rcpt", 451, "4.7.1", "greylisted"),
    Outcome(Kind.REFUSED, "rcpt", 552, "5.2.2", "mailbox full"),
]
lanes = st.sampled_from(LANES[1:])
picks = st.integers(0, 5)
results = st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=4)
ages = st.sampled_from([31, 61, 400])


def having(*statuses: Status, least: int = 1) -> Callable[[F], F]:
    """Let a rule run only while so many deliveries are in one of these states."""
    return precondition(
        lambda machine: (
            sum(row.status in statuses for row in machine.seen.deliveries.values()) >= least
        )
    )


with_a_batch = precondition(lambda machine: machine.batches)


class Verbs(RuleBasedStateMachine):
    """Each rule is one verb; what it did is held against what may follow what was before."""

    ledger: Ledger

    def __init__(self) -> None:
        super().__init__()
        with self.ledger.database.begin() as connection:
            for table in (AuditEntry, Switch, Email):
                connection.execute(sa.delete(table))
        self.batches: list[Batch] = []
        """Whatever was claimed, whether it is still being sent or was long given up."""
        self.paused: set[str] = set()
        self.seen = observe(self.ledger.database)

    def look(self, verb: str, *, purged: str = "") -> Observed:
        """Check the step that was made, and return what was before it."""
        before, self.seen = self.seen, observe(self.ledger.database)
        note(f"{verb}: {[(row.id, row.status) for row in self.seen.deliveries.values()]}")
        check(before, self.seen, verb, purged=purged)
        return before

    @rule(
        recipients=st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=3, unique=True),
        lane=lanes,
        policy=st.sampled_from(["resend", "hold"]),
        sender=st.sampled_from(["hello@acme.example", ADDRESSES[0]]),
        starts_in=st.sampled_from([None, None, 45]),
        expires_in=st.sampled_from([None, None, 50, 1000]),
        has_file=st.booleans(),
    )
    def record(
        self,
        *,
        recipients: list[str],
        lane: str,
        policy: str,
        sender: str,
        starts_in: float | None,
        expires_in: float | None,
        has_file: bool,
    ) -> None:
        send_at = starts_in and datetime.now(UTC) + timedelta(seconds=starts_in)
        files = [Attachment(filename="a.txt", data=b"a")] if has_file else []
        addresses = {"from": [["", sender]], "to": [["", one] for one in recipients]}
        made = draft(
            *recipients, lane=lane, on_unknown=policy, text="hello", send_at=send_at,
            expires_in=expires_in, attachments=files,
            addresses={**addresses, "cc": [], "reply_to": []},
        )  # fmt: skip
        (email,) = accept(self.ledger, made)
        self.look("record")
        assert [row.recipient for row in self.seen.of_email(email.id)] == recipients

    @rule(key=st.sampled_from("ab"), content=st.sampled_from("xxy"))
    def record_with_a_key(self, key: str, content: str) -> None:
        found = [row for row in self.seen.emails.values() if row.idempotency_key == key]
        known = found[0] if found else None
        made = draft(ADDRESSES[1], idempotency_key=key, fingerprint=content)
        try:
            (email,) = accept(self.ledger, made)
        except IdempotencyConflict:
            assert known
            assert known.fingerprint != content
        else:
            assert known is None or (known.id, known.fingerprint) == (email.id, content)
        before = self.look("record")
        if known:
            assert self.seen.deliveries == before.deliveries

    @having(Status.QUEUED)
    @rule(lane=lanes, limit=st.integers(1, 4))
    def claim(self, lane: str, limit: int) -> None:
        batch = self.ledger.claim(lane, limit)
        before = self.look("claim")
        taken = [one.delivery_id for one in batch.deliveries]
        assert len(taken) == len(set(taken)) <= limit
        for one in batch.deliveries:
            row = before.deliveries[one.delivery_id]  # was queued: `look` has checked it
            assert row.lane == lane
            assert row.due_at.timestamp() <= before.instant + SOON
            assert row.expires_at is None or row.expires_at.timestamp() > before.instant
            assert one.attempt == row.attempts + 1
            assert self.seen.deliveries[one.delivery_id].claim == batch.token
            # What was in hand when a worker died goes alone.
            assert not row.crashes or len(taken) == 1
        if lane in self.paused:
            assert not taken
        elif due := _due(before, lane):
            first, last = (_place(before.deliveries[taken[at]]) for at in (0, -1))
            assert first <= _place(due[0])  # the oldest
            if not before.deliveries[taken[0]].crashes:  # and none is passed over
                passed = [row.id for row in due if not row.crashes and _place(row) < last]
                assert set(passed) <= set(taken)
        if taken:
            self.batches.append(batch)

    @having(Status.QUEUED)
    @rule(lane=lanes, limit=st.integers(1, 4), marks=st.booleans())
    def die_with_what_was_claimed(self, lane: str, limit: int, marks: bool) -> None:
        claims = len(self.batches)
        self.claim(lane, limit)
        if len(self.batches) > claims:
            if marks:
                self.mark(0, 0)
            self.let_time_pass(LEASE + 1)
            self.sweep(False)

    @having(Status.QUEUED)
    @rule(lane=lanes, limit=st.integers(1, 4), outcomes=results)
    def stall_while_another_takes_over(
        self, lane: str, limit: int, outcomes: list[Outcome]
    ) -> None:
        claims = len(self.batches)
        self.die_with_what_was_claimed(lane, limit, False)
        self.claim(lane, limit)
        if len(self.batches) == claims + 2:
            self.settle(1, outcomes)

    @with_a_batch
    @rule(pick=picks, position=picks)
    def mark(self, pick: int, position: int) -> None:
        batch = self._batch(pick)
        one = batch.deliveries[position % len(batch.deliveries)]
        marked = self.ledger.mark(batch.token, one.delivery_id)
        before = self.look("mark")
        assert marked == _holds(before, batch, one)
        assert not marked or self.seen.deliveries[one.delivery_id].marked_at is not None

    @with_a_batch
    @rule(pick=picks, outcomes=results)
    def settle(self, pick: int, outcomes: list[Outcome]) -> None:
        """Also with a claim that was lost, or for the second time."""
        batch = self._batch(pick)
        ended = [
            (one, outcome, transition(one, outcome, base=30, cap=900, random=lambda: 1))
            for one, outcome in zip(batch.deliveries, outcomes, strict=False)
        ]
        self.ledger.settle(batch.token, [settlement for _, _, settlement in ended])
        before = self.look("settle")
        expected = {id: row.status for id, row in before.deliveries.items()}
        for one, outcome, settlement in ended:
            if not _is_there(before, one):
                continue  # erased meanwhile, and perhaps its number is another's by now
            held = _holds(before, batch, one)
            if outcome.kind is Kind.SENT or held:
                expected[one.delivery_id] = settlement.status.value
            if held and not settlement.charged:
                assert self.seen.deliveries[one.delivery_id].attempts == one.attempt - 1
        assert {id: row.status for id, row in self.seen.deliveries.items()} == expected

    @having(*OPEN)
    @rule(in_its_place=st.booleans())
    def sweep(self, in_its_place: bool) -> None:
        swept = self.ledger.stand_in(after_seconds=-1) if in_its_place else self.ledger.sweep()
        before = self.look("sweep")
        assert swept
        lapsed = [
            row for row in before.deliveries.values()
            if row.status == Status.SENDING and row.lease_until.timestamp() < before.instant
        ]  # fmt: skip
        assert swept.crashed >= len(lapsed)
        for row in lapsed:
            new = self.seen.deliveries[row.id]
            assert new.status != Status.SENDING
            # An email of `hold` that may have left waits for a person, whatever else is so.
            may_have_left = row.marked_at is not None and _is_hold(before, row)
            assert (new.status == Status.UNKNOWN) >= may_have_left
            assert new.crashes == row.crashes + 1
            assert new.status != Status.QUEUED or new.crashes < 3
        due = {lane for lane in LANES if _due(self.seen, lane) and lane not in self.paused}
        assert due <= set(swept.due)
        assert not self.paused & set(swept.due)

    @having(*OPEN)
    @rule(seconds=ages)
    def let_time_pass(self, seconds: float) -> None:
        for column in ("due_at", "lease_until", "expires_at"):
            let_time_pass(self.ledger.database, column, seconds)
        self.look("time")

    @rule(lane=lanes, paused=st.sampled_from([False, False, True]))
    def switch(self, lane: str, paused: bool) -> None:
        verb = self.ledger.pause if paused else self.ledger.resume
        assert verb(lane, actor="ada") == (paused is not (lane in self.paused))
        self.paused = self.paused | {lane} if paused else self.paused - {lane}
        self.look("switch")

    @having(Status.QUEUED, *RETRYABLE)
    @rule(pick=picks)
    def retry(self, pick: int) -> None:
        filters = self._some(pick)
        changed = {one.delivery_id for one in self.ledger.retry(filters, actor="ada")}
        before = self.look("retry")
        for id, row in before.deliveries.items():
            new = self.seen.deliveries[id]
            has_content = before.emails[row.email_id].erased_at is None
            opened = id in changed and row.status in RETRYABLE
            assert opened == (new.status != row.status)
            if filters.email_id in {None, row.email_id} and row.status in RETRYABLE:
                assert opened == has_content
            if opened:
                assert new.attempts_allowed == row.attempts + ATTEMPTS
        assert self.ledger.retry(filters, actor="bob") == []  # the second click
        assert self.look("retry").deliveries == self.seen.deliveries

    @having(Status.QUEUED, least=4)
    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        filters = self._some(pick + 1)
        changed = self.ledger.cancel(filters, actor="ada")
        before = self.look("cancel")
        assert {one.delivery_id for one in changed} == _with(before, filters, Status.QUEUED)

    @having(Status.UNKNOWN)
    @rule(pick=picks, sent=st.booleans())
    def resolve(self, pick: int, sent: bool) -> None:
        filters = self._some(pick)
        changed = self.ledger.resolve(filters, sent=sent, actor="ada")
        before = self.look("resolve")
        assert {one.delivery_id for one in changed} == _with(before, filters, Status.UNKNOWN)

    @having(Status.SENT, *RETRYABLE, least=2)
    @rule(deletes=st.sampled_from([False, False, True]), regrets=st.booleans())
    def prune(self, deletes: bool, regrets: bool) -> None:
        never = 10**8
        keep = {"keep_bodies_seconds": 0, "keep_seconds": 0 if deletes else never}
        self.ledger.prune(**keep, for_seconds=10)
        self.look("prune")
        if regrets:
            self.retry(0)

    @having(*Status, least=6)
    @rule(address=st.sampled_from(ADDRESSES))
    def purge(self, address: str) -> None:
        purged = self.ledger.purge(address, actor="ada")
        before = self.look("purge", purged=address)
        left = {row.email_id for row in self.seen.deliveries.values() if row.recipient == address}
        for email_id in left:  # only what is being sent, or could not be without its sender
            is_sender = before.emails[email_id].addresses["from"][0][1] == address
            statuses = {row.status for row in before.of_email(email_id)}
            assert Status.SENDING in statuses or (is_sender and Status.QUEUED in statuses)
        assert purged.left >= len(left)

    def _batch(self, pick: int) -> Batch:
        """Return the newest batch for 0, which is picked most."""
        return self.batches[-1 - pick % len(self.batches)]

    def _some(self, pick: int) -> Filters:
        """Return filters for everything, or for one email."""
        newest = dict.fromkeys(row.email_id for row in reversed(self.seen.deliveries.values()))
        ids = [None, *newest]
        return Filters(email_id=ids[pick % len(ids)])


def _is_there(seen: Observed, one: Claimed) -> bool:
    row = seen.deliveries.get(one.delivery_id)
    return row is not None and row.email_id == one.email.id


def _holds(seen: Observed, batch: Batch, one: Claimed) -> bool:
    """Say whether the claim is still good."""
    return _is_there(seen, one) and seen.deliveries[one.delivery_id].claim == batch.token


def _is_hold(seen: Observed, row: sa.Row[Any]) -> bool:
    return bool(seen.emails[row.email_id].on_unknown == "hold")


def _due(seen: Observed, lane: str) -> list[sa.Row[Any]]:
    """Return what was due by then for certain, the oldest first."""
    found = [
        row for row in seen.deliveries.values()
        if (row.lane, row.status) == (lane, Status.QUEUED)
        and row.due_at.timestamp() <= seen.instant
        and (row.expires_at is None or row.expires_at.timestamp() > seen.instant + SOON)
    ]  # fmt: skip
    return sorted(found, key=_place)


def _place(row: sa.Row[Any]) -> tuple[datetime, int]:
    return row.due_at, row.id


def _with(seen: Observed, filters: Filters, status: Status) -> set[int]:
    return {
        row.id for row in seen.deliveries.values()
        if row.status == status and filters.email_id in {None, row.email_id}
    }  # fmt: skip


@pytest.fixture
def verbs(database_url: str, request: pytest.FixtureRequest) -> Iterator[type[Verbs]]:
    """The machine on an empty ledger."""
    database = Database(typed_database_url(database_url), sqlite_synchronous="NORMAL")
    database.upgrade()
    made = Ledger(database, lease_seconds=LEASE, attempts_allowed=ATTEMPTS)
    yield type("Verbs", (Verbs,), {"ledger": made})
    database.close()


def test_no_order_of_verbs_breaks_an_invariant(verbs: type[Verbs], database_url: str) -> None:
    number = 100 if database_url.startswith("sqlite") else 15
    run_state_machine_as_test(verbs, settings=examples(number, steps=40, shrinks=LONG))
