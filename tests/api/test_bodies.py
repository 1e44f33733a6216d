"""Bodies that are meant to do harm, or are broken: a clear 4xx in JSON, and nothing stored."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from mailer import Filters
from mailer.state import of

Call = Callable[..., Any]
EMAIL = '"from": "a@example.com", "to": "b@example.com", "subject": "s"'
VARIABLES = (
    '{"to": "b@example.com", "template": {"id": "password_changed", "variables":'
    ' {"reset_url": "x", "changed_at": %s}}}'
)


def post(app: Flask, token: str, body: bytes, path: str = "/emails") -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    answer = app.test_client().post(f"/api{path}", data=body, headers=headers)
    assert answer.mimetype == "application/json", answer.data
    return answer.status_code, answer.get_json()


NESTED = 10_000
BODIES: list[tuple[str | bytes, str]] = [
    ("[" * NESTED + "]" * NESTED, "recursion limit exceeded"),
    ('{"a":' * NESTED + "1" + "}" * NESTED, "recursion limit exceeded"),
    (VARIABLES % ("[" * NESTED + "]" * NESTED), "recursion limit exceeded"),
    (VARIABLES % ("[" * 100 + "]" * 100), "template.variables: expected at most 50 levels"),
    (VARIABLES % "NaN", "template.variables: expected JSON values"),
    (VARIABLES % "-Infinity", "template.variables: expected JSON values"),
    (VARIABLES % "1e999", "template.variables: expected JSON values"),
    (VARIABLES % ("9" * 5_000), "number out of range"),
    (VARIABLES % '"\\ud800"', "hex escape"),
    (b'{%s, "text": "\xff"}' % EMAIL.encode(), "unicode code point"),
    (b'{%s, "text": "\xed\xa0\x80"}' % EMAIL.encode(), "unicode code point"),
    (f'{{{EMAIL}, "text": "\\ud800 alone"}}', "hex escape"),
    (f'{{{EMAIL}, "text": "\\udc00\\ud800"}}', "surrogate"),
    (f'{{{EMAIL}, "text": "a", "text": "b"}}', "body: expected 'text' once in an object"),
    (f'{{{EMAIL}, "text": "a", "t\\u0065xt": "b"}}', "body: expected 'text' once"),
    (f'{{{EMAIL}, "text": "a", "headers": {{"X-A": "1", "X-A": "2"}}}}', "expected 'X-A' once"),
    (f'{{{EMAIL}, "text": "a", "\\ud800": 1, "\\ud800": 2}}', "once in an object"),
    (VARIABLES % '{"a": 1, "b": 2, "a": 3}', "body: expected 'a' once in an object"),
    (f'{{{EMAIL}, "text": NaN}}', "text: Input should be a valid string"),
    (f'{{{EMAIL}, "text": {"9" * 5_000}}}', "number out of range"),
    (f'{{{EMAIL}, "text": "a\\u0000b"}}', "text"),
    (f'{{{EMAIL}, "text": "a"}} x', "trailing characters"),
    (f'{{{EMAIL}, "text": "a",}}', "trailing comma"),
    ("{'to': 'b'}", "key must be a string"),
    ("\ufeff" + f'{{{EMAIL}, "text": "a"}}', "expected value"),
    (f'{{{EMAIL}, "text": "a"}}'.encode("utf-16"), "expected value"),
    ("null", "body: Input should be an object"),
    ("7", "body: Input should be an object"),
    ("", "EOF while parsing"),
]


@pytest.mark.parametrize(("body", "words"), BODIES, ids=[str(one[0])[-40:] for one in BODIES])
def test_what_is_wrong_with_a_body_is_said_and_nothing_is_stored(
    app: Flask, key: Callable[..., str], body: str | bytes, words: str
) -> None:
    raw, token = body.encode() if isinstance(body, str) else body, key()
    status, answer = post(app, token, raw)
    assert (status, answer["statusCode"], answer["name"]) == (422, 422, "validation_error")
    assert words in answer["message"]
    assert post(app, token, b"[" + raw + b"]", "/emails/batch")[0] == 422
    assert of(app).ledger.list(Filters(), None) == []


def test_a_number_of_a_million_digits_takes_no_time(app: Flask, key: Callable[..., str]) -> None:
    token = key()
    body = (VARIABLES % ("9" * 1_000_000)).encode()
    began = time.monotonic()
    assert post(app, token, body)[0] == 422
    assert time.monotonic() - began < 5


def test_each_email_of_a_batch_says_everything_once_and_all_of_them_the_same(
    app: Flask, key: Callable[..., str]
) -> None:
    one = f'{{{EMAIL}, "text": "a", "headers": {{"X-A": "1", "X-B": "1"}}}}'
    assert post(app, key(), f"[{one}, {one}]".encode(), "/emails/batch")[0] == 200
    assert len(of(app).ledger.list(Filters(), None)) == 2


def test_letters_of_every_kind_arrive_as_they_were(app: Flask, call: Call) -> None:
    words = "naïve 東京 \U0001f600 \u2028"
    body = {"from": "a@example.com", "to": "b@example.com", "subject": "s", "text": words}
    for written in (json.dumps(body), json.dumps(body, ensure_ascii=False)):
        sent = call("POST", "/emails", json.loads(written))[1]
        assert call("GET", f"/emails/{sent['id']}")[1]["text"] == words


@pytest.mark.parametrize(
    ("route", "body", "expected"),
    [
        ("POST /api-keys", b'{"name": "a", "name": "b"}', "expected 'name' once"),
        ("POST /api-keys", b"[" * 10_000, "recursion limit exceeded"),
        (
            "PATCH /api-keys/00000000-0000-7000-8000-000000000000",
            b'{"name": "\\ud800"}',
            "hex escape",
        ),
    ],
)
def test_other_routes_read_no_worse(
    app: Flask, key: Callable[..., str], route: str, body: bytes, expected: str
) -> None:
    method, path = route.split()
    headers = {"Authorization": f"Bearer {key()}", "Content-Type": "application/json"}
    answer = app.test_client().open(f"/api{path}", method=method, data=body, headers=headers)
    assert answer.status_code == 422
    assert expected in (answer.get_json() or {})["message"]
