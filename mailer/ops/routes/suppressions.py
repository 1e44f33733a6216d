"""Suppressions: which addresses are not mailed, and why; add, remove."""

from __future__ import annotations

from typing import Any

from flask import request, url_for

from ... import addresses
from ...ledger.suppressions import ORIGINS
from ...state import current
from ...unsubscribe import CATEGORY, CATEGORY_FORM
from .. import access, parts
from ..blueprint import Answer, view
from ..pages import done, page


@view("GET", "/suppressions", role="viewer")
def suppressions() -> Answer:
    """List them, or those of one address."""
    return _listed()


@view("POST", "/suppressions", role="operator")
def add_suppression() -> Answer:
    """Mail no more to an address."""
    typed = request.form.get("address", "").strip()
    category = request.form.get("category", "").strip()
    try:
        address = addresses.parse(typed, allow_test_domains=True).email
        if category and not CATEGORY.fullmatch(category):
            raise ValueError(f"category: expected {CATEGORY_FORM}, got {category!r}")
    except ValueError as problem:
        return _listed(status=422, error=str(problem), typed=typed, category_typed=category)
    current().ledger.suppress(
        [address],
        origin="manual",
        category=category,
        words=f"by {access.actor()}",
        actor=access.actor(),
    )
    words = f"{address} gets no {f'{category} mail' if category else 'mail at all'}."
    return done(words, url_for("ops.suppressions", address=address))


@view("POST", "/suppressions/<suppression_id>/remove", role="operator")
def remove_suppression(suppression_id: str) -> Answer:
    """Let mail through again."""
    ledger = current().ledger
    found = ledger.suppression(suppression_id)
    ledger.unsuppress(actor=access.actor(), ids=[found.id])
    what = f"{found.category} mail" if found.category else "mail"
    words = f"{found.address} gets {what} again. What ended as suppressed can be retried."
    return done(words, url_for("ops.suppressions"))


def _listed(*, status: int | None = None, **form: Any) -> Answer:
    ledger = current().ledger
    wanted = {
        name: request.args.get(name, "").strip() for name in ("address", "origin", "category")
    }
    origin, problems = wanted["origin"] or None, {}
    if origin not in {None, *ORIGINS}:
        problems["origin"] = f"expected one of {', '.join(ORIGINS)}, got {origin!r}"
        origin = None
    if wanted["address"]:
        rows, links = ledger.suppressions_of([wanted["address"]]), parts.Links(None, None)
    else:
        found = ledger.suppressions(
            parts.SHOWN, origin=origin, category=wanted["category"] or None, **parts.cursor()
        )
        rows, links = found.suppressions, parts.links(found.suppressions, found.has_more)
    return page(
        "suppressions",
        status=status or (422 if problems else 200),
        rows=rows,
        links=links,
        wanted=wanted,
        problems=problems,
        origins=ORIGINS,
        **form,
    )
