"""Templates in the console: looked at, tried with other values, sent as a test"""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from limits import parse

from mailer.content import Context
from mailer.dev.catcher import Catcher
from mailer.ledger import Filters
from mailer.ops import limits
from mailer.ops.routes import templates
from mailer.ops.routes.templates import GMAIL_CLIPS_BYTES
from mailer.state import of

from ..conftest import AppFactory
from .conftest import SignIn, submit, token

PATH = "/ops/templates"


@pytest.fixture
def app(make_app: AppFactory, catcher: Catcher, tmp_path: Path) -> Flask:
    def write(name: str, **files: str) -> None:
        (tmp_path / "emails" / name).mkdir(parents=True)
        for file, text in files.items():
            (tmp_path / "emails" / name / file.replace("_", ".")).write_text(text)

    write(
        "news",
        subject_txt="News for {{ name }}",
        body_html="<style>@media (prefers-color-scheme: dark) { p { color: #fff } }</style>"
        "<p>{{ name }}: {{ what }}</p><a href='{{ unsubscribe_url }}'>Stop</a>",
        template_toml='category = "news"\nlane = "bulk"\ndescription = "What <b>is</b> new"',
        sample_json='{"name": "Ada", "what": "all"}',
    )
    write("large", subject_txt="x", body_html="<p>" + "x" * GMAIL_CLIPS_BYTES)
    write("broken", subject_txt="{{ name", body_txt="x")
    write("wrong", subject_txt="x", body_txt="x", template_toml='lane = "fast"')
    return make_app(
        MAIL_PORT=catcher.smtp_port,
        MAILER_TEMPLATES=str(tmp_path / "emails"),
        MAILER_BASE_URL="http://localhost",
    )


def typed(**values: Any) -> str:
    return json.dumps(values)


def shown(app_page: str) -> str:
    """Return the address that the frame of a page shows."""
    found = re.search(r'<iframe [^>]*src="([^"]+)"', app_page)
    assert found, app_page
    return unescape(found[1])


def test_all_are_listed_and_those_that_cannot_be_used_say_why(sign_in: SignIn) -> None:
    page = sign_in("viewer").get(PATH).text
    assert "What &lt;b&gt;is&lt;/b&gt; new" in page
    assert ">name, what</td>" in page
    assert 'href="/ops/templates/confirm_email"' in page
    assert page.count("cannot be used") == 2
    assert "lane: expected one of critical, default, bulk" in unescape(page)
    assert 'href="/ops/templates/wrong"' not in page


def test_one_that_is_not_there_or_cannot_be_used_has_no_page(sign_in: SignIn) -> None:
    browser = sign_in("viewer")
    assert browser.get(f"{PATH}/nothing").status_code == 404
    answer = browser.get(f"{PATH}/wrong")
    assert answer.status_code == 404
    assert "cannot be used" in answer.text


def test_the_sample_is_shown_in_a_frame_in_which_nothing_runs(sign_in: SignIn) -> None:
    browser = sign_in("viewer")
    page = browser.get(f"{PATH}/news").text
    assert "News for Ada" in page
    assert '"what": "all"' in unescape(page)
    assert " sandbox src=" in page

    frame = browser.get(shown(page))

    assert "<p>Ada: all</p>" in frame.text
    policy = frame.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox; default-src 'none'; ")
    assert "script-src" not in policy
    assert "frame-ancestors 'self'" in policy


def test_other_values_are_shown_live_and_what_is_missing_is_named(sign_in: SignIn) -> None:
    browser = sign_in("viewer")
    csrf = token(browser.get(f"{PATH}/news").text)

    def part(context: str) -> str:
        answer = browser.post(
            f"{PATH}/news",
            data={"csrf_token": csrf, "context": context},
            headers={"HX-Request": "true"},
        )
        assert answer.status_code == 200
        assert "<html" not in answer.text
        return answer.text

    changed = part(typed(name="<i>Ben</i>", what="some"))
    assert "News for &lt;i&gt;Ben&lt;/i&gt;" in changed
    assert "&lt;i&gt;Ben&lt;/i&gt;: some" in browser.get(shown(changed)).text
    assert "Missing: what." in part(typed(name="Ben"))
    assert "expected a JSON object, got list" in part("[]")
    assert "values: Expecting" in part('{"name": ')
    assert "press Preview" in part(typed(name="x" * 5000, what="long"))
    assert "too large" not in changed
    assert "too large" in browser.get(f"{PATH}/large").text


def test_values_too_long_for_an_address_are_sent_into_the_frame(sign_in: SignIn) -> None:
    long = "x" * 5000
    answer = submit(
        sign_in("viewer"),
        f"{PATH}/news/html",
        at=f"{PATH}/news",
        context=typed(name="Ben", what=long),
    )
    assert long in answer.text
    assert "sandbox" in answer.headers["Content-Security-Policy"]


def test_dark_and_light_are_shown_whatever_the_browser_prefers(sign_in: SignIn) -> None:
    browser = sign_in("viewer")
    dark = browser.get(f"{PATH}/news/html?scheme=dark").text
    assert "@media (min-width: 0)" in dark
    light = browser.get(f"{PATH}/news/html").text
    assert "@media (max-width: 0)" in light
    assert 'content="dark"' in browser.get(f"{PATH}/welcome/html?scheme=dark").text


