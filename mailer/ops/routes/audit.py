"""Audit: who did what, when, to how many."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flask import request

from ...ledger.acts import ACTIONS
from ...state import current
from .. import parts
from ..about import about
from ..blueprint import Answer, view
from ..pages import page

SINCE = {"1": "the last hour", "24": "the last day", "168": "the last week"}
"""Hours -> in words."""


@view("GET", "/audit", role="viewer")
def audit() -> Answer:
    """List it."""
    wanted = {name: request.args.get(name, "").strip() for name in ("actor", "action", "since")}
    problems: dict[str, str] = {}
    action = wanted["action"] or None
    if action not in {None, *ACTIONS}:
        problems["action"] = f"expected one of {', '.join(ACTIONS)}, got {action!r}"
        action = None
    since = None
    if wanted["since"] in SINCE:
        since = datetime.now(UTC) - timedelta(hours=int(wanted["since"]))
    elif wanted["since"]:
        problems["since"] = f"expected one of {', '.join(SINCE)} hours, got {wanted['since']!r}"
    rows, has_more = current().ledger.acts(
        parts.SHOWN, **parts.numbers(), actor=wanted["actor"] or None, action=action, since=since
    )
    return page(
        "audit",
        status=422 if problems else 200,
        rows=rows,
        links=parts.links(rows, has_more),
        wanted=wanted,
        problems=problems,
        actions=ACTIONS,
        since=SINCE,
        about=about,
    )
