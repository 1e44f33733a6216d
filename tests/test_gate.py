"""Each rule of the gate, tried with a good message that was changed by hand."""

from __future__ import annotations

import time
from typing import Any

import pytest

from mailer import gate
from mailer.content import Address
from mailer.errors import MessageError

SENDER = Address("Acme", "no-reply@acme.example")
TO = [Address("Müller, J.", "j@example.com"), Address("", "bob@example.com")]
HEADERS = ["From", "To", "Subject", "X-A"]
GOOD = (
    b'From: "Acme" <no-reply@acme.example>\r\n'
    b"To: =?utf-8?b?TcO8bGxlciwgSi4=?= <j@example.com>,\r\n bob@example.com\r\n"
    b"Subject: Hello\r\n"
    b"X-A: some\r\n text\r\n"
    b"\r\n"
    b"Hi\r\n.\r\n\tBye\r\n"
)


def check(message: bytes, **changes: Any) -> None:
    intended: dict[str, Any] = {"headers": HEADERS, "sender": SENDER, "to": TO}
    gate.check(message, **intended | changes)


def test_a_good_message_passes() -> None:
    check(GOOD)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"Hi\r\n", b"Hi\n", "bare CR or LF"),
        (b"Hi\r\n", b"Hi\r", "bare CR or LF"),
        (b"Hi\r\n", b"H\ri\n", "bare CR or LF"),
        (b"Hi\r\n", b"Hi\r\r\n", "bare CR or LF"),
        (b"Hi\r\n", b"Hi\n\r", "bare CR or LF"),
        (b"Bye\r\n", b"Bye", "bare CR or LF"),
        (b"Hi", b"\x00", "control characters, got 0x00 at byte 143, line 8"),
        (b"Hi", b"\x0c", "control characters, got 0x0c"),
        (b"Hi", b"\x7f", "control characters, got 0x7f"),
        (b"Hello", b"He\x0bllo", "control characters, got 0x0b at byte 118, line 4"),
        (b"Hi", b"x" * 999, "at most 998 bytes, got 999"),
        (b"Hello", b"x" * 990, "at most 998 bytes, got 999"),
        (b"Hi", "Grüße".encode(), "body of seven bits, got 0xc3"),
        (b"Hello", "Grüße".encode(), "Subject: expected seven bits"),
        (b"X-A: some", "X-A: ü".encode(), "X-A: expected seven bits"),
        (b"X-A: some", "X-Ä: some".encode(), "header fields"),
        (b"X-A:", b"Bcc: eve@evil.example\r\nX-A:", "header fields"),
        (b"X-A: some\r\n text\r\n", b"", "header fields"),
        (b"X-A:", b"x-a:", "header fields"),
        (b"X-A: ", b"X-A:", "header fields"),
        (b"X-A: some", b"X-A: some\r\nnonsense", "header fields"),
        (b"Subject: Hello\r\nX-A: some\r\n text", b"X-A: some\r\nSubject: Hello", "header fields"),
        (b"some\r\n text", b"some\r\n \r\n text", "white space only"),
        (b"some\r\n text", b"some\r\n text\r\n ", "white space only"),
        (b'"Acme" ', b"", "From: expected 1 addresses"),
        (b"no-reply@", b"eve@", "From: expected 1 addresses"),
        (b",\r\n bob@example.com", b"", "To: expected 2 addresses .* got 1 others"),
        (b"bob@", b"eve@", "To: expected 2 addresses .* got 2 others"),
        (b"bob@example.com", b"bob@example.com, eve@evil.example", "got 3 others"),
        (b"bob@example.com", b"bob@example.com (x)", "none that can be read"),
        (b"bob@example.com", b"bob@example.com,", "none that can be read"),
        (b"bob@example.com", b"bob@example.com, ", "none that can be read"),
        (b"bob@example.com", b"friends: bob@example.com;", "none that can be read"),
        (b"bob@example.com", b"=?utf-8?q?x?=@example.com", "none that can be read"),
        (b"bob@example.com", "bob@exämple.com".encode(), "none that can be read"),
        (b"bob@example.com", "b\u2028ob@example.com".encode(), "none that can be read"),
        (b"bob@example.com", "b\u202eob@example.com".encode(), "none that can be read"),
        (b"bob@example.com", b"b\xffob@example.com", "To: expected UTF-8"),
        (b"TcO8bGxlciwgSi4=", b"TcO8bGxlciwgSi4", "none that can be read"),
        (b"TcO8bGxlciwgSi4=", b"TcO8bGxlciwgSi4==", "none that can be read"),
        (b"TcO8bGxlciwgSi4=", b"/w==", "none that can be read"),
        (b"?= <j@", b"?=\r\n\t<j@", "none that can be read"),
    ],
)
def test_a_message_changed_on_the_way_is_stopped(old: bytes, new: bytes, words: str) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(MessageError, match=words):
        check(GOOD.replace(old, new))


@pytest.mark.parametrize("message", [b"", b"\r\n", b"From: a@b.example\r\n"])
def test_a_message_without_head_is_stopped(message: bytes) -> None:
    with pytest.raises(MessageError, match="empty line after"):
        check(message)


def test_only_to_may_hold_a_group() -> None:
    message = GOOD.replace(b"X-A:", b"Cc: undisclosed-recipients:;\r\nX-A:")
    with pytest.raises(MessageError, match="Cc: expected no addresses"):
        check(message, headers=["From", "To", "Subject", "Cc", "X-A"])


def test_an_unwanted_cc_or_reply_to_is_stopped() -> None:
    for name in ("Cc", "Reply-To"):
        message = GOOD.replace(b"X-A:", name.encode() + b": eve@evil.example\r\nX-A:")
        headers = ["From", "To", "Subject", name, "X-A"]
        with pytest.raises(MessageError, match=f"{name}: expected no addresses"):
            check(message, headers=headers)
        arguments = {name.lower().replace("-", "_"): [Address("", "eve@evil.example")]}
        check(message, headers=headers, **arguments)


def test_undisclosed_recipients_stand_for_an_empty_to_only() -> None:
    start, end = GOOD.index(b"To: "), GOOD.index(b"Subject")
    message = GOOD[:start] + b"To: undisclosed-recipients:;\r\n" + GOOD[end:]
    check(message, to=[])
    with pytest.raises(MessageError, match="To: expected 2 addresses"):
        check(message)
    with pytest.raises(MessageError, match="To: expected no addresses"):
        check(GOOD, to=[])


def test_an_address_in_unicode_passes_in_an_address_field_only() -> None:
    message = GOOD.replace(b"bob@", "böb@".encode())
    check(message, to=[TO[0], Address("", "böb@example.com")])


def test_the_reason_shows_no_address() -> None:
    with pytest.raises(MessageError) as caught:
        check(GOOD.replace(b"bob@", b"eve@"))
    assert "@" not in str(caught.value)


def test_a_hostile_address_list_is_read_in_linear_time() -> None:
    start = time.perf_counter()
    for value in ("a." * 400, "a@" + "a-" * 400, '"' + "a" * 900, "=?utf-8?b?" + "a" * 900):
        message = GOOD.replace(b"bob@example.com", value.encode())
        with pytest.raises(MessageError, match="none that can be read"):
            check(message)
    assert time.perf_counter() - start < 1
