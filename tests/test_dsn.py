"""``MAILER_TRANSPORTS``: what is understood, and what is refused with what was expected."""

from __future__ import annotations

from typing import Any

import pytest

from mailer.config import load
from mailer.dsn import Dsn, Rule, parse
from mailer.errors import SettingError
from mailer.quota import Limits

PRIMARY = "primary=smtp+starttls://app:s3cret@relay.example:2587?rate=14&connections=10&timeout=20"
BACKUP = "backup=smtps://backup.example"


def test_names_servers_and_limits_are_read_in_order() -> None:
    primary, backup = parse(f"{PRIMARY}, {BACKUP}")
    assert primary == Dsn(
        name="primary", security="starttls", host="relay.example", port=2587, username="app",
        password="s3cret", limits=Limits(14, 10), timeout=20,
    )  # fmt: skip
    assert backup == Dsn(name="backup", security="tls", host="backup.example", port=465)


@pytest.mark.parametrize(
    ("scheme", "security", "port"),
    [("smtp", "none", 25), ("smtp+starttls", "starttls", 587), ("smtps", "tls", 465)],
)
def test_a_scheme_says_how_it_is_secured_and_which_port(
    scheme: str, security: str, port: int
) -> None:
    (one,) = parse(f"x={scheme}://relay.example")
    assert (one.security, one.port) == (security, port)


def test_a_password_of_reserved_characters_is_percent_encoded() -> None:
    (one,) = parse("x=smtps://app%40acme.example:a%2Fb%2C%3F%23@relay.example")
    assert (one.username, one.password) == ("app@acme.example", "a/b,?#")


def test_an_ipv6_address_is_a_host() -> None:
    assert parse("x=smtp://[::1]:2525")[0].host == "::1"


def test_rules_are_sets_of_lanes_and_domains() -> None:
    rule = parse(
        "a=smtp://a.example?lane=bulk&lane=default&sender=News.Example&recipient=gmail.com,"
        "b=smtp://b.example"
    )[0].rule
    assert rule == Rule(
        frozenset({"bulk", "default"}), frozenset({"news.example"}), frozenset({"gmail.com"})
    )


def test_a_mapping_does_as_well() -> None:
    assert parse({"a": "smtp://a.example", "b": "smtps://b.example"}) == parse(
        "a=smtp://a.example,b=smtps://b.example"
    )


def test_what_an_address_does_not_say_is_as_in_the_settings_of_flask_mail() -> None:
    config: dict[str, Any] = {
        "MAILER_TRANSPORTS": "a=smtp://a.example?timeout=5",
        "MAIL_FINAL_TIMEOUT_SECONDS": 77,
    }
    load(config, {})
    server = config["MAILER_TRANSPORTS"][0].server(config)
    assert (server.timeout, server.final_timeout, server.connect_timeout) == (5, 77, 10)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", "NAME="),
        ("relay.example", "NAME="),
        ("a=http://relay.example", "a: one of smtp, smtp+starttls, smtps before ://"),
        ("a=smtp://", "a: HOST:PORT"),
        ("a=smtp://relay.example:port", "a: an address such as"),
        ("a=smtp://app@relay.example", "a: user and password, or neither"),
        ("a=smtp://relay.example?rates=3", "a: no option 'rates'; did you mean rate?"),
        ("a=smtp://relay.example?rate=0", "a: rate=a number from 0.001 to 100000, got '0'"),
        ("a=smtp://relay.example?rate=x", "a: rate=a number"),
        ("a=smtp://relay.example?connections=1.5", "a: connections=a whole number from 1"),
        ("a=smtp://relay.example?rate=1&rate=2", "a: rate once, not 2 times"),
        ("a=smtp://relay.example?lane=urgent", "a: lane=one of critical, default, bulk"),
        ("a=smtp://relay.example?sender=@x", "a: sender=a domain"),
        ("a=smtp://relay.example?without=STARTTLS", "a: without=one of CHUNKING, PIPELINING"),
        ("a=smtp://relay.example?for=live", "a: for=test, got 'live'"),
        ("a=smtp://x.example?for=test", "a transport for lane critical without a rule"),
        ("a=smtp://x.example,a=smtp://y.example", "each name once, and a is there 2 times"),
        ({"a b": "smtp://x.example"}, "'a b'"),
        (25, "NAME="),
        ("a=smtp://x.example?lane=critical&lane=default", "a transport for lane bulk"),
        ("a=smtp://x.example?recipient=gmail.com", "a transport for lane critical without a rule"),
    ],
)
def test_what_is_wrong_is_refused_with_what_was_expected(value: object, expected: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(value)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        "a=smtp://app:s3cret@relay.example?rate=x",
        "a=smtp://app:s3cret@relay.example:port",
        "a=ftp://app:s3cret@relay.example",
        "a=smtp://app:s3/cret@relay.example",
        "a=smtp://app:25?s3cret@relay.example",
        "a=smtp://app:?s3cret&x@relay.example",
    ],
)
def test_no_error_and_no_repr_shows_a_password(value: str) -> None:
    with pytest.raises(SettingError) as caught:
        load({"MAILER_TRANSPORTS": value}, {})
    assert str(caught.value).startswith("MAILER_TRANSPORTS: expected a: ")
    assert "s3cret" not in str(caught.value)
    assert "cret" not in repr(parse("a=smtp://app:s3cret@relay.example"))
