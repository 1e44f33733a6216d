"""The last look at the bytes of a message: what does not read as intended does not leave.

It shares no code with the writer. Its grammar of addresses is the small part of RFC 5322 that we
mean to send; whatever a lenient parser might still make sense of is refused.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Sequence
from functools import lru_cache

from .content import Address
from .errors import MessageError

LINE_MAX = 998
"""Bytes without CRLF, RFC 5322, 2.1.1."""
NO_RECIPIENTS = "undisclosed-recipients:;"

_PRINTABLE = bytes(range(0x20, 0x7F)) + b"\t"
_EIGHT_BIT = bytes(range(0x80, 0x100))
_FIELDS = re.compile(rb"\r\n(?![ \t])")
_BLANK_CONTINUATION = re.compile(rb"\r\n[ \t]+(?:\r\n|\Z)")

# atext of RFC 5322, and of RFC 6532 less what could pass for the end of a line or turn the
# reading direction.
_ATEXT = (
    r"(?:[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]"
    "|(?![\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069])[\u00a1-\U0010ffff])+"
)
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_EMAIL = rf"(?![^@]*=\?){_ATEXT}(?:\.{_ATEXT})*@{_LABEL}(?:\.{_LABEL})*"
_WORD = r"=\?utf-8\?b\?[A-Za-z0-9+/]+={0,2}\?="
_MAILBOX = re.compile(
    rf'(?:(?:"(?P<quoted>[ !#-\[\]-~]+)"|(?P<encoded>{_WORD}(?: {_WORD})*))'
    rf" <(?P<named>{_EMAIL})>|(?P<bare>{_EMAIL}))(?:, (?!\Z)|\Z)"
)


def check(
    message: bytes,
    *,
    headers: Sequence[str],
    sender: Address,
    to: Sequence[Address],
    cc: Sequence[Address] = (),
    reply_to: Sequence[Address] = (),
) -> None:
    """Raise MessageError, with rule and place, unless ``message`` is what was intended.

    ``headers`` are the names of all header fields in their order. An empty ``to`` stands for
    ``To: undisclosed-recipients:;``.
    """
    _check_bytes(message)
    head, separator, body = message.partition(b"\r\n\r\n")
    if not separator:
        raise MessageError("head: expected an empty line after the header fields")
    if _BLANK_CONTINUATION.search(head):
        raise MessageError("head: expected no line of white space only")
    fields = [field.partition(b": ") for field in _FIELDS.split(head)]
    names = [name.decode("latin-1") for name, _, _ in fields]
    if names != list(headers):
        raise MessageError(f"head: expected the header fields {list(headers)}, got {names}")
    if not body.isascii():
        raise MessageError(f"expected a body of seven bits, {_place(message, _EIGHT_BIT)}")

    intended = {"From": [sender], "To": to, "Cc": cc, "Reply-To": reply_to}
    for name, (_, _, value) in zip(names, fields, strict=True):
        if name in intended:
            _check_addresses(name, value, intended[name])
        elif not value.isascii():
            raise MessageError(f"{name}: expected seven bits, {_place(value, _EIGHT_BIT)}")


def _check_bytes(message: bytes) -> None:
    # Two passes in C over the whole message. Were a CR and its LF apart, both would end a line.
    rest = message.translate(None, _PRINTABLE)
    lines = message.splitlines()
    if rest != b"\r\n" * len(lines):
        if control := rest.translate(None, b"\r\n" + _EIGHT_BIT):
            raise MessageError(f"expected no control characters, {_place(message, control)}")
        if rest.translate(None, _EIGHT_BIT) != b"\r\n" * len(lines):
            raise MessageError("line ends: expected CRLF after each line, got a bare CR or LF")
    longest = max(map(len, lines), default=0)
    if longest > LINE_MAX:
        raise MessageError(f"lines: expected at most {LINE_MAX} bytes, got {longest}")


def _place(data: bytes, wrong: bytes) -> str:
    at = next(index for index, byte in enumerate(data) if byte in wrong)
    line = data.count(b"\n", 0, at) + 1
    return f"got 0x{data[at]:02x} at byte {at}, line {line}"


def _check_addresses(name: str, value: bytes, intended: Sequence[Address]) -> None:
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise MessageError(f"{name}: expected UTF-8 ({error})") from error
    if not intended:
        if name != "To" or text != NO_RECIPIENTS:
            raise MessageError(f"{name}: expected no addresses, got some")
        return
    got = _addresses(text)
    if got != tuple(intended):
        raise MessageError(
            f"{name}: expected {len(intended)} addresses that read back as intended, "
            f"got {'none that can be read' if got is None else f'{len(got)} others'}"
        )


@lru_cache(maxsize=512)
def _addresses(value: str) -> tuple[Address, ...] | None:
    """Read an address list. None when it is not one, to the letter."""
    text = value.replace("\r\n", "")
    found: list[Address] = []
    at = 0
    while at < len(text):
        match = _MAILBOX.match(text, at)
        if match is None:
            return None
        quoted, encoded, named, bare = match.group("quoted", "encoded", "named", "bare")
        try:
            name = _decoded(encoded) if encoded else quoted or ""
        except ValueError:  # not base64, or not UTF-8
            return None
        found.append(Address(name, named or bare))
        at = match.end()
    return tuple(found)


def _decoded(words: str) -> str:
    # Each word must decode by itself: a character cut in two is garbled by some readers.
    return "".join(
        a2b_base64(word[len("=?utf-8?b?") : -len("?=")], strict_mode=True).decode()
        for word in words.split(" ")
    )
