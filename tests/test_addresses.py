from __future__ import annotations

import re
import time
import unicodedata
from typing import Any

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from mailer import addresses
from mailer.addresses import parse
from mailer.content import Address
from mailer.headers import shown

# Pieces that put an address next to a border of the fast path, or of the library.
PIECES = [
    *"@@@..--_+'=?%!/\"\\<>()[],:; ABZüé漢\r\n\0\u2028\u202e\ud800",
    *(
        "anna",
        "Info",
        "postmaster",
        "a" * 63,
        "a" * 64,
        "a" * 65,
        "xn--fa-hia",
        "ab--cd",
        "1",
        "c1",
    ),
    *("example.com", ".test", ".local", "localhost", ".onion", ".arpa", ".invalid", "faß.de"),
    *("=?utf-8?q?x?=", "a-b", "A.example"),
]
near_addresses = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=9).map("".join)
atoms = st.text("ab1-+=?%_", min_size=1, max_size=8) | st.sampled_from(["a" * 61, "info"])
labels = st.text("ab1-x", min_size=1, max_size=6) | st.sampled_from(["b" * 63, "b" * 64, "c"])
likely_addresses = st.builds(
    lambda local, domain, top: f"{'.'.join(local)}@{'.'.join(domain)}.{top}",
    st.lists(atoms, min_size=1, max_size=3),
    st.lists(labels, min_size=1, max_size=5),
    st.sampled_from(["com", "c", "test", "local", "c1", "1c", "localhost", "onion"]),
)


def by_library(email: str) -> str | None:
    """What the library makes of an address, in the form that we store. None: refused."""
    try:
        valid = validate_email(email, check_deliverability=False, strict=True)
    except EmailNotValidError:
        return None
    return f"{valid.local_part}@{valid.ascii_domain}"


@pytest.mark.parametrize(
    ("value", "name", "email"),
    [
        ("anna@example.com", "", "anna@example.com"),
        ("  anna@example.com ", "", "anna@example.com"),
        ("<anna@example.com>", "", "anna@example.com"),
        ("Anna <anna@example.com>", "Anna", "anna@example.com"),
        ("Anna<anna@example.com>", "Anna", "anna@example.com"),
        ("Dr. Jürgen O'Neil <j@example.com>", "Dr. Jürgen O'Neil", "j@example.com"),
        ('"Acme, Inc." <no-reply@acme.example>', "Acme, Inc.", "no-reply@acme.example"),
        (r'"Anna \"A\" \\" <a@example.com>', 'Anna "A" \\', "a@example.com"),
        ('"eve@evil.example" <anna@example.com>', "eve@evil.example", "anna@example.com"),
        (("Acme, Inc.", "a@acme.example"), "Acme, Inc.", "a@acme.example"),
        (("<eve@evil.example>,", "anna@example.com"), "<eve@evil.example>,", "anna@example.com"),
        (("", "anna@example.com"), "", "anna@example.com"),
        (("Anna   Smith ", "anna@example.com"), "Anna Smith", "anna@example.com"),
        ("Anna.Smith@EXAMPLE.com", "", "Anna.Smith@example.com"),
        ("a!b%c/d=e+f'g@example.com", "", "a!b%c/d=e+f'g@example.com"),
        ("j@faß.de", "", "j@xn--fa-hia.de"),
        ("j@例え.jp", "", "j@xn--r8jz45g.jp"),
        ("jürgen@example.com", "", "jürgen@example.com"),
    ],
)
def test_one_mailbox_is_understood(value: str | tuple[str, str], name: str, email: str) -> None:
    assert parse(value) == Address(name, email)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "anna",
        "@example.com",
        "anna@",
        "anna@example",
        "anna@example.com, bob@example.com",
        "Anna <anna@example.com>, Bob <bob@example.com>",
        "anna@example.com <bob@example.com>",
        "Acme, Inc. <no-reply@acme.example>",
        "Friends: anna@example.com;",
        "Friends: Anna <anna@example.com>",
        "anna@example.com (Anna)",
        "Anna (work) <anna@example.com>",
        "anna(comment)@example.com",
        "<@relay.example,@other.example:anna@example.com>",
        "Anna <anna@example.com> x",
        "Anna <<anna@example.com>>",
        'Anna "A" <anna@example.com>',
        '"Anna <anna@example.com>',
        '"anna smith"@example.com',
        "anna@[127.0.0.1]",
        "anna@example.com\n",
        "anna@exam\r\nple.com",
        "Anna\r\nBcc: eve@evil.example <anna@example.com>",
        '"Anna\u2028" <anna@example.com>',
        "Anna\x85 <anna@example.com>",
        "Anna\ud800 <anna@example.com>",
        "Anna\u202e <anna@example.com>",
        "anna\u202e@example.com",
        "=?utf-8?q?eve?=@example.com",
        "a" * 65 + "@example.com",
        "é" * 33 + "@example.com",
        "anna@" + "a.example." * 30 + "com",
        "anna@example.test",
        "anna@localhost",
        "anna@printer.local",
        ("Anna", "Bob <bob@example.com>"),
        ("Anna", "bob@example.com, eve@evil.example"),
        ("Anna\nBcc: x", "anna@example.com"),
        ("a" * 257, "anna@example.com"),
        ("Anna", None),
        ("Anna", "anna@example.com", "x"),
        ["Anna", "anna@example.com"],
        None,
        7,
    ],
)
def test_what_is_not_one_mailbox_is_refused_with_the_value(value: Any) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        parse(value)
    assert shown(value) in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "email",
    ["anna@example.test", "anna@test", "anna@localhost", "anna@app.localhost", "jürgen@localhost"],
)
def test_test_domains_pass_only_where_they_are_allowed(email: str) -> None:
    assert parse(email, allow_test_domains=True) == Address("", email)
    local, domain = email.split("@")
    assert parse(f"{local}@{domain.upper()}", allow_test_domains=True).email == email
    with pytest.raises(ValueError, match="expected one address"):
        parse(email)


