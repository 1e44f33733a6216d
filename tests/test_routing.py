"""Preference, shares by weight and rules."""

from __future__ import annotations

from collections import Counter

from mailer.dsn import parse
from mailer.routing import Parcel, choose, steps

RESET = Parcel("critical", "acme.example", "example.com", is_test=False, lot=0.5)


def chosen(
    text: str,
    parcel: Parcel = RESET,
    *,
    unusable: set[str] | None = None,
    full: set[str] | None = None,
) -> str | None:
    choice = choose(steps(parse(text)), parcel, unusable=unusable or set(), full=full or set())
    return choice and (f"{choice.name} later" if choice.is_full else choice.name)


def test_the_first_is_preferred_and_the_next_takes_over() -> None:
    text = "a=smtp://a.example,b=smtp://b.example,c=smtp://c.example"
    assert chosen(text) == "a"
    assert chosen(text, unusable={"a"}) == "b"
    assert chosen(text, unusable={"a", "b"}) == "c"
    assert chosen(text, unusable={"a", "b", "c"}) is None


def test_a_limit_is_waited_for_and_not_evaded_by_the_backup() -> None:
    assert chosen("a=smtp://a.example,b=smtp://b.example", full={"a"}) == "a later"


def test_neighbours_with_a_weight_share_in_proportion_and_stand_in_for_each_other() -> None:
    text = "a=smtp://a.example?weight=3,b=smtp://b.example?weight=1,c=smtp://c.example"
    lots = [number / 1000 for number in range(1000)]
    shares = Counter(chosen(text, RESET._replace(lot=lot)) for lot in lots)
    assert shares == {"a": 750, "b": 250}
    assert {chosen(text, RESET._replace(lot=lot), full={"a"}) for lot in lots} == {"b"}
    assert {chosen(text, RESET._replace(lot=lot), unusable={"b"}) for lot in lots} == {"a"}
    assert chosen(text, unusable={"a", "b"}) == "c"


def test_the_same_lot_takes_the_same_way() -> None:
    text = "a=smtp://a.example?weight=1,b=smtp://b.example?weight=1"
    assert {chosen(text, RESET._replace(lot=0.7)) for _ in range(20)} == {"b"}


def test_a_rule_takes_what_fits_it_and_nothing_else() -> None:
    text = (
        "news=smtp://n.example?lane=bulk,google=smtp://g.example?recipient=gmail.com"
        ",brand=smtp://b.example?sender=brand.example,all=smtp://a.example"
    )
    assert chosen(text) == "all"
    assert chosen(text, RESET._replace(lane="bulk")) == "news"
    assert chosen(text, RESET._replace(recipient_domain="gmail.com")) == "google"
    assert chosen(text, RESET._replace(sender_domain="brand.example")) == "brand"
    assert chosen(text, RESET._replace(lane="bulk"), unusable={"news"}) == "all"


def test_what_is_for_test_takes_test_mail_and_nothing_else() -> None:
    text = "a=smtp://a.example,t=smtp://t.example?for=test,b=smtp://b.example"
    test = RESET._replace(is_test=True)
    assert chosen(text) == "a"
    assert chosen(text, unusable={"a", "b"}) is None
    assert chosen(text, test) == "t"
    assert chosen(text, test, unusable={"t"}) is None
    assert chosen(text, test, full={"t"}) == "t later"
    assert chosen("a=smtp://a.example", test) is None


def test_what_is_for_test_parts_no_neighbours_that_share() -> None:
    text = "a=smtp://a.example?weight=1,t=smtp://t.example?for=test,b=smtp://b.example?weight=1"
    lots = [number / 100 for number in range(100)]
    shares = Counter(chosen(text, RESET._replace(lot=lot)) for lot in lots)
    assert shares == {"a": 50, "b": 50}
