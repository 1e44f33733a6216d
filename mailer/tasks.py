"""Celery tasks. They receive ids and decide nothing about mail."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from celery import Task, shared_task
from celery.exceptions import Ignore

from . import delivery, health, jobs, telling, watch
from .doorbell import RUN_TASK, TASK, TELL_TASK
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


@shared_task(name=RUN_TASK, bind=True, ignore_result=False)
def run_job(self: Task[Any, Any], job_id: str) -> dict[str, Any]:
    """Go on with a job; its result is how it went."""
    job = jobs.run(current(), job_id, partial(_tell, self))
    if job is None or job.ended_at is None:
        # The state of the result is that of the task which goes on. One that rests has none yet:
        # what was a success once Celery never changes.
        raise Ignore
    return jobs.progress(job)


def _tell(task: Task[Any, Any], progress: dict[str, Any]) -> None:
    try:
        task.update_state(state="PROGRESS", meta=progress)
    except Exception as error:  # noqa: BLE001 - the ledger knows it too: no backend is no failure
        log.warning("job progress is not told: %r", error)


@shared_task(name="mailer.sweep")
def sweep() -> None:
    """Give up expired leases, expire what is too late, ring the lanes with due mail; then count
    what has happened."""
    state = current()
    watch.ring_due(state, state.ledger.sweep())
    health.warn(state)
    state.ledger.tally(for_seconds=watch.TALLY_FOR_SECONDS)


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
            "pruned erased=%d deleted=%d reports=%d acts=%d rows=%d",
            pruned.erased, pruned.deleted, pruned.reports, pruned.acts, pruned.rows,
        )  # fmt: skip
