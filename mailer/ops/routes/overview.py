"""Overview: is mail flowing, and if not, why."""

from __future__ import annotations

from flask import request
from werkzeug.exceptions import BadRequest

from ... import overview as overviews
from ...presence import SEEN_WITHIN_SECONDS
from ...state import current
from ..blueprint import Answer, view
from ..pages import page


@view("GET", "/", role="viewer")
def overview() -> Answer:
    """Show it, with what happened in the last hour, day or week."""
    over = request.args.get("range", "hour")
    if over not in overviews.RANGES:
        raise BadRequest(f"range: expected one of {', '.join(overviews.RANGES)}, got {over!r}")
    return page(
        "overview",
        found=overviews.look(current(), over),
        over=over,
        ranges=overviews.RANGES,
        shares=overviews.SHARES,
        seen_within=SEEN_WITHIN_SECONDS,
    )