def test_a_locale_is_shown(sign_in: SignIn) -> None:
    browser = sign_in("viewer")
    page = submit(
        browser,
        f"{PATH}/confirm_email",
        at=f"{PATH}/confirm_email",
        locale="de",
        context=typed(confirm_url="https://x.example", expires_in="2 Tage"),
    ).text
    assert "<option selected>de</option>" in page
    assert "2 Tage" in browser.get(shown(page)).text


def test_a_test_is_a_real_email_once(app: Flask, sign_in: SignIn, catcher: Catcher) -> None:
    browser = sign_in("operator")
    fields = {"context": typed(name="Ben", what="this"), "address": "eve@example.com", "once": "1"}

    answer = submit(browser, f"{PATH}/news/send", at=f"{PATH}/news", **fields)
    submit(browser, f"{PATH}/news/send", at=f"{PATH}/news", **fields)

    assert "on its way to eve@example.com" in answer.text
    (message,) = catcher.messages()
    assert message.subject == "[Test] News for Ben"
    assert "Ben: this" in message.html
    assert "List-Unsubscribe" in dict(message.headers)
    (row,) = of(app).ledger.list(Filters(), 10)
    assert (row.lane, row.template) == ("default", None)
    assert of(app).ledger.show(row.email_id).email.accepted_by == "member operator"
    acts, _ = of(app).ledger.acts(5, action="send test")
    assert [one.about for one in acts] == [f"news {row.email_id}"]


def test_tests_have_a_rate_and_what_sends_nothing_does_not_count(
    app: Flask, sign_in: SignIn, catcher: Catcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(templates, "TESTS", limits.TESTS._replace(rate=parse("2/hour")))
    browser, at = sign_in("operator"), f"{PATH}/news"
    tries = [("eve", "1"), ("eve@example.com", "2"), ("eve@example.com", "2"),
             ("bob@example.com", "3"), ("ann@example.com", "4")]  # fmt: skip
    answers = [submit(browser, f"{at}/send", at=at, address=to, once=once) for to, once in tries]
    assert [one.status_code for one in answers] == [422, 200, 200, 200, 429]
    assert "That was tried too often. Please try again in 60 min." in answers[-1].text
    assert len(catcher.messages()) == 2


def test_no_context_loader_is_called_for_a_preview_or_a_test(
    app: Flask, sign_in: SignIn, catcher: Catcher
) -> None:
    called: list[Context] = []

    def load(context: Context) -> None:
        called.append(context)

    of(app).loaders["confirm_email"] = load
    browser, at = sign_in("operator"), f"{PATH}/confirm_email"
    page = browser.get(at).text
    assert "here it is not called" in page
    submit(browser, f"{at}/send", at=at, address="eve@example.com", once="2")
    assert called == []
    (message,) = catcher.messages()
    assert "https://app.example.com/confirm/" in message.text
    (row,) = of(app).ledger.list(Filters(), 10)
    assert row.lane == "default"


def test_a_test_that_cannot_be_sent_says_why(app: Flask, sign_in: SignIn, catcher: Catcher) -> None:
    browser, at = sign_in("operator"), f"{PATH}/news"
    wrong = submit(browser, f"{at}/send", at=at, address="eve", once="3")
    assert wrong.status_code == 422
    assert "to: expected" in wrong.text
    wrong = submit(browser, f"{at}/send", at=at, address="", once="4")
    assert wrong.status_code == 422
    context = typed(name="Ben")
    wrong = submit(browser, f"{at}/send", at=at, address="eve@example.com", context=context)
    assert "is undefined" in unescape(wrong.text)
    of(app).ledger.suppress(["gone@example.com"], origin="bounce")
    wrong = submit(browser, f"{at}/send", at=at, address="gone@example.com", once="5")
    assert wrong.status_code == 422
    assert "gone@example.com is suppressed (bounce): nothing is sent there" in wrong.text
    assert of(app).ledger.list(Filters(), 10) == []
    assert catcher.messages() == []


@pytest.mark.parametrize("path", ["", "/html", "/send"])
def test_half_a_character_is_refused_in_words(sign_in: SignIn, path: str) -> None:
    answer = submit(
        sign_in(), f"{PATH}/news{path}", at=f"{PATH}/news", address="ada@example.com",
        context='{"name": "\\ud83d", "what": "x"}',
    )  # fmt: skip
    words = "values: expected whole characters, got half of one, \\ud83d"
    assert words in answer.text
    assert answer.status_code == (422 if path else 200)


def test_members_may_try_as_many_values_as_an_email_may_have(app: Flask, sign_in: SignIn) -> None:
    browser, stranger = sign_in("operator"), app.test_client()
    values = typed(name="Ada", what="\u00e4" * 30_000)
    for path, status in (("", 200), ("/html", 200), ("/send", 200)):
        answer = submit(
            browser, f"{PATH}/news{path}", at=f"{PATH}/news", context=values,
            address="ada@example.com", once="1",
        )  # fmt: skip
        assert answer.status_code == status
        assert "got 60" not in answer.text
    csrf = token(stranger.get("/ops/sign-in").text)
    data = {"csrf_token": csrf, "context": values}
    assert stranger.post(f"{PATH}/news", data=data).status_code == 413
