"""The catcher as tests and the supervisor hold it: both servers, in background threads."""

from __future__ import annotations

import ssl
from collections import Counter
from types import TracebackType
from typing import Literal, Self

from mailer.dev.catcher.handler import Handler
from mailer.dev.catcher.inbox_server import InboxServer
from mailer.dev.catcher.listening import HOST, listen
from mailer.dev.catcher.message import CaughtMessage
from mailer.dev.catcher.rules import Rule, Rules
from mailer.dev.catcher.smtp_server import SmtpServer
from mailer.dev.catcher.store import Store


class Catcher:
    """An SMTP server and its inbox, on 127.0.0.1.

    Port 0 takes a free one, which is kept for the next `start`. With ``tls`` the server offers
    STARTTLS, or speaks TLS from the first byte (``implicit``). With ``credentials`` (name and
    password) it offers AUTH PLAIN and LOGIN and refuses mail without a login; given STARTTLS,
    only after it.
    """

    def __init__(
        self,
        *,
        smtp_port: int = 0,
        http_port: int = 0,
        tls: ssl.SSLContext | None = None,
        tls_mode: Literal["starttls", "implicit"] = "starttls",
        credentials: tuple[str, str] | None = None,
        max_messages: int = 20_000,
        max_bytes: int = 2**28,
    ) -> None:
        self.smtp_port = smtp_port
        self.http_port = http_port
        self.rules = Rules()
        self.store = Store(max_messages=max_messages, max_bytes=max_bytes)
        self._tls = tls
        self._tls_mode = tls_mode
        self._counts: Counter[str] = Counter()
        self._handler = Handler(self.store, self.rules, self._counts, credentials)
        self._inbox: InboxServer | None = None
        self._smtp: SmtpServer | None = None

    def start(self) -> Self:
        """Listen on both ports. Raises OSError when one is busy."""
        with listen(self.http_port) as http:
            smtp = listen(self.smtp_port)
            self.smtp_port, self.http_port = smtp.getsockname()[1], http.getsockname()[1]
            starttls = self._tls if self._tls_mode == "starttls" else None
            implicit = self._tls if self._tls_mode == "implicit" else None
            self._smtp = SmtpServer(smtp, self._handler, starttls, implicit)
            self._inbox = InboxServer(http, self)
        self._smtp.start()
        self._inbox.start()
        return self

    def stop(self) -> None:
        """Cut every connection and close both ports. Messages, rules and counts stay."""
        if self._smtp is not None:
            self._smtp.stop()
            self._smtp = None
        if self._inbox is not None:
            self._inbox.stop()
            self._inbox = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Address of the inbox, for a browser; the API is below ``/api``."""
        return f"http://{HOST}:{self.http_port}"

    @property
    def counts(self) -> dict[str, int]:
        """How many ``connections`` there were, and how many of each command (``mail``, ...)."""
        return {"connections": 0, **self._counts}

    def messages(self, to: str | None = None) -> list[CaughtMessage]:
        """Return what was caught, oldest first; ``to`` keeps one envelope recipient's."""
        return self.store.messages(to)

    def wait_for(
        self, count: int, *, to: str | None = None, timeout: float = 10
    ) -> list[CaughtMessage]:
        """Return the messages once there are at least ``count``. Raises TimeoutError."""
        if self.store.wait_for(count, to=to, timeout=timeout):
            return self.messages(to)
        wanted = f"{count} messages" + (f" to {to}" if to else "")
        there = [f"{m.subject!r} to {', '.join(m.recipients)}" for m in self.messages()]
        listed = "; ".join(there[-10:]) or "none"
        raise TimeoutError(
            f"waited {timeout:g} s for {wanted}, got {self.store.count(to)}. "
            f"Caught in all: {len(there)} (newest last: {listed}). Commands: {self.counts}"
        )

    def script(
        self,
        stage: str,
        do: str,
        *,
        address: str | None = None,
        times: int | None = None,
        stored: bool = False,
    ) -> Rule:
        """Add a rule and return it; see `Rule` for the arguments. `rules.remove` takes it out."""
        return self.rules.add(Rule(stage, do, address=address, times=times, stored=stored))

    def clear(self) -> None:
        """Forget messages, rules and counts."""
        self.store.clear()
        self.rules.clear()
        self._counts.clear()
