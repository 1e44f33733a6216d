"""``mailer test``: a conversation with the SMTP server, in front of the user."""

from __future__ import annotations

from datetime import UTC, datetime

import click
from flask.cli import with_appcontext

from .. import message
from ..composition import message_id
from ..content import Address, Content
from ..errors import NotFound, SettingError
from ..ledger.record import uuid7
from ..outcome import Kind
from ..smtp import Envelope, Server
from ..state import State, current
from ..transport import Step, Transport
from . import output, parameters
from .preview import default_sender

_MARKS = {"client": ">", "server": "<", "note": "*"}
_SECURITY = {
    "none": "no TLS",
    "starttls": "STARTTLS, verified",
    "tls": "TLS from the first byte, verified",
}


@click.command(short_help="Talk to the SMTP server, and say what it says.")
@click.argument("address", type=parameters.address)
@click.option("--transport", "name", metavar="NAME", help="Which one (default: the first).")
@output.json_option
@with_appcontext
@click.pass_context
def test(ctx: click.Context, address: str, name: str | None, as_json: bool) -> None:
    """Talk to an SMTP server, print every step, and send a short message to ADDRESS.

    Says what was agreed on (TLS, certificate, AUTH), every command (>) and every reply (<), less
    the password. Goes past ledger and workers: it tests the server and the settings alone.

    \b
      mailer test ann@example.com
    """
    state = current()
    transport = _transport(state, name)
    server = transport.server
    words = described(server.host, server.port, server.security, server.username)
    envelope = _envelope(state, server, address)
    if not as_json:
        click.echo(f"{_MARKS['note']} {words}")
    steps = []
    for step in transport.test(envelope):
        steps.append(step)
        if not as_json and step.who != "result":
            click.echo(f"{_MARKS[step.who]} {output.printable(step.words)}")
    outcome = steps[-1].outcome
    if outcome is None:
        raise RuntimeError("Transport.test ended without an outcome")
    worked = outcome.kind is Kind.SENT
    if as_json:
        output.print_json(
            {
                "worked": worked,
                "transport": transport.name,
                "server": words,
                "steps": [{"who": one.who, "words": one.words} for one in steps[:-1]],
                "result": outcome._asdict(),
            }
        )
    else:
        click.echo(output.printable(_conclusion(worked, address, steps[-1])))
    ctx.exit(0 if worked else 1)


def _transport(state: State, name: str | None) -> Transport:
    transports = state.traffic.transports
    if name is None:
        first = next(name for name, one in state.traffic.dsns.items() if not one.rule.is_test)
        return transports[first]
    if name not in transports:
        raise NotFound(f"no transport {name!r}; there are {', '.join(transports)}")
    return transports[name]


def _envelope(state: State, server: Server, address: str) -> Envelope:
    sender = default_sender(state)
    if sender is None:
        raise SettingError("MAIL_DEFAULT_SENDER: expected a sender for the message, got none")
    product = state.config["MAILER_PRODUCT_NAME"]
    content = Content(
        f"Test of {product}",
        f"This message was sent by `mailer test`, by way of {server.host}:{server.port}.\n"
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


def described(host: str, port: int, security: str, username: str | None) -> str:
    """Return where a server is and how it is talked to, in a few words."""
    login = f"login as {username}" if username else "no login"
    return f"{host}:{port}, {_SECURITY[security]}, {login}"


def _conclusion(worked: bool, address: str, result: Step) -> str:
    if worked:
        return f"The server took the message to {address}."
    return f"The message was not sent: {result.words}"
