"""The durable record of what was accepted and what became of it. Statuses change only here.

`Ledger` gathers the verbs; each group of them has its own file: `record` (accept), `claims`
(claim), `settling` (settle), `sweeping` (leases, expiry, due lanes), `operations` (retry, cancel,
resolve), `switches` (pause, resume), `suppressions` (whom not to mail), `reports` (what mail
systems said later), `retention` (erase what is old), `person` (what is stored of one person; erase
it), `events` (what webhooks are to be told), `telling` (tell it), `replaying` (tell it again),
`jobs` (work over many), `bulk` (files of recipients), `acts` (who did what), `tallying` (count what
happened), `queries`, `search`, `emails`, `counts`, `figures`, `failures` and `tallies` (read only),
with `filters` to say which deliveries.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..content import Attachment
from ..db import Database
from ..inbound.told import Told
from ..recipients import Part
from . import (
    acts,
    bulk,
    claims,
    counts,
    emails,
    events,
    failures,
    figures,
    jobs,
    operations,
    person,
    queries,
    record,
    replaying,
    reports,
    retention,
    search,
    settling,
    suppressions,
    sweeping,
    switches,
    tallies,
    tallying,
    telling,
)
from .claims import Batch, Claimed
from .filters import Filters
from .joint import Joint
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


class Ledger:
    """The verbs on one database. Every method is one transaction (``prune``, ``purge`` and
    ``replay_since`` many short ones), and none touches the network while it is open; ``record``
    alone joins a transaction that the caller opened."""

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
        self.database = database
        self.lease_seconds = lease_seconds
        self.attempts_allowed = attempts_allowed
        self._on_events = on_events
        self._overriding = overriding
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

    def flow(self, step: int, periods: int) -> tallies.Flow:
        """Return what happened in each of the last periods of ``step`` seconds."""
        with self.database.read() as connection:
            return tallies.flow(connection, step, periods)

    def totals(self) -> tallies.Totals:
        """Return what has ever happened, less the last seconds."""
        with self.database.read() as connection:
            return tallies.totals(connection)

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

    def paused_transports(self) -> dict[str, switches.Pause]:
        """Return the transports that somebody told to rest."""
        with self.database.read() as connection:
            return switches.paused(connection, "transport")

    def paused_lanes(self) -> dict[str, switches.Pause]:
        """Return the lanes whose mail waits because somebody said so."""
        with self.database.read() as connection:
            return switches.paused(connection, "lane")

    def figures(self) -> tuple[dict[str, figures.Figures], dict[str, figures.Trouble]]:
        """Return what each transport did lately, and its newest trouble, by its name."""
        with self.database.read() as connection:
            return figures.figures(connection), figures.troubles(connection)

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

    def would_retry(self, filters: Filters, limit: int) -> tuple[int, list[operations.Changed]]:
        """Return how many deliveries ``retry`` would move, and the newest of them."""
        with self.database.read() as connection:
            return operations.would_retry(connection, filters, self._overriding(), limit)

    def held_back(
        self, filters: Filters, limit: int | None
    ) -> tuple[int, list[operations.HeldBack]]:
        """Return how many deliveries ``retry`` leaves as they are because their recipients are
        suppressed, and the newest of them."""
        with self.database.read() as connection:
            return operations.held_back(connection, filters, self._overriding(), limit)

    def meant(self, delivery_ids: Collection[int]) -> list[operations.Meant]:
        """Return what would be met of these deliveries, the newest first."""
        with self.database.read() as connection:
            return operations.meant(connection, delivery_ids, self._overriding())

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

    def events_are_due(self) -> bool:
        """Say whether a webhook is to be told something."""
        with self.database.read() as connection:
            return telling.is_due(connection)

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
                acts.note(connection, actor, "start job", f"{kind} {job_id}", total)
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

    def acts(
        self,
        limit: int,
        after: int | None = None,
        before: int | None = None,
        *,
        actor: str | None = None,
        action: str | None = None,
        since: datetime | None = None,
    ) -> tuple[Sequence[sa.Row[Any]], bool]:
        """Return who did what, the newest first, and whether there is more that way."""
        with self.database.read() as connection:
            return acts.page(
                connection, limit, after, before, actor=actor, action=action, since=since
            )

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
            acts.note(connection, actor, "resume job", job_id, int(started))
        return started

    def left_out(self, job_id: str, limit: int) -> Sequence[sa.Row[Any]]:
        """Return the first rows of a bulk send that are not mailed, and why."""
        with self.database.read() as connection:
            return bulk.problems(connection, job_id, limit)

    def bulk_rows_of(self, address: str) -> Sequence[sa.Row[Any]]:
        """Return the rows of bulk sends that a person has."""
        with self.database.read() as connection:
            return bulk.rows_of(connection, address)

    def job(self, job_id: str) -> sa.Row[Any]:
        """Return a job. Raises NotFound."""
        with self.database.read() as connection:
            return jobs.find(connection, job_id)

    def jobs(
        self,
        limit: int,
        after: str | None = None,
        before: str | None = None,
        *,
        kind: str | None = None,
        key_id: str | None = None,
    ) -> tuple[Sequence[sa.Row[Any]], bool]:
        """Return jobs, the newest first, and whether there are more that way; ``key_id``: only
        those that this API key asked for."""
        with self.database.read() as connection:
            return jobs.page(connection, limit, after, before, kind=kind, key_id=key_id)

    def failures(self, looked_at: int = failures.LOOKED_AT) -> failures.Groups:
        """Return what is in trouble or waits for another attempt, by its reason: of the newest
        ``looked_at`` in each state."""
        with self.database.read() as connection:
            return failures.groups(connection, looked_at)

    def reports_without_delivery(self, address: str) -> Sequence[sa.Row[reports.Stored]]:
        """Return what was reported of an address and is about no delivery that is here."""
        with self.database.read() as connection:
            return reports.without_delivery(connection, address)

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

    def export(self, address: str) -> Sequence[queries.History]:
        """Return every email that the address is in, with its deliveries to it."""
        with self.database.read() as connection:
            return person.find(connection, address)

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

    def suppression(self, id_or_address: str, category: str = "") -> sa.Row[Any]:
        """Return a suppression by its id, or that of an address for a category or for all mail.
        Raises NotFound."""
        with self.database.read() as connection:
            return suppressions.find(connection, id_or_address, category)

    def suppressions_of(self, addresses: Iterable[str]) -> Sequence[sa.Row[Any]]:
        """Return every suppression of the addresses."""
        with self.database.read() as connection:
            return suppressions.of(connection, addresses)

    def suppressions(
        self,
        limit: int,
        after: str | None = None,
        before: str | None = None,
        *,
        origin: str | None = None,
        category: str | None = None,
        since: datetime | None = None,
    ) -> suppressions.Page:
        """Return suppressions, the newest first: those older than the id ``after``, or newer than
        ``before``."""
        with self.database.read() as connection:
            return suppressions.page(
                connection, limit, after, before, origin=origin, category=category, since=since
            )

    def list(self, filters: Filters, limit: int | None) -> list[sa.Row[queries.Listed]]:
        """Return deliveries, newest first; without a ``limit``, all of them."""
        with self.database.read() as connection:
            return queries.listing(connection, filters, limit)

    def search(
        self, filters: Filters, limit: int, *, after: int | None = None, before: int | None = None
    ) -> search.Found:
        """Return deliveries, newest first, that were found in a bounded time: those older than the
        id ``after``, or newer than ``before``."""
        with self.database.read() as connection:
            return search.search(connection, filters, limit, after=after, before=before)

    def find(self, prefix: str) -> str:
        """Return the id of the one email whose id begins so. Raises NotFound."""
        with self.database.read() as connection:
            return queries.find_email(connection, prefix)

    def show(self, email_id: str) -> queries.History:
        """Return an email with everything that happened to it. Raises NotFound."""
        with self.database.read() as connection:
            return queries.history(connection, email_id)

    def told(self, email_id: str) -> Sequence[sa.Row[Any]]:
        """Return what webhooks are or were to be told of an email, in order."""
        with self.database.read() as connection:
            return queries.told(connection, email_id)

    def page(
        self,
        limit: int,
        after: str | None = None,
        before: str | None = None,
        *,
        is_test: bool | None = None,
    ) -> emails.Page:
        """Return emails, the newest first: those older than ``after``, or newer than ``before``;
        with ``is_test`` only test mail, or none of it."""
        with self.database.read() as connection:
            return emails.page(connection, limit, after, before, is_test)

    def count_keys(self, keys: Sequence[str]) -> int:
        """Return how many of these idempotency keys an email has."""
        with self.database.read() as connection:
            return queries.count_keys(connection, keys)

    def is_test(self, email_id: str) -> bool:
        """Say whether there is such an email, and it is test mail."""
        with self.database.read() as connection:
            return queries.is_test(connection, email_id)

    def lane(self, email_id: str) -> str | None:
        """Return the lane of an email, None when there is no such email."""
        with self.database.read() as connection:
            return queries.lane(connection, email_id)

    def attachments(self, email_id: str) -> Sequence[Attachment]:
        """Return the files of an email, in order."""
        with self.database.read() as connection:
            return queries.attachments(connection, email_id)

    def attachment(self, email_id: str, attached_id: int) -> Attachment:
        """Return one file of an email. Raises NotFound."""
        with self.database.read() as connection:
            return queries.attachment(connection, email_id, attached_id)

    def is_due(self, lanes: Sequence[str]) -> bool:
        """Say whether one of the lanes has a due delivery."""
        with self.database.read() as connection:
            return counts.is_due(connection, lanes)

    def due(self) -> dict[str, str]:
        """Return the lanes with due mail, each with the id of its oldest due email."""
        with self.database.read() as connection:
            return sweeping.due_lanes(connection)

    def next_due(self, lane: str) -> tuple[str, float] | None:
        """Return which email of a lane is due next, and in how many seconds: less than 0 when it is
        due by now. None: there is none, or the lane is paused."""
        with self.database.read() as connection:
            return sweeping.next_due(connection, lane)

    def counts(self) -> counts.Counts:
        """Return how many deliveries wait or are being sent, by lane."""
        with self.database.read() as connection:
            return counts.counts(connection)

    def troubles(self) -> dict[str, dict[str, int]]:
        """Return how many deliveries are in trouble: lane -> status -> number."""
        with self.database.read() as connection:
            return counts.troubles(connection)
