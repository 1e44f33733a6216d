"""What a key may do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mailer.grants import Grant, checked, rate_of

SOON = datetime.now(UTC) + timedelta(hours=1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scopes": []}, "scopes: expected some of send, read, manage"),
        ({"scopes": ["admin"]}, r"got \['admin'\]"),
        ({"senders": ["shop.example"]}, "senders: expected an address or a pattern such as"),
        ({"senders": ["*"]}, "senders: expected an address"),
        ({"senders": ["a@"]}, "senders: expected an address"),
        ({"senders": ["a b@shop.example"]}, "senders: expected an address"),
        ({"senders": ["[ab]@shop.example"]}, "senders: expected an address"),
        ({"senders": ["*@büro.example"]}, "other letters as xn--"),
        ({"recipients": ["x" * 320 + "@a.example"]}, "recipients: expected an address"),
        ({"recipients": [f"{n}@a.example" for n in range(51)]}, "recipients: expected at most 50"),
        ({"templates": [""]}, "templates: expected a template's name"),
        ({"templates": ["a\0"]}, "templates: expected a template's name"),
        ({"lane": "urgent"}, "lane: expected one of critical, default, bulk, got 'urgent'"),
        ({"rate": "many"}, "rate: expected 1 to 100000 in a time, such as 100/min"),
        ({"rate": "0/min"}, "got '0/min'"),
        ({"rate": "100001/day"}, "got '100001/day'"),
        ({"rate": "5/0 hours"}, "got '5/0 hours'"),
        ({"rate": "5/min;9/hour"}, "got '5/min;9/hour'"),
        ({"rate": "5/fortnight"}, "got '5/fortnight'"),
        ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "expires_at: expected an instant to"),
    ],
)
def test_what_is_wrong_is_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        checked(**options)


@pytest.mark.parametrize(
    ("given", "stored", "number", "seconds"),
    [
        ("100/min", "100/minute", 100, 60),
        ("100 per minute", "100/minute", 100, 60),
        ("007/Hours", "7/hour", 7, 3600),
        ("10/5 minutes", "10/5 minute", 10, 300),
        ("1/second", "1/second", 1, 1),
        ("5000/day", "5000/day", 5000, 86_400),
    ],
)
def test_a_rate_is_read_as_it_is_usually_written(
    given: str, stored: str, number: int, seconds: int
) -> None:
    rate = checked(rate=given).rate
    assert rate == stored
    item = rate_of(rate)
    assert (item.amount, item.get_expiry()) == (number, seconds)


def test_a_pattern_matches_whole_addresses_in_any_case() -> None:
    grant = checked(senders=["*@Shop.example", "b?b@other.example"], recipients=["qa@x.example"])
    assert grant.may_send_as("Orders@SHOP.example")
    assert grant.may_send_as("bob@other.example")
    for wrong in ("a@shop.example.evil.example", "a@evilshop.example", "boob@other.example", "",
                  "a@shop.example\n"):  # fmt: skip
        assert not grant.may_send_as(wrong)
    assert grant.may_mail("QA@x.example")
    assert not grant.may_mail("qa@y.example")
    assert checked().may_mail("anybody@anywhere.example")


def test_who_may_use_some_templates_may_use_nothing_else() -> None:
    grant = checked(templates=["reset_*"])
    assert grant.may_use("reset_password")
    assert not grant.may_use("welcome")
    assert not grant.may_use("RESET_password")
    assert not grant.may_use(None)
    assert checked().may_use(None)


FULL = {"scopes": ["send", "read", "manage"]}


@pytest.mark.parametrize(
    ("own", "wanted", "words"),
    [
        ({"scopes": ["manage"]}, {"scopes": ["send", "manage"]}, "scopes: it has no send itself"),
        ({"senders": ["*@a.example"]}, {}, "senders: expected some of *@a.example"),
        ({"senders": ["*@a.example"]}, {"senders": ["*@a.example", "x@b.example"]}, "senders"),
        ({"senders": ["*@a.example"]}, {"senders": ["*@*a.example"]}, "senders"),
        ({"senders": ["?@a.example"]}, {"senders": ["*@a.example"]}, "senders"),
        ({"senders": ["??@a.example"]}, {"senders": ["*@a.example"]}, "senders"),
        ({"senders": ["x@a.example"]}, {"senders": ["?@a.example"]}, "senders"),
        ({"recipients": ["qa@a.example"]}, {}, "recipients: expected some of qa@a.example"),
        ({"templates": ["reset_*"]}, {}, "templates: expected some of reset_*"),
        ({"templates": ["reset_*"]}, {"templates": ["*"]}, "templates"),
        ({"lane": "bulk"}, {}, "lane: expected bulk"),
        ({"lane": "bulk"}, {"lane": "critical"}, "lane: expected bulk"),
        ({"rate": "9/day"}, {"rate": "1/day"}, "scopes: expected none to send"),
        ({"is_test": True}, {}, "test: expected true"),
        ({"expires_at": SOON}, {}, "expires_at: expected "),
        ({"expires_at": SOON}, {"expires_at": SOON + timedelta(seconds=1)}, "expires_at: expected"),
    ],
)
def test_what_another_may_do_beyond_it_is_named(
    own: dict[str, Any], wanted: dict[str, Any], words: str
) -> None:
    lacks = checked(**{**FULL, **own}).lacks(checked(**{**FULL, **wanted}))
    assert lacks is not None
    assert words in lacks


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        ({}, {}),
        ({}, {"senders": ["a@a.example"], "lane": "bulk", "rate": "1/day", "is_test": True}),
        ({"senders": ["*@a.example"]}, {"senders": ["*@a.example"]}),
        ({"senders": ["*@a.example"]}, {"senders": ["x*@a.example", "?@a.example"]}),
        ({"senders": ["x@b.example", "*@*.example"]}, {"senders": ["*@a.example"]}),
        ({"templates": ["reset_?"]}, {"templates": ["reset_?", "reset_x"]}),
        ({"rate": "9/day"}, {"scopes": ["read"]}),
        ({"expires_at": SOON}, {"expires_at": SOON}),
        ({"lane": "bulk", "is_test": True}, {"lane": "bulk", "is_test": True}),
    ],
)
def test_what_another_may_do_within_it_is_fine(own: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert checked(**{**FULL, **own}).lacks(checked(**{**FULL, **wanted})) is None


def test_a_pattern_with_many_stars_is_decided_at_once() -> None:
    many = "*a" * 150 + "@a.example"
    grant = Grant(scopes=frozenset({"send"}), senders=(many,))
    assert not grant.may_send_as("a" * 300 + "@b.example")
    assert grant.lacks(checked(senders=["a" * 300 + "@b.example"])) is not None
