"""One SMTP conversation: aiosmtpd's, made to pipeline quickly and to obey the rules."""

# ruff: noqa: N802 - aiosmtpd finds its commands by these names

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from contextlib import suppress
from typing import Any, AnyStr

from aiosmtpd.smtp import SMTP

from mailer.dev.catcher.handler import HOSTNAME, Handler

MAX_MESSAGE_BYTES = 2**25
_LINE_LIMIT = 998  # RFC 5321, section 4.5.3.1.6, without the line break
_END = b"\r\n.\r\n"
_GROUPED = frozenset({"mail", "rcpt", "rset"})

# The addresses nearly everybody has. aiosmtpd's own parser takes 15 times as long.
_USUAL_ADDRESS = re.compile(
    r"<([\w+=%~!#$&'*/?^`{|}-]+(?:\.[\w+=%~!#$&'*/?^`{|}-]+)*@[\w-]+(?:\.[\w-]+)*)>((?: .*)?)"
)

# It warns about its own deprecations at every login.
logging.getLogger("mail.log").setLevel(logging.ERROR)


class Conversation(SMTP):
    """One connection. Differs from aiosmtpd's in what the docstrings below say."""

    # aiosmtpd also makes this the size of the read buffer; the limit proper is `_LINE_LIMIT`.
    line_length_limit = 2**16
    event_handler: Handler

    def __init__(
        self,
        handler: Handler,
        *,
        live: set[Conversation],
        starttls: ssl.SSLContext | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(
            handler,
            data_size_limit=MAX_MESSAGE_BYTES,
            enable_SMTPUTF8=True,
            hostname=HOSTNAME,
            ident="ESMTP",
            tls_context=starttls,
            auth_require_tls=starttls is not None,
            authenticator=handler.authenticate,
            loop=loop,
        )
        self._live = live
        self._verb = ""
        self._held = b""
        self._smtp_methods = {
            verb: self._counted(verb.lower(), method) for verb, method in self._smtp_methods.items()
        }

    def _counted(self, verb: str, method: Any) -> Any:
        counts = self.event_handler.counts

        async def run(arg: str | None) -> None:
            counts[verb] += 1
            self._verb = verb
            await method(arg)

        return run

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it; STARTTLS comes here a second time."""
        if self not in self._live:
            self._live.add(self)
            self.event_handler.counts["connections"] += 1
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._live.discard(self)
        super().connection_lost(error)

    async def _handle_client(self) -> None:
        """Ask the rules before greeting; a client that vanishes is no error of ours."""
        with suppress(ConnectionResetError):
            refusal = await self.event_handler.scripted(self, "connect")
            if refusal is None:
                await super()._handle_client()
            else:
                await self.push(refusal)
                self._close()

    async def push(self, status: AnyStr) -> None:
        """Answer grouped commands together (RFC 2920), and close after a 421 (RFC 5321, 3.8)."""
        reply = status.encode() if isinstance(status, str) else status
        last = reply.startswith(b"421")
        if self._verb in _GROUPED and not last and self._more_commands_wait():
            self._held += reply + b"\r\n"
            return
        reply, self._held = self._held + reply, b""
        await super().push(reply)
        if last:
            self._close()

    def _more_commands_wait(self) -> bool:
        # asyncio has no public way to look without reading; aiosmtpd reaches for it too.
        return b"\n" in self._reader._buffer  # type: ignore[attr-defined]

    def flush(self) -> None:
        """Send the replies that wait for others to go with."""
        if self._held:
            self._writer.write(self._held)
            self._held = b""

    async def check_auth_needed(self, caller_method: str) -> bool:
        """Want a login where there are credentials, also over a plain connection."""
        if caller_method in {"MAIL", "RCPT", "DATA"} and self.event_handler.credentials:
            authenticated = self.session is not None and self.session.authenticated
            if not authenticated:
                await self.push("530 5.7.0 Authentication required")
                return True
        return False

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        usual = _USUAL_ADDRESS.fullmatch(arg)
        return (usual[1], usual[2]) if usual else super()._getaddr(arg)

    async def smtp_DATA(self, arg: str | None) -> None:
        """Read the body in large pieces instead of line by line, and ask the rules before 354."""
        if await self.check_helo_needed() or await self.check_auth_needed("DATA"):
            return
        envelope = self.envelope
        if envelope is None or not envelope.rcpt_tos:
            await self.push("503 5.5.1 Error: need RCPT command")
            return
        if arg:
            await self.push("501 5.5.4 Syntax: DATA")
            return
        refusal = await self.event_handler.scripted(
            self, "data", envelope.mail_from or "", *envelope.rcpt_tos
        )
        if refusal is not None:
            await self.push(refusal)
            return
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        body = await self._read_body()
        if body is None:
            reply = "552 5.3.4 Error: message too big"
        elif max(map(len, body.split(b"\r\n"))) > _LINE_LIMIT:
            reply = "500 5.6.0 Error: line longer than 998 bytes"
        else:
            envelope.original_content = envelope.content = body
            reply = await self.event_handler.handle_DATA(self, self.session, envelope)  # type: ignore[arg-type]
        self.envelope = self._create_envelope()
        await self.push(reply)

    async def _read_body(self) -> bytes | None:
        """Return the message without dots for transparency; None when it is over the limit."""
        # Begins as if after a line break, so that the end of an empty body looks like any other.
        buffer = bytearray(b"\r\n")
        size, end = 0, -1
        while end < 0:
            searched = max(0, len(buffer) - len(_END))
            piece = await self._reader.read(MAX_MESSAGE_BYTES)
            if not piece:
                raise ConnectionResetError("the client left in the middle of a message")
            size += len(piece)
            buffer += piece
            end = buffer.find(_END, searched)
            if end < 0 and size > MAX_MESSAGE_BYTES:
                del buffer[: -len(_END)]
        # What was pipelined after the body. The read above emptied the buffer and nothing was
        # awaited since, so it goes back to its place.
        if rest := bytes(buffer[end + len(_END) :]):
            self._reader.feed_data(rest)
        if size - len(rest) > MAX_MESSAGE_BYTES:
            return None
        return bytes(buffer[: end + 2]).replace(b"\r\n.", b"\r\n")[2:]

    def _close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Cut the connection, now."""
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()
