"""The audit in the console"""

from __future__ import annotations

import pytest
from flask import Flask

from mailer import dispatcher
from mailer.ledger.acts import Action
from mailer.state import of

from .conftest import SignIn, submit

PATH = "/ops/audit"


def test_who_did_what_is_shown_and_found(app: Flask, sign_in: SignIn) -> None:
    with app.app_context():
        dispatcher.pause("bulk", actor="<b>ann</b>")
    browser = sign_in("operator")
    submit(browser, "/ops/lanes/bulk/resume", at="/ops/transports")

    page = browser.get(PATH).text

    assert "&lt;b&gt;ann&lt;/b&gt;</a>" in page
    assert 'href="/ops/audit?actor=member+operator">member operator</a>' in page
    assert '<td data-label="To">lane bulk</td>' in page
    assert '<td data-label="Did">sign in</td>' in page
    found = browser.get(f"{PATH}?actor=member+operator&action=resume&since=1").text
    assert '<td data-label="Did">resume</td>' in found
    assert '<td data-label="Did">sign in</td>' not in found
    assert "Nobody did anything that matches." in browser.get(f"{PATH}?actor=nobody").text


ID = "019a5c1e-7c3a-7cc0-8a53-8a6a1d0d7d5e"


@pytest.mark.parametrize(
    ("action", "about", "shown"),
    [
        ("retry", ID, f'<a href="/ops/emails/{ID}">{ID}</a>'),
        (
            "cancel",
            f"state=queued bulk={ID}",
            f'state=queued bulk=<a href="/ops/bulk/{ID}">{ID}</a>',
        ),
        ("send test", f"welcome {ID}", f'welcome <a href="/ops/emails/{ID}">{ID}</a>'),
        ("send test", "transport main", 'transport <a href="/ops/transports/main">main</a>'),
        ("pause", "lane bulk", "lane bulk"),
        ("upload file", f"bulk {ID}", f'bulk <a href="/ops/bulk/{ID}">{ID}</a>'),
        ("start job", f"retry {ID}", f'retry <a href="/ops/jobs/{ID}">{ID}</a>'),
        ("stop job", ID, f'<a href="/ops/jobs/{ID}">{ID}</a>'),
        ("rotate secret", ID, f'<a href="/ops/webhooks/{ID}">{ID}</a>'),
        ("replay events", f"webhook {ID}", f'webhook <a href="/ops/webhooks/{ID}">{ID}</a>'),
        ("delete webhook", ID, ID),  # it is gone
        ("make key", f"{ID} {ID}", f"{ID} {ID}"),  # a key has no page
        ("retry", f"<b> {ID}", f"&lt;b&gt; {ID}"),
        (
            "resume",
            'transport "><b>',
            'transport <a href="/ops/transports/%22%3E%3Cb%3E">&#34;&gt;&lt;b&gt;</a>',
        ),
    ],
)
def test_what_an_act_was_about_is_a_link_where_it_has_a_page(
    app: Flask, sign_in: SignIn, action: Action, about: str, shown: str
) -> None:
    of(app).ledger.note("ann", action, about)
    page = sign_in("viewer").get(f"{PATH}?actor=ann").text
    assert f'<td data-label="To">{shown}</td>' in page


def test_wrong_filters_are_named(sign_in: SignIn) -> None:
    browser = sign_in("viewer")
    answer = browser.get(f"{PATH}?action=dance&since=zzz")
    assert answer.status_code == 422
    assert "action: expected one of retry, " in answer.text
    assert "got &#39;dance&#39;. It was left out." in answer.text
    words = "since: expected one of 1, 24, 168 hours, got &#39;zzz&#39;. It was left out."
    assert words in answer.text
    assert answer.text.count('<select name="') == answer.text.count('aria-invalid="true"') == 2
    assert '<td data-label="Did">sign in</td>' in answer.text
    assert "after: expected a whole number" in browser.get(f"{PATH}?after=x").text
