"""Results of tasks, as the HTTP API shows them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from .base import Answer


class Result(Answer):
    """How far a task is, and what came of it."""

    id: str
    ready: Annotated[bool, Field(examples=[True])]
    """It has ended, well or not."""
    successful: Annotated[bool, Field(examples=[True])]
    state: Annotated[str, Field(examples=["SUCCESS"])]
    """As Celery calls it: ``PENDING``, ``STARTED``, ``PROGRESS``, ``SUCCESS``, ``FAILURE``,
    ``REVOKED``."""
    value: Annotated[
        Any, Field(json_schema_extra={"examples": [{"current": 1000, "total": 1000}]})
    ] = None
    """What the task returned; of a failure the error's words. Not there until then."""
    progress: Annotated[
        dict[str, Any], Field(examples=[{"current": 1000, "total": 1000, "changed": 998}])
    ]
    """How far it is, as the task says; ``words`` where a person should know something."""
