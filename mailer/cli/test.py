"""``mailer test``: a conversation with the SMTP server, in front of the user."""

from __future__ import annotations

from datetime import UTC, datetime

import click
from flask.cli import with_appcontext

from .. import message
from ..composition import message_id
from ..content import Address, Content
from ..errors import SettingError
from ..ledger.record import uuid7
from ..outcome import Kind
from ..smtp import Envelope, Server
from ..state import State, current
from ..transport import Step
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
@output.json_option
@with_appcontext
@click.pass_context
def test(ctx: click.Context, address: str, as_json: bool) -> None:
    """Talk to the SMTP server, print every step, and send a short message to ADDRESS.

    Says what was agreed on (TLS, certificate, AUTH), every command (>) and every reply (<), less
    the password. Goes past ledger and workers: it tests the server and the settings alone.

    \b
      mailer test ann@example.com
    """
    state = current()
    server = state.transport.server
    envelope = _envelope(state, address)
    if not as_json:
        click.echo(f"{_MARKS['note']} {_described(server)}")
    steps = []
    for step in state.transport.test(envelope):
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
                "server": _described(server),
                "steps": [{"who": one.who, "words": one.words} for one in steps[:-1]],
                "result": outcome._asdict(),
            }
        )
    else:
        click.echo(output.printable(_conclusion(worked, address, steps[-1])))
    ctx.exit(0 if worked else 1)


def _envelope(state: State, address: str) -> Envelope:
    sender = default_sender(state)
    if sender is None:
        raise SettingError("MAIL_DEFAULT_SENDER: expected a sender for the message, got none")
    server = state.transport.server
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


def _described(server: Server) -> str:
    login = f"login as {server.username}" if server.username else "no login"
    return f"{server.host}:{server.port}, {_SECURITY[server.security]}, {login}"


def _conclusion(worked: bool, address: str, result: Step) -> str:
    if worked:
        return f"The server took the message to {address}."
    return f"The message was not sent: {result.words}"
