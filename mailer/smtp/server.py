"""Where an SMTP server is, and how to talk to it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from ..errors import SettingError

EXTENSIONS = ("CHUNKING", "PIPELINING", "8BITMIME", "SIZE", "SMTPUTF8")
"""What is used of what servers offer, and can be done without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """An SMTP server. Durations are seconds."""

    host: str
    port: int = 25
    security: Literal["none", "starttls", "tls"] = "none"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    local_hostname: str | None = None
    """What EHLO says we are called. None: our address on this connection, ``[192.0.2.7]``."""
    ca_file: str | None = None
    """Certificates to trust. None: the system's."""
    connect_timeout: float = 10
    """For connecting (each address of the host), for the TLS handshake and for the banner."""
    timeout: float = 30
    """For each command and its whole reply; three times that for writing a message."""
    final_timeout: float = 120
    """For the reply to a message's final dot."""

    without: frozenset[str] = frozenset()
    """Those of `EXTENSIONS` that are not used: a firewall on the way may break them."""

    @property
    def message_timeout(self) -> float:
        """For writing a message and the reply to it."""
        return 3 * self.timeout + self.final_timeout

    def __post_init__(self) -> None:
        if self.username and not self.password:
            raise SettingError(f"password: expected one for username {self.username!r}, got none")
        if self.password and not self.username:
            raise SettingError("username: expected one for the password, got none")
        if self.local_hostname and not re.fullmatch(r"[!-~]+", self.local_hostname):
            raise SettingError(f"local_hostname: expected a host name, got {self.local_hostname!r}")
