"""Steer many deliveries in steps: retry, cancel or resolve all that were chosen when it was asked.

A job's details: ``cause`` and ``state`` (a group of `ledger.failures`) or ``ids`` (deliveries), and
``below``: deliveries that were accepted later are not meant. It goes from the newest to the oldest,
so that what fails again is not met again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import sqlalchemy as sa

from .ledger import Filters, failures, operations
from .ledger.failures import Matching
from .ledger.jobs import Step
from .ledger.operations import Changed
from .state import State

AT_ONCE = 500
"""Deliveries that are changed in one transaction."""

Change = Callable[[sa.Connection, Filters], list[Changed]]
Apply = Callable[[sa.Connection], Step]


def prepare_retry(state: State, job: sa.Row[Any]) -> Apply:
    """Prepare to retry the next ones."""
    allowed, overriding = state.ledger.attempts_allowed, state.renderer.overriding()
    return _prepare(
        state,
        job,
        lambda one, filters: operations.retry(one, filters, overriding, job.actor, allowed),
    )


def prepare_cancel(state: State, job: sa.Row[Any]) -> Apply:
    """Prepare to cancel the next ones."""
    return _prepare(
        state, job, lambda one, filters: operations.cancel(one, filters.conditions(), job.actor)
    )


def prepare_resolve(state: State, job: sa.Row[Any]) -> Apply:
    """Prepare to say of the next ones that they were ``sent``, or are sent again."""
    allowed, sent = state.ledger.attempts_allowed, job.details["sent"]
    return _prepare(
        state,
        job,
        lambda one, filters: operations.resolve(one, filters, sent, job.actor, allowed),
    )


def _prepare(state: State, job: sa.Row[Any], change: Change) -> Apply:
    chosen, next_id = _next(state, job)

    def apply(connection: sa.Connection) -> Step:
        changed = change(connection, Filters(delivery_ids=chosen)) if chosen else []
        return Step(
            cursor=job.cursor if next_id is None else next_id,
            done=len(chosen),
            changed=len(changed),
            is_last=next_id is None,
            due=_due(changed),
        )

    return apply


def _next(state: State, job: sa.Row[Any]) -> Matching:
    """Return the next deliveries, the newest first; none, if none of those looked at is meant."""
    details = job.details
    below = job.cursor or details["below"]
    if "ids" in details:
        left = sorted((one for one in details["ids"] if one < below), reverse=True)
        ids = left[:AT_ONCE]
        return Matching(ids, ids[-1] if len(left) > AT_ONCE else None)
    with state.database.read() as connection:
        return failures.matching(
            connection, details["state"], details["cause"], below=below, limit=AT_ONCE
        )


def _due(changed: Iterable[Changed]) -> dict[str, str]:
    return {one.lane: one.email_id for one in changed}
