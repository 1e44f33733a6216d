"""Celery tasks. They receive ids and decide nothing about mail."""

from __future__ import annotations

import logging

from celery import shared_task

from . import delivery, health, telling, watch
from .doorbell import TASK, TELL_TASK
from .state import current

log = logging.getLogger(__name__)

PRUNE_FOR_SECONDS = 2
"""How long one run may keep a worker from the mail."""

_DAY = 86_400


@shared_task(name=TASK)
def send_email(email_id: str) -> None:
    """Send this email, and whatever else is due in its lane."""
    state = current()
    watch.stand_in(state)
    lane = state.ledger.lane(email_id)
    # An id that is not here was rolled back after its ring, or rung for another ledger: the bell
    # that it rang has kept silent for others.
    for due in [lane] if lane else state.ledger.due():
        delivery.drain(state, due)


@shared_task(name=TELL_TASK)
def tell_webhooks(_: str) -> None:
    """Tell webhooks the events that are due."""
    telling.tell(current())


@shared_task(name="mailer.sweep")
def sweep() -> None:
    """Give up expired leases, expire what is too late, ring the lanes with due mail."""
    state = current()
    watch.ring_due(state, state.ledger.sweep())
    health.warn(state)


@shared_task(name="mailer.prune")
def prune() -> None:
    """Erase content and delete emails that are old enough; what is left is for the next run."""
    state = current()
    pruned = state.ledger.prune(
        keep_bodies_seconds=state.config["MAILER_KEEP_BODIES_DAYS"] * _DAY,
        keep_seconds=state.config["MAILER_KEEP_DAYS"] * _DAY,
        for_seconds=PRUNE_FOR_SECONDS,
    )
    if any(pruned):
        log.info(
            "pruned erased=%d deleted=%d reports=%d",
            pruned.erased, pruned.deleted, pruned.reports,
        )  # fmt: skip
