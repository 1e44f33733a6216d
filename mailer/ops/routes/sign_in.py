"""Sign in and out."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Response, abort, request
from limits import parse

from ... import members
from ...state import current
from ...web.limits import client_network
from .. import access, browsers
from ..blueprint import Answer, view
from ..limits import Limit, in_words
from ..pages import page

# The client first: one that is refused must not use up what others may try of a name.
_PER_CLIENT = Limit("client", parse("30/15minutes"))
_PER_CLIENT_AND_NAME = Limit("client and name", parse("8/15minutes"))
_PER_NAME = Limit("name", parse("100/hour"))


@view("GET", "/sign-in", role=None)
def sign_in() -> Answer:
    """Ask for name and password."""
    _refuse_beside_proxy()
    return _form()


@view("POST", "/sign-in", role=None)
def do_sign_in() -> Answer:
    """Check name and password, not more often than somebody who mistypes them would ask for."""
    _refuse_beside_proxy()
    name = request.form.get("name", "").strip().lower()
    # Counted before it is known whether they are right: of several at once, too.
    for limit, who in _tries(name):
        if wait := limit.take(who):
            words = f"That was tried too often. {in_words(wait)}"
            response = _form(status=429, error=words, name=name)
            response.headers["Retry-After"] = str(wait)
            return response
    token = members.sign_in(current().database, name, request.form.get("password", ""))
    if token is None:
        return _form(status=422, error="There is nobody with this name and password.", name=name)
    for limit, who in _tries(name):
        limit.give_back(who)
    response = access.sign_in(token)
    browsers.remember(response, name)
    return response


@view("POST", "/sign-out", role=None)
def sign_out() -> Answer:
    """End the visit."""
    _refuse_beside_proxy()
    return access.sign_out()


def _refuse_beside_proxy() -> None:
    """Say nothing about passwords where they are good for nothing."""
    if access.is_by_proxy():
        abort(404, "A proxy says who you are: there is nothing to sign in to.")


def _form(status: int = 200, error: str = "", name: str = "") -> Response:
    is_empty = not members.listing(current().database)
    return page("sign_in", status=status, error=error, name=name, is_empty=is_empty)


def _tries(name: str) -> Iterator[tuple[Limit, str]]:
    """Yield the limits of a try, and whom each counts."""
    client = client_network(request.remote_addr)
    yield _PER_CLIENT, client
    yield _PER_CLIENT_AND_NAME, f"{client} {name}"
    browser = browsers.known(name)
    yield _PER_NAME, f"browser {browser}" if browser else name
