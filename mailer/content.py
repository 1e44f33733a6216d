"""Plain values that travel between rendering and the message writer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

from .errors import MissingVariable


class Address(NamedTuple):
    """A mailbox as it stands in a header. Both parts were checked by `mailer.addresses`."""

    name: str
    """Display name, decoded; empty for none."""
    email: str
    """``local@domain``, the domain in ASCII (IDNA 2008)."""


class Context(dict[str, Any]):
    """What was dispatched for a template, as its context loader gets it."""

    def __init__(self, values: Mapping[str, Any], recipients: Collection[str]) -> None:
        super().__init__(values)
        self.recipients = frozenset(address.lower() for address in recipients)
        """Whom this copy goes to, and whom its head names, in lower case. Whoever mints a secret
        for somebody sees here that nobody else gets it: an email can be dispatched to anybody."""

    def __missing__(self, name: str) -> NoReturn:
        raise MissingVariable(name)


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
