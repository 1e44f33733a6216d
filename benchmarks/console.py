"""How long the console's server takes for each of its pages, over a ledger with a month of mail.

Every page that a link leads to, from the menu on: one of each kind, so that a new page is measured
without being named here.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from html import unescape
from pathlib import Path
from statistics import median
from urllib.parse import parse_qs, urlsplit

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import MapAdapter, RequestRedirect

from mailer import bulk, create_app, jobs, keys, members
from mailer.dev.redis import EmbeddedRedis
from mailer.drafting import Request
from mailer.grants import checked
from mailer.ledger.record import uuid7
from mailer.state import of

from . import work

TIMES = 5
"""Calls of which the median is taken."""

_PASSWORD = "correct horse battery staple"
_ROWS = 2_000
"""Of the bulk send whose page is looked at."""
_BEGINNING = ("/ops/", "/ops/?range=day", "/ops/?range=week")
_SEARCHES = (
    *(f"state={one}" for one in ("sent", "failed", "unknown", "deferred", "queued", "bounced")),
    "lane=critical",
    "template=template7",
    "template=none",
    "recipient=person77@example.com",
    "recipient=nobody@example.com",
    "tag=kind:3",
    "tag=kind:none",
    "code=451",
    "code=499",
    "transport=default",
    "since=2h",
    "state=sent&template=template7&code=250&since=20d",
)
"""Filters of the list of emails: what an index answers, what is everywhere, what is nowhere."""


def times(url: str, folder: Path) -> Iterator[tuple[str, float]]:
    """Yield each page and the milliseconds that it takes."""
    with EmbeddedRedis(folder) as redis:
        app = create_app(
            {
                "SECRET_KEY": "not a secret, this is a benchmark",
                "MAIL_DEFAULT_SENDER": work.SENDER,
                "MAILER_BASE_URL": "http://localhost",
                "MAILER_TEMPLATES": str(work.TEMPLATES),
                "MAILER_DATABASE_URL": url,
                "CELERY": {"broker_url": redis.url},
            }
        )
        _prepare(app)
        yield from _times(app)
        of(app).database.close()


def _times(app: Flask) -> Iterator[tuple[str, float]]:
    browser = _signed_in(app)
    places = app.url_map.bind("localhost")
    waiting = [*_BEGINNING, *(f"/ops/emails?{one}" for one in _SEARCHES)]
    known = {_kind(places, path) for path in waiting}
    while waiting:
        path = waiting.pop(0)
        page, milliseconds = _timed(browser, path)
        yield path, milliseconds
        for link in _links(page):
            if (kind := _kind(places, link)) not in known:
                known.add(kind)
                waiting.append(link)


def _prepare(app: Flask) -> None:
    """Add what only the product's own verbs can: who signs in, a key, a bulk send to start."""
    state = of(app)
    with suppress(ValueError):  # in a second round she is there
        members.add(state.database, "ada", "admin", _PASSWORD, actor="benchmark")
    keys.create(state.database, uuid7(), checked(), actor="benchmark")
    lines = ["email", *(f"reader{number}@example.com" for number in range(_ROWS)), "nobody"]
    upload = bulk.Upload("readers.csv", ["\n".join(lines).encode()], is_csv=True)
    request = Request(subject="News", text="Hello {{ email }}")
    job_id = uuid7()
    bulk.create(state, job_id, request, upload, actor="benchmark")
    jobs.run(state, job_id, lambda progress: None)


def _signed_in(app: Flask) -> FlaskClient:
    browser = app.test_client()
    form = browser.get("/ops/sign-in").text
    found = re.search(r'name="csrf_token" value="([^"]+)"', form)
    token = found[1] if found else ""
    given = {"csrf_token": token, "name": "ada", "password": _PASSWORD}
    answer = browser.post("/ops/sign-in", data=given)
    if answer.status_code != 303:
        raise SystemExit(f"signing in: {answer.status}")
    return browser


def _links(page: str) -> Iterator[str]:
    """Yield where a page leads to without a change: by links, and by what buttons ask for."""
    for link in re.findall(r'<a [^>]*href="(/ops[^"#]*)"', page):
        yield unescape(link)
    for address in re.findall(r'<form method="get" action="(/ops[^"]*/confirm)"', page):
        for verb in re.findall(r'name="verb" value="(\w+)"', page):
            yield f"{unescape(address)}?verb={verb}"


def _kind(places: MapAdapter, link: str) -> tuple[str, ...]:
    """Return what links to pages of one kind have in common."""
    parts = urlsplit(link)
    try:
        endpoint, parameters = places.match(parts.path, method="GET")
    except RequestRedirect:
        return (parts.path,)
    # Reasons of one state are as many as another's are few.
    return (str(endpoint), str(parameters.get("state")), *sorted(parse_qs(parts.query)))


def _timed(browser: FlaskClient, path: str) -> tuple[str, float]:
    seconds = []
    for _ in range(1 + TIMES):
        began = time.perf_counter()
        answer = browser.get(path)
        text = answer.text
        seconds.append(time.perf_counter() - began)
        if answer.status_code not in {200, 303}:
            raise SystemExit(f"{path}: {answer.status}")
    return text, median(seconds[1:]) * 1000
