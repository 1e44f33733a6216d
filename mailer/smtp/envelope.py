"""An envelope: one message for one recipient, and what it asks of a server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

# A sender, perhaps empty, and a recipient: what may stand between < and > of a command without
# ending it or starting another.
_ADDRESS = "[^\x00-\x20<>\x7f-\xa0\u2028\u2029\ud800-\udfff]"
_PATHS = re.compile(f"{_ADDRESS}*\n{_ADDRESS}+")


class Envelope(NamedTuple):
    """One message for one recipient."""

    sender: str
    """Reverse path, without ``<>``; empty for none."""
    recipient: str
    message: bytes
    """As `mailer.gate` passed it: every line ends in CRLF, no bare CR or LF."""
    smtputf8: bool = False
    """The headers need SMTPUTF8 (RFC 6531). Addresses that need it are noticed without this."""
    alone: bool = False
    """It travels with no other message at once."""

    def __repr__(self) -> str:
        return f"<Envelope of {len(self.message)} bytes>"  # a link in it may be a secret

    def unfit(self, features: Mapping[str, str]) -> str:
        """Say why a server with these ``features`` (by keyword of EHLO) cannot take the message;
        empty if it can."""
        if _PATHS.fullmatch(f"{self.sender}\n{self.recipient}") is None:
            return "an address that cannot stand in an SMTP command"
        size = features.get("SIZE", "")
        if size.isdecimal() and 0 < int(size) < len(self.message):
            return f"{len(self.message)} bytes; the server takes at most {size}"
        if "SMTPUTF8" not in features and self._needs_smtputf8():
            return "the message needs SMTPUTF8, which the server does not offer"
        return ""

    def commands(self, features: Mapping[str, str]) -> str:
        """Return MAIL and RCPT for a server with these ``features``, each with its line end."""
        options = ""
        if "SIZE" in features:
            options = f" SIZE={len(self.message)}"
        if not self.message.isascii() and "8BITMIME" in features:
            options += " BODY=8BITMIME"
        if self._needs_smtputf8():
            options += " SMTPUTF8"
        return f"MAIL FROM:<{self.sender}>{options}\r\nRCPT TO:<{self.recipient}>\r\n"

    def _needs_smtputf8(self) -> bool:
        return self.smtputf8 or not (self.sender.isascii() and self.recipient.isascii())
