"""``/results``: what came of tasks that run in the background."""

from __future__ import annotations

from ... import results
from ...state import current
from ..operations import operation
from ..schemas.results import Result


@operation("GET", "/results/<task_id>", scope="read", answers=Result)
def get(task_id: str) -> Result:
    """Get a result.

    Of a bulk send by its id, and of any task of the application that keeps a result. A task that
    failed is answered with 200 too, and the error's words as its value.
    """
    return Result(**results.find(current(), task_id)._asdict())
