"""Overview: is mail flowing, and if not, why."""

from __future__ import annotations

from ... import health
from ...state import current
from ..blueprint import Answer, view
from ..pages import page

_DATABASE_SECONDS = 5.0


@view("GET", "/", role="viewer")
def overview() -> Answer:
    """Show it."""
    state = current()
    found = health.examine(state, database_seconds=_DATABASE_SECONDS)
    return page("overview", health=found)
