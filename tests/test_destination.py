"""Where webhooks may be: every way to name an address that is not public."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest

from mailer.destination import Allowed, Destination, Forbidden, checked, is_public, parse

NOBODY = Allowed()

NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.254",
    "127.0.0.1",
    "127.8.8.8",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::808:808",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%lo",
    "fec0::1",
    "ff02::1",
]
PUBLIC = [
    "1.1.1.1",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.0.1",
    "172.32.0.1",
    "192.167.0.1",
    "198.20.0.1",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
    "::ffff:1.1.1.1",
    "64:ff9b::101:101",
]


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_what_is_not_public_is_not_posted_to(text: str) -> None:
    assert not is_public(ip_address(text))
    with pytest.raises(Forbidden, match="expected a public address"):
        checked(parse("https://shop.example/"), NOBODY, lambda host, port: [text])


@pytest.mark.parametrize("text", PUBLIC)
def test_what_is_public_is(text: str) -> None:
    assert is_public(ip_address(text))
    assert checked(parse("https://shop.example/"), NOBODY, lambda host, port: [text]) == [text]


def test_one_address_of_a_name_that_is_not_public_is_enough() -> None:
    with pytest.raises(Forbidden, match=r"shop.example is 10.0.0.1, which is neither"):
        checked(parse("https://shop.example/"), NOBODY, lambda host, port: ["1.1.1.1", "10.0.0.1"])


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "[::1]", "[::ffff:7f00:1]", "localhost", "2130706433", "0x7f.1", "0177.0.0.1",
     "127.1", "0"],
)  # fmt: skip
def test_this_machine_is_not_reached_by_any_spelling(host: str) -> None:
    with pytest.raises((Forbidden, OSError)):
        checked(parse(f"https://{host}/"), NOBODY)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ftp://shop.example/", "expected https://HOST/PATH, got ftp"),
        ("shop.example/hook", "got no scheme"),
        ("https:///hook", "expected the name or the address of a host"),
        ("https://user:secret@shop.example/", "expected no user name or password"),
        ("https://127.0.0.1@shop.example/", "expected no user name or password"),
        ("https://shop.example\\@127.0.0.1/", "expected ASCII"),
        ("https://shop.example/a b", "expected ASCII without spaces"),
        ("https://shop.example/\r\nX-Evil: 1", "expected ASCII"),
        ("https://shöp.example/", "expected ASCII"),
        ("https://shop.example/#part", "expected no fragment"),
        ("https://shop.example:0/", "expected a port"),
        ("https://shop.example:99999/", "expected https://HOST/PATH"),
        ("https://shop%2eexample/", "expected the name or the address of a host"),
        ("https://[fe80::1", "expected https://HOST/PATH"),
        ("https://[x:y]/", "expected https://HOST/PATH"),
        (f"https://shop.example/{'x' * 2000}", "expected up to 2000 characters, got 2021"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(url: str, told: str) -> None:
    with pytest.raises(Forbidden) as refused:
        parse(url)
    assert told in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "expected", "authority"),
    [
        ("https://Shop.example", ("https", "shop.example", 443, "/"), "shop.example"),
        (
            "https://shop.example:8443/a?b=c",
            ("https", "shop.example", 8443, "/a?b=c"),
            "shop.example:8443",
        ),
        ("http://shop.example:80/", ("http", "shop.example", 80, "/"), "shop.example"),
        ("https://[2606:4700::1]/", ("https", "2606:4700::1", 443, "/"), "[2606:4700::1]"),
    ],
)
def test_an_address_is_taken_apart(
    url: str, expected: tuple[str, str, int, str], authority: str
) -> None:
    found = parse(url)
    assert found == Destination(*expected)
    assert found.authority == authority


def test_http_is_for_hosts_that_are_allowed() -> None:
    with pytest.raises(Forbidden, match=r"expected https: shop\.example"):
        checked(parse("http://shop.example/"), NOBODY, lambda host, port: ["1.1.1.1"])
    for entry in ("shop.example", "1.1.1.0/24"):
        found = checked(parse("http://shop.example/"), Allowed([entry]), lambda *_: ["1.1.1.1"])
        assert found == ["1.1.1.1"]


def test_what_is_allowed_is_that_and_nothing_else() -> None:
    allowed = Allowed(["10.1.0.0/16", "Hooks.internal", "::1"])
    assert checked(parse("https://a.example/"), allowed, lambda *_: ["10.1.2.3"]) == ["10.1.2.3"]
    assert checked(parse("https://hooks.internal/"), allowed, lambda *_: ["10.9.9.9"])
    assert checked(parse("http://[::1]:8000/"), allowed) == ["::1"]
    for addresses in (["10.2.0.1"], ["10.1.2.3", "10.2.0.1"], ["::ffff:10.1.2.3"]):
        with pytest.raises(Forbidden):
            checked(parse("https://a.example/"), allowed, lambda *_, found=addresses: found)
    with pytest.raises(Forbidden):
        checked(parse("https://x.hooks.internal/"), allowed, lambda *_: ["10.1.2.30", "10.9.9.9"])


@pytest.mark.parametrize("entry", ["10.1.0.0/99", "300.1.1.1", "a b", "10.1.2.3/16", "*.example"])
def test_an_entry_that_names_nothing_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=entry.replace("*", r"\*")):
        Allowed([entry])


def test_a_name_without_address_is_not_told() -> None:
    with pytest.raises(OSError, match="has no address"):
        checked(parse("https://shop.example/"), NOBODY, lambda *_: [])
    with pytest.raises(socket.gaierror):
        checked(parse("https://no-such-name.invalid/"), NOBODY)