@pytest.mark.parametrize("email", ["anna@printer.local", "anna@notlocalhost", "a b@localhost"])
def test_allowing_test_domains_allows_nothing_else(email: str) -> None:
    with pytest.raises(ValueError, match="expected one address"):
        parse(email, allow_test_domains=True)


@settings(max_examples=500, deadline=None)
@given(email=near_addresses | likely_addresses)
@example("postmaster@example.com")
@example("a@" + "b." * 124 + "com")
@example("a" * 64 + "@" + "b" * 63 + "." + "c" * 63 + "." + "d" * 58 + ".com")
@example("a" * 64 + "@" + "b" * 63 + "." + "c" * 63 + "." + "d" * 57 + ".com")
@example("a@b--c.com")
@example("a@example.com\n")
@example("a@" + "b" * 64 + ".com")
def test_the_fast_path_takes_only_what_the_library_takes_unchanged(email: str) -> None:
    event(f"plain: {addresses._is_plain(email)}")
    if addresses._is_plain(email):
        assert by_library(email) == email


def test_the_fast_path_takes_the_usual_address() -> None:
    assert addresses._is_plain("anna.smith+news@mail-2.example.co.uk")


@settings(max_examples=300, deadline=None)
@given(email=near_addresses | likely_addresses)
def test_an_address_is_accepted_exactly_when_the_library_accepts_it(email: str) -> None:
    email = email.strip(" ")
    if email.endswith(">"):
        return
    expected = by_library(email)
    if "=?" in email or (expected and len(expected.split("@")[0].encode()) > 64):
        expected = None
    try:
        got: str | None = parse(email).email
    except ValueError:
        got = None
    assert got == expected


@settings(max_examples=300, deadline=None)
@given(name=near_addresses, email=st.just("anna@example.com") | near_addresses)
def test_what_is_accepted_holds_nothing_that_can_break_a_header(name: str, email: str) -> None:
    for value in (f"{name} <{email}>", f'"{name}" <{email}>', (name, email), name + email):
        try:
            address = parse(value)
        except ValueError:
            continue
        assert re.fullmatch(r"[^@\s]+@[A-Za-z0-9.-]+", address.email)
        for char in address.name + address.email:
            assert unicodedata.category(char) not in {"Cc", "Cs", "Zl", "Zp"}
            assert unicodedata.bidirectional(char) not in {"LRO", "RLO", "LRE", "RLE", "PDF"}
        assert parse(address) == address


@given(name=near_addresses)
@settings(deadline=None)
def test_the_envelope_never_comes_from_the_name(name: str) -> None:
    for value in (f"{name} <anna@example.com>", (name, "anna@example.com")):
        try:
            assert parse(value).email == "anna@example.com"
        except ValueError:
            pass


def test_a_hostile_value_of_any_length_is_refused_quickly() -> None:
    start = time.perf_counter()
    for value in (
        *("a." * 200_000, "a@" * 200_000, "a@" + "b." * 200_000, "a@" + "b-" * 200_000),
        *(" <" * 200_000 + ">", "a" + " " * 200_000 + ">", '"' + "\\a" * 200_000 + ">"),
        *('"a"' + " " * 200_000 + ">", " " * 200_000 + "<a@b.c"),
    ):
        with pytest.raises(ValueError, match="expected") as caught:
            parse(value)
        assert len(str(caught.value)) < 500
    # A pattern that backtracks would take minutes.
    assert time.perf_counter() - start < 5
