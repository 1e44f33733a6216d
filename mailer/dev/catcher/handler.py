"""What the catcher answers at each stage of a conversation: the usual, or what a rule says."""

# ruff: noqa: N802 - aiosmtpd finds its hooks by these names

from __future__ import annotations

import asyncio
from collections import Counter
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, NoReturn

from aiosmtpd.smtp import MISSING, SMTP, AuthResult, Envelope, LoginPassword, Session

from mailer.dev.catcher.rules import Rule, Rules
from mailer.dev.catcher.store import Store

if TYPE_CHECKING:
    from mailer.dev.catcher.conversation import Conversation

HOSTNAME = "catcher.localhost"


class Handler:
    """What happens at each stage; see aiosmtpd for the methods named ``handle_*``."""

    def __init__(
        self, store: Store, rules: Rules, counts: Counter[str], credentials: tuple[str, str] | None
    ) -> None:
        self.store = store
        self.rules = rules
        self.counts = counts
        self.credentials = credentials

    async def scripted(self, server: Conversation, stage: str, *addresses: str) -> str | None:
        """Apply the rule for this stage, if any: the reply to give, or None for the usual one."""
        rule = self.rules.take(stage, addresses)
        return None if rule is None else await _carry_out(rule, server)

    async def handle_HELO(
        self, server: Conversation, session: Session, _envelope: Envelope, hostname: str
    ) -> Any:
        reply = await self.scripted(server, "ehlo")
        if reply is None or reply.startswith("2"):
            session.host_name = hostname
        return reply or f"250 {HOSTNAME}"

    async def handle_EHLO(
        self,
        server: Conversation,
        session: Session,
        _envelope: Envelope,
        hostname: str,
        responses: list[str],
    ) -> list[str]:
        reply = await self.scripted(server, "ehlo")
        if reply is None or reply.startswith("2"):
            session.host_name = hostname
        if reply is not None:
            return [reply]
        offered = [line for line in responses if self.credentials or "AUTH" not in line]
        # One write instead of one per line.
        return ["\r\n".join([*offered[:-1], "250-PIPELINING", offered[-1]])]

    async def handle_AUTH(
        self, server: Conversation, _session: Session, _envelope: Envelope, _args: list[str]
    ) -> Any:
        return await self.scripted(server, "auth") or MISSING

    async def handle_MAIL(
        self,
        server: Conversation,
        _session: Session,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> Any:
        reply = await self.scripted(server, "mail", address)
        if reply is None or reply.startswith("2"):
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return reply or "250 2.1.0 Sender OK"

    async def handle_RCPT(
        self,
        server: Conversation,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> Any:
        reply = await self.scripted(server, "rcpt", address)
        if reply is None or reply.startswith("2"):
            envelope.rcpt_tos.append(address)
        return reply or "250 2.1.5 Recipient OK"

    async def handle_DATA(self, server: Conversation, _session: Session, envelope: Envelope) -> str:
        sender = "" if envelope.mail_from in (None, "<>") else str(envelope.mail_from)
        recipients = tuple(envelope.rcpt_tos)
        raw = envelope.original_content or b""
        rule = self.rules.take("dot", (sender, *recipients))
        if rule is None:
            message = self.store.add(sender, recipients, raw)
            return f"250 2.0.0 Caught as {message.id}"
        if rule.stored or rule.do[0] == "2":
            self.store.add(sender, recipients, raw)
        return await _carry_out(rule, server)

    async def handle_QUIT(
        self, server: Conversation, _session: Session, _envelope: Envelope
    ) -> Any:
        return await self.scripted(server, "quit") or "221 2.0.0 Bye"

    def authenticate(
        self,
        _server: SMTP,
        _session: Session,
        _envelope: Envelope,
        _mechanism: str,
        login: LoginPassword,
    ) -> AuthResult:
        name, password = self.credentials or ("", "")
        right = compare_digest(login.login, name.encode()) and compare_digest(
            login.password, password.encode()
        )
        return AuthResult(success=right, handled=False, auth_data=login if right else None)


async def _carry_out(rule: Rule, server: Conversation) -> str:
    """Return the rule's reply; hanging and dropping never return."""
    if rule.do in {"drop", "hang"}:
        server.flush()
        if rule.do == "drop":
            server.abort()
        await _for_ever()
    return rule.reply()


async def _for_ever() -> NoReturn:
    """Wait until the connection is lost, which cancels its conversation."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody completes this future")
