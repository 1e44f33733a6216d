"""Nothing that somebody wrote becomes markup of the console."""

from __future__ import annotations

import io
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from html import escape
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import pytest
import sqlalchemy as sa
from flask import Flask, Request, has_request_context, request
from flask.testing import FlaskClient
from werkzeug.datastructures import ImmutableMultiDict, MultiDict
from werkzeug.test import TestResponse

from mailer import bulk, members
from mailer.dev.catcher import Catcher
from mailer.dev.redis import EmbeddedRedis
from mailer.models import Member
from mailer.ops.blueprint import VIEWS
from mailer.state import of

from ..conftest import AppFactory
from ..receiver import receiver
from .conftest import PASSWORD, SignIn, submit
from .crawler import Visited, crawl, endpoint, is_page
from .hostile import KINDS, PAYLOADS, PLAIN, Form, Page, Shape
from .ways_in import World, hostile_app, plant

PATH = "/ops/keys"
"""For admins."""
HARMLESS = tuple(f"{PLAIN} {number}" for number in range(14))  # some lists have two pages
SAID = (HARMLESS[:6], (*KINDS, *PAYLOADS))


class Site(NamedTuple):
    """The service with words planted in every way, somebody who looks at it, and what they see."""

    app: Flask
    browser: FlaskClient
    said: set[str]
    """What has to be seen on some page."""
    visited: list[Visited]
    asked: Mapping[str, set[str]]
    """View -> the names that it looked at in what was sent to it."""


