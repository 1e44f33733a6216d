"""Which deliveries: the conditions that lists, retries and cancels share."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from ..expressions import holds, now, one_of
from ..models import (
    IS_QUEUED,
    IS_SENDING,
    IS_TROUBLE,
    REPORTED,
    Attempt,
    BulkRow,
    Delivery,
    Email,
    Status,
)

_waits = sa.and_(IS_QUEUED, Delivery.due_at > now())
IS_DEFERRED = sa.and_(_waits, Delivery.stage.is_not(None))
IS_SCHEDULED = sa.and_(_waits, Delivery.stage.is_(None))
_WAITING = {"deferred": IS_DEFERRED, "scheduled": IS_SCHEDULED}
WAITING = frozenset(_WAITING)
STATES = (*(status.value for status in Status), *_WAITING)
"""A status, or why a queued delivery waits: ``deferred`` after an attempt, ``scheduled`` before
the first one."""
STATE_OF: sa.ColumnElement[str] = sa.case(
    *((condition, name) for name, condition in _WAITING.items()), else_=Delivery.status
)
OUTCOMES = (*STATES, *REPORTED)
"""A state, or what was reported of a delivery that was sent: the worst counts."""
OUTCOME_OF: sa.ColumnElement[str] = sa.case(
    (Delivery.status == Status.SENT.value, sa.func.coalesce(Delivery.reported, Delivery.status)),
    else_=STATE_OF,
)

_INDEXED = {Status.QUEUED.value: IS_QUEUED, Status.SENDING.value: IS_SENDING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which deliveries; every condition that is not None must hold."""

    email_id: str | None = None
    email_ids: Collection[str] | None = None
    delivery_ids: Collection[int] | None = None
    statuses: Collection[str] | None = None
    """Any of these `OUTCOMES`; ``queued`` includes those that wait, ``sent`` those of which
    something was reported."""
    template: str | None = None
    lane: str | None = None
    recipient: str | None = None
    """As it is stored, or in lower case."""
    code: int | None = None
    since: datetime | None = None
    """Accepted at or after."""
    until: datetime | None = None
    """Accepted before."""
    is_test: bool | None = None
    transport: str | None = None
    """An attempt was made over it."""
    tag: tuple[str, str | None] | None = None
    """Name and value of a tag; None: any value."""
    subject: str | None = None
    """Each of these words is in the subject that was dispatched, in capitals or not."""
    bulk: str | None = None
    """The job of the bulk send that accepted it."""
    open_templates: Collection[str] | None = None
    """Of no lane for secrets, and without a template or of one of these."""

    def words(self) -> str:
        """Return them in words, without the address of a recipient."""
        found = [self.email_id] if self.email_id is not None else []
        if self.delivery_ids is not None:
            found.append("chosen deliveries")
        if self.statuses is not None:
            found.append(f"state={','.join(sorted(self.statuses))}")
        for name in ("template", "lane", "code", "bulk"):
            if (value := getattr(self, name)) is not None:
                found.append(f"{name}={value}")
        if self.recipient is not None:
            found.append("of one recipient")
        for name in ("since", "until"):
            if (value := getattr(self, name)) is not None:
                found.append(f"{name}={value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")
        return " ".join(found)

    def conditions(self, *, one_by_one: bool = False) -> list[sa.ColumnElement[bool]]:
        """Return them for a statement over `Delivery`, joined with nothing. ``one_by_one``: for a
        few rows, of which each email is looked up, rather than all emails be read."""
        found: list[sa.ColumnElement[bool]] = []
        if self.email_id is not None:
            found.append(Delivery.email_id == self.email_id)
        if self.email_ids is not None:
            found.append(sa.and_(one_of(Delivery.email_id, values=self.email_ids)))
        if self.delivery_ids is not None:
            found.append(sa.and_(one_of(Delivery.id, values=self.delivery_ids)))
        if self.statuses is not None:
            found.append(sa.or_(sa.false(), *map(_is_in, sorted(self.statuses))))
        if self.lane is not None:
            found.append(Delivery.lane == self.lane)
        if self.recipient is not None:
            # Not lower(column): no index answers that.
            found.append(Delivery.recipient.in_({self.recipient, self.recipient.lower()}))
        if self.code is not None:
            found.append(Delivery.code == self.code)
        of_email = self._of_email()
        elsewhere: list[sa.Select[Any]] = []
        if of_email:
            elsewhere.append(sa.select(Email.id).where(Email.id == Delivery.email_id, *of_email))
        if self.transport is not None:
            is_its = Attempt.delivery_id == Delivery.id
            over = Attempt.transport == self.transport
            elsewhere.append(sa.select(Attempt.id).where(is_its, over))
        if self.bulk is not None:
            is_its = BulkRow.email_id == Delivery.email_id
            elsewhere.append(sa.select(BulkRow.line).where(is_its, BulkRow.job_id == self.bulk))
        for one in elsewhere:
            # PostgreSQL makes no join of a subquery that has an OFFSET.
            found.append((one.offset(0) if one_by_one else one).correlate(Delivery).exists())
        return found

    def _of_email(self) -> list[sa.ColumnElement[bool]]:
        found: list[sa.ColumnElement[bool]] = []
        if self.template is not None:
            found.append(Email.template == self.template)
        if self.since is not None:
            found.append(Email.created_at >= self.since)
        if self.until is not None:
            found.append(Email.created_at < self.until)
        if self.is_test is not None:
            found.append(Email.is_test == self.is_test)
        if self.tag is not None:
            found.append(holds(sa.type_coerce(Email.tags, sa.Text), _written(*self.tag)))
        if self.open_templates is not None:
            is_one = Email.template.in_(self.open_templates)
            found += [Email.lane != "critical", sa.or_(Email.template.is_(None), is_one)]
        for word in (self.subject or "").split():
            found.append(Email.subject.icontains(word, autoescape=True))
        return found


def _written(tag: str, value: str | None) -> str:
    """Return how a tag is stored, to its end if there is a value: no other text can read so, for
    within one a quotation mark has a backslash before it."""
    name = json.dumps(tag, ensure_ascii=False) + ": "
    return name if value is None else name + json.dumps(value, ensure_ascii=False)


def _is_in(state: str) -> sa.ColumnElement[bool]:
    if state in _WAITING:
        return _WAITING[state]
    if state in REPORTED:
        return sa.and_(Delivery.status == Status.SENT, Delivery.reported == state)
    is_state = Delivery.status == state
    # Said in the words of the partial index, or the planner reads the whole table.
    return is_state if state == Status.SENT else sa.and_(_INDEXED.get(state, IS_TROUBLE), is_state)
