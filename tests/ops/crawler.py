"""Every page that links, parts and forms of the console lead to."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlencode

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

from mailer.ops.blueprint import FRAME

from .hostile import Page

PART = {"HX-Request": "true"}
MOST = 8
"""Pages of one kind."""


class Visited(NamedTuple):
    """A page that was opened."""

    address: str
    endpoint: str
    page: Page


def endpoint(app: Flask, address: str, method: str = "GET") -> str:
    """Return the view of an address; empty: there is none."""
    try:
        path = address.partition("?")[0].partition("#")[0]
        found: str = app.url_map.bind("localhost").match(path, method)[0]
    except HTTPException:
        return ""
    return found


def is_page(answer: TestResponse) -> bool:
    """Say whether a browser takes an answer for a page of ours: else it saves or frames it."""
    if answer.mimetype != "text/html":
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        return False
    policy = answer.headers["Content-Security-Policy"]
    if policy == FRAME:
        return False
    assert "script-src 'self';" in policy or "script-src" not in policy
    assert "unsafe" not in policy
    return True


def crawl(app: Flask, browser: FlaskClient, *starts: str) -> Iterator[Visited]:
    """Yield the pages of the console that ``starts`` lead to, and their live parts: of others
    than ``starts`` the first of each kind."""
    waiting = deque((one, False) for one in starts)
    known = set(waiting)
    visits: Counter[tuple[str, ...]] = Counter()
    while waiting:
        address, is_part = waiting.popleft()
        view = endpoint(app, address)
        kind = (view, str(is_part), *_query(address))
        visits[kind] += 1
        is_ours = view.startswith("ops.") and view != "ops.static"
        if not is_ours or (visits[kind] > MOST and address not in starts):
            continue
        answer = browser.get(address, headers=PART if is_part else {})
        assert answer.status_code < 500, (address, answer.text)
        page = Page(answer.text if is_page(answer) else "", address)
        yield Visited(address, view, page)
        ways_on = [
            (one.partition("#")[0], False) for one in (answer.location, *_links(page)) if one
        ]
        # A part is the same whatever else the page shows.
        ways_on += [(one.partition("?")[0], True) for one in page.polled]
        new = [one for one in dict.fromkeys(ways_on) if one not in known]
        known.update(new)
        waiting.extend(new)


def _query(address: str) -> list[str]:
    """Return the arguments of an address, with the values of those that make another page."""
    return re.sub(r"=[^&]{13,}", "", address.partition("?")[2]).split("&")


def _links(page: Page) -> Iterator[str]:
    yield from page.targets
    for form in page.forms:
        if form.method == "get":
            for name, value in form.buttons:
                yield f"{form.action}?{urlencode({**form.fields, name: value})}"
