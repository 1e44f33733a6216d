"""Plain values that travel between rendering and the message writer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Address(NamedTuple):
    """A mailbox as it stands in a header. Both parts were checked by `mailer.addresses`."""

    name: str
    """Display name, decoded; empty for none."""
    email: str
    """``local@domain``, the domain in ASCII (IDNA 2008)."""


class Content(NamedTuple):
    """A rendered email."""

    subject: str
    text: str
    html: str | None

    def __repr__(self) -> str:
        return "<Content>"  # a link in it may be a secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that travels with an email."""

    filename: str
    data: bytes = field(repr=False)
    content_type: str = "application/octet-stream"
    content_id: str | None = None
    """Set for an inline image that the HTML shows as ``<img src="cid:...">``; without ``<>``."""
