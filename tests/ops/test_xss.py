"""Nothing that somebody wrote becomes markup of the console."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from mailer import dispatch
from mailer.content import Attachment
from mailer.dev.catcher import Catcher
from mailer.inbound.told import Told
from mailer.models import Email
from mailer.state import of

from .conftest import SignIn

PAYLOADS = (
    "<script>alert(1)</script>",
    "<ScRiPt src=//evil.example/x.js></ScRiPt>",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><img src=x onerror=alert(1)>',
    "'><img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg><script>alert&lpar;1&rpar;</script></svg>",
    '" onmouseover="alert(1)',
    "' onfocus='alert(1)' autofocus='",
    "` onclick=alert(1) `",
    "<body onload=alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<a href=javascript:alert(1)>x</a>",
    "javascript:alert(1)",
    "<math><mi//xlink:href='data:x,<script>alert(1)</script>'>",
    "<object data=javascript:alert(1)></object>",
    "<embed src=javascript:alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<marquee onstart=alert(1)>x</marquee>",
    "<base href=//evil.example/>",
    "<meta http-equiv=refresh content='0;url=javascript:alert(1)'>",
    "<form action=//evil.example><button>x</button></form>",
    "<style>*{background:url(//evil.example/x.png)}</style>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<div hx-get=//evil.example hx-trigger=load>x</div>",
    "<div hx-on:click=alert(1)>x</div>",
    "{{ ''.__class__ }}{% raw %}",
    "</title><script>alert(1)</script>",
    "</textarea></option></select><script>alert(1)</script>",
    "--><script>alert(1)</script><!--",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;img src=x onerror=alert(1)&#62;",
    "\u0130<img src=x onerror=alert(1)>",
    "\uff1cscript\uff1ealert(1)\uff1c/script\uff1e",
)
PLAIN = "nothing but words"


class Structure(HTMLParser):
    """Which elements a page has, with the names of their attributes, and where these lead."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.targets: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))
        leads = {"href", "src", "action", "hx-get"}
        self.targets += [value or "" for name, value in attrs if name in leads]


def dispatch_with(app: Flask, catcher: Catcher, words: str) -> str:
    """Have an email in the ledger with ``words`` wherever somebody can put them."""
    catcher.rules.clear()
    catcher.script("rcpt", f"550 5.7.1 {words}")
    with app.app_context():
        email = dispatch(
            subject=words,
            text=words,
            html=words,
            sender=(words, "shop@acme.example"),
            to=(words, "ada@example.com"),
            cc=(words, "ben@example.com"),
            reply_to=(words, "help@acme.example"),
            headers={"X-Words": words},
            attachments=[Attachment(filename=words.replace("/", "_").strip(), data=b"x")],
            idempotency_key=words,
        )
    with of(app).database.begin() as connection:  # where a check may have been forgotten
        is_its = Email.id == email.id
        connection.execute(sa.update(Email).where(is_its).values(tags={words: words}))
    bounced = Told(
        kind="bounced", source="ses", source_id=words, once=None, email_id=email.id,
        reference=None, recipients=("ada@example.com",), occurred_at=None, permanent=False,
        code=550, enhanced="5.7.1", words=words,
    )  # fmt: skip
    of(app).ledger.report([bounced], suppress_bounces=False)
    return email.id


def pages(browser: FlaskClient, email_id: str) -> dict[str, str]:
    paths = {"list": "/ops/emails?recipient=ada@example.com", "page": f"/ops/emails/{email_id}"}
    for tab in ("text", "headers", "source", "attachments"):
        paths[tab] = f"/ops/emails/{email_id}?tab={tab}"
    answers = {name: browser.get(path) for name, path in paths.items()}
    assert {answer.status_code for answer in answers.values()} == {200}
    return {name: answer.text for name, answer in answers.items()}


def test_nothing_of_an_email_becomes_markup_of_the_console(
    app: Flask, catcher: Catcher, sign_in: SignIn
) -> None:
    browser = sign_in("operator")
    plain = pages(browser, dispatch_with(app, catcher, PLAIN))
    shapes = {name: Structure(page).found for name, page in plain.items()}
    for number, payload in enumerate(PAYLOADS, 2):
        for name, page in pages(browser, dispatch_with(app, catcher, payload)).items():
            structure = Structure(page)
            if name == "list":
                assert structure.found.count(("tr", ())) == 1 + number
                assert set(structure.found) == set(shapes[name]), payload
            else:
                assert structure.found == shapes[name], (name, payload)
            assert all(one.startswith(("/", "#")) for one in structure.targets), (name, payload)


FIELDS = ("q", "state", "lane", "template", "recipient", "tag", "transport", "code", "since",
          "until", "after", "before")  # fmt: skip


@pytest.mark.parametrize("field", FIELDS)
def test_no_filter_becomes_markup_of_the_console(sign_in: SignIn, field: str) -> None:
    browser = sign_in("viewer")

    def shape(words: str) -> list[tuple[str, tuple[str, ...]]]:
        answer = browser.get("/ops/emails", query_string={field: words})
        structure = Structure(answer.text)
        assert all(one.startswith(("/", "#")) for one in structure.targets), words
        return structure.found

    expected = shape(PLAIN)
    for payload in PAYLOADS:
        assert shape(payload) == expected, payload


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_address_becomes_markup_of_an_error(sign_in: SignIn, payload: str) -> None:
    answer: Any = sign_in("viewer").get(f"/ops/emails/{payload.replace('/', '_')}")
    assert answer.status_code == 404
    assert "<script>" not in answer.text
    assert "<img src=x" not in answer.text
