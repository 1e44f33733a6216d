"""What addresses and forms of the console bring, read or refused in words."""

from __future__ import annotations

import uuid

from werkzeug.exceptions import BadRequest

ID_MAX = 2**63 - 1
"""As large as ids of rows can be."""


def whole(name: str, given: str) -> int:
    """Return a whole number from 0. Raises BadRequest, also for what no database can hold."""
    if given.isascii() and given.isdigit() and len(given) < 20 and int(given) <= ID_MAX:
        return int(given)
    raise BadRequest(f"{name}: expected a whole number, got {given[:60]!r}")


def form_job_id(given: str) -> str:
    """Return the id that a form has for its job. Raises BadRequest."""
    try:
        return str(uuid.UUID(given))
    except ValueError:
        raise BadRequest(f"job_id: expected a UUID, got {given[:60]!r}") from None
