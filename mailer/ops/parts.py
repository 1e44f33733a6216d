"""One part of a list after the other: from which, and the links to the older and the newer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypedDict
from urllib.parse import urlencode

from flask import request

from .given import whole

SHOWN = 50
"""Rows on one page."""


class Cursor(TypedDict):
    """From which row on, of those known by id."""

    after: str | None
    before: str | None


class Numbers(TypedDict):
    """From which row on, of those known by number."""

    after: int | None
    before: int | None


class Links(NamedTuple):
    """Addresses of this page with other rows; None: there are none."""

    older: str | None
    newer: str | None


def cursor() -> Cursor:
    """Return from which row on the request wants the list."""
    return Cursor(after=request.args.get("after"), before=request.args.get("before"))


def numbers() -> Numbers:
    """Return it for rows that are known by number. Raises BadRequest."""
    return Numbers(after=_number("after"), before=_number("before"))


def _number(name: str) -> int | None:
    given = request.args.get(name)
    return None if given is None else whole(name, given)


def links(rows: Sequence[Any], has_more: bool) -> Links:
    """Return the links below ``rows`` that were found with the `cursor`."""
    goes_back = "before" in request.args
    if not rows:
        return Links(None, None)
    has_older = goes_back or has_more
    has_newer = has_more if goes_back else "after" in request.args
    return Links(
        _address(after=rows[-1].id) if has_older else None,
        _address(before=rows[0].id) if has_newer else None,
    )


def _address(**at: object) -> str:
    kept = {name: value for name, value in request.args.items() if name not in {"after", "before"}}
    return f"{request.path}?{urlencode({**kept, **at})}"
