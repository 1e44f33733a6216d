"""Emails: which went where, and what was said last."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flask import make_response, redirect, request, url_for

from ...ledger.filters import OUTCOMES
from ...ledger.search import Found
from ...models import LANES
from ...rendition import open_templates
from ...state import current
from ..asked import Asked, asked
from ..blueprint import Answer, view
from ..pages import page

_PAGE = 50


@view("GET", "/emails", role="viewer")
def emails() -> Answer:
    """Show a page of the list."""
    state = current()
    wanted = asked(request.args, state.ledger)
    if wanted.email_id is not None:
        return make_response(redirect(url_for("ops.email", email_id=wanted.email_id), 303))
    filters = wanted.filters
    if filters.subject is not None:  # or whoever looks could guess at a secret, letter by letter
        filters = replace(filters, open_templates=open_templates(state))
    found = state.ledger.search(filters, _PAGE, after=wanted.after, before=wanted.before)
    newer, older = _ways_on(wanted, found)
    return page(
        "emails",
        status=422 if wanted.problems else 200,
        found=found,
        asked=wanted,
        newer=newer,
        older=older,
        states=OUTCOMES,
        lanes=LANES,
        templates=state.renderer.names(),
        transports=list(state.traffic.dsns),
    )


def _ways_on(wanted: Asked, found: Found) -> tuple[str | None, str | None]:
    """Return the addresses of newer and of older deliveries; None: there are none."""
    ids = [row.delivery_id for row in found.rows]
    if wanted.before is not None:
        newer, older = found.next_id, ids[-1] if ids else wanted.before + 1
    else:
        newer, older = wanted.after and (ids[0] if ids else wanted.after - 1), found.next_id
    return _address(wanted, before=newer), _address(wanted, after=older)


def _address(wanted: Asked, **cursor: Any) -> str | None:
    if None in cursor.values():
        return None
    filters: dict[str, Any] = dict(wanted.values)
    return url_for("ops.emails", **filters, **cursor)
