"""Sign in and out."""

from __future__ import annotations

import math

from flask import Response, request
from limits import parse

from ... import members
from ...state import current
from ...web.limits import client_network
from .. import access
from ..blueprint import Answer, view
from ..pages import page

# The client first, so that a stranger who tries many names is stopped before they lock them out.
_TRIES = (
    ("client", parse("30/15minutes")),
    ("client and name", parse("8/15minutes")),
    ("name", parse("100/hour")),
)


@view("GET", "/sign-in", role=None)
def sign_in() -> Answer:
    """Ask for name and password."""
    return _form()


@view("POST", "/sign-in", role=None)
def do_sign_in() -> Answer:
    """Check name and password, not more often than somebody who mistypes them would ask for."""
    name = request.form.get("name", "").strip().lower()
    if wait := _wait(name[:200]):
        minutes = math.ceil(wait / 60)
        words = f"That was tried too often. Please try again in {minutes} min."
        response = _form(status=429, error=words, name=name)
        response.headers["Retry-After"] = str(wait)
        return response
    found = members.check(current().database, name, request.form.get("password", ""))
    if found is None:
        return _form(status=422, error="There is nobody with this name and password.", name=name)
    return access.sign_in(found)


@view("POST", "/sign-out", role=None)
def sign_out() -> Answer:
    """End the visit."""
    return access.sign_out()


def _form(status: int = 200, error: str = "", name: str = "") -> Response:
    is_empty = not members.listing(current().database)
    return page("sign_in", status=status, error=error, name=name, is_empty=is_empty)


def _wait(name: str) -> int | None:
    """Count a try. Return the seconds to wait when there were too many."""
    client = client_network(request.remote_addr)
    keys = {"client": client, "client and name": f"{client} {name}", "name": name}
    for kind, rate in _TRIES:
        taken = current().rates.take(rate, f"sign-in:{kind}:{keys[kind]}")
        if not taken.granted:
            return taken.reset_seconds
    return None
