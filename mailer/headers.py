"""Write header fields: encoding, quoting, folding, and what a header may hold at all.

Written by hand: the standard library's generator costs a thousand microseconds a message, and on
Python 3.11 it lets long quoted names and line separators forge headers (CVE-2024-6923).
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from .content import Address

LINE = 78
"""No line is longer where it can be folded (RFC 5322, 2.1.1)."""
SUBJECT_MAX = 998
NAME_MAX = 70
VALUE_MAX = 2_000

_TOKEN_MAX = 900
"""A run without a space that still fits a line of 998 bytes behind any field name."""

# Control characters, lone surrogates, and what some parsers take for the end of a line.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# Neither quotes nor backslashes, on whose escapes readers disagree, nor runs of spaces, nor the
# start of an encoded-word, which some decode also in a quoted-string.
_QUOTABLE = re.compile(r"(?!.*=\?)[!#-\[\]-~]+(?: [!#-\[\]-~]+)*")
_WORD = re.compile(r" *[^ ]+")
_FIELD_NAME = re.compile(r"[!-9;-~]+")

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_OURS = re.compile(
    r"from|to|cc|bcc|reply-to|subject|date|message-id|mime-version|return-path|sender"
    r"|received|dkim-signature|content-.*|resent-.*",
    re.IGNORECASE,
)
# With these a relay (SendGrid, Mandrill) is told of more recipients than the envelope has.
_RECIPIENTS = re.compile(r"x-smtpapi|x-mc-bccaddress", re.IGNORECASE)
# These hold addresses, URLs and tokens, where an encoded-word has no meaning (RFC 2047, 5).
_STRUCTURED = re.compile(r"list-.*|references|in-reply-to|auto-submitted", re.IGNORECASE)


def shown(value: object) -> str:
    """Return ``repr(value)``, shortened, for an error message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_text(what: str, value: str) -> None:
    """Raise ValueError if ``value`` has a character that no header may hold.

    The message says ``what`` it is, but does not show it: subjects and unsubscribe links may
    carry secrets.
    """
    # Nothing unsafe is printable; the pattern decides about the rest, such as a no-break space.
    if not value.isprintable() and (found := _UNSAFE.search(value)):
        raise ValueError(
            f"expected {what} without control characters or line ends, "
            f"got U+{ord(found[0]):04X} at position {found.start()}"
        )


def check_subject(subject: str) -> None:
    """Raise ValueError if ``subject`` cannot be the Subject of an email."""
    check_text("a subject", subject)
    if len(subject) > SUBJECT_MAX:
        raise ValueError(
            f"expected a subject of at most {SUBJECT_MAX} characters, got {len(subject)}"
        )


def check_header(name: str, value: str) -> None:
    """Raise ValueError if ``name: value`` cannot be a header of the caller's choice."""
    if not _FIELD_NAME.fullmatch(name) or len(name) > NAME_MAX:
        raise ValueError(
            f"expected a header name of 1 to {NAME_MAX} printable ASCII characters "
            f"without space or colon, got {shown(name)}"
        )
    if _OURS.fullmatch(name):
        raise ValueError(f"expected a header that the mailer does not write itself, got {name}")
    if _RECIPIENTS.fullmatch(name):
        raise ValueError(f"expected a header that adds no recipients behind our back, got {name}")
    check_text(f"a header {name}", value)
    if not 1 <= len(value) <= VALUE_MAX:
        raise ValueError(
            f"expected a header {name} of 1 to {VALUE_MAX} characters, got {len(value)}"
        )
    if _STRUCTURED.fullmatch(name) and _needs_encoding(value):
        raise ValueError(
            f"expected a header {name} of ASCII text, without encoded-words or a space at either "
            f"end, in runs of at most {_TOKEN_MAX} characters"
        )


def text_field(name: str, value: str) -> str:
    """Return the field ``name`` with free text, folded, without its line end.

    ``value`` reads back exactly, also when it looks like an encoded-word already.
    """
    check_text(f"a header {name}", value)
    if _needs_encoding(value):
        return f"{name}: " + "\r\n ".join(_encoded_words(value))
    if len(name) + 2 + len(value) <= LINE:
        return f"{name}: {value}"
    return "\r\n".join(_folded(f"{name}: {value}"))


def date_field(name: str, date: datetime) -> str:
    """Return the field ``name`` with an instant, in UTC, without its line end."""
    # email.utils.format_datetime goes by way of a time tuple: 4.1 us, this 1.2.
    utc = date.astimezone(UTC)
    day = f"{_DAYS[utc.weekday()]}, {utc.day:02} {_MONTHS[utc.month - 1]} {utc.year:04}"
    return f"{name}: {day} {utc.hour:02}:{utc.minute:02}:{utc.second:02} +0000"


def address_field(name: str, addresses: Iterable[Address]) -> str:
    """Return the field ``name`` with a list of addresses, one a line, without its line end."""
    return f"{name}: " + ",\r\n ".join([_mailbox(address) for address in addresses])


def _mailbox(address: Address) -> str:
    name, email = address
    if not name:
        return email
    check_text("a name", name)
    if len(name) <= 50 and _QUOTABLE.fullmatch(name):
        lines = [f'"{name}"']
    else:
        lines = list(_encoded_words(name))
    # The longest field name before it is Reply-To.
    if len(lines[-1]) + len(email) + len("Reply-To:  <>,") > LINE:
        return "\r\n ".join([*lines, f"<{email}>"])
    return "\r\n ".join(lines) + f" <{email}>"


def _needs_encoding(value: str) -> bool:
    if not value.isascii() or "?=" in value.partition("=?")[2]:
        return True
    if value[:1] == " " or value[-1:] == " ":
        return True
    return len(value) > _TOKEN_MAX and max(map(len, value.split(" "))) > _TOKEN_MAX


def _encoded_words(text: str) -> Iterator[str]:
    """Yield ``text`` as encoded-words (RFC 2047) of at most 42 bytes, cut between characters."""
    data = text.encode()
    start = 0
    while start < len(data):
        end = min(start + 42, len(data))
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end -= 1
        yield f"=?utf-8?b?{b2a_base64(data[start:end], newline=False).decode()}?="
        start = end


def _folded(text: str) -> Iterator[str]:
    """Cut ``text`` before spaces. Every line holds a word, so none looks like the head's end."""
    # The field's name and the first word stay together: the name alone reads as an empty field.
    name, first, *words = _WORD.findall(text)
    line = name + first
    for word in words:
        if len(line) + len(word) > LINE:
            yield line
            line = word
        else:
            line += word
    yield line
