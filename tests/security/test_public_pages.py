"""Nothing that somebody wrote becomes markup of a public page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from flask import Flask

from mailer.dev.catcher import Catcher
from mailer.unsubscribe import Choice, mint

from ..conftest import AppFactory
from ..ops.hostile import PAYLOADS, PLAIN, Page


@pytest.fixture
def app(make_app: AppFactory, catcher: Catcher) -> Flask:
    return make_app(MAIL_PORT=catcher.smtp_port, MAILER_BASE_URL="http://localhost")


def pages(app: Flask, words: str) -> Iterator[tuple[str, Page]]:
    """Yield every page that is not the console's, with words in its path, in an argument, in the
    fields of its forms, as the product's name and as a category."""
    app.config["MAILER_PRODUCT_NAME"] = words
    browser = app.test_client()
    category = re.sub(" ", "_", words)
    token = mint(app.config, Choice(f"{words}@example.com".replace(" ", ""), category))
    paths = {
        one.rule: re.sub("<[^>]+>", quote(words.replace("/", "_")), one.rule)
        for one in app.url_map.iter_rules()
        if "GET" in (one.methods or ()) and not one.endpoint.startswith("ops.")
    }
    paths |= {"unsubscribe": f"/unsubscribe/{quote(token)}", "nothing": f"/nothing/{quote(words)}"}
    for name, path in sorted(paths.items()):
        answer = browser.get(path, query_string={"next": words}, headers={"Accept": "text/html"})
        assert answer.status_code < 500, path
        if answer.mimetype != "text/html":
            continue
        page = Page(answer.text, path)
        yield name, page
        for form in page.forms:
            given = {field: words for field in form.fields if field != "csrf_token"}
            sent = browser.post(form.action, data=form.fields | given)
            assert (sent.status_code < 500, sent.mimetype) == (True, "text/html")
            yield f"form of {name}", Page(sent.text)


def test_no_word_becomes_markup_of_a_public_page(app: Flask) -> None:
    plain = dict(pages(app, PLAIN))
    assert {"/", "/signup", "/reset", "/reset/<token>", "nothing", "/api/docs"} <= plain.keys()
    assert {"form of /signup", "form of /reset", "form of unsubscribe"} <= plain.keys()
    for payload in PAYLOADS:
        found = dict(pages(app, payload))
        assert found.keys() == plain.keys()
        assert payload in found["/"].text
        assert payload.replace("_", " ") in found["unsubscribe"].text
        for name, page in found.items():
            assert page.shapes == plain[name].shapes, (name, payload)
            assert page.strange(set(plain[name].shapes)) == [], (name, payload)
