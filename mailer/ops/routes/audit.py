"""Audit: who did what, when, to how many."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flask import request

from ...ledger.acts import ACTIONS
from ...state import current
from .. import parts
from ..blueprint import Answer, view
from ..pages import page

SINCE = {"1": "the last hour", "24": "the last day", "168": "the last week"}
"""Hours -> in words."""


@view("GET", "/audit", role="viewer")
def audit() -> Answer:
    """List it."""
    wanted = {name: request.args.get(name, "").strip() for name in ("actor", "action", "since")}
    action = wanted["action"] or None
    problem = ""
    if action not in {None, *ACTIONS}:
        problem = f"action: expected one of {', '.join(ACTIONS)}, got {action!r}"
        action = None
    since = None
    if wanted["since"] in SINCE:
        since = datetime.now(UTC) - timedelta(hours=int(wanted["since"]))
    elif wanted["since"]:
        problem = f"since: expected one of {', '.join(SINCE)} hours, got {wanted['since']!r}"
    rows, has_more = current().ledger.acts(
        parts.SHOWN, **parts.numbers(), actor=wanted["actor"] or None, action=action, since=since
    )
    return page(
        "audit",
        rows=rows,
        links=parts.links(rows, has_more),
        wanted=wanted,
        problem=problem,
        actions=ACTIONS,
        since=SINCE,
    )
