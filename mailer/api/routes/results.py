"""``/results``: what came of tasks that run in the background."""

from __future__ import annotations

from ... import results
from ...errors import NotFound
from ...state import current
from ..authentication import key, sees_job
from ..operations import operation
from ..schemas.results import Result


@operation("GET", "/results/<task_id>", scope="read", answers=Result)
def get(task_id: str) -> Result:
    """Get a result.

    Of a bulk send by its id, and of any task of the application that keeps a result. A task that
    failed is answered with 200 too, and the error's words as its value.
    """
    _check_sees(task_id)
    return Result(**results.find(current(), task_id)._asdict())


def _check_sees(task_id: str) -> None:
    """Raise NotFound if this is a job that a key with limits did not ask for."""
    if not key().is_limited:
        return
    try:
        job = current().ledger.job(task_id)
    except NotFound:
        return
    if not sees_job(job):
        raise NotFound(f"there is no job {task_id!r}")
