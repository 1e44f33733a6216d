"""One caught message: the exact bytes, and what can be read from them.

Everything in it was written by somebody else and may be malformed on purpose, so reading never
raises: what cannot be decoded is shown as well as it can be.
"""

from __future__ import annotations

import email
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.utils import getaddresses
from functools import cached_property, lru_cache
from html import unescape
from typing import NamedTuple

from mailer.content import Address

_SNIPPET_CHARACTERS = 160
_READ_CHARACTERS = 200_000
_UNREAD_TAGS = ("style", "script", "title")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Part:
    """A file inside a message: attached, or shown inside its HTML by content id."""

    index: int
    """Position among the message's files, from 0."""
    filename: str
    content_type: str
    content_id: str | None
    """Without ``<>``. None when the HTML cannot refer to it."""
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class CaughtMessage:
    """An email that an SMTP client handed in, with its envelope."""

    id: int
    """Counts up from 1 for each catcher."""
    received_at: datetime
    sender: str
    """MAIL FROM; empty for the null sender."""
    recipients: tuple[str, ...]
    """RCPT TO, those that were accepted, in order."""
    raw: bytes = field(repr=False)
    """Exactly as sent, after removing the transparency dots."""

    @cached_property
    def headers(self) -> list[tuple[str, str]]:
        """Names and decoded values, in order, unfolded."""
        return [(name, _decode_words(value)) for name, value in self._raw_headers]

    def header(self, name: str) -> str:
        """Return the first header of this name, or an empty string."""
        wanted = name.lower()
        return next((value for found, value in self.headers if found.lower() == wanted), "")

    @cached_property
    def subject(self) -> str:
        return self.header("Subject")

    @cached_property
    def from_(self) -> Address | None:
        return next(iter(self._addresses("From")), None)

    @cached_property
    def to(self) -> list[Address]:
        return self._addresses("To")

    @cached_property
    def cc(self) -> list[Address]:
        return self._addresses("Cc")

    @property
    def envelope_differs(self) -> bool:
        """Whether the headers say something else than the envelope, as with a blind copy."""
        shown = {address.email.lower() for address in (*self.to, *self.cc)}
        author = self.from_.email.lower() if self.from_ else ""
        return author != self.sender.lower() or shown != {r.lower() for r in self.recipients}

    @property
    def text(self) -> str:
        """The plain text body; empty if there is none."""
        return self._content.text

    @property
    def html(self) -> str:
        """The HTML body as sent; empty if there is none. Not safe to show as it is."""
        return self._content.html

    @property
    def attachments(self) -> list[Part]:
        """Every part that is not a body, inline images included."""
        return self._content.files

    @cached_property
    def snippet(self) -> str:
        """The beginning of what a reader would see, on one line."""
        return self._readable[:_SNIPPET_CHARACTERS]

    @property
    def source(self) -> str:
        """The raw bytes as text, whatever they are."""
        return self.raw.decode("utf-8", "replace")

    @cached_property
    def has_files(self) -> bool:
        """Whether anything is attached, other than what its HTML shows."""
        return any(part.content_id is None for part in self.attachments)

    def mentions(self, words: str) -> bool:
        """Say whether every one of the (lower-case) words is in subject, addresses or text."""
        return all(word in self._searchable for word in words.split())

    @cached_property
    def _searchable(self) -> str:
        seen = (self.subject, self.header("From"), self.header("To"), self.header("Cc"))
        return "\n".join((*seen, *self.recipients, self._readable)).lower()

    @property
    def _readable(self) -> str:
        text = self.text or _without_markup(self.html[:_READ_CHARACTERS])
        return " ".join(text[:_READ_CHARACTERS].split())

    @cached_property
    def _raw_headers(self) -> list[tuple[str, str]]:
        head, _, _ = self.raw.partition(b"\r\n\r\n")
        parsed = email.message_from_bytes(head + b"\r\n\r\n")
        return [(name, _as_text(value)) for name, value in parsed.raw_items()]

    @property
    def _content(self) -> _Content:
        return _read(self.raw)

    def _addresses(self, name: str) -> list[Address]:
        # Split before decoding: an encoded display name may hold a comma or an address.
        values = [value for found, value in self._raw_headers if found.lower() == name.lower()]
        pairs = getaddresses(values)
        return [Address(_decode_words(shown), address) for shown, address in pairs if address]


class _Content(NamedTuple):
    text: str
    html: str
    files: list[Part]


# A page asks for several of a message's parts at once. Keeping what was read of every message
# would take more memory than the messages.
@lru_cache(maxsize=16)
def _read(raw: bytes) -> _Content:
    try:
        leaves = list(_leaves(email.message_from_bytes(raw)))
    except RecursionError:
        # Parts nested a thousand deep: no mail program would show them either.
        return _Content(raw.decode("utf-8", "replace"), "", [])
    bodies = {"text/plain": "", "text/html": ""}
    files: list[Part] = []
    for leaf in leaves:
        kind = leaf.get_content_type()
        if not _is_body(leaf):
            files.append(_part(leaf, len(files)))
        elif not bodies[kind]:
            bodies[kind] = _decode(_payload(leaf), leaf.get_content_charset("utf-8"))
    return _Content(bodies["text/plain"], bodies["text/html"], files)


def _without_markup(html: str) -> str:
    """Return roughly what a reader sees. One pass: a regular expression could be made to hang."""
    seen, unread = [], ""
    for piece in html.split("<"):
        tag, closed, text = piece.partition(">")
        name = tag.lower()
        if unread:
            unread = "" if name.startswith(f"/{unread}") else unread
        else:
            unread = next((known for known in _UNREAD_TAGS if name.startswith(known)), "")
        if not unread:
            seen.append(text if closed else tag)
    return unescape(" ".join(seen))


def _leaves(message: Message) -> Iterator[Message]:
    return (part for part in message.walk() if not part.is_multipart())


def _is_body(part: Message) -> bool:
    return (
        part.get_content_type() in {"text/plain", "text/html"}
        and part.get_content_disposition() != "attachment"
        and not part.get_filename()
    )


def _payload(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _decode(data: bytes, charset: str) -> str:
    try:
        return data.decode(charset, "replace")
    except (LookupError, ValueError):
        return data.decode("latin-1")


def _as_text(value: object) -> str:
    """Undo what the parser does to header bytes that are not ASCII."""
    return str(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _decode_words(value: object) -> str:
    """Decode encoded-words (RFC 2047) and put the value on one line."""
    decoded = text = _as_text(value)
    if "=?" in text:
        try:
            chunks = decode_header(text)
        except (HeaderParseError, ValueError):
            chunks = [(text, None)]
        decoded = "".join(
            chunk if isinstance(chunk, str) else _decode(chunk, charset or "latin-1")
            for chunk, charset in chunks
        )
    return _CONTROL.sub("", decoded.replace("\n", " ").replace("\r", "")).strip()


def _part(leaf: Message, index: int) -> Part:
    return Part(
        index=index,
        filename=_filename(leaf, index),
        content_type=leaf.get_content_type(),
        content_id=_decode_words(leaf.get("Content-ID", "")).strip().strip("<>") or None,
        data=_payload(leaf),
    )


def _filename(part: Message, index: int) -> str:
    """Return a name that is safe to offer for saving: no path, no control characters."""
    name = re.sub(r"[/\\:]", "_", _decode_words(part.get_filename() or "")).strip(". ")
    return name or f"part-{index + 1}"
