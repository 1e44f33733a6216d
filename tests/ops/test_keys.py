"""Keys of the HTTP API in the console"""

from __future__ import annotations

import re
from typing import Any

from flask import Flask

from mailer import keys
from mailer.state import of

from .conftest import SignIn, hidden, submit

PATH = "/ops/keys"


def test_a_key_is_made_shown_once_and_revoked(app: Flask, sign_in: SignIn) -> None:
    browser, database = sign_in("admin"), of(app).database

    answer = submit(
        browser,
        PATH,
        name="shop",
        scope=["send", "read"],
        senders="*@shop.example  news@shop.example",
        rate="100/min",
        expires="30",
    )

    found = re.search(r'value="(mk_[^"]+)"', answer.text)
    assert found
    token = found[1]
    key = keys.find(database, token)
    assert key is not None
    assert key.scopes == {"send", "read"}
    assert key.senders == ("*@shop.example", "news@shop.example")
    page = browser.get(PATH).text
    assert token not in page
    assert "as *@shop.example news@shop.example; 100/minute; until " in page

    submit(browser, f"{PATH}/{key.id}/revoke", at=PATH)

    assert keys.find(database, token) is None
    assert "There are no keys" in browser.get(PATH).text
    assert submit(browser, f"{PATH}/{key.id}/revoke", at=PATH).status_code == 404


def test_a_form_sent_twice_makes_one_key(app: Flask, sign_in: SignIn) -> None:
    browser = sign_in("admin")
    fields = {**hidden(browser.get(PATH).text, PATH), "name": "shop", "scope": "send"}
    first, second = (browser.post(PATH, data=fields) for _ in range(2))
    (key,) = keys.listing(of(app).database)
    assert (first.status_code, second.status_code) == (200, 409)
    assert f"No second one was made: the key {key.id} was made already" in second.text
    assert 'value="mk_' not in second.text
    fields |= hidden(second.text, PATH)
    assert browser.post(PATH, data=fields).status_code == 200  # the form on this page is new
    assert len(keys.listing(of(app).database)) == 2
    submit(browser, f"{PATH}/{key.id}/revoke", at=PATH)
    assert browser.post(PATH, data={**fields, "key_id": key.id}).status_code == 409
    assert browser.post(PATH, data={**fields, "key_id": "x"}).status_code == 400


def test_what_is_wrong_with_a_key_is_named_and_the_form_kept(app: Flask, sign_in: SignIn) -> None:
    browser = sign_in("admin")
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"scope": []}, "scopes: expected some of"),
        ({"scope": "send", "senders": "shop.example"}, "senders: expected an address"),
        ({"scope": "send", "lane": "fast"}, "lane: expected one of"),
        ({"scope": "send", "rate": "many"}, "rate: expected"),
        ({"scope": "send", "expires": "2"}, "expires: expected one of"),
        ({"scope": "send", "name": "x" * 101}, "name: expected 1 to 100"),
    )
    for wrong, words in cases:
        answer = submit(browser, PATH, **{"name": "shop", **wrong})
        assert answer.status_code == 422
        assert words in answer.text
    assert keys.listing(of(app).database) == []
