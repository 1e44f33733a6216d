"""A conversation with an SMTP server, to see what it says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic

from . import message
from .composition import default_sender, message_id
from .content import Address, Content
from .errors import NotFound, SettingError
from .ledger.record import uuid7
from .outcome import Kind, Outcome
from .smtp import Envelope, Server
from .state import State
from .transport import Step, Transport

IMPATIENT_SECONDS = 15.0
"""Until then nothing is waited for before a message leaves, and as long for the reply to it, when
somebody waits for a page."""


def named(state: State, name: str | None) -> Transport:
    """Return a transport; without a name the first that is not for test mail. Raises NotFound."""
    transports = state.traffic.transports
    if name is None:
        first = next(name for name, one in state.traffic.dsns.items() if not one.rule.is_test)
        return transports[first]
    if name not in transports:
        raise NotFound(f"no transport {name!r}; there are {', '.join(transports)}")
    return transports[name]


def converse(
    state: State, transport: Transport, address: str | None = None, *, is_impatient: bool = False
) -> Iterator[Step]:
    """Talk to the server of a transport over a new connection, past ledger and workers. Yield all
    that is said, less the secrets; the last step is the result: if it is a good one, mail uses the
    transport again. Sends a short message to ``address``, if there is one. Raises SettingError."""
    envelope = None if address is None else _envelope(state, transport.server, address)
    if not is_impatient:
        return _noted(state, transport, transport.test(envelope))
    server = transport.server
    hasty = replace(
        server,
        timeout=min(server.timeout, IMPATIENT_SECONDS / 3),
        final_timeout=min(server.final_timeout, IMPATIENT_SECONDS),
    )
    until = monotonic() + IMPATIENT_SECONDS
    return _noted(state, transport, Transport(transport.name, hasty).test(envelope, until=until))


def _noted(state: State, transport: Transport, steps: Iterator[Step]) -> Iterator[Step]:
    for step in steps:
        outcome = step.outcome or Outcome(Kind.SENT)  # without a message: it can be used
        if step.who == "result" and outcome.kind is Kind.SENT:
            state.traffic.note(transport.name, outcome)
        yield step


def _envelope(state: State, server: Server, address: str) -> Envelope:
    sender = default_sender(state)
    if sender is None:
        raise SettingError("MAIL_DEFAULT_SENDER: expected a sender for the message, got none")
    product = state.config["MAILER_PRODUCT_NAME"]
    content = Content(
        f"Test of {product}",
        f"This message tests the way by {server.host}:{server.port}.\n"
        "It has arrived: the SMTP settings work.\n",
        None,
    )
    written = message.write(
        sender=sender,
        to=[Address("", address)],
        content=content,
        date=datetime.now(UTC),
        message_id=message_id(uuid7(), sender),
    )
    return Envelope(sender.email, address, written, not (address + sender.email).isascii())
