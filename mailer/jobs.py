"""Jobs: work over many deliveries, done step by step by a task whose result says how it went.

A step is prepared without a transaction, and done and counted in one: whoever dies in between has
done nothing, and the next worker goes on there.
"""

from __future__ import annotations

import logging
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from . import bulk_steps, shutdown, signals, steering
from .doorbell import JOBS
from .errors import LedgerUnavailable, MailerError
from .ledger import jobs
from .ledger.jobs import Step
from .state import State
from .words import one_line

Apply = Callable[[sa.Connection], Step]
Tell = Callable[[dict[str, Any]], None]
Prepare = Callable[[State, sa.Row[Any]], Apply]

KINDS: Mapping[str, Prepare] = {
    "retry": steering.prepare_retry,
    "cancel": steering.prepare_cancel,
    "resolve": steering.prepare_resolve,
    "bulk": bulk_steps.prepare,
    "bulk_cancel": bulk_steps.prepare_cancel,
}

log = logging.getLogger(__name__)


def start(
    state: State, job_id: str, kind: str, details: Mapping[str, Any], *, actor: str, total: int
) -> bool:
    """Store a job and wake a worker. False: it was stored before, under the same id."""
    is_new = state.ledger.add_job(job_id, kind, details, actor=actor, total=total)
    state.jobs_bell.ring(JOBS, job_id)
    return is_new


def ask(state: State, job_id: str, wanted: str, *, actor: str) -> bool:
    """Ask for a job to be ``paused`` or, after a pause or a failure, ``queued``, or have it
    ``stopped``. False: it has ended, or is so already. Raises NotFound."""
    is_asked = state.ledger.ask_job(job_id, wanted, actor=actor)
    if is_asked and wanted == "queued":
        state.jobs_bell.ring(JOBS, job_id)
    return is_asked


def run(state: State, job_id: str, tell: Tell) -> sa.Row[Any] | None:
    """Go on with a job for a bounded time, and ``tell`` how far it is after each step. Return it
    once it has ended or rests; None: it goes on in another task, or is another worker's."""
    state.jobs_bell.answer(JOBS, job_id)
    claim = str(uuid.uuid4())
    job = state.ledger.claim_job(job_id, claim)
    if job is None:
        return None
    if job.ended_at is not None:
        log.error("job=%s kind=%s status=%s %s", job_id, job.kind, job.status, job.words)
        return job
    is_eager = state.celery.conf.task_always_eager
    ends = time.monotonic() + state.config["MAILER_DRAIN_SECONDS"]
    try:
        while True:
            apply = KINDS[job.kind](state, job)
            wanted, job, step = state.ledger.step_job(job_id, claim, apply)
            _after_commit(state, step)
            tell(progress(job))
            if job.status in {"done", "checked"}:
                log.info(
                    "job=%s kind=%s status=%s changed=%d",
                    job_id, job.kind, job.status, job.changed,
                )  # fmt: skip
                return job
            is_over = time.monotonic() > ends and not is_eager
            if wanted or is_over or shutdown.announced():
                return _leave(state, job_id, claim, tell)
    except jobs.Lost as error:
        log.warning("job=%s %s", job_id, error)
        stopped = state.ledger.job(job_id)
        return stopped if stopped.status == "stopped" else None
    except jobs.Waits as error:
        return _leave(state, job_id, claim, tell, waits_for=one_line(str(error)))
    except LedgerUnavailable:
        with suppress(LedgerUnavailable):  # else it goes on once its lease is over
            state.ledger.leave_job(job_id, claim, "queued")
        raise
    except Exception as error:
        state.ledger.leave_job(job_id, claim, "failed", _words(error))
        raise


def _leave(
    state: State, job_id: str, claim: str, tell: Tell, *, waits_for: str | None = None
) -> sa.Row[Any] | None:
    status = "paused" if waits_for else "queued"
    left = state.ledger.leave_job(job_id, claim, status, waits_for)
    if left is None or left.status == "queued":
        state.jobs_bell.ring(JOBS, job_id)
        return None
    log.info("job=%s kind=%s status=%s %s", job_id, left.kind, left.status, waits_for or "")
    tell(progress(left))
    return left


def _words(error: Exception) -> str:
    """Return why a job failed. What a bug says may be of an email, and is in the log only."""
    if isinstance(error, MailerError):
        return one_line(str(error))
    *_, frame = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    return f"{type(error).__name__} in {place}: the worker's log says more"


def _after_commit(state: State, step: Step) -> None:
    for lane, email_id in step.due.items():
        state.doorbell.ring_for_commit(lane, email_id)
    if signals.email_queued.receivers:
        for one in step.accepted:
            signals.tell(signals.email_queued, state.app, email=one.email)


def progress(job: sa.Row[Any]) -> dict[str, Any]:
    """Return how far a job is, as its result says it."""
    found = {"found": job.found} if job.found else {}
    return {
        "current": job.done,
        "total": job.total,
        "changed": job.changed,
        "status": job.status,
        **found,
    }
