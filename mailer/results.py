"""Results of tasks, as Flask's guide has them: of jobs from the ledger, of others from Celery."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import sqlalchemy as sa
from celery import states
from celery.backends.base import DisabledBackend

from . import jobs
from .celery_app import PUBLISHED
from .errors import NotFound, Unreachable
from .ledger.jobs import LEASE_SECONDS
from .state import State
from .words import one_line

_OF_JOBS = {
    "queued": states.PENDING,
    "running": "PROGRESS",
    "paused": "PROGRESS",
    "checked": "PROGRESS",
    "done": states.SUCCESS,
    "stopped": states.REVOKED,
    "failed": states.FAILURE,
}


_QUIET_SECONDS = 10.0
"""A worker says of each step that it is at it: one that was quiet for so long may be gone."""


class Result(NamedTuple):
    """How far a task is, and what came of it."""

    id: str
    ready: bool
    """It has ended, well or not."""
    successful: bool
    state: str
    """As Celery calls it."""
    value: Any
    """What it returned; of a failure the error's words. None until then."""
    progress: dict[str, Any]
    """How far it is, with ``words`` where a person should know something."""


def find(state: State, task_id: str) -> Result:
    """Return the result of a task that keeps one. Raises NotFound; Unreachable."""
    try:
        job = state.ledger.job(task_id)
    except NotFound:
        return _of_task(state, task_id)
    return of_job(state, job)


def of_job(state: State, job: sa.Row[Any]) -> Result:
    """Return the result of a job, as `Ledger.job` returns it."""
    ready, how_far = job.ended_at is not None, jobs.progress(job)
    return Result(
        id=job.id,
        ready=ready,
        successful=job.status == "done",
        state=_OF_JOBS[job.status],
        value=(job.words or how_far) if ready else None,
        progress=how_far | _said(job.words or _waits(state, job)),
    )


def _waits(state: State, job: sa.Row[Any]) -> str:
    """Say why a job that is to go on does not; nothing while that is as it should be."""
    if job.status not in {"queued", "running"}:
        return ""
    seconds = job.overdue
    if words := _alone(state, seconds):
        return words
    quiet = seconds + LEASE_SECONDS
    if job.status == "running" and quiet > _QUIET_SECONDS:
        return (
            f"nothing was heard of its worker for {quiet:.0f} s; "
            f"after {LEASE_SECONDS:.0f} s another may take it"
        )
    return ""


def _alone(state: State, seconds: float) -> str:
    if seconds <= state.config["MAILER_SWEEP_SECONDS"]:
        return ""
    return f"no worker has taken it for {seconds:.0f} s"


def _of_task(state: State, task_id: str) -> Result:
    name: str = states.PENDING
    value: Any = None
    try:
        if not isinstance(state.celery.backend, DisabledBackend):
            # Not by an AsyncResult, which listens for what comes.
            stored = state.celery.backend.get_task_meta(task_id)
            name, value = stored["status"], stored["result"]
    except Exception as error:
        raise Unreachable(f"the results cannot be read now: {error!r}") from error
    if name == states.PENDING:  # what Celery says of all that it knows nothing of
        raise NotFound(f"there is no task {one_line(task_id, 80)!r} that keeps a result")
    how_far: dict[str, Any] = {}
    if name == PUBLISHED:
        name = states.PENDING
        how_far = _said(_alone(state, time.time() - value["at"]))
    elif name not in states.READY_STATES and isinstance(value, dict):
        how_far = value
    if isinstance(value, BaseException):
        value = one_line(f"{type(value).__name__}: {value}")
    return Result(
        id=task_id,
        ready=name in states.READY_STATES,
        successful=name == states.SUCCESS,
        state=name,
        value=value if name in states.READY_STATES else None,
        progress=how_far,
    )


def _said(words: str) -> dict[str, Any]:
    return {"words": words} if words else {}
