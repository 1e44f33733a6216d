"""The durable record of what was accepted and what became of it. Statuses change only here.

`Ledger` gathers the verbs; each group of them has its own file: `record` (accept), `claims`
(claim), `settling` (settle), `sweeping` (leases, expiry, due lanes), `operations` (retry, cancel,
resolve), `switches` (pause, resume), `suppressions` (whom not to mail), `reports` (what mail
systems said later), `retention` (erase what is old), `person` (what is stored of one person; erase
it), `events` (what webhooks are to be told), `telling` (tell it), `replaying` (tell it again),
`jobs` (work over many), `bulk` (files of recipients), `acts` (who did what), `tallying` (count what
happened), and `filters` says which deliveries. `Reading` has what is read: `queries`, `search`,
`emails`, `counts`, `figures`, `failures`, `tallies`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..db import Database
from ..inbound.told import Told
from ..recipients import Part
from . import (
    acts,
    bulk,
    claims,
    events,
    jobs,
    operations,
    person,
    record,
    replaying,
    reports,
    retention,
    settling,
    suppressions,
    sweeping,
    switches,
    tallying,
    telling,
)
from .claims import Batch, Claimed
from .filters import Filters
from .joint import Joint
from .reading import Reading
from .record import Draft, Recorded
from .reports import Reported
from .settling import Settlement
from .suppressions import Origin
from .sweeping import Swept

__all__ = [
    "Batch",
    "Claimed",
    "Draft",
    "Filters",
    "Ledger",
    "Recorded",
    "Reported",
    "Settlement",
    "Swept",
]


_ASKED: Mapping[str, acts.Action] = {
    "paused": "pause job",
    "queued": "resume job",
    "stopped": "stop job",
}


class Ledger(Reading):
    """The verbs on one database, and what is to be read of it. A verb is one transaction; some read
    before it, and ``tally``, ``prune``, ``purge`` and ``replay_since`` are many short ones. None
    touches the network while it is open; ``record`` alone joins one that the caller opened."""

    def __init__(
        self,
        database: Database,
        *,
        lease_seconds: float,
        attempts_allowed: int,
        on_events: Callable[[], None] = lambda: None,
        overriding: Callable[[], Collection[str]] = tuple,
    ) -> None:
        """``on_events`` is called after a commit that noted events for webhooks; ``overriding``
        returns the templates that go to suppressed addresses too."""
        super().__init__(database, overriding)
        self.lease_seconds = lease_seconds
        self.attempts_allowed = attempts_allowed
        self._on_events = on_events
        self._joint = Joint(self._store_plain)
        self._has_events = False
        """Some were stored since somebody was told."""

    @contextmanager
    def _noting(
        self, transaction: AbstractContextManager[sa.Connection]
    ) -> Iterator[sa.Connection]:
        with transaction as connection:
            yield connection
            noted = events.was_noted(connection)
        if noted:
            self._on_events()

    def record(self, connection: sa.Connection, drafts: Sequence[Draft]) -> list[Recorded]:
        """Store emails and their deliveries; an email already stored under the same idempotency
        key is returned instead. Raises IdempotencyConflict."""
        return record.record(connection, drafts, self.attempts_allowed)

    def accept(self, drafts: Sequence[Draft]) -> list[Recorded]:
        """Record in a transaction of its own, which plain emails of other threads may share."""
        if not record.is_plain(drafts):
            with self._noting(self.database.begin()) as connection:
                return self.record(connection, drafts)
        if self.database.is_sqlite:
            recorded = [self._joint(drafts[0])]
        else:
            recorded = self._store_plain(drafts)
        if self._has_events:  # of whoever: one ring after a commit is as good as another
            self._has_events = False
            self._on_events()
        return recorded

    def _store_plain(self, drafts: Sequence[Draft]) -> list[Recorded]:
        """Do nothing but store: what went wrong here was not stored."""
        with self.database.brief() as connection:
            recorded = self.record(connection, drafts)
            noted = events.was_noted(connection)
        self._has_events = self._has_events or noted
        return recorded

    def claim(self, lane: str, limit: int) -> Batch:
        """Take up to ``limit`` due deliveries of a lane for one attempt, oldest first."""
        with self.database.begin() as connection:
            return claims.claim(connection, lane, limit, self.lease_seconds)

    def mark(self, token: str, delivery_id: int) -> bool:
        """Note that the message is about to leave. False: the claim is lost, so it must not."""
        with self.database.begin() as connection:
            return claims.mark(connection, token, delivery_id)

    def settle(self, token: str, settlements: Sequence[Settlement]) -> None:
        """Record the outcomes of claimed deliveries."""
        with self._noting(self.database.begin()) as connection:
            settling.settle(connection, token, settlements)

    def sweep(self) -> Swept:
        """Give up expired leases, expire what is too late, and name the lanes with due mail."""
        with self._noting(self.database.begin()) as connection:
            return sweeping.sweep(connection)

    def stand_in(self, *, after_seconds: float) -> Swept | None:
        """Sweep in the scheduler's place, when nobody has swept for so long; else None. Of several
        workers at once, one does."""
        with self.database.read() as connection:
            age = sweeping.seconds_since_swept(connection)
        if age is None or age <= after_seconds:
            return None
        with self._noting(self.database.begin()) as connection:
            return sweeping.stand_in(connection, after_seconds)

    def tally(self, *, for_seconds: float) -> None:
        """Count what has happened since the last time. Ends after about ``for_seconds``, whatever
        is left."""
        tallying.tally(self.database, for_seconds=for_seconds)

    def pause(self, lane: str, *, actor: str) -> bool:
        """Claim nothing more from a lane; what is being sent ends. False: it was paused already."""
        return self._switch("lane", lane, True, actor)

    def resume(self, lane: str, *, actor: str) -> bool:
        """Take it back. False: the lane was not paused."""
        return self._switch("lane", lane, False, actor)

    def pause_transport(self, name: str, *, actor: str) -> bool:
        """Send nothing more over a transport. False: it was paused already."""
        return self._switch("transport", name, True, actor)

    def resume_transport(self, name: str, *, actor: str) -> bool:
        """Take it back. False: the transport was not paused."""
        return self._switch("transport", name, False, actor)

    def _switch(self, kind: str, name: str, paused: bool, actor: str) -> bool:
        with self.database.begin() as connection:
            changed = switches.switch(connection, kind, name, paused, actor)
            action: acts.Action = "pause" if paused else "resume"
            acts.note(connection, actor, action, f"{kind} {name}", int(changed))
        return changed

    def retry(self, filters: Filters, *, actor: str) -> list[operations.Changed]:
        """Open final deliveries again, with fresh attempts, and make deferred ones due now. Doing
        it twice changes nothing. Those whose content was erased stay as they are, and those whose
        recipient is suppressed."""
        overriding = self._overriding()
        with self.database.begin() as connection:
            changed = operations.retry(
                connection, filters, overriding, actor, self.attempts_allowed
            )
            acts.note(connection, actor, "retry", filters.words(), len(changed))
        return changed

    def cancel(self, filters: Filters, *, actor: str) -> list[operations.Changed]:
        """Cancel queued deliveries; those being sent or final stay as they are."""
        with self._noting(self.database.begin()) as connection:
            changed = operations.cancel(connection, filters.conditions(), actor)
            acts.note(connection, actor, "cancel", filters.words(), len(changed))
        return changed

    def reschedule(
        self, email_id: str, send_at: datetime, *, actor: str
    ) -> list[operations.Changed]:
        """Move deliveries that wait for their time to another one."""
        with self._noting(self.database.begin()) as connection:
            changed = operations.reschedule(connection, email_id, send_at, actor)
            acts.note(connection, actor, "reschedule", email_id, len(changed))
        return changed

    def resolve(self, filters: Filters, *, sent: bool, actor: str) -> list[operations.Changed]:
        """Decide about ``unknown`` deliveries: the server has them, or they are sent again. Those
        whose content was erased are not."""
        with self._noting(self.database.begin()) as connection:
            changed = operations.resolve(connection, filters, sent, actor, self.attempts_allowed)
            action: acts.Action = "resolve: sent" if sent else "resolve: resend"
            acts.note(connection, actor, action, filters.words(), len(changed))
        return changed

    def claim_events(
        self, busy: Mapping[str, int], *, each: int, limit: int
    ) -> Sequence[telling.Telling]:
        """Take up to ``limit`` due events for one attempt to tell them, and of each webhook no
        more than ``each`` less what of it is in hand (``busy``)."""
        with self.database.read() as connection:
            if not telling.is_due(connection):
                return []
        with self.database.begin() as connection:
            return telling.claim(connection, busy, each=each, limit=limit)

    def settle_events(self, told: Sequence[telling.Told]) -> telling.Settled:
        """Record what came of telling events."""
        with self.database.begin() as connection:
            return telling.settle(connection, told)

    def replay(self, webhook_id: str, event_id: str, *, actor: str) -> bool:
        """Tell an event again. False: it is being told now."""
        with self.database.begin() as connection:
            replayed = replaying.replay(connection, webhook_id, event_id)
            acts.note(connection, actor, "replay events", event_id, int(replayed))
        return replayed

    def replay_since(self, webhook_id: str, since: datetime, *, actor: str) -> replaying.Replayed:
        """Tell all events again that were noted since and failed, or wait for their next attempt;
        return how many."""
        replayed = replaying.replay_since(self.database, webhook_id, since)
        with self.database.begin() as connection:
            acts.note(connection, actor, "replay events", f"webhook {webhook_id}", sum(replayed))
        return replayed

    def report(self, told: Sequence[Told], *, suppress_bounces: bool) -> Reported:
        """Store what mail systems told of deliveries, each once, and record as sent what it proves
        to be. Addresses that complained are suppressed, and those that bounced for good."""
        if any(one.email_id is None for one in told):
            with self.database.read() as connection:
                told = reports.find_references(connection, told)
        with self._noting(self.database.begin()) as connection:
            return reports.add(connection, told, suppress_bounces=suppress_bounces)

    def add_job(
        self,
        job_id: str,
        kind: str,
        details: Mapping[str, Any],
        *,
        actor: str,
        total: int,
        found: Mapping[str, Any] | None = None,
        key_id: str | None = None,
    ) -> bool:
        """Store work for a worker; ``found``: what it begins with; ``key_id``: the API key that
        asks for it. False: there is a job with this id."""
        with self.database.begin() as connection:
            is_new = jobs.add(
                connection,
                job_id,
                kind,
                details,
                actor=actor,
                total=total,
                found=found,
                key_id=key_id,
            )
            if is_new:
                action: acts.Action = "start job"
                if kind == bulk.KIND:
                    action = "start bulk send" if details["confirm"] else "upload file"
                acts.note(connection, actor, action, f"{kind} {job_id}", total)
        return is_new

    def claim_job(self, job_id: str, claim: str) -> sa.Row[Any] | None:
        """Take a job for one worker, or give it up because it kills them: then it has ended. None:
        another has it, or there is nothing to do."""
        with self.database.begin() as connection:
            return jobs.claim(connection, job_id, claim)

    def step_job(
        self, job_id: str, claim: str, apply: Callable[[sa.Connection], jobs.Step]
    ) -> tuple[str | None, sa.Row[Any], jobs.Step]:
        """Do the next step of a job and note it, in one transaction. Return what somebody asked of
        the job (then nothing was done), the job, and the step. Raises jobs.Lost."""
        with self._noting(self.database.begin()) as connection:
            wanted = jobs.begin_step(connection, job_id, claim)
            if wanted is not None:
                return wanted, jobs.find(connection, job_id), jobs.NOTHING
            step = apply(connection)
            return None, jobs.end_step(connection, job_id, step), step

    def leave_job(
        self, job_id: str, claim: str, status: str, words: str | None = None
    ) -> sa.Row[Any] | None:
        """Give a job up: ``queued`` for the next worker, unless something else is asked of it; or
        ``paused`` or ``failed``. None: it was not ours."""
        with self.database.begin() as connection:
            return jobs.leave(connection, job_id, claim, status, words)

    def ask_job(self, job_id: str, wanted: str, *, actor: str) -> bool:
        """Ask for a job to be ``paused`` or, after a pause or a failure, ``queued``, or have it
        ``stopped``. Raises NotFound."""
        with self.database.begin() as connection:
            is_asked = jobs.ask(connection, job_id, wanted)
            if wanted == "stopped" and is_asked:
                bulk.erase_file_of(connection, job_id)
            acts.note(connection, actor, _ASKED[wanted], job_id, int(is_asked))
        return is_asked

    def note(self, actor: str, action: acts.Action, about: str) -> None:
        """Store an act that no verb here is."""
        with self.database.begin() as connection:
            acts.note(connection, actor, action, about)

    def add_bulk_part(self, file_id: str, part: Part) -> None:
        """Store a part of a file of recipients."""
        with self.database.begin() as connection:
            bulk.add_part(connection, file_id, part)

    def erase_bulk_file(self, file_id: str) -> None:
        """Erase a file of recipients."""
        with self.database.begin() as connection:
            bulk.erase_file(connection, file_id)

    def start_checked(self, job_id: str, *, actor: str) -> bool:
        """Let a job go on that was checked. False: it does not wait for that."""
        with self.database.begin() as connection:
            started = jobs.let_go_on(connection, job_id, "checked")
            if started:
                total = jobs.find(connection, job_id).total
                acts.note(connection, actor, "start bulk send", f"bulk {job_id}", total)
        return started

    def prune(
        self, *, keep_bodies_seconds: float, keep_seconds: float, for_seconds: float
    ) -> retention.Pruned:
        """Erase the content of what is final, and delete it, once it has not changed for so long.
        Ends after about ``for_seconds``, whatever is left."""
        return retention.prune(
            self.database,
            keep_bodies_seconds=keep_bodies_seconds,
            keep_seconds=keep_seconds,
            for_seconds=for_seconds,
        )

    def purge(self, address: str, *, actor: str, dry_run: bool = False) -> person.Purged:
        """Erase a person: every delivery to the address, and emails that nobody else got. What is
        queued is cancelled first; what is being sent stays. With ``dry_run``, only count."""
        return person.purge(self.database, address, actor, dry_run=dry_run)

    def suppress(
        self,
        addresses: Iterable[str],
        *,
        origin: Origin,
        category: str = "",
        words: str | None = None,
        actor: str | None = None,
    ) -> dict[str, str]:
        """Mail no more to addresses, about a category or at all; return the id for each, in lower
        case. Those that are suppressed already stay as they are. ``actor``: who wanted it, if not
        the recipient."""
        with self.database.begin() as connection:
            added = suppressions.add_many(
                connection, addresses, origin=origin, category=category, words=words
            )
            if actor is not None:
                about = category or "all mail"
                acts.note(connection, actor, "suppress", about, len(added))
        return added

    def unsuppress(
        self,
        *,
        actor: str,
        ids: Collection[str] = (),
        addresses: Collection[str] = (),
        category: str = "",
    ) -> Sequence[str]:
        """Let mail through again: by the suppressions' ids, or by addresses those of one category,
        or those for all mail. Return the ids of what was there."""
        with self.database.begin() as connection:
            removed = suppressions.remove(
                connection, actor=actor, ids=ids, addresses=addresses, category=category
            )
            acts.note(connection, actor, "unsuppress", " ".join(removed[:10]), len(removed))
        return removed

    def resubscribe(self, address: str, category: str) -> None:
        """Take back what the address itself has unsubscribed from."""
        with self.database.begin() as connection:
            suppressions.undo(connection, address, category)
