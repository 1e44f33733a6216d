"""What there is to be read of the ledger. Nothing changes here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..content import Attachment
from ..db import Database
from . import (
    acts,
    bulk,
    counts,
    emails,
    failures,
    figures,
    jobs,
    operations,
    person,
    queries,
    reports,
    search,
    suppressions,
    sweeping,
    switches,
    tallies,
    telling,
)
from .filters import Filters


class Reading:
    """The questions to one database. Each is answered in one transaction that only reads."""

    def __init__(self, database: Database, overriding: Callable[[], Collection[str]]) -> None:
        """``overriding`` returns the templates that go to suppressed addresses too."""
        self.database = database
        self._overriding = overriding

    def flow(self, step: int, periods: int) -> tallies.Flow:
        """Return what happened in each of the last periods of ``step`` seconds."""
        with self.database.read() as connection:
            return tallies.flow(connection, step, periods)

    def totals(self) -> tallies.Totals:
        """Return what has ever happened, less the last seconds."""
        with self.database.read() as connection:
            return tallies.totals(connection)

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

    def events_are_due(self) -> bool:
        """Say whether a webhook is to be told something."""
        with self.database.read() as connection:
            return telling.is_due(connection)

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

    def export(self, address: str) -> Sequence[queries.History]:
        """Return every email that the address is in, with its deliveries to it."""
        with self.database.read() as connection:
            return person.find(connection, address)

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

    def look_at_event(self, event_id: str) -> telling.Telling:
        """Return an event as it would be told now, without the secrets of its webhook. Raises
        NotFound."""
        with self.database.read() as connection:
            return telling.look(connection, event_id)

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