@pytest.fixture(scope="module")
def sites(
    tmp_path_factory: pytest.TempPathFactory, redis_server: EmbeddedRedis
) -> Iterator[tuple[Site, Site]]:
    """One with nothing but words, and one with all payloads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("site"))
        for name in [one for one in os.environ if one.startswith("FLASK_")]:
            patch.delenv(name)
        patch.setattr(bulk, "COUNTED_AT_ONCE", 1)  # what is counted apart has a view of its own
        made = []
        for name, words in (("plain", HARMLESS), ("hostile", PAYLOADS)):
            folder = tmp_path_factory.mktemp(name)
            made.append(_site(folder, redis_server.url, name, words, patch))
        yield made[0], made[1]
        for site in made:
            of(site.app).close()


def _site(
    folder: Path, redis_url: str, name: str, words: tuple[str, ...], patch: pytest.MonkeyPatch
) -> Site:
    with Catcher() as catcher, receiver() as told:
        app, before = hostile_app(folder, redis_url, name, words, catcher.smtp_port)
        patch.setattr(of(app).jobs_bell, "ring", lambda *of_what: False)
        said, addresses = plant(World(app, catcher, told), words)
        browser = app.test_client()
        members.add(of(app).database, "ann", "admin", PASSWORD, actor="test")
        submit(browser, "/ops/sign-in", name="ann", password=PASSWORD)
        asked = note_what_is_asked(app)
        visited = list(crawl(app, browser, "/ops/", "/ops/sign-in", *addresses))
        return Site(app, browser, before | said, visited, asked)


def note_what_is_asked(app: Flask) -> Mapping[str, set[str]]:
    """Note which arguments of addresses, and fields of forms, each view looks at."""
    asked: dict[str, set[str]] = defaultdict(set)

    def noting(method: str) -> Callable[..., Any]:
        def look(self: Any, key: str, *more: Any, **options: Any) -> Any:
            if has_request_context():
                asked[str(request.endpoint)].add(key)
            return getattr(MultiDict, method)(self, key, *more, **options)

        return look

    names = ("get", "getlist", "__getitem__", "__contains__")
    noted = type("Noted", (ImmutableMultiDict,), {name: noting(name) for name in names})
    app.request_class = type("Asked", (Request,), {"parameter_storage_class": noted})
    return asked


def shapes(found: Iterable[tuple[str, Page]]) -> Mapping[str, set[Shape]]:
    """Return the elements of pages, by view."""
    known: dict[str, set[Shape]] = defaultdict(set)
    for view, page in found:
        known[view].update(page.shapes)
    return known


def check(plain: Iterable[tuple[str, Page]], hostile: Iterable[tuple[str, Page]]) -> None:
    """Check that no page has what it would not have with harmless words."""
    known = shapes(plain)
    assert {(view, found) for view, page in hostile for found in page.strange(known[view])} == set()


def test_nothing_planted_becomes_markup_and_all_of_it_is_seen(sites: tuple[Site, Site]) -> None:
    views = {one.endpoint for one in VIEWS if one.method == "GET"}
    for site in sites:
        assert views - {one.endpoint for one in site.visited} == set(), "no link leads there"
    check(*([(one.endpoint, one.page) for one in site.visited] for site in sites))
    for site in sites:
        texts = [one.page.text.lower() for one in site.visited]
        seen = "\0".join(texts + [one.replace('\\"', '"') for one in texts])  # within JSON
        assert {one for one in site.said if one.lower() not in seen} == set()


@pytest.mark.parametrize("payload", PAYLOADS[:28])
def test_what_is_not_escaped_is_found(payload: str) -> None:
    """Else the other tests would say nothing."""
    places = ("<p>{}</p>", '<a href="{}">x</a>', "<a href='{}'>x</a>", "<a href='/' x=`{}`>x</a>")
    known = {("p", ()), ("a", ("href",)), ("a", ("href", "x"))}
    assert any(Page(place.format(payload)).strange(known) for place in places)
    assert not Page(places[0].format(escape(payload))).strange(known)


def test_no_argument_of_an_address_becomes_markup(sites: tuple[Site, Site]) -> None:
    check(*(list(_with_arguments(site, words)) for site, words in zip(sites, SAID, strict=True)))


def _with_arguments(site: Site, words: tuple[str, ...]) -> Iterator[tuple[str, Page]]:
    """Yield each page with words in its address: as one part of the path, as one argument, and as
    all at once."""
    examples = {one.endpoint: one.address.partition("?")[0] for one in site.visited}
    for one in VIEWS:
        if one.method != "GET":
            continue
        path, names = examples[one.endpoint], sorted(site.asked[one.endpoint])
        addresses = [f"{path}?{urlencode(dict.fromkeys(names, text))}" for text in words if names]
        for text in words[: len(KINDS)]:
            addresses += [f"{path}?{urlencode({name: text})}" for name in names]
            for part in re.findall("<[^>]+>", one.path):
                filled = one.path.replace(part, quote(text.replace("/", "_")))
                addresses.append("/ops" + re.sub("<[^>]+>", "failed", filled))
        for address in addresses:
            answer = site.browser.get(address)
            assert answer.status_code != 500, address
            if is_page(answer):
                yield one.endpoint, Page(answer.text)


def test_no_field_of_a_form_becomes_markup(sites: tuple[Site, Site]) -> None:
    check(*(list(_with_fields(site, words)) for site, words in zip(sites, SAID, strict=True)))


def _with_fields(site: Site, words: tuple[str, ...]) -> Iterator[tuple[str, Page]]:
    """Yield what each form is answered with words in its fields: in one, and in all at once."""
    forms = {
        view: form
        for visited in site.visited
        for form in visited.page.forms
        if form.method == "post" and (view := endpoint(site.app, form.action, "POST"))
    }
    assert len(forms) > 20
    for view, form in sorted(forms.items()):
        names = form.fields.keys() - {"csrf_token"}
        for text in words:
            few = [{name} for name in sorted(names)] if text in words[: len(KINDS)] else []
            for those in [*few, names] if names else []:
                answer = _sent(site, form, dict.fromkeys(those, text))
                assert answer.status_code < 500, (view, those, answer.text)
                if is_page(answer):
                    yield view, Page(answer.text)
                if answer.status_code == 303:
                    yield f"after {view}", Page(site.browser.get(answer.location).text)


def _sent(site: Site, form: Form, changed: dict[str, str]) -> TestResponse:
    fields: dict[str, Any] = {**form.fields, **changed}
    if text := changed.get("file"):
        fields["file"] = (io.BytesIO(text.encode()), text)
    elif "file" in fields:
        fields["file"] = (io.BytesIO(b"email\nada@example.com"), "people.csv")
    return site.browser.post(form.action, data=fields)


def test_no_word_of_a_conversation_becomes_markup(
    app: Flask, sign_in: SignIn, catcher: Catcher
) -> None:
    at = "/ops/transports/default"
    # None may have as many conversations in an hour.
    browsers = cycle([sign_in("operator"), sign_in("admin")])

    def conversation(words: str) -> Page:
        browser = next(browsers)
        catcher.rules.clear()
        catcher.script("mail", f"550 5.7.1 {words}")
        answer = submit(browser, f"{at}/test", at=at, address="ann@example.com")
        return Page(answer.text)

    plains = [conversation(PLAIN) for _ in range(2)]  # an admin has more in the menu
    for payload, plain in zip(PAYLOADS, cycle(plains), strict=False):
        found = conversation(payload)
        assert found.shapes == plain.shapes, payload
        assert found.strange(set(plain.shapes)) == []
        assert payload.strip() in found.text or not payload.isascii()


def test_no_name_of_a_member_becomes_markup(make_app: AppFactory) -> None:
    app = make_app(MAILER_CONSOLE_USER_HEADER="X-User")
    database, browser = of(app).database, app.test_client()

    def pages(name: str) -> list[Page]:
        with pytest.raises(
            ValueError, match=r"^name: expected 1 to 100 of a-z 0-9 \. _ @ \+ -, got"
        ):
            members.add(database, name, "viewer", PASSWORD, actor="test")
        refused = browser.get("/ops/", headers={"X-User": name})
        with database.begin() as connection:  # where that check may have been forgotten
            values = {"name": name.strip().lower(), "role": "viewer", "password_hash": ""}
            connection.execute(sa.insert(Member).values(**values, created_at=1.0))
        answers = [refused, *(browser.get(at, headers={"X-User": name}) for at in ("/ops/", PATH))]
        assert [one.status_code for one in answers] == [403, 200, 403]
        return [Page(one.text) for one in answers]

    plain = pages(PLAIN)
    for payload in filter(str.isascii, PAYLOADS):  # as a header is
        hostile = pages(payload)
        for one, other in zip(hostile, plain, strict=True):
            assert one.shapes == other.shapes, payload
            assert one.strange(set(other.shapes)) == []
        assert payload.strip().lower() in hostile[1].text


@pytest.mark.parametrize("cookie", ["mailer_console", "session"])
def test_no_cookie_becomes_markup(app: Flask, cookie: str) -> None:
    plain = Page(app.test_client().get("/ops/", follow_redirects=True).text)
    for payload in PAYLOADS:
        browser = app.test_client()
        browser.set_cookie(cookie, quote(payload), path="/")
        browser.set_cookie(cookie, payload.replace(";", ""), path="/ops/")
        page = Page(browser.get("/ops/", follow_redirects=True).text)
        assert page.shapes == plain.shapes, payload
