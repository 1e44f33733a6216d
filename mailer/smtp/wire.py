"""The bytes between us and a server: whole replies and whole writes, each within a deadline."""

from __future__ import annotations

import math
import re
import select
import socket
import ssl
from collections.abc import Callable
from time import monotonic
from typing import Any

from ..words import one_line
from .reply import Reply

Observer = Callable[[str, str], None]
"""Hears who speaks ("client", "server" or "note") and what is said, less the secrets."""

_LARGEST_REPLY = 65_536
_TLS_RECORD = 16_384
_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])([^\n]*)|\r?)\n")
_ONE_LINE = re.compile(rb"([2-5][0-9][0-9])(?: ([^\n]*)|\r?)\n")


class Broken(Exception):
    """The conversation cannot go on; ``reply`` is the server's last, if that is the reason."""

    def __init__(self, stage: str, words: str, reply: Reply | None = None) -> None:
        self.stage = stage
        self.words = words
        self.reply = reply
        super().__init__(stage, words)


class Wire:
    """A connected socket. Raises `Broken` when a deadline passes or the other side fails."""

    written = 0
    """How many bytes of the latest write may have left, also when it failed."""
    secrets: tuple[bytes, ...] = ()
    """What is blotted out of the server's words."""
    until = math.inf
    """Of the monotonic clock: nothing is waited for any longer, whatever seconds are given."""
    heard_at = -math.inf
    """When the server's latest words were read."""

    def __init__(
        self,
        host: str,
        port: int,
        seconds: float,
        observe: Observer | None,
        until: float = math.inf,
    ) -> None:
        self._observe = observe
        self.until = until
        self._inbox = b""
        self._read_to = 0
        self._patience = seconds
        self.encrypted = False
        try:
            seconds = min(seconds, max(0.001, until - monotonic()))
            self._socket: socket.socket = socket.create_connection((host, port), seconds)
        except (OSError, ValueError) as error:
            raise Broken("connect", f"{host}:{port}: {reason(error)}") from error
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.peer: str = self._socket.getpeername()[0]
            self.here: str = self._socket.getsockname()[0]
        except OSError as error:
            self.close()
            raise Broken("connect", f"{host}:{port}: {reason(error)}") from error
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self.note(f"connected to {self.peer} port {port}")

    def encrypt(self, context: ssl.SSLContext, host: str, seconds: float, stage: str) -> None:
        """Go on in TLS, with a server that proves to be ``host``."""
        if self._read_to < len(self._inbox):
            # Anyone may have said this, in plain text (RFC 3207, section 6).
            raise Broken(stage, "the server went on in plain text before TLS")
        try:
            self._wait_at_most(min(seconds, self.until - monotonic()))
            secured = context.wrap_socket(self._socket, server_hostname=host)
        except (OSError, ValueError) as error:
            raise Broken(stage, f"TLS with {host}: {reason(error)}") from error
        self._socket = secured
        self.encrypted = True
        self.note(_describe(secured))

    def ask(self, stage: str, line: str, seconds: float, *, shown: str = "") -> Reply:
        """Say one line and return the reply to it; ``shown`` is what observers see of it."""
        self.write(stage, f"{line}\r\n".encode(), seconds, shown=shown)
        return self.hear(stage, seconds)

    def hear(self, stage: str, seconds: float) -> Reply:
        """Return the next reply, read within so many seconds however slowly the server drips."""
        line = _ONE_LINE.match(self._inbox, self._read_to)
        if line is None:
            reply = self._wait_for_reply(stage, seconds)
        else:
            code, text = line.groups(b"")
            reply = Reply(int(code), text)
            self._read_to = line.end()
        for secret in self.secrets:
            reply = Reply(reply.code, reply.text.replace(secret, b"***"))
        if self._observe is not None:
            for words in reply.text.decode("utf-8", "replace").split("\n"):
                self._observe("server", one_line(f"{reply.code} {words}"))
        return reply

    def _wait_for_reply(self, stage: str, seconds: float) -> Reply:
        seconds = min(seconds, self.until - monotonic())
        deadline = monotonic() + seconds
        lines: list[bytes] = []
        size = 0
        while True:
            line = _LINE.match(self._inbox, self._read_to)
            if line is not None:
                self._read_to = line.end()
                code, mark, text = line.groups(b"")
                lines.append(text)
                if mark != b"-":
                    return Reply(int(code), b"\n".join(lines))
                size += len(line[0])
            elif self._inbox.find(b"\n", self._read_to) >= 0:
                words = self._inbox[self._read_to : self._read_to + 80].decode("latin-1")
                raise Broken(stage, f"not an SMTP reply: {one_line(words)!r}")
            else:
                self._fill(stage, seconds)
                seconds = deadline - monotonic()
            if size + len(self._inbox) - self._read_to > _LARGEST_REPLY:
                raise Broken(stage, "not an SMTP reply: too long")

    def write(self, stage: str, data: bytes, seconds: float, *, shown: str = "") -> None:
        """Send all of it within so many seconds."""
        if self._observe is not None:
            for line in shown.splitlines() or data.decode().splitlines():
                self._observe("client", one_line(line))
        seconds = min(seconds, self.until - monotonic())
        deadline = monotonic() + seconds
        rest = memoryview(data)
        self.written = 0
        try:
            while True:
                self._wait_at_most(seconds)
                # A TLS record that fails half-way is counted as gone.
                chunk = rest[:_TLS_RECORD] if self.encrypted else rest
                doubtful = len(chunk) if self.encrypted else 0
                self.written += doubtful
                sent = self._socket.send(chunk)
                self.written += sent - doubtful
                if sent == len(rest):
                    return
                rest = rest[sent:]
                seconds = deadline - monotonic()
        except OSError as error:
            raise Broken(stage, reason(error)) from error

    @property
    def unread(self) -> bytes:
        """What has arrived and was not asked for yet."""
        return self._inbox[self._read_to :]

    def hangs_up(self, seconds: float) -> bool:
        """Wait for so long, and say whether the server has hung up and left no words unread."""
        if self._read_to < len(self._inbox):
            return False
        try:
            self._wait_at_most(min(seconds, self.until - monotonic()))
            self._inbox += self._socket.recv(_TLS_RECORD)
        except (TimeoutError, BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        return self._read_to == len(self._inbox)

    def silent(self) -> bool:
        """Say whether the server has neither hung up nor said anything that was not read yet."""
        if self._read_to < len(self._inbox):
            return False
        if not self._poll.poll(0):
            return True
        if not self.encrypted:
            return False
        try:
            # Not all that TLS sends is the server's speech: session tickets, new keys.
            self._wait_at_most(0)
            self._inbox += self._socket.recv(_TLS_RECORD)
        except ssl.SSLWantReadError:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        """Close without a word: no QUIT, no goodbye of TLS."""
        self._socket.close()

    def note(self, words: str) -> None:
        """Tell the observer something that neither side said."""
        if self._observe is not None:
            self._observe("note", one_line(words))

    def _fill(self, stage: str, seconds: float) -> None:
        try:
            self._wait_at_most(seconds)
            data = self._socket.recv(_TLS_RECORD)
        except OSError as error:
            raise Broken(stage, reason(error)) from error
        if not data:
            raise Broken(stage, "the server closed the connection")
        self._inbox = self._inbox[self._read_to :] + data
        self._read_to = 0
        self.heard_at = monotonic()

    def _wait_at_most(self, seconds: float) -> None:
        if seconds < 0:
            raise TimeoutError
        if seconds != self._patience:
            self._socket.settimeout(seconds)
            self._patience = seconds


def reason(error: Exception) -> str:
    """Return why a foreign call failed, in its own words, as one line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.rstrip(".")
    if isinstance(error, TimeoutError | BlockingIOError | ssl.SSLWantReadError):
        return "timed out"
    if isinstance(error, OSError) and error.strerror:
        return one_line(error.strerror)
    return one_line(str(error)) or type(error).__name__


def _describe(secured: ssl.SSLSocket) -> str:
    certificate = secured.getpeercert() or {}
    cipher = secured.cipher()
    # Typeshed knows less of its shape than the documentation: a tuple of tuples of pairs.
    names: Any = certificate.get("subject", ())
    subject = ", ".join("=".join(pair) for relative_name in names for pair in relative_name)
    return (
        f"{secured.version()}, {cipher[0] if cipher else 'no cipher'}, "
        f"certificate for {subject or 'no subject'}, valid until {certificate.get('notAfter')}"
    )
