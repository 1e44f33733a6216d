"""Celery tasks. They receive ids and decide nothing about mail."""

from __future__ import annotations

from celery import shared_task

from . import delivery
from .doorbell import TASK
from .state import current


@shared_task(name=TASK)
def send_email(email_id: str) -> None:
    """Send this email, and whatever else is due in its lane."""
    state = current()
    lane = state.ledger.lane(email_id)
    # An id that is not here was rolled back after its ring, or rung for another ledger: the bell
    # that it rang has kept silent for others.
    for due in [lane] if lane else state.ledger.due():
        delivery.drain(state, due)


@shared_task(name="mailer.sweep")
def sweep() -> None:
    """Give up expired leases, expire what is too late, ring the lanes with due mail."""
    state = current()
    for lane, email_id in state.ledger.sweep().due.items():
        state.doorbell.ring(lane, email_id)
